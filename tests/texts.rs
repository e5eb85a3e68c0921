//! All changes of texts are reported: spaces and line breaks, the normal form, empty sides, the format of a file.

use serde_json::json;

use crate::support::run::{Scene, objects};

/// Lines of code, by a word.
fn code(n: usize) -> [String; 2] {
    let name = ["ab", "cd", "ef", "gh", "ba", "dc", "fe", "hg"][n % 8];
    let row = format!("    if {name}:\n\treturn  {name}\n");
    [name.to_owned(), row]
}

/// With `train.jsonl`, whose targets are lines of code, and a copy of it to validate on.
fn scene_of_code() -> Scene {
    let scene = Scene::new(8, 2);
    let rows: String = (0..8)
        .map(|n| {
            let [source, target] = code(n);
            format!("{}\n", json!({ "source": source, "target": target }))
        })
        .collect();
    scene.write("train.jsonl", &rows);
    scene
}

fn train_on(scene: &Scene, file: &str, run: &str, steps: u64, settings: &[&str]) -> String {
    let data = [format!("data.train={file}"), format!("data.valid={file}")];
    let steps = format!("training.steps={steps}");
    let every = ["training.validate_every=1000", "decoding.max_length_offset=60"];
    let mut arguments = vec!["--out", run, "--set", &data[0], "--set", &data[1], "--set", &steps];
    every.iter().chain(settings).for_each(|setting| arguments.extend(["--set", setting]));
    scene.train(&arguments).succeeded().stderr
}

#[test]
fn code_keeps_its_white_space_from_file_to_file() {
    let scene = scene_of_code();
    for (run, kind) in [("characters", "data.target.characters={}"), ("bpe", "data.target.bpe.vocabulary=40")]
    {
        let stderr = train_on(&scene, "train.jsonl", run, 250, &["data.target.whitespace=keep", kind]);
        assert!(!stderr.contains("reading changed"), "{stderr}");
        // A sample is one line nevertheless.
        let samples = scene.text(format!("{run}/samples/step-00000250.txt"));
        let first = "ab |     if ab:\\n\treturn  ab\\n |     if ab:\\n\treturn  ab\\n";
        assert_eq!(samples.lines().nth(1), Some(first), "{samples}");
        let decoded = |output: &str| {
            let finished = scene.seqloom(&["decode", run, "--input", "train.jsonl", "--output", output]);
            let stderr = finished.succeeded().stderr;
            assert!(
                stderr.starts_with("8 rows, exact match 100.00 %, character error rate 0.00 % "),
                "{run}: {stderr}"
            );
            stderr
        };
        assert!(!decoded("out.jsonl").contains("note: "));
        decoded("out.csv");
        assert!(decoded("out.txt").contains("note: outputs with line breaks: 8 (text writes them as spaces"));
        let table = scene.text("out.csv");
        let mut table = csv::Reader::from_reader(table.as_bytes());
        for (n, (row, line)) in objects(&scene.text("out.jsonl")).iter().zip(table.records()).enumerate() {
            let (target, line) = (code(n)[1].clone(), line.unwrap());
            assert_eq!(
                (row["output"].as_str().unwrap(), row["reference"].as_str().unwrap()),
                (&*target, &*target)
            );
            assert!([1, 2].iter().all(|&place| line[place] == *target), "{line:?}");
        }
    }
}

#[test]
fn changes_by_reading_are_reported_and_count_as_wrong() {
    let scene = scene_of_code();
    let stderr = train_on(&scene, "train.jsonl", "trimmed", 250, &[]);
    let note = "note: train.jsonl: reading changed 8 of 8 targets: 8 with white space removed at the ends \
                (`data.target.whitespace`), 8 with line breaks or tabs replaced by spaces (`data.target.whitespace`)";
    assert_eq!(stderr.matches(note).count(), 2, "once for training and once for validation:\n{stderr}");
    let asked = ["decode", "trimmed", "--input", "train.jsonl", "--output", "out.jsonl", "--summary", "-"];
    let finished = scene.seqloom(&asked).succeeded();
    let output = objects(&scene.text("out.jsonl"))[0]["output"].clone();
    assert_eq!(output, json!("if ab:  return  ab"), "it has learned what it was given");
    assert!(finished.stderr.starts_with("8 rows, exact match 0.00 %, "), "{}", finished.stderr);
    assert!(
        finished.stderr.contains(&format!("{note}; references that no output can match: 8")),
        "{}",
        finished.stderr
    );
    let summary: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!([&summary["changed_sources"], &summary["changed_references"]], [&json!(0), &json!(8)]);
    // Each reference lacks four spaces in front and a line break at the end, and has two spaces where a break and a tab
    // were.
    assert_eq!(summary["character_error_rate"], json!(7.0 / 23.0));
}

