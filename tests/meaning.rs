//! Properties of training with any model: logging and validation change nothing, accumulated batches equal one batch,
//! all random numbers follow from the seed, and teacher forcing trains what decoding does.

use std::path::Path;

use seqloom::checkpoint::model_file;
use seqloom::config::Experiment;
use seqloom::data::batch::Batch;
use seqloom::data::batch_sampler::BatchSampler;
use seqloom::data::dataset::{Dataset, Tokenizers};
use seqloom::data::loader::Collator;
use seqloom::data::readers::read_pairs;
use seqloom::data::tokenizer::Tokenizer;
use seqloom::distributed::Group;
use seqloom::model::network::Network;
use seqloom::model::params::Params;
use seqloom::training::context::{InjectedFaults, TrainContext};
use seqloom::training::loss::cross_entropy;
use seqloom::training::optimizer::clip_gradients;
use seqloom::training::trainer::Trainer;
use tch::{Device, Tensor};

use crate::support::run::{Scene, words};
use crate::support::{assert_close, assert_same, distance};

/// The weights of a run's last checkpoint, by name.
fn weights(scene: &Scene, run: &str) -> Vec<(String, Tensor)> {
    let path = scene.path(scene.checkpoint(run, "latest").join("model.safetensors"));
    model_file::read(&path).unwrap().1
}

/// Trains for a few updates with dropout.
fn train(scene: &Scene, out: &str, more: &str) {
    let settings =
        ["model.transformer.dropout=0.2", "training.tokens_per_batch=64", "training.steps=12", more];
    let mut arguments = vec!["--out", out];
    settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
    scene.train(&arguments).succeeded();
}

#[test]
fn validation_decoding_and_checkpoints_do_not_affect_training() {
    let scene = Scene::new(60, 12);
    train(&scene, "watched", "training.validate_every=1");
    train(&scene, "saved", "training.checkpoint_every=1");
    train(&scene, "alone", "training.validate_every=1000");
    assert_eq!(scene.text("watched/metrics.csv").lines().filter(|row| row.contains(",valid,")).count(), 12);
    for run in ["watched", "saved"] {
        for ((name, ours), (_, alone)) in weights(&scene, run).iter().zip(&weights(&scene, "alone")) {
            assert_same(ours, alone, &format!("{run}: {name}"));
        }
    }
}

#[test]
fn all_randomness_depends_on_the_seed() {
    let scene = Scene::new(60, 12);
    for (out, seed) in [("one", "seed=1"), ("again", "seed=1"), ("two", "seed=2")] {
        train(&scene, out, seed);
    }
    assert!(scene.files("one/checkpoints").into_values().eq(scene.files("again/checkpoints").into_values()));
    assert_eq!(scene.text("one/metrics.csv"), scene.text("again/metrics.csv"));
    let (one, two) = (weights(&scene, "one"), weights(&scene, "two"));
    let matrices = one.iter().zip(&two).filter(|((_, weight), _)| weight.dim() == 2);
    for ((name, one), (_, two)) in matrices {
        assert!(distance(one, two) > 1e-2, "{name} does not depend on the seed");
    }
}

/// An experiment in this process: its training pairs and a model.
struct Bench {
    experiment: Experiment,
    train: Dataset,
    target: Tokenizer,
    params: Params,
    model: Network,
    group: Group,
}

impl Bench {
    fn new(scene: &Scene, overrides: &[&str]) -> Bench {
        let overrides: Vec<String> = overrides.iter().map(|setting| setting.to_string()).collect();
        let mut experiment = Experiment::load(&scene.path("copy.toml"), &overrides).unwrap();
        experiment.data.train.0[0] = scene.path("train.csv").into();
        let pairs = read_pairs(&experiment.data.train, ["source", "target"], true).unwrap().pairs;
        let tokenizers = Tokenizers::train(&experiment.data, &pairs.iter().collect::<Vec<_>>()).unwrap();
        let train = Dataset::new(pairs, &tokenizers, &experiment.data).unwrap();
        let mut params = Params::new(Device::Cpu, 1);
        let model = Network::new(
            &experiment.model.network(),
            tokenizers.source.shape(),
            tokenizers.target.vocabulary_size(),
            &mut params,
        );
        Bench { experiment, train, target: tokenizers.target, params, model, group: Group::alone() }
    }

