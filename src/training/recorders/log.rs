//! `train.log`: each line with the seconds since training started, and the details for which the terminal has no room.
//!
//! A full disk must not end training because of a log line, so a line that cannot be written is dropped.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::lines::{mark, message, training_line};
use super::{Event, Recorder};
use crate::error::{Error, Result, printable};
use crate::training::clock::Since;

/// Appends to the file.
#[derive(Debug)]
pub(crate) struct LogFile {
    folder: PathBuf,
    file: File,
    started: Since,
}

impl LogFile {
    /// Opens the log of the run in `folder`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn open(folder: &Path) -> Result<LogFile> {
        let path = folder.join("train.log");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| Error::file("write", &path, &error))?;
        Ok(LogFile { folder: folder.to_path_buf(), file, started: Since::now() })
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.file, "[{:>8.1} s] {}", self.started.seconds(), printable(line));
    }
}

impl Recorder for LogFile {
    fn record(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Remark(line) => self.line(line),
            Event::TrainingRow { step, learning_rate, window, pace, .. } => {
                let line = training_line(*step, window, *learning_rate, pace.speed);
                self.line(&format!("{line}; {pace}"));
            }
            Event::Validation { step, found, better, .. } => {
                self.line(&format!("step {step}: validation: {found}{}", mark(*better)));
            }
            Event::Failed(error) => self.line(&error.to_string()),
            _ => {}
        }
        message(event, &self.folder).iter().for_each(|line| self.line(line));
        Ok(())
    }
}
