//! One input for several jobs, and their outputs in one file again.

use crate::support::run::{Scene, lines, unsure_lines, words};

/// Decodes an input as three jobs; returns the names of their outputs.
fn jobs(scene: &Scene, extension: &str, more: &[&str]) -> Vec<String> {
    let decode = |number: usize| {
        let (shard, output) = (format!("{number}/3"), format!("out.{number}.{extension}"));
        let own = ["--input", "in.txt", "--shard", &shard, "--output", &output];
        scene.decode(&[&own[..], more].concat(), "").succeeded();
        output
    };
    (1..=3).map(decode).collect()
}

fn merge(scene: &Scene, parts: &[&str], output: &str) -> crate::support::run::Finished {
    scene.seqloom(&[&["merge"], parts, &["--output", output]].concat())
}

#[test]
fn the_outputs_of_all_jobs_become_that_of_one() {
    let scene = Scene::trained();
    // Eleven rows: the jobs have four, four and three.
    scene.write("in.txt", unsure_lines(11));
    for (extension, more) in
        [("txt", &[][..]), ("csv", &[]), ("jsonl", &["--tokens"]), ("csv", &["--n-best", "3"])]
    {
        let whole = format!("whole.{extension}");
        scene.decode(&[&["--input", "in.txt", "--output", &whole], more].concat(), "").succeeded();
        let parts = jobs(&scene, extension, more);
        let parts: Vec<&str> = parts.iter().rev().map(String::as_str).collect();
        let all = format!("all.{extension}");
        merge(&scene, &parts, &all).succeeded();
        assert_eq!(scene.text(&all), scene.text(&whole), "{extension} {more:?}");
        let printed = merge(&scene, &parts, "-").succeeded();
        assert_eq!(printed.stdout, scene.text(&whole));
    }
}

#[test]
fn an_empty_shard_and_an_empty_input_are_merged() {
    let scene = Scene::trained();
    for rows in [0, 1, 2] {
        scene.write("in.txt", lines(&words(rows)));
        scene.decode(&["--input", "in.txt", "--output", "whole.csv"], "").succeeded();
        let parts = jobs(&scene, "csv", &[]);
        merge(&scene, &parts.iter().map(String::as_str).collect::<Vec<_>>(), "all.csv").succeeded();
        assert_eq!(scene.text("all.csv"), scene.text("whole.csv"), "{rows} rows");
    }
}

#[test]
fn what_is_not_all_of_one_decode_is_refused() {
    let scene = Scene::two();
    scene.write("in.txt", unsure_lines(11));
    let refused = |parts: &[&str], message: &str| {
        merge(&scene, parts, "all.csv").refused_naming(2, &[message]);
        assert!(!scene.path("all.csv").exists());
    };
    jobs(&scene, "csv", &[]);
    let all = ["out.1.csv", "out.2.csv", "out.3.csv"];
    refused(&all[..2], "all 3 shards are needed, but these are missing: 3/3");
    for name in ["out.2.csv", "out.2.csv.shard.json"] {
        scene.write(name.replace(".2.", ".copy."), scene.read(name));
    }
    let twice = ["out.1.csv", "out.2.csv", "out.copy.csv"];
    refused(&twice, "each shard must be given once, but out.2.csv and out.copy.csv are both 2/3");
    let third = |model: &str, more: &[&str]| {
        let own = ["decode", model, "--input", "in.txt", "--shard", "3/3", "--output", "out.3.csv"];
        scene.seqloom(&[&own[..], more].concat()).succeeded();
    };
    third("runs/other", &[]);
    refused(&all, "all shards must be of one decode, but `model` is");
    third("runs/copy", &["--beam", "2"]);
    refused(
        &all,
        "all shards must be of one decode, but `decoding.beam` is 1 in out.1.csv and 2 in out.3.csv",
    );
    third("runs/copy", &[]);
    // A row that is gone, one that is there twice, and a share that is not finished.
    let text = scene.text("out.2.csv");
    let (rest, last) = text.trim_end().rsplit_once('\n').unwrap();
    scene.write("out.2.csv", format!("{rest}\n"));
    refused(&all, "out.2.csv must have row 11 of the input, but lacks it");
    scene.write("out.2.csv", format!("{text}{last}\n"));
    refused(&all, "out.2.csv must have each row of its shard once, in order, but has others");
    scene.write("out.2.csv", &text);
    std::fs::remove_file(scene.path("out.2.csv.shard.json")).unwrap();
    refused(&all, "out.2.csv must be a finished output of `decode --shard`");
    let over = merge(&scene, &all, "out.1.csv");
    over.refused_naming(2, &["out.1.csv"]);
}

#[test]
fn a_job_of_an_array_finds_its_share() {
    let scene = Scene::trained();
    scene.write("in.txt", unsure_lines(4));
    let auto = |variables: &[(&str, &str)]| {
        let mut command = crate::support::run::binary(&scene.path(""));
        command.args(["decode", "runs/copy", "--input", "in.txt", "--format", "csv", "--shard", "auto"]);
        command.envs(variables.iter().copied());
        crate::support::run::Finished::of(crate::support::run::listened_to(&mut command))
    };
    let task = [
        ("SLURM_ARRAY_TASK_ID", "12"),
        ("SLURM_ARRAY_TASK_MIN", "11"),
        ("SLURM_ARRAY_TASK_MAX", "12"),
        ("SLURM_ARRAY_TASK_COUNT", "2"),
    ];
    let rows = auto(&task).succeeded().stdout;
    let numbers: Vec<&str> = rows.lines().skip(1).filter_map(|row| row.split(',').next()).collect();
    assert_eq!(numbers, ["2", "4"]);
    let alone = auto(&[]);
    assert_eq!(alone.code, Some(2));
    assert!(alone.stderr.contains("there is no job array"), "{}", alone.stderr);
}
