//! What training tells people: lines on the terminal, `train.log`, `metrics.csv`, `samples/`, `curves.svg`, and an event
//! file for TensorBoard.
//!
//! Besides cli/ the only file that writes to the terminal. A bar on it is the command line's.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::clock::{Since, TimeLeft, in_words, wall_time};
use super::curves;
use super::metrics::{MetricsFile, RunningStats, Validation};
use super::tensorboard::EventFile;
use crate::data::dataset::Dataset;
use crate::data::readers::Pair;
use crate::decoding::incremental_decoder::Hypothesis;
use crate::error::{Error, Result, counted, printable};
use crate::runtime::memory;

/// Sources, references and outputs of a validation, as text.
pub type Detokenize<'a> = Box<dyn Fn(&[i64]) -> String + 'a>;

/// `curves.svg` is not drawn again for rows of training figures that come sooner than this, in seconds.
const BETWEEN_DRAWINGS: f64 = 10.0;

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

/// What stays at the foot of a terminal and shows where training stands.
pub trait Bar {
    /// Makes room for something that is said.
    fn suspend(&self, say: &dyn Fn());
    /// Shows that this many updates are made, and a few words.
    fn show(&self, step: u64, words: String);
    /// Takes it away.
    fn clear(&self);
}

/// Where training's figures and talk go.
pub struct Report<'a> {
    machine: Machine<'a>,
    metrics: MetricsFile,
    log: File,
    /// Nothing once it could not be written.
    events: Option<EventFile>,
    /// When `curves.svg` was drawn last.
    drawn: Option<Since>,
    folder: PathBuf,
    bar: Option<Box<dyn Bar>>,
    detokenize: Detokenize<'a>,
    started: Since,
    left: TimeLeft,
    /// Whether the terminal has what only `train.log` has otherwise.
    verbose: bool,
    /// Figures of the updates since the last line, and the time.
    recent: RunningStats,
    since: Since,
    /// Seconds that updates had waited for their batches at that time.
    waited: f64,
}

impl<'a> Report<'a> {
    /// Opens the files in `folder`. `metrics_bytes` is where `metrics.csv` goes on, and `columns` are
    /// those of its metrics; `steps` are the step that training
    /// stands at and the one at which it ends.
    pub fn open(
        folder: &Path,
        (metrics_bytes, columns): (Option<u64>, &[&'static str]),
        steps: (u64, u64),
        detokenize: Detokenize<'a>,
        machine: Machine<'a>,
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
            machine,
            metrics: MetricsFile::open(&folder.join("metrics.csv"), metrics_bytes, columns)?,
            log,
            events: Some(EventFile::create(folder, wall_time(), steps.0 + 1)?),
            drawn: None,
            folder: folder.to_path_buf(),
            bar: None,
            detokenize,
            started: Since::now(),
            left: TimeLeft::new(steps.0, steps.1),
            verbose: false,
            recent: RunningStats::default(),
            since: Since::now(),
            waited: 0.0,
        })
    }

