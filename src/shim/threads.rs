//! Multi-threading of the C++ kernels: a loop's range goes to the process's thread pool, which calls back with its
//! parts.
//!
//! The owner of the pool sets how ranges are split; without it, and on a thread that must work alone, they are not
//! split.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::OnceLock;

unsafe extern "C" {
    fn seqloom_split_by(split: SplitInC);
}

/// Runs a part of a range for C++.
type PartInC = unsafe extern "C" fn(work: *const c_void, begin: i64, end: i64);
type SplitInC = extern "C" fn(begin: i64, end: i64, grain: i64, work: *const c_void, part: PartInC);

/// Runs `work` over parts of a range, none shorter than `grain`: (begin, end, grain, work).
pub(crate) type Split = fn(i64, i64, i64, &(dyn Fn(i64, i64) + Sync));

static SPLIT: OnceLock<Split> = OnceLock::new();

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Sets how kernels are split; only the first call counts. Without it they are not split.
pub(crate) fn split_by(split: Split) {
    let _ = SPLIT.set(split);
    // SAFETY: sets a pointer to a function that lives as long as the process.
    unsafe { seqloom_split_by(split_for_c) }
}

extern "C" fn split_for_c(begin: i64, end: i64, grain: i64, work: *const c_void, part: PartInC) {
    /// The data that the parts of a kernel share. Any thread may read it.
    struct Work(*const c_void, PartInC);
    // SAFETY: C++ lends it for the duration of the call, and its parts write to disjoint memory.
    unsafe impl Sync for Work {}
    impl Work {
        fn run(&self, begin: i64, end: i64) {
            // SAFETY: pointer and function belong together, and the call that lent them waits for the parts.
            unsafe { self.1(self.0, begin, end) }
        }
    }
    let work = Work(work, part);
    match SPLIT.get().filter(|_| !ALONE.get()) {
        Some(split) => split(begin, end, grain, &|begin, end| work.run(begin, end)),
        None => work.run(begin, end),
    }
}

/// Runs `work` with all its kernels on this thread.
pub(crate) fn on_this_thread_alone<T>(work: impl FnOnce() -> T) -> T {
    struct Guard(bool);
    impl Drop for Guard {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _guard = Guard(ALONE.replace(true));
    work()
}
