//! `--resume` of outputs that are complete, gone, changed, or without their record.

use super::{BAN_ALL, counts, distill, pairs, started};
use crate::support::run::{Scene, lines, words};

#[test]
fn a_complete_output_without_a_pair_ends_as_it_did() {
    let scene = Scene::trained();
    scene.write("in.txt", "abc\nhgfed\n");
    let own =
        ["--input", "in.txt", "--beam", "1", "--set", BAN_ALL, "--set", "decoding.suppress_unknown=true"];
    for output in ["p.csv", "p.jsonl"] {
        let arguments = [&own[..], &["--output", output, "--resume"]].concat();
        for is_complete in [false, true] {
            let nothing = distill(&scene, &arguments);
            assert_eq!(nothing.code, Some(2), "{}", nothing.stderr);
            let end = "left out: 2 empty\nerror: no output of 2 sources can be a pair\n";
            assert!(nothing.stderr.contains(end), "{}", nothing.stderr);
            assert_eq!(nothing.stderr.contains(" is complete, "), is_complete, "{}", nothing.stderr);
        }
    }
}

#[test]
fn a_complete_output_is_resumed_only_as_what_it_is() {
    let scene = Scene::trained();
    let table = |count: usize| -> String {
        let rows = words(count).into_iter().map(|word| format!("{word},{word}\n"));
        format!("source,target\n{}", rows.collect::<String>())
    };
    scene.write("in.csv", table(20));
    let own = ["--input", "in.csv", "--output", "p.csv", "--resume"];
    let first = distill(&scene, &own).succeeded();
    let (written, record) = (scene.read("p.csv"), scene.read("p.csv.resume.json"));
    let refused = |more: &[&str], part: &str| {
        distill(&scene, &[&own[..], more].concat()).refused_naming(2, &[part]);
        assert_eq!(scene.read("p.csv"), written);
    };
    refused(&["--closest", "chrf"], "but `--closest` was null and is now \"chrf\"");
    refused(&["--n-best", "3"], "but `decoding.n_best` was 1 and is now 3");
    refused(&["--target-column", "source"], "but `--target-column` was null and is now \"source\"");
    scene.write("in.csv", table(21));
    refused(&[], "but `content of in.csv` was \"");
    scene.write("in.csv", table(20));
    for lost in [None, Some("{")] {
        std::fs::remove_file(scene.path("p.csv.resume.json")).unwrap();
        if let Some(damaged) = lost {
            scene.write("p.csv.resume.json", damaged);
        }
        refused(&[], "but p.csv.resume.json is missing or damaged\nhint: leave out --resume");
        scene.write("p.csv.resume.json", &record);
    }
    scene.write("p.csv", [&written[..], b"a,a\n"].concat());
    let bytes = format!("p.csv had {} bytes by its record, and has {}", written.len(), written.len() + 4);
    distill(&scene, &own).refused_naming(2, &[&bytes]);
    // Without the output the record binds nobody.
    for more in [&[][..], &["--beam", "1"]] {
        std::fs::remove_file(scene.path("p.csv")).unwrap();
        let again = distill(&scene, &[&own[..], more].concat()).succeeded();
        let note = "note: p.csv is gone, and only its record is left: all is decoded again\n";
        assert!(again.stderr.starts_with(note), "{}", again.stderr);
        if more.is_empty() {
            assert_eq!((scene.read("p.csv"), counts(&again)), (written.clone(), counts(&first)));
        }
    }
}

#[test]
fn an_unfinished_output_that_is_gone_is_begun_again() {
    let scene = Scene::trained();
    scene.write("in.txt", lines(&words(2000)));
    let own = ["--input", "in.txt", "--beam", "1", "--output"];
    let arguments = [&own[..], &["p.csv"]].concat();
    let mut child = started(&scene, &arguments, "p.csv.resume.json");
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(scene.path("p.csv")).unwrap();
    let again = distill(&scene, &[&arguments[..], &["--resume"]].concat()).succeeded();
    assert!(again.stderr.starts_with("note: p.csv is gone, "), "{}", again.stderr);
    let whole = distill(&scene, &[&own[..], &["whole.csv"]].concat()).succeeded();
    assert_eq!(pairs(&scene, "p.csv"), pairs(&scene, "whole.csv"));
    assert_eq!(counts(&again).replace("p.csv", "whole.csv"), counts(&whole));
}
