//! Whole runs: every option of training has its effect, and a resumed run equals an uninterrupted one.

use std::collections::BTreeMap;

use seqloom::checkpoint::model_file;
use tch::Tensor;

use crate::support::run::{Finished, Scene};
use crate::support::{assert_close, assert_same, distance};

/// Trains for eight updates; every setting is `key=value`.
fn train(scene: &Scene, out: &str, settings: &[&str]) -> Finished {
    with(scene, out, settings, &[])
}

fn with(scene: &Scene, out: &str, settings: &[&str], more: &[&str]) -> Finished {
    let few = [
        "training.steps=8",
        "training.tokens_per_batch=64",
        "training.log_every=1",
        "training.validate_every=4",
        "training.checkpoint_every=2",
        "training.decode_rows=4",
        "training.keep_last=99",
    ];
    let mut arguments = vec!["--out", out];
    few.iter().chain(settings).for_each(|setting| arguments.extend(["--set", *setting]));
    scene.train(&[&arguments, more].concat())
}

fn weights_at(scene: &Scene, path: &str) -> BTreeMap<String, Tensor> {
    model_file::read(&scene.path(path)).unwrap().1.into_iter().collect()
}

fn weights(scene: &Scene, run: &str, step: u64) -> BTreeMap<String, Tensor> {
    weights_at(scene, &format!("{run}/checkpoints/step-{step:08}/model.safetensors"))
}

/// One column of a run's training rows.
fn column(scene: &Scene, run: &str, name: &str) -> Vec<String> {
    scene.metrics(run, "train").iter().map(|row| row[name].clone()).collect()
}

#[test]
fn every_optimizer_learns() {
    let scene = Scene::new(60, 12);
    for (name, rate) in [("adamw", "1e-2"), ("adam", "1e-2"), ("sgd", "0.5")] {
        let toml = scene.text("copy.toml").replace(
            "[training.adamw]\nlearning_rate = 1e-2",
            &format!("[training.{name}]\nlearning_rate = {rate}"),
        );
        scene.write(format!("{name}.toml"), toml);
        let arguments = ["train", &format!("{name}.toml"), "--out", name, "--set", "training.steps=150"];
        scene.seqloom(&arguments).succeeded();
        let losses = column(&scene, name, "nll");
        let nll: f64 = losses.last().unwrap().parse().unwrap();
        assert!(nll < 2.2, "{name}: {losses:?}");
        let state = scene.read(scene.checkpoint(name, "latest").join("training.safetensors"));
        let header = String::from_utf8_lossy(&state[8..300]).into_owned();
        assert!(header.contains(&format!("{name}/")), "{header}");
    }
}

/// All kinds of state of a run: plateau, averages, another optimizer, every regulariser, bf16.
const PIECES: [(&str, &[&str]); 6] = [
    // With such a high learning rate no validation improves.
    ("plateau", &["training.best_by=nll", "training.validate_every=1", "training.adamw.learning_rate=0.3"]),
    ("ema", &["training.ema.decay=0.9", "model.transformer.dropout=0.2"]),
    ("sgd", &["training.accumulate=3", "training.freeze=[\"encoder.*\"]"]),
    ("words", &["training.word_dropout=0.3", "model.transformer.attention_dropout=0.2"]),
    ("r_drop", &["training.r_drop=2.0", "model.transformer.dropout=0.2"]),
    (
        "bf16",
        &[
            "runtime.precision=bf16",
            "training.scheduled_sampling={share=0.5,warmup=4}",
            "model.transformer.dropout=0.2",
        ],
    ),
];

