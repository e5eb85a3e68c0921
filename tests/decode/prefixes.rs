//! Forced prefixes of outputs.

use serde_json::{Value, json};

use crate::support::run::{Scene, lines, objects, words};

#[test]
fn an_output_begins_with_its_forced_prefix() {
    let scene = Scene::trained();
    let sources = words(20);
    let plain = scene.decode(&[], &lines(&sources)).succeeded().stdout;
    for search in [&["--beam", "1"][..], &["--beam", "4"], &["--set", "decoding.sampling={}"]] {
        let begun =
            scene.decode(&[search, &["--prefix", "ha"]].concat(), &lines(&sources)).succeeded().stdout;
        assert!(begun.lines().all(|line| line.starts_with("ha")), "{begun}");
        assert_eq!(begun.lines().count(), 20);
    }
    // A prefix that the output has anyway changes nothing, and neither does white space around it.
    let score = |more: &[&str]| {
        objects(&scene.decode(&[&["--format", "jsonl"], more].concat(), "abc\n").succeeded().stdout)
    };
    assert_eq!(score(&["--prefix", " ab "]), score(&[]));
    assert_eq!(scene.decode(&["--prefix", ""], &lines(&sources)).succeeded().stdout, plain);
    // An empty source is not decoded.
    let finished = scene.decode(&["--prefix", "ha"], "ab\n\n").succeeded();
    assert_eq!(finished.stdout.lines().nth(1), Some(""));
    assert!(
        finished.stderr.contains("note: empty sources: 1 (their outputs are empty)"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_column_has_the_prefix_of_each_output() {
    let scene = Scene::trained();
    scene.write("in.csv", "source,begin\nabc,ca\nabc,\nhgf,h\n");
    scene.write("in.tsv", "begin\tsource\nca\tabc\n\tabc\nh\thgf\n");
    scene.write(
        "in.jsonl",
        "{\"source\":\"abc\",\"begin\":\"ca\"}\n{\"source\":\"abc\",\"begin\":null}\n{\"source\":\"hgf\",\"begin\":\"h\"}\n",
    );
    for input in ["in.csv", "in.tsv", "in.jsonl"] {
        let arguments = ["--input", input, "--prefix-column", "begin"];
        let outputs = scene.decode(&arguments, "").succeeded().stdout;
        let outputs: Vec<&str> = outputs.lines().collect();
        assert!(outputs[0].starts_with("ca"), "{input}: {outputs:?}");
        assert_eq!(outputs[1..], ["abc", "hgf"], "{input}");
    }
    scene.decode(&["--prefix-column", "begin"], "abc\n").refused(
        2,
        "error: --prefix-column needs a table, but the input is text with one source per line\n\
         hint: name a .csv, .tsv, .jsonl or .json file with --input, or use --input-format",
    );
    scene.decode(&["--input", "in.csv", "--prefix-column", "begins"], "").refused(
        2,
        "error: in.csv:1: there must be a column `begins`, but there are `source`, `begin`\n\
         hint: did you mean `begin`? `--prefix-column` names the column",
    );
    let both = scene.decode(&["--input", "in.csv", "--prefix-column", "begin", "--prefix", "a"], "");
    assert!(both.code == Some(2) && both.stderr.contains("cannot be used with"), "{}", both.stderr);
}

#[test]
fn an_impossible_prefix_is_an_error_of_its_row() {
    let scene = Scene::trained();
    scene.write("in.csv", "source,begin\nab,a\ncd,xcy\nef,\nab,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\ngh,g\n");
    let arguments = ["--input", "in.csv", "--prefix-column", "begin"];
    let finished = scene.decode(&arguments, "");
    assert_eq!((finished.code, finished.stdout.lines().count()), (Some(2), 1));
    assert_eq!(
        finished.stderr,
        "error: in.csv:3: a prefix must consist of symbols of the target's vocabulary, but it lacks 2 of `xcy`\n"
    );
    let skip = ["--on-error", "skip", "--format", "jsonl"];
    let finished = scene.decode(&[&arguments[..], &skip].concat(), "").succeeded();
    let rows = objects(&finished.stdout);
    let outputs: Vec<&Value> = rows.iter().map(|row| &row["output"]).collect();
    assert_eq!(outputs[1..4], [&json!(""), &json!("ef"), &json!("")]);
    assert!(rows[0]["output"].as_str().unwrap().starts_with('a') && rows[4]["error"].is_null());
    assert_eq!(
        rows[3]["error"],
        "in.csv:5: a prefix must not be longer than its output, which may have 8 tokens, but it has 30"
    );
    assert!(finished.stderr.contains("note: skipped rows: 2 "), "{}", finished.stderr);
    // The same with --prefix; a prefix as long as the limit gives an unfinished output.
    let limited = ["--prefix", "ab", "--format", "jsonl", "--set"];
    let row = scene.decode(&[&limited[..], &["decoding.max_length=2"]].concat(), "cd\n").succeeded().stdout;
    assert_eq!((&objects(&row)[0]["output"], &objects(&row)[0]["finished"]), (&json!("ab"), &json!(false)));
    scene.decode(&[&limited[..], &["decoding.max_length=1"]].concat(), "cd\n").refused(
        2,
        "error: <stdin>:1: a prefix must not be longer than its output, which may have 1 token, but it has 2\n\
         hint: allow more with --set decoding.max_length=N",
    );
}

#[test]
fn prefixes_work_with_each_kind_of_tokenizer() {
    let scene = Scene::trained();
    let words = words(2).join(" ");
    for kind in ["data.target.words={}", "data.target.bpe={ vocabulary = 40 }"] {
        let arguments = ["--out", "runs/begun", "--set", "training.steps=1", "--set", kind];
        scene.train(&arguments).succeeded();
        let arguments = ["decode", "runs/begun", "--prefix", &words, "--set", "decoding.max_length=20"];
        let outputs = scene.fed(&arguments, b"ab\nhgfed\n").succeeded().stdout;
        assert!(outputs.lines().all(|line| line.starts_with(&words)), "{kind}: {outputs}");
        // Two letters of a word, which no token need be.
        for search in [&["--beam", "4"][..], &["--set", "decoding.sampling={}"]] {
            let arguments = [&["decode", "runs/begun", "--prefix", &words[..2]], search].concat();
            let outputs = scene.fed(&arguments, b"ab\nhgfed\n").succeeded().stdout;
            assert!(outputs.lines().all(|line| line.starts_with(&words[..2])), "{kind}: {outputs}");
        }
        std::fs::remove_dir_all(scene.path("runs/begun")).unwrap();
    }
}
