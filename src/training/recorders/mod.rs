//! Where the figures of a run go: each recorder is one file and hears of the same events.
//!
//! The trainer knows the trait alone. [`Recorders`] is the list of a run directory: `metrics.csv`, TensorBoard's files,
//! `skipped/`, `samples/`, the terminal, `train.log` and `curves.svg`.

pub mod console;
pub mod csv;
pub mod curves;
mod lines;
pub mod log;
pub mod samples;
pub mod skipped;
pub mod tensorboard;

use std::path::Path;

use self::csv::MetricsFile;
use self::curves::Curves;
use self::log::LogFile;
use self::samples::Samples;
use self::skipped::SkippedPairs;
use self::tensorboard::TensorBoard;
use super::metrics::{RunningStats, Validation};
use super::pace::{Pace, Speed};
use crate::data::readers::Pair;
use crate::error::{Error, Result};

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Training starts or resumes; messages about it follow.
    Start {
        /// The updates made so far.
        step: u64,
        /// About where training ends.
        last_step: u64,
    },
    /// A line for people.
    Message(&'a str),
    /// A line that only the log of the run needs.
    Remark(&'a str),
    /// An update was made.
    Update {
        /// The updates made so far.
        step: u64,
        /// Its figures.
        window: &'a RunningStats,
        /// How fast it goes.
        speed: Speed,
    },
    /// A row of training figures is due.
    TrainingRow {
        /// The updates made so far.
        step: u64,
        /// Passes over the training pairs that are complete.
        epoch: u64,
        /// That of the last update.
        learning_rate: f64,
        /// Sums over the updates since the last row.
        window: &'a RunningStats,
        /// How fast they went.
        pace: Pace,
    },
    /// A validation was made.
    Validation {
        /// The updates made so far.
        step: u64,
        /// Passes over the training pairs that are complete.
        epoch: u64,
        /// What it found.
        found: &'a Validation,
        /// Whether it is the best so far.
        better: bool,
        /// The first decoded rows, `training.samples` of them.
        samples: &'a [Sample<'a>],
    },
    /// An update was skipped, since a number was not finite.
    Skipped {
        /// The update.
        step: u64,
        /// Its rows.
        pairs: &'a [&'a Pair],
    },
    /// A row was left out, since there is no memory for it.
    LeftOut {
        /// The update, or that before the validation.
        step: u64,
        /// The row.
        pair: &'a Pair,
    },
    /// The run ends with an error, which whoever runs it reports.
    Failed(&'a Error),
    /// Training is over; only messages follow.
    End,
}

/// A decoded row of a validation.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// As it stands in the file.
    pub source: &'a str,
    /// As it stands in the file.
    pub reference: &'a str,
    /// What the model made of the source.
    pub output: String,
    /// Whether it ended with EOS, and not at its limit.
    pub finished: bool,
}

/// Keeps or shows what happens in a run. No event depends on what a recorder does with those before.
pub trait Recorder {
    /// Takes an event; what it has no use for it passes over.
    ///
    /// # Errors
    /// A file that cannot be written. Training ends with it.
    fn record(&mut self, event: &Event) -> Result<()>;

    /// Waits until the disk has all rows; the length of `metrics.csv` in bytes, from who writes it.
    ///
    /// # Errors
    /// A file that cannot be written.
    fn flush(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// A line for people. Talk must not end training, so a failure is passed over.
    fn say(&mut self, line: &str) {
        let _ = self.record(&Event::Message(line));
    }
}

impl<R: Recorder + ?Sized> Recorder for &mut R {
    fn record(&mut self, event: &Event) -> Result<()> {
        (**self).record(event)
    }

