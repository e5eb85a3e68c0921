//! Training sets that are larger than the memory may be: encoded once into a file, they train as those in memory do.

use std::process::Command;

use crate::support::run::{Finished, Scene, wait_until};

/// Settings of a short run, whose set is in a file.
const IN_FILE: [&str; 4] = ["--set", "data.in_memory_limit=0", "--set", "training.steps=40"];

fn short(more: &[&str]) -> Vec<String> {
    let settings = ["training.steps=40", "training.log_every=10", "training.validate_every=20"];
    let settings = settings.iter().flat_map(|setting| ["--set", *setting]);
    settings.chain(more.iter().copied()).map(str::to_owned).collect()
}

fn train(scene: &Scene, out: &str, more: &[&str]) -> Finished {
    let arguments = short(&[&["--out", out], more].concat());
    scene.train(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).succeeded()
}

#[test]
fn a_set_in_a_file_trains_as_the_same_set_in_memory_does() {
    let scene = Scene::new(300, 20);
    let bpe = ["--set", "data.source.bpe.vocabulary=40", "--set", "training.word_dropout=0.1"];
    train(&scene, "memory", &bpe);
    train(&scene, "file", &[&bpe[..], &["--set", "data.in_memory_limit=0"]].concat());
    scene.same_run("memory", "file");
    let made = scene.files("file/prepared").into_keys().collect::<Vec<_>>();
    assert_eq!(made.len(), 3, "the set, its tokenizers, the hashes of the inputs: {made:?}");
    // Resumed with the file and without it, as a run that never stopped.
    let half = [&bpe[..], &["--set", "training.steps=20", "--set", "data.in_memory_limit=0"]].concat();
    train(&scene, "resumed", &half);
    train(&scene, "resumed", &[&bpe[..], &["--resume"]].concat());
    scene.same_run("memory", "resumed");
}

#[test]
fn runs_share_the_folder_that_the_config_names_and_so_do_ranks() {
    let scene = Scene::new(300, 20);
    let shared = ["--set", "data.cache=cache", "--set", "data.in_memory_limit=0"];
    train(&scene, "first", &shared);
    let made = scene.files("cache");
    train(&scene, "second", &shared);
    assert_eq!(scene.files("cache"), made);
    assert!(!scene.path("second/prepared").exists());
    train(&scene, "ranks", &[&shared[..], &["--ranks", "2"]].concat());
    scene.same_run("first", "ranks");
    train(&scene, "made-by-ranks", &["--ranks", "2", "--set", "data.in_memory_limit=0"]);
    scene.same_run("first", "made-by-ranks");
}

/// Rows enough that encoding takes a while.
fn large() -> Scene {
    let scene = Scene::new(60, 12);
    let row = |n: usize| format!("{:x},{:o}\n", n * 7919, n * 104_729);
    let rows: String = (0..400_000).map(row).collect();
    scene.write("train.csv", format!("source,target\n{rows}"));
    scene
}

#[test]
fn a_signal_or_a_kill_while_the_set_is_encoded_ends_at_once_and_leaves_nothing_that_is_read() {
    let scene = large();
    for (signal, code) in [("INT", Some(130)), ("KILL", None)] {
        let arguments = [&["train", "copy.toml", "--out", "run"], &IN_FILE[..]].concat();
        let child = scene.spawn(&arguments);
        let is_partial = |name: &str| name.contains(".tokens.") && name.ends_with(".partial");
        let names = || -> Vec<String> {
            let entries = std::fs::read_dir(scene.path("run/prepared"));
            let names = entries.into_iter().flatten().flatten();
            names.map(|entry| entry.file_name().into_string().unwrap()).collect()
        };
        wait_until("it encodes", || names().iter().any(|name| is_partial(name)));
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(Finished::of(child).code, code);
        assert!(!names().iter().any(|name| name.ends_with(".tokens")), "{:?}", names());
    }
    scene.write("train.csv", "source,target\nab,ab\ncd,cd\n");
    scene.train(&[&["--out", "run"], &IN_FILE[..]].concat()).succeeded();
    let left = scene.files("run/prepared").into_keys();
    let left: Vec<_> = left.filter(|path| path.to_string_lossy().contains(".partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}
