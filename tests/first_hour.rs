//! The first hour of a new user: help that fits the terminal, names that are found, readable lines.

use serde_json::json;

use crate::support::fork_server;
use crate::support::run::{Finished, Scene, objects};

mod init;
mod readme;

const COMMANDS: [&str; 20] = [
    "init",
    "train",
    "check",
    "experiment",
    "average",
    "data",
    "decode",
    "distill",
    "merge",
    "interactive",
    "verify",
    "attention",
    "score",
    "evaluate",
    "shortlist",
    "inspect",
    "tokenize",
    "detokenize",
    "keys",
    "doctor",
];

/// `--help` on a terminal with this many columns.
fn help(scene: &Scene, command: &str, columns: usize) -> String {
    let arguments: Vec<&str> = [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
    let columns = columns.to_string();
    fork_server::run(&scene.path(""), &arguments, &[("COLUMNS", &columns)], b"").succeeded().stdout
}

#[test]
fn help_is_as_wide_as_the_terminal_and_groups_the_options() {
    let scene = Scene::new(8, 2);
    for columns in [60, 80, 110] {
        for command in COMMANDS.iter().chain(&[""]) {
            for line in help(&scene, command, columns).lines() {
                // Neither the words of an example nor the name of an option can be wrapped.
                let parts = line.split_whitespace().count() > 1;
                assert!(line.chars().count() <= columns || !parts, "{command} at {columns}: {line}");
            }
        }
    }
    let decode = help(&scene, "decode", 100);
    let headings = ["Options:", "Model:", "Input:", "Output:", "Search:", "Inspection:"];
    assert!(headings.iter().all(|heading| decode.contains(&format!("\n{heading}\n"))), "{decode}");
    let train = help(&scene, "train", 100);
    assert!(["Config:", "Run:", "Initial weights:"].iter().all(|heading| train.contains(heading)), "{train}");
}

#[test]
fn the_error_for_a_key_without_its_table_names_the_full_key() {
    let scene = Scene::trained();
    for (setting, name) in [
        ("n_best=3", "decoding.n_best"),
        ("beam=5", "decoding.beam"),
        ("threads=1", "runtime.threads"),
        ("decoding.threads=1", "runtime.threads"),
    ] {
        let hint = format!("hint: did you mean `{name}`?");
        scene.decode(&["--set", setting], "ab\n").refused_naming(2, &[&hint]);
        scene.train(&["--set", setting, "--out", "other"]).refused_naming(2, &[&hint]);
    }
    scene.decode(&["--set", "weigths=int8"], "ab\n").refused_naming(2, &["did you mean `decoding.weights`?"]);
    for (setting, name) in [("steps=5", "training.steps"), ("transformer.width=8", "model.transformer")] {
        let hint = format!("hint: did you mean `{name}`?");
        scene.train(&["--set", setting, "--out", "other"]).refused_naming(2, &[&hint]);
    }
    for (option, path) in [
        ("--steps=5", "training.steps"),
        ("--learning-rate", "training.adamw.learning_rate"),
        ("--runtime.threads", "runtime.threads"),
    ] {
        let finished = scene.train(&[option, "5"]);
        assert_eq!(finished.code, Some(2));
        let hint = format!("hint: set the key of that name with `--set {path}=…`\n");
        assert!(finished.stderr.ends_with(&hint), "{}", finished.stderr);
    }
    let ends = |finished: Finished, end: &str| {
        assert!(finished.stderr.ends_with(end), "{}", finished.stderr);
        assert!(!finished.stderr.contains("as a value"), "{}", finished.stderr);
    };
    ends(
        scene.train(&["--lr", "5"]),
        "hint: set the key of that name with `--set training.adamw.learning_rate=…`\n",
    );
    ends(
        scene.decode(&["--max-length", "5"], "ab\n"),
        "hint: set the key of that name with `--set decoding.max_length=…`\n",
    );
    // A command without `--set` gives no such hint.
    ends(scene.decode(&["--steps", "5"], "ab\n"), "For more information, try '--help'.\n");
    ends(scene.seqloom(&["doctor", "--threads", "5"]), "For more information, try '--help'.\n");
    let finished = scene.decode(&["--nbest", "3"], "ab\n");
    assert!(finished.stderr.contains("--n-best"), "{}", finished.stderr);
    assert!(!scene.path("other").exists());
}

#[test]
fn keys_prints_the_reference_page_or_the_keys_that_contain_a_word() {
    let scene = Scene::new(8, 2);
    let keys = |words: &[&str]| scene.seqloom(&[&["keys"], words].concat());
    assert_eq!(keys(&[]).succeeded().stdout, include_str!("../configs/reference.toml"));
    let beam = keys(&["decoding", "sampling"]).succeeded().stdout;
    assert!(beam.contains("#[decoding.sampling]") && beam.contains("\n#temperature = 1.0 "), "{beam}");
    assert!(!beam.contains("learning_rate"), "{beam}");
    let rate = keys(&["learning_rate_factor"]).succeeded().stdout;
    assert_eq!(rate, "#[[training.groups]]\n#learning_rate_factor = 1.0 # factor of the learning rate\n");
    keys(&["lerning_rate"]).refused_naming(2, &["hint: did you mean `training.adamw.learning_rate`, "]);
}

#[test]
fn the_number_of_outputs_is_that_of_n_best() {
    let scene = Scene::trained();
    let decode = |more: &[&str]| scene.decode(&[&["--format", "jsonl"], more].concat(), "abcd\n");
    let three = decode(&["--n-best", "3"]).succeeded();
    assert_eq!(
        three.stderr.lines().next(),
        Some("note: --n-best 3 needs a beam of that width: `decoding.beam` is now 3")
    );
    assert_eq!(objects(&three.stdout).iter().map(|row| &row["rank"]).collect::<Vec<_>>(), [1, 2, 3]);
    let same = decode(&["--beam", "3", "--set", "decoding.n_best=3"]).succeeded();
    assert_eq!(three.stdout, same.stdout);
    // A beam that is wide enough is kept, and samples need none.
    let five = decode(&["--beam", "5", "--n-best", "2"]).succeeded();
    assert!(objects(&five.stdout).len() == 2 && !five.stderr.contains("note: --n-best"), "{}", five.stderr);
    let grouped = decode(&["--n-best", "3", "--beam", "2", "--set", "decoding.beam_groups=2"]).succeeded();
    assert!(
        grouped.stderr.contains("is now 4\n") && objects(&grouped.stdout).len() == 3,
        "{}",
        grouped.stderr
    );
    let drawn = decode(&["--n-best", "4", "--set", "decoding.sampling={}"]).succeeded();
    assert!(objects(&drawn.stdout).len() == 4 && !drawn.stderr.contains("beam"), "{}", drawn.stderr);
    decode(&["--n-best", "0"]).refused_naming(2, &["`n_best` must be at least 1, but it is 0"]);
}

#[test]
fn references_are_read_from_any_column_or_from_a_separate_file() {
    let scene = Scene::trained();
    scene.write("in.csv", "source,right\nabc,abc\nhgfed,no\n");
    scene.write("in.txt", "abc\nhgfed\n");
    scene.write("right.txt", "abc\nno\n");
    let decode = |arguments: &[&str], input: &str| {
        scene.decode(&[arguments, &["--format", "jsonl", "--summary", "s.json"]].concat(), input)
    };
    for (arguments, input) in [
        (&["--input", "in.csv", "--target-column", "right"][..], ""),
        (&["--input", "in.txt", "--targets", "right.txt"], ""),
        (&["--targets", "right.txt"], "abc\nhgfed\n"),
    ] {
        let rows = objects(&decode(arguments, input).succeeded().stdout);
        assert_eq!(rows.iter().map(|row| &row["reference"]).collect::<Vec<_>>(), ["abc", "no"]);
        let summary: serde_json::Value = serde_json::from_str(&scene.text("s.json")).unwrap();
        assert_eq!(summary["exact_match"], json!(0.5), "{arguments:?}");
    }
    let missing = "error: in.csv:1: there must be a column `rihgt`, but there are `source`, `right`\n\
                   hint: did you mean `right`? `--target-column` names the column";
    decode(&["--input", "in.csv", "--target-column", "rihgt"], "").refused(2, missing);
    decode(&["--input", "in.txt", "--target-column", "x"], "")
        .refused_naming(2, &["error: --target-column needs a table"]);
    scene.write("short.txt", "abc\n");
    let unequal = decode(&["--input", "in.txt", "--targets", "short.txt"], "");
    assert!(unequal.code == Some(2) && unequal.stderr.contains("in.txt has 2 and short.txt has 1"));
    decode(&["--input", "in.txt", "--targets", "right.txt", "--output", "right.txt"], "")
        .refused_naming(2, &["right.txt cannot be both the targets and the output"]);
    assert_eq!(scene.text("right.txt"), "abc\nno\n");
    decode(&["--input", "in.csv", "--targets", "right.txt"], "")
        .refused_naming(2, &["this file is a table: in.csv"]);
    let rows = objects(&decode(&["--input", "in.csv", "--source-column", "right"], "").succeeded().stdout);
    assert_eq!(rows[0]["source"], "abc");
    let same = decode(&["--input", "valid.csv", "--column", "target"], "").succeeded();
    assert!(!same.stderr.contains("exact match"), "a column is no reference for itself: {}", same.stderr);
}

#[test]
fn a_progress_line_is_short_and_verbose_shows_the_speed_in_detail() {
    let scene = Scene::new(60, 12);
    let few = ["training.steps=40", "training.log_every=10", "training.validate_every=40"];
    let train = |out: &str, more: &[&str]| {
        let mut arguments = vec!["--out", out];
        few.iter().for_each(|setting| arguments.extend(["--set", *setting]));
        scene.train(&[&arguments[..], more].concat()).succeeded().stderr
    };
    let progress = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains(": loss ")).map(str::to_owned).collect()
    };
    let short = train("short", &[]);
    assert!(progress(&short).len() == 4 && !short.contains("matrix peak"), "{short}");
    let wide = short.lines().find(|line| line.starts_with("step ") && line.chars().count() > 80);
    assert_eq!(wide, None);
    assert!(progress(&short)[0].ends_with(" left"), "{short}");
    let long = train("long", &["--verbose"]);
    let shares = |text: &str| -> Vec<f64> {
        let share = |line: &str| line.split_once(" % of the matrix peak")?.0.rsplit(' ').next()?.parse().ok();
        text.lines().filter_map(share).collect()
    };
    // No share exceeds 100 %, and the log is always complete.
    for text in [long, scene.text("short/train.log")] {
        assert!(shares(&text).len() == 4 && shares(&text).iter().all(|share| *share <= 100.0), "{text}");
        assert!(["padding ", "waiting ", "memory "].iter().all(|word| text.contains(word)), "{text}");
    }
    assert!(scene.text("short/train.log").lines().filter(|line| line.contains(": loss ")).count() == 4);
}