    /// With a bar, until it is closed.
    pub fn with_bar(self, bar: Option<Box<dyn Bar>>) -> Report<'a> {
        Report { bar, ..self }
    }

    /// With what keeps training from going faster on the terminal, too.
    pub fn verbose(self, verbose: bool) -> Report<'a> {
        Report { verbose, ..self }
    }

    /// A line for the terminal and `train.log`.
    pub fn say(&mut self, line: &str) {
        self.show(line);
        self.log_line(line);
    }

    /// A line for the terminal.
    fn show(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(&|| status(line)),
            None => status(line),
        }
    }

    /// An update was made.
    pub fn updated(&mut self, step: u64, window: &RunningStats) {
        self.recent.add(window);
        if let Some(bar) = &self.bar {
            let (loss, speed, left) = (window.loss_per_token(), self.speed(), self.time_left(step));
            bar.show(step, format!("loss {loss:.3}, {speed:.0} tokens/s{left}"));
        }
    }

    /// A row of training figures is due. `waited` are the seconds that updates have waited for their batches so far.
    pub fn logged(
        &mut self,
        step: u64,
        epoch: u64,
        learning_rate: f64,
        window: &RunningStats,
        waited: f64,
    ) -> Result<()> {
        self.metrics.training(step, epoch, learning_rate, window)?;
        let pace = Pace { padding: window.padding(), ..self.pace(waited) };
        self.scalars(step, &training_scalars(window, learning_rate, &pace));
        self.left.mark(self.started.seconds(), step);
        let line = training_line(step, window, learning_rate, pace.tokens_per_second, &self.time_left(step));
        self.show(&line);
        if self.verbose {
            self.show(&format!("  {pace}"));
        }
        self.log_line(&format!("{line}; {pace}"));
        if window.skipped > 0 {
            self.say(&format!(
                "step {step}: {} skipped since the last line",
                counted(window.skipped, "update")
            ));
        }
        if self.drawn.is_none_or(|drawn| drawn.seconds() >= BETWEEN_DRAWINGS) {
            self.draw();
        }
        self.begin_anew(waited);
        Ok(())
    }

    /// How fast it goes, and what keeps it from going faster.
    fn pace(&mut self, waited: f64) -> Pace {
        let seconds = self.since.seconds().max(1e-9);
        let reached = (self.machine.operations)(&self.recent) / seconds;
        // When it was measured, something else may have had the machine. A share of the most that was seen is one.
        self.machine.matrix_peak = self.machine.matrix_peak.max(reached);
        Pace {
            tokens_per_second: self.speed(),
            peak_share: reached / self.machine.matrix_peak,
            padding: self.recent.padding(),
            waiting: (waited - self.waited) / seconds,
            memory: memory::peak(self.machine.device) as f64 / (1u64 << 30) as f64,
        }
    }

    /// What is measured from here on belongs to the next row.
    fn begin_anew(&mut self, waited: f64) {
        (self.recent, self.waited, self.since) = (RunningStats::default(), waited, Since::now());
    }

    /// An update was skipped: its rows go into a file of their own.
    pub fn skipped<'p>(&mut self, step: u64, pairs: impl Iterator<Item = &'p Pair>) -> Result<()> {
        let path = self.folder.join("skipped").join(format!("step-{step:08}.csv"));
        let folder = self.folder.join("skipped");
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
        let failed = |error: csv::Error| Error::failure(format!("cannot write {}: {error}", path.display()));
        let mut file = csv::Writer::from_path(&path).map_err(failed)?;
        file.write_record(["place", "source", "target"]).map_err(failed)?;
        for pair in pairs {
            let place = pair.place.to_string();
            file.write_record([place.as_str(), &pair.source, &pair.target]).map_err(failed)?;
        }
        file.flush().map_err(|error| Error::file("write", &path, &error))?;
        self.say(&format!(
            "step {step}: skipped, for its loss or a gradient is not a finite number; its rows are in {}",
            path.display()
        ));
        Ok(())
    }

    /// A row was left out of an update because there is no memory for it.
    pub fn left_out(&mut self, step: u64, pair: &Pair) {
        self.say(&format!(
            "step {step}: {}: this pair is left out: the memory does not suffice for it, even by itself",
            pair.place
        ));
    }

    /// A validation was made. `waited` is as for [`Report::logged`].
    pub fn validated(
        &mut self,
        step: u64,
        epoch: u64,
        found: &Validation,
        better: bool,
        waited: f64,
    ) -> Result<()> {
        self.metrics.validation(step, epoch, found)?;
        let metrics =
            found.metrics.iter().map(|metric| (format!("valid/{}", metric.kind.name), metric.value));
        let metrics: Vec<(String, f64)> = metrics.collect();
        let mut scalars = vec![
            ("valid/nll", found.nll),
            ("valid/perplexity", found.nll.exp()),
            ("valid/token_accuracy", found.token_accuracy),
        ];
        scalars.extend(metrics.iter().map(|(name, value)| (name.as_str(), *value)));
        self.scalars(step, &scalars);
        let best = if better { " (best)" } else { "" };
        let begins = format!("step {step}, valid: ");
        let room = 80usize.saturating_sub(begins.len() + best.len());
        self.show(&format!("{begins}{}{best}", found.in_short(room)));
        if found.unfinished > 0 {
            self.show(&format!("  {} cut off before <eos>", counted(found.unfinished, "output")));
        }
        self.log_line(&format!("step {step}: validation: {found}{best}"));
        self.draw();
        // The time that it took is none of training's.
        self.begin_anew(waited);
        Ok(())
    }

    /// Writes the first decoded rows of a validation as source | reference | output.
    pub fn samples(&mut self, step: u64, set: &Dataset, decoded: &[(usize, Hypothesis)]) -> Result<()> {
        if decoded.is_empty() {
            return Ok(());
        }
        let mut text = String::from("source | reference | output\n");
        for (row, hypothesis) in decoded {
            let pair = &set.pairs[*row];
            let output = (self.detokenize)(&hypothesis.tokens);
            let mark = if hypothesis.finished { "" } else { " [cut off before <eos>]" };
            let [source, target, output] =
                [&pair.source, &pair.target, &output].map(|text| on_one_line(text));
            let _ = writeln!(text, "{source} | {target} | {output}{mark}");
        }
        let path = self.folder.join("samples").join(format!("step-{step:08}.txt"));
        fs::write(&path, text).map_err(|error| Error::file("write", &path, &error))
    }

    /// Waits until the disk has the figures; the length of `metrics.csv`.
    pub fn flush(&mut self) -> Result<u64> {
        self.metrics.flush()
    }

    /// What ends the run goes into `train.log`; whoever ran it says it on the terminal.
    pub fn failed(&mut self, error: &Error) {
        self.log_line(&error.to_string());
    }

    /// Draws the figures a last time and takes the bar away.
    pub fn close(&mut self) {
        self.draw();
        if let Some(bar) = self.bar.take() {
            bar.clear();
        }
    }

    /// A full disk must not end training for the sake of its talk, so a failure here is passed over.
    fn log_line(&mut self, line: &str) {
        let _ = writeln!(self.log, "[{:>8.1} s] {}", self.started.seconds(), printable(line));
    }

    /// Numbers for TensorBoard, by name. To watch must not end training either, so a file that cannot be written is
    /// given up: `metrics.csv` has the figures. What would follow half a record could not be read, so nothing does.
    fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) {
        let Some(events) = &mut self.events else { return };
        // What is no number has no place on a curve, and none in `metrics.csv`.
        let numbers: Vec<(&str, f64)> =
            scalars.iter().filter(|(_, value)| !value.is_nan()).copied().collect();
        if let Err(error) = events.scalars(wall_time(), step, &numbers) {
            self.events = None;
            self.say(&format!("note: {}; TensorBoard sees no more of this run", error.message()));
        }
    }

    /// Draws `curves.svg`. A failure is noted in `train.log` and no more: the next drawing may succeed.
    fn draw(&mut self) {
        if let Err(error) = curves::draw(&self.folder) {
            self.log_line(&format!("note: {}", error.message()));
        }
        self.drawn = Some(Since::now());
    }

    /// Target tokens per second since the last line.
    fn speed(&self) -> f64 {
        self.recent.tokens as f64 / self.since.seconds().max(1e-9)
    }

    fn time_left(&self, step: u64) -> String {
        let seconds = self.left.seconds(self.started.seconds(), step);
        seconds.map_or(String::new(), |seconds| format!(", {} left", in_words(seconds)))
    }
}

