//! Rare faults, injected: NaN, out of memory, two trainings in one folder, a full disk.

use std::process::Command;

use crate::support::run::{Finished, Scene, binary, listened_to, numbers, wait_until};

/// Trains with an environment variable that injects a fault.
fn train(scene: &Scene, out: &str, fault: (&str, &str), settings: &[&str]) -> Finished {
    let few = [
        "training.steps=12",
        "training.tokens_per_batch=64",
        "training.log_every=3",
        "training.validate_every=6",
        "training.checkpoint_every=4",
        "training.decode_rows=4",
    ];
    let mut arguments = vec!["train", "copy.toml", "--resume", "--out", out];
    few.iter().chain(settings).for_each(|setting| arguments.extend(["--set", *setting]));
    Finished::of(listened_to(binary(&scene.path("")).args(arguments).env(fault.0, fault.1)))
}

const NAN: &str = "SEQLOOM_TEST_NAN_AT";
const MEMORY: &str = "SEQLOOM_TEST_MEMORY_FOR";
const NONE: (&str, &str) = ("SEQLOOM_TEST_NOTHING", "");

#[test]
fn an_update_that_is_not_finite_is_skipped_counted_and_its_rows_named() {
    let scene = Scene::new(60, 12);
    let stderr = train(&scene, "run", (NAN, "5,8"), &[]).succeeded().stderr;
    let skipped = "step 5: update skipped: the loss or a gradient is NaN or infinite; its rows are in run/skipped/step-00000005.csv\n";
    assert!(stderr.contains(skipped), "{stderr}");
    assert!(stderr.contains(": 1 update skipped since the last log line\n"), "{stderr}");
    let table = scene.text("run/skipped/step-00000005.csv");
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("place,source,target"));
    let known = scene.text("train.csv");
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let number: usize = fields[0].strip_prefix("train.csv:").unwrap().parse().unwrap();
        assert_eq!(known.lines().nth(number - 1), Some(format!("{},{}", fields[1], fields[2]).as_str()));
    }
    assert_eq!(numbers(&scene.metrics("run", "train"), "skipped"), [0.0, 1.0, 1.0, 0.0]);
    assert!(scene.metrics("run", "train").iter().all(|row| row["loss"].parse::<f64>().unwrap().is_finite()));
}

#[test]
fn training_with_skipped_updates_reaches_the_same_quality() {
    let scene = Scene::new(400, 40);
    let settings = [
        "training.steps=700",
        "training.tokens_per_batch=512",
        "training.validate_every=700",
        "training.log_every=700",
        "training.checkpoint_every=700",
        "training.decode_rows=40",
    ];
    train(&scene, "run", (NAN, "40,41,300,650"), &settings).succeeded();
    let valid = scene.metrics("run", "valid");
    assert!(numbers(&valid, "exact_match")[0] > 0.95, "{valid:?}");
    assert_eq!(numbers(&scene.metrics("run", "train"), "skipped"), [4.0]);
}

#[test]
fn too_many_skipped_updates_in_a_row_end_training_or_roll_it_back() {
    let scene = Scene::new(60, 12);
    let limit = "training.non_finite.limit=3";
    let stopped = train(&scene, "stopped", (NAN, "6,7,8"), &[limit]);
    assert_eq!(stopped.code, Some(1));
    let message = "error: the loss and its gradient must be finite, but they were NaN or infinite in 3 updates in a row, up to step 8\nhint: the rows are in skipped/";
    assert!(stopped.stderr.contains(message), "{}", stopped.stderr);
    assert!(scene.text("stopped/train.log").contains("] error: the loss and its gradient must be finite"));
    // The earlier checkpoint is complete, and without the fault training resumes from it.
    assert_eq!(scene.text("stopped/latest").trim(), "step-00000006");
    train(&scene, "stopped", NONE, &[limit]).succeeded();

    let settings = [limit, "training.non_finite.then=rollback"];
    let stderr = train(&scene, "back", (NAN, "6,7,8"), &settings).succeeded().stderr;
    let back = "step 8: 3 updates in a row were skipped; weights and optimizer are rolled back to step 4\n";
    assert!(stderr.contains(back), "{stderr}");
    assert_eq!(scene.text("back/latest").trim(), "step-00000012");
    // Rolling back to the same checkpoint twice would repeat forever.
    let endless = train(&scene, "endless", (NAN, "6,7,8,9,10,11,12"), &settings);
    assert_eq!(endless.code, Some(1), "{}", endless.stderr);
    assert!(endless.stderr.contains("; a rollback to a checkpoint did not help"), "{}", endless.stderr);
    let early = train(&scene, "early", (NAN, "1,2,3"), &settings);
    assert_eq!(early.code, Some(1), "no checkpoint for a rollback: {}", early.stderr);
    assert!(early.stderr.contains("; there is no checkpoint for a rollback"), "{}", early.stderr);
}

