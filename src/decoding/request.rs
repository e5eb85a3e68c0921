//! The request for one output: made once from a row, and lent to everything that works on it.

use std::sync::Arc;

use super::constraints::forced_prefix::ForcedPrefix;
use crate::data::source::SourceItem;

/// A source to decode, and what its output must keep to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodeRequest {
    /// What the model reads; of an ensemble, what the first model reads.
    pub source: SourceItem,
    /// What each further model of an ensemble reads; empty where all of them tokenize sources alike.
    pub other_sources: Vec<SourceItem>,
    /// How the output begins, whatever the model gives to it. It counts for the limit and for the score, and no constraint
    /// applies to it.
    pub prefix: Arc<ForcedPrefix>,
    /// The tokens that the output may have, in ascending order, and so all that the softmax is over; nothing for the whole
    /// vocabulary but PAD and BOS.
    pub allowed: Option<Arc<[i64]>>,
    /// Maximum number of tokens in the output, including EOS; at least 1.
    pub max_length: usize,
}

impl DecodeRequest {
    /// An output that is free but for its length.
    pub fn new(source: impl Into<SourceItem>, max_length: usize) -> DecodeRequest {
        DecodeRequest { source: source.into(), max_length, ..DecodeRequest::default() }
    }

    /// What the model with this number reads, counted from 0.
    pub fn source_of(&self, member: usize) -> &SourceItem {
        let other = member.checked_sub(1).and_then(|n| self.other_sources.get(n));
        other.unwrap_or(&self.source)
    }
}
