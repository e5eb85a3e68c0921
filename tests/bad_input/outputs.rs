//! An output never destroys an input, a model or a run, under any name, and nothing is written before that is checked.

use std::fs::{self, File, OpenOptions};
use std::process::Stdio;

use crate::support::run::{Finished, Scene, binary, listened_to};

/// A command whose standard input is a file, and whose standard output is appended to another.
fn redirected(scene: &Scene, arguments: &[&str], input: &str, appended: Option<&str>) -> Finished {
    let mut command = binary(&scene.path(""));
    command.args(arguments).stderr(Stdio::piped()).stdin(File::open(scene.path(input)).unwrap());
    match appended {
        Some(name) => {
            command.stdout(OpenOptions::new().append(true).create(true).open(scene.path(name)).unwrap())
        }
        None => command.stdout(Stdio::piped()),
    };
    Finished::of(command.spawn().unwrap())
}

#[test]
fn an_input_under_any_of_its_names_cannot_be_an_output() {
    let scene = Scene::trained();
    let before = scene.read("valid.csv");
    scene.write("words.txt", "ab\ncd\n");
    fs::hard_link(scene.path("words.txt"), scene.path("hard.txt")).unwrap();
    std::os::unix::fs::symlink("words.txt", scene.path("soft.txt")).unwrap();
    scene.write("again.txt.resume.json", "ab\n");
    let cases: [(&[&str], &str); 6] = [
        (
            &["--input", "words.txt", "--output", "hard.txt"],
            "words.txt cannot be both the input and the output",
        ),
        (
            &["--input", "soft.txt", "--output", "hard.txt"],
            "soft.txt cannot be both the input and the output",
        ),
        (
            &["--input", "words.txt", "--trace", "soft.txt"],
            "words.txt cannot be both the input and the trace",
        ),
        (
            &["--input", "words.txt", "--summary", "hard.txt"],
            "words.txt cannot be both the input and the summary",
        ),
        (
            &["--input", "/dev/stdin", "--output", "words.txt"],
            "/dev/stdin cannot be both the input and the output",
        ),
        (
            &["--input", "again.txt.resume.json", "--output", "again.txt"],
            "again.txt.resume.json cannot be both the input and the record of the output",
        ),
    ];
    for (arguments, message) in cases {
        let arguments = [&["decode", "runs/copy"], arguments].concat();
        redirected(&scene, &arguments, "words.txt", None).refused_naming(2, &[message]);
    }
    let stdin =
        |more: &[&str]| redirected(&scene, &[&["decode", "runs/copy"], more].concat(), "words.txt", None);
    stdin(&["--output", "hard.txt"]).refused_naming(2, &["hard.txt cannot be both the input and the output"]);
    let appended = redirected(&scene, &["decode", "runs/copy"], "words.txt", Some("words.txt"));
    appended.refused_naming(2, &["standard output cannot be both the input and the output"]);
    let score = ["score", "runs/copy", "--input", "-", "--input-format", "csv", "--output", "valid.csv"];
    redirected(&scene, &score, "valid.csv", None)
        .refused_naming(2, &["valid.csv cannot be both the input and the output"]);
    assert_eq!(scene.text("words.txt"), "ab\ncd\n");
    assert_eq!(scene.read("valid.csv"), before);
}

#[test]
fn files_of_a_model_and_its_run_cannot_be_an_output() {
    let scene = Scene::trained();
    let files = scene.files("");
    let checkpoint = scene.checkpoint("runs/copy", "best").display().to_string();
    let model = format!("{checkpoint}/model.safetensors");
    let state = format!("{checkpoint}/state.json");
    let cases: [(&[&str], &str); 10] = [
        (&["decode", "runs/copy", "--output", &model], "cannot be both the model and the output"),
        (&["decode", "runs/copy", "--output", &state], "cannot be the output: it belongs to the run"),
        (
            &["decode", &model, "--summary", "runs/copy/latest"],
            "cannot be the summary: it belongs to the run",
        ),
        (&["decode", "runs/copy", "--output", "runs/copy/checkpoints/x"], "it belongs to the run"),
        (
            &["decode", "runs/copy", "--output", "train.csv"],
            "train.csv cannot be both the `data.train` and the output",
        ),
        (
            &["shortlist", "runs/copy", "--output", "train.csv"],
            "cannot be both the `data.train` and the output",
        ),
        (&["shortlist", "runs/copy", "--output", "runs/copy/config.toml"], "it belongs to the run"),
        (&["attention", "runs/copy", "--text", "ab", "--output", &model], "both the model and the output"),
        (
            &["average", "runs/copy", "--with", "runs/copy", "--output", &model],
            "cannot be both the model and the output",
        ),
        (
            &["average", "runs/copy", "--with", "runs/copy", "--output", "train.csv"],
            "train.csv cannot be both the `data.train` and the output",
        ),
    ];
    for (arguments, message) in cases {
        scene.fed(arguments, b"ab\n").refused_naming(2, &[message]);
    }
    // Its pairs are recognised from another folder, too.
    let from_there = ["decode", "copy", "--input", "../valid.csv", "--output", "../train.csv"];
    let mut command = binary(&scene.path("runs"));
    let finished = Finished::of(listened_to(command.args(from_there)));
    finished.refused_naming(2, &["train.csv cannot be both the `data.train` and the output"]);
    assert!(scene.files("") == files, "something was written");
    // New files beside them are fine.
    scene.decode(&["--output", "runs/copy/outputs.txt"], "ab\n").succeeded();
    assert_eq!(scene.text("runs/copy/outputs.txt"), "ab\n");
}

/// Training truncates its metrics when a run starts.
#[test]
fn metrics_csv_cannot_be_training_pairs() {
    let scene = Scene::new(8, 2);
    let pairs = scene.read("train.csv");
    scene.write("run/config.toml", scene.read("copy.toml"));
    fs::create_dir(scene.path("run/checkpoints")).unwrap();
    fs::hard_link(scene.path("train.csv"), scene.path("run/metrics.csv")).unwrap();
    scene
        .train(&["--out", "run", "--set", "training.steps=1"])
        .refused_naming(2, &["train.csv cannot be both the `data.train` and the run's metrics.csv"]);
    assert_eq!(scene.read("train.csv"), pairs);
}

#[test]
fn a_summary_replaces_its_file_and_leaves_its_hard_links() {
    let scene = Scene::trained();
    scene.write("s.json", "precious\n");
    fs::hard_link(scene.path("s.json"), scene.path("kept.json")).unwrap();
    scene.decode(&["--summary", "s.json", "--output", "out.txt"], "ab\n").succeeded();
    assert!(scene.text("s.json").starts_with('{'));
    assert_eq!(scene.text("kept.json"), "precious\n");
    for device in ["/dev/null", "/dev/stdout", "/dev/stderr"] {
        scene.decode(&["--summary", device, "--output", "/dev/null"], "ab\n").succeeded();
    }
    // A file to which a shell appends is not truncated under its other name.
    scene.write("log.txt", "before\n");
    let log = || OpenOptions::new().append(true).open(scene.path("log.txt")).unwrap();
    let mut command = binary(&scene.path(""));
    command.args(["decode", "runs/copy", "--input", "valid.csv", "--output", "/dev/stdout"]).stdout(log());
    assert!(command.status().unwrap().success());
    assert!(scene.text("log.txt").starts_with("before\n") && scene.text("log.txt").lines().count() == 41);
}