#[test]
fn a_batch_out_of_memory_is_split_with_the_same_result() {
    let scene = Scene::new(60, 12);
    train(&scene, "whole", NONE, &[]).succeeded();
    // A batch has up to 128 positions of both sides.
    let stderr = train(&scene, "cut", (MEMORY, "50"), &[]).succeeded().stderr;
    assert!(!stderr.contains("for this pair alone"), "{stderr}");
    // A size that is too large is found once and reported.
    let found = stderr.lines().filter(|line| line.contains("out of memory with ")).count();
    assert!((1..=3).contains(&found), "{stderr}");
    let [whole, cut] = ["whole", "cut"].map(|run| scene.metrics(run, "train"));
    for name in ["loss", "gradient_norm"] {
        for (whole, cut) in numbers(&whole, name).iter().zip(numbers(&cut, name)) {
            assert!((whole / cut - 1.0).abs() < 1e-4, "{name}: {whole} and {cut}");
        }
    }
    assert_eq!(numbers(&whole, "target_tokens"), numbers(&cut, "target_tokens"));
}

#[test]
fn a_row_out_of_memory_is_skipped_and_named_and_training_continues() {
    let scene = Scene::new(60, 12);
    let long = "abcdefgh".repeat(5);
    scene.write("train.csv", scene.text("train.csv") + &format!("{long},{long}\n"));
    let stderr =
        train(&scene, "run", (MEMORY, "70"), &["training.epochs=1", "training.steps=99"]).succeeded().stderr;
    let skipped = "train.csv:62: out of memory even for this pair alone: it is skipped\n";
    assert!(stderr.contains(skipped), "{stderr}");
    // A row longer than the budget is a single-row batch, which is fine if it fits into memory.
    let stderr = train(&scene, "long", NONE, &["training.tokens_per_batch=32"]).succeeded().stderr;
    let alone = "train.csv:62: this pair has 41 positions, more than `tokens_per_batch` = 32: it gets a batch of its own\n";
    assert!(stderr.contains(alone), "{stderr}");
}

/// The rows of a batch have about the same length, so that long ones are together.
#[test]
fn many_rows_out_of_memory_are_skipped_and_training_continues() {
    let scene = Scene::new(60, 12);
    let long = "abcdefgh".repeat(5);
    let rows = format!("{long},{long}\n").repeat(12);
    scene.write("train.csv", scene.text("train.csv") + &rows);
    let settings = ["training.epochs=1", "training.steps=99", "training.tokens_per_batch=700"];
    let stderr = train(&scene, "run", (MEMORY, "70"), &settings).succeeded().stderr;
    assert_eq!(stderr.matches("out of memory even for this pair alone").count(), 12, "{stderr}");
    assert!(stderr.contains("train.csv:73: out of memory even for this pair alone"), "{stderr}");
}

