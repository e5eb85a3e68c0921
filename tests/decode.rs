//! `seqloom decode`, `inspect` and `doctor` as a user runs them: inputs, outputs and counts.
//!
//! The model copies words without errors, so that each output identifies its source.

mod beams;
mod copied_fields;
mod ensembles;
mod n_best;
mod prefixes;
mod shards;
mod shortlists;
mod streams;
mod verify;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use seqloom::checkpoint::model_file;
use serde_json::{Value, json};

use crate::support::run::{Finished, Scene, lines, objects, start, words};

fn table(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn each_line_of_text_has_a_line_of_output() {
    let scene = Scene::trained();
    let finished = scene.decode(&[], "abc\n\nhgfed\n \t \ncab").succeeded();
    assert_eq!(finished.stdout, "abc\n\nhgfed\n\ncab\n");
    let notes = "note: <stdin> was read as text with one source per line; for a table use --input-format\n\
                 note: <stdin>: reading changed 1 of 5 sources: 1 with white space removed at the ends \
                 (`data.source.whitespace`)\n\
                 note: empty sources: 2 (their outputs are empty); the first: <stdin>:2\n";
    assert_eq!(finished.stderr, notes);
    assert_eq!(scene.decode(&[], "").succeeded().stdout, "");
    scene.write("words.txt", "ba\r\ndead\r\n");
    assert_eq!(scene.decode(&["--input", "words.txt"], "").succeeded().stdout, "ba\ndead\n");
}

#[test]
fn outputs_are_in_the_order_of_the_sources_with_any_batch_size() {
    let scene = Scene::trained();
    // More rows than are read together (2,048), of all lengths.
    let sources = lines(&words(2100));
    let whole = scene.decode(&[], &sources).succeeded().stdout;
    let wrong = sources.lines().zip(whole.lines()).filter(|(source, output)| source != output).count();
    assert_eq!(whole.lines().count(), 2100);
    assert!(wrong < 42, "{wrong} of 2100 words are not copied: they are out of order, or the model is bad");

    let some = lines(&words(60));
    let outputs: Vec<String> = ["1", "2", "7", "64"]
        .iter()
        .map(|size| format!("decoding.batch_size={size}"))
        .map(|setting| scene.decode(&["--set", &setting], &some).succeeded().stdout)
        .collect();
    assert_eq!(outputs, vec![outputs[3].clone(); 4]);
    assert!(whole.starts_with(&outputs[0]));
}

#[test]
fn a_beam_decodes_words_too_and_does_not_depend_on_the_batch() {
    let scene = Scene::trained();
    let sources = lines(&words(60));
    let decode = |more: &[&str]| scene.decode(&[&["--format", "jsonl"], more].concat(), &sources).succeeded();
    let outputs = |more: &[&str]| -> Vec<Value> {
        objects(&decode(more).stdout).iter().map(|row| row["output"].clone()).collect()
    };
    let found = outputs(&["--beam", "4"]);
    let wrong = found.iter().zip(words(60)).filter(|(output, word)| *output != word).count();
    assert!(found.len() == 60 && wrong < 3, "{wrong} of {} words are not copied", found.len());
    for size in ["decoding.batch_size=1", "decoding.batch_size=7"] {
        assert_eq!(outputs(&["--beam", "4", "--set", size]), found, "{size}");
    }
    assert_eq!(decode(&["--beam", "4"]).stdout, decode(&["--set", "decoding.beam=4"]).stdout);
    assert_eq!(decode(&["--beam", "1"]).stdout, decode(&[]).stdout, "greedy search is the default");
}

#[test]
fn every_table_format_is_read_and_written_with_references() {
    let scene = Scene::trained();
    scene.write("in.csv", "target,source\nabc,abc\ncab,bad\n");
    scene.write("in.tsv", "source\ttarget\nabc\tabc\nbad\tcab\n");
    scene.write(
        "in.jsonl",
        "{\"source\":\"abc\",\"target\":\"abc\"}\n{\"source\":\"bad\",\"target\":\"cab\"}\n",
    );
    for input in ["in.csv", "in.tsv", "in.jsonl"] {
        let text = scene.decode(&["--input", input], "").succeeded();
        assert_eq!(text.stdout, "abc\nbad\n", "{input}");
        assert_eq!(
            text.stderr,
            "2 rows, exact match 50.00 %, character error rate 33.33 % (2 substitutions, 0 deletions, 0 insertions in 6 characters)\n",
            "{input}"
        );

        scene.decode(&["--input", input, "--output", "out.csv"], "").succeeded();
        let rows = table(&scene.text("out.csv"));
        assert_eq!(rows[0], ["source", "reference", "output", "score", "finished"]);
        assert_eq!(rows[1][..3], ["abc", "abc", "abc"]);
        assert_eq!(
            (&rows[2][..3], rows[2][4].as_str()),
            (&["bad", "cab", "bad"].map(String::from)[..], "true")
        );

        scene.decode(&["--input", input, "--output", "out.jsonl"], "").succeeded();
        let objects = objects(&scene.text("out.jsonl"));
        let score: f64 = rows[2][3].parse().unwrap();
        assert!(score < 0.0);
        let second =
            json!({"source": "bad", "reference": "cab", "output": "bad", "score": score, "finished": true});
        assert_eq!(objects[1], second, "{input}");
    }
}

#[test]
fn a_table_may_have_only_sources_and_their_column_can_be_named() {
    let scene = Scene::trained();
    scene.write("in.csv", "word,source\nabc,dab\n");
    assert_eq!(scene.decode(&["--input", "in.csv"], "").succeeded().stdout, "dab\n");
    let finished =
        scene.decode(&["--input", "in.csv", "--column", "word", "--format", "csv"], "").succeeded();
    assert_eq!(table(&finished.stdout)[0], ["source", "output", "score", "finished"]);
    assert_eq!(table(&finished.stdout)[1][..2], ["abc", "abc"]);
    let note = "note: not copied from the input: `source` (the output has its own columns of that name)\n";
    assert_eq!(finished.stderr, note, "no metrics without references");
}

#[test]
fn quotes_and_line_breaks_in_a_field_are_preserved() {
    let scene = Scene::trained();
    let sources = ["say \"ab\"", "ab\ncd", "a,b", " ab ", "", "ab\"", "\n"];
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["source", "target"]).unwrap();
    sources.iter().for_each(|source| writer.write_record([source, source]).unwrap());
    scene.write("in.csv", writer.into_inner().unwrap());
    let finished = scene.decode(&["--input", "in.csv", "--format", "csv"], "").succeeded();
    let back = table(&finished.stdout);
    assert_eq!(back.len(), 1 + sources.len());
    for (row, source) in back[1..].iter().zip(sources) {
        assert_eq!([&row[0], &row[1]], [source, source]);
    }
    let finished = scene.decode(&["--input", "in.csv", "--format", "jsonl"], "").succeeded();
    let back: Vec<Value> = objects(&finished.stdout).iter().map(|row| row["source"].clone()).collect();
    assert_eq!(back, sources.map(Value::from));
    assert_eq!(scene.decode(&["--input", "in.csv"], "").succeeded().stdout.lines().count(), sources.len());
}

