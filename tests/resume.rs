//! A run that is interrupted and resumed equals an uninterrupted one: the same rows in metrics.csv and the same
//! weights, bit for bit, whether it ends by its own limits, by a signal that it handles, or by SIGKILL.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use seqloom::checkpoint::model_file::{self, ModelHeader};
use seqloom::checkpoint::run::RunDirectory;
use seqloom::checkpoint::tensors::sha256;

use crate::support::run::{Finished, Scene, listened_to, wait_until};

/// Dropout, two batches an update, three updates an epoch; log, validation and checkpoint fall on different steps.
const SETTINGS: [&str; 8] = [
    "model.transformer.dropout=0.2",
    "training.accumulate=2",
    "training.tokens_per_batch=64",
    "training.log_every=5",
    "training.validate_every=6",
    "training.checkpoint_every=4",
    "training.keep_last=2",
    "training.decode_rows=6",
];

fn scene() -> Scene {
    Scene::new(60, 12)
}

fn train_arguments<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let settings = SETTINGS.iter().flat_map(|setting| ["--set", *setting]);
    ["train", "copy.toml", "--out", out].into_iter().chain(settings).chain(more.iter().copied()).collect()
}

fn train(scene: &Scene, out: &str, more: &[&str]) -> Finished {
    scene.seqloom(&train_arguments(out, more))
}

fn steps(count: u64) -> String {
    format!("training.steps={count}")
}

/// The results of a run.
fn ending(scene: &Scene, run: &str) -> BTreeMap<&'static str, Vec<u8>> {
    let checkpoint = scene.checkpoint(run, "latest");
    let mut files: BTreeMap<_, _> = ["model.safetensors", "training.safetensors"]
        .map(|name| (name, scene.read(checkpoint.join(name))))
        .into();
    files.insert("metrics.csv", scene.read(format!("{run}/metrics.csv")));
    files
}

#[track_caller]
fn assert_same_ending(scene: &Scene, run: &str, other: &str) {
    let text = |run: &str| scene.text(format!("{run}/metrics.csv"));
    assert_eq!(text(run), text(other));
    assert_eq!(scene.checkpoint(run, "latest").file_name(), scene.checkpoint(other, "latest").file_name());
    let (ours, theirs) = (ending(scene, run), ending(scene, other));
    for (name, bytes) in ours {
        assert!(bytes == theirs[name], "{name} differs");
    }
}

/// And the same state of training: its position, and the best step.
#[track_caller]
fn assert_same_state(scene: &Scene, run: &str, other: &str) {
    assert_same_ending(scene, run, other);
    let state = |run: &str| scene.text(scene.checkpoint(run, "latest").join("state.json"));
    assert_eq!(state(run), state(other));
    assert_eq!(scene.text(format!("{run}/best")), scene.text(format!("{other}/best")));
}

