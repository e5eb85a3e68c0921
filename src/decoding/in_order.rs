//! Requests in, hypotheses out, in the same order: sorts by length and passes all to the search.

use super::DecodingConfig;
use super::continuous_batching::{Batching, generate};
use super::incremental_decoder::{Hypothesis, IncrementalDecoder};
use super::options::SearchOptions;
use super::request::DecodeRequest;
use crate::data::source::SourceItem;
use crate::error::{Error, Result};

/// The best hypothesis of each source (token ids without EOS).
///
/// # Errors
/// The config bans texts, which only the target's tokenizer can turn into tokens: use [`decode_with_options`] or
/// [`decode_n_best`]. Errors of the model.
pub fn decode<S: IncrementalDecoder>(
    decoder: &S,
    sources: &[impl Into<SourceItem> + Clone],
    config: &DecodingConfig,
) -> Result<Vec<Hypothesis>> {
    if !config.banned.is_empty() {
        let message = "`decoding.banned` is text, and only the target's tokenizer turns it into tokens";
        return Err(Error::input(message).hint("use `decode_with_options`, with `SearchOptions::new`"));
    }
    decode_with_options(decoder, sources, &SearchOptions::new(config, Vec::new)?)
}

/// The best hypothesis of each source (token ids without EOS), with options that are built already.
pub fn decode_with_options<S: IncrementalDecoder>(
    decoder: &S,
    sources: &[impl Into<SourceItem> + Clone],
    options: &SearchOptions,
) -> Result<Vec<Hypothesis>> {
    best_of_each(decoder, sources, options, |requests| decode_n_best(decoder, requests, options))
}

/// The first hypothesis of each list that `decode` returns.
pub(super) fn best_of_each<S: IncrementalDecoder>(
    decoder: &S,
    sources: &[impl Into<SourceItem> + Clone],
    options: &SearchOptions,
    decode: impl FnOnce(&[&DecodeRequest]) -> Result<Vec<Vec<Hypothesis>>>,
) -> Result<Vec<Hypothesis>> {
    let requests: Vec<DecodeRequest> =
        sources.iter().map(|source| options.request(source.clone(), decoder.max_length())).collect();
    let lists = decode(&requests.iter().collect::<Vec<_>>())?;
    Ok(lists.into_iter().map(|list| list.into_iter().next().unwrap_or_default()).collect())
}

/// The best hypotheses of each request, the best first: at most `n_best`.
pub fn decode_n_best<S: IncrementalDecoder>(
    decoder: &S,
    requests: &[&DecodeRequest],
    options: &SearchOptions,
) -> Result<Vec<Vec<Hypothesis>>> {
    let order = longest_first(requests);
    let queue = order.iter().map(|&row| requests[row]);
    let mut found = vec![Vec::new(); requests.len()];
    generate(decoder, queue, options, batching(decoder, options.batch_size), |number, list| {
        found[order[number]] = list;
        Ok(())
    })?;
    Ok(found)
}

/// The numbers of the requests, those with long sources first: later sources need no more memory than the first ones,
/// and the last ones to finish are short.
pub(super) fn longest_first(requests: &[&DecodeRequest]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(requests[row].source.length()));
    order
}

/// New sources enter when a quarter of the places is free.
pub(super) fn batching<S: IncrementalDecoder>(decoder: &S, size: usize) -> Batching {
    Batching { size, refill: decoder.supports_continuous_batching().then_some(size.div_ceil(4)) }
}