#[test]
fn jamo_are_separate_symbols_if_the_config_decomposes() {
    let scene = Scene::new(8, 2);
    let pairs =
        "source,target\n가나,나가\n\u{1102}\u{1161}\u{1100}\u{1161},\u{1100}\u{1161}\u{1102}\u{1161}\n";
    scene.write("jamo.csv", pairs);
    let stderr = train_on(&scene, "jamo.csv", "nfc", 3, &[]);
    for side in ["source", "target"] {
        let note = format!(
            "note: jamo.csv: reading changed 1 of 2 {side}s: 1 normalized to NFC (`data.{side}.normalize`)"
        );
        assert!(stderr.contains(&note), "{stderr}");
    }
    assert!(stderr.contains("vocabularies: source 6 characters, target 6 characters"), "{stderr}");
    let nfd = ["data.source.normalize=nfd", "data.target.normalize=nfd"];
    let stderr = train_on(&scene, "jamo.csv", "nfd", 150, &nfd);
    assert!(stderr.contains("1 normalized to NFD") && !stderr.contains("to NFC"), "{stderr}");
    assert!(stderr.contains("vocabularies: source 7 characters, target 7 characters"), "{stderr}");
    let outputs = scene.fed(&["decode", "nfd"], "가나\n\u{1100}\u{1161}\u{1102}\u{1161}\n".as_bytes());
    let expected = "\u{1102}\u{1161}\u{1100}\u{1161}\n".repeat(2);
    assert_eq!(outputs.succeeded().stdout, expected);
    // The text form is part of the model.
    let more =
        ["--from", "nfd", "--out", "more", "--set", "data.train=jamo.csv", "--set", "data.valid=jamo.csv"];
    scene.train(&more).refused_naming(2, &["must be read as the config sets it (NFC", "reads them as NFD"]);
}

#[test]
fn empty_sources_are_decoded_by_a_model_trained_on_them() {
    let scene = Scene::new(8, 2);
    scene.write("pairs.csv", "source,target\n\"\",abab\nab,\"\"\nba,ba\n");
    let refused = scene.train(&["--set", "data.train=pairs.csv"]);
    refused.refused_naming(2, &["pairs.csv:2: the source of a pair", "2 pairs have an empty side"]);
    let stderr = train_on(&scene, "pairs.csv", "skipped", 3, &["data.empty=skip"]);
    assert!(
        stderr.contains("1 training pair; 2 skipped because a side is empty, the first at pairs.csv:2"),
        "{stderr}"
    );
    let silent = scene.fed(&["decode", "skipped"], b"\n").succeeded();
    assert_eq!(silent.stdout, "\n");
    assert!(silent.stderr.contains("note: empty sources: 1 (their outputs are empty)"), "{}", silent.stderr);
    train_on(&scene, "pairs.csv", "kept", 150, &["data.empty=keep"]);
    let asked = ["decode", "kept", "--input", "pairs.csv", "--output", "out.txt", "--trace", "trace.jsonl"];
    let stderr = scene.seqloom(&asked).succeeded().stderr;
    assert_eq!(scene.text("out.txt"), "abab\n\nba\n");
    assert!(stderr.starts_with("3 rows, exact match 100.00 %") && !stderr.contains("empty"), "{stderr}");
    let traced = objects(&scene.text("trace.jsonl"));
    assert_eq!(
        (&traced[0]["source_tokens"], traced[0]["steps"].as_array().unwrap().len()),
        (&json!(["<eos>"]), 5)
    );
    let scores = scene.seqloom(&["score", "kept", "--input", "pairs.csv", "--format", "jsonl"]).succeeded();
    assert_eq!(
        objects(&scores.stdout).iter().map(|row| row["length"].clone()).collect::<Vec<_>>(),
        [5, 1, 3]
    );
    scene.seqloom(&["verify", "kept", "--input", "pairs.csv"]).succeeded();
}

#[test]
fn the_assumed_format_of_an_input_is_reported() {
    let scene = Scene::trained();
    let guessed = "was read as text with one source per line; for a table use --input-format\n";
    for (name, note) in [("in.txt", None), ("in.words", Some("in.words")), ("in", Some("in"))] {
        scene.write(name, "abc\nfee\n");
        let finished = scene.decode(&["--input", name], "").succeeded();
        assert_eq!(finished.stdout, "abc\nfee\n");
        assert_eq!(finished.stderr, note.map_or(String::new(), |name| format!("note: {name} {guessed}")));
        let finished = scene.decode(&["--input", name, "--input-format", "text"], "").succeeded();
        assert_eq!(finished.stderr, "");
    }
    assert_eq!(scene.decode(&[], "abc\n").succeeded().stderr, format!("note: <stdin> {guessed}"));
}