    fn flush(&mut self) -> Result<Option<u64>> {
        (**self).flush()
    }
}

/// What follows from the error of a recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Training ends with it.
    Stop,
    /// The recorder is given up, and a message names it and says this.
    GiveUp(&'static str),
    /// The log has it, and no more: the next event may succeed.
    Remark,
}

/// Several recorders, in the order in which they hear of an event.
#[derive(Default)]
pub struct Recorders<'a> {
    list: Vec<(Box<dyn Recorder + 'a>, OnError)>,
}

impl<'a> Recorders<'a> {
    /// Those of a run directory, beginning behind update `step`. `metrics_bytes` is where `metrics.csv` goes on, and `columns`
    /// are those of its metrics. `console` is what a person sees.
    ///
    /// # Errors
    /// A file that cannot be opened; a `metrics.csv` that the run cannot go on with.
    pub fn of_run(
        folder: &Path,
        step: u64,
        (metrics_bytes, columns): (Option<u64>, &[&'static str]),
        console: &'a mut dyn Recorder,
    ) -> Result<Recorders<'a>> {
        let log = LogFile::open(folder)?;
        let samples = Samples::open(folder)?;
        let metrics = MetricsFile::open(&folder.join("metrics.csv"), metrics_bytes, columns)?;
        Ok(Recorders::default()
            .with(metrics, OnError::Stop)
            // `metrics.csv` has its figures. What would follow half a record could not be read.
            .with(
                TensorBoard::open(folder, step + 1)?,
                OnError::GiveUp("TensorBoard sees no more of this run"),
            )
            .with(SkippedPairs::of(folder), OnError::Stop)
            .with(samples, OnError::Stop)
            .with(console, OnError::Stop)
            .with(log, OnError::Stop)
            // Made of `metrics.csv`, so it comes behind it.
            .with(Curves::of(folder), OnError::Remark))
    }

    /// One more, which hears of each event after the others.
    pub fn with(mut self, recorder: impl Recorder + 'a, on_error: OnError) -> Recorders<'a> {
        self.list.push((Box::new(recorder), on_error));
        self
    }
}

impl Recorder for Recorders<'_> {
    fn record(&mut self, event: &Event) -> Result<()> {
        let (mut given_up, mut remarks) = (Vec::new(), Vec::new());
        for (n, (recorder, on_error)) in self.list.iter_mut().enumerate() {
            match (recorder.record(event), *on_error) {
                (Ok(()), _) => {}
                (Err(error), OnError::Stop) => return Err(error),
                (Err(error), OnError::GiveUp(what)) => {
                    given_up.push((n, format!("note: {}; {what}", error.message())));
                }
                (Err(error), OnError::Remark) => remarks.push(format!("note: {}", error.message())),
            }
        }
        for (n, _) in given_up.iter().rev() {
            drop(self.list.remove(*n));
        }
        given_up.iter().for_each(|(_, note)| self.say(note));
        // Who cannot take a remark gets none about it.
        remarks.retain(|_| !matches!(event, Event::Remark(_)));
        remarks.iter().try_for_each(|remark| self.record(&Event::Remark(remark)))
    }

    fn flush(&mut self) -> Result<Option<u64>> {
        let mut length = None;
        for (recorder, _) in &mut self.list {
            length = recorder.flush()?.or(length);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Writes down what it hears, and fails at a message of that text.
    struct Heard<'a> {
        fails_at: &'static str,
        heard: &'a RefCell<Vec<String>>,
    }

    impl Recorder for Heard<'_> {
        fn record(&mut self, event: &Event) -> Result<()> {
            if let Event::Message(text) | Event::Remark(text) = event {
                if *text == self.fails_at {
                    return Err(Error::failure("the disk is full"));
                }
                self.heard.borrow_mut().push((*text).to_owned());
            }
            Ok(())
        }
    }

    #[test]
    fn an_error_ends_training_or_the_recorder_or_neither() {
        let heard = [const { RefCell::new(Vec::new()) }; 3];
        let recorder = |n: usize, fails_at| Heard { fails_at, heard: &heard[n] };
        let mut recorders = Recorders::default()
            .with(recorder(0, "stop"), OnError::Stop)
            .with(recorder(1, "give up"), OnError::GiveUp("it hears no more"))
            .with(recorder(2, "remark"), OnError::Remark);
        for text in ["first", "give up", "remark"] {
            recorders.record(&Event::Message(text)).unwrap();
        }
        assert!(recorders.record(&Event::Message("stop")).is_err());
        let notes = ["note: the disk is full; it hears no more", "note: the disk is full"];
        assert_eq!(*heard[0].borrow(), ["first", "give up", notes[0], "remark", notes[1]]);
        assert_eq!(*heard[1].borrow(), ["first"]);
        assert_eq!(*heard[2].borrow(), ["first", "give up", notes[0], notes[1]]);
        assert_eq!(recorders.flush().unwrap(), None);
    }
}
