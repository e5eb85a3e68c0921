//! How fast training goes, what keeps it from going faster, and when it will be over: for people to look at. Nothing that
//! is learned depends on it.

use std::fmt;

use super::clock::{Since, TimeLeft, in_words};
use super::metrics::RunningStats;
use crate::runtime::memory;

/// The machine, for the figures about it.
pub struct Machine<'a> {
    /// Where training runs.
    pub device: tch::Device,
    /// Floating-point operations per second that its matrix products reach at most, as far as is known: training that is
    /// faster than what was measured raises it.
    pub matrix_peak: f64,
    /// Floating-point operations of the matrix products of some updates.
    pub operations: Box<dyn Fn(&RunningStats) -> f64 + 'a>,
}

impl Machine<'_> {
    /// One of which nothing was measured: the share of its peak is 0.
    pub fn unknown(device: tch::Device) -> Self {
        Machine { device, matrix_peak: f64::MIN_POSITIVE, operations: Box::new(|_| 0.0) }
    }
}

/// The speed since the last row of figures.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Target tokens per second.
    pub tokens_per_second: f64,
    /// Seconds until the last step, where there is a speed to say it by.
    pub seconds_left: Option<f64>,
}

impl Speed {
    /// `, 12 min left`, or nothing.
    pub fn time_left(&self) -> String {
        self.seconds_left.map_or(String::new(), |seconds| format!(", {} left", in_words(seconds)))
    }
}

/// How fast training goes, since the last row of figures.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Its speed.
    pub speed: Speed,
    /// Share of the operations per second that the machine's matrix products reach at most.
    pub peak_share: f64,
    /// Share of the positions that are padding.
    pub padding: f64,
    /// Share of the time in which updates waited for their batches.
    pub waiting: f64,
    /// The most memory so far, in GiB.
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

/// Measures it.
pub struct PaceMeter<'a> {
    machine: Machine<'a>,
    started: Since,
    left: TimeLeft,
    /// Figures of the updates since the last row, and the time.
    recent: RunningStats,
    since: Since,
    /// Seconds that updates had waited for their batches at that time.
    waited: f64,
}

impl<'a> PaceMeter<'a> {
    /// Begins now, at the first of these steps; the other is the last one.
    pub fn new(machine: Machine<'a>, steps: (u64, u64)) -> PaceMeter<'a> {
        PaceMeter {
            machine,
            started: Since::now(),
            left: TimeLeft::new(steps.0, steps.1),
            recent: RunningStats::default(),
            since: Since::now(),
            waited: 0.0,
        }
    }

    /// An update was made.
    pub fn updated(&mut self, step: u64, window: &RunningStats) -> Speed {
        self.recent.add(window);
        self.speed(step)
    }

    /// A row of training figures is due; `waited` are the seconds that updates have waited for their batches so far.
    pub fn row(&mut self, step: u64, window: &RunningStats, waited: f64) -> Pace {
        let seconds = self.since.seconds().max(1e-9);
        let reached = (self.machine.operations)(&self.recent) / seconds;
        // When it was measured, something else may have had the machine. A share of the most that was seen is one.
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

    /// What is measured from here on belongs to the next row; what a row or a validation took is none of training's.
    pub fn begin_anew(&mut self, waited: f64) {
        (self.recent, self.waited, self.since) = (RunningStats::default(), waited, Since::now());
    }

    fn speed(&self, step: u64) -> Speed {
        Speed {
            tokens_per_second: self.recent.tokens as f64 / self.since.seconds().max(1e-9),
            seconds_left: self.left.seconds(self.started.seconds(), step),
        }
    }
}
