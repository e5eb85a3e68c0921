//! Which vector instructions the kernels of src/shim/ run on: the best that the machine has, or lower ones where
//! `SEQLOOM_VECTORS` in the environment says so (`portable`, `avx2` or `avx512`).
//!
//! Each of them is code of its own, which a better machine would never run. So tests run them all, a thread at a time.

use std::ffi::c_int;

use super::last_error;
use crate::error::{Error, Result};

unsafe extern "C" {
    fn seqloom_lanes_of_machine() -> c_int;
    fn seqloom_lanes(out: *mut c_int) -> c_int;
    fn seqloom_lanes_set(lanes: c_int) -> c_int;
}

/// Vector instructions, each with all that stands before it. Its number is how many floats go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vectors {
    /// What every machine has that seqloom is built for.
    Portable = 4,
    /// AVX2 and fused multiply-adds.
    Avx2 = 8,
    /// AVX-512 (F and BW), with VNNI for products of bytes where that is there.
    Avx512 = 16,
}

impl Vectors {
    /// The best that this machine has.
    pub fn of_machine() -> Vectors {
        // SAFETY: asks the CPU what it is.
        Vectors::of(unsafe { seqloom_lanes_of_machine() })
    }

    /// What this thread's kernels run on.
    ///
    /// # Errors
    /// `SEQLOOM_VECTORS` names none, or one that this machine does not have.
    pub fn in_use() -> Result<Vectors> {
        let mut lanes = 0;
        // SAFETY: a place for a number, lent for the time of the call.
        let status = unsafe { seqloom_lanes(&mut lanes) };
        let hint = "without it the best that this machine has is used";
        if status == 0 { Ok(Vectors::of(lanes)) } else { Err(Error::input(last_error()).hint(hint)) }
    }

    /// All that this machine has.
    pub fn here() -> impl Iterator<Item = Vectors> {
        let all = [Vectors::Portable, Vectors::Avx2, Vectors::Avx512];
        all.into_iter().filter(|&vectors| vectors <= Vectors::of_machine())
    }

    /// As `SEQLOOM_VECTORS` has it.
    pub fn name(self) -> &'static str {
        match self {
            Vectors::Portable => "portable",
            Vectors::Avx2 => "avx2",
            Vectors::Avx512 => "avx512",
        }
    }

    /// Does something whose kernels, as far as this thread calls them, run on these. For tests and measurements.
    ///
    /// # Panics
    /// Where the machine does not have them.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        struct Guard(c_int);
        impl Drop for Guard {
            fn drop(&mut self) {
                // SAFETY: sets a number of this thread, to what it was.
                unsafe { seqloom_lanes_set(self.0) };
            }
        }
        assert!(self <= Vectors::of_machine(), "this machine has no {}", self.name());
        // SAFETY: sets a number of this thread, until the guard is dropped; the machine has these instructions.
        let _guard = Guard(unsafe { seqloom_lanes_set(self as c_int) });
        work()
    }

    fn of(lanes: c_int) -> Vectors {
        match lanes {
            16 => Vectors::Avx512,
            8 => Vectors::Avx2,
            _ => Vectors::Portable,
        }
    }
}
