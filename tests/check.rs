//! `seqloom check`: all problems at once, or what training will cost; nothing is written.

use crate::support::run::Scene;

/// All files of a scene but the data and the config.
fn written(scene: &Scene) -> Vec<std::path::PathBuf> {
    let own = ["copy.toml", "train.csv", "valid.csv"];
    scene.files("").into_keys().filter(|path| own.iter().all(|name| !path.ends_with(name))).collect()
}

#[test]
fn a_sound_config_is_tried_and_its_costs_are_shown() {
    let scene = Scene::new(40, 8);
    let no_more: &[&str] = &[];
    for more in [no_more, &["--set", "data.in_memory_limit=0"]] {
        let finished = scene.seqloom(&[&["check", "copy.toml"], more].concat()).succeeded();
        for part in [
            " parameters on the CPU (1 thread), f32; run directory runs/copy\n",
            "\n40 training pairs\n8 validation pairs\nvocabularies: ",
            "\nmemory ",
            "\nan update ",
            " update for 40 pairs: ",
            " outputs per second",
            "8 pairs, 8 of them decoded: ",
            "700 updates and 7 validations: ",
            "up to 4 are kept",
            "\nready: seqloom train copy.toml",
        ] {
            assert!(finished.stdout.contains(part), "no {part:?} in\n{}", finished.stdout);
        }
        assert!(written(&scene).is_empty(), "{:?}", written(&scene));
        assert!(!scene.path("runs").exists());
    }
}

#[test]
fn independent_problems_are_listed_in_one_run() {
    let scene = Scene::new(4, 2);
    scene.write("train.csv", "source,target\nab,ba\nonly one\ncd,dc\n,empty\na,b,c\nfine,fine\n");
    std::fs::remove_file(scene.path("valid.csv")).unwrap();
    let finished = scene.seqloom(&[
        "check",
        "copy.toml",
        "--set",
        "data.target.max_length=3",
        "--set",
        "runtime.device=cpu",
    ]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    for part in [
        "train.csv: 2 rows cannot be read",
        "   train.csv:3: the row has 1 field",
        "   train.csv:6: the row has 3 fields",
        "`data.train`: 1 pair refused because a side is empty: train.csv:5",
        "   hint: correct the files, or skip such pairs with `data.empty = \"skip\"`",
        "cannot read valid.csv",
        "`data.train`: 1 pair refused because a side is too long: train.csv:7",
        "\n4 problems\n",
    ] {
        assert!(finished.stdout.contains(part), "no {part:?} in\n{}", finished.stdout);
    }
    assert!(finished.stdout.starts_with("1. ") && finished.stdout.ends_with("\n4 problems\n"));
    let finished = scene.seqloom(&["check", "copy.toml", "--set", "training.stepz=1", "--set", "modl.x=2"]);
    assert_eq!(finished.code, Some(2));
    // The files are read, too: [data] is whole.
    for part in ["unknown key `stepz`", "unknown key `modl`", "cannot read valid.csv", "\n5 problems\n"] {
        assert!(finished.stdout.contains(part), "no {part:?} in\n{}", finished.stdout);
    }
    assert!(!scene.path("runs").exists());
}

#[test]
fn a_run_directory_that_is_not_free_is_named() {
    let scene = Scene::trained();
    let before = scene.files("runs");
    let check = |more: &[&str]| scene.seqloom(&[&["check", "copy.toml"], more].concat());
    let finished = check(&[]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(
        finished.stdout.contains("1. runs/copy already holds this run\n   hint: "),
        "{}",
        finished.stdout
    );
    let other = check(&["--set", "model.transformer.width=16"]);
    assert!(other.stdout.contains("runs/copy holds another experiment: model.transformer.width differ"));
    assert!(check(&["--out", "runs/new"]).succeeded().stdout.contains("--out runs/new\n"));
    assert!(scene.files("runs") == before, "nothing is written");
}