fn log_lines(scene: &Scene, run: &str) -> usize {
    fs::read_to_string(scene.path(run).join("train.log")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_run_stopped_at_any_step_and_resumed_equals_the_uninterrupted_one() {
    let scene = scene();
    train(&scene, "whole", &["--set", "training.steps=26"]).succeeded();
    // Before the first log row, within its window, on a log row, on a validation, at an epoch's end, near the end.
    let stops = ["steps=1", "steps=3", "steps=5", "steps=6", "epochs=3", "steps=13", "steps=25", "steps=26"];
    for stop in stops {
        let stop = format!("training.{stop}");
        let stderr = train(&scene, "pieces", &["--resume", "--set", &stop]).succeeded().stderr;
        assert!(stderr.contains("done: "), "{stop}: {stderr}");
    }
    assert_same_ending(&scene, "pieces", "whole");
}

/// Four shards an update, on fewer and on more threads than there are cores here.
#[test]
fn a_run_is_bit_identical_for_any_number_of_threads_even_if_it_changes() {
    let scene = scene();
    let settings = ["--set", "training.shards=4", "--set", "training.word_dropout=0.1", "--set"];
    let until = |out: &str, step: u64, threads: u64, more: &[&str]| {
        let (end, threads) = (steps(step), format!("runtime.threads={threads}"));
        let settings = [&settings[..], &[&end, "--set", &threads], more].concat();
        train(&scene, out, &settings).succeeded();
    };
    until("whole", 14, 1, &[]);
    for (run, threads) in [("two", 2), ("four", 4)] {
        until(run, 14, threads, &[]);
        assert_same_state(&scene, run, "whole");
    }
    for (step, threads) in [(5, 3), (9, 1), (14, 2)] {
        until("pieces", step, threads, &["--resume"]);
    }
    assert_same_ending(&scene, "pieces", "whole");
}

#[test]
fn a_run_stopped_by_a_signal_saves_and_resumes_exactly() {
    let scene = scene();
    // With and without validations: with them a signal most likely arrives during one, since they take longest.
    for (signal, code, every) in [
        ("TERM", 143, "training.validate_every=6"),
        ("INT", 130, "training.validate_every=1000"),
        ("HUP", 129, "training.validate_every=1000"),
    ] {
        if signal == "HUP" && hangup_is_ignored() {
            eprintln!("SIGHUP was not tried: these tests run under nohup, where it is ignored");
            continue;
        }
        let (run, whole) = (format!("stopped-{signal}"), format!("whole-{signal}"));
        let endless = steps(1_000_000);
        let child = scene.spawn(&train_arguments(&run, &["--set", &endless, "--set", every]));
        wait_until("it logs", || log_lines(&scene, &run) > 3);
        send(signal, child.id());
        if signal == "HUP" {
            send(signal, child.id());
        }
        let finished = Finished::of(child);
        assert_eq!(finished.code, Some(code), "{}", finished.stderr);
        let latest = scene.text(format!("{run}/latest"));
        let step: u64 = latest.trim().trim_start_matches("step-").parse().unwrap();
        let message = format!("stopped at step {step}, saved. To continue, use --resume\n");
        assert!(finished.stderr.ends_with(&message), "{}", finished.stderr);

        let end = steps(step + 7);
        train(&scene, &run, &["--resume", "--set", &end, "--set", every]).succeeded();
        train(&scene, &whole, &["--set", &end, "--set", every]).succeeded();
        assert_same_state(&scene, &run, &whole);
    }
}

/// Whether this process, and so its children, ignore SIGHUP: the lowest bit of the mask in /proc.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[test]
fn under_nohup_a_closed_terminal_does_not_stop_it() {
    let scene = scene();
    let endless = steps(1_000_000);
    let mut nohup = Command::new("nohup");
    nohup.arg(env!("CARGO_BIN_EXE_seqloom")).args(train_arguments("run", &["--set", &endless]));
    let child = listened_to(nohup.current_dir(scene.path("")).env("CUDA_VISIBLE_DEVICES", ""));
    wait_until("it logs", || log_lines(&scene, "run") > 3);
    send("HUP", child.id());
    let before = log_lines(&scene, "run");
    wait_until("training continues", || log_lines(&scene, "run") > before + 3);
    send("TERM", child.id());
    assert_eq!(Finished::of(child).code, Some(143));
}

/// A stop interrupts a validation, and the resumed run repeats it.
#[test]
fn a_stop_does_not_wait_for_a_validation() {
    let scene = Scene::new(60, 4000);
    let slow = [
        "--set",
        "training.decode_rows=0",
        "--set",
        "decoding.beam=12",
        "--set",
        "decoding.max_length=60",
        "--set",
        "training.validate_every=3",
    ];
    let all = |more: &[&'static str]| train_arguments("stopped", &[&slow[..], more].concat());
    for (last, resumed) in [("training.steps=5", false), ("training.steps=3", true)] {
        let more = if resumed { vec!["--set", last, "--resume"] } else { vec!["--set", last] };
        let child = scene.spawn(&all(&more));
        wait_until("it makes its updates", || {
            let log = std::fs::read_to_string(scene.path("stopped/train.log")).unwrap_or_default();
            log.lines()
                .filter(|line| line.contains("resuming from step") || line.contains("vocabularies"))
                .count()
                > usize::from(resumed)
        });
        std::thread::sleep(std::time::Duration::from_millis(500));
        send("TERM", child.id());
        let finished = Finished::of(child);
        assert_eq!(finished.code, Some(143), "{}", finished.stderr);
        assert_eq!(scene.text("stopped/latest").trim(), "step-00000003", "{}", finished.stderr);
        assert!(!scene.text("stopped/metrics.csv").contains(",valid,"));
    }
    let quick = [
        "--set",
        "training.decode_rows=6",
        "--set",
        "training.validate_every=3",
        "--set",
        "training.steps=5",
    ];
    train(&scene, "stopped", &[&quick[..], &["--resume"]].concat()).succeeded();
    train(&scene, "whole", &quick).succeeded();
    assert_same_ending(&scene, "stopped", "whole");
}

/// The last step's validation may be the best of all, and remains so if more steps are requested.
#[test]
fn the_best_checkpoint_is_kept_when_a_complete_run_is_extended() {
    let scene = Scene::new(200, 12);
    let train = |more: &[&str]| {
        let few = [
            "--set",
            "training.validate_every=40",
            "--set",
            "training.keep_last=1",
            "--set",
            "training.best_by=nll",
        ];
        scene.train(&[&few[..], more].concat()).succeeded()
    };
    train(&["--set", "training.steps=100"]);
    assert_eq!(scene.text("runs/copy/best").trim(), "step-00000100");
    // Random pairs make all later validations worse.
    scene.write("valid.csv", "source,target\nab,gfedcbagfedcba\ncd,hhhhhhhhhhhhhhh\n");
    train(&["--resume", "--set", "training.steps=170"]);
    assert_eq!(scene.text("runs/copy/best").trim(), "step-00000100");
    scene.fed(&["decode", "runs/copy"], b"ab\n").succeeded();
}

/// A newer version may write files that this one cannot read, and the error must state this.
#[test]
fn a_checkpoint_of_a_newer_version_is_named_as_such() {
    let scene = Scene::trained();
    let folder = scene.checkpoint("runs/copy", "latest");
    let model = scene.path(folder.join("model.safetensors"));
    let (header, weights) = model_file::read(&model).unwrap();
    let newer =
        ModelHeader { format_version: header.format_version + 1, ..header }.to_bytes(&weights).unwrap();
    let state = scene.text(folder.join("state.json")).replacen('{', "{ \"more\": 1,", 1);
    let mut manifest: BTreeMap<String, String> =
        serde_json::from_str(&scene.text(folder.join("manifest.json"))).unwrap();
    manifest.insert("model.safetensors".into(), sha256(&newer));
    manifest.insert("state.json".into(), sha256(state.as_bytes()));
    scene.write(folder.join("model.safetensors"), newer);
    scene.write(folder.join("state.json"), state);
    scene.write(folder.join("manifest.json"), serde_json::to_string(&manifest).unwrap());
    scene.write("runs/copy/config.toml", scene.text("runs/copy/config.toml") + "\n[more]\nkey = 1\n");
    let refused = scene.train(&["--resume", "--set", "training.steps=701"]);
    assert!(
        refused.code == Some(2)
            && refused.stderr.contains("has format 2, but this seqloom reads formats up to 1"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_changed_validation_set_is_reported() {
    let scene = scene();
    let end = steps(4);
    train(&scene, "run", &["--set", &end]).succeeded();
    scene.write("valid.csv", scene.text("valid.csv") + "ab,ab\n");
    let end = steps(5);
    let stderr = train(&scene, "run", &["--resume", "--set", &end]).succeeded().stderr;
    assert!(stderr.contains("note: the validation set has changed: "), "{stderr}");
    let end = steps(6);
    let stderr = train(&scene, "run", &["--resume", "--set", &end]).succeeded().stderr;
    assert!(!stderr.contains("note: "), "{stderr}");
}

/// The fingerprint decides, not the name.
#[test]
fn files_of_pairs_may_move_but_not_change() {
    let scene = scene();
    train(&scene, "whole", &["--set", "training.steps=8"]).succeeded();
    train(&scene, "run", &["--set", "training.steps=4"]).succeeded();
    scene.write("new/train.csv", scene.read("train.csv"));
    scene.write("new/valid.csv", scene.read("valid.csv"));
    let moved =
        ["--resume", "--set", "data.train=new/train.csv", "--set", "data.valid=new/valid.csv", "--set"];
    let resume = |end| train(&scene, "run", &[&moved[..], &[end]].concat());
    let stderr = resume("training.steps=8").succeeded().stderr;
    for key in ["data.train", "data.valid"] {
        assert!(
            stderr.contains(&format!("note: `{key}` names other files than before, with the same pairs\n")),
            "{stderr}"
        );
    }
    assert_eq!(scene.text("run/metrics.csv"), scene.text("whole/metrics.csv"));
    let files = scene.files("run");
    scene.write("new/train.csv", scene.text("train.csv") + "ab,ba\n");
    resume("training.steps=9").refused_naming(
        2,
        &["the training pairs must be those that the run started with, but they differ\n"],
    );
    assert!(scene.files("run") == files, "a run that was refused was changed");
}

fn send(signal: &str, process: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_run_killed_at_any_moment_and_resumed_equals_the_uninterrupted_one() {
    let scene = scene();
    let end = ["--set", "training.steps=120"];
    train(&scene, "whole", &end).succeeded();
    for lines in [2, 9, 4, 14] {
        let before = log_lines(&scene, "killed");
        let mut child = scene.spawn(&train_arguments("killed", &[&end[..], &["--resume"]].concat()));
        wait_until("it logs", || log_lines(&scene, "killed") >= before + lines);
        // The process number is as random as it need be: any moment must do.
        std::thread::sleep(std::time::Duration::from_micros(u64::from(child.id() % 50) * 200));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    train(&scene, "killed", &[&end[..], &["--resume"]].concat()).succeeded();
    assert_same_state(&scene, "killed", "whole");
    let left_over = scene.files("killed").into_keys().find(|path| path.to_string_lossy().contains("partial"));
    assert_eq!(left_over, None);
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_over() {
    let scene = scene();
    let end = ["--set", "training.steps=8"];
    train(&scene, "whole", &end).succeeded();
    let config = scene.text("whole/config.toml");
    scene.write("killed/config.toml", config);
    scene.write("killed/metrics.csv", "step,epoch\n5,1\n");
    scene.write("killed/checkpoints/.partial-step-00000004/model.safetensors", "half of");
    train(&scene, "killed", &[&end[..], &["--resume"]].concat()).succeeded();
    assert_same_state(&scene, "killed", "whole");
}

#[test]
fn a_run_killed_between_its_last_checkpoint_and_validation_still_validates() {
    let scene = scene();
    let end = ["--set", "training.steps=8"];
    train(&scene, "run", &end).succeeded();
    let metrics = scene.text("run/metrics.csv");
    let state = scene.read(scene.checkpoint("run", "latest").join("state.json"));
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let saved = state["metrics_bytes"].as_u64().unwrap() as usize;
    assert!(metrics[saved..].contains(",valid,"), "the row after the checkpoint: {metrics}");
    scene.write("run/metrics.csv", &metrics[..saved]);
    train(&scene, "run", &[&end[..], &["--resume"]].concat()).succeeded();
    assert_eq!(scene.text("run/metrics.csv"), metrics);
}

/// The picture shows the whole run, and TensorBoard gets the first step of the resumed part.
#[test]
fn curves_and_tensorboard_continue_after_resuming() {
    let scene = scene();
    for end in [12, 18] {
        train(&scene, "watched", &["--resume", "--set", &steps(end)]).succeeded();
        let picture = scene.text("watched/curves.svg");
        assert!(picture.contains(&format!(">update {end}, epoch ")), "{picture}");
    }
    let events: Vec<Vec<u8>> = scene.files("watched/tensorboard").into_values().collect();
    assert_eq!(events.len(), 2);
    for first_step in [1, 13] {
        // Of a session's record: step (2), and a log (7) of which the status (1) is START (1).
        let start = [0x10, first_step, 0x3a, 2, 0x08, 1];
        assert!(events.iter().any(|file| file.windows(6).any(|bytes| bytes == start)), "{first_step}");
    }
    assert!(events.iter().all(|file| file.windows(9).any(|bytes| bytes == b"valid/nll")));
}

#[test]
fn a_complete_run_is_unchanged() {
    let scene = Scene::trained();
    let before = scene.files("runs");
    let finished = scene.train(&["--resume"]).succeeded();
    let message =
        "runs/copy is complete: 700 steps. To continue up to step N, use `--set training.steps=N`.\n";
    assert_eq!((finished.stderr.as_str(), finished.stdout.as_str()), (message, ""));
    assert!(scene.files("runs") == before);
}

#[test]
fn a_run_is_neither_started_twice_nor_resumed_with_incompatible_keys() {
    let scene = Scene::trained();
    let before = scene.files("runs");
    scene.train(&[]).refused(
        2,
        "error: runs/copy already holds this run\n\
         hint: continue it with --resume, or start another run with --out DIR",
    );
    for (key, value) in
        [("training.adamw.learning_rate", "2e-3"), ("seed", "2"), ("training.accumulate", "2")]
    {
        let change = format!("{key}={value}");
        for more in [&["--set", &change, "--resume"][..], &["--set", &change]] {
            scene.train(more).refused(
                2,
                &format!(
                    "error: runs/copy holds another experiment: {key} differ\n\
                     hint: name another folder with --out; add --from runs/copy to start from the weights of that run"
                ),
            );
        }
    }
    assert!(scene.files("runs") == before);
}

/// A kill may come between the best checkpoint and its pointer.
#[test]
fn a_missing_best_pointer_is_written_on_resume() {
    let scene = Scene::trained();
    let best = scene.text("runs/copy/best");
    fs::remove_file(scene.path("runs/copy/best")).unwrap();
    scene.train(&["--resume", "--set", "training.steps=701"]).succeeded();
    // The new step has the same exact match, and may have the lower loss.
    let named = scene.text("runs/copy/best");
    assert!([best.as_str(), "step-00000701\n"].contains(&named.as_str()), "{named}");
    assert!(scene.path(scene.checkpoint("runs/copy", "best")).is_dir());
}

#[test]
fn a_truncated_metrics_file_is_refused_on_resume() {
    let scene = Scene::trained();
    scene.write("runs/copy/metrics.csv", "step,epoch\n");
    scene.train(&["--resume", "--set", "training.steps=701"]).refused_naming(
        1,
        &[
            "runs/copy/metrics.csv must have at least ",
            " bytes, as when the checkpoint was saved, but it has 11\nhint: ",
        ],
    );
    assert_eq!(scene.text("runs/copy/metrics.csv"), "step,epoch\n");
    // Nor are rows appended under other columns.
    let scene = Scene::trained();
    let other = scene.text("runs/copy/metrics.csv").replace("word_error_rate", "WORD_error_rate");
    scene.write("runs/copy/metrics.csv", other);
    let refused = scene.train(&["--resume", "--set", "training.steps=701"]);
    refused.refused_naming(1, &["must have the columns of this seqloom version, but it has others"]);
}

/// A run directory with checkpoints of one small file.
fn with_checkpoints(scene: &Scene, steps: &[u64]) -> RunDirectory {
    let run = RunDirectory::at(&scene.path("run"));
    run.create().unwrap();
    for step in steps {
        run.save_checkpoint(*step, None, &[("state.json", b"{}".to_vec())]).unwrap();
    }
    run
}

fn checkpoints(scene: &Scene) -> Vec<PathBuf> {
    let entries = fs::read_dir(scene.path("run/checkpoints")).unwrap();
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.unwrap().file_name().into()).collect();
    names.sort_unstable();
    names
}

#[test]
fn pruning_keeps_the_newest_and_the_best() {
    let scene = scene();
    let run = with_checkpoints(&scene, &[1, 2, 3, 4, 5]);
    run.name_best(2).unwrap();
    run.prune(2, &[], |_| true).unwrap();
    assert_eq!(checkpoints(&scene), ["step-00000002", "step-00000004", "step-00000005"].map(PathBuf::from));
    run.name_best(5).unwrap();
    run.prune(1, &[], |_| true).unwrap();
    assert_eq!(checkpoints(&scene), [PathBuf::from("step-00000005")]);
}

/// As it is when `latest` was set back by hand, past a checkpoint that is damaged.
#[test]
fn pruning_keeps_the_checkpoint_named_latest_even_if_newer_ones_exist() {
    let scene = scene();
    let run = with_checkpoints(&scene, &[7, 8, 9, 3]);
    run.prune(1, &[], |_| true).unwrap();
    assert_eq!(run.latest().unwrap(), Some(3));
    assert!(checkpoints(&scene).contains(&PathBuf::from("step-00000003")), "{:?}", checkpoints(&scene));
}

#[test]
fn a_run_that_ended_before_its_first_checkpoint_may_start_over_with_another_config() {
    let scene = Scene::new(60, 12);
    scene.write("runs/copy/config.toml", scene.read("copy.toml"));
    std::fs::create_dir(scene.path("runs/copy/checkpoints")).unwrap();
    let few = ["--set", "training.steps=2", "--set", "training.adamw.learning_rate=1e-3"];
    scene.train(&few).succeeded();
    assert_eq!(scene.text("runs/copy/latest").trim(), "step-00000002");
}

#[test]
fn resuming_with_other_training_pairs_is_refused() {
    let scene = Scene::new(60, 12);
    scene.train(&["--set", "training.steps=2"]).succeeded();
    scene.write("train.csv", scene.text("train.csv") + "abc,cba\n");
    let resumed = scene.train(&["--resume", "--set", "training.steps=4"]);
    resumed.refused(
        2,
        "error: the training pairs must be those that the run started with, but they differ\n\
         hint: restore them, or start a new run with --out DIR",
    );
}

#[test]
fn without_latest_the_newest_checkpoint_is_resumed_and_an_invalid_latest_is_named() {
    let scene = Scene::new(60, 12);
    scene.train(&["--set", "training.steps=2"]).succeeded();
    scene.write("runs/copy/latest", "step-00000009\n");
    scene.train(&["--resume"]).refused(
        1,
        "error: runs/copy/latest names step-00000009, which does not exist\n\
         hint: write one of these into it: step-00000002",
    );
    std::fs::remove_file(scene.path("runs/copy/latest")).unwrap();
    let resumed = scene.train(&["--resume", "--set", "training.steps=3"]).succeeded();
    assert!(resumed.stderr.contains("resuming from step 2"), "{}", resumed.stderr);
}

/// A checkpoint of the same step was being written when a kill came.
#[test]
fn a_checkpoint_moved_away_for_a_newer_one_is_restored() {
    let scene = Scene::trained();
    let latest = scene.checkpoint("runs/copy", "latest");
    let name = latest.file_name().unwrap().to_string_lossy().into_owned();
    let away = latest.with_file_name(format!(".partial-old-{name}"));
    fs::rename(scene.path(&latest), scene.path(&away)).unwrap();
    scene.train(&["--resume", "--set", "training.steps=701"]).succeeded();
    assert!(!scene.path(&away).exists());
}

#[test]
fn a_run_killed_while_creating_its_folder_starts_over() {
    let scene = scene();
    fs::create_dir_all(scene.path("run/checkpoints")).unwrap();
    scene.write("run/lock", "");
    scene.write("run/config.partial", "name = ");
    train(&scene, "run", &["--resume", "--set", "training.steps=2"]).succeeded();
}

/// A checkpoint of a stop does not displace regular ones.
#[test]
fn a_checkpoint_made_by_a_stop_is_kept_until_the_next_and_does_not_count() {
    let scene = scene();
    let run = with_checkpoints(&scene, &[4, 7, 8, 11]);
    run.prune(2, &[], |step| step % 4 == 0).unwrap();
    assert_eq!(checkpoints(&scene), ["step-00000004", "step-00000008", "step-00000011"].map(PathBuf::from));
}

/// The checkpoint interval may change; earlier checkpoints are kept.
#[test]
fn another_checkpoint_interval_removes_none_of_the_newest_checkpoints() {
    let scene = scene();
    let keep = ["--set", "training.keep_last=3"];
    train(&scene, "run", &[&keep[..], &["--set", "training.steps=24"]].concat()).succeeded();
    let seldom = ["--set", "training.validate_every=1000", "--set", "training.checkpoint_every=1000"];
    let more = ["--resume", "--set", "training.steps=30"];
    train(&scene, "run", &[&keep[..], &seldom, &more].concat()).succeeded();
    let there = checkpoints(&scene);
    let newest = ["step-00000020", "step-00000024", "step-00000030"].map(PathBuf::from);
    assert!(newest.iter().all(|step| there.contains(step)), "{there:?}");
}

#[test]
fn changes_that_affect_learning_are_reported_on_resume() {
    let scene = scene();
    let resumed = |out: &str, more: &[&str]| {
        let settings = more.iter().flat_map(|setting| ["--set", *setting]);
        train(&scene, out, &["--resume"].into_iter().chain(settings).collect::<Vec<_>>()).succeeded().stderr
    };
    let stderr = resumed("run", &["training.steps=2"]);
    let note =
        "note: the warm-up lasts until the end of training: `warmup` is 40, and `training.steps` is 2\n";
    assert!(stderr.contains(note), "{stderr}");
    assert!(!resumed("run", &["training.steps=4"]).contains("note: "));
    assert!(!resumed("run", &["training.steps=5", "runtime.threads=2"]).contains("note: "));
    let stderr = resumed("run", &["training.steps=6", "runtime.precision=bf16"]);
    for part in [
        "note: this run started on the CPU",
        ", f32 and resumes on the CPU",
        ", bf16: results will not be bit-identical\n",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    let schedule = |table: &str| {
        scene.write(
            "copy.toml",
            scene.text("copy.toml").replace("[training.inverse_sqrt]\nwarmup = 40", table),
        );
    };
    schedule("[training.linear]\nwarmup = 1");
    resumed("linear", &["training.steps=2"]);
    let stderr = resumed("linear", &["training.steps=4"]);
    assert!(stderr.contains("note: the learning rate decays until `training.steps`"), "{stderr}");
    scene.write("copy.toml", Scene::new(60, 12).text("copy.toml"));
    schedule("[training.plateau]\nwarmup = 1");
    resumed("plateau", &["training.steps=2"]);
    assert!(!resumed("plateau", &["training.steps=4"]).contains("note: "));
    let stderr = resumed("plateau", &["training.steps=6", "training.validate_every=3"]);
    assert!(stderr.contains("note: the learning rate depends on the validations"), "{stderr}");
}
