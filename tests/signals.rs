//! Signals: training saves, decoding leaves complete rows, and commands without anything to save end at once.

use std::fs::OpenOptions;
use std::process::{Child, Command};
use std::time::Duration;

use crate::support::run::{Finished, Scene, lines, wait_until, words};

fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").args([format!("-{signal}"), process.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Waits for a process that must end by itself, and kills one that does not.
#[track_caller]
fn ended(mut child: Child, what: &str) -> Finished {
    for _ in 0..3000 {
        if child.try_wait().unwrap().is_some() {
            return Finished::of(child);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("{what} did not end within 30 seconds");
}

fn endless<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let settings =
        ["training.steps=1000000", "training.validate_every=500000", "training.checkpoint_every=500000"];
    let settings = settings.iter().chain(more).flat_map(|setting| ["--set", *setting]);
    ["train", "copy.toml", "--out", out].into_iter().chain(settings).collect()
}

fn logs(scene: &Scene, run: &str) -> String {
    std::fs::read_to_string(scene.path(run).join("train.log")).unwrap_or_default()
}

#[test]
fn the_warning_signal_of_a_batch_system_saves_and_ends_or_continues() {
    let scene = Scene::new(60, 12);
    for (signal, code) in [("USR1", 138), ("USR2", 140)] {
        let child = scene.spawn(&endless(signal, &["training.log_every=5"]));
        wait_until("it logs", || logs(&scene, signal).contains("step 10:"));
        send(signal, child.id());
        let finished = ended(child, signal);
        assert_eq!(finished.code, Some(code), "{}", finished.stderr);
        assert!(finished.stderr.ends_with("saved. To continue, use --resume\n"), "{}", finished.stderr);
        scene.path(scene.checkpoint(signal, "latest")).join("manifest.json").metadata().unwrap();
    }
    let child = scene.spawn(&endless("on", &["training.log_every=5", "runtime.on_usr1=save"]));
    wait_until("it logs", || logs(&scene, "on").contains("step 10:"));
    send("USR1", child.id());
    wait_until("it saves", || scene.path("on/latest").exists());
    let (saved, before) = (scene.text("on/latest"), logs(&scene, "on").lines().count());
    wait_until("training continues", || logs(&scene, "on").lines().count() > before + 2);
    let step = saved.trim().trim_start_matches("step-").trim_start_matches('0');
    assert!(logs(&scene, "on").contains(&format!("step {step}: saved at SIGUSR1; training continues")));
    send("TERM", child.id());
    assert_eq!(ended(child, "TERM").code, Some(143));
    assert_ne!(scene.text("on/latest"), saved);
}

/// The outputs of a validation have no effective length limit.
#[test]
fn a_stop_signal_takes_effect_within_an_output() {
    let scene = Scene::new(60, 12);
    let long = ["decoding.min_length=900000", "decoding.max_length=1000000", "training.validate_every=3"];
    let child = scene.spawn(&endless("run", &[&long[..], &["training.log_every=1"]].concat()));
    wait_until("it validates", || logs(&scene, "run").contains("step 3:"));
    std::thread::sleep(Duration::from_millis(300));
    send("TERM", child.id());
    assert_eq!(ended(child, "a validation").code, Some(143));
    assert_eq!(scene.text("run/latest"), "step-00000003\n");
}

/// Nothing can be lost, so the process ends at once: it reads pairs that never arrive.
#[test]
fn a_stop_signal_takes_effect_before_training_starts() {
    let scene = Scene::new(8, 2);
    assert!(Command::new("mkfifo").arg(scene.path("never.csv")).status().unwrap().success());
    for (signal, code) in [("TERM", 143), ("INT", 130), ("USR1", 138)] {
        let child = scene.spawn(&["train", "copy.toml", "--set", "data.train=never.csv"]);
        // Opens as soon as there is a reader.
        let _writer = OpenOptions::new().write(true).open(scene.path("never.csv")).unwrap();
        send(signal, child.id());
        assert_eq!(ended(child, signal).code, Some(code));
    }
    assert!(!scene.path("runs").exists());
}

#[test]
fn a_stopped_decode_leaves_complete_rows_and_can_be_resumed() {
    let scene = Scene::trained();
    let words = words(9000);
    scene.write("words.txt", lines(&words));
    let whole = scene.decode(&["--input", "words.txt", "--output", "whole.csv"], "").succeeded();
    assert_eq!(whole.stdout, "");
    let arguments = ["decode", "runs/copy", "--input", "words.txt", "--output", "out.csv"];
    for (signal, code) in [("TERM", 143), ("USR1", 138), ("INT", 130)] {
        let rows = || std::fs::read(scene.path("out.csv")).unwrap_or_default();
        let before = rows().len();
        let child = scene.spawn(&[&arguments[..], &["--resume"]].concat());
        wait_until("it writes", || rows().len() > before);
        send(signal, child.id());
        let finished = ended(child, signal);
        assert!(finished.code == Some(code) || finished.code == Some(0), "{:?}", finished);
        assert!(rows().ends_with(b"\n"), "an incomplete row");
        if finished.code == Some(0) {
            break;
        }
    }
    scene.seqloom(&[&arguments[..], &["--resume"]].concat()).succeeded();
    assert_eq!(scene.text("out.csv").lines().count(), scene.text("whole.csv").lines().count());
}
