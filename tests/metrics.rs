//! Metrics, compared with other implementations, and in validations.

use std::path::Path;

use seqloom::metrics::{Example, METRICS, MetricKind, MetricSet};
use serde_json::Value;

use crate::support::run::{Finished, Scene, numbers};

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The rows of a golden corpus: references and output.
fn rows(corpus: &Value) -> Vec<(Vec<&str>, String)> {
    fn row(row: &Value) -> (Vec<&str>, String) {
        let references = row[0].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
        (references.collect(), row[1].as_str().unwrap().to_owned())
    }
    corpus["rows"].as_array().unwrap().iter().map(row).collect()
}

fn counted(kinds: impl IntoIterator<Item = MetricKind>, rows: &[(Vec<&str>, String)]) -> MetricSet {
    let mut set = MetricSet::new(kinds);
    for (references, output) in rows {
        set.add(&Example {
            reference: references[0],
            other_references: &references[1..],
            output: std::slice::from_ref(output),
            finished: true,
            ..Example::default()
        });
    }
    set
}

/// Made by tests/golden/make_metrics.py: BLEU, chrF and TER by sacrebleu, the error rates by jiwer.
#[test]
fn metrics_equal_those_of_sacrebleu_and_jiwer() {
    let golden = golden();
    let corpora = golden["corpora"].as_array().unwrap();
    let mut wrong = Vec::new();
    for corpus in corpora {
        let rows = rows(corpus);
        let scores = corpus["scores"].as_object().unwrap();
        let set = counted(scores.keys().map(|name| MetricKind::named(name).unwrap()), &rows);
        for metric in set.values() {
            let (ours, theirs) = (100.0 * metric.value, scores[metric.kind.name].as_f64().unwrap());
            if (ours - theirs).abs() > 1e-9 {
                wrong.push(format!("{} {ours} is not {theirs}: {}", metric.kind.name, corpus["rows"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(9)].join("\n"));
    assert!(corpora.len() >= 200, "{}", corpora.len());
}

#[test]
fn signatures_are_those_of_sacrebleu_with_another_version() {
    let golden = golden();
    let signatures = golden["signatures"].as_object().unwrap();
    assert_eq!(signatures.len(), 8);
    let row = [(vec!["a"], "a".to_owned())];
    for (name, theirs) in signatures {
        let kind = MetricKind::named(name).unwrap();
        let ours = counted([kind], &row).signature(&kind).unwrap();
        let theirs =
            theirs.as_str().unwrap().replace("2.6.0", concat!("seqloom-", env!("CARGO_PKG_VERSION")));
        assert_eq!(ours, theirs);
    }
}

/// Trains for six updates; every setting is `key=value`.
fn train(scene: &Scene, run: &str, settings: &[&str], more: &[&str]) -> Finished {
    let few =
        ["training.steps=6", "training.validate_every=2", "training.keep_last=9", "training.decode_rows=12"];
    let mut arguments = vec!["--out", run];
    few.iter().chain(settings).for_each(|setting| arguments.extend(["--set", *setting]));
    scene.train(&[&arguments, more].concat())
}

fn header(scene: &Scene, run: &str) -> String {
    scene.text(format!("{run}/metrics.csv")).lines().next().unwrap().to_owned()
}

#[test]
fn a_run_has_the_metrics_of_its_config_and_nothing_else_changes() {
    let scene = Scene::new(60, 12);
    train(&scene, "usual", &[], &[]).succeeded();
    let named = "training.metrics=[\"chrf\", \"word_error_rate\", \"exact_match\"]";
    let stderr = train(&scene, "named", &[named, "training.best_by=chrf"], &[]).succeeded().stderr;
    let columns = |names: &str| {
        header(&scene, "usual").replace("exact_match,character_error_rate,word_error_rate", names)
    };
    assert_eq!(header(&scene, "named"), columns("chrf,word_error_rate,exact_match"));
    let (usual, named) = (scene.metrics("usual", "valid"), scene.metrics("named", "valid"));
    for (usual, named) in usual.iter().zip(&named) {
        for same in ["step", "nll", "exact_match", "token_accuracy", "unfinished"] {
            assert_eq!(usual[same], named[same], "{same}");
        }
        // The target's tokens are characters, so words are counted only if requested.
        assert_eq!(usual["word_error_rate"], "");
        // A target is one word.
        let [words, exact] =
            ["word_error_rate", "exact_match"].map(|name| named[name].parse::<f64>().unwrap());
        assert!((words + exact - 1.0).abs() < 1e-12 || words > 1.0 - exact, "{words} {exact}");
    }
    let chrf = numbers(&named, "chrf");
    assert!(
        chrf.iter().all(|share| (0.0..=1.0).contains(share)) && chrf.iter().any(|&share| share > 0.0),
        "{chrf:?}"
    );
    let best = (0..chrf.len()).rev().max_by(|&a, &b| chrf[a].total_cmp(&chrf[b])).unwrap();
    assert_eq!(scene.text("named/best").trim(), format!("step-{:0>8}", named[best]["step"]), "{chrf:?}");
    assert!(stderr.contains(", chrF "), "{stderr}");
    let curves = scene.text("named/curves.svg");
    assert!(curves.contains("<title>chrf</title>") && curves.contains("<title>word error rate</title>"));
    // decode computes the metrics of its model's validations.
    let decoded = ["named", "--input", "valid.csv", "--summary", "summary.json"];
    let stderr = scene.seqloom(&[&["decode"][..], &decoded].concat()).succeeded().stderr;
    let summary: Value = serde_json::from_str(&scene.text("summary.json")).unwrap();
    assert!(summary["chrf"].is_f64() && summary["word_error_rate"].is_f64(), "{summary}");
    assert!(summary["character_error_rate"].is_null(), "{summary}");
    // A target is one word.
    assert_eq!(summary["errors"]["word_error_rate"]["reference_length"], 12, "{summary}");
    let signature = summary["signatures"]["chrf"].as_str().unwrap();
    assert!(signature.starts_with("nrefs:1|case:mixed|"), "{signature}");
    assert!(stderr.contains(", chrf ") && stderr.contains(" words)"), "{stderr}");
}

#[test]
fn each_metric_has_a_column_a_curve_and_a_tensorboard_scalar() {
    let scene = Scene::new(60, 12);
    let names: Vec<&str> = METRICS.iter().map(|kind| kind.name).collect();
    train(&scene, "run", &[&format!("training.metrics={names:?}")], &[]).succeeded();
    let (rows, curves) = (scene.metrics("run", "valid"), scene.text("run/curves.svg"));
    assert_eq!(rows.len(), 3);
    let events: Vec<u8> = scene.files("run/tensorboard").into_values().flatten().collect();
    for name in names.into_iter().chain(["nll", "perplexity", "token_accuracy"]) {
        for value in numbers(&rows, name) {
            // The tag, and the number as field 2, which has four bytes.
            let tag = format!("valid/{name}");
            let scalar = [tag.as_bytes(), &[0x15], &(value as f32).to_le_bytes()].concat();
            assert!(events.windows(scalar.len()).any(|bytes| bytes == scalar), "{name} {value}");
        }
        let title = match name {
            "nll" | "perplexity" => format!("validation {name}"),
            _ => name.replace('_', " "),
        };
        // Of two that count the same errors, one is drawn.
        let is_drawn = curves.contains(&format!("<title>{title}</title>"));
        assert_eq!(is_drawn, name != "character_error_rate", "{title}: {curves}");
    }
}

#[test]
fn a_resumed_run_keeps_its_metrics() {
    let scene = Scene::new(60, 12);
    let named = "training.metrics=[\"exact_match\", \"chrf\"]";
    train(&scene, "whole", &[named], &[]).succeeded();
    train(&scene, "run", &[named, "training.steps=4"], &[]).succeeded();
    let other = "training.metrics=[\"exact_match\"]";
    for changed in [&[other][..], &[]] {
        train(&scene, "run", changed, &["--resume"])
            .refused_naming(2, &["holds another experiment: training.metrics differ"]);
    }
    train(&scene, "run", &[named], &["--resume"]).succeeded();
    assert_eq!(scene.text("run/metrics.csv"), scene.text("whole/metrics.csv"));
}