#[test]
fn a_resumed_run_equals_the_uninterrupted_one_with_every_option() {
    let scene = Scene::new(60, 12);
    let toml = scene.text("copy.toml");
    for (name, settings) in PIECES {
        let changed = match name {
            "plateau" => toml.replace(
                "[training.inverse_sqrt]\nwarmup = 40",
                "[training.plateau]\nwarmup = 2\npatience = 2",
            ),
            "sgd" => toml.replace("[training.adamw]\nlearning_rate = 1e-2", "[training.sgd]"),
            _ => toml.clone(),
        };
        scene.write("copy.toml", changed);
        let (whole, pieces) = (format!("{name}-whole"), format!("{name}-pieces"));
        train(&scene, &whole, settings).succeeded();
        for steps in ["training.steps=3", "training.steps=5", "training.steps=8"] {
            with(&scene, &pieces, &[settings, &[steps]].concat(), &["--resume"]).succeeded();
        }
        assert_eq!(
            scene.text(format!("{whole}/metrics.csv")),
            scene.text(format!("{pieces}/metrics.csv")),
            "{name}"
        );
        for file in ["model.safetensors", "training.safetensors"] {
            let read = |run: &str| scene.read(scene.checkpoint(run, "latest").join(file));
            assert!(read(&whole) == read(&pieces), "{name}: {file} differs");
        }
    }
    let last: f64 = column(&scene, "plateau-whole", "learning_rate").last().unwrap().parse().unwrap();
    assert!(last < 0.3, "the plateau was met: {last}");
}

#[test]
fn a_plateau_lowers_the_learning_rate_when_validation_gets_no_better() {
    let scene = Scene::new(60, 12);
    let plateau = "[training.plateau]\nwarmup = 1\nfactor = 0.5\npatience = 2";
    scene
        .write("copy.toml", scene.text("copy.toml").replace("[training.inverse_sqrt]\nwarmup = 40", plateau));
    // At a learning rate of almost nothing no validation is better than the first.
    let settings =
        ["training.validate_every=1", "training.best_by=nll", "training.adamw.learning_rate=1e-20"];
    train(&scene, "run", &settings).succeeded();
    let rates = column(&scene, "run", "learning_rate");
    let shares: Vec<f64> = rates.iter().map(|rate| rate.parse::<f64>().unwrap() / 1e-20).collect();
    let expected = [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125];
    assert!(
        shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 1e-6),
        "{shares:?}"
    );
}

#[test]
fn the_moving_average_is_saved_beside_the_weights() {
    let scene = Scene::new(60, 12);
    let often = "training.checkpoint_every=1";
    train(&scene, "plain", &[often]).succeeded();
    train(&scene, "ema", &[often, "training.ema.decay=0.5"]).succeeded();
    let first = weights(&scene, "plain", 1);
    for name in first.keys() {
        // After the first update the average is young: a decay of (1 + 1) / (10 + 1).
        let at = |step: u64| weights(&scene, "plain", step).remove(name).unwrap();
        let averaged = |step: u64| weights(&scene, "ema", step).remove(name).unwrap();
        let mut average = averaged(1);
        for step in 2..=8u64 {
            let decay = 0.5f64.min((1.0 + step as f64) / (10.0 + step as f64));
            average = average * decay + at(step) * (1.0 - decay);
            assert_close(&averaged(step), &average, 1e-6, &format!("{name} at {step}"));
        }
    }
    let (plain, ema) = (column(&scene, "plain", "loss"), column(&scene, "ema", "loss"));
    assert_eq!(plain, ema, "averaging changes no update");
}

#[test]
fn frozen_weights_do_not_change_and_the_rest_do() {
    let scene = Scene::new(60, 12);
    train(&scene, "free", &[]).succeeded();
    let finished = train(&scene, "frozen", &["training.freeze=[\"encoder.*\", \"source_embedding.*\"]"]);
    assert!(finished.succeeded().stderr.contains("of them frozen"));
    let (early, late) = (weights(&scene, "frozen", 2), weights(&scene, "frozen", 8));
    for (name, weight) in &early {
        let stays = name.starts_with("encoder.") || name.starts_with("source_embedding.");
        assert_eq!(distance(weight, &late[name]) == 0.0, stays, "{name}");
    }
    train(&scene, "wrong", &["training.freeze=[\"encodr.*\"]"]).refused_naming(
        2,
        &["`training.freeze` must match the name of a weight, but `encodr.*` matches none\nhint: "],
    );
    train(&scene, "all", &["training.freeze=[\"*\"]"])
        .refused_naming(2, &["`training.freeze` must leave at least one weight to train"]);
}

