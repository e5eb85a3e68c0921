//! What training tells people: a bar or lines on the terminal, `train.log`, `metrics.csv`, `samples/`.
//!
//! Besides cli/ the only file that writes to the terminal, and the only place in training/ that reads the clock.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::metrics::{MetricsFile, Validation, Window};
use crate::data::dataset::Dataset;
use crate::decoding::search::Hypothesis;
use crate::error::{Error, Result};

/// Sources, references and outputs of a validation, as text.
pub type Detokenize<'a> = Box<dyn Fn(&[i64]) -> String + 'a>;

/// Where training's figures and talk go.
pub struct Report<'a> {
    metrics: MetricsFile,
    log: File,
    folder: PathBuf,
    bar: Option<ProgressBar>,
    detokenize: Detokenize<'a>,
    started: Instant,
    first_step: u64,
    last_step: u64,
    /// Target tokens and the time since the last line.
    tokens: u64,
    since: Instant,
}

impl<'a> Report<'a> {
    /// Opens the files in `folder`. `metrics_bytes` is where `metrics.csv` goes on; `steps` are the step that training
    /// stands at and the one at which it ends.
    pub fn open(
        folder: &Path,
        metrics_bytes: Option<u64>,
        steps: (u64, u64),
        detokenize: Detokenize<'a>,
    ) -> Result<Report<'a>> {
        let path = folder.join("train.log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| Error::file("write", &path, &error))?;
        let samples = folder.join("samples");
        fs::create_dir_all(&samples).map_err(|error| Error::file("make", &samples, &error))?;
        Ok(Report {
            metrics: MetricsFile::open(&folder.join("metrics.csv"), metrics_bytes)?,
            log,
            folder: folder.to_path_buf(),
            bar: std::io::stderr().is_terminal().then(|| bar(steps)),
            detokenize,
            started: Instant::now(),
            first_step: steps.0,
            last_step: steps.1,
            tokens: 0,
            since: Instant::now(),
        })
    }

    /// A line for the terminal and `train.log`.
    pub fn say(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| talk(line)),
            None => talk(line),
        }
        self.log_line(line);
    }

    /// An update was made.
    pub fn updated(&mut self, step: u64, window: &Window, learning_rate: f64) {
        self.tokens += window.tokens;
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            let (loss, speed) = (window.loss_per_token(), self.speed());
            bar.set_message(format!("loss {loss:.3}, {speed:.0} tokens/s, lr {learning_rate:.2e}"));
        }
    }

    /// A row of training figures is due.
    pub fn logged(&mut self, step: u64, epoch: u64, learning_rate: f64, window: &Window) -> Result<()> {
        self.metrics.training(step, epoch, learning_rate, window)?;
        let line = format!(
            "step {step}: loss {:.4}, gradient norm {:.3}, lr {learning_rate:.2e}, {:.0} target tokens/s{}",
            window.loss_per_token(),
            window.gradient_norm / window.updates.max(1) as f64,
            self.speed(),
            self.time_left(step),
        );
        // Where there is a bar, it says all this already.
        if self.bar.is_none() {
            talk(&line);
        }
        self.log_line(&line);
        self.tokens = 0;
        self.since = Instant::now();
        Ok(())
    }

    /// A validation was made.
    pub fn validated(&mut self, step: u64, epoch: u64, found: &Validation, better: bool) -> Result<()> {
        self.metrics.validation(step, epoch, found)?;
        let mut line = format!(
            "step {step}: validation: nll {:.4}, perplexity {:.3}, token accuracy {:.2} %, exact match {:.2} %, error rate {:.2} %",
            found.nll,
            found.nll.exp(),
            100.0 * found.token_accuracy,
            100.0 * found.exact_match,
            100.0 * found.error_rate,
        );
        if found.unfinished > 0 {
            // Writing to a string cannot fail.
            let _ = write!(line, ", {} outputs hit the length limit", found.unfinished);
        }
        line.push_str(if better { " (best)" } else { "" });
        self.say(&line);
        self.tokens = 0;
        self.since = Instant::now();
        Ok(())
    }

    /// Writes the first decoded rows of a validation as source | reference | output.
    pub fn samples(&mut self, step: u64, set: &Dataset, decoded: &[Hypothesis]) -> Result<()> {
        if decoded.is_empty() {
            return Ok(());
        }
        let mut text = String::from("source | reference | output\n");
        for (pair, hypothesis) in set.pairs.iter().zip(decoded) {
            let output = (self.detokenize)(&hypothesis.tokens);
            let mark = if hypothesis.finished { "" } else { " [hit the length limit]" };
            let _ = writeln!(text, "{} | {} | {output}{mark}", pair.source, pair.target);
        }
        let path = self.folder.join("samples").join(format!("step-{step:08}.txt"));
        fs::write(&path, text).map_err(|error| Error::file("write", &path, &error))
    }

    /// Waits until the disk has the figures; the length of `metrics.csv`.
    pub fn flush(&mut self) -> Result<u64> {
        self.metrics.flush()
    }

    /// Takes the bar away.
    pub fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A full disk must not end training for the sake of its talk, so a failure here is passed over.
    fn log_line(&mut self, line: &str) {
        let _ = writeln!(self.log, "[{:>8.1} s] {line}", self.started.elapsed().as_secs_f64());
    }

    /// Target tokens per second since the last line.
    fn speed(&self) -> f64 {
        self.tokens as f64 / self.since.elapsed().as_secs_f64().max(1e-9)
    }

    fn time_left(&self, step: u64) -> String {
        let per_step =
            self.started.elapsed().as_secs_f64() / step.saturating_sub(self.first_step).max(1) as f64;
        let seconds = per_step * self.last_step.saturating_sub(step) as f64;
        format!(", {}:{:02} min left", seconds as u64 / 60, seconds as u64 % 60)
    }
}

/// A line on stderr. Who does not listen any more is no reason to stop.
pub fn talk(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn bar((step, steps): (u64, u64)) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style).with_position(step)
}
