//! How far the steps before training are: reading, learning the vocabularies, encoding.
//!
//! A step that is over within seconds is not worth a word, and a recorder hears of the others twice a second at most.

use crate::training::clock::Since;
use crate::training::recorders::{Event, Recorder};

/// Seconds before the first report.
const SILENT: f64 = 2.0;

/// Seconds between two reports.
const BETWEEN: f64 = 0.5;

/// Passes reports of progress on.
pub(crate) struct Preparations<'a> {
    recorder: &'a mut dyn Recorder,
    begun: Since,
    last: f64,
    what: String,
}

impl<'a> Preparations<'a> {
    /// From now on.
    pub(crate) fn new(recorder: &'a mut dyn Recorder) -> Preparations<'a> {
        Preparations { recorder, begun: Since::now(), last: f64::NEG_INFINITY, what: String::new() }
    }

    /// Hears of `done` rows of a step, out of `of` if that is known.
    pub(crate) fn report(&mut self, what: &str, done: usize, of: Option<usize>) {
        let seconds = self.begun.seconds();
        let is_new = self.what != what;
        if seconds < SILENT || !is_new && seconds < self.last + BETWEEN {
            return;
        }
        self.last = seconds;
        what.clone_into(&mut self.what);
        // It must not end training.
        let _ = self.recorder.record(&Event::Preparing { what, done, of });
    }

    /// The steps are over.
    pub(crate) fn end(&mut self) {
        if !self.what.is_empty() {
            let _ = self.recorder.record(&Event::Prepared);
        }
    }
}
