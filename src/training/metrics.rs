//! `metrics.csv`: one row per log step and per validation, no clock in it: a run that is stopped and resumed writes
//! the same rows as one that was not.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metrics::MetricValue;

/// Sums over the updates since the last row of training figures. Saved, so that a row may span a stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningStats {
    /// Sum of the smoothed loss over target tokens.
    pub loss: f64,
    /// Sum of the negative log-likelihood over target tokens.
    pub nll: f64,
    /// Target tokens.
    pub tokens: u64,
    /// Source tokens.
    pub source_tokens: u64,
    /// Positions of both sides, padding counted in.
    pub positions: u64,
    /// Pairs.
    pub rows: u64,
    /// Sum of the gradient norms, before clipping.
    pub gradient_norm: f64,
    /// Updates that moved the weights.
    pub updates: u64,
    /// Updates that were skipped, because a number was not finite. None of the sums above knows of them.
    pub skipped: u64,
}

impl RunningStats {
    /// Adds another window's sums.
    pub fn add(&mut self, other: &RunningStats) {
        self.loss += other.loss;
        self.nll += other.nll;
        self.tokens += other.tokens;
        self.source_tokens += other.source_tokens;
        self.positions += other.positions;
        self.rows += other.rows;
        self.gradient_norm += other.gradient_norm;
        self.updates += other.updates;
        self.skipped += other.skipped;
    }

    /// Smoothed loss per target token; not a number where every update was skipped.
    pub fn loss_per_token(&self) -> f64 {
        self.loss / self.tokens as f64
    }

    /// Negative log-likelihood per target token; not a number where every update was skipped.
    pub fn nll_per_token(&self) -> f64 {
        self.nll / self.tokens as f64
    }

    /// Mean of the gradient norms; not a number where every update was skipped.
    pub fn mean_gradient_norm(&self) -> f64 {
        self.gradient_norm / self.updates as f64
    }

    /// Share of the positions that are padding; none where no update was made.
    pub fn padding(&self) -> f64 {
        if self.positions == 0 {
            return 0.0;
        }
        1.0 - (self.tokens + self.source_tokens) as f64 / self.positions as f64
    }
}

/// What a validation found.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// Negative log-likelihood per target token, teacher-forced.
    pub nll: f64,
    /// Share of target tokens that are the likeliest, teacher-forced.
    pub token_accuracy: f64,
    /// The metrics of the decoded rows, against references as they stand in the file.
    pub metrics: Vec<MetricValue>,
    /// What checkpoints are compared by, as `training.best_by` names it. A metric compares with references in the form of
    /// outputs.
    pub deciding: f64,
    /// Decoded rows that were cut off before EOS.
    pub unfinished: u64,
}

impl Validation {
    /// The model's scores are not finite numbers, so there is nothing to be found.
    pub const NONE: Validation = Validation {
        nll: f64::NAN,
        token_accuracy: f64::NAN,
        metrics: Vec::new(),
        deciding: f64::NAN,
        unfinished: 0,
    };

    /// The figures that so many columns have room for, the first two metrics in any case.
    pub fn in_short(&self, room: usize) -> String {
        if self.nll.is_nan() {
            return self.to_string();
        }
        let mut line = format!("nll {:.3}", self.nll);
        for (n, metric) in MetricValue::in_lines(&self.metrics).enumerate() {
            let next = format!(", {}", metric.in_short());
            if n >= 2 && line.len() + next.len() > room {
                break;
            }
            line += &next;
        }
        line
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nll.is_nan() {
            return write!(f, "no figures, for the model's scores are not finite numbers");
        }
        let (nll, perplexity) = (self.nll, self.nll.exp());
        write!(
            f,
            "nll {nll:.4}, perplexity {perplexity:.3}, token accuracy {:.2} %",
            100.0 * self.token_accuracy
        )?;
        MetricValue::in_lines(&self.metrics).try_for_each(|metric| write!(f, ", {}", metric.in_words()))?;
        match self.unfinished {
            0 => Ok(()),
            unfinished => write!(f, ", {unfinished} outputs cut off before <eos>"),
        }
    }
}

/// Writes the rows.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    header: Vec<&'static str>,
}

/// The columns before those of the metrics, and behind them.
const BEFORE: [&str; 10] = [
    "step",
    "epoch",
    "kind",
    "learning_rate",
    "loss",
    "nll",
    "perplexity",
    "gradient_norm",
    "target_tokens",
    "token_accuracy",
];
const BEHIND: [&str; 3] = ["unfinished", "padding", "skipped"];

