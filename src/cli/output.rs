//! Output rows: a line of text, a row of CSV or a JSON object for each, to a file or to standard output.
//!
//! `resume` keeps the complete rows of a file that a killed command left half-written. `carried` copies the other columns
//! of the input in front of the output's own.

mod carried;
mod record;
mod resume;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

use super::roles::is_stdout;
use super::standard_output;
use crate::data::readers::{ExtraField, Format};
use crate::error::{Error, Result};
use crate::runtime::StopFlag;
pub use carried::CarriedFields;
pub use record::Record;
pub use resume::Kept;
use resume::keep_complete_rows;

/// What a command needs to resume an output.
pub const SAME_AS_BEFORE: &str =
    "--resume needs the same model, the same input and the same options as before";

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// One line per row
    Text,
    /// Comma-separated columns with a header
    Csv,
    /// One JSON object per line
    Jsonl,
}

impl OutputFormat {
    /// The format that is asked for, or else the one that the output's extension names.
    ///
    /// # Errors
    /// The extension is one that is only read.
    pub fn choose(asked: Option<OutputFormat>, output: &Path) -> Result<OutputFormat> {
        match (asked, Format::of(output)) {
            (Some(format), _) => Ok(format),
            (None, Format::Csv) => Ok(OutputFormat::Csv),
            (None, Format::Jsonl) => Ok(OutputFormat::Jsonl),
            (None, Format::Text) => Ok(OutputFormat::Text),
            (None, Format::Tsv) => {
                let message = format!("outputs are not written as TSV, but {} asks for it", output.display());
                Err(Error::input(message).hint("name a .csv or .jsonl file, or use --format"))
            }
        }
    }
}

/// A field of a row: its column, and what it holds; null where there is nothing.
pub type Field<'a> = (&'a str, Value);

/// What waits to be written goes when it has so many bytes.
const WAITING: usize = 1 << 20;

/// Writes rows, and nothing but whole ones: a signal that ends the command leaves a file behind a row.
pub struct Writer {
    to: Box<dyn Write>,
    /// Whole rows.
    waiting: Vec<u8>,
    /// What may end the command; nothing where it need not wait for rows to be written, as with a pipe, which may be full for
    /// ever.
    stop: Option<StopFlag>,
    is_file: bool,
    format: OutputFormat,
    place: String,
    record: Option<Record>,
    /// Whether the record stands already.
    recorded: bool,
}

impl Writer {
    /// Replaces the file, or writes to standard output for `-`. The columns are the header of a table.
    ///
    /// # Errors
    /// The file cannot be written, or another command is writing it.
    pub fn open(output: &Path, format: OutputFormat, columns: &[&str]) -> Result<Writer> {
        if is_stdout(output) {
            let place = "standard output".to_owned();
            return Writer::new(standard_output(), false, format, place).headed(columns);
        }
        let failed = |error: std::io::Error| Error::file("write", output, &error);
        // Emptied only when it is ours.
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(output).map_err(failed)?;
        let is_file = file.metadata().map_err(failed)?.is_file();
        if is_file {
            lock(&file, output)?;
            file.set_len(0).map_err(failed)?;
        }
        Writer::new(Box::new(file), is_file, format, output.display().to_string()).headed(columns)
    }

    /// Goes on behind the complete rows of a file, and says what is there. A torn row at its end is cut off, and so is a
    /// group of up to `n_best` rows for the same input that may lack one.
    ///
    /// # Errors
    /// The output is no file, has other columns, cannot be written, or another command is writing it.
    pub fn resume(
        output: &Path,
        format: OutputFormat,
        columns: &[&str],
        n_best: u64,
    ) -> Result<(Writer, Kept)> {
        let failed = |error: std::io::Error| Error::file("write", output, &error);
        let mut open = OpenOptions::new();
        let open = open.read(true).write(true).create(true).truncate(false);
        let mut file = match is_stdout(output) {
            true => return Err(no_file(output)),
            false => open.open(output).map_err(failed)?,
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(no_file(output));
        }
        lock(&file, output)?;
        let kept = keep_complete_rows(&mut file, output, format, columns, n_best)?;
        let place = output.display().to_string();
        let writer = Writer::new(Box::new(file), true, format, place);
        match kept {
            Some(kept) => Ok((writer, kept)),
            None => Ok((writer.headed(columns)?, Kept::default())),
        }
    }

    fn new(to: Box<dyn Write>, is_file: bool, format: OutputFormat, place: String) -> Writer {
        let (waiting, stop) = (Vec::new(), None);
        Writer { to, waiting, stop, is_file, format, place, record: None, recorded: false }
    }

