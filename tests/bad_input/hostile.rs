//! Malicious files, and files in the wrong place: each is refused quickly with an error.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use seqloom::Predictor;
use seqloom::checkpoint::model_file;
use seqloom::checkpoint::tensors::{NamedTensors, sha256};
use serde_json::{Value, json};

use crate::support::run::{Finished, Scene, objects};

/// A model file like that of the scene's run, with config and weights modified by `change` and a correct checksum.
fn forged(scene: &Scene, change: impl FnOnce(&mut Value, &mut NamedTensors)) {
    let model = scene.path(scene.checkpoint("runs/copy", "best").join("model.safetensors"));
    let (mut header, mut weights) = model_file::read(&model).unwrap();
    change(&mut header.config, &mut weights);
    scene.write("forged.safetensors", header.to_bytes(&weights).unwrap());
}

fn with_sizes(scene: &Scene, sizes: Value) {
    forged(scene, |config, _| {
        let keys = config["model"]["transformer"].as_object_mut().unwrap();
        keys.extend(sizes.as_object().unwrap().clone());
    });
}

/// A network of these sizes would take terabytes, or endless names: it is refused without being built.
#[test]
fn the_size_of_a_model_file_is_checked_before_a_network_is_built() {
    let scene = Scene::trained();
    let cases = [
        (json!({ "width": 65536, "feed_forward": 65536, "encoder_layers": 9 }), "must be Float ["),
        (json!({ "encoder_layers": 60 }), "forged.safetensors has 48 weights, too few for its 61 layers"),
        (json!({ "encoder_layers": 2 }), "the weight `encoder.layers.1."),
        (
            json!({ "encoder_layers": 2147483647 }),
            "`encoder_layers` must be at most 4096, but it is 2147483647",
        ),
        (
            json!({ "width": 65536, "feed_forward": 65536, "encoder_layers": 4096 }),
            "the layers must have at most 1099511627776 weights together, but have ",
        ),
    ];
    for (sizes, message) in cases {
        with_sizes(&scene, sizes);
        let refused = scene.fed(&["decode", "forged.safetensors"], b"ab\n");
        assert!(refused.stderr.contains(message), "{message:?}: {}", refused.stderr);
        refused.refused_naming(refused.code.unwrap(), &["forged.safetensors"]);
        assert!(Predictor::open(scene.path("forged.safetensors")).is_err());
    }
}

#[test]
fn an_unknown_name_of_a_weight_is_shown_without_its_escapes() {
    let scene = Scene::trained();
    forged(&scene, |_, weights| {
        weights.push(("\u{1b}]0;owned\u{7}\u{9b}2J".to_owned(), tch::Tensor::from(1.0f32)));
    });
    let finished = scene.fed(&["decode", "forged.safetensors"], b"ab\n");
    finished.refused_naming(1, &["no weight named `\\u{1b}]0;owned\\u{7}\\u{9b}2J`"]);
    let finished = scene.seqloom(&["inspect", "forged.safetensors", "--tensors"]);
    assert!(!finished.succeeded().stdout.contains('\u{1b}'));
    let finished = scene.seqloom(&["decode", "no\u{1b}[31mfile"]);
    finished.refused_naming(2, &["at no\\u{1b}[31mfile"]);
    assert!(!scene.seqloom(&["decode", "--no\u{1b}[31moption"]).stderr.contains('\u{1b}'));
    let set = ["--out", "new", "--set", "data.train=\u{1b}[31m.csv"];
    assert!(scene.train(&set).stderr.contains("\\u{1b}[31m.csv"));
}

/// Changes the state of the scene's last checkpoint, and its manifest with it.
fn with_state(scene: &Scene, change: impl FnOnce(&mut Value)) -> Finished {
    let folder = scene.checkpoint("runs/copy", "latest");
    let before =
        [folder.join("state.json"), folder.join("manifest.json")].map(|path| (scene.text(&path), path));
    let mut state: Value = serde_json::from_str(&before[0].0).unwrap();
    change(&mut state);
    let mut manifest: BTreeMap<String, String> = serde_json::from_str(&before[1].0).unwrap();
    manifest.insert("state.json".into(), sha256(state.to_string().as_bytes()));
    scene.write(&before[0].1, state.to_string());
    scene.write(&before[1].1, serde_json::to_string(&manifest).unwrap());
    let finished = scene.train(&["--resume", "--set", "training.steps=701"]);
    before.iter().for_each(|(text, path)| scene.write(path, text));
    finished
}

#[test]
fn an_invalid_number_in_a_saved_state_is_a_damaged_checkpoint() {
    let scene = Scene::trained();
    let place = scene.checkpoint("runs/copy", "latest");
    let state = format!("{}/state.json is damaged: ", place.display());
    let cases: [(&str, Value, String); 8] = [
        (
            "/position",
            json!(1000),
            "batches, but the saved `position` is 1000\nhint: the checkpoint is damaged".to_owned(),
        ),
        ("/position", json!(u64::MAX), format!("{state}`position` must be at most ")),
        ("/position", json!(-1), format!("{state}invalid value: integer `-1`")),
        ("/step", json!(5), format!("{state}`best.step` must be at most 5, but it is ")),
        ("/step", json!(701), format!("{state}`step` must be that of its folder, but it is 701")),
        ("/step", json!(u64::MAX), format!("{state}`step` must be at most 2147483647")),
        ("/metrics_bytes", json!(u64::MAX), format!("{state}`metrics_bytes` must be at most ")),
        ("/plateau/share", json!(1e300), format!("{state}`plateau.share` must be from 0 to 1")),
    ];
    for (field, value, message) in cases {
        let finished = with_state(&scene, |state| *state.pointer_mut(field).unwrap() = value);
        finished.refused_naming(1, &[&place.display().to_string(), &message]);
    }
}

