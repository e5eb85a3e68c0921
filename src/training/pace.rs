//! The speed of training, its bottlenecks and the remaining time, for display only. Training results never depend on
//! it.

use std::fmt;

use super::clock::{Since, TimeLeft, in_words};
use super::metrics::RunningStats;
use crate::runtime::memory;

/// The machine that the speed is compared with.
pub(crate) struct Machine<'a> {
    /// Where training runs.
    pub device: tch::Device,
    /// Peak floating-point operations per second of its matrix products; raised if training turns out faster than the
    /// measurement.
    pub matrix_peak: f64,
    /// Floating-point operations of the matrix products in these updates.
    pub operations: Box<dyn Fn(&RunningStats) -> f64 + 'a>,
}

impl Machine<'_> {
    /// A machine without measurements: the share of its peak is 0.
    pub(crate) fn unknown(device: tch::Device) -> Self {
        Machine { device, matrix_peak: f64::MIN_POSITIVE, operations: Box::new(|_| 0.0) }
    }
}

/// The speed since the last row of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Target tokens per second.
    pub tokens_per_second: f64,
    /// Seconds until the last step; `None` until a speed is known.
    pub seconds_left: Option<f64>,
}

impl Speed {
    /// `, 12 min left`, or nothing.
    pub(crate) fn time_left(&self) -> String {
        self.seconds_left.map_or(String::new(), |seconds| format!(", {} left", in_words(seconds)))
    }
}

/// The speed and its bottlenecks since the last row of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The speed.
    pub speed: Speed,
    /// Share of the machine's peak operations per second.
    pub peak_share: f64,
    /// Share of the positions that are padding.
    pub padding: f64,
    /// Share of the time that updates waited for their batches.
    pub waiting: f64,
    /// Peak memory so far, in GiB.
    pub memory: f64,
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} % of the matrix peak, padding {:.1} %, waiting {:.2} %, memory {:.2} GiB",
            100.0 * self.peak_share,
            100.0 * self.padding,
            100.0 * self.waiting,
            self.memory,
        )
    }
}

/// Measures the pace.
pub(crate) struct PaceMeter<'a> {
    machine: Machine<'a>,
    started: Since,
    left: TimeLeft,
    /// Sums over the updates since the last row.
    recent: RunningStats,
    since: Since,
    /// Seconds that updates had waited for their batches by then.
    waited: f64,
}

impl<'a> PaceMeter<'a> {
    /// Starts now; `steps` are the current step and the last one.
    pub(crate) fn new(machine: Machine<'a>, steps: (u64, u64)) -> PaceMeter<'a> {
        PaceMeter {
            machine,
            started: Since::now(),
            left: TimeLeft::new(steps.0, steps.1),
            recent: RunningStats::default(),
            since: Since::now(),
            waited: 0.0,
        }
    }

    /// Records an update.
    pub(crate) fn updated(&mut self, step: u64, window: &RunningStats) -> Speed {
        self.recent.add(window);
        self.speed(step)
    }

    /// The pace for a row of training metrics; `waited` is the seconds that updates have waited for their batches so
    /// far.
    pub(crate) fn row(&mut self, step: u64, window: &RunningStats, waited: f64) -> Pace {
        let seconds = self.since.seconds().max(1e-9);
        let reached = (self.machine.operations)(&self.recent) / seconds;
        // Other processes may have slowed the measurement down. A share is at most 1.
        self.machine.matrix_peak = self.machine.matrix_peak.max(reached);
        self.left.mark(self.started.seconds(), step);
        Pace {
            speed: self.speed(step),
            peak_share: reached / self.machine.matrix_peak,
            padding: window.padding(),
            waiting: (waited - self.waited) / seconds,
            memory: memory::peak(self.machine.device) as f64 / (1u64 << 30) as f64,
        }
    }

    /// Starts the next row: the time of validation and logging does not count as training.
    pub(crate) fn begin_anew(&mut self, waited: f64) {
        (self.recent, self.waited, self.since) = (RunningStats::default(), waited, Since::now());
    }

    fn speed(&self, step: u64) -> Speed {
        Speed {
            tokens_per_second: self.recent.tokens as f64 / self.since.seconds().max(1e-9),
            seconds_left: self.left.seconds(self.started.seconds(), step),
        }
    }
}
