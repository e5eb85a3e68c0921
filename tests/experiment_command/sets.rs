//! The test sets of an experiment: read before anything is trained, each config by its own columns.

use std::fs;

use super::{arguments, rows, scene, steps};
use crate::support::run::{Finished, Scene, objects, wait_until, words};

#[test]
fn a_test_set_that_cannot_be_compared_is_refused_before_any_training() {
    let scene = scene();
    let refused = |configs: &[&str], content: &str, parts: &[&str]| {
        scene.write("x.csv", content);
        scene.seqloom(&[&["experiment"], configs, &["--test", "x=x.csv"]].concat()).refused_naming(2, parts);
    };
    let one = ["copy.toml"];
    let none = "the test set x must have references, but x.csv has no column `target`";
    refused(&one, "source\nab\n", &[none, "--test NAME=SOURCES,TARGETS"]);
    refused(&one, "a,target\nab,ab\n", &["x.csv:1: there must be a column `source`"]);
    refused(&one, "source,target\n", &["x.csv: the test set x must have at least one row, but it has none"]);
    let long = format!("source,target\nab,ab\n{},ab\n", "a".repeat(600));
    let most = "x.csv:3: a source may have 512 tokens (`data.source.max_length`), but this row's has 600";
    refused(&one, &long, &[most, "`data.too_long = \"skip\"`"]);
    scene
        .write("other.toml", "extends = \"copy.toml\"\nname = \"other\"\n[data.target]\ncolumn = \"more\"\n");
    let both = [
        "all configs must read the same references of the test set x, but copy and other read others in row 2",
    ];
    refused(&["copy.toml", "other.toml"], "source,target,more\nab,ab,ab\nab,ab,ba\n", &both);
    assert!(!scene.path("experiments").exists());
}

/// Words, the same words turned around, and the words as targets.
fn table(scene: &Scene, name: &str, words: &[String], more: &str) {
    let turned = |word: &String| word.chars().rev().collect::<String>();
    let rows: String = words.iter().map(|word| format!("{word},{},{word}\n", turned(word))).collect();
    scene.write(name, format!("source,turned,target\n{rows}{more}"));
}

#[test]
fn configs_read_sources_of_their_own_and_a_row_that_is_too_long_ends_nothing() {
    let (scene, words) = (scene(), words(72));
    table(&scene, "train.csv", &words[..60], "");
    // The same symbols, in another order of their counts.
    table(&scene, "other.csv", &words[..60], &"hhhhh,hhhhh,hhhhh\n".repeat(60));
    table(&scene, "valid.csv", &words[60..], "");
    // By data.format.
    table(&scene, "short.rows", &words[60..], "");
    table(&scene, "long.rows", &words[60..], &format!("{},ba,ab\n", "a".repeat(600)));
    let turned = "[data]\ntrain = \"other.csv\"\n[data.source]\ncolumn = \"turned\"\n";
    scene.write("turned.toml", format!("extends = \"copy.toml\"\nname = \"turned\"\n{turned}"));
    let mut asked = arguments(&["copy.toml", "turned.toml"], "1", "out");
    asked.extend(["--test", "short=short.rows", "--test", "long=long.rows"]);
    asked.extend(["--set", "data.format=csv", "--set", "data.too_long=skip"]);
    let text = scene.seqloom(&asked).succeeded().stdout;
    let skipped = "long: copy-seed1 has no output for 1 row (it counts as empty); the first: long.rows:14: a source may have 512 tokens";
    for part in [
        "short: perplexity, lower is better, 12 rows\n",
        "long: exact match in %, higher is better, 13 rows\n",
        skipped,
        "long: token accuracy and perplexity are left out: copy-seed1 cannot score 1 reference",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(scene.text("out/index.html").contains("copy-seed1 has no output for 1 row"));
    assert_eq!(rows(&scene, "out").iter().filter(|row| row["set"] == "short").count(), 4 * 2);
    let [copy, turned] =
        ["copy", "turned"].map(|name| objects(&scene.text(format!("out/outputs/{name}-seed1/long.jsonl"))));
    assert_eq!((copy.len(), copy[12]["output"].as_str()), (13, Some("")));
    assert_eq!(copy[0]["reference"], turned[0]["reference"]);
    let source: String = turned[0]["source"].as_str().unwrap().chars().rev().collect();
    assert_eq!(copy[0]["source"], source);
}

#[test]
fn sources_in_parts_have_pictures_of_attention() {
    let (scene, words) = (scene(), words(72));
    table(&scene, "train.csv", &words[..60], "");
    table(&scene, "valid.csv", &words[60..], "");
    let parts =
        "parts = [{ column = \"source\", characters = {} }, { column = \"turned\", characters = {} }]\n";
    scene.write("parts.toml", format!("extends = \"copy.toml\"\nname = \"parts\"\n[data.source]\n{parts}"));
    scene.seqloom(&arguments(&["parts.toml"], "1", "out")).succeeded();
    let page = scene.text("out/index.html");
    let drawn = scene.files("out/attention");
    assert!((2..=4).contains(&drawn.len()), "{drawn:?}");
    assert_eq!(page.matches("<h3>row ").count(), drawn.len());
    let source = words[60].chars().rev().collect::<String>();
    let row = page.split("<h3>row 1 of valid (parts-seed1)</h3>").nth(1).unwrap();
    let tokens: Vec<String> = source.chars().map(|letter| format!(">{letter}</text>")).collect();
    assert!(tokens.iter().all(|token| row.contains(token)), "{row}");

    // A picture that was cut is drawn again.
    let (cut, whole) = drawn.first_key_value().unwrap();
    fs::write(scene.path(cut), &whole[..whole.len() / 2]).unwrap();
    scene.seqloom(&arguments(&["parts.toml"], "1", "out")).succeeded();
    assert_eq!((scene.files("out/attention"), scene.text("out/index.html")), (drawn, page));
}

#[test]
fn a_test_set_that_changes_while_models_decode_it_is_decoded_again_by_all() {
    let (scene, words) = (scene(), words(72));
    table(&scene, "x.csv", &words[60..], "");
    let asked = [&arguments(&["copy.toml"], "1,2", "out")[..], &["--test", "x=x.csv"]].concat();
    let child = scene.spawn(&asked);
    wait_until("the second training", || scene.path("out/runs/copy-seed2").exists());
    table(&scene, "x.csv", &words[58..70], "");
    let ended = Finished::of(child);
    let changed = "error: all models must decode the same test set, but x (x.csv) has changed since copy-seed1 decoded it\n";
    assert!(ended.code == Some(2) && ended.stderr.contains(changed), "{}", ended.stderr);
    assert!(ended.stdout.is_empty() && ended.stderr.contains("hint: run the same command again"));
    assert!(!scene.path("out/table.csv").exists());
    let again = scene.seqloom(&asked).succeeded();
    assert_eq!(steps(&again), ["decoding x with copy-seed1"]);
    let whole = [&arguments(&["copy.toml"], "1,2", "whole")[..], &["--test", "x=x.csv"]].concat();
    scene.seqloom(&whole).succeeded();
    assert_eq!(scene.text("out/table.csv"), scene.text("whole/table.csv"));
}
