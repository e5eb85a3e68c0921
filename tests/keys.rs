//! Every key of an experiment has the effect that configs/reference.toml describes. The model's options are tested in
//! tests/model, messages about bad values in tests/config; here are the keys of data and training, and in `decoding`
//! those of decoding.

mod decoding;

use seqloom::checkpoint::model_file;
use tch::Tensor;

use crate::support::run::{Scene, numbers};
use crate::support::{assert_close, assert_same, distance};

/// Trains for a few updates; every setting is `key=value`.
fn train(scene: &Scene, out: &str, settings: &[&str]) -> String {
    let few =
        ["training.steps=6", "training.log_every=1", "training.validate_every=6", "training.decode_rows=4"];
    let mut arguments = vec!["--out", out];
    few.iter().chain(settings).for_each(|setting| arguments.extend(["--set", *setting]));
    scene.train(&arguments).succeeded().stderr
}

/// One column of a run without and of a run with some settings.
fn without_and_with(settings: &[&str], kind: &str, name: &str) -> [Vec<f64>; 2] {
    let scene = Scene::new(60, 12);
    train(&scene, "without", &[]);
    train(&scene, "with", settings);
    ["without", "with"].map(|run| numbers(&scene.metrics(run, kind), name))
}

#[test]
fn the_optimizers_keys_take_effect() {
    for setting in ["beta1=0.5", "beta2=0.5", "epsilon=0.1", "weight_decay=10.0"] {
        let [plain, changed] = without_and_with(&[&format!("training.adamw.{setting}")], "train", "loss");
        assert_eq!(plain[0], changed[0], "{setting}: the first loss is before any update");
        assert_ne!(plain[5], changed[5], "{setting}");
    }
}