#[test]
fn the_last_and_the_best_checkpoints_are_averaged() {
    let scene = Scene::new(60, 12);
    let settings =
        ["training.validate_every=2", "training.keep_best=3", "training.best_by=nll", "training.average=3"];
    let stderr = train(&scene, "run", &settings).succeeded().stderr;
    assert!(stderr.contains("average of 3 checkpoints (steps 4, 6, 8): nll "), "{stderr}");
    let mean = |steps: &[u64]| {
        let all: Vec<_> = steps.iter().map(|&step| weights(&scene, "run", step)).collect();
        let sum = |name: &String| {
            all.iter().map(|weights| weights[name].to_kind(tch::Kind::Double)).sum::<Tensor>()
        };
        all[0].keys().map(|name| (name.clone(), sum(name) / steps.len() as f64)).collect::<BTreeMap<_, _>>()
    };
    let assert_average = |steps: &[u64]| {
        let average = weights_at(&scene, "run/average/model.safetensors");
        mean(steps).iter().for_each(|(name, mean)| assert_close(&average[name], mean, 1e-7, name));
    };
    assert_average(&[4, 6, 8]);
    let stderr = scene.seqloom(&["average", "run", "--last", "2"]).succeeded().stderr;
    assert_eq!(stderr, "the average of steps 6, 8 is in run/average/model.safetensors\n");
    assert_average(&[6, 8]);
    let state = scene.text(scene.checkpoint("run", "latest").join("state.json"));
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let best: Vec<u64> =
        state["best"].as_array().unwrap().iter().map(|best| best["step"].as_u64().unwrap()).collect();
    assert_eq!(best.len(), 3);
    scene.seqloom(&["average", "run", "--best", "2"]).succeeded();
    assert_average(&best[..2]);
    scene.fed(&["decode", "run/average"], b"abc\n").succeeded();
    scene
        .seqloom(&["average", "run", "--best", "9"])
        .refused_naming(2, &["an average of 9 needs as many checkpoints, but the run has 3\nhint: "]);
    // The same from models outside the run; and invalid ones.
    let [last, before] = ["latest", "best"].map(|name| scene.checkpoint("run", name).display().to_string());
    let models = ["average", last.as_str(), "--with", &before, "--output", "mean.safetensors"];
    scene.seqloom(&models).succeeded();
    scene.fed(&["decode", "mean.safetensors"], b"ab\n").succeeded();
    // Pointer files are accepted as models; a network with the same shapes may still be another network.
    scene.seqloom(&["inspect", "run/latest"]).succeeded();
    train(&scene, "rotary", &["model.transformer.positions=rotary", "training.steps=2"]).succeeded();
    scene
        .seqloom(&["average", "run", "--with", "rotary", "--output", "m.safetensors"])
        .refused_naming(2, &["averaged models must be the same network, but run/", "differ in `positions`"]);
    let refused = scene.seqloom(&["average", "run", "--with", "nowhere", "--output", "m.safetensors"]);
    refused.refused_naming(2, &["nowhere"]);
    scene.seqloom(&["average", "nowhere", "--last", "2"]).refused_naming(2, &["there is no run at nowhere"]);
    // A run that was stopped before its average computes it later.
    std::fs::remove_dir_all(scene.path("run/average")).unwrap();
    with(&scene, "run", &settings, &["--resume"]).succeeded();
    assert_average(&[4, 6, 8]);
}

#[test]
fn the_best_checkpoints_are_kept_beside_the_last() {
    let scene = Scene::new(60, 12);
    let settings = [
        "training.validate_every=1",
        "training.keep_last=1",
        "training.keep_best=3",
        "training.best_by=nll",
        "training.adamw.learning_rate=0.3",
    ];
    train(&scene, "run", &settings).succeeded();
    let text = scene.text("run/metrics.csv");
    let rows: Vec<BTreeMap<String, String>> =
        csv::Reader::from_reader(text.as_bytes()).into_deserialize().map(Result::unwrap).collect();
    let valid = rows.iter().filter(|row| row["kind"] == "valid");
    let mut ranked: Vec<(f64, u64)> =
        valid.map(|row| (row["nll"].parse().unwrap(), row["step"].parse().unwrap())).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut expected: Vec<u64> = ranked[..3].iter().map(|(_, step)| *step).chain([8]).collect();
    expected.sort_unstable();
    expected.dedup();
    let mut there: Vec<u64> = std::fs::read_dir(scene.path("run/checkpoints"))
        .unwrap()
        .map(|entry| {
            entry.unwrap().file_name().to_string_lossy().trim_start_matches("step-").parse().unwrap()
        })
        .collect();
    there.sort_unstable();
    assert_eq!(there, expected);
}

