//! `metrics.csv`: one row per log step and per validation, without times: a run that is stopped and resumed writes the
//! same rows as an uninterrupted one.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Event, Recorder};
use crate::error::{Error, Result};
use crate::training::metrics::{RunningStats, Validation};

/// Writes the rows.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
    header: Vec<&'static str>,
}

/// The columns before those of the metrics.
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
    /// Opens a new file with only the header (`bytes` is `None`), or continues a file after its first `bytes` bytes.
    /// `metrics` are the columns of the metrics.
    ///
    /// # Errors
    /// The file cannot be written, or is shorter than `bytes`.
    pub(crate) fn open(path: &Path, bytes: Option<u64>, metrics: &[&'static str]) -> Result<MetricsFile> {
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
            return Err(Error::failure(message).hint("restore the file, or start a new run with --out DIR"));
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

    /// A row of training metrics.
    fn training(&mut self, step: u64, epoch: u64, learning_rate: f64, window: &RunningStats) -> Result<()> {
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

    /// A row of validation metrics.
    fn validation(&mut self, step: u64, epoch: u64, found: &Validation) -> Result<()> {
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

    /// Writes a row in the order of the columns; unknown fields stay empty.
    fn row(&mut self, known: &[(&str, String)]) -> Result<()> {
        let field = |name: &&str| known.iter().find(|(column, _)| column == name);
        let fields = self.header.iter().map(|name| field(name).map_or("", |(_, value)| value));
        let row = fields.collect::<Vec<_>>().join(",");
        self.write(&row)
    }

    /// A row is written whole, so that readers never see half a row.
    fn write(&mut self, row: &str) -> Result<()> {
        let row = format!("{row}\n");
        self.file.write_all(row.as_bytes()).map_err(|error| Error::file("write", &self.path, &error))
    }
}

impl Recorder for MetricsFile {
    fn record(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::TrainingRow { step, epoch, learning_rate, window, .. } => {
                self.training(*step, *epoch, *learning_rate, window)
            }
            Event::Validation { step, epoch, found, .. } => self.validation(*step, *epoch, found),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<Option<u64>> {
        let length = self.file.sync_all().and_then(|()| self.file.stream_position());
        length.map(Some).map_err(|error| Error::file("write", &self.path, &error))
    }
}

/// New rows must have the columns of the rows before.
fn check_header(path: &Path, header: &[&str]) -> Result<()> {
    let text = std::fs::read(path).map_err(|error| Error::file("read", path, &error))?;
    let there = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if there == header.join(",").as_bytes() {
        return Ok(());
    }
    let message =
        format!("{} must have the columns of this seqloom version, but it has others", path.display());
    Err(Error::failure(message)
        .hint("resume with the version that started the run, or start a new run with --out DIR"))
}

/// Empty for NaN: all updates were skipped, or the model's scores are not finite.
fn known(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}
