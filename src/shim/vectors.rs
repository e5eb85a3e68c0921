//! The vector instructions of the kernels of src/shim/: the best of the machine, or those of the environment variable
//! `SEQLOOM_VECTORS` (`portable`, `avx2` or `avx512`).
//!
//! Each set has its own code, which a better machine would never run. So tests run all of them, per thread.

use std::ffi::c_int;

use super::last_error;
use crate::error::{Error, Result};

unsafe extern "C" {
    fn seqloom_lanes_of_machine() -> c_int;
    fn seqloom_lanes(out: *mut c_int) -> c_int;
    fn seqloom_lanes_set(lanes: c_int) -> c_int;
}

/// A set of vector instructions, which includes all sets before it. The value is the number of floats per vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vectors {
    /// The baseline of the build target.
    Portable = 4,
    /// AVX2 and fused multiply-adds.
    Avx2 = 8,
    /// AVX-512 (F and BW), with VNNI for products of bytes if available.
    Avx512 = 16,
}

impl Vectors {
    /// The best set of this machine.
    pub fn of_machine() -> Vectors {
        // SAFETY: queries the CPU.
        Vectors::of(unsafe { seqloom_lanes_of_machine() })
    }

    /// The set of this thread's kernels.
    ///
    /// # Errors
    /// `SEQLOOM_VECTORS` is no known set, or one that this machine lacks.
    pub(crate) fn in_use() -> Result<Vectors> {
        let mut lanes = 0;
        // SAFETY: a pointer to a number, borrowed for the duration of the call.
        let status = unsafe { seqloom_lanes(&mut lanes) };
        let hint = "without it the best that this machine has is used";
        if status == 0 { Ok(Vectors::of(lanes)) } else { Err(Error::input(last_error()).hint(hint)) }
    }

    /// All sets of this machine.
    pub fn here() -> impl Iterator<Item = Vectors> {
        let all = [Vectors::Portable, Vectors::Avx2, Vectors::Avx512];
        all.into_iter().filter(|&vectors| vectors <= Vectors::of_machine())
    }

    /// Its name in `SEQLOOM_VECTORS`.
    pub fn name(self) -> &'static str {
        match self {
            Vectors::Portable => "portable",
            Vectors::Avx2 => "avx2",
            Vectors::Avx512 => "avx512",
        }
    }

    /// Runs `work` with this thread's kernels on this set. For tests and measurements.
    ///
    /// # Panics
    /// If the machine lacks them.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        struct Guard(c_int);
        impl Drop for Guard {
            fn drop(&mut self) {
                // SAFETY: restores a number of this thread.
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