#[test]
fn lines_that_end_in_cr_alone_are_read_and_reported() {
    let scene = Scene::trained();
    scene.write("mac.csv", "source,target\rabc,abc\rfee,fee\r");
    scene.write("mac.txt", "abc\rfee\rbad");
    for (name, outputs) in [("mac.csv", "abc\nfee\n"), ("mac.txt", "abc\nfee\nbad\n")] {
        let finished = scene.decode(&["--input", name], "").succeeded();
        assert_eq!(finished.stdout, outputs);
        let note = format!("note: {name}: lines end in CR alone, and CR is read as the line break\n");
        assert!(finished.stderr.ends_with(&note), "{}", finished.stderr);
    }
    let stderr = train_on(&scene, "mac.csv", "mac", 1, &[]);
    assert!(
        stderr.contains("2 training pairs") && stderr.contains("note: mac.csv: lines end in CR alone"),
        "{stderr}"
    );
    scene.write("windows.csv", "source,target\r\n\"ab\r\nc\",\"ab\nc\"\r\n");
    let finished = scene.decode(&["--input", "windows.csv"], "").succeeded();
    let note = "note: windows.csv: line breaks within fields are CR and LF, and are read as LF\n";
    assert!(finished.stderr.contains(note), "{}", finished.stderr);
    // Within other lines a CR is a character, which reading makes a space and counts.
    let finished = scene.decode(&["--input-format", "text"], "ab\rc\nfee\n").succeeded();
    assert_eq!(finished.stdout.lines().count(), 2);
    assert!(
        finished
            .stderr
            .contains("reading changed 1 of 2 sources: 1 with line breaks or tabs replaced by spaces")
    );
}

#[test]
fn a_file_without_rows_is_refused_in_training_and_reported_in_decoding() {
    let scene = Scene::trained();
    scene.write("none.csv", "source,target\n");
    scene
        .train(&["--out", "x", "--set", "data.train=[\"train.csv\", \"none.csv\"]"])
        .refused(2, "error: a file of pairs must have at least one row, but none.csv has none");
    let finished = scene.decode(&["--input", "none.csv"], "").succeeded();
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("", "note: none.csv has no rows\n"));
    let finished = scene.decode(&["--input-format", "text"], "").succeeded();
    assert_eq!(finished.stderr, "note: <stdin> has no rows\n");
    let finished = scene.seqloom(&["score", "runs/copy", "--input", "none.csv"]).succeeded();
    assert_eq!(finished.stderr, "note: none.csv has no rows\n");
}

#[test]
fn names_of_sound_files_are_refused_as_sources() {
    let scene = Scene::trained();
    let refused = "error: sources must be texts, but all of them are names of audio files, such as `a.wav`\n\
                   hint: add [data.source.audio] to read them as recordings";
    scene.write("sound.csv", "source,target\na.wav,abc\nb.wav,fee\n");
    scene.train(&["--out", "x", "--set", "data.train=sound.csv"]).refused(2, refused);
    scene.decode(&["--input", "sound.csv"], "").refused(2, refused);
    scene.verify(&["--input", "sound.csv"], "").refused(2, refused);
    scene.seqloom(&["score", "runs/copy", "--input", "sound.csv"]).refused(2, refused);
}

#[test]
fn the_columns_of_a_table_without_a_header_are_named_by_numbers() {
    let scene = Scene::trained();
    scene.write("lex.tsv", "abc\ta b c\nfee\tf e e\nbad\tb a d\n");
    let data = ["data.train=lex.tsv", "data.valid=lex.tsv", "training.steps=2", "data.target.words={}"];
    let set: Vec<&str> = data.iter().flat_map(|setting| ["--set", setting]).collect();
    let refused = scene.train(&[&set[..], &["--out", "lex"]].concat());
    refused.refused_naming(
        2,
        &["there must be a column `source`, but there are `abc`, `a b c`", "`data.header = false`"],
    );
    let settings = [&set[..], &["--set", "data.header=false", "--out", "lex"]].concat();
    let stderr = scene.train(&settings).succeeded().stderr;
    assert!(stderr.contains("3 training pairs"), "{stderr}");
    let swapped = ["data.source.column=2", "data.target.column=1", "data.target.characters={}"];
    let swapped = swapped.iter().flat_map(|setting| ["--set", setting]).collect::<Vec<_>>();
    let finished = scene
        .train(&[&settings[..6], &["--set", "data.header=false", "--out", "swapped"], &swapped].concat());
    assert!(finished.succeeded().stderr.contains("vocabularies: source 11 characters"));
    let decoded = |run: &str, more: &[&str]| {
        let asked = [&["decode", run, "--input", "lex.tsv", "--format", "jsonl"], more].concat();
        let rows = objects(&scene.seqloom(&asked).succeeded().stdout);
        rows.iter().map(|row| format!("{} {}", row["source"], row["reference"])).collect::<Vec<_>>()
    };
    let expected = ["\"abc\" \"a b c\"", "\"fee\" \"f e e\"", "\"bad\" \"b a d\""];
    assert_eq!(decoded("lex", &[]), expected);
    // Independent of the files of the training.
    assert_eq!(decoded("runs/copy", &["--header", "false"]), expected);
    scene.write("lex.csv", "source,target\nabc,a b c\n");
    let asked = ["score", "lex", "--input", "lex.csv", "--header", "true"];
    assert_eq!(scene.seqloom(&asked).succeeded().stdout.lines().count(), 1);
    let asked = ["score", "runs/copy", "--input", "lex.tsv", "--header", "false"];
    assert_eq!(scene.seqloom(&asked).succeeded().stdout.lines().count(), 3);
    scene
        .decode(&["--input", "lex.tsv"], "")
        .refused_naming(2, &["for a file without such a row use `--header false`"]);
}
