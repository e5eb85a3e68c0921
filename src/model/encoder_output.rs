//! The output of an encoder, the same for all networks.

use tch::Tensor;

use super::attention::Padding;
use super::layers::AutocastWeights;

/// The encoded source batch.
#[derive(Debug)]
pub struct EncoderOutput {
    /// (B, S, D)
    pub hidden: Tensor,
    /// Real positions of each row (B); the rest is padding.
    pub lengths: Vec<i64>,
    /// The padding, if there is any.
    pub padding: Option<Padding>,
    /// The cast weights of this pass, for the decoder.
    pub(super) cast: AutocastWeights,
}
