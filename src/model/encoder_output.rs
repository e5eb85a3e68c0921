//! What an encoder hands to a decoder, whatever network they belong to.

use tch::{Kind, Tensor};

use super::attention::attention_kind;
use super::layers::AutocastWeights;
use crate::data::batch::SourceBatch;

/// What the encoder made of a source batch.
#[derive(Debug)]
pub struct EncoderOutput {
    /// (B, S, D)
    pub hidden: Tensor,
    /// Real positions of each row (B); what lies behind them is padding.
    pub lengths: Vec<i64>,
    /// Where the padding is, when there is any: 0 or minus infinity, (B, 1, 1, S)
    pub padding: Option<Tensor>,
    /// The weights of the pass, for the decoder's part of it.
    pub(super) cast: AutocastWeights,
}

impl EncoderOutput {
    /// 0 where a source position is real, minus infinity where it is padding: (B, 1, 1, S), in what attention computes in
    /// when the layers compute in `compute`. Nothing where no row is padded.
    pub(super) fn padding_mask(source: &SourceBatch, compute: Kind) -> Option<Tensor> {
        let longest = source.max_length();
        if source.lengths.iter().all(|&length| length == longest) {
            return None;
        }
        let device = source.tokens.device();
        let lengths = Tensor::from_slice(&source.lengths).to_device(device).view([-1, 1, 1, 1]);
        // A GPU's kernels want rows that begin at multiples of 8 numbers, and copy the mask of each layer where they do not.
        let room = (longest + 7) / 8 * 8;
        let padded = Tensor::arange(room, (Kind::Int64, device)).ge_tensor(&lengths); // (B, 1, 1, room)
        let mask = Tensor::zeros(padded.size(), (attention_kind(device, compute), device));
        Some(mask.masked_fill(&padded, f64::NEG_INFINITY).narrow(3, 0, longest))
    }
}
