//! `metrics.csv`: one row per log step and per validation, no clock in it: a run that is stopped and resumed writes
//! the same rows as one that was not.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Sums over the updates since the last row of training figures. Saved, so that a row may span a stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Sum of the smoothed loss over target tokens.
    pub loss: f64,
    /// Sum of the negative log-likelihood over target tokens.
    pub nll: f64,
    /// Target tokens.
    pub tokens: u64,
    /// Pairs.
    pub rows: u64,
    /// Sum of the gradient norms, before clipping.
    pub gradient_norm: f64,
    /// Updates.
    pub updates: u64,
}

impl Window {
    /// Adds another window's sums.
    pub fn add(&mut self, other: &Window) {
        self.loss += other.loss;
        self.nll += other.nll;
        self.tokens += other.tokens;
        self.rows += other.rows;
        self.gradient_norm += other.gradient_norm;
        self.updates += other.updates;
    }

    /// Smoothed loss per target token.
    pub fn loss_per_token(&self) -> f64 {
        self.loss / self.tokens.max(1) as f64
    }
}

/// What a validation found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// Negative log-likelihood per target token, teacher-forced.
    pub nll: f64,
    /// Share of target tokens that are the likeliest, teacher-forced.
    pub token_accuracy: f64,
    /// Share of the decoded rows that are exactly the reference.
    pub exact_match: f64,
    /// Edit distance over reference length of the decoded rows, in target tokens.
    pub error_rate: f64,
    /// Decoded rows that hit the length limit.
    pub unfinished: u64,
}

/// Writes the rows.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

const HEADER: [&str; 13] = [
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
    "exact_match",
    "error_rate",
    "unfinished",
];

impl MetricsFile {
    /// A file with only the header (`bytes` is `None`), or one that goes on behind its first `bytes` bytes.
    ///
    /// # Errors
    /// A file that cannot be written, or is shorter than it was.
    pub fn open(path: &Path, bytes: Option<u64>) -> Result<MetricsFile> {
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
        file.set_len(wanted).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        let mut metrics = MetricsFile { path: path.to_path_buf(), file };
        if bytes.is_none() {
            metrics.write(&HEADER.map(str::to_owned))?;
        }
        Ok(metrics)
    }

    /// A row of training figures.
    pub fn training(&mut self, step: u64, epoch: u64, learning_rate: f64, window: &Window) -> Result<()> {
        let nll = window.nll / window.tokens.max(1) as f64;
        self.write(&[
            step.to_string(),
            epoch.to_string(),
            "train".to_owned(),
            format!("{learning_rate:.6e}"),
            window.loss_per_token().to_string(),
            nll.to_string(),
            nll.exp().to_string(),
            (window.gradient_norm / window.updates.max(1) as f64).to_string(),
            window.tokens.to_string(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ])
    }

    /// A row of validation figures.
    pub fn validation(&mut self, step: u64, epoch: u64, found: &Validation) -> Result<()> {
        self.write(&[
            step.to_string(),
            epoch.to_string(),
            "valid".to_owned(),
            String::new(),
            String::new(),
            found.nll.to_string(),
            found.nll.exp().to_string(),
            String::new(),
            String::new(),
            found.token_accuracy.to_string(),
            found.exact_match.to_string(),
            found.error_rate.to_string(),
            found.unfinished.to_string(),
        ])
    }

    /// Waits until the disk has all rows; the file's length in bytes.
    pub fn flush(&mut self) -> Result<u64> {
        let length = self.file.sync_all().and_then(|()| self.file.stream_position());
        length.map_err(|error| Error::file("write", &self.path, &error))
    }

    /// A row is written whole, so that a reader never meets half of one.
    fn write(&mut self, fields: &[String; 13]) -> Result<()> {
        let row = fields.join(",") + "\n";
        self.file.write_all(row.as_bytes()).map_err(|error| Error::file("write", &self.path, &error))
    }
}
