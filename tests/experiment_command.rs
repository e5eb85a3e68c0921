//! `seqloom experiment`: what is finished is not done again, and the table does not depend on how often it was stopped.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use crate::support::run::{Finished, Scene, wait_until};

/// Three configs, two of which extend the first.
fn scene() -> Scene {
    let scene = Scene::new(60, 12);
    let head = |name: &str| format!("extends = \"copy.toml\"\nname = \"{name}\"\n");
    scene.write("narrow.toml", head("narrow") + "[model.transformer]\nwidth = 16\n");
    scene.write("slow.toml", head("slow") + "[training.adamw]\nlearning_rate = 1e-4\n");
    scene
}

/// The arguments of an experiment with short trainings.
fn arguments<'a>(configs: &[&'a str], seeds: &'a str, out: &'a str) -> Vec<&'a str> {
    let mut arguments = [&["experiment"], configs, &["--seeds", seeds, "--out", out]].concat();
    for setting in [
        "training.steps=40",
        "training.validate_every=20",
        "training.checkpoint_every=20",
        "training.log_every=20",
    ] {
        arguments.extend(["--set", setting]);
    }
    arguments
}

fn modified(scene: &Scene, name: &str) -> SystemTime {
    fs::metadata(scene.path(name)).unwrap().modified().unwrap()
}

