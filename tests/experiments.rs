//! The experiments of configs/ are no decoration: each is read, and each whose data is here takes two steps.
//!
//! Public data sets are looked for in $SEQLOOM_DATA, else in data/, where data/get_*.py put them; without them their tests say so and pass.

use std::path::{Path, PathBuf};

use seqloom::config::Experiment;
use seqloom::decoding::decoder::ModelStepper;
use seqloom::decoding::jobs::decode;
use seqloom::decoding::{DecodingConfig, SamplingConfig};
use seqloom::model::Weights;
use seqloom::model::params::Params;
use seqloom::model::transformer::Transformer;
use tch::Device;

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
    let said = Finished::of(start(root(), &arguments)).succeeded().stderr;
    assert!(said.contains("validation: nll "), "{said}");
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
        if data.train.paths().chain(data.valid.paths()).all(|file| root().join(file).is_file()) {
            train(&path, &[]);
            trained.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    for name in ["dates", "english_ipa", "reverse"] {
        assert!(trained.contains(&name.to_owned()), "the data of configs/{name}.toml is gone");
    }
}

/// A folder of public data, or nothing and a line that says so.
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
fn graphemes_to_phonemes_takes_three_steps_on_french() {
    let Some(folder) = public("g2p2020/fre") else { return };
    let overrides = [files(&folder), vec!["training.steps=3".into()]].concat();
    train(&root().join("configs/sigmorphon_g2p.toml"), &overrides);
}

#[test]
fn translation_takes_three_steps_on_multi30k() {
    let Some(folder) = public("multi30k") else { return };
    let smaller = ["training.steps=3", "data.source.bpe.vocabulary=300", "data.target.bpe.vocabulary=300"];
    let overrides = [files(&folder), smaller.map(String::from).to_vec()].concat();
    train(&root().join("configs/multi30k_small.toml"), &overrides);
}

/// Greedy search, a beam, and samples.
fn searches(of_experiment: &DecodingConfig) -> [DecodingConfig; 3] {
    let config = DecodingConfig { beam: 1, max_length: Some(6), ..of_experiment.clone() };
    let beam = DecodingConfig { beam: 4, ..config.clone() };
    let sampling = DecodingConfig { sampling: Some(SamplingConfig::default()), ..config.clone() };
    [config, beam, sampling]
}

#[test]
fn outputs_do_not_depend_on_the_batch_in_any_experiment() {
    // The steps are so small that threads would only wait for each other.
    tch::set_num_threads(1);
    let settings = SMALL.map(String::from);
    let sources: Vec<Vec<i64>> =
        (0..24).map(|n| (0..1 + n % 9).map(|t| 4 + (n * 7 + t * t * 3) % 30).collect()).collect();
    for path in configs() {
        let experiment = Experiment::load(&path, &settings).unwrap();
        let mut params = Params::new(Device::Cpu, 1);
        let model = Transformer::new(&experiment.model.transformer, 34, 34, &mut params);
        // Larger weights than a beginning has, so that tokens are not all about as likely.
        tch::no_grad(|| {
            params.iter().for_each(|param| drop(param.tensor.shallow_clone().g_mul_scalar_(3.0)))
        });
        let stepper = ModelStepper::new(&model, Weights::F32);
        for config in searches(&experiment.decoding) {
            let outputs = |order: &[usize], batch_size| {
                let rows: Vec<&[i64]> = order.iter().map(|&n| sources[n].as_slice()).collect();
                let config = DecodingConfig { batch_size, ..config.clone() };
                let found = decode(&stepper, &rows, &config).unwrap();
                let mut found: Vec<_> =
                    order.iter().zip(found).map(|(&n, one)| (n, one.tokens, one.score.to_bits())).collect();
                found.sort_unstable();
                found
            };
            let forwards: Vec<usize> = (0..24).collect();
            let shuffled: Vec<usize> = (0..24).map(|n| n * 7 % 24).collect();
            let alone = outputs(&forwards, 1);
            assert!(alone.iter().any(|(_, tokens, _)| alone[0].1 != *tokens), "{}", path.display());
            for (order, batch_size) in [(&forwards, 2), (&shuffled, 7), (&forwards, 64)] {
                assert_eq!(outputs(order, batch_size), alone, "{} {config:?}", path.display());
            }
        }
    }
}
