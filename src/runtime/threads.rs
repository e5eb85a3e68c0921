//! The CPU threads of the process: a pool whose threads sleep while there is nothing to do.
//!
//! OpenMP, which libtorch uses, gets a single thread: its threads synchronise at every small product and spin while
//! they wait, so that one busy core blocks all of them. Here only larger work is split: a shard of an update, a batch
//! of sources, a product of many rows. If a thread gets no core, another one does its part. No result depends on the
//! number of threads.

use std::sync::{Arc, PoisonError, RwLock};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};
use crate::shim::threads::{on_this_thread_alone, split_by};

/// `None` with one thread: the caller's own.
static POOL: RwLock<Option<Arc<ThreadPool>>> = RwLock::new(None);

/// Stack size of a thread, as for a main thread.
const STACK: usize = 8 << 20;

/// Sets the number of threads of the whole process.
///
/// # Errors
/// The system cannot start the threads.
pub fn set(count: usize) -> Result<()> {
    // Once per process: later threads of libtorch start with this number.
    tch::set_num_threads(1);
    split_by(split);
    if count.max(1) == self::count() {
        return Ok(());
    }
    let failed = |error| Error::failure(format!("cannot start {count} threads: {error}"));
    let build = || ThreadPoolBuilder::new().num_threads(count).stack_size(STACK).build();
    let pool = if count > 1 { Some(Arc::new(build().map_err(failed)?)) } else { None };
    *POOL.write().unwrap_or_else(PoisonError::into_inner) = pool;
    Ok(())
}

/// The number of threads.
pub(crate) fn count() -> usize {
    pool().map_or(1, |pool| pool.current_num_threads())
}

/// Runs `work`, whose parts, split by [`join`] and [`each`] or in a kernel, use all threads.
pub fn on_all<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match pool() {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// Runs two functions in parallel if a thread is free; else one after the other.
pub(crate) fn join<A: Send, B: Send>(
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    match rayon::current_thread_index() {
        Some(_) => rayon::join(one, other),
        // Outside a pool, rayon would create its own, with a thread per core.
        None => (one(), other()),
    }
}

/// Maps `work` over the items, in order. Each item runs on one thread.
pub(crate) fn each<I: Send, T: Send>(items: Vec<I>, work: impl Fn(I) -> T + Sync + Send) -> Vec<T> {
    let alone = |item| on_this_thread_alone(|| work(item));
    on_all(|| match rayon::current_thread_index() {
        Some(_) => items.into_par_iter().with_max_len(1).map(alone).collect(),
        None => items.into_iter().map(alone).collect(),
    })
}

/// Runs `work` over parts of a range, none shorter than `grain`, on the threads that are free.
fn split(begin: i64, end: i64, grain: i64, work: &(dyn Fn(i64, i64) + Sync)) {
    if rayon::current_thread_index().is_none() {
        return work(begin, end);
    }
    let threads = rayon::current_num_threads() as i64;
    // A few parts per thread: the parts of a thread that starts late go to the others.
    halve(begin, end, grain.max((end - begin).div_euclid(4 * threads)).max(1), work);
}

fn halve(begin: i64, end: i64, grain: i64, work: &(dyn Fn(i64, i64) + Sync)) {
    if end - begin < 2 * grain {
        return work(begin, end);
    }
    let middle = begin + (end - begin) / 2;
    join(|| halve(begin, middle, grain, work), || halve(middle, end, grain, work));
}

fn pool() -> Option<Arc<ThreadPool>> {
    POOL.read().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn items_come_back_in_order_and_a_range_is_covered_once_on_any_number_of_threads() {
        for threads in [1, 3] {
            set(threads).unwrap();
            assert_eq!(each((0..100).collect(), |n: i32| n * n), (0..100).map(|n| n * n).collect::<Vec<_>>());
            let seen = Mutex::new(Vec::new());
            on_all(|| split(5, 1000, 7, &|begin, end| seen.lock().unwrap().extend(begin..end)));
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, (5..1000).collect::<Vec<_>>());
        }
        set(1).unwrap();
    }
}
