//! Updates in shards: their sum, and their threads.

use std::process::Command;

use crate::support::run::{Finished, Scene, listened_to};

fn losses(scene: &Scene, run: &str) -> Vec<f64> {
    scene.metrics(run, "train").iter().map(|row| row["loss"].parse().unwrap()).collect()
}

#[test]
fn the_number_of_shards_changes_the_order_of_summation_and_not_the_update() {
    let scene = Scene::new(60, 12);
    let train = |out: &str, shards: usize| {
        let shards = format!("training.shards={shards}");
        let few = ["training.steps=6", "training.log_every=1", "training.tokens_per_batch=128"];
        let settings = few.into_iter().chain([shards.as_str()]).flat_map(|setting| ["--set", setting]);
        scene.train(&["--out", out].into_iter().chain(settings).collect::<Vec<_>>()).succeeded().stderr
    };
    train("one", 1);
    for (run, shards) in [("two", 2), ("many", 64)] {
        train(run, shards);
        // Without dropout, so that all of them learn the same, except for the order of additions.
        for (one, other) in losses(&scene, "one").iter().zip(losses(&scene, run)) {
            assert!((one / other - 1.0).abs() < 1e-4, "{run}: {one} and {other}");
        }
        assert_ne!(
            scene.read("one/checkpoints/step-00000006/model.safetensors"),
            scene.read(format!("{run}/checkpoints/step-00000006/model.safetensors"))
        );
    }
    let refused = scene.train(&["--set", "training.shards=6"]);
    let message =
        "error: --set training.shards=6: `shards` must be 0 or a power of two of at most 1024, but it is 6";
    refused.refused(2, message);
}

#[test]
fn more_threads_than_shards_are_reported() {
    let scene = Scene::new(60, 12);
    let train = |threads: &str| {
        let settings = ["--out", threads, "--set", "training.steps=1", "--set", threads];
        scene.train(&settings).succeeded().stderr
    };
    let note = "note: an update has 2 shards for 5 threads; `training.shards` = 8 keeps more of them busy\n";
    assert!(train("runtime.threads=5").contains(note));
    assert!(!train("runtime.threads=2").contains("shards"));
}

/// Linux's taskset simulates a container.
#[test]
fn the_default_number_of_threads_is_that_of_the_available_cores() {
    if Command::new("taskset").arg("--version").output().is_err() {
        eprintln!("skipped: there is no taskset here");
        return;
    }
    let scene = Scene::new(60, 12);
    let mut command = Command::new("taskset");
    command.current_dir(scene.path("")).args([
        "-c",
        "0",
        env!("CARGO_BIN_EXE_seqloom"),
        "train",
        "copy.toml",
    ]);
    let threads = ["runtime.threads=0", "training.steps=1", "runtime.device=cpu"];
    command.args(threads.iter().flat_map(|setting| ["--set", setting]));
    let stderr = Finished::of(listened_to(&mut command)).succeeded().stderr;
    assert!(stderr.contains(" on the CPU (1 thread), f32"), "{stderr}");
}
