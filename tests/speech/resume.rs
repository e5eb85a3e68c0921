//! Runs on recordings that stop and resume, and their features on disk.

use std::time::SystemTime;

use super::scene;
use crate::support::run::{Finished, Scene, wait_until};

/// Dropout, augmentation, two batches an update; log, validation and checkpoint fall on different steps.
const SETTINGS: [&str; 9] = [
    "model.transformer.dropout=0.2",
    "data.source.audio.augment={ warp = 0.1, filter_db = 6, noise_snr_db = [5, 40] }",
    "training.accumulate=2",
    "training.shards=2",
    "training.tokens_per_batch=128",
    "training.log_every=2",
    "training.validate_every=3",
    "training.checkpoint_every=4",
    "training.keep_last=2",
];

fn arguments<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let settings = SETTINGS.iter().chain(more).flat_map(|setting| match setting.contains('=') {
        true => vec!["--set", *setting],
        false => vec![*setting],
    });
    ["train", "copy.toml", "--out", out].into_iter().chain(settings).collect()
}

/// Trains into `out`; `more` are settings and options.
fn train(scene: &Scene, out: &str, more: &[&str]) -> Finished {
    scene.seqloom(&arguments(out, more)).succeeded()
}

#[track_caller]
fn assert_same(scene: &Scene, run: &str, other: &str) {
    assert_eq!(scene.text(format!("{run}/metrics.csv")), scene.text(format!("{other}/metrics.csv")));
    let model = |run: &str| scene.read(scene.checkpoint(run, "latest").join("model.safetensors"));
    assert!(model(run) == model(other), "the models of {run} and {other} differ");
}

fn modified(scene: &Scene, name: &str) -> SystemTime {
    scene.path(name).metadata().unwrap().modified().unwrap()
}

#[test]
fn a_run_on_recordings_resumed_with_other_threads_equals_the_uninterrupted_one() {
    let scene = scene();
    train(&scene, "whole", &["training.steps=9"]);
    for (step, threads) in [(2, 2), (4, 1), (9, 3)] {
        let (steps, threads) = (format!("training.steps={step}"), format!("runtime.threads={threads}"));
        train(&scene, "pieces", &[&steps, &threads, "--resume"]);
    }
    assert_same(&scene, "pieces", "whole");
}

#[test]
fn a_run_on_recordings_stopped_by_a_signal_resumes_exactly() {
    let scene = scene();
    let child =
        scene.spawn(&arguments("stopped", &["training.steps=100000", "training.validate_every=1000"]));
    wait_until("it logs", || {
        scene.path("stopped/metrics.csv").exists() && scene.text("stopped/metrics.csv").lines().count() > 2
    });
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
    assert!(sent.unwrap().success());
    let finished = Finished::of(child);
    assert_eq!(finished.code, Some(143), "{}", finished.stderr);
    let latest = scene.text("stopped/latest");
    let step: u64 = latest.trim().trim_start_matches("step-").parse().unwrap();
    let end = format!("training.steps={}", step + 3);
    train(&scene, "stopped", &[&end, "training.validate_every=1000", "runtime.threads=2", "--resume"]);
    train(&scene, "whole", &[&end, "training.validate_every=1000"]);
    assert_same(&scene, "stopped", "whole");
}

#[test]
fn features_are_computed_once_and_again_if_their_file_is_damaged() {
    let scene = scene();
    train(&scene, "whole", &["training.steps=4"]);
    train(&scene, "run", &["training.steps=2"]);
    let files = ["run/features/train", "run/features/valid"];
    let before = files.map(|name| (scene.read(name), modified(&scene, name)));
    train(&scene, "run", &["training.steps=3", "--resume"]);
    for (name, (_, time)) in files.iter().zip(&before) {
        assert_eq!(modified(&scene, name), *time, "{name} was made again");
    }
    scene.write(files[0], &before[0].0[..before[0].0.len() / 2]);
    scene.write(files[1], b"");
    train(&scene, "run", &["training.steps=4", "--resume"]);
    for (name, (bytes, _)) in files.iter().zip(&before) {
        assert!(scene.read(name) == *bytes, "{name} is not what it was");
    }
    assert_same(&scene, "run", "whole");
}

/// The index shows that a file is complete, and each row has a checksum.
#[test]
fn a_damaged_number_in_the_features_is_computed_again_and_reported() {
    let scene = scene();
    train(&scene, "whole", &["training.steps=4"]);
    train(&scene, "run", &["training.steps=2"]);
    let features = scene.read("run/features/train");
    let mut bytes = features.clone();
    bytes[500] ^= 1;
    scene.write("run/features/train", &bytes);
    let resumed = train(&scene, "run", &["training.steps=4", "--resume"]);
    let note = "note: run/features/train: a value was damaged, so all features are made anew\n";
    assert!(resumed.stderr.contains(note), "{}", resumed.stderr);
    assert!(scene.read("run/features/train") == features);
    assert_same(&scene, "run", "whole");
}

#[test]
fn another_recording_under_the_same_name_is_another_training_set() {
    let scene = scene();
    train(&scene, "run", &["training.steps=2"]);
    let word = &super::words(1)[0];
    scene.write(format!("data/clips/{word}.wav"), super::clip("dcba"));
    let refused = scene.seqloom(&arguments("run", &["training.steps=3", "--resume"]));
    refused
        .refused_naming(2, &["the training pairs must be those that the run started with, but they differ"]);
}
