//! Which pairs training reads, and how often: a share held out for validation, weights of files, BPE dropout; and the test
//! set, which is scored in the end.

use serde_json::{Value, json};

use crate::support::run::{Finished, Scene};

/// Settings of a short run.
const SHORT: [&str; 6] =
    ["--set", "training.steps=40", "--set", "training.validate_every=20", "--set", "training.log_every=10"];

/// The same with the training set in a file.
const IN_FILE: [&str; 2] = ["--set", "data.in_memory_limit=0"];

fn train(scene: &Scene, out: &str, more: &[&str]) -> Finished {
    scene.train(&[&["--out", out], &SHORT[..], more].concat())
}

#[test]
fn a_share_of_the_training_pairs_validates_and_is_not_trained_on() {
    let scene = Scene::new(200, 1);
    let share = ["--set", "data.valid={share=0.1}"];
    let said = train(&scene, "memory", &share).succeeded().stderr;
    assert!(said.contains("180 training pairs") && said.contains("20 validation pairs"), "{said}");
    train(&scene, "file", &[&share[..], &IN_FILE].concat()).succeeded();
    scene.same_run("memory", "file");
    // From the files that are there.
    let prepared = scene.files("file/prepared");
    let again =
        [&share[..], &["--set", "data.in_memory_limit=0", "--set", "data.cache=file/prepared"]].concat();
    train(&scene, "again", &again).succeeded();
    assert_eq!(scene.files("file/prepared"), prepared);
    scene.same_run("memory", "again");
    let report = scene.seqloom(&[&["data", "copy.toml"], &share[..]].concat()).succeeded().stdout;
    assert!(report.contains("180 pairs") && report.contains("20 pairs"), "{report}");
    // In another order the same sources are held out.
    let rows: Vec<String> = scene.text("train.csv").lines().map(str::to_owned).collect();
    let turned = std::iter::once(&rows[0]).chain(rows[1..].iter().rev());
    scene.write("train.csv", turned.map(|row| format!("{row}\n")).collect::<String>());
    train(&scene, "turned", &share).succeeded();
    let decoded = |run: &str| scene.metrics(run, "valid").len();
    assert_eq!(decoded("turned"), decoded("memory"));
    let nll = |run: &str| scene.text(format!("{run}/metrics.csv")).lines().count();
    assert_eq!(nll("turned"), nll("memory"));
}

#[test]
fn a_share_is_refused_where_it_is_none() {
    let scene = Scene::new(20, 1);
    for (share, must) in [
        ("data.valid={share=1.0}", "`share` must be between 0 and 1, but it is 1"),
        ("data.valid={share=0}", "`share` must be between 0 and 1, but it is 0"),
        ("data.train={share=0.5}", "`share` is for `valid`"),
        ("data.valid={file=\"valid.csv\",share=0.5}", "`share` is for `valid`, and names no file"),
    ] {
        train(&scene, "run", &["--set", share]).refused_naming(2, &[must]);
    }
    scene.write("one.csv", "source,target\na,b\na,c\n");
    let one = ["--set", "data.train=one.csv", "--set", "data.valid={share=0.5}"];
    train(&scene, "run", &one).refused_naming(2, &["at least two different sources"]);
}

#[test]
fn weights_and_a_temperature_decide_how_often_a_pass_reads_a_file() {
    let scene = Scene::new(100, 10);
    scene.write(
        "few.csv",
        scene.text("train.csv").lines().take(11).map(|row| format!("{row}\n")).collect::<String>(),
    );
    let weighted = ["--set", "data.train=[{file=\"train.csv\",weight=0.5},{file=\"few.csv\",weight=3}]"];
    let said = train(&scene, "memory", &weighted).succeeded().stderr;
    let line =
        "training pairs of an epoch: train.csv: 50 (0.500 times its 100), few.csv: 30 (3.000 times its 10)";
    assert!(said.contains(line), "{said}");
    train(&scene, "file", &[&weighted[..], &IN_FILE].concat()).succeeded();
    scene.same_run("memory", "file");
    // Half a run, and the rest: the second half of a file comes in the next pass.
    let half = [&weighted[..], &["--set", "training.steps=20"]].concat();
    train(&scene, "resumed", &half).succeeded();
    train(&scene, "resumed", &[&weighted[..], &["--resume"]].concat()).succeeded();
    scene.same_run("memory", "resumed");
    // Other weights are another training.
    let other = ["--set", "data.train=[{file=\"train.csv\",weight=0.5},{file=\"few.csv\",weight=2}]"];
    train(&scene, "resumed", &[&other[..], &["--resume", "--set", "training.steps=60"]].concat())
        .refused_naming(2, &["must be mixed as at the run's start"]);
    // Roots of 100 and 10, 110 in all.
    let tempered = ["--set", "data.train=[\"train.csv\",\"few.csv\"]", "--set", "data.temperature=2"];
    let said = train(&scene, "tempered", &tempered).succeeded().stderr;
    assert!(said.contains("train.csv: 84 (0.840 times its 100), few.csv: 26 (2.600 times its 10)"), "{said}");
    for (key, must) in [
        ("data.valid={file=\"valid.csv\",weight=2}", "`weight` is for training pairs"),
        ("data.train={file=\"train.csv\",weight=0}", "a `weight` must be between 0.000001 and 1000000"),
        ("data.temperature=0.5", "`temperature` must be at least 1"),
    ] {
        train(&scene, "run", &["--set", key]).refused_naming(2, &[must]);
    }
}

