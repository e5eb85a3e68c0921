//! Writes output rows as lines of text, CSV or JSON objects, to a file or to standard output.
//!
//! `resume` keeps the complete rows of an unfinished file. `carried` copies the other columns of the input in front of
//! the output's own.

mod carried;
mod record;
mod resume;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::roles::is_stdout;
use super::standard_output;
use crate::data::readers::{ExtraField, Format};
use crate::error::{Error, Result};
use crate::runtime::StopFlag;
pub(crate) use carried::CarriedFields;
pub(crate) use record::Record;
pub(crate) use resume::Kept;
use resume::keep_complete_rows;

/// The hint for outputs that cannot be resumed.
pub(crate) const SAME_AS_BEFORE: &str =
    "--resume needs the same model, the same input and the same options as before";

/// The format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutputFormat {
    /// One line per row
    Text,
    /// Comma-separated columns with a header
    Csv,
    /// One JSON object per line
    Jsonl,
}

impl OutputFormat {
    /// The requested format, or else that of the output's extension.
    ///
    /// # Errors
    /// The extension is not for outputs.
    pub(crate) fn choose(asked: Option<OutputFormat>, output: &Path) -> Result<OutputFormat> {
        if Format::is_compressed(output) {
            let message =
                format!("outputs are not compressed, but {} has such an extension", output.display());
            return Err(Error::input(message).hint("write to - and pipe the output into gzip or zstd"));
        }
        match (asked, Format::of(output)) {
            (Some(format), _) => Ok(format),
            (None, Format::Csv) => Ok(OutputFormat::Csv),
            (None, Format::Jsonl) => Ok(OutputFormat::Jsonl),
            (None, Format::Text) => Ok(OutputFormat::Text),
            (None, format @ (Format::Tsv | Format::Json | Format::Parquet)) => {
                let name = match format {
                    Format::Tsv => "TSV",
                    Format::Parquet => "Parquet",
                    _ => "JSON arrays",
                };
                let message =
                    format!("outputs cannot be {name}, but {} has that extension", output.display());
                Err(Error::input(message).hint("name a .csv or .jsonl file, or use --format"))
            }
        }
    }

    /// The format of a table, by its extension; `option` names the file.
    ///
    /// # Errors
    /// The extension is not that of a table that is written.
    pub(crate) fn of_table(output: &Path, option: &str) -> Result<OutputFormat> {
        match Format::of(output) {
            Format::Csv if !Format::is_compressed(output) => Ok(OutputFormat::Csv),
            Format::Jsonl if !Format::is_compressed(output) => Ok(OutputFormat::Jsonl),
            _ => {
                let output = output.display();
                let message = format!(
                    "{option} must name a .csv or .jsonl file, which has columns, but it is {output}"
                );
                Err(Error::input(message))
            }
        }
    }
}

/// A field of a row: its column and its value; null for none.
pub(crate) type Field<'a> = (&'a str, Value);

/// The buffer is written when it has this many bytes.
const WAITING: usize = 1 << 20;

/// Writes complete rows only: a signal never ends the command within a row.
pub(crate) struct Writer {
    to: Box<dyn Write>,
    /// Buffered rows.
    waiting: Vec<u8>,
    /// The signals that must wait until rows are written; `None` for a pipe, which may block forever.
    stop: Option<StopFlag>,
    is_file: bool,
    format: OutputFormat,
    place: String,
    record: Option<Record>,
    /// Whether the record is written.
    recorded: bool,
    /// Bytes of the output so far.
    written: u64,
}

impl Writer {
    /// Replaces the file, or writes to standard output for `-`. `columns` are the header of a table, if it has one.
    ///
    /// # Errors
    /// The file cannot be written, or another command is writing it.
    pub(crate) fn open(output: &Path, format: OutputFormat, columns: &[&str]) -> Result<Writer> {
        if is_stdout(output) {
            let place = "standard output".to_owned();
            return Writer::new(standard_output(), false, format, place).headed(columns);
        }
        let failed = |error: std::io::Error| Error::file("write", output, &error);
        // Truncated only after it is locked.
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(output).map_err(failed)?;
        let is_file = file.metadata().map_err(failed)?.is_file();
        if is_file {
            lock(&file, output)?;
            file.set_len(0).map_err(failed)?;
        }
        Writer::new(Box::new(file), is_file, format, output.display().to_string()).headed(columns)
    }

    /// Resumes after the complete rows of a file, and returns them. Removes a torn row at its end, and a group of rows
    /// for the same input that may be incomplete.
    ///
    /// # Errors
    /// The output is no file, has other columns, cannot be written, or is being written by another command.
    pub(crate) fn resume(
        output: &Path,
        format: OutputFormat,
        columns: &[&str],
        n_best: u64,
    ) -> Result<(Writer, Kept)> {
        let mut file = open_to_resume(output)?;
        let kept = keep_complete_rows(&mut file, output, format, columns, n_best)?;
        let place = output.display().to_string();
        let writer = Writer::new(Box::new(file), true, format, place);
        match kept {
            Some(kept) => Ok((writer, kept)),
            None => Ok((writer.headed(columns)?, Kept::default())),
        }
    }

