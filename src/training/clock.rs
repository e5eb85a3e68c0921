//! The only file that reads the clock: durations, for display only. Training results never depend on it.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tch::{Device, Kind, Tensor};

use crate::runtime::memory;
use crate::shim::threads::on_this_thread_alone;

/// Sums the durations of several measurements.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stopwatch {
    total: Duration,
}

impl Stopwatch {
    /// Runs `work` and adds its duration.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let out = work();
        self.total += started.elapsed();
        out
    }

    /// Seconds so far.
    pub(crate) fn seconds(&self) -> f64 {
        self.total.as_secs_f64()
    }
}

/// A point in time, to measure the time since then.
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
pub(crate) fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Estimates the remaining time from the speed of the last minutes of this process.
#[derive(Debug)]
pub(crate) struct TimeLeft {
    last_step: u64,
    /// (seconds, step), the oldest first; at most one is older than [`TimeLeft::OVER`].
    marks: VecDeque<(f64, u64)>,
}

impl TimeLeft {
    /// Seconds over which the speed is averaged.
    const OVER: f64 = 300.0;

    /// Starts at `step` and 0 seconds; training ends at `last_step`.
    pub(crate) fn new(step: u64, last_step: u64) -> TimeLeft {
        TimeLeft { last_step, marks: VecDeque::from([(0.0, step)]) }
    }

    /// Records that training reached `step` after `seconds`.
    pub(crate) fn mark(&mut self, seconds: f64, step: u64) {
        while self.marks.get(1).is_some_and(|next| seconds - next.0 >= Self::OVER) {
            self.marks.pop_front();
        }
        self.marks.push_back((seconds, step));
    }

    /// Remaining seconds at `step`, `now` seconds after the start; `None` until a speed is known.
    pub(crate) fn seconds(&self, now: f64, step: u64) -> Option<f64> {
        let &(then, from) = self.marks.front()?;
        let made = step.checked_sub(from).filter(|&made| made > 0)?;
        Some((now - then) / made as f64 * self.last_step.saturating_sub(step) as f64)
    }
}

/// A duration for display: `45 s`, `12 min`, `1 h 20 min`, `31 h`.
pub(crate) fn in_words(seconds: f64) -> String {
    match seconds as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..36_000 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// Peak floating-point operations per second of matrix products: on the CPU the sum over `threads` threads that
/// multiply at the same time, each on its own, as in training. The best of several sizes and of the `shapes`, each
/// (rows, inputs, outputs). Takes some tenths of a second.
pub fn matrix_peak(device: Device, kind: Kind, threads: usize, shapes: &[[i64; 3]]) -> f64 {
    if device != Device::Cpu {
        // A GPU needs larger products to be busy, and several of them per clock reading.
        let peak = product_speed(device, kind, [8192; 3], 10);
        memory::forget(device);
        return peak;
    }
    let shapes: Vec<[i64; 3]> = [256, 512, 768].map(|size| [size; 3]).iter().chain(shapes).copied().collect();
    let alone = || -> Vec<f64> {
        on_this_thread_alone(|| {
            shapes.iter().map(|&shape| product_speed(Device::Cpu, kind, shape, 1)).collect()
        })
    };
    let each: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(alone)).collect();
        // A thread that ran out of memory has no speed.
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let together = |shape: usize| each.iter().map(|speeds| speeds[shape]).sum::<f64>();
    (0..shapes.len()).map(together).fold(0.0, f64::max)
}

/// Operations per second of the fastest product of this shape within some hundredths of a second.
fn product_speed(device: Device, kind: Kind, [rows, inputs, outputs]: [i64; 3], products: i32) -> f64 {
    let _guard = tch::no_grad_guard();
    // A GPU multiplies constant matrices faster than others.
    let matrix = |rows, columns| (Tensor::rand([rows, columns], (Kind::Float, device)) - 0.5).to_kind(kind);
    let (one, other, out) = (matrix(rows, inputs), matrix(inputs, outputs), matrix(rows, outputs));
    let product = || {
        let started = Instant::now();
        // Reading a number of the result waits for the GPU.
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
    2.0 * (rows * inputs * outputs) as f64 / best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remaining_time_is_estimated_from_the_last_minutes_of_this_process() {
        let mut left = TimeLeft::new(1000, 2000);
        assert_eq!(left.seconds(10.0, 1000), None);
        left.mark(100.0, 1010);
        assert_eq!(left.seconds(100.0, 1010), Some(9900.0));
        // Ten times as fast from here on; the slow start is forgotten after some minutes.
        for minute in 1..=10 {
            left.mark(100.0 + 60.0 * f64::from(minute), 1010 + 60 * u64::from(minute as u32));
        }
        let found = left.seconds(700.0, 1610).unwrap();
        assert!((found - 390.0).abs() < 1.0, "{found}");
    }

    #[test]
    fn a_duration_is_written_in_readable_units() {
        let written = [0.4, 59.9, 60.0, 3599.0, 4800.0, 35_999.0, 36_000.0, 400_000.0].map(in_words);
        assert_eq!(written, ["0 s", "59 s", "1 min", "59 min", "1 h 20 min", "9 h 59 min", "10 h", "111 h"]);
    }

    #[test]
    fn two_threads_multiply_no_slower_than_one() {
        let peak = |threads| matrix_peak(Device::Cpu, Kind::Float, threads, &[[64, 32, 128]]);
        // The speed of the machine must not decide a test; that it is a speed, and a sum, can be checked.
        assert!(peak(1) > 1e8 && peak(1).is_finite() && peak(2) > 1e8);
    }
}
