//! Mistakes of the user: exit code 2, nothing on stdout, no files.

use crate::support::run::Scene;

#[test]
fn an_invalid_experiment_is_refused_with_its_position_and_a_hint() {
    let scene = Scene::new(8, 2);
    let cases = [
        ("name=", "--set name=: `name` must not be empty"),
        (
            "training.stepz=3",
            "--set training.stepz=3: unknown key `stepz` in [training]\nhint: did you mean `steps`? Keys there: ",
        ),
        (
            "model.transformer.heads=5",
            "--set model.transformer.heads=5: `heads` must divide `width`, but they are 5 and 32\n",
        ),
        ("data.train=no.csv", "cannot read no.csv: no such file or directory (looked for in /"),
        (
            "data.source.column=sorce",
            "train.csv:1: there must be a column `sorce`, but there are `source`, `target`\n\
             hint: did you mean `source`? `data.source.column` names the column\n",
        ),
        (
            "data.source.max_length=1",
            "train.csv:2: a source may have 1 token (`data.source.max_length`), but this row's has ",
        ),
        ("runtime.device=cuda:7", "`runtime.device` is `cuda:7`, but libtorch finds "),
    ];
    for (setting, message) in cases {
        let finished = scene.train(&["--set", setting]);
        finished.refused_naming(2, &[]);
        assert!(finished.stderr.starts_with(&format!("error: {message}")), "{setting}: {}", finished.stderr);
    }
    let missing = format!("error: cannot read no.toml: no such file or directory{}", looked_for(&scene));
    scene.seqloom(&["train", "no.toml"]).refused(2, &missing);
    let data = "hint: train.csv is data: run `seqloom init train.csv` first, which writes a config\n";
    scene
        .seqloom(&["train", "train.csv"])
        .refused_naming(2, &["error: train.csv:1:", "this is not TOML: ", data]);
    scene.write("wide.toml", scene.text("copy.toml").replace("heads = 2", "heads = 5"));
    scene
        .seqloom(&["train", "wide.toml"])
        .refused_naming(2, &["error: wide.toml:7:9: `heads` must divide `width`, but they are 5 and 32\n"]);
    assert!(!scene.path("runs").exists(), "a run that did not start has left files");
}

/// Where relative paths are looked up.
fn looked_for(scene: &Scene) -> String {
    format!(" (looked for in {})", scene.path("").canonicalize().unwrap().display())
}

#[test]
fn an_invalid_data_file_is_refused_with_the_line_and_the_row() {
    let scene = Scene::new(8, 2);
    let cases: [(&[u8], &str); 6] = [
        (b"source,target\n", "error: a file of pairs must have at least one row, but bad.csv has none"),
        (b"", "error: a table must start with a header, but bad.csv is empty"),
        (b"source,target\nab,ab\nab\n", "error: bad.csv:3: the row has 1 field, but the header has 2\n  ab"),
        (
            b"source,target\nab,ab\n\xC3,ab\n",
            "error: bad.csv:3: the text must be UTF-8, but byte 1 of the line is 0xC3\n  \u{fffd},ab\n\
             hint: convert the file to UTF-8",
        ),
        (
            b"source,target\nab,\n",
            "error: bad.csv:2: the target of a pair must not be empty, but it is\n  source: ab\n\
             hint: fill it in, or skip such pairs with `data.empty = \"skip\"`, or train on them with \"keep\"",
        ),
        (
            b"source,target\n\"ab,ab\n",
            "error: bad.csv:2: a quote opens a field in this row and must be closed, but the file ends\n  \"ab,ab\n\
             hint: to write a quote as text, double it inside a quoted field: \"say \"\"yes\"\"\"",
        ),
    ];
    for (bytes, message) in cases {
        scene.write("bad.csv", bytes);
        scene.train(&["--set", "data.train=bad.csv"]).refused(2, message);
    }
    scene.train(&["--set", "data.valid=bad.csv"]).refused(2, cases[cases.len() - 1].1);
    assert!(!scene.path("runs").exists());
}

#[test]
fn a_pair_that_is_too_long_is_refused_or_skipped_and_counted() {
    let scene = Scene::new(8, 2);
    let long = "h".repeat(9);
    scene.write("bad.csv", format!("source,target\nab,ab\nab,{long}\n{long},ab\ncd,cd\n"));
    let settings = ["--set", "data.train=bad.csv", "--set", "training.steps=1"];
    let limits = ["--set", "data.source.max_length=8", "--set", "data.target.max_length=8"];
    scene.train(&[settings, limits].concat()).refused(
        2,
        "error: bad.csv:3: a target may have 8 tokens (`data.target.max_length`), but this row's has 9\n\
         hint: raise `data.target.max_length`, or skip such rows with `data.too_long = \"skip\"`",
    );
    let skip = ["--set", "data.too_long=skip"];
    let stderr = scene.train(&[&settings[..], &limits, &skip].concat()).succeeded().stderr;
    let line = "2 training pairs; 2 skipped because a side is too long, the first at bad.csv:3\n";
    assert!(stderr.contains(line), "{stderr}");

    let all = ["--set", "data.source.max_length=1", "--out", "none"];
    scene.train(&[&settings[..], &all, &skip].concat()).refused(
        2,
        "error: no pair is left: all 4 have a side that is too long\n\
         hint: raise `data.source.max_length` and `data.target.max_length`",
    );
}

