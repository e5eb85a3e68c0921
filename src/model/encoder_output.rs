//! What an encoder hands to a decoder, whatever network they belong to.

use tch::Tensor;

use super::attention::Padding;
use super::layers::AutocastWeights;

/// What the encoder made of a source batch.
#[derive(Debug)]
pub struct EncoderOutput {
    /// (B, S, D)
    pub hidden: Tensor,
    /// Real positions of each row (B); what lies behind them is padding.
    pub lengths: Vec<i64>,
    /// Where the padding is, when there is any.
    pub padding: Option<Padding>,
    /// The weights of the pass, for the decoder's part of it.
    pub(super) cast: AutocastWeights,
}
