//! The terminal: a line per row of metrics and per message, and a progress bar, which the command line provides.

use std::path::{Path, PathBuf};

use super::lines::{mark, message, training_line};
use super::{Event, Recorder};
use crate::console::status;
use crate::error::{Result, counted};
use crate::training::clock::Since;

/// Columns of the terminal.
const WIDTH: usize = 80;

/// Seconds between two lines about a step before training, where there is no bar.
const TOLD_EVERY: f64 = 20.0;

/// A progress bar at the bottom of the terminal.
pub(crate) trait Bar {
    /// Hides the bar while `say` prints a line.
    fn suspend(&self, say: &dyn Fn());
    /// Shows the number of updates and a few words.
    fn show(&self, step: u64, words: String);
    /// Removes the bar.
    fn clear(&self);
}

/// Creates a bar from the first step to the last one; `None` if stderr is not a terminal.
pub(crate) type MakeBar = fn(u64, u64) -> Option<Box<dyn Bar>>;

/// Writes lines to stderr.
pub(crate) struct Console {
    folder: PathBuf,
    make_bar: MakeBar,
    bar: Option<Box<dyn Bar>>,
    verbose: bool,
    /// The last step of preparation that a line names, and when.
    told: Option<(String, Since)>,
}

impl Console {
    /// For the run in `folder`; `verbose` also shows the bottlenecks.
    pub(crate) fn new(folder: &Path, make_bar: MakeBar, verbose: bool) -> Console {
        Console { folder: folder.to_path_buf(), make_bar, bar: None, verbose, told: None }
    }

    fn show(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(&|| status(line)),
            None => status(line),
        }
    }

    /// A step before training: in the bar, or as a line now and then.
    fn prepare(&mut self, what: &str, done: usize, of: Option<usize>) {
        let share = |of: usize| format!(": {} %", 100 * done / of.max(1));
        let rows = if done > 0 { format!(": {}", counted(done, "pair")) } else { String::new() };
        let words = format!("{what}{}", of.map_or(rows, share));
        if self.bar.is_none() {
            self.bar = (self.make_bar)(0, 100);
        }
        if let Some(bar) = &self.bar {
            return bar.show(of.map_or(0, |of| 100 * done / of.max(1)) as u64, words);
        }
        let is_due = |(said, when): &(String, Since)| said != what || when.seconds() > TOLD_EVERY;
        if self.told.as_ref().is_none_or(is_due) {
            status(&words);
            self.told = Some((what.to_owned(), Since::now()));
        }
    }
}

impl Recorder for Console {
    fn record(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Start { step, last_step } => self.bar = (self.make_bar)(*step, *last_step),
            Event::Update { step, window, speed } => {
                if let Some(bar) = &self.bar {
                    let (loss, tokens, left) =
                        (window.loss_per_token(), speed.tokens_per_second, speed.time_left());
                    bar.show(*step, format!("loss {loss:.3}, {tokens:.0} tokens/s{left}"));
                }
            }
            Event::TrainingRow { step, learning_rate, window, pace, .. } => {
                self.show(&training_line(*step, window, *learning_rate, pace.speed));
                if self.verbose {
                    self.show(&format!("  {pace}"));
                }
            }
            Event::Validation { step, found, better, .. } => {
                let (begins, best) = (format!("step {step}, valid: "), mark(*better));
                let room = WIDTH.saturating_sub(begins.len() + best.len());
                self.show(&format!("{begins}{}{best}", found.in_short(room)));
                if found.unfinished > 0 {
                    self.show(&format!("  unfinished outputs: {}", found.unfinished));
                }
            }
            Event::Preparing { what, done, of } => self.prepare(what, *done, *of),
            Event::Prepared | Event::End => self.bar.take().iter().for_each(|bar| bar.clear()),
            _ => {}
        }
        message(event, &self.folder).iter().for_each(|line| self.show(line));
        Ok(())
    }
}
