//! The request for one output: built once from a row, then borrowed.

use std::sync::Arc;

use super::constraints::forced_prefix::ForcedPrefix;
use crate::data::source::SourceItem;

/// A source to decode, and the restrictions on its output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodeRequest {
    /// The source for the model, or for the first model of an ensemble.
    pub source: SourceItem,
    /// The source for each further model of an ensemble; empty if all tokenize sources alike.
    pub other_sources: Vec<SourceItem>,
    /// The forced prefix of the output. It counts for the limit and the score, and no constraint applies to it.
    pub prefix: Arc<ForcedPrefix>,
    /// The tokens that the output may contain, in ascending order; the softmax is over these. `None` for the whole
    /// vocabulary except PAD and BOS.
    pub allowed: Option<Arc<[i64]>>,
    /// Maximum number of tokens in the output, including EOS; at least 1.
    pub max_length: usize,
}

impl DecodeRequest {
    /// A request with only the length limited.
    pub(crate) fn new(source: impl Into<SourceItem>, max_length: usize) -> DecodeRequest {
        DecodeRequest { source: source.into(), max_length, ..DecodeRequest::default() }
    }

    /// The source for the model with this number, from 0.
    pub(crate) fn source_of(&self, member: usize) -> &SourceItem {
        let other = member.checked_sub(1).and_then(|n| self.other_sources.get(n));
        other.unwrap_or(&self.source)
    }
}