    /// No signal of these ends the command while rows are written to a file.
    pub fn guarded(mut self, stop: &StopFlag) -> Writer {
        self.stop = self.is_file.then(|| stop.clone());
        self
    }

    /// Keeps a record of how the output is begun, as long as it is not complete; whether it is `there` from before.
    pub fn recorded(mut self, record: Record, there: bool) -> Writer {
        (self.record, self.recorded) = (Some(record), there);
        self
    }

    /// Before anything is written of a source, the first of all, its record stands.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn begin(&mut self, first: Option<&str>) -> Result<()> {
        match &self.record {
            Some(record) if !std::mem::replace(&mut self.recorded, true) => record.write(first),
            _ => Ok(()),
        }
    }

    /// All is written; false when the reader has gone away.
    ///
    /// # Errors
    /// The disk is full, for instance.
    pub fn finish(&mut self) -> Result<bool> {
        let there = self.flush()?;
        self.record.as_ref().map(Record::remove);
        Ok(there)
    }

    fn headed(mut self, columns: &[&str]) -> Result<Writer> {
        if self.format == OutputFormat::Csv {
            self.waiting.extend(csv_line(columns)?.as_bytes());
        }
        Ok(self)
    }

    /// Writes a row: `line` as text, else what is carried and its fields, in the order of the columns. False when the reader has
    /// gone away.
    ///
    /// # Errors
    /// The disk is full, for instance.
    pub fn write(&mut self, line: &str, carried: &[Option<&ExtraField>], fields: Vec<Field>) -> Result<bool> {
        let text = match self.format {
            OutputFormat::Text => format!("{}\n", one_line(line)),
            OutputFormat::Csv => {
                let carried = carried.iter().map(|field| carried::cell(*field));
                let cells = carried.chain(fields.iter().map(|(_, value)| cell(value)));
                csv_line(&cells.collect::<Vec<_>>())?
            }
            OutputFormat::Jsonl => {
                let carried = carried.iter().flatten().map(|field| carried::member(field));
                let fields = fields.iter().map(|(name, value)| format!("{}:{value}", Value::from(*name)));
                format!("{{{}}}\n", carried.chain(fields).collect::<Vec<_>>().join(","))
            }
        };
        self.waiting.extend(text.as_bytes());
        if self.waiting.len() < WAITING { Ok(true) } else { self.flush() }
    }

    /// Hands over what was written; false when the reader has gone away. A kill from here on loses none of it.
    ///
    /// # Errors
    /// The disk is full, for instance.
    pub fn flush(&mut self) -> Result<bool> {
        let flushed = self.hand_over();
        self.unless_gone(flushed)
    }

    fn hand_over(&mut self) -> std::io::Result<()> {
        let Writer { to, waiting, stop, .. } = self;
        let mut work = || to.write_all(waiting).and_then(|()| to.flush());
        let written = match stop {
            Some(stop) => stop.whole(work),
            None => work(),
        };
        self.waiting.clear();
        written
    }

    fn unless_gone(&self, written: std::io::Result<()>) -> Result<bool> {
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Error::failure(format!("cannot write {}: {error}", self.place))),
        }
    }
}

/// What was written before an error stays.
impl Drop for Writer {
    fn drop(&mut self) {
        // Whoever drops it has an error to tell already.
        let _ = self.hand_over();
    }
}

fn no_file(output: &Path) -> Error {
    let output = if is_stdout(output) { "standard output".into() } else { output.to_string_lossy() };
    Error::input(format!("--resume needs a half-written output file, but the output is {output}"))
        .hint("name the file with --output")
}

/// Two commands that write the same file would lose rows or have them twice.
fn lock(file: &File, output: &Path) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let message = format!("{} is being written by another seqloom", output.display());
            Err(Error::input(message).hint("wait for it, or name another file with --output"))
        }
        // A file system without locks is no reason to write nothing.
        Err(TryLockError::Error(_)) | Ok(()) => Ok(()),
    }
}

/// A value as a field of a table.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// One line of a table.
fn csv_line<S: AsRef<[u8]>>(fields: &[S]) -> Result<String> {
    let failed = |error: &dyn std::fmt::Display| Error::failure(format!("cannot write a CSV row: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields).map_err(|error| failed(&error))?;
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An output a line: a line break that a model says would shift all lines behind it.
fn one_line(output: &str) -> String {
    output.replace(['\n', '\r'], " ")
}
