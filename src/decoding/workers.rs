//! Several batches at a time over the cores: a worker with a batch of its own for each.
//!
//! Two threads that share the products of a small batch wait for each other more than they multiply. What a source gives
//! does not depend on the batch that it is in, and so not on the workers either.

use std::cell::RefCell;
use std::sync::Mutex;

use super::batch::generate;
use super::jobs::{DecodeRequest, batching, longest_first};
use super::rules::SearchOptions;
use super::search::{Hypothesis, IncrementalDecoder, Shareable};
use crate::error::{Result, caught};
use crate::runtime::threads;

/// With fewer sources for each worker, workers cost more than they bring.
const MIN_SOURCES_PER_WORKER: usize = 4;

type Found = Vec<(usize, Vec<Hypothesis>)>;

/// The best hypotheses of each request, the best first, as [`super::jobs::decode_n_best`], on all threads.
///
/// # Errors
/// Those of the model.
pub fn decode_on_all_cores<S: Shareable>(
    stepper: &S,
    requests: &[DecodeRequest],
    rules: &SearchOptions,
) -> Result<Vec<Vec<Hypothesis>>> {
    let threads = if stepper.on_cpu() { threads::count() } else { 1 };
    let workers = threads.min(requests.len() / MIN_SOURCES_PER_WORKER).max(1);
    let size = rules.batch_size.min(requests.len().div_ceil(workers)).max(1);
    let order = Mutex::new(longest_first(requests).into_iter());
    let work = |stepper: S| {
        let next = || order.lock().ok().and_then(|mut order| order.next());
        worker(&stepper, next, requests, rules, size)
    };
    let mut out = vec![Vec::new(); requests.len()];
    let parts = if workers == 1 {
        // A single batch: its kernels go to all threads, where there is enough in them.
        let stepper = stepper.clone();
        vec![threads::on_all(|| work(stepper))]
    } else {
        let each: Vec<S> = (0..workers).map(|_| stepper.clone()).collect();
        threads::each(each, |stepper| caught(|| work(stepper)))
    };
    for part in parts {
        part?.into_iter().for_each(|(row, list)| out[row] = list);
    }
    Ok(out)
}

/// The best hypothesis of each source (token ids without EOS).
///
/// # Errors
/// As [`decode_on_all_cores`].
pub fn decode_best<S: Shareable>(
    stepper: &S,
    sources: &[&[i64]],
    rules: &SearchOptions,
) -> Result<Vec<Hypothesis>> {
    let requests: Vec<DecodeRequest> =
        sources.iter().map(|source| DecodeRequest { source: (*source).into(), prefix: None }).collect();
    let lists = decode_on_all_cores(stepper, &requests, rules)?;
    Ok(lists.into_iter().map(|list| list.into_iter().next().unwrap_or_default()).collect())
}

/// Takes sources from the queue as long as there are any, up to `size` at a time.
fn worker<S: IncrementalDecoder>(
    stepper: &S,
    next: impl Fn() -> Option<usize>,
    requests: &[DecodeRequest],
    rules: &SearchOptions,
    size: usize,
) -> Result<Found> {
    let taken = RefCell::new(Vec::new());
    let jobs = std::iter::from_fn(|| {
        let row = next()?;
        taken.borrow_mut().push(row);
        Some(requests[row].job(stepper, rules))
    });
    let mut out = Found::new();
    generate(stepper, jobs, rules, batching(stepper, size), |number, list| {
        out.push((taken.borrow()[number], list));
        Ok(())
    })?;
    Ok(out)
}
