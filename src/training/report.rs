//! What training tells people: a bar or lines on the terminal, `train.log`, `metrics.csv`, `samples/`,
//! `curves.svg`, and an event file for TensorBoard.
//!
//! Besides cli/ the only file that writes to the terminal, and the only place in training/ that reads the clock.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};

use super::curves;
use super::metrics::{MetricsFile, Validation, Window};
use super::tensorboard::EventFile;
use crate::data::dataset::Dataset;
use crate::decoding::search::Hypothesis;
use crate::error::{Error, Result};

/// Sources, references and outputs of a validation, as text.
pub type Detokenize<'a> = Box<dyn Fn(&[i64]) -> String + 'a>;

/// `curves.svg` is not drawn again for rows of training figures that come sooner than this.
const BETWEEN_DRAWINGS: Duration = Duration::from_secs(10);

/// Where training's figures and talk go.
pub struct Report<'a> {
    metrics: MetricsFile,
    log: File,
    /// Nothing once it could not be written.
    events: Option<EventFile>,
    /// When `curves.svg` was drawn last.
    drawn: Option<Instant>,
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
            events: Some(EventFile::create(folder, seconds_since_1970(), steps.0 + 1)?),
            drawn: None,
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
        let nll = window.nll / window.tokens.max(1) as f64;
        let gradient_norm = window.gradient_norm / window.updates.max(1) as f64;
        let scalars = [
            ("train/loss", window.loss_per_token()),
            ("train/nll", nll),
            ("train/perplexity", nll.exp()),
            ("train/gradient_norm", gradient_norm),
            ("train/learning_rate", learning_rate),
            ("train/tokens_per_second", self.speed()),
        ];
        self.scalars(step, &scalars);
        let line = format!(
            "step {step}: loss {:.4}, gradient norm {gradient_norm:.3}, lr {learning_rate:.2e}, {:.0} target tokens/s{}",
            window.loss_per_token(),
            self.speed(),
            self.time_left(step),
        );
        // Where there is a bar, it says all this already.
        if self.bar.is_none() {
            talk(&line);
        }
        self.log_line(&line);
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= BETWEEN_DRAWINGS) {
            self.draw();
        }
        self.tokens = 0;
        self.since = Instant::now();
        Ok(())
    }

    /// A validation was made.
    pub fn validated(&mut self, step: u64, epoch: u64, found: &Validation, better: bool) -> Result<()> {
        self.metrics.validation(step, epoch, found)?;
        let scalars = [
            ("valid/nll", found.nll),
            ("valid/perplexity", found.nll.exp()),
            ("valid/token_accuracy", found.token_accuracy),
            ("valid/exact_match", found.exact_match),
            ("valid/error_rate", found.error_rate),
        ];
        self.scalars(step, &scalars);
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
        self.draw();
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

    /// Draws the figures a last time and takes the bar away.
    pub fn close(&mut self) {
        self.draw();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A full disk must not end training for the sake of its talk, so a failure here is passed over.
    fn log_line(&mut self, line: &str) {
        let _ = writeln!(self.log, "[{:>8.1} s] {line}", self.started.elapsed().as_secs_f64());
    }

    /// Numbers for TensorBoard, by name. To watch must not end training either, so a file that cannot be written is
    /// given up: `metrics.csv` has the figures. What would follow half a record could not be read, so nothing does.
    fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) {
        let Some(events) = &mut self.events else { return };
        if let Err(error) = events.scalars(seconds_since_1970(), step, scalars) {
            self.events = None;
            self.say(&format!("note: {}; TensorBoard sees no more of this run", error.message()));
        }
    }

    /// Draws `curves.svg`. A failure is noted in `train.log` and no more: the next drawing may succeed.
    fn draw(&mut self) {
        if let Err(error) = curves::draw(&self.folder) {
            self.log_line(&format!("note: {}", error.message()));
        }
        self.drawn = Some(Instant::now());
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

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn bar((step, steps): (u64, u64)) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style).with_position(step)
}
