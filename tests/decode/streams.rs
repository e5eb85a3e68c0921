//! Inputs that are long, slow, shared among jobs, or interrupted by kills: each row has one output, in order.

use std::io::{BufRead, BufReader, Write};
use std::process::Child;

use serde_json::Value;

use super::table;
use crate::support::run::{Finished, Scene, lines, objects, wait_until, words};

#[test]
fn a_line_is_decoded_before_the_next_one_is_written() {
    let scene = Scene::trained();
    let mut child = scene.spawn(&["decode", "runs/copy"]);
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    for word in ["abc", "", "hgfed"] {
        to.write_all(format!("{word}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        from.read_line(&mut answer).unwrap();
        assert_eq!(answer, format!("{word}\n"));
    }
    drop(to);
    Finished::of(child).succeeded();
}

#[test]
fn shards_divide_the_rows_and_can_be_merged() {
    let scene = Scene::trained();
    let words = words(10);
    scene.write("words.txt", lines(&words));
    let whole = scene.decode(&["--input", "words.txt"], "").succeeded().stdout;
    let shard = |shard: &str, format: &str| {
        let arguments = ["--input", "words.txt", "--shard", shard, "--format", format];
        scene.decode(&arguments, "").succeeded().stdout
    };
    let shards = ["1/3", "2/3", "3/3"];
    let texts = shards.map(|n| shard(n, "text"));
    let texts: Vec<Vec<&str>> = texts.iter().map(|text| text.lines().collect()).collect();
    let joined: Vec<&str> = (0..10).map(|row| texts[row % 3][row / 3]).collect();
    assert_eq!(joined, whole.lines().collect::<Vec<_>>());
    let mut rows: Vec<Value> = shards.iter().flat_map(|n| objects(&shard(n, "jsonl"))).collect();
    rows.sort_by_key(|row| row["row"].as_u64());
    let sources: Vec<&str> = rows.iter().map(|row| row["source"].as_str().unwrap()).collect();
    assert_eq!(sources, words);
    assert_eq!(table(&shard("2/3", "csv"))[2][..2], ["5", &words[4]]);
    assert_eq!(shard("9/11", "text").lines().count(), 1, "one shard per row, and one is empty");
    assert_eq!(shard("11/11", "text"), "");
}

/// Rows of an output without their scores, whose last digits depend on which rows go together.
fn answers(text: &str, format: &str) -> Vec<Vec<String>> {
    match format {
        "csv" => table(text).iter().map(|row| [&row[..2], &row[3..]].concat()).collect(),
        "jsonl" => objects(text)
            .iter()
            .map(|row| ["source", "output", "finished"].map(|key| row[key].to_string()).to_vec())
            .collect(),
        _ => text.lines().map(|line| vec![line.to_owned()]).collect(),
    }
}

/// Rows with quotes in them.
fn many() -> Vec<String> {
    words(1200)
        .iter()
        .zip(0..)
        .map(|(word, n)| if n % 50 == 0 { format!("{word}\"a") } else { word.clone() })
        .collect()
}

/// Decodes the first rows of an endless pipe into a file, and kills the process when it has written some.
fn killed(scene: &Scene, arguments: &[&str], output: &str, rows: &[String]) {
    let before = scene.path(output).metadata().map_or(0, |metadata| metadata.len());
    let mut child: Child = scene.spawn(&[&["decode", "runs/copy"], arguments].concat());
    let mut to = child.stdin.take().unwrap();
    to.write_all(lines(rows).as_bytes()).unwrap();
    to.flush().unwrap();
    let length = || scene.path(output).metadata().map_or(0, |metadata| metadata.len());
    wait_until("rows are written", || length() > before.max(1000));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_killed_output_is_resumed_and_nothing_is_lost_or_duplicated() {
    let scene = Scene::trained();
    let rows = many();
    scene.write("rows.txt", lines(&rows));
    for format in ["text", "csv", "jsonl"] {
        let arguments =
            ["--format", format, "--set", "decoding.max_length=4", "--set", "runtime.threads=1", "--output"];
        let whole = [&arguments[..], &["whole", "--input", "rows.txt"]].concat();
        scene.decode(&whole, "").succeeded();
        let broken = [&arguments[..], &["broken", "--resume"]].concat();
        killed(&scene, &broken, "broken", &rows[..400]);
        // A second kill hits in the middle of a row.
        let cut = scene.read("broken");
        scene.write("broken", &cut[..cut.len() - 3]);
        killed(&scene, &broken, "broken", &rows[..800]);
        let there = scene.read("broken").len();
        assert!(there > 1000 && there < scene.read("whole").len(), "{format}: it was killed too late");
        let stderr = scene.decode(&broken, &lines(&rows)).succeeded().stderr;
        assert!(stderr.starts_with("broken already has "), "{stderr}");
        let (broken, whole) = (scene.text("broken"), scene.text("whole"));
        assert!(answers(&broken, format) == answers(&whole, format), "{format}");
        std::fs::remove_file(scene.path("broken")).unwrap();
    }
}

#[test]
fn a_complete_output_is_kept_and_without_resume_it_is_replaced() {
    let scene = Scene::trained();
    scene.write("words.txt", "ab\ncd\n");
    let to = ["--input", "words.txt", "--output", "out.csv"];
    scene.decode(&[&to[..], &["--resume"]].concat(), "").succeeded();
    let before = scene.text("out.csv");
    assert_eq!(table(&before).len(), 3);
    scene.decode(&[&to[..], &["--resume"]].concat(), "").succeeded();
    assert_eq!(scene.text("out.csv"), before);
    scene.write("words.txt", "ef\n");
    scene.decode(&to, "").succeeded();
    assert_eq!(table(&scene.text("out.csv")).len(), 2);
    // Killed before the header was complete: it starts over.
    scene.write("out.csv", "source,out");
    scene.decode(&[&to[..], &["--resume"]].concat(), "").succeeded();
    assert_eq!(table(&scene.text("out.csv")).len(), 2);
}

#[test]
fn an_output_that_cannot_be_resumed_is_refused_and_kept() {
    let scene = Scene::trained();
    scene.write("words.txt", "ab\ncd\n");
    scene.write("long.txt", "ab\ncd\nef\ngh");
    scene.write("other.csv", "word,output\nab,ab\n");
    let cases: [(&[&str], &str); 5] = [
        (
            &["--output", "-"],
            "error: --resume needs an unfinished output file, but the output is standard output\n\
             hint: name the file with --output",
        ),
        (
            &["--output", "/dev/null"],
            "error: --resume needs an unfinished output file, but the output is /dev/null\n\
             hint: name the file with --output",
        ),
        (
            &["--output", "other.csv"],
            "error: an output to resume must begin with `source,output,score,finished`, but other.csv does not\n\
             hint: --resume needs the same model, the same input and the same options as before",
        ),
        (&["--output", "runs"], "error: cannot write runs: is a directory"),
        (
            &["--output", "words.txt"],
            "error: words.txt cannot be both the input and the output\nhint: name another file with --output",
        ),
    ];
    for (arguments, message) in cases {
        scene.decode(&[&["--input", "words.txt", "--resume"], arguments].concat(), "").refused(2, message);
    }
    // Lines that are not outputs, complete or not, are neither counted as such nor removed.
    for text in ["a line\nand another\n", "{\"source\":\"ab\",\"output\":\"ab\"}\n", "1\n2\n3"] {
        scene.write("other.jsonl", text);
        let refused = scene.decode(&["--input", "words.txt", "--resume", "--output", "other.jsonl"], "");
        let message =
            "error: an output to resume must begin with `an object with source, output, score, finished`";
        assert!(refused.code == Some(2) && refused.stderr.starts_with(message), "{}", refused.stderr);
        assert_eq!(scene.text("other.jsonl"), text);
    }
    assert_eq!(scene.text("other.csv"), "word,output\nab,ab\n");
    let finished = scene.decode(&["--input", "words.txt", "--resume", "--output", "long.txt"], "");
    assert_eq!(finished.code, Some(2));
    assert!(
        finished.stderr.contains(
            "error: the output must not have more rows than the input, but it has 3, and the input \
                                  2\n"
        ),
        "{}",
        finished.stderr
    );
    assert_eq!(scene.text("long.txt"), "ab\ncd\nef\n");

    scene.decode(&["--input", "words.txt", "--output", "out.jsonl"], "").succeeded();
    scene.write("words.txt", "ab\nxy\nef\n");
    let finished = scene.decode(&["--input", "words.txt", "--resume", "--output", "out.jsonl"], "");
    let error = "error: row 2 of the output must belong to that row of the input, but the sources are\n  cd\n  xy\nhint: --resume \
         needs";
    assert!(finished.code == Some(2) && finished.stderr.contains(error), "{}", finished.stderr);
    assert_eq!(scene.text("out.jsonl").lines().count(), 2);
}

/// A table can be read from standard input.
#[test]
fn standard_input_is_a_table_if_input_format_names_one() {
    let scene = Scene::trained();
    let columns = ["--prefix-column", "begin", "--format", "csv"];
    let csv = "begin,source,target\nab,abc,abc\n,\"fed\",fed\n";
    let jsonl = "{\"source\": \"abc\", \"target\": \"abc\", \"begin\": \"ab\"}\n{\"source\": \"fed\", \"target\": \"fed\", \"begin\": null}\n";
    for (format, input) in [
        ("csv", csv.to_owned()),
        ("tsv", csv.replace(',', "\t").replace('"', "")),
        ("jsonl", jsonl.to_owned()),
    ] {
        let decoded = scene.decode(&[&columns[..], &["--input-format", format]].concat(), &input).succeeded();
        let rows = table(&decoded.stdout);
        assert_eq!(rows[1][..4], ["ab", "abc", "abc", "abc"], "{format}");
        assert_eq!(rows[2][..4], ["", "fed", "fed", "fed"], "{format}");
        let scored = ["score", "runs/copy", "--input", "-", "--format", "csv", "--input-format", format];
        let scores = table(&scene.fed(&scored, input.as_bytes()).succeeded().stdout);
        assert_eq!([&scores[1][1], &scores[2][2]], ["abc", "fed"], "{format}");
    }
    // A file whose name implies no format, or another one.
    scene.write("table.txt", csv);
    let named = ["--input", "table.txt", "--input-format", "csv"];
    assert_eq!(scene.decode(&named, "").succeeded().stdout, "abc\nfed\n");
    scene.fed(&["score", "runs/copy", "--input", "-"], b"").refused(
        2,
        "error: a file of pairs must be .csv, .tsv, .jsonl, .json or .parquet, but it is -\nhint: name its format with --input-format",
    );
}

/// An unfinished output has a record, which is removed when it is complete.
#[test]
fn an_output_is_resumed_only_with_the_same_settings() {
    let scene = Scene::two();
    scene.write("words.txt", "ab\ncd\nef\n");
    let broken = lines(&["x".repeat(2000)].map(|row| row + "\nab"));
    scene.write("broken.txt", format!("ab\ncd\n{broken}"));
    let begin = ["--input", "broken.txt", "--output", "out.txt"];
    assert_eq!(scene.decode(&begin, "").code, Some(2), "the third row is too long");
    assert_eq!(scene.text("out.txt"), "ab\ncd\n");
    assert!(scene.path("out.txt.resume.json").is_file());
    let go_on = ["--input", "words.txt", "--output", "out.txt", "--resume"];
    let other = |run: &str, more: &[&str], message: &str| {
        let finished = scene.seqloom(&[&["decode", run], &go_on[..], more].concat());
        finished
            .refused_naming(2, &["error: an output must be resumed with the same settings, but", message]);
        assert_eq!(scene.text("out.txt"), "ab\ncd\n");
    };
    other("runs/other", &[], "`model` was ");
    other("runs/copy", &["--with", "runs/other"], "`model` was ");
    other("runs/copy", &["--beam", "3"], "`decoding.beam` was 1 and is now 3");
    other("runs/copy", &["--shard", "1/1"], "`--shard` was null and is now ");
    other("runs/copy", &["--prefix", "a"], "`--prefix` was null and is now ");
    let precision = ["--set", "runtime.precision=bf16"];
    other("runs/copy", &precision, r#"`decoding.weights` was "f32" and is now "bf16""#);
    scene.write("words.txt", "xy\ncd\nef\n");
    let refused = scene.decode(&go_on, "");
    let message =
        "error: row 1 of the output must belong to that row of the input, but the sources are\n  ab\n  xy\n";
    assert!(refused.code == Some(2) && refused.stderr.contains(message), "{}", refused.stderr);
    scene.write("words.txt", "ab\ncd\nef\n");
    let batches = ["--set", "decoding.batch_size=3"];
    let finished = scene.decode(&[&go_on[..], &batches].concat(), "").succeeded();
    assert!(!finished.stderr.contains("no record"), "{}", finished.stderr);
    assert_eq!(scene.text("out.txt"), "ab\ncd\nef\n");
    assert!(!scene.path("out.txt.resume.json").exists());
    let finished = scene.decode(&go_on, "").succeeded();
    assert!(finished.stderr.contains("without a record of their settings"), "{}", finished.stderr);
}

#[test]
fn two_commands_never_write_the_same_file() {
    let scene = Scene::trained();
    let mut first = scene.spawn(&["decode", "runs/copy", "--output", "out.txt"]);
    first.stdin.as_mut().unwrap().write_all(b"ab\n").unwrap();
    wait_until("the first one writes", || scene.path("out.txt").metadata().is_ok_and(|file| file.len() > 0));
    for more in [&[][..], &["--resume"]] {
        scene.decode(&[&["--output", "out.txt"], more].concat(), "cd\n").refused(
            2,
            "error: out.txt is being written by another seqloom\n\
             hint: wait for it, or name another file with --output",
        );
    }
    drop(first.stdin.take());
    Finished::of(first).succeeded();
    assert_eq!(scene.text("out.txt"), "ab\n");
}