#[test]
fn a_folder_that_is_not_empty_is_never_written_into() {
    let scene = Scene::new(8, 2);
    scene.write("mine/diary.txt", "dear diary");
    let before = scene.files("");
    scene
        .train(&["--out", "mine"])
        .refused(2, "error: mine is not empty and holds no run\nhint: name another folder with --out");
    scene
        .train(&["--out", "train.csv"])
        .refused_naming(2, &["a run needs a folder, but train.csv is a file\n"]);
    scene.train(&["--out", "train.csv/run"]).refused_naming(2, &["not a directory\n"]);
    assert!(scene.files("") == before);
}

#[test]
fn decoding_anything_but_a_run_or_a_model_is_refused() {
    let scene = Scene::new(8, 2);
    scene.seqloom(&["decode", "nowhere"]).refused(
        2,
        &format!("error: there is no run, checkpoint or model file at nowhere{}", looked_for(&scene)),
    );
    scene.write("folder/diary.txt", "dear diary");
    scene.seqloom(&["decode", "folder"]).refused(
        2,
        "error: folder is not a run directory: it has no `best`, `latest` or model.safetensors\n\
         hint: `seqloom train CONFIG` creates a run directory, by default runs/NAME",
    );
    scene.write("young/config.toml", scene.read("copy.toml"));
    for command in ["decode", "inspect"] {
        scene.seqloom(&[command, "young"]).refused(
            2,
            "error: the run young has no checkpoint yet\n\
             hint: let it train until its first checkpoint (`training.checkpoint_every`)",
        );
    }
}

#[test]
fn invalid_arguments_of_decode_are_refused_before_anything_is_written() {
    let scene = Scene::trained();
    scene.write("words.csv", "word,target\nab,ab\n");
    let cases: [(&[&str], &str); 7] = [
        (
            &["--set", "training.steps=3"],
            "error: only decoding.*, runtime.* and data.*.max_length can be set here, but `training.steps=3` is given\n\
             hint: training fixed all other keys, and they are in the checkpoint",
        ),
        (
            &["--set", "decoding.batch_size=0"],
            "error: --set decoding.batch_size=0: `batch_size` must be at least 1, but it is 0",
        ),
        (
            &["--set", "decoding.batch_size"],
            "error: --set decoding.batch_size: it must have the form key.path=value",
        ),
        (&["--beam", "0"], "error: --set decoding.beam=0: `beam` must be at least 1, but it is 0"),
        (&["--input", "runs"], "error: cannot read runs: is a directory"),
        (
            &["--input", "words.csv"],
            "error: words.csv:1: there must be a column `source`, but there are `word`, `target`\n\
             hint: `--column` names the column, and the first row names all columns; for a file without such a row use \
             `--header false`",
        ),
        (&["--output", "runs"], "error: cannot write runs: is a directory"),
    ];
    for (arguments, message) in cases {
        scene.decode(arguments, "ab\n").refused(2, message);
    }
    for (option, path, doing) in [("--input", "no.txt", "read"), ("--output", "no/out.txt", "write")] {
        let message =
            format!("error: cannot {doing} {path}: no such file or directory{}", looked_for(&scene));
        scene.decode(&[option, path], "ab\n").refused(2, &message);
    }
    scene.decode(&["--set", "runtime.device=cuda:7"], "ab\n").refused_naming(
        2,
        &["`runtime.device` is `cuda:7`, but libtorch finds ", "\nhint: run `seqloom doctor` to see"],
    );
    scene
        .seqloom(&["decode", "runs/copy/config.toml"])
        .refused_naming(2, &["error: runs/copy/config.toml is not a model file\nhint: name a run directory"]);
    scene
        .decode(&["--set", "decoding.beem=2"], "ab\n")
        .refused_naming(2, &["unknown key `beem` in [decoding]\n"]);
}

#[test]
fn an_invalid_command_line_is_refused_with_its_usage() {
    let scene = Scene::new(8, 2);
    for arguments in
        [&[][..], &["decode"], &["trian", "copy.toml"], &["decode", "runs/copy", "--frmat", "csv"]]
    {
        let finished = scene.seqloom(arguments);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(finished.stderr.contains("Usage: seqloom"), "{}", finished.stderr);
    }
}