#[test]
fn an_experiment_that_was_killed_ends_with_the_same_table() {
    let (scene, all) = (scene(), ["copy.toml", "narrow.toml", "slow.toml"]);
    let whole = scene.seqloom(&arguments(&all, "1,2", "whole")).succeeded();
    assert_eq!(whole.stdout, scene.text("whole/table.txt"));
    for name in ["copy", "narrow", "slow"] {
        assert!(whole.stdout.contains(&format!(" {name} ")), "{}", whole.stdout);
    }

    let mut child = scene.spawn(&arguments(&all, "1,2", "killed"));
    wait_until("the second run has a checkpoint", || scene.path("killed/runs/copy-seed2/latest").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let model = scene.checkpoint("killed/runs/copy-seed1", "latest").join("model.safetensors");
    let (model, outputs) = (model.to_str().unwrap(), "killed/outputs/copy-seed1/valid.jsonl");
    let before = [model, outputs].map(|name| modified(&scene, name));
    assert!(!scene.path("killed/table.csv").exists());
    let resumed = scene.seqloom(&arguments(&all, "1,2", "killed")).succeeded();
    for step in ["training copy-seed1", "with copy-seed1"] {
        assert!(!resumed.stderr.contains(step), "it was finished: {}", resumed.stderr);
    }
    assert_eq!([model, outputs].map(|name| modified(&scene, name)), before);
    for name in ["table.txt", "table.csv", "index.html"] {
        assert_eq!(scene.text(format!("killed/{name}")), scene.text(format!("whole/{name}")), "{name}");
    }

    // With nothing left to do, the same files once more.
    let again = scene.seqloom(&arguments(&all, "1,2", "killed")).succeeded();
    assert!(!again.stderr.contains("training") && !again.stderr.contains("decoding"), "{}", again.stderr);
    assert_eq!(scene.text("killed/index.html"), scene.text("whole/index.html"));
    check_files(&scene);
}

/// The table and the page of `whole`.
fn check_files(scene: &Scene) {
    let table = scene.text("whole/table.csv");
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows[0], "set,metric,system,mean,sd,low,high,best,better_than,seed_1,seed_2");
    assert!(rows[1].starts_with("valid,exact_match,copy,"), "{table}");
    // Two metrics, three systems.
    assert_eq!(rows.len(), 1 + 2 * 3, "{table}");
    let best = rows.iter().skip(1).filter(|row| row.split(',').nth(7) == Some("1")).count();
    assert_eq!(best, 2, "{table}");
    let page = scene.text("whole/index.html");
    for part in [
        "<!DOCTYPE html>",
        "prefers-color-scheme: dark",
        "training.adamw.learning_rate",
        "dir=\"auto\"",
        "<svg",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    // It names no other file and no script.
    for part in ["<script", "<link", "src=", "@import"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn an_interrupt_ends_the_trainings_with_the_experiment() {
    let scene = scene();
    let mut endless = arguments(&["copy.toml"], "1,2", "stopped");
    endless.extend(["--jobs", "2", "--set", "training.steps=1000000"]);
    let child = scene.spawn(&endless);
    for seed in [1, 2] {
        wait_until("it trains", || scene.path(format!("stopped/runs/copy-seed{seed}/latest")).exists());
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let finished = Finished::of(child);
    assert_eq!(finished.code, Some(130), "{}", finished.stderr);
    assert!(finished.stderr.ends_with("stopped; the same command continues\n"), "{}", finished.stderr);
    for seed in [1, 2] {
        let log = scene.text(format!("stopped/logs/copy-seed{seed}.log"));
        assert!(log.ends_with("saved. To continue, use --resume\n"), "{log}");
    }
}

#[test]
fn shares_of_the_runs_give_one_table() {
    let scene = scene();
    let share = |share: &'static str| {
        let mut arguments = arguments(&["slow.toml"], "1,2", "shared");
        arguments.extend(["--shard", share]);
        scene.seqloom(&arguments).succeeded()
    };
    let first = share("1/2");
    assert!(first.stderr.contains("1 run of 2 in other shares"), "{}", first.stderr);
    assert!(first.stdout.is_empty() && !scene.path("shared/runs/slow-seed2").exists());
    assert!(share("2/2").stdout.contains("valid: exact match"));
    assert!(scene.path("shared/index.html").exists());
}

#[test]
fn a_run_that_fails_does_not_keep_the_others_from_ending() {
    let scene = scene();
    scene.write("broken.toml", "extends = \"copy.toml\"\nname = \"broken\"\n[data]\ntrain = \"no.csv\"\n");
    let finished = scene.seqloom(&arguments(&["broken.toml", "copy.toml"], "1", "some"));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{}", finished.stderr);
    let list = "error: 1 of 2 runs failed:\n  broken-seed1: training broken-seed1 failed (exit status: 2)\n";
    assert!(finished.stderr.contains(list), "{}", finished.stderr);
    assert!(scene.text("some/logs/broken-seed1.log").contains("no.csv"));
    assert!(scene.path("some/outputs/copy-seed1/valid.jsonl").exists());
}

#[test]
fn what_cannot_be_compared_is_refused_before_any_training() {
    let scene = scene();
    let refused = |configs: &[&str], more: &[&str], parts: &[&str]| {
        scene.seqloom(&[&["experiment"], configs, more].concat()).refused_naming(2, parts);
    };
    scene.write("twin.toml", "extends = \"narrow.toml\"\n");
    refused(
        &["narrow.toml", "twin.toml"],
        &[],
        &["twin.toml: each config must have its own `name`, but two have"],
    );
    scene.write("share.toml", "extends = \"copy.toml\"\n[data]\nvalid = { share = 0.1 }\n");
    refused(&["share.toml"], &[], &["`data.valid` is a share", "--test NAME=FILE"]);
    refused(&["copy.toml"], &["--test", "a=no.csv"], &["cannot read no.csv"]);
    let twice = ["--test", "a=valid.csv", "--test", "a=train.csv"];
    refused(&["copy.toml"], &twice, &["each test set must have its own name"]);
    scene.write("other.toml", "extends = \"copy.toml\"\nname = \"other\"\n[data]\nvalid = \"train.csv\"\n");
    refused(&["copy.toml", "other.toml"], &[], &["all configs must have the same test set"]);
    scene.write("swept.toml", "extends = \"copy.toml\"\n[sweep]\n\"training.stepz\" = [1]\n");
    refused(&["swept.toml"], &[], &["swept.toml:3:21: unknown key `stepz`"]);
    for command in ["train", "data"] {
        let refused = scene.seqloom(&[command, "swept.toml"]);
        refused.refused_naming(2, &["swept.toml:2:2: [sweep] is for `seqloom experiment`"]);
    }
    assert!(!scene.path("experiments").exists());
}
