//! The networks: PyTorch's numbers (`golden`), properties for any weights (`meaning`), `initial_weights`,
//! step-by-step decoding (`stepping`), networks that read frames (`speech`). Every model here is tiny.

mod golden;
mod initial_weights;
mod meaning;
mod speech;
mod stepping;

use seqloom::data::batch::{Batch, SourceBatch};
use seqloom::data::source::{SourceItem, SourceShape};
use seqloom::data::vocabulary::{BOS, EOS, PAD};
use seqloom::model::layers::DropoutRng;
use seqloom::model::network::Network;
use seqloom::model::params::Params;
use seqloom::model::{NetworkConfig, TransformerConfig};
use tch::{Device, Tensor};

use crate::support::{Golden, gpu};

/// The files of tests/golden/ that hold a model.
const CASES: [&str; 15] = [
    "pre_relu_sinusoidal",
    "post_norm",
    "gelu",
    "silu",
    "swiglu",
    "rms_norm",
    "no_bias",
    "learned",
    "rotary",
    "no_positions",
    "untied",
    "tied_all",
    "two_layers",
    "modern",
    "recurrent",
];

/// A model, and the weights that it shares.
struct Model {
    params: Params,
    network: Network,
}

impl Model {
    fn new(
        config: impl Into<NetworkConfig>,
        source: impl Into<SourceShape>,
        target_vocabulary: usize,
        seed: u64,
    ) -> Model {
        Model::on(Device::Cpu, config.into(), source.into(), target_vocabulary, seed)
    }

    fn on(
        device: Device,
        config: NetworkConfig,
        source: SourceShape,
        target_vocabulary: usize,
        seed: u64,
    ) -> Model {
        // libtorch looks for CUDA once, before the process's first backward pass.
        gpu();
        let mut params = Params::new(device, seed);
        let network = Network::new(&config, source, target_vocabulary, &mut params);
        Model { params, network }
    }

    /// With the weights of a golden file, whose names must be exactly the model's.
    fn golden(golden: &Golden) -> Model {
        Model::golden_on(Device::Cpu, golden)
    }

    fn golden_on(device: Device, golden: &Golden) -> Model {
        let target = golden.number("target_vocabulary") as usize;
        let model = Model::on(device, golden.network(), golden.source(), target, 1);
        let weights = golden.under("weights/");
        let mut names: Vec<&str> = model.params.iter().map(|param| param.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, weights.keys().copied().collect::<Vec<_>>(), "the weights' names");
        for param in model.params.iter() {
            set(&param.tensor, weights[param.name.as_str()]);
        }
        model
    }

    /// Teacher forcing: (B, T, V).
    fn logits(&self, source: &SourceBatch, target_in: &Tensor, noise: Option<&DropoutRng>) -> Tensor {
        let memory = self.network.encode(source, noise);
        self.network.decode(target_in, &memory, noise).logits()
    }
}

/// Overwrites a weight; `copy_` alone would broadcast a value of another shape.
fn set(weight: &Tensor, value: &Tensor) {
    let _guard = tch::no_grad_guard();
    assert_eq!(weight.size(), value.size());
    weight.shallow_clone().copy_(value);
}

/// The rows of a golden (B, L), without the tokens in `left_out`.
fn rows(tokens: &Tensor, left_out: &[i64]) -> Vec<Vec<i64>> {
    let rows = Vec::<Vec<i64>>::try_from(tokens).unwrap();
    rows.into_iter().map(|row| row.into_iter().filter(|token| !left_out.contains(token)).collect()).collect()
}

fn batch(sources: &[Vec<i64>], targets: &[Vec<i64>]) -> Batch {
    let sources: Vec<SourceItem> = sources.iter().map(|source| source.as_slice().into()).collect();
    let targets: Vec<&[i64]> = targets.iter().map(Vec::as_slice).collect();
    Batch::new(&sources, &targets)
}

/// A golden file's source and target rows, of different lengths, without special tokens.
fn pairs(golden: &Golden) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
    (rows(golden.get("source"), &[PAD, EOS]), rows(golden.get("target_in"), &[PAD, BOS]))
}

fn small() -> TransformerConfig {
    TransformerConfig {
        width: 16,
        heads: 2,
        feed_forward: 24,
        encoder_layers: 2,
        decoder_layers: 2,
        ..TransformerConfig::default()
    }
}