    fn trainer(&self) -> Trainer<'_> {
        let parts = TrainContext {
            config: &self.experiment.training,
            decoding: &self.experiment.decoding,
            seed: 1,
            model: &self.model,
            params: &self.params,
            width: 32,
            group: &self.group,
            train: &self.train,
            valid: &self.train,
            target: &self.target,
            machine: String::new(),
            faults: InjectedFaults::default(),
        };
        Trainer::new(parts, None).unwrap()
    }

    fn batch(&self, rows: &[usize]) -> Batch {
        Collator::new(self.train.corpus.clone(), 0.0, 1).batch(rows, 0).unwrap()
    }

    fn sampler(&self, tokens_per_batch: usize) -> BatchSampler {
        let lengths = self.train.corpus.lengths().clone();
        BatchSampler::new(lengths, tokens_per_batch, 1, 0, 0)
    }

    /// Loss per target token of the given rows as one batch, and the norm of its gradients.
    fn in_one_batch(&self, rows: &[usize]) -> (f64, f64) {
        let batch = self.batch(rows);
        let memory = self.model.encode(&batch.source, None);
        let predictions = self.model.decode(&batch.target_in, &memory, None).at(&batch.label_positions);
        let loss = cross_entropy(&predictions, &batch.labels, self.experiment.training.label_smoothing);
        let loss = loss.total / batch.target_tokens() as f64;
        self.params.clear_gradients();
        loss.backward();
        (loss.double_value(&[]), clip_gradients(&self.params, 0.0))
    }
}

#[test]
fn accumulating_two_batches_equals_one_batch_of_both() {
    // Eight words of one letter are a batch, and so is one of sixteen letters: normalising each separately would
    // differ.
    let scene = Scene::new(2, 1);
    let short: String = ('a'..='h').map(|letter| format!("{letter},{letter}\n")).collect();
    scene.write("train.csv", format!("source,target\n{short}abcdefghabcdefgh,hgfedcbahgfedcba\n"));
    let settings = ["training.accumulate=2", "training.tokens_per_batch=17", "training.clip_norm=0"];
    let bench = Bench::new(&scene, &settings);
    let mut sampler = bench.sampler(17);
    let [first, second] = [0; 2].map(|_| sampler.next_batch().to_vec());
    let tokens = |rows: &[usize]| bench.batch(rows).target_tokens();
    assert_ne!(tokens(&first), tokens(&second), "batches of one size would show nothing");

    let (loss, norm) = bench.in_one_batch(&[first, second].concat());
    let gradients = || bench.params.iter().map(|param| param.tensor.grad().copy()).collect::<Vec<_>>();
    let in_one_batch = gradients();
    let window = bench.trainer().update().unwrap().window;
    assert!((window.loss_per_token() / loss - 1.0).abs() < 1e-5, "{} and {loss}", window.loss_per_token());
    assert!((window.gradient_norm / norm - 1.0).abs() < 1e-5, "{} and {norm}", window.gradient_norm);
    for ((param, ours), one) in bench.params.iter().zip(gradients()).zip(&in_one_batch) {
        assert_close(&ours, one, 1e-5, &format!("gradient of {}", param.name));
    }
}

#[test]
fn each_epoch_has_the_same_rows_in_another_order() {
    let bench = Bench::new(&Scene::new(60, 1), &[]);
    let mut sampler = bench.sampler(64);
    let mut epochs = vec![Vec::new(); 3];
    while sampler.epoch() < 3 {
        let epoch = sampler.epoch() as usize;
        epochs[epoch].push(sampler.next_batch().to_vec());
    }
    for (n, epoch) in epochs.iter().enumerate() {
        let mut rows = epoch.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..60).collect::<Vec<_>>(), "epoch {n}");
        assert!(!epochs[..n].contains(epoch), "epoch {n} is one that was");
    }
}

#[test]
fn decoding_agrees_with_teacher_forcing() {
    let scene = Scene::trained();
    let known = scene.text("train.csv");
    assert!(scene.text("valid.csv").lines().skip(1).all(|row| !known.contains(&format!("\n{row}\n"))));
    let finished = scene.decode(&["--input", "valid.csv", "--summary", "summary.json"], "").succeeded();
    assert_eq!(finished.stdout.lines().map(str::to_owned).collect::<Vec<_>>(), words(440)[400..]);
    let summary: serde_json::Value = serde_json::from_str(&scene.text("summary.json")).unwrap();
    assert_eq!((&summary["exact_match"], &summary["rows"]), (&1.0.into(), &40.into()));
    assert!(Path::new(&scene.path("runs/copy/samples/step-00000700.txt")).is_file());
}
