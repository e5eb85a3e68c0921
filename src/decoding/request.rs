//! Sources in, hypotheses out, in their order: sorts by length, sets the limits and hands all to the search.

use std::sync::Arc;

use super::DecodingConfig;
use super::constraints::forced_prefix::ForcedPrefix;
use super::continuous_batching::{Batching, generate};
use super::incremental_decoder::{Hypothesis, IncrementalDecoder, Source};
use super::options::SearchOptions;
use super::search::hypotheses::DecodeJob;
use crate::error::{Error, Result};

/// What one output is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecodeRequest<'a> {
    /// What is read.
    pub source: Source<'a>,
    /// How the output begins; nothing where it is free.
    pub prefix: Option<&'a Arc<ForcedPrefix>>,
}

/// The best hypothesis of each source (token ids without EOS).
///
/// # Errors
/// The config bans texts, which only the target's tokenizer can turn into tokens: use [`decode_with_options`] or
/// [`decode_n_best`]. And the model's own errors.
pub fn decode<S: IncrementalDecoder>(
    decoder: &S,
    sources: &[&[i64]],
    config: &DecodingConfig,
) -> Result<Vec<Hypothesis>> {
    if !config.banned.is_empty() {
        let message = "`decoding.banned` is text, and needs the target's tokenizer to become tokens";
        return Err(Error::input(message).hint("make the rules with `Rules::new`"));
    }
    decode_with_options(decoder, sources, &SearchOptions::new(config, Vec::new)?)
}

/// The best hypothesis of each source (token ids without EOS), by rules that are made already.
pub fn decode_with_options<S: IncrementalDecoder>(
    decoder: &S,
    sources: &[&[i64]],
    options: &SearchOptions,
) -> Result<Vec<Hypothesis>> {
    let requests: Vec<DecodeRequest> =
        sources.iter().map(|source| DecodeRequest { source: (*source).into(), prefix: None }).collect();
    let lists = decode_n_best(decoder, &requests, options)?;
    Ok(lists.into_iter().map(|list| list.into_iter().next().unwrap_or_default()).collect())
}

/// The best hypotheses of each request, the best first: as many as the config's `n_best`, or as there are.
pub fn decode_n_best<S: IncrementalDecoder>(
    decoder: &S,
    requests: &[DecodeRequest],
    options: &SearchOptions,
) -> Result<Vec<Vec<Hypothesis>>> {
    let order = longest_first(requests);
    let jobs = order.iter().map(|&row| requests[row].job(decoder, options));
    let mut found = vec![Vec::new(); requests.len()];
    generate(decoder, jobs, options, batching(decoder, options.batch_size), |number, list| {
        found[order[number]] = list;
        Ok(())
    })?;
    Ok(found)
}

impl DecodeRequest<'_> {
    /// What the search does for it.
    pub(super) fn job<S: IncrementalDecoder>(&self, decoder: &S, options: &SearchOptions) -> DecodeJob {
        let limit = options.length_limits.of(self.source.ids.len(), decoder.max_length());
        DecodeJob {
            source: self.source.into(),
            prefix: self.prefix.cloned().unwrap_or_default(),
            max_length: limit,
        }
    }
}

/// The numbers of the requests, those with long sources first: those that come in while others are under way need no more
/// room than these, and the last ones to leave are short.
pub(super) fn longest_first(requests: &[DecodeRequest]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(requests[row].source.ids.len()));
    order
}

/// A quarter of the places must be free before new sources come in.
pub(super) fn batching<S: IncrementalDecoder>(decoder: &S, size: usize) -> Batching {
    Batching { size, refill: decoder.supports_continuous_batching().then_some(size.div_ceil(4)) }
}
