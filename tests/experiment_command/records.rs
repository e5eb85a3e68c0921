//! What is finished counts for the same config and the same files alone, and two experiments do not share a folder.

use std::fs::{self, File};

use super::{arguments, modified, scene, steps};
use crate::support::run::Scene;

const RUN: &str = "out/runs/copy-seed1";

/// An experiment of one run in `out`, with more settings.
fn asked<'a>(out: &'a str, settings: &[&'a str]) -> Vec<&'a str> {
    let settings = settings.iter().flat_map(|setting| ["--set", *setting]);
    arguments(&["copy.toml"], "1", out).into_iter().chain(settings).collect()
}

/// Fails unless it is refused with all of these parts, and nothing is trained.
#[track_caller]
fn refused(scene: &Scene, settings: &[&str], parts: &[&str]) {
    let before = modified(scene, &format!("{RUN}/latest"));
    scene.seqloom(&asked("out", settings)).refused_naming(2, parts);
    assert_eq!(modified(scene, &format!("{RUN}/latest")), before);
}

#[test]
fn a_finished_run_counts_only_for_the_same_config_and_the_same_files() {
    let scene = scene();
    scene.seqloom(&asked("out", &[])).succeeded();
    for (setting, part) in [
        ("training.steps=20", "`training.steps` was 40, and is 20 here"),
        ("training.patience=3", "`training.patience` was 0, and is 3 here"),
        ("training.average=2", "`training.average` was 0, and is 2 here"),
        ("data.train=valid.csv", "`data.train` was \"train.csv\", and is \"valid.csv\" here"),
    ] {
        refused(&scene, &[setting], &[part]);
    }
    let settings = "error: the run in out/runs/copy-seed1 was trained with other settings: ";
    let ways =
        "hint: name another folder with --out, or delete out/runs/copy-seed1 to train that run again\n";
    refused(&scene, &["training.average=2"], &[settings, ways]);
    // What changes no result.
    let same = scene.seqloom(&asked("out", &["training.log_every=10", "runtime.threads=2"])).succeeded();
    assert!(steps(&same).is_empty(), "{}", same.stderr);

    let rows = scene.text("train.csv");
    scene.write("train.csv", rows.replacen("source,target\n", "source,target\nab,ab\n", 1));
    let changed = "the run in out/runs/copy-seed1 was trained on other data: train.csv has changed since then (SHA-256 ";
    refused(
        &scene,
        &[],
        &[changed, "hint: restore the file, name another folder with --out, or delete out/"],
    );
    scene.write("train.csv", rows);
    assert!(steps(&scene.seqloom(&asked("out", &[])).succeeded()).is_empty());
    fs::remove_file(scene.path("out/configs/copy-seed1.data.json")).unwrap();
    let unknown = scene.seqloom(&asked("out", &[])).succeeded();
    let note = "note: no record of the training files for 1 run, such as copy-seed1: ";
    assert!(steps(&unknown).is_empty() && unknown.stderr.contains(note), "{}", unknown.stderr);

    // The learning rate does not depend on the steps: more of them follow.
    let more = scene.seqloom(&asked("out", &["training.steps=60"])).succeeded();
    let note = "copy-seed1: `training.steps` was 40 and is 60 now; training continues\n";
    assert!(more.stderr.contains(note) && steps(&more)[0] == "training copy-seed1", "{}", more.stderr);
    scene.seqloom(&asked("whole", &["training.steps=60"])).succeeded();
    scene.same_run(RUN, "whole/runs/copy-seed1");
    assert_eq!(scene.text("out/table.csv"), scene.text("whole/table.csv"));
}

#[test]
fn outputs_that_were_changed_are_made_again_and_lost_metrics_cost_only_the_curves() {
    let scene = scene();
    scene.seqloom(&asked("out", &[])).succeeded();
    let (place, table) = ("out/outputs/copy-seed1/valid.jsonl", scene.text("out/table.csv"));
    let outputs = scene.text(place);
    let cut = outputs.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n";
    let edited = outputs.replacen("output", "0utput", 1);
    for (text, why) in
        [(cut, "has 11 rows, but 12 were written"), (edited, "has changed since it was written")]
    {
        scene.write(place, text);
        let again = scene.seqloom(&asked("out", &[])).succeeded();
        assert_eq!(steps(&again), ["decoding valid with copy-seed1"]);
        assert!(again.stderr.contains(&format!("{place} {why}: decoding it again\n")), "{}", again.stderr);
        assert_eq!((scene.text(place), scene.text("out/table.csv")), (outputs.clone(), table.clone()));
    }

    fs::remove_file(scene.path(format!("{RUN}/metrics.csv"))).unwrap();
    let lost = scene.seqloom(&asked("out", &[])).succeeded();
    let note = "note: there are no curves of copy-seed1: out/runs/copy-seed1/metrics.csv is missing\n";
    assert!(steps(&lost).is_empty() && lost.stderr.contains(note), "{}", lost.stderr);
    assert_eq!(scene.text("out/table.csv"), table);

    let at_work =
        ["error: another `seqloom experiment` is running in out\n", "jobs with --shard share a folder"];
    let alone = asked("out", &[]);
    let as_job = [&alone[..], &["--shard", "1/1"]].concat();
    let lock = File::open(scene.path("out/lock")).unwrap();
    lock.lock().unwrap();
    for arguments in [&alone, &as_job] {
        scene.seqloom(arguments).refused_naming(2, &at_work);
    }
    lock.unlock().unwrap();
    lock.lock_shared().unwrap();
    scene.seqloom(&alone).refused_naming(2, &at_work);
    scene.seqloom(&as_job).succeeded();
}
