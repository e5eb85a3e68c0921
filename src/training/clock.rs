//! The only file that reads the clock: how long things take, for people to look at. Nothing that is learned depends on it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tch::{Device, Kind, Tensor};

use crate::runtime::memory;

/// Measures stretches of time and adds them up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stopwatch {
    total: Duration,
}

impl Stopwatch {
    /// Runs `work`, and adds the time that it takes.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let out = work();
        self.total += started.elapsed();
        out
    }

    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        self.total.as_secs_f64()
    }
}

/// A moment, and the time since then.
#[derive(Clone, Copy, Debug)]
pub struct Since(Instant);

impl Since {
    /// Now.
    pub fn now() -> Since {
        Since(Instant::now())
    }

    /// Seconds since then.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Seconds since 1970.
pub fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Floating-point operations per second that products of square matrices reach here at most: the best of several.
pub fn matrix_peak(device: Device, kind: Kind) -> f64 {
    // A GPU needs more to be busy, and several products for each look at the clock.
    let (size, products): (i64, i32) = if device == Device::Cpu { (768, 1) } else { (8192, 10) };
    let _guard = tch::no_grad_guard();
    // A GPU multiplies numbers that are all alike faster than others.
    let square = || (Tensor::rand([size, size], (Kind::Float, device)) - 0.5).to_kind(kind);
    let (one, other, out) = (square(), square(), square());
    let product = || {
        let started = Instant::now();
        // A GPU is done when a number of the result is there.
        for _ in 0..products {
            let _ = one.mm_out(&out, &other);
        }
        out.double_value(&[0, 0]);
        started.elapsed().as_secs_f64() / f64::from(products)
    };
    product();
    let (started, mut best) = (Instant::now(), product());
    while started.elapsed().as_secs_f64() < 0.03 {
        best = best.min(product());
    }
    drop((one, other, out));
    memory::forget(device);
    2.0 * (size as f64).powi(3) / best
}
