//! The blocks of the Transformer for decoding: their layers joined, cast or packed.

use super::super::packed_linear::{PackedLinear, Weights};
use super::conformer::ConformerBlock;
use super::packed::{FeedForwardBlock, PackedResidual};
use super::{DecoderLayer, EncoderLayer};

#[derive(Clone, Debug)]
pub(super) struct EncoderBlock {
    pub(super) conformer: Option<ConformerBlock>,
    pub(super) attention_norm: PackedResidual,
    pub(super) query_key_value: PackedLinear,
    pub(super) attended: PackedLinear,
    pub(super) feed_forward: FeedForwardBlock,
}

impl EncoderBlock {
    pub(super) fn new(layer: &EncoderLayer, weights: Weights) -> EncoderBlock {
        let own = &layer.self_attention;
        EncoderBlock {
            conformer: layer.conformer.as_ref().map(|parts| ConformerBlock::new(parts, weights)),
            attention_norm: PackedResidual::new(&layer.self_attention_norm),
            query_key_value: PackedLinear::new(&[&own.query, &own.key, &own.value], weights),
            attended: PackedLinear::new(&[&own.output], weights),
            feed_forward: FeedForwardBlock::new(&layer.feed_forward, &layer.feed_forward_norm, weights),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct DecoderBlock {
    pub(super) own_norm: PackedResidual,
    pub(super) query_key_value: PackedLinear,
    pub(super) attended: PackedLinear,
    pub(super) cross_norm: PackedResidual,
    pub(super) query: PackedLinear,
    pub(super) source_keys_values: PackedLinear,
    pub(super) crossed: PackedLinear,
    pub(super) feed_forward: FeedForwardBlock,
}

impl DecoderBlock {
    pub(super) fn new(layer: &DecoderLayer, weights: Weights) -> DecoderBlock {
        let (own, cross) = (&layer.self_attention, &layer.cross_attention);
        DecoderBlock {
            own_norm: PackedResidual::new(&layer.self_attention_norm),
            query_key_value: PackedLinear::new(&[&own.query, &own.key, &own.value], weights),
            attended: PackedLinear::new(&[&own.output], weights),
            cross_norm: PackedResidual::new(&layer.cross_attention_norm),
            query: PackedLinear::new(&[&cross.query], weights),
            source_keys_values: PackedLinear::new(&[&cross.key, &cross.value], weights),
            crossed: PackedLinear::new(&[&cross.output], weights),
            feed_forward: FeedForwardBlock::new(&layer.feed_forward, &layer.feed_forward_norm, weights),
        }
    }
}