/// As `seqloom decode RUN | head -1` does it.
#[test]
fn a_closed_output_pipe_is_no_error() {
    let scene = Scene::trained();
    scene.write("words.txt", lines(&words(5000)));
    let arguments = ["decode", "runs/copy", "--input", "words.txt", "--set", "decoding.max_length=2"];
    let mut child = scene.spawn(&arguments);
    let mut first = String::new();
    let mut reader = BufReader::with_capacity(1, child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert_eq!(first.trim_end(), &words(1)[0][..2]);
    assert!(stderr.lines().all(|line| line.starts_with("note: ")), "{stderr}");
}

#[test]
fn unknown_symbols_are_decoded_and_counted() {
    let finished = Scene::trained().decode(&[], "axy\nab\nz\n").succeeded();
    assert_eq!(finished.stdout.lines().count(), 3);
    assert_eq!(finished.stdout.lines().nth(1), Some("ab"));
    assert!(
        finished.stderr.contains("note: symbols of the sources that are not in the vocabulary: 3\n"),
        "{}",
        finished.stderr
    );
}

#[test]
fn an_output_at_the_limit_is_flagged_and_counted() {
    let scene = Scene::trained();
    let limited = ["--set", "decoding.max_length=1", "--format", "jsonl", "--summary", "summary.json"];
    let finished = scene.decode(&limited, "abc\n\nfed\n").succeeded();
    let flags: Vec<(Value, Value)> = objects(&finished.stdout)
        .iter()
        .map(|row| (row["output"].clone(), row["finished"].clone()))
        .collect();
    assert_eq!(flags, [("a", false), ("", true), ("f", false)].map(|(a, b)| (json!(a), json!(b))));
    assert!(finished.stderr.ends_with(
        "note: unfinished outputs: 2 (they reached `decoding.max_length`, or the constraints \
                                       allowed no further token)\n"
    ));
    let summary: Value = serde_json::from_str(&scene.text("summary.json")).unwrap();
    let counts = ["rows", "unfinished", "empty", "unknown", "skipped", "truncated"].map(|key| &summary[key]);
    assert_eq!(counts, [3, 2, 1, 0, 0, 0].map(|count| json!(count)).each_ref());
}

#[test]
fn a_summary_and_examples_are_written_on_request() {
    let scene = Scene::trained();
    scene.write("in.csv", "source,target\nabc,abc\nbad,cab\nfee,fee\n");
    let asked = ["--input", "in.csv", "--examples", "2", "--summary", "summary.json"];
    let finished = scene.decode(&asked, "").succeeded();
    assert_eq!(finished.stdout, "abc\nbad\nfee\n");
    assert!(
        finished.stderr.starts_with("  abc  ->  abc  (right)\n  bad  ->  bad  (wrong: it is cab)\n3 rows, "),
        "{}",
        finished.stderr
    );
    let summary: Value = serde_json::from_str(&scene.text("summary.json")).unwrap();
    assert_eq!((&summary["rows"], &summary["unfinished"]), (&json!(3), &json!(0)));
    assert_eq!(summary["exact_match"], json!(2.0 / 3.0));
    assert_eq!(summary["character_error_rate"], json!(2.0 / 9.0));
    let asked = ["--input", "in.csv", "--output", "out.txt", "--summary", "-"];
    assert_eq!(scene.decode(&asked, "").succeeded().stdout, scene.text("summary.json"));
    scene.decode(&["--input", "in.csv", "--summary", "-"], "").refused(
        2,
        "error: standard output cannot be both the output and the summary\nhint: name another file with --summary",
    );
}

#[test]
fn a_model_file_alone_decodes_like_its_run() {
    let scene = Scene::trained();
    let elsewhere = tempfile::tempdir().unwrap();
    let model = scene.checkpoint("runs/copy", "best").join("model.safetensors");
    std::fs::write(elsewhere.path().join("m.safetensors"), scene.read(&model)).unwrap();
    scene.write("words.txt", lines(&words(50)));
    let input = scene.path("words.txt").display().to_string();
    let of = |folder: &Path, run: &str| {
        let arguments = ["decode", run, "--input", &input, "--format", "jsonl"];
        Finished::of(start(folder, &arguments)).succeeded().stdout
    };
    let lone = of(elsewhere.path(), "m.safetensors");
    let folder = model.parent().unwrap().display().to_string();
    for run in ["runs/copy", &folder, &model.display().to_string()] {
        assert_eq!(of(&scene.path(""), run), lone, "{run}");
    }
    assert_eq!(lone.lines().count(), 50);
}

#[test]
fn inspect_shows_the_experiment_the_vocabularies_and_every_parameter() {
    let scene = Scene::trained();
    let best = scene.checkpoint("runs/copy", "best").join("model.safetensors");
    let (header, weights) = model_file::read(&scene.path(&best)).unwrap();
    let text = scene.seqloom(&["inspect", "runs/copy", "--tensors", "--vocabulary"]).succeeded().stdout;
    let numbers: usize = weights.iter().map(|(_, tensor)| tensor.numel()).sum();
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        &format!(
            "{}\nwritten by seqloom {version}, format 1, after {} updates\n",
            best.display(),
            header.step
        ),
        "\nname = \"copy\"\n",
        "\nlearning_rate = 0.01\n",
        "source: 12 of characters\n  \"<pad>\" \"<unk>\" \"<bos>\" \"<eos>\" \"",
        "target: 12 of characters\n",
        &format!(" {numbers}  in all\n"),
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    for (name, tensor) in &weights {
        assert!(text.contains(&format!("  {name} {:?}\n", tensor.size())), "{name}");
    }
    let short = scene.seqloom(&["inspect", "runs/copy"]).succeeded().stdout;
    assert!(!short.contains("query.weight"), "{short}");
}

#[test]
fn doctor_reports_the_libtorch_in_use() {
    let finished = Scene::new(2, 1).seqloom(&["doctor"]).succeeded();
    let line = |what: &str| finished.stdout.lines().find(|line| line.starts_with(what)).unwrap();
    assert!(line("libtorch ").split_whitespace().nth(1).unwrap().starts_with("2.11."), "{}", finished.stdout);
    assert!(line("seqloom ").ends_with(env!("CARGO_PKG_VERSION")));
    assert!(line("loaded from").contains("libtorch_cpu"));
    assert_eq!(finished.stderr, "");
}

#[test]
fn an_output_that_would_destroy_its_input_is_refused() {
    let scene = Scene::trained();
    let before = scene.read("valid.csv");
    scene.decode(&["--input", "valid.csv", "--output", "./valid.csv"], "").refused(
        2,
        "error: valid.csv cannot be both the input and the output\n\
         hint: name another file with --output",
    );
    let two_roles = [
        (&["--input", "valid.csv", "--summary", "./valid.csv"][..], "valid.csv", "input", "summary"),
        (&["--output", "new.csv", "--summary", "./new.csv"], "new.csv", "output", "summary"),
    ];
    for (arguments, file, one, other) in two_roles {
        let message = format!(
            "error: {file} cannot be both the {one} and the {other}\nhint: name another file with --{other}"
        );
        scene.decode(arguments, "ab\n").refused(2, &message);
    }
    let scored = scene.seqloom(&["score", "runs/copy", "--input", "valid.csv", "--summary", "valid.csv"]);
    scored.refused(
        2,
        "error: valid.csv cannot be both the input and the summary\nhint: name another file with --summary",
    );
    assert_eq!(scene.read("valid.csv"), before);
    // What cannot be opened is known before the output is emptied.
    scene.write("old.txt", "precious\n");
    let refused = scene.decode(&["--output", "old.txt", "--trace", "nowhere/trace.jsonl"], "ab\n");
    assert_eq!((refused.code, scene.text("old.txt").as_str()), (Some(2), "precious\n"), "{}", refused.stderr);
    scene.decode(&["--output", "out.tsv"], "ab\n").refused(
        2,
        "error: outputs cannot be TSV, but out.tsv has that extension\n\
         hint: name a .csv or .jsonl file, or use --format",
    );
}
