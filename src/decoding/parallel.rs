//! Parallel decoding: one worker per core, each with its own batch.
//!
//! Threads that share the products of a small batch mostly wait for each other. The output of a source depends neither
//! on its batch nor on the number of workers.

use std::cell::RefCell;
use std::sync::Mutex;

use super::continuous_batching::generate;
use super::in_order::{batching, best_of_each, longest_first};
use super::incremental_decoder::{Hypothesis, IncrementalDecoder, Shareable};
use super::options::SearchOptions;
use super::request::DecodeRequest;
use crate::data::source::SourceItem;
use crate::error::{Result, caught};
use crate::runtime::threads;

/// With fewer sources per worker, workers cost more than they gain.
const MIN_SOURCES_PER_WORKER: usize = 4;

type Found = Vec<(usize, Vec<Hypothesis>)>;

/// As [`super::in_order::decode_n_best`], on all threads.
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
    let mut out = vec![Vec::new(); requests.len()];
    let parts = if workers == 1 {
        // A single batch: its kernels use all threads if they are large enough.
        let decoder = decoder.clone();
        vec![threads::on_all(|| work(decoder))]
    } else {
        let each: Vec<S> = (0..workers).map(|_| decoder.clone()).collect();
        threads::each(each, |decoder| caught(|| work(decoder)))
    };
    for part in parts {
        part?.into_iter().for_each(|(row, list)| out[row] = list);
    }
    Ok(out)
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