#[test]
fn each_schedule_sets_the_learning_rate_of_every_step() {
    let scene = Scene::new(60, 12);
    let table = scene.text("copy.toml");
    let curves: [(&str, [f64; 6]); 4] = [
        ("[training.constant]\nwarmup = 2", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("[training.linear]\nwarmup = 2\nfinal_share = 0.5", [0.5, 1.0, 0.875, 0.75, 0.625, 0.5]),
        ("[training.cosine]\nwarmup = 4\nfinal_share = 0.0", [0.25, 0.5, 0.75, 1.0, 0.5, 0.0]),
        (
            "[training.inverse_sqrt]\nwarmup = 1",
            [1.0, 0.5f64.sqrt(), (1.0f64 / 3.0).sqrt(), 0.5, 0.2f64.sqrt(), (1.0f64 / 6.0).sqrt()],
        ),
    ];
    for (n, (schedule, expected)) in curves.iter().enumerate() {
        let name = format!("run{n}");
        scene.write("copy.toml", table.replace("[training.inverse_sqrt]\nwarmup = 40", schedule));
        train(&scene, &name, &["training.adamw.learning_rate=1.0e-3"]);
        let rates = numbers(&scene.metrics(&name, "train"), "learning_rate");
        for (rate, share) in rates.iter().zip(expected) {
            assert!((rate - 1e-3 * share).abs() < 1e-9, "{schedule}: {rates:?}");
        }
    }
}

/// Plain gradient descent, whose first step has the length of the gradient.
#[test]
fn clipping_shortens_the_step_to_the_limit_and_not_the_logged_norm() {
    let scene = Scene::new(60, 12);
    let sgd = "[training.sgd]\nlearning_rate = 0.1\nmomentum = 0.0";
    let table = scene.text("copy.toml").replace("[training.adamw]\nlearning_rate = 1e-2", sgd);
    scene.write(
        "copy.toml",
        table.replace("[training.inverse_sqrt]\nwarmup = 40", "[training.constant]\nwarmup = 0"),
    );
    let stepped = |limit: f64| {
        let (run, clip) = (format!("run-{limit}"), format!("training.clip_norm={limit}"));
        train(&scene, &run, &[&clip, "training.steps=1", "training.log_every=1"]);
        let path = scene.path(scene.checkpoint(&run, "latest").join("model.safetensors"));
        let (_, weights) = model_file::read(&path).unwrap();
        let flat: Vec<Tensor> = weights.into_iter().map(|(_, tensor)| tensor.flatten(0, -1)).collect();
        (Tensor::cat(&flat, 0), numbers(&scene.metrics(&run, "train"), "gradient_norm")[0])
    };
    let (free, norm) = stepped(0.0);
    let [above, half, quarter] = [2.0, 0.5, 0.25].map(|share| stepped(norm * share));
    assert!(
        [&above, &half, &quarter].iter().all(|(_, logged)| *logged == norm),
        "the norm is that before clipping"
    );
    assert_same(&above.0, &free, "a limit above the norm");
    assert_close(
        &(&free - &half.0),
        &((&half.0 - &quarter.0) * 2.0),
        1e-6,
        "a half of the step is two quarters",
    );
    assert!(distance(&free, &half.0) > 1e-4);
}

#[test]
fn label_smoothing_raises_the_loss_above_the_likelihood() {
    let scene = Scene::new(60, 12);
    train(&scene, "plain", &["training.label_smoothing=0.0"]);
    train(&scene, "smoothed", &["training.label_smoothing=0.3"]);
    let (plain, smoothed) = (scene.metrics("plain", "train"), scene.metrics("smoothed", "train"));
    assert_eq!(numbers(&plain, "loss"), numbers(&plain, "nll"));
    assert_eq!(numbers(&plain, "nll")[0], numbers(&smoothed, "nll")[0]);
    assert!(numbers(&smoothed, "loss")[5] > numbers(&smoothed, "nll")[5]);
}

#[test]
fn the_budget_and_accumulation_set_the_tokens_of_an_update() {
    let [usual, small] = without_and_with(&["training.tokens_per_batch=64"], "train", "target_tokens");
    assert!(small.iter().all(|&tokens| tokens <= 64.0) && usual.iter().any(|&tokens| tokens > 64.0));
    let settings = ["training.tokens_per_batch=64", "training.accumulate=3"];
    let [_, accumulated] = without_and_with(&settings, "train", "target_tokens");
    assert!(accumulated.iter().any(|&tokens| tokens > 64.0 && tokens <= 192.0), "{accumulated:?}");
}

#[test]
fn log_rows_validations_checkpoints_and_samples_are_written_when_due() {
    let scene = Scene::new(60, 12);
    let settings = ["training.log_every=2", "training.validate_every=3", "training.samples=2"];
    train(&scene, "run", &settings);
    assert_eq!(numbers(&scene.metrics("run", "train"), "step"), [2.0, 4.0, 6.0]);
    assert_eq!(numbers(&scene.metrics("run", "valid"), "step"), [3.0, 6.0]);
    assert_eq!(scene.text("run/samples/step-00000003.txt").lines().count(), 1 + 2);
    train(&scene, "often", &["training.checkpoint_every=1", "training.keep_last=2"]);
    let steps = || scene.files("often/checkpoints").into_keys().filter(|path| path.ends_with("state.json"));
    assert_eq!(steps().count(), 2, "{:?}", steps().collect::<Vec<_>>());
}

#[test]
fn training_ends_after_its_epochs_or_when_patience_runs_out() {
    let scene = Scene::new(60, 12);
    let settings = ["training.steps=500", "training.epochs=2", "training.tokens_per_batch=64"];
    train(&scene, "epochs", &settings);
    let last = scene.metrics("epochs", "train").pop().unwrap();
    assert_eq!(last["epoch"], "2");
    assert!(last["step"].parse::<u64>().unwrap() < 100);
    // With a learning rate near 0 nothing improves, and the loss of the first validation is better than without a model.
    let settings = [
        "training.steps=500",
        "training.validate_every=1",
        "training.patience=3",
        "training.best_by=nll",
        "training.adamw.learning_rate=1e-20",
    ];
    let stderr = train(&scene, "patience", &settings);
    assert_eq!(scene.metrics("patience", "valid").len(), 4);
    assert!(stderr.contains("no better validation"), "{stderr}");
    assert_eq!(scene.text("patience/best").trim(), "step-00000001");
}

#[test]
fn best_by_selects_the_deciding_score() {
    let scene = Scene::new(60, 12);
    for (by, column_name, sign) in [
        ("nll", "nll", 1.0),
        ("perplexity", "perplexity", 1.0),
        ("token_accuracy", "token_accuracy", -1.0),
        ("error_rate", "character_error_rate", 1.0),
        ("exact_match", "exact_match", -1.0),
    ] {
        let settings = ["training.validate_every=1", "training.keep_last=9"];
        train(&scene, by, &[&settings[..], &[&format!("training.best_by={by}")]].concat());
        let rows = scene.metrics(by, "valid");
        // The error rate of a row is at most 1, and the loss breaks ties.
        let most = if by == "error_rate" { 1.0 } else { f64::INFINITY };
        let costs = numbers(&rows, column_name).into_iter().map(|value| (sign * value).min(most));
        let costs: Vec<(f64, f64)> = costs.zip(numbers(&rows, "nll")).collect();
        let least = costs.iter().copied().min_by(|one, other| one.partial_cmp(other).unwrap()).unwrap();
        let first = 1 + costs.iter().position(|&cost| cost == least).unwrap();
        assert_eq!(scene.text(format!("{by}/best")).trim(), format!("step-{first:08}"), "{by}: {costs:?}");
    }
}

#[test]
fn data_is_read_from_named_columns_lists_and_parallel_text() {
    let scene = Scene::new(60, 12);
    train(&scene, "one", &[]);
    let table = scene.text("train.csv");
    let (head, rest): (Vec<&str>, Vec<&str>) =
        (table.lines().take(31).collect(), table.lines().skip(31).collect());
    scene.write("a.csv", head.join("\n").replace("source,target", "from,to"));
    scene.write("b.csv", format!("from,to\n{}", rest.join("\n")));
    let columns = ["data.source.column=from", "data.target.column=to"];
    scene.write("valid.csv", scene.text("valid.csv").replace("source,target", "from,to"));
    train(&scene, "list", &[&columns[..], &["data.train=[\"a.csv\", \"b.csv\"]"]].concat());
    let side = |n: usize| -> String {
        let rows = table.lines().skip(1).map(|row| format!("{}\n", row.split(',').nth(n).unwrap()));
        rows.collect()
    };
    scene.write("train.src", side(0));
    scene.write("train.tgt", side(1));
    let parallel = "data.train={ source = \"train.src\", target = \"train.tgt\" }";
    train(&scene, "parallel", &[&columns[..], &[parallel]].concat());
    for run in ["list", "parallel"] {
        assert_eq!(scene.text(format!("{run}/metrics.csv")), scene.text("one/metrics.csv"), "{run}");
    }
}

#[test]
fn rare_symbols_are_omitted_from_a_vocabulary_and_counted() {
    let scene = Scene::new(60, 12);
    scene.write("train.csv", scene.text("train.csv") + "z,z\n");
    let stderr = train(&scene, "rare", &["data.source.characters.minimum_count=2"]);
    assert!(
        stderr.contains(
            "61 training pairs; symbols that are not in the vocabulary: 1 in sources, 0 in targets"
        ),
        "{stderr}"
    );
}

#[test]
fn a_shared_vocabulary_is_one_and_bpe_has_the_requested_size() {
    let scene = Scene::new(200, 12);
    let toml = scene.text("copy.toml").replace("valid = \"valid.csv\"", "valid = \"valid.csv\"\nshared_vocabulary = true\n[data.source.bpe]\nvocabulary = 40\n[data.target.bpe]\nvocabulary = 40");
    scene.write("copy.toml", toml);
    train(&scene, "bpe", &["model.transformer.tied_embeddings=all"]);
    let shown = scene.seqloom(&["inspect", "bpe", "--tensors"]).succeeded().stdout;
    assert!(shown.contains("source: 40 of bpe") && shown.contains("target: 40 of bpe"), "{shown}");
    assert!(shown.contains("shared_embedding.weight [40, 32]"), "{shown}");
}

#[test]
fn the_length_limit_follows_its_factor_and_offset_unless_it_is_a_number() {
    let scene = Scene::new(60, 12);
    train(&scene, "runs/copy", &[]);
    // After six steps of training no output reaches EOS; only the limit matters here.
    let length = |settings: &[&str]| {
        let mut arguments = vec!["--format", "jsonl"];
        settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
        let line = scene.decode(&arguments, "abcd\n").succeeded().stdout;
        let row: serde_json::Value = serde_json::from_str(&line).unwrap();
        (row["output"].as_str().unwrap().chars().count(), row["finished"].as_bool().unwrap())
    };
    for (settings, limit) in [
        (["decoding.max_length_factor=0.5", "decoding.max_length_offset=1"], 3),
        (["decoding.max_length_factor=1.0", "decoding.max_length_offset=0"], 4),
        (["decoding.max_length=2", "decoding.max_length_offset=50"], 2),
    ] {
        let (length, finished) = length(&settings);
        assert!(length == limit || (finished && length < limit), "{settings:?}: {length}");
    }
}

/// Settings for a model with little training, whose probabilities are low.
const UNSURE: [&str; 3] = ["training.steps=40", "training.validate_every=40", "training.tokens_per_batch=64"];

#[test]
fn the_length_penalty_lengthens_the_outputs_of_a_beam() {
    let scene = Scene::new(60, 12);
    train(&scene, "runs/copy", &UNSURE);
    let decode = |penalty: &str, alpha: &str| {
        let settings = [
            format!("decoding.length_penalty={penalty}"),
            format!("decoding.length_penalty_alpha={alpha}"),
            "decoding.beam=8".into(),
        ];
        let mut arguments = vec!["--input", "valid.csv"];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        scene.decode(&arguments, "").succeeded().stdout
    };
    let none = decode("none", "1.0");
    for (penalty, alpha) in [("none", "3.0"), ("length", "0.0"), ("gnmt", "0.0")] {
        assert_eq!(decode(penalty, alpha), none, "{penalty} with {alpha} is no penalty");
    }
    let lengths = [("gnmt", "1.0"), ("length", "1.0"), ("length", "3.0")].map(|(p, a)| decode(p, a).len());
    assert!(none.len() <= lengths[0] && lengths.is_sorted() && none.len() < lengths[2], "{none} {lengths:?}");
}

#[test]
fn validation_decodes_with_the_beam_of_the_experiment() {
    let scene = Scene::new(60, 12);
    let settings = [&UNSURE[..], &["decoding.beam=8", "training.decode_rows=0"]].concat();
    train(&scene, "runs/copy", &settings);
    let samples = scene.text("runs/copy/samples/step-00000040.txt");
    let validated: Vec<&str> = samples.lines().skip(1).map(|row| row.rsplit(" | ").next().unwrap()).collect();
    let decode =
        |more: &[&str]| scene.decode(&[&["--input", "valid.csv"], more].concat(), "").succeeded().stdout;
    let (beam, greedy) = (decode(&[]), decode(&["--beam", "1"]));
    assert_eq!(validated, beam.lines().take(10).collect::<Vec<_>>());
    assert_ne!(beam, greedy, "a model that is this unsure has likelier outputs than greedy search finds");
}