/// Each regulariser changes training, and no validation before the first update.
#[test]
fn each_regulariser_has_its_own_effect() {
    let scene = Scene::new(60, 12);
    train(&scene, "none", &[]).succeeded();
    let plain = column(&scene, "none", "loss");
    for (n, setting) in [
        "model.transformer.embedding_dropout=0.5",
        "model.transformer.attention_dropout=0.5",
        "model.transformer.feed_forward_dropout=0.5",
        "model.transformer.residual_dropout=0.5",
        "training.word_dropout=0.5",
        "training.scheduled_sampling={share=1.0,warmup=1}",
    ]
    .iter()
    .enumerate()
    {
        let run = format!("run{n}");
        train(&scene, &run, &[setting]).succeeded();
        assert_ne!(column(&scene, &run, "loss")[0], plain[0], "{setting}");
    }
    // Without dropout both passes are equal, and their divergence is 0.
    train(&scene, "r_drop", &["training.r_drop=3.0"]).succeeded();
    let near = |one: &str, other: &str| {
        let [one, other] = [one, other].map(|number| number.parse::<f64>().unwrap());
        (one / other - 1.0).abs() < 1e-4
    };
    assert!(near(&column(&scene, "r_drop", "loss")[0], &plain[0]));
    train(&scene, "dropped", &["model.transformer.dropout=0.3"]).succeeded();
    train(&scene, "apart", &["model.transformer.dropout=0.3", "training.r_drop=3.0"]).succeeded();
    let loss = |run: &str| column(&scene, run, "loss")[0].parse::<f64>().unwrap();
    assert!(loss("apart") > loss("dropped") + 1e-3, "{} and {}", loss("apart"), loss("dropped"));
    // The key of a place overrides `dropout`.
    let zeros = ["embedding", "feed_forward", "residual"]
        .map(|place| format!("model.transformer.{place}_dropout=0.0"));
    let mut settings: Vec<&str> = zeros.iter().map(String::as_str).collect();
    settings.push("model.transformer.dropout=0.5");
    train(&scene, "places", &settings).succeeded();
    assert_eq!(column(&scene, "places", "loss"), plain);
}

#[test]
fn bf16_learns_as_f32_does_and_its_weights_stay_f32() {
    let scene = Scene::new(60, 12);
    let stderr = train(&scene, "exact", &["runtime.precision=f32"]).succeeded().stderr;
    assert!(stderr.contains("on the CPU (1 thread), f32; run directory"), "{stderr}");
    let stderr = train(&scene, "rough", &["runtime.precision=bf16"]).succeeded().stderr;
    assert!(stderr.contains("on the CPU (1 thread), bf16; run directory"), "{stderr}");
    let losses = |run: &str| -> Vec<f64> {
        column(&scene, run, "loss").iter().map(|loss| loss.parse().unwrap()).collect()
    };
    let (exact, rough) = (losses("exact"), losses("rough"));
    assert_ne!(exact, rough);
    assert!(
        exact.iter().zip(&rough).all(|(exact, rough)| (rough / exact - 1.0).abs() < 0.02),
        "{exact:?} {rough:?}"
    );
    assert!(weights(&scene, "rough", 8).values().all(|weight| weight.kind() == tch::Kind::Float));
    // Decoding works in both formats, whichever training used.
    for precision in ["runtime.precision=f32", "runtime.precision=bf16"] {
        scene.fed(&["decode", "rough", "--set", precision], b"abc\n").succeeded();
    }
    let stderr = train(&scene, "auto", &["runtime.precision=auto"]).succeeded().stderr;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |word: &str| cpu.contains(word);
    let fast = has("amx_bf16") || has("AuthenticAMD") && has("avx512_bf16");
    assert!(stderr.contains(if fast { ", bf16; run" } else { ", f32; run" }), "{stderr}");
}