#[test]
fn training_ends_if_not_even_a_single_pair_fits_into_memory() {
    let scene = Scene::new(60, 12);
    let failed = train(&scene, "run", (MEMORY, "1"), &[]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    let message = "error: at least one pair must fit into memory, but none does\nhint: use a smaller model";
    assert!(failed.stderr.contains(message), "{}", failed.stderr);
}

#[test]
fn a_second_trainer_is_locked_out_of_the_folder() {
    let scene = Scene::new(60, 12);
    let mut first = scene.spawn(&["train", "copy.toml", "--set", "training.steps=1000000"]);
    wait_until("it saves", || scene.path("runs/copy/latest").exists());
    for more in [&[][..], &["--resume"]] {
        scene.train(&[&["--set", "training.steps=1000000"], more].concat()).refused(
            2,
            "error: another seqloom is training in runs/copy\nhint: wait until it ends, or name another folder with --out",
        );
    }
    // The lock is released whichever way training ends.
    first.kill().unwrap();
    first.wait().unwrap();
    let latest = scene.text("runs/copy/latest");
    let step: u64 = latest.trim().trim_start_matches("step-").parse().unwrap();
    let steps = format!("training.steps={}", step + 1);
    scene.train(&["--resume", "--set", &steps]).succeeded();
}

/// A limit on the size of files simulates a full disk: writing fails in the middle.
#[test]
fn a_full_disk_is_a_named_error_and_loses_nothing() {
    let scene = Scene::new(60, 12);
    scene.train(&["--set", "training.steps=2"]).succeeded();
    let before = scene.files("runs/copy/checkpoints");
    let binary = env!("CARGO_BIN_EXE_seqloom");
    // In blocks of 512 bytes; the signal that would end the process is ignored.
    let command =
        format!("trap '' XFSZ; ulimit -f 40; exec {binary} train copy.toml --resume --set training.steps=4");
    let full =
        Finished::of(listened_to(Command::new("sh").args(["-c", &command]).current_dir(scene.path(""))));
    assert_eq!(full.code, Some(1), "{}", full.stderr);
    let named =
        "error: cannot write runs/copy/checkpoints/.partial-step-00000004/model.safetensors: file too large";
    assert!(full.stderr.contains(named), "{}", full.stderr);
    assert!(scene.files("runs/copy/checkpoints") == before);
    scene.train(&["--resume", "--set", "training.steps=4"]).succeeded();
    let mut whole = vec!["--out", "whole"];
    whole.extend(["--set", "training.steps=4"]);
    scene.train(&whole).succeeded();
    let weights = |run: &str| scene.read(scene.checkpoint(run, "latest").join("model.safetensors"));
    assert!(weights("runs/copy") == weights("whole"));
}

/// Diverged weights give NaN scores, and a validation may be the first to find them.
#[test]
fn a_validation_without_finite_scores_has_no_metrics_and_is_treated_like_skipped_updates() {
    let scene = Scene::new(60, 12);
    let adamw = "[training.adamw]\nlearning_rate = 1e-2";
    scene.write("copy.toml", scene.text("copy.toml").replace(adamw, "[training.sgd]\nlearning_rate = 1e30"));
    let settings = ["training.steps=40", "training.clip_norm=0", "training.validate_every=1"];
    let stopped = train(&scene, "run", NONE, &settings);
    let validated = "step 1, valid: no scores: the model's outputs are NaN or infinite\n";
    assert!(stopped.stderr.contains(validated), "{}", stopped.stderr);
    let last = "NaN or infinite in 10 updates in a row, up to step 11\n";
    assert!(stopped.code == Some(1) && stopped.stderr.contains(last), "{}", stopped.stderr);
    let valid = scene.metrics("run", "valid");
    assert_eq!(valid.len(), 10);
    assert!(valid.iter().all(|row| row["nll"].is_empty() && row["exact_match"].is_empty()), "{valid:?}");
    assert!(!scene.path("run/best").exists());
}

#[test]
fn the_checkpoint_to_roll_back_to_is_kept_through_later_checkpoints() {
    let scene = Scene::new(60, 12);
    let rollback = ["training.steps=24", "training.non_finite.then=rollback"];
    for (fault, settings, back) in [
        ("13,14,15,16,17,18,19,20,21,22", &["training.checkpoint_every=1"][..], "to step 11\n"),
        ("13,14,15", &["training.keep_last=1", "training.non_finite.limit=3"], "to step 8\n"),
    ] {
        let out = format!("run{}", settings.len());
        let stderr =
            train(&scene, &out, (NAN, fault), &[&rollback[..], settings].concat()).succeeded().stderr;
        assert!(stderr.contains(&format!("weights and optimizer are rolled back {back}")), "{stderr}");
    }
}

#[test]
fn a_validation_out_of_memory_is_split_and_a_row_is_skipped_and_named() {
    let scene = Scene::new(60, 12);
    train(&scene, "whole", NONE, &[]).succeeded();
    train(&scene, "cut", (MEMORY, "40"), &[]).succeeded();
    let [whole, cut] = ["whole", "cut"].map(|run| scene.metrics(run, "valid"));
    for (whole, cut) in numbers(&whole, "nll").iter().zip(numbers(&cut, "nll")) {
        assert!((whole / cut - 1.0).abs() < 1e-4, "{whole} and {cut}");
    }
    let long = "abcdefgh".repeat(5);
    scene.write("valid.csv", scene.text("valid.csv") + &format!("{long},{long}\n"));
    let stderr = train(&scene, "run", (MEMORY, "70"), &["training.decode_rows=0"]).succeeded().stderr;
    let skipped = "valid.csv:14: out of memory even for this pair alone: it is skipped\n";
    assert!(stderr.contains(skipped), "{stderr}");
    // The metrics are those of the rest.
    let whole = train(&scene, "rest", (MEMORY, "70"), &["training.decode_rows=12"]).succeeded();
    assert!(!whole.stderr.contains("panicked"));
    assert_eq!(scene.metrics("run", "valid"), scene.metrics("rest", "valid"));
}
