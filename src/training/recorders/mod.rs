//! Where the metrics and messages of a run go: each recorder is one file and gets the same events.
//!
//! The trainer depends on the trait alone. [`Recorders`] is the list of a run directory: `metrics.csv`, TensorBoard's
//! files, `skipped/`, `samples/`, the terminal, `train.log` and `curves.svg`.

pub(crate) mod console;
pub(crate) mod csv;
pub(crate) mod curves;
mod lines;
pub(crate) mod log;
pub(crate) mod metrics_table;
pub(crate) mod samples;
pub(crate) mod skipped;
pub(crate) mod tensorboard;

use std::path::Path;

use self::csv::MetricsFile;
use self::curves::Curves;
use self::log::LogFile;
use self::samples::Samples;
use self::skipped::SkippedPairs;
use self::tensorboard::TensorBoard;
use super::metrics::{RunningStats, Validation};
use super::pace::{Pace, Speed};
use crate::data::readers::{Pair, Place};
use crate::error::{Error, Result};

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Training starts or resumes; messages about it follow.
    Start {
        /// Updates so far.
        step: u64,
        /// The estimated last step.
        last_step: u64,
    },
    /// A step before training that takes long.
    Preparing {
        /// What is done.
        what: &'a str,
        /// Rows so far.
        done: usize,
        /// All rows, if that is known.
        of: Option<usize>,
    },
    /// The steps before training are over.
    Prepared,
    /// A message to the user.
    Message(&'a str),
    /// A message for the log only.
    Remark(&'a str),
    /// An update is done.
    Update {
        /// Updates so far.
        step: u64,
        /// Its statistics.
        window: &'a RunningStats,
        /// The current speed.
        speed: Speed,
    },
    /// A row of training metrics.
    TrainingRow {
        /// Updates so far.
        step: u64,
        /// Complete passes over the training pairs.
        epoch: u64,
        /// The learning rate of the last update.
        learning_rate: f64,
        /// Sums over the updates since the last row.
        window: &'a RunningStats,
        /// Their pace.
        pace: Pace,
    },
    /// A validation is done.
    Validation {
        /// Updates so far.
        step: u64,
        /// Complete passes over the training pairs.
        epoch: u64,
        /// Its scores.
        found: &'a Validation,
        /// Whether it is the best so far.
        better: bool,
        /// The first decoded rows, `training.samples` of them.
        samples: &'a [Sample<'a>],
    },
    /// An update was skipped because a number was not finite.
    Skipped {
        /// The update.
        step: u64,
        /// Its rows.
        pairs: &'a [&'a Pair],
    },
    /// A row was skipped because it does not fit into memory.
    RowSkipped {
        /// The update, or the last one before the validation.
        step: u64,
        /// The place of the row.
        place: &'a Place,
    },
    /// The run ends with an error, which the caller reports.
    Failed(&'a Error),
    /// Training is over; only messages follow.
    End,
}

/// A decoded row of a validation.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// As it is in the file.
    pub source: &'a str,
    /// As it is in the file; of several the first.
    pub reference: &'a str,
    /// The others.
    pub other_references: &'a [String],
    /// The model's output for the source.
    pub output: String,
    /// Whether the output reached EOS.
    pub finished: bool,
}

/// Records or shows the events of a run. No event depends on what a recorder does with earlier ones.
pub trait Recorder {
    /// Takes an event; ignores those that do not concern it.
    ///
    /// # Errors
    /// A file cannot be written. Training ends with this error.
    fn record(&mut self, event: &Event) -> Result<()>;

    /// Flushes all rows to the disk; the recorder of `metrics.csv` returns its length in bytes.
    ///
    /// # Errors
    /// A file cannot be written.
    fn flush(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Records a message. A message must not end training, so errors are ignored.
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

/// The consequence of a recorder's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// Training ends with the error.
    Stop,
    /// The recorder is dropped, with a message that ends in this text.
    GiveUp(&'static str),
    /// The error is only logged: the next event may succeed.
    Remark,
}

/// Several recorders, in the order in which they get each event.
#[derive(Default)]
pub(crate) struct Recorders<'a> {
    list: Vec<(Box<dyn Recorder + 'a>, OnError)>,
}

impl<'a> Recorders<'a> {
    /// The recorders of a run directory, starting after update `step`. `metrics.csv` continues after `metrics_bytes`
    /// bytes, and `columns` are those of its metrics. `console` shows messages to the user.
    ///
    /// # Errors
    /// A file cannot be opened; the run cannot continue the `metrics.csv` that is there.
    pub(crate) fn of_run(
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
            // Records after a torn one are unreadable, and `metrics.csv` has all the numbers: no need to end training.
            .with(
                TensorBoard::open(folder, step + 1)?,
                OnError::GiveUp("no more TensorBoard events for this run"),
            )
            .with(SkippedPairs::of(folder), OnError::Stop)
            .with(samples, OnError::Stop)
            .with(console, OnError::Stop)
            .with(log, OnError::Stop)
            // Made from `metrics.csv`, so it comes after it.
            .with(Curves::of(folder), OnError::Remark))
    }

    /// Adds a recorder, which gets each event after the others.
    pub(crate) fn with(mut self, recorder: impl Recorder + 'a, on_error: OnError) -> Recorders<'a> {
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
        // A recorder that failed at a remark gets no remark about that.
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

    /// Keeps what it gets, and fails at a message of that text.
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
