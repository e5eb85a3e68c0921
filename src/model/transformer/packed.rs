//! Packed parts that the blocks of the Transformer are made of.

use tch::Tensor;

use super::super::embeddings::Embeddings;
use super::super::layers::{FeedForward, Linear, Norm, activate};
use super::super::packed_linear::{PackedLinear, Weights};
use super::super::positions::{PositionIds, PositionTable};
use super::super::source_parts::SourceParts;
use super::super::{Activation, NormPlace};
use super::ResidualBlock;
use crate::data::source::SourceItem;
use crate::data::vocabulary::EOS;

/// Embeddings with their positions added.
#[derive(Debug)]
pub(super) struct PositionedEmbedding {
    pub(super) weight: Tensor,
    pub(super) positions: PositionTable,
}

/// Shares the weights.
impl Clone for PositionedEmbedding {
    fn clone(&self) -> PositionedEmbedding {
        PositionedEmbedding { weight: self.weight.shallow_clone(), positions: self.positions.clone() }
    }
}

impl PositionedEmbedding {
    /// (R) to (R, D)
    pub(super) fn forward(&self, tokens: &[i64], positions: &[i64]) -> Tensor {
        let tokens = Tensor::from_slice(tokens).to_device(self.weight.device());
        let x = Embeddings::look_up(&self.weight, &tokens); // (R, D)
        let added = self.positions.additive(PositionIds::Each(positions));
        added.map_or(x.shallow_clone(), |added| x + added)
    }
}

/// The columns of a source that has several, each with a vector.
#[derive(Debug)]
pub(super) struct PackedParts {
    parts: SourceParts,
    /// (P, D)
    vectors: Tensor,
}

/// Shares the weights.
impl Clone for PackedParts {
    fn clone(&self) -> PackedParts {
        PackedParts { parts: self.parts.clone(), vectors: self.vectors.shallow_clone() }
    }
}

impl PackedParts {
    pub(super) fn new((parts, vectors): &(SourceParts, Tensor)) -> PackedParts {
        PackedParts { parts: parts.clone(), vectors: vectors.detach() }
    }

    /// The positions of all sources, one after the other.
    pub(super) fn positions(&self, sources: &[&SourceItem]) -> Vec<i64> {
        let with_eos = |source: &&SourceItem| -> Vec<i64> {
            self.parts.positions_of(source.tokens().iter().copied().chain([EOS]))
        };
        sources.iter().flat_map(with_eos).collect()
    }

    /// The vector of each token's column: (R) to (R, D)
    pub(super) fn forward(&self, tokens: &[i64]) -> Tensor {
        let tokens = Tensor::from_slice(tokens).to_device(self.vectors.device());
        Embeddings::look_up_column(&self.vectors, &self.parts.columns(&tokens))
    }
}

/// A residual block: `x + f(norm(x))`, or `norm(x + f(x))`. `f` adds the residual itself.
#[derive(Clone, Debug)]
pub(super) struct PackedResidual {
    pub(super) norm: Norm,
    pub(super) place: NormPlace,
}

impl PackedResidual {
    pub(super) fn new(residual: &ResidualBlock) -> PackedResidual {
        PackedResidual { norm: residual.norm.clone(), place: residual.place }
    }

    pub(super) fn forward(&self, x: &Tensor, part: impl FnOnce(&Tensor, &Tensor) -> Tensor) -> Tensor {
        match self.place {
            NormPlace::Pre => part(&self.norm.forward(x), x),
            NormPlace::Post => self.norm.forward(&part(x, x)),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct FeedForwardBlock {
    pub(super) norm: PackedResidual,
    pub(super) activation: Activation,
    pub(super) gate: Option<PackedLinear>,
    pub(super) inner: PackedLinear,
    pub(super) outer: PackedLinear,
}

impl FeedForwardBlock {
    pub(super) fn new(part: &FeedForward, norm: &ResidualBlock, weights: Weights) -> FeedForwardBlock {
        FeedForwardBlock {
            norm: PackedResidual::new(norm),
            activation: part.activation,
            gate: part.gate.as_ref().map(|gate| PackedLinear::new(&[gate], weights)),
            inner: PackedLinear::new(&[&part.inner], weights),
            outer: scaled(&part.outer, part.scale, weights),
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        self.norm.forward(x, |x, residual| {
            // ReLU is fused into the product.
            let relu = self.activation == Activation::Relu;
            let inner = self.inner.forward(x, relu, None); // (R, F)
            let gate = self.gate.as_ref().map(|gate| gate.forward(x, false, None)); // (R, F)
            let active = if relu { inner } else { activate(self.activation, inner, gate, true) };
            self.outer.forward(&active, false, Some(residual))
        })
    }
}

/// A layer whose result is multiplied with `scale`.
fn scaled(layer: &Linear, scale: f64, weights: Weights) -> PackedLinear {
    if scale == 1.0 {
        return PackedLinear::new(&[layer], weights);
    }
    let _guard = tch::no_grad_guard();
    let bias = layer.bias().map(|bias| bias * scale);
    PackedLinear::of(&(layer.weight() * scale), bias.as_ref(), weights)
}
