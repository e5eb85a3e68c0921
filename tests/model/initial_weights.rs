//! Initial weights: Xavier uniform matrices, zero biases, embeddings with standard deviation D^-1/2, all from the seed.

use seqloom::data::vocabulary::PAD;
use seqloom::model::{Activation, Norm, Positions, Tied, TransformerConfig};
use tch::{IndexOp, Kind, Tensor};

use super::Model;
use crate::support::assert_same;

fn wide() -> TransformerConfig {
    TransformerConfig {
        width: 64,
        heads: 4,
        feed_forward: 160,
        encoder_layers: 1,
        decoder_layers: 2,
        positions: Positions::Learned,
        max_positions: 300,
        activation: Activation::Swiglu,
        tied_embeddings: Tied::None,
        ..TransformerConfig::default()
    }
}

fn model(seed: u64) -> Model {
    Model::new(wide(), 700, 900, seed)
}

/// The moments in f64, around zero.
fn deviation(x: &Tensor) -> f64 {
    x.to_kind(Kind::Double).square().mean(Kind::Double).sqrt().double_value(&[])
}

fn largest(x: &Tensor) -> f64 {
    x.abs().max().double_value(&[])
}

#[test]
fn matrices_are_xavier_uniform() {
    let _guard = tch::no_grad_guard();
    let model = model(1);
    let mut matrices = 0;
    for param in model.params.iter().filter(|param| param.weight_decay) {
        let [outputs, inputs] = param.tensor.size()[..] else { panic!("{} is no matrix", param.name) };
        let bound = (6.0 / (inputs + outputs) as f64).sqrt();
        assert!(largest(&param.tensor) <= bound + 1e-7, "{} leaves the bound", param.name);
        assert!(largest(&param.tensor) > 0.99 * bound, "{} does not fill the bound", param.name);
        // The deviation of a uniform distribution is its bound over the root of 3; 4,096 draws know it to 0.7 %.
        let ratio = deviation(&param.tensor) / (bound / 3f64.sqrt());
        assert!((ratio - 1.0).abs() < 0.04, "{}: {ratio}", param.name);
        matrices += 1;
    }
    // Attentions of 4 (one in the encoder, two in each decoder layer), feed-forwards of 3, and the output.
    assert_eq!(matrices, 4 * 5 + 3 * 3 + 1);
}

#[test]
fn biases_are_zero_and_norms_are_one() {
    let model = model(1);
    let mut vectors = 0;
    for param in model.params.iter().filter(|param| param.tensor.dim() == 1) {
        let one = param.name.contains("norm") && param.name.ends_with("weight");
        let expected = param.tensor.full_like(f64::from(u8::from(one)));
        assert_same(&param.tensor.detach(), &expected, &param.name);
        assert!(!param.weight_decay, "{} decays", param.name);
        vectors += 1;
    }
    // A bias for each linear layer but the output, and two for each norm: 2 + 2 * 3 in the layers, 2 at the ends.
    assert_eq!(vectors, (4 * 5 + 3 * 3) + 2 * (2 + 2 * 3 + 2));
}

#[test]
fn embeddings_are_normal_and_the_padding_is_zero() {
    let _guard = tch::no_grad_guard();
    let model = model(1);
    for (name, rows, padded) in [
        ("source_embedding.weight", 700, true),
        ("target_embedding.weight", 900, true),
        ("encoder.positions.weight", 300, false),
        ("decoder.positions.weight", 300, false),
    ] {
        let param = model.params.iter().find(|param| param.name == name).unwrap();
        assert_eq!(param.tensor.size(), [rows, 64]);
        assert!(!param.weight_decay, "{name} decays");
        assert_eq!(largest(&param.tensor.i(PAD)) == 0.0, padded, "{name}: row 0");
        let ratio = deviation(&param.tensor.i(1..)) * 8.0;
        assert!((ratio - 1.0).abs() < 0.03, "{name}: {ratio}");
        // A normal distribution has 4.55 % of its mass beyond two deviations; a uniform one has none.
        let beyond = param.tensor.i(1..).abs().gt(2.0 / 8.0).to_kind(Kind::Double).mean(Kind::Double);
        assert!((beyond.double_value(&[]) - 0.0455).abs() < 0.01, "{name} is not normal");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let (a, b, other) = (model(5), model(5), model(6));
    assert_eq!(a.params.len(), b.params.len());
    for ((a, b), other) in a.params.iter().zip(b.params.iter()).zip(other.params.iter()) {
        assert_eq!(a.name, b.name);
        assert_same(&a.tensor.detach(), &b.tensor.detach(), &a.name);
        let moved = !a.tensor.equal(&other.tensor);
        assert_eq!(moved, a.tensor.dim() == 2, "{}: another seed", a.name);
    }
}

#[test]
fn a_changed_layout_moves_no_other_weight() {
    let config = TransformerConfig { decoder_layers: 3, norm: Norm::RmsNorm, ..wide() };
    let (model, other) = (model(5), Model::new(config, 700, 900, 5));
    let shared = model.params.iter().filter_map(|param| Some((param, other.params.get(&param.name)?)));
    let shared: Vec<_> = shared
        .inspect(|(param, other)| {
            assert_same(&param.tensor.detach(), &other.detach(), &param.name);
        })
        .collect();
    assert!(shared.len() > 40, "only {} weights are in both", shared.len());
}

#[test]
fn no_two_weights_start_equal() {
    let model = model(5);
    let matrices: Vec<_> = model.params.iter().filter(|param| param.tensor.dim() == 2).collect();
    for (n, a) in matrices.iter().enumerate() {
        for b in &matrices[..n] {
            assert!(!a.tensor.equal(&b.tensor), "{} is {}", a.name, b.name);
        }
    }
}
