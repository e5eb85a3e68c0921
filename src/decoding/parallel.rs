//! Requests in, hypotheses out, in the same order: on one thread, or on a worker per core, each with its own batch.
//!
//! Threads that share the products of a small batch mostly wait for each other. The output of a source depends neither
//! on its batch nor on the number of workers.

use std::cell::RefCell;
use std::sync::Mutex;

use super::DecodingConfig;
use super::continuous_batching::{Batching, generate};
use super::incremental_decoder::{DecodeRequest, Hypothesis, IncrementalDecoder, Shareable};
use super::options::SearchOptions;
use crate::data::source::SourceItem;
use crate::error::{Error, Result, caught};
use crate::runtime::threads;

/// With fewer sources per worker, workers cost more than they gain.
const MIN_SOURCES_PER_WORKER: usize = 4;

type Found = Vec<(usize, Vec<Hypothesis>)>;

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
fn best_of_each<S: IncrementalDecoder>(
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
    let order = RefCell::new(longest_first(requests).into_iter());
    let next = || order.borrow_mut().next();
    let found = worker(decoder, next, requests, options, options.batch_size)?;
    Ok(in_order(found, requests.len()))
}

/// The numbers of the requests, those with long sources first: later sources need no more memory than the first ones,
/// and the last ones to finish are short.
fn longest_first(requests: &[&DecodeRequest]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(requests[row].source.length()));
    order
}

/// New sources enter when a quarter of the places is free.
fn batching<S: IncrementalDecoder>(decoder: &S, size: usize) -> Batching {
    Batching { size, refill: decoder.supports_continuous_batching().then_some(size.div_ceil(4)) }
}

/// As [`decode_n_best`], on all threads.
///
/// # Errors
/// Those of the model.
pub fn decode_on_all_cores<S: Shareable>(
    decoder: &S,
    requests: &[&DecodeRequest],
    options: &SearchOptions,
) -> Result<Vec<Vec<Hypothesis>>> {
    let threads = if decoder.on_cpu() { threads::count() } else { 1 };
    let workers = threads.min(requests.len() / MIN_SOURCES_PER_WORKER).max(1);
    let size = options.batch_size.min(requests.len().div_ceil(workers)).max(1);
    let order = Mutex::new(longest_first(requests).into_iter());
    let work = |decoder: S| {
        let next = || order.lock().ok().and_then(|mut order| order.next());
        worker(&decoder, next, requests, options, size)
    };
    let parts = if workers == 1 {
        // A single batch: its kernels use all threads if they are large enough.
        let decoder = decoder.clone();
        vec![threads::on_all(|| work(decoder))]
    } else {
        let each: Vec<S> = (0..workers).map(|_| decoder.clone()).collect();
        threads::each(each, |decoder| caught(|| work(decoder)))
    };
    let found = parts.into_iter().collect::<Result<Vec<Found>>>()?;
    Ok(in_order(found.into_iter().flatten(), requests.len()))
}

/// The best hypothesis of each source.
///
/// # Errors
/// As [`decode_on_all_cores`].
pub(crate) fn decode_best<S: Shareable>(
    decoder: &S,
    sources: &[impl Into<SourceItem> + Clone],
    options: &SearchOptions,
) -> Result<Vec<Hypothesis>> {
    best_of_each(decoder, sources, options, |requests| decode_on_all_cores(decoder, requests, options))
}

/// What was found, by the numbers of the requests.
fn in_order(
    found: impl IntoIterator<Item = (usize, Vec<Hypothesis>)>,
    requests: usize,
) -> Vec<Vec<Hypothesis>> {
    let mut out = vec![Vec::new(); requests];
    found.into_iter().for_each(|(row, list)| out[row] = list);
    out
}

/// Takes sources from the queue until it is empty, up to `size` at a time.
fn worker<S: IncrementalDecoder>(
    decoder: &S,
    next: impl Fn() -> Option<usize>,
    requests: &[&DecodeRequest],
    options: &SearchOptions,
    size: usize,
) -> Result<Found> {
    let taken = RefCell::new(Vec::new());
    let queue = std::iter::from_fn(|| {
        let row = next()?;
        taken.borrow_mut().push(row);
        Some(requests[row])
    });
    let mut out = Found::new();
    generate(decoder, queue, options, batching(decoder, size), |number, list| {
        out.push((taken.borrow()[number], list));
        Ok(())
    })?;
    Ok(out)
}