/// A text without line breaks, which are shown by their names.
fn on_one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r")
}

/// A row of training figures as the terminal has it: no wider than 80 columns.
fn training_line(step: u64, window: &RunningStats, learning_rate: f64, speed: f64, left: &str) -> String {
    let norm = window.mean_gradient_norm();
    let decimals = if norm < 10.0 { 2 } else { usize::from(norm < 100.0) };
    let speed = if speed < 99_999.5 { format!("{speed:.0}") } else { format!("{:.0}k", speed / 1000.0) };
    format!(
        "step {step}: loss {:.3}, norm {norm:.decimals$}, lr {learning_rate:.2e}, {speed} tokens/s{left}",
        window.loss_per_token(),
    )
}

/// How fast training goes, since the last row of figures.
struct Pace {
    tokens_per_second: f64,
    /// Share of the operations per second that the machine's matrix products reach at most.
    peak_share: f64,
    /// Share of the positions that are padding.
    padding: f64,
    /// Share of the time in which updates waited for their batches.
    waiting: f64,
    /// The most memory so far, in GiB.
    memory: f64,
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

fn training_scalars(window: &RunningStats, learning_rate: f64, pace: &Pace) -> [(&'static str, f64); 11] {
    [
        ("train/loss", window.loss_per_token()),
        ("train/nll", window.nll_per_token()),
        ("train/perplexity", window.nll_per_token().exp()),
        ("train/gradient_norm", window.mean_gradient_norm()),
        ("train/learning_rate", learning_rate),
        ("train/skipped", window.skipped as f64),
        ("train/tokens_per_second", pace.tokens_per_second),
        ("train/matrix_peak_share", pace.peak_share),
        ("train/padding", pace.padding),
        ("train/waiting", pace.waiting),
        ("train/memory_gib", pace.memory),
    ]
}

/// A line on stderr, without what would move a terminal's cursor. Who does not listen any more is no reason to stop.
pub fn status(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_training_figures_fits_80_columns() {
        let window = |loss: f64, norm: f64| RunningStats {
            updates: 1,
            tokens: 1,
            loss,
            gradient_norm: norm,
            ..RunningStats::default()
        };
        let left = ", 9 h 59 min left";
        for (step, loss, norm, speed) in [
            (50, 2.345, 1.0, 5678.0),
            (99_999, 9.9996, 9.99, 99_999.0),
            (1_000_000, 9.99, 99.94, 999_999.0),
            (1_000_000, 0.123, 1234.0, 999_999.0),
        ] {
            let line = training_line(step, &window(loss, norm), 1e-3, speed, left);
            assert!(line.len() <= 80, "{}: {line}", line.len());
        }
        let line = training_line(50, &window(2.3456, 1.0), 1e-3, 5678.1, ", 12 min left");
        assert_eq!(line, "step 50: loss 2.346, norm 1.00, lr 1.00e-3, 5678 tokens/s, 12 min left");
        let pace =
            Pace { tokens_per_second: 1.0, peak_share: 1.0, padding: 0.999, waiting: 0.9999, memory: 1234.5 };
        assert!(pace.to_string().len() + 2 <= 80, "{pace}");
    }
}