#[test]
fn bpe_dropout_is_the_same_in_memory_in_a_file_on_two_ranks_and_when_resumed() {
    let scene = Scene::new(300, 20);
    let bpe = ["--set", "data.source.bpe.vocabulary=60", "--set", "data.target.bpe.vocabulary=60"];
    let dropout = ["--set", "data.source.bpe_dropout=0.3", "--set", "data.target.bpe_dropout=0.2"];
    let both = [&bpe[..], &dropout, &["--set", "training.shards=2"]].concat();
    train(&scene, "memory", &both).succeeded();
    train(&scene, "file", &[&both[..], &IN_FILE].concat()).succeeded();
    scene.same_run("memory", "file");
    train(&scene, "ranks", &[&both[..], &["--ranks", "2"]].concat()).succeeded();
    scene.same_run("memory", "ranks");
    train(&scene, "resumed", &[&both[..], &["--set", "training.steps=20"]].concat()).succeeded();
    train(&scene, "resumed", &[&both[..], &["--resume"]].concat()).succeeded();
    scene.same_run("memory", "resumed");
    // The prepared set is that without dropout.
    let without =
        [&bpe[..], &["--set", "training.shards=2", "--set", "data.cache=file/prepared"], &IN_FILE].concat();
    let made = scene.files("file/prepared");
    train(&scene, "without", &without).succeeded();
    assert_eq!(scene.files("file/prepared"), made);
    assert_ne!(scene.text("without/metrics.csv"), scene.text("memory/metrics.csv"));
    let refused = train(&scene, "run", &["--set", "data.source.bpe_dropout=0.1"]);
    refused.refused_naming(2, &["`bpe_dropout` needs the tokenizer `bpe`, but this is `characters`"]);
}

#[test]
fn the_test_set_is_scored_in_the_end_by_the_best_model_and_the_average() {
    let scene = Scene::new(200, 20);
    scene.write(
        "test.csv",
        scene.text("valid.csv").lines().take(13).map(|row| format!("{row}\n")).collect::<String>(),
    );
    let test = [
        "--set",
        "data.test=test.csv",
        "--set",
        "training.average=2",
        "--set",
        "training.checkpoint_every=20",
    ];
    let said = train(&scene, "run", &test).succeeded().stderr;
    assert!(said.contains("12 test pairs") && said.contains("test, best (step "), "{said}");
    assert!(said.contains("test, average (step 40): nll "), "{said}");
    let scores = scene.text("run/test.json");
    let read: Value = serde_json::from_str(&scores).unwrap();
    assert_eq!((&read["pairs"], &read["step"]), (&12.into(), &40.into()));
    let models: Vec<&str> = (0..2).map(|n| read["models"][n]["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["best", "average"]);
    // The numbers are those of `score` with the same model.
    let scored =
        ["score", "run", "--input", "test.csv", "--summary", "summary.json", "--output", "scores.jsonl"];
    scene.seqloom(&scored).succeeded();
    let summary: Value = serde_json::from_str(&scene.text("summary.json")).unwrap();
    let perplexity =
        [&read["models"][0]["perplexity"], &summary["perplexity"]].map(|number| number.as_f64().unwrap());
    assert!((perplexity[0] / perplexity[1] - 1.0).abs() < 1e-4, "{perplexity:?}");
    for model in read["models"].as_array().unwrap() {
        let errors = &model["errors"]["character_error_rate"];
        let count = |kind: &str| errors[kind].as_u64().unwrap() as f64;
        let rate =
            (count("substitutions") + count("deletions") + count("insertions")) / count("reference_length");
        assert_eq!(model["metrics"]["character_error_rate"], rate, "{model}");
        assert_eq!(model["signatures"], json!({}), "sacrebleu has none of these metrics");
    }
    // Complete is complete; without the scores it scores again.
    let complete = train(&scene, "run", &[&test[..], &["--resume"]].concat()).succeeded().stderr;
    assert!(complete.contains("is complete"), "{complete}");
    std::fs::remove_file(scene.path("run/test.json")).unwrap();
    train(&scene, "run", &[&test[..], &["--resume"]].concat()).succeeded();
    assert_eq!(scene.text("run/test.json"), scores);
}
