//! Inputs of other forms than the training pairs.

use super::{counts, distill, pairs};
use crate::support::run::{Scene, lines, words};

#[test]
fn an_input_may_have_no_header_other_columns_or_its_references_in_a_text() {
    let scene = Scene::trained();
    let sources = words(30);
    // Every third reference is not the word.
    let reference = |(number, word): (usize, &String)| match number % 3 {
        0 => word.chars().rev().chain("a".chars()).collect::<String>(),
        _ => word.clone(),
    };
    let references: Vec<String> = sources.iter().enumerate().map(reference).collect();
    let rows: String =
        sources.iter().zip(&references).map(|(word, reference)| format!("{word},{reference}\n")).collect();
    scene.write("usual.csv", format!("source,target\n{rows}"));
    scene.write("plain.csv", &rows);
    scene.write("named.csv", format!("source,right\n{rows}"));
    scene.write("in.txt", lines(&sources));
    scene.write("right.txt", lines(&references));
    for closest in [&[][..], &["--closest", "character_error_rate"]] {
        let read = |input: &[&str]| {
            let finished = distill(&scene, &[input, closest, &["--output", "p.csv"]].concat()).succeeded();
            (pairs(&scene, "p.csv"), counts(&finished).to_owned())
        };
        let expected = read(&["--input", "usual.csv"]);
        assert!(expected.1.contains(" equal their references") && !expected.0.is_empty(), "{}", expected.1);
        assert_eq!(read(&["--input", "plain.csv", "--header", "false"]), expected);
        assert_eq!(read(&["--input", "named.csv", "--target-column", "right"]), expected);
        assert_eq!(read(&["--input", "in.txt", "--targets", "right.txt"]), expected);
    }
    let two = ["--input", "in.txt", "--input", "in.txt", "--targets", "right.txt", "--targets", "right.txt"];
    let finished = distill(&scene, &[&two[..], &["--output", "p.csv"]].concat()).succeeded();
    assert!(counts(&finished).contains(" from 60 sources, "), "{}", finished.stderr);
    let refused = |more: &[&str], parts: &[&str]| {
        distill(&scene, &[more, &["--output", "new.csv"]].concat()).refused_naming(2, parts);
        assert!(!scene.path("new.csv").exists());
    };
    refused(&two[..6], &["given as often as --input, but there are 1 --targets and 2 --input"]);
    refused(&["--input", "named.csv", "--target-column", "left"], &["named.csv", "left", "--target-column"]);
    refused(&["--input", "in.txt", "--target-column", "right"], &["--target-column needs a table"]);
    let alone = distill(&scene, &["--header", "false", "--output", "new.csv"]);
    assert!(alone.code == Some(2) && alone.stderr.contains("--input <FILE>"), "{}", alone.stderr);
}