#[test]
fn endless_files_and_pipes_are_not_read() {
    let scene = Scene::trained();
    let at_most = "a config must have at most 1048576 bytes, but this has more";
    scene.seqloom(&["train", "/dev/zero"]).refused_naming(2, &["error: /dev/zero: ", at_most]);
    scene.seqloom(&["train", "runs"]).refused_naming(2, &["cannot read runs: is a directory"]);
    assert!(Command::new("mkfifo").arg(scene.path("pipe.toml")).status().unwrap().success());
    scene.seqloom(&["train", "pipe.toml"]).refused_naming(2, &["pipe.toml: a config must be a file"]);
    let checkpoint = scene.checkpoint("runs/copy", "latest");
    let names = ["runs/copy/best".into(), checkpoint.join("model.safetensors"), "runs/copy/latest".into()];
    let resume = ["--resume", "--set", "training.steps=701"];
    for name in names.into_iter().chain(["state.json", "manifest.json"].map(|name| checkpoint.join(name))) {
        let (path, bytes) = (scene.path(&name), scene.read(&name));
        fs::remove_file(&path).unwrap();
        let must = format!("{} must be a file, but it is a pipe or a device", name.display());
        let refused = |finished: Finished| finished.refused_naming(2, &[&must]);
        symlink("/dev/zero", &path).unwrap();
        if name.ends_with("best") {
            refused(scene.decode(&[], "ab\n"))
        } else {
            refused(scene.train(&resume))
        }
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        if name.ends_with("best") {
            refused(scene.decode(&[], "ab\n"))
        } else {
            refused(scene.train(&resume))
        }
        fs::remove_file(&path).unwrap();
        scene.write(&name, bytes);
    }
    scene.train(&resume).succeeded();
}

#[test]
fn a_plain_file_with_the_name_of_a_checkpoint_does_not_end_training() {
    let scene = Scene::new(60, 12);
    scene.write("runs/copy/config.toml", scene.read("copy.toml"));
    for name in ["step-00000020", "step-00000030", "step-00000099"] {
        scene.write(format!("runs/copy/checkpoints/{name}"), "dear diary");
    }
    fs::create_dir(scene.path("runs/copy/checkpoints/step-7")).unwrap();
    let settings = ["training.steps=40", "training.checkpoint_every=10", "training.keep_last=1"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    scene.train(&settings).succeeded();
    assert_eq!(scene.text("runs/copy/latest"), "step-00000040\n");
    let names = ["not-a-checkpoint-step-00000020", "not-a-checkpoint-step-00000030", "step-00000099"];
    for name in names {
        assert_eq!(scene.text(format!("runs/copy/checkpoints/{name}")), "dear diary");
    }
    scene.decode(&[], "ab\n").succeeded();
}

/// The weights of one letter are NaN, as after a memory or disk fault.
#[test]
fn a_row_without_finite_scores_is_an_error_of_that_row() {
    let scene = Scene::trained();
    let tokens = scene.seqloom(&["inspect", "runs/copy", "--vocabulary"]).succeeded().stdout;
    let source = tokens.split("source: ").nth(1).unwrap().lines().nth(1).unwrap();
    let row = source.split_whitespace().position(|token| token == "\"a\"").unwrap() as i64;
    forged(&scene, |_, weights| {
        let (_, tensor) = weights.iter_mut().find(|(name, _)| name == "source_embedding.weight").unwrap();
        let _ = tensor.narrow(0, row, 1).fill_(f64::NAN);
    });
    let decode = |more: &[&str], input: &str| {
        scene.fed(&[&["decode", "forged.safetensors"], more].concat(), input.as_bytes())
    };
    let finished = decode(&["--on-error", "skip", "--format", "jsonl"], "bc\nab\ndef\nbad\n").succeeded();
    let rows = objects(&finished.stdout);
    assert_eq!(["bc", "def"], [0, 2].map(|n| rows[n]["output"].as_str().unwrap()));
    for n in [1, 3] {
        let error = format!("<stdin>:{}: the model's scores are NaN or infinite", n + 1);
        assert_eq!((&rows[n]["output"], &rows[n]["error"]), (&json!(""), &json!(error)));
    }
    assert!(finished.stderr.contains("note: skipped rows: 2 "), "{}", finished.stderr);
    let stopped = decode(&["--beam", "2"], "bc\nab\ndef\n");
    assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(1), "bc\n"), "{}", stopped.stderr);
    assert!(stopped.stderr.starts_with("error: <stdin>:2: the model's scores are NaN or infinite\n"));

    scene.write("pairs.csv", "source,target\nbc,bc\nab,ab\ndef,def\n");
    let score = |more: &[&str]| {
        scene.seqloom(&[&["score", "forged.safetensors", "--input", "pairs.csv"], more].concat())
    };
    let finished = score(&["--on-error", "skip", "--format", "jsonl"]).succeeded();
    let rows = objects(&finished.stdout);
    assert!(rows[0]["score"].is_f64() && rows[1]["score"].is_null() && rows[2]["score"].is_f64());
    assert_eq!(rows[1]["error"], json!("pairs.csv:3: the model's scores are NaN or infinite"));
    let stopped = score(&[]);
    assert_eq!((stopped.code, stopped.stdout.lines().count()), (Some(1), 1), "{}", stopped.stderr);
}
