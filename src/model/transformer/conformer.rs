//! What a Conformer block (Gulati et al. 2020) has besides a Transformer's: a second feed-forward part, half of each of the two,
//! a convolution over the positions, and a norm at its end. The convolution uses LayerNorm instead of BatchNorm, so that
//! no row depends on the others of its batch.

use tch::{Kind, Tensor};

use super::super::layers::{Epilogue, FeedForward, ForwardContext, Linear, Norm, activate};
use super::super::packed_linear::{PackedLinear, Weights};
use super::super::params::VarBuilder;
use super::super::{Activation, TransformerConfig};
use super::ResidualBlock;
use super::packed::{FeedForwardBlock, PackedResidual};

/// The parts of a block beside attention and its last feed-forward.
#[derive(Debug)]
pub(super) struct ConformerParts {
    pub(super) feed_forward: FeedForward,
    pub(super) feed_forward_norm: ResidualBlock,
    pub(super) convolution: Convolution,
    pub(super) convolution_norm: ResidualBlock,
    pub(super) norm: Norm,
}

impl ConformerParts {
    pub(super) fn new(vb: &mut VarBuilder, config: &TransformerConfig) -> ConformerParts {
        ConformerParts {
            feed_forward: FeedForward::new(vb.sub("first_feed_forward"), config).scaled(0.5),
            feed_forward_norm: ResidualBlock::new(vb.sub("first_feed_forward_norm"), config),
            convolution: Convolution::new(vb.sub("convolution"), config),
            convolution_norm: ResidualBlock::new(vb.sub("convolution_norm"), config),
            norm: Norm::new(vb.sub("norm"), config),
        }
    }

    pub(super) fn groups(&self) -> Vec<Vec<&Linear>> {
        let mut groups = self.feed_forward.groups();
        groups.extend([vec![&self.convolution.inner], vec![&self.convolution.outer]]);
        groups
    }
}

/// outer(silu(norm(depthwise(glu(inner(x)))))): a position and those beside it, each channel for itself.
#[derive(Debug)]
pub(super) struct Convolution {
    inner: Linear,
    /// (D, k)
    kernel: Tensor,
    /// (D)
    bias: Tensor,
    norm: Norm,
    outer: Linear,
}

impl Convolution {
    fn new(mut vb: VarBuilder, config: &TransformerConfig) -> Convolution {
        let (width, size) = (config.width as i64, config.convolution_kernel as i64);
        let mut depthwise = vb.sub("depthwise");
        let (kernel, bias) = (depthwise.matrix("weight", width, size), depthwise.vector("bias", width, 0.0));
        Convolution {
            inner: Linear::new(vb.sub("inner"), width, 2 * width, config.bias),
            kernel,
            bias,
            norm: Norm::new(vb.sub("norm"), config),
            outer: Linear::new(vb.sub("outer"), width, width, config.bias),
        }
    }

    /// `real` is one at real positions and zero at padding, which is zeroed before positions meet.
    ///
    /// # Shapes
    /// x: (B, S, D) to (B, S, D); real: (B, S, 1)
    pub(super) fn forward(
        &self,
        x: &Tensor,
        real: Option<&Tensor>,
        epilogue: Epilogue,
        ctx: ForwardContext,
    ) -> Tensor {
        let gated = self.inner.forward_in(x, ctx).to_kind(Kind::Float).glu(-1); // (B, S, D)
        let gated = real.map_or(gated.shallow_clone(), |real| &gated * real);
        let mixed = self.norm.forward(&depthwise(&gated, &self.kernel, &self.bias)); // (B, S, D)
        self.outer.forward_with_epilogue(&mixed.silu(), epilogue, ctx)
    }
}

/// Each channel with its own kernel over the positions: (B, S, D) to (B, S, D)
fn depthwise(x: &Tensor, kernel: &Tensor, bias: &Tensor) -> Tensor {
    let (width, size) = kernel.size2().expect("a kernel has two dimensions");
    let kernel = kernel.view([width, 1, size]);
    x.transpose(1, 2).conv1d(&kernel, Some(bias), [1], [size / 2], [1], width).transpose(1, 2)
}

/// The parts of a block as a decoder runs them.
#[derive(Debug)]
pub(super) struct ConformerBlock {
    pub(super) feed_forward: FeedForwardBlock,
    convolution_norm: PackedResidual,
    inner: PackedLinear,
    kernel: Tensor,
    bias: Tensor,
    inside_norm: Norm,
    outer: PackedLinear,
    pub(super) norm: Norm,
}

/// The same weights, not a copy of them.
impl Clone for ConformerBlock {
    fn clone(&self) -> ConformerBlock {
        ConformerBlock {
            feed_forward: self.feed_forward.clone(),
            convolution_norm: self.convolution_norm.clone(),
            inner: self.inner.clone(),
            kernel: self.kernel.shallow_clone(),
            bias: self.bias.shallow_clone(),
            inside_norm: self.inside_norm.clone(),
            outer: self.outer.clone(),
            norm: self.norm.clone(),
        }
    }
}

impl ConformerBlock {
    pub(super) fn new(parts: &ConformerParts, weights: Weights) -> ConformerBlock {
        let convolution = &parts.convolution;
        ConformerBlock {
            feed_forward: FeedForwardBlock::new(&parts.feed_forward, &parts.feed_forward_norm, weights),
            convolution_norm: PackedResidual::new(&parts.convolution_norm),
            inner: PackedLinear::new(&[&convolution.inner], weights),
            kernel: convolution.kernel.detach(),
            bias: convolution.bias.detach(),
            inside_norm: convolution.norm.clone(),
            outer: PackedLinear::new(&[&convolution.outer], weights),
            norm: parts.norm.clone(),
        }
    }

    /// The convolution over concatenated sequences: (N, D) to (N, D)
    pub(super) fn convolve(&self, x: &Tensor, lengths: &[i64]) -> Tensor {
        self.convolution_norm.forward(x, |x, residual| {
            let inner = self.inner.forward(x, false, None); // (N, 2 D)
            // Each sequence by itself: in longer tensors libtorch has other functions for the last numbers than for the first.
            let mut start = 0;
            let mixed: Vec<Tensor> = lengths
                .iter()
                .map(|&length| {
                    let own = inner.narrow(0, start, length).unsqueeze(0).glu(-1); // (1, S, D)
                    start += length;
                    depthwise(&own, &self.kernel, &self.bias).squeeze_dim(0) // (S, D)
                })
                .collect();
            let mixed = self.inside_norm.forward(&Tensor::cat(&mixed, 0)); // (N, D)
            let active = activate(Activation::Silu, mixed, None, true);
            self.outer.forward(&active, false, Some(residual))
        })
    }
}
