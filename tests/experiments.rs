//! Every experiment of configs/ is read, and trained for two steps if its data is available.
//!
//! Public data sets are looked up in $SEQLOOM_DATA, else in data/, where data/get_*.py put them; without them their
//! tests print a note and pass.

mod batches;

use std::path::{Path, PathBuf};

use seqloom::config::Experiment;

use crate::support::run::{Finished, start};

/// A network and a run small enough for a test. `width` and `layers` do not depend on what a config is about.
const SMALL: [&str; 14] = [
    "model.transformer.width=16",
    "model.transformer.heads=2",
    "model.transformer.feed_forward=16",
    "model.transformer.encoder_layers=1",
    "model.transformer.decoder_layers=1",
    "training.steps=2",
    "training.validate_every=2",
    "training.log_every=1",
    "training.tokens_per_batch=256",
    "training.decode_rows=4",
    "decoding.max_length=4",
    "runtime.device=cpu",
    "runtime.threads=1",
    "seed=1",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn configs() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("configs")).unwrap().map(|entry| entry.unwrap().path());
    let mut configs: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    configs.sort_unstable();
    assert!(configs.len() >= 7, "{configs:?}");
    configs
}

/// Trains an experiment of configs/ for some steps; the overrides come after the small ones.
fn train(config: &Path, overrides: &[String]) {
    let out = tempfile::tempdir().unwrap();
    let run = out.path().join("run").display().to_string();
    let config = config.display().to_string();
    let mut arguments = vec!["train", &config, "--out", &run];
    let overrides = SMALL.into_iter().chain(overrides.iter().map(String::as_str));
    overrides.for_each(|setting| arguments.extend(["--set", setting]));
    // The configs name their data from the repository's root.
    let stderr = Finished::of(start(root(), &arguments)).succeeded().stderr;
    assert!(stderr.contains(", valid: nll "), "{stderr}");
    let rows = std::fs::read_to_string(out.path().join("run/metrics.csv")).unwrap();
    assert!(rows.lines().any(|row| row.contains(",valid,")), "{rows}");
    for row in rows.lines().filter(|row| row.contains(",train,")) {
        let loss: f64 = row.split(',').nth(4).unwrap().parse().unwrap();
        assert!(loss.is_finite() && loss > 0.0, "{row}");
    }
}

#[test]
fn every_experiment_is_read_and_checked() {
    let mut names = Vec::new();
    for path in configs() {
        let experiment = Experiment::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert_eq!(experiment.name, stem, "a run is found under the name of its file");
        names.push(stem);
    }
    for name in ["dates", "english_ipa", "multi30k_small", "multi30k_tiny", "reverse", "sigmorphon_g2p"] {
        assert!(names.contains(&name.to_owned()), "configs/{name}.toml is gone");
    }
}

#[test]
fn every_experiment_whose_data_is_here_takes_two_steps() {
    let mut trained = Vec::new();
    for path in configs() {
        let data = Experiment::load(&path, &[]).unwrap().data;
        if data
            .train
            .paths()
            .chain(data.valid.files().into_iter().flat_map(|files| files.paths()))
            .all(|file| root().join(file).is_file())
        {
            train(&path, &[]);
            trained.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    for name in ["dates", "english_ipa", "reverse"] {
        assert!(trained.contains(&name.to_owned()), "the data of configs/{name}.toml is gone");
    }
}

/// A folder of public data; `None`, with a note, if it is missing.
fn public(set: &str) -> Option<PathBuf> {
    let home = std::env::var_os("SEQLOOM_DATA").map_or_else(|| root().join("data"), PathBuf::from);
    let folder = home.join(set);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no {} (SEQLOOM_DATA names the folder of public data)", folder.display());
    None
}

/// `--set` values that name a set's files.
fn files(folder: &Path) -> Vec<String> {
    let file = |key: &str| format!("data.{key}={}", folder.join(format!("{key}.csv")).display());
    vec![file("train"), file("valid")]
}

#[test]
fn the_g2p_experiment_takes_three_steps_on_french() {
    let Some(folder) = public("g2p2020/fre") else { return };
    let overrides = [files(&folder), vec!["training.steps=3".into()]].concat();
    train(&root().join("configs/sigmorphon_g2p.toml"), &overrides);
}

#[test]
fn the_translation_experiment_takes_three_steps_on_multi30k() {
    let Some(folder) = public("multi30k") else { return };
    let smaller = ["training.steps=3", "data.source.bpe.vocabulary=300", "data.target.bpe.vocabulary=300"];
    let overrides = [files(&folder), smaller.map(String::from).to_vec()].concat();
    train(&root().join("configs/multi30k_small.toml"), &overrides);
}