impl MetricsFile {
    /// A file with only the header (`bytes` is `None`), or one that goes on behind its first `bytes` bytes. `metrics` are the
    /// columns of the metrics.
    ///
    /// # Errors
    /// A file that cannot be written, or is shorter than it was.
    pub fn open(path: &Path, bytes: Option<u64>, metrics: &[&'static str]) -> Result<MetricsFile> {
        let header = [&BEFORE[..], metrics, &BEHIND].concat();
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let failed = |error| Error::file("write", path, &error);
        let mut file = open().map_err(failed)?;
        let (there, wanted) = (file.metadata().map_err(failed)?.len(), bytes.unwrap_or(0));
        if there < wanted {
            let message = format!(
                "{} must have at least {wanted} bytes, as when the checkpoint was saved, but it has {there}",
                path.display()
            );
            return Err(
                Error::failure(message).hint("put the file back as it was, or train anew with --out DIR")
            );
        }
        if bytes.is_some() {
            check_header(path, &header)?;
        }
        file.set_len(wanted).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        let mut metrics = MetricsFile { path: path.to_path_buf(), file, header };
        if bytes.is_none() {
            metrics.write(&metrics.header.join(","))?;
        }
        Ok(metrics)
    }

    /// A row of training figures.
    pub fn training(
        &mut self,
        step: u64,
        epoch: u64,
        learning_rate: f64,
        window: &RunningStats,
    ) -> Result<()> {
        self.row(&[
            ("step", step.to_string()),
            ("epoch", epoch.to_string()),
            ("kind", "train".to_owned()),
            ("learning_rate", format!("{learning_rate:.6e}")),
            ("loss", known(window.loss_per_token())),
            ("nll", known(window.nll_per_token())),
            ("perplexity", known(window.nll_per_token().exp())),
            ("gradient_norm", known(window.mean_gradient_norm())),
            ("target_tokens", window.tokens.to_string()),
            ("padding", format!("{:.6}", window.padding())),
            ("skipped", window.skipped.to_string()),
        ])
    }

    /// A row of validation figures.
    pub fn validation(&mut self, step: u64, epoch: u64, found: &Validation) -> Result<()> {
        let unfinished = if found.nll.is_nan() { String::new() } else { found.unfinished.to_string() };
        let mut row = vec![
            ("step", step.to_string()),
            ("epoch", epoch.to_string()),
            ("kind", "valid".to_owned()),
            ("nll", known(found.nll)),
            ("perplexity", known(found.nll.exp())),
            ("token_accuracy", known(found.token_accuracy)),
            ("unfinished", unfinished),
        ];
        row.extend(found.metrics.iter().map(|metric| (metric.kind.name, known(metric.value))));
        self.row(&row)
    }

    /// Waits until the disk has all rows; the file's length in bytes.
    pub fn flush(&mut self) -> Result<u64> {
        let length = self.file.sync_all().and_then(|()| self.file.stream_position());
        length.map_err(|error| Error::file("write", &self.path, &error))
    }

    /// What a row knows, in the order of the columns; the rest stays empty.
    fn row(&mut self, known: &[(&str, String)]) -> Result<()> {
        let field = |name: &&str| known.iter().find(|(column, _)| column == name);
        let fields = self.header.iter().map(|name| field(name).map_or("", |(_, value)| value));
        let row = fields.collect::<Vec<_>>().join(",");
        self.write(&row)
    }

    /// A row is written whole, so that a reader never meets half of one.
    fn write(&mut self, row: &str) -> Result<()> {
        let row = format!("{row}\n");
        self.file.write_all(row.as_bytes()).map_err(|error| Error::file("write", &self.path, &error))
    }
}

/// Rows that go on must have the columns of those before.
fn check_header(path: &Path, header: &[&str]) -> Result<()> {
    let text = std::fs::read(path).map_err(|error| Error::file("read", path, &error))?;
    let there = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if there == header.join(",").as_bytes() {
        return Ok(());
    }
    let message =
        format!("{} must have the columns that this seqloom writes, but it has others", path.display());
    Err(Error::failure(message)
        .hint("go on with the seqloom that began the run, or train anew with --out DIR"))
}

/// Nothing is known of a stretch whose updates were all skipped, or of a model without finite scores.
fn known(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}