#[test]
fn training_starts_from_another_run() {
    let scene = Scene::trained();
    let stderr = with(&scene, "fine", &["training.steps=1"], &["--from", "runs/copy"]).succeeded().stderr;
    assert!(!stderr.contains("resuming"), "{stderr}");
    let nll: f64 = column(&scene, "fine", "nll")[0].parse().unwrap();
    assert!(nll < 0.3, "the first loss of a model that knows its task: {nll}");
    assert!(stderr.contains("starting from the weights of runs/copy/checkpoints/"), "{stderr}");
    // Resuming continues with the run's own weights, whatever --from names; another model causes a note.
    let more = ["training.steps=2"];
    let stderr = with(&scene, "fine", &more, &["--from", "runs/copy", "--resume"]).succeeded().stderr;
    assert!(!stderr.contains("note: fine"), "{stderr}");
    let more = ["training.steps=3"];
    let stderr = with(&scene, "fine", &more, &["--from", "fine", "--resume"]).succeeded().stderr;
    assert!(stderr.contains("note: fine resumes from its own checkpoint; it did not start from"), "{stderr}");
    // The other model is not needed any more.
    with(&scene, "fine", &["training.steps=4"], &["--from", "nowhere", "--resume"]).succeeded();
    // Killed before its first checkpoint it must not begin with random weights.
    std::fs::remove_dir_all(scene.path("fine/checkpoints")).unwrap();
    std::fs::create_dir(scene.path("fine/checkpoints")).unwrap();
    ["latest", "best"]
        .iter()
        .for_each(|name| std::fs::remove_file(scene.path(format!("fine/{name}"))).unwrap());
    with(&scene, "fine", &more, &["--resume"])
        .refused_naming(2, &["error: fine started from runs/copy/", "hint: use the same --from again"]);
    with(&scene, "fine", &more, &["--resume", "--from", "runs/copy"]).succeeded();
    // Heads are in no weight's shape, either; dropout is not part of a network.
    for other in ["model.transformer.heads=1", "model.transformer.positions=rotary"] {
        with(&scene, "other", &[other], &["--from", "runs/copy"])
            .refused_naming(2, &["is not the network that [model] describes: `", "hint: [model] of `copy`"]);
    }
    let dropout = ["training.steps=1", "model.transformer.attention_dropout=0.2"];
    with(&scene, "dropout", &dropout, &["--from", "runs/copy"]).succeeded();
    with(&scene, "other", &["model.transformer.width=16"], &["--from", "runs/copy"])
        .refused_naming(2, &["must be ", "[model] of `copy` must describe the model"]);
}

#[test]
fn a_vocabulary_that_lacks_symbols_is_refused_or_extended() {
    let scene = Scene::trained();
    let pairs = "source,target\nabc,abc\nxay,xay\nxbx,xbx\n";
    scene.write("train.csv", pairs);
    scene.write("valid.csv", pairs);
    let from = ["--from", "runs/copy"];
    with(&scene, "fine", &[], &from).refused(
        2,
        "error: runs/copy/checkpoints/STEP/model.safetensors: the source vocabulary has 12 tokens, but with these training \
         pairs it must have 14: it lacks 2, such as `x`\n\
         hint: add them with `--extend-vocabulary`: the embedding of each starts as the mean of the old embeddings"
            .replace("STEP", scene.text("runs/copy/best").trim())
            .as_str(),
    );
    assert!(!scene.path("fine").exists());
    let settings = ["training.steps=1", "training.adamw.learning_rate=1e-12"];
    let extend = [&from[..], &["--extend-vocabulary"]].concat();
    let stderr = with(&scene, "fine", &settings, &extend).succeeded().stderr;
    assert!(
        stderr.contains("`source_embedding.weight` has 2 new rows, each the mean of the old ones\n"),
        "{stderr}"
    );
    let held = [&settings[..], &["training.freeze=[\"source*\"]"]].concat();
    let stderr = with(&scene, "held", &held, &extend).succeeded().stderr;
    assert!(
        stderr.contains("2 new rows, each the mean of the old ones; note: `training.freeze` freezes"),
        "{stderr}"
    );
    let old =
        weights_at(&scene, scene.checkpoint("runs/copy", "best").join("model.safetensors").to_str().unwrap());
    let new = weights(&scene, "fine", 1);
    for name in ["source_embedding.weight", "target_embedding.weight"] {
        let (old, new) = (&old[name], &new[name]);
        assert_eq!((old.size()[0], new.size()[0]), (12, 14));
        assert_close(&new.narrow(0, 0, 12), old, 1e-6, name);
        let mean = old.narrow(0, 4, 8).mean_dim([0i64].as_slice(), false, tch::Kind::Float);
        assert_close(&new.get(12), &mean, 1e-6, name);
        assert_same(&new.get(12), &new.get(13), name);
    }
    // Pairs without new symbols are fine.
    scene.write("train.csv", "source,target\nabc,abc\nba,ba\n");
    with(&scene, "few", &["training.steps=1"], &from).succeeded();
    let words = ["data.source.words={}", "data.target.words={}"];
    with(&scene, "words", &words, &from).refused_naming(
        2,
        &[
            "the source tokenizer must be of the kind that the config names, `words`, but it is `characters`",
            "hint: use the model's tokenizer settings in the config",
        ],
    );
    let alone = with(&scene, "alone", &[], &["--extend-vocabulary"]);
    assert!(alone.code == Some(2) && alone.stderr.contains("--from"), "{}", alone.stderr);
}

