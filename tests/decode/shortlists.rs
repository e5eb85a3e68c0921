//! `seqloom shortlist`, and decoding with a shortlist.

use seqloom::Predictor;
use serde_json::{Value, json};

use crate::support::run::{Scene, lines, objects, words};

/// The letters of the words of a scene, as its model has them.
fn letters(scene: &Scene) -> Vec<String> {
    let json: Value = serde_json::from_str(&scene.text("list.json")).unwrap();
    json["lists"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn a_shortlist_is_learned_and_restricts_outputs() {
    let scene = Scene::trained();
    let arguments = ["shortlist", "runs/copy", "--output", "list.json", "--frequent", "2", "--best", "1"];
    let finished = scene.seqloom(&arguments).succeeded();
    assert_eq!(
        finished.stderr,
        "learned from 400 pairs\nvalidation targets: 40, the lists cover 100.00 % of their tokens, and 100.00 % of the \
         targets entirely; a list has 7 of 12 tokens on average\n"
    );
    let json: Value = serde_json::from_str(&scene.text("list.json")).unwrap();
    assert_eq!((&json["format"], json["frequent"].as_array().unwrap().len()), (&json!(1), 2));
    for letter in letters(&scene) {
        assert_eq!(json["lists"][&letter], json!([letter]), "the words are copied");
    }
    let sources = lines(&words(60));
    let decode = |more: &[&str]| scene.decode(&[&["--format", "csv"], more].concat(), &sources).succeeded();
    let listed = decode(&["--shortlist", "list.json"]).stdout;
    let outputs = |text: &str| -> Vec<String> {
        text.lines().skip(1).map(|row| row.split(',').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(outputs(&listed), outputs(&decode(&[]).stdout));
    assert_ne!(listed, decode(&[]).stdout, "a softmax over fewer tokens gives more to each");
    for setting in ["decoding.batch_size=1", "decoding.batch_size=7", "runtime.threads=2"] {
        assert_eq!(decode(&["--shortlist", "list.json", "--set", setting]).stdout, listed, "{setting}");
    }
    let decoder =
        Predictor::open(scene.path("runs/copy")).unwrap().with_shortlist(scene.path("list.json")).unwrap();
    assert_eq!(decoder.decode(&words(60)).unwrap(), outputs(&listed));
    let checks = ["--shortlist", "list.json", "--input", "valid.csv", "--beam", "3", "--rows", "20"];
    scene.verify(&checks, "").succeeded();
    let trace = ["--shortlist", "list.json", "--trace", "t.jsonl", "--trace-top", "12", "--output", "o.txt"];
    scene.decode(&trace, "ab\n").succeeded();
    for step in objects(&scene.text("t.jsonl"))[0]["steps"].as_array().unwrap() {
        let top = step["top"].as_array().unwrap();
        assert!(top.len() < 12 && top.iter().all(|one| one["log_probability"].is_f64()), "{step}");
    }
}

/// A model that copies is restricted to other tokens, and never leaves its list.
#[test]
fn an_unlisted_token_occurs_only_in_a_prefix() {
    let scene = Scene::trained();
    let list = json!({"format": 1, "frequent": ["a", "b"], "lists": {"c": ["d"]}});
    scene.write("list.json", list.to_string());
    let sources = lines(&words(60));
    let list = ["--shortlist", "list.json", "--set", "decoding.suppress_unknown=true"];
    let stdout = scene.decode(&list, &sources).succeeded().stdout;
    for (source, output) in sources.lines().zip(stdout.lines()) {
        let may = if source.contains('c') { "abd" } else { "ab" };
        assert!(output.chars().all(|letter| may.contains(letter)), "{source}: {output}");
    }
    let with_prefix = scene.decode(&[&list[..], &["--prefix", "h"]].concat(), "ab\n").succeeded().stdout;
    assert!(with_prefix.starts_with('h'), "{with_prefix}");
    let both = ["--with", "runs/copy", "--set", "decoding.ensemble=\"probabilities\""];
    assert_eq!(scene.decode(&[&list[..], &both].concat(), &sources).succeeded().stdout, stdout);
}

#[test]
fn an_invalid_shortlist_is_refused() {
    let scene = Scene::trained();
    scene.decode(&["--shortlist", "none.json"], "ab\n").refused_naming(2, &["none.json"]);
    scene.write("list.json", "{}");
    scene.decode(&["--shortlist", "list.json"], "ab\n").refused_naming(
        2,
        &[
            "error: list.json must be a shortlist of this model, but missing field `format`",
            "hint: make one with",
        ],
    );
    let other = ["shortlist", "runs/copy", "--output", "list.json", "--set", "data.train=none.csv"];
    scene.seqloom(&other).refused_naming(2, &["none.csv"]);
    let other = ["shortlist", "runs/copy", "--output", "list.json", "--set", "seed=2"];
    scene.seqloom(&other).refused(2, "error: only data.* can be set here, but `seed=2` is given");
}