    /// Resumes after the first `bytes` of a file, where a record of the command's progress ends, and removes what follows.
    ///
    /// # Errors
    /// The output is no file, is shorter, cannot be written, or is being written by another command.
    pub(crate) fn resume_after(output: &Path, format: OutputFormat, bytes: u64) -> Result<Writer> {
        let failed = |error: std::io::Error| Error::file("write", output, &error);
        let mut file = open_to_resume(output)?;
        let there = file.metadata().map_err(failed)?.len();
        if there < bytes {
            let output = output.display();
            let message = format!(
                "an output to resume must have {bytes} bytes by its record, but {output} has {there}"
            );
            return Err(Error::input(message).hint("leave out --resume to write it anew"));
        }
        file.set_len(bytes).and_then(|()| file.seek(SeekFrom::Start(bytes))).map_err(failed)?;
        let mut writer = Writer::new(Box::new(file), true, format, output.display().to_string());
        writer.written = bytes;
        Ok(writer)
    }

    fn new(to: Box<dyn Write>, is_file: bool, format: OutputFormat, place: String) -> Writer {
        let (waiting, stop) = (Vec::new(), None);
        Writer { to, waiting, stop, is_file, format, place, record: None, recorded: false, written: 0 }
    }

    /// Delays these signals while rows are written to a file.
    pub(crate) fn guarded(mut self, stop: &StopFlag) -> Writer {
        self.stop = self.is_file.then(|| stop.clone());
        self
    }

    /// Keeps a record of the output's settings until it is complete; `there` if it already exists.
    pub(crate) fn recorded(mut self, record: Record, there: bool) -> Writer {
        record.start();
        (self.record, self.recorded) = (Some(record), there);
        self
    }

    /// Writes the record, with the first source, before the first row.
    ///
    /// # Errors
    /// The record cannot be written.
    pub(crate) fn begin(&mut self, first: Option<&str>) -> Result<()> {
        match &self.record {
            Some(record) if !std::mem::replace(&mut self.recorded, true) => record.write(first, Value::Null),
            _ => Ok(()),
        }
    }

    /// Ends the output; false if the reader has closed it. A shard of an input of `all_rows` rows leaves a record for
    /// `seqloom merge`.
    ///
    /// # Errors
    /// A write fails, such as on a full disk.
    pub(crate) fn finish(&mut self, all_rows: u64) -> Result<bool> {
        let there = self.flush()?;
        if let Some(record) = &self.record {
            record.finish(all_rows, self.format)?;
        }
        Ok(there)
    }

    fn headed(mut self, columns: &[&str]) -> Result<Writer> {
        if self.format == OutputFormat::Csv && !columns.is_empty() {
            self.waiting.extend(csv_line(columns)?.as_bytes());
        }
        Ok(self)
    }

    /// Writes a row: `line` as text, else the carried fields and its own, in the order of the columns. False if the
    /// reader has closed the output.
    ///
    /// # Errors
    /// A write fails, such as on a full disk.
    pub(crate) fn write(
        &mut self,
        line: &str,
        carried: &[Option<&ExtraField>],
        fields: Vec<Field>,
    ) -> Result<bool> {
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

    /// Whether it writes lines of text, which have no fields.
    pub(crate) fn is_text(&self) -> bool {
        self.format == OutputFormat::Text
    }

    /// Bytes of a file that are written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Flushes all rows, so that a kill loses none of them; false if the reader has closed the output.
    ///
    /// # Errors
    /// A write fails, such as on a full disk.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        let flushed = self.hand_over();
        self.unless_gone(flushed)
    }

    fn hand_over(&mut self) -> std::io::Result<()> {
        let Writer { to, waiting, stop, .. } = self;
        let mut work = || to.write_all(waiting).and_then(|()| to.flush());
        let done = match stop {
            Some(stop) => stop.whole(work),
            None => work(),
        };
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        done
    }

    fn unless_gone(&self, written: std::io::Result<()>) -> Result<bool> {
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Error::failure(format!("cannot write {}: {error}", self.place))),
        }
    }
}

/// Rows before an error are written.
impl Drop for Writer {
    fn drop(&mut self) {
        // The caller already has an error to report.
        let _ = self.hand_over();
    }
}

fn no_file(output: &Path) -> Error {
    let output = if is_stdout(output) { "standard output".into() } else { output.to_string_lossy() };
    Error::input(format!("--resume needs an unfinished output file, but the output is {output}"))
        .hint("name the file with --output")
}

/// Opens and locks a file whose beginning is kept.
fn open_to_resume(output: &Path) -> Result<File> {
    let failed = |error: std::io::Error| Error::file("write", output, &error);
    let mut open = OpenOptions::new();
    let open = open.read(true).write(true).create(true).truncate(false);
    let file = match is_stdout(output) {
        true => return Err(no_file(output)),
        false => open.open(output).map_err(failed)?,
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(no_file(output));
    }
    lock(&file, output)?;
    Ok(file)
}

/// Locks the file: two commands that write it would lose or duplicate rows.
fn lock(file: &File, output: &Path) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let message = format!("{} is being written by another seqloom", output.display());
            Err(Error::input(message).hint("wait for it, or name another file with --output"))
        }
        // A file system without locks is accepted.
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
pub(crate) fn csv_line<S: AsRef<[u8]>>(fields: &[S]) -> Result<String> {
    let failed = |error: &dyn std::fmt::Display| Error::failure(format!("cannot write a CSV row: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields).map_err(|error| failed(&error))?;
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An output on one line: a line break in it would shift all following lines.
fn one_line(output: &str) -> String {
    output.replace(['\n', '\r'], " ")
}