#[test]
fn a_vocabulary_size_other_than_the_models_is_refused() {
    let scene = Scene::new(60, 12);
    let pieces = |size: usize| format!("data.source.bpe.vocabulary={size}");
    train(&scene, "old", &[&pieces(30), "training.steps=1"]).succeeded();
    with(&scene, "new", &[&pieces(500), "training.steps=1"], &["--from", "old"]).refused_naming(
        2,
        &["the source vocabulary has 30 tokens, but `data.source.bpe.vocabulary` is 500\n\
             hint: set it to 30, or train from scratch, without --from, for a vocabulary of 500"],
    );
    with(&scene, "new", &[&pieces(30), "training.steps=1"], &["--from", "old"]).succeeded();
    // Sixty short words give fewer pieces than the limit. The same limit again means the same vocabulary.
    train(&scene, "few", &[&pieces(5000), "training.steps=1"]).succeeded();
    with(&scene, "fewer", &[&pieces(5000), "training.steps=1"], &["--from", "few"]).succeeded();
}

#[test]
fn auto_finds_what_fits_and_a_resumed_run_keeps_it() {
    let scene = Scene::new(60, 12);
    let auto = ["training.tokens_per_batch=auto"];
    let stderr = train(&scene, "run", &auto).succeeded().stderr;
    let found = |stderr: &str| -> u64 {
        let line = stderr.lines().find(|line| line.starts_with("tokens_per_batch: ")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // The whole set is some 350 positions: all of it fits.
    assert_eq!(found(&stderr), 256);
    let resumed =
        with(&scene, "run", &["training.tokens_per_batch=auto", "training.steps=10"], &["--resume"]);
    assert_eq!(found(&resumed.succeeded().stderr), 256);
    train(&scene, "none", &["training.tokens_per_batch=auto", "training.memory_limit=0.001"])
        .refused_naming(2, &["batches of 256 positions must fit into memory", "`training.memory_limit`"]);
}

/// The rows of a tiny run. A refactoring must not change them; a change of the computation writes them
/// again: `SEQLOOM_WRITE_GOLDEN=1 cargo test --release --test tests -- golden_metrics`
#[test]
fn a_tiny_run_writes_the_golden_metrics() {
    let scene = Scene::new(60, 12);
    let settings = [
        "model.transformer.dropout=0.1",
        "training.accumulate=2",
        "training.word_dropout=0.05",
        "training.ema.decay=0.9",
    ];
    train(&scene, "run", &settings).succeeded();
    let ours = scene.text("run/metrics.csv");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.csv");
    if std::env::var_os("SEQLOOM_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &ours).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(ours.lines().count(), golden.lines().count());
    for (ours, golden) in ours.lines().zip(golden.lines()) {
        // Another CPU adds in another order: its last digits differ, and nothing else.
        for (ours, golden) in ours.split(',').zip(golden.split(',')) {
            let same = match (ours.parse::<f64>(), golden.parse::<f64>()) {
                (Ok(ours), Ok(golden)) => (ours - golden).abs() <= 1e-5 * golden.abs().max(1e-3),
                _ => ours == golden,
            };
            assert!(same, "{ours} is not {golden} of the golden metrics");
        }
    }
}
