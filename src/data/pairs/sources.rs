//! The rows of one input, streamed: text or a table, from a file or from standard input.
//!
//! This is what `decode` reads, a row at a time, however long the input is; a table for training is read through
//! it too. An empty source is a row like any other here. Knows no tokens.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::Place;
use super::lines::{Lines, bad_row, shorten};
use super::table::{Record, kind_of, no_column, read_csv, read_object, read_tsv};
use crate::error::{Error, Result};

/// How the rows of an input are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A source a line; an empty line is an empty source.
    Text,
    /// Comma-separated fields with a header (RFC 4180).
    Csv,
    /// Tab-separated fields with a header, without quoting.
    Tsv,
    /// A JSON object a line.
    Jsonl,
}

impl Format {
    /// The format that a file's extension names (in any case); anything but `.csv`, `.tsv` and `.jsonl` is text.
    pub fn of(path: &Path) -> Format {
        match path.extension().map(|extension| extension.to_ascii_lowercase()) {
            Some(extension) if extension == "csv" => Format::Csv,
            Some(extension) if extension == "tsv" => Format::Tsv,
            Some(extension) if extension == "jsonl" => Format::Jsonl,
            _ => Format::Text,
        }
    }
}

/// A row to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// The source, as it stands in the file.
    pub text: String,
    /// The target column, where the table has it.
    pub reference: Option<String>,
    /// The physical line where the row starts, from 1.
    pub line: u64,
}

/// Where the two columns are found.
enum Layout {
    Text,
    Fields {
        read: fn(&mut Lines) -> Result<Option<Record>>,
        source: usize,
        target: Option<usize>,
        width: usize,
    },
    Objects {
        source: String,
        target: String,
        target_needed: bool,
    },
}

/// The rows of an input, one at a time: an iterator of `Result<SourceRow>` that ends after the first error.
pub struct Sources {
    lines: Lines,
    layout: Layout,
    ended: bool,
}

impl Sources {
    /// Opens a file by its extension, or standard input (as text) where `input` is `-`.
    ///
    /// The columns are those of a table and are not looked at for text; the target's may be missing.
    ///
    /// # Errors
    /// The file is missing, or its header does not name the source's column.
    pub fn open(input: &Path, source_column: &str, target_column: &str) -> Result<Sources> {
        if input == Path::new("-") {
            let stdin = Box::new(BufReader::new(std::io::stdin()));
            return Sources::new(
                stdin,
                Path::new("<stdin>"),
                Format::Text,
                source_column,
                target_column,
            );
        }
        Sources::start(
            Lines::open(input)?,
            Format::of(input),
            source_column,
            target_column,
            false,
        )
    }

    /// Opens a table that must have both columns, in every row.
    pub(super) fn with_targets(path: &Path, source_column: &str, target_column: &str) -> Result<Sources> {
        Sources::start(
            Lines::open(path)?,
            Format::of(path),
            source_column,
            target_column,
            true,
        )
    }

    /// Reads rows of `format` from `reader`; `name` stands for the file in messages.
    ///
    /// # Errors
    /// The header does not name the source's column, or cannot be read.
    pub fn new(
        reader: Box<dyn BufRead>,
        name: &Path,
        format: Format,
        source_column: &str,
        target_column: &str,
    ) -> Result<Sources> {
        Sources::start(
            Lines::new(reader, name),
            format,
            source_column,
            target_column,
            false,
        )
    }

    /// The place of a row, for messages.
    pub fn place(&self, line: u64) -> Place {
        self.lines.place_of(line)
    }

    fn start(
        mut lines: Lines,
        format: Format,
        source: &str,
        target: &str,
        target_needed: bool,
    ) -> Result<Sources> {
        let layout = match format {
            Format::Text => Layout::Text,
            Format::Csv => read_header(&mut lines, read_csv, source, target, target_needed)?,
            Format::Tsv => read_header(&mut lines, read_tsv, source, target, target_needed)?,
            Format::Jsonl => Layout::Objects {
                source: source.to_string(),
                target: target.to_string(),
                target_needed,
            },
        };
        Ok(Sources {
            lines,
            layout,
            ended: false,
        })
    }

    fn next_row(&mut self) -> Result<Option<SourceRow>> {
        let lines = &mut self.lines;
        match &self.layout {
            Layout::Text => {
                let Some(text) = lines.next_line()?.map(str::to_string) else {
                    return Ok(None);
                };
                Ok(Some(SourceRow {
                    text,
                    reference: None,
                    line: lines.place().line,
                }))
            }
            Layout::Fields {
                read,
                source,
                target,
                width,
            } => {
                let Some(record) = read(lines)? else {
                    return Ok(None);
                };
                from_record(record, *source, *target, *width, lines).map(Some)
            }
            Layout::Objects {
                source,
                target,
                target_needed,
            } => {
                let Some(object) = read_object(lines)? else {
                    return Ok(None);
                };
                let text = string_of(&object, source, "data.source.column", lines)?;
                let reference = match object.get(target) {
                    None | Some(Value::Null) if !target_needed => None,
                    _ => Some(string_of(&object, target, "data.target.column", lines)?),
                };
                let line = lines.place().line;
                Ok(Some(SourceRow {
                    text,
                    reference,
                    line,
                }))
            }
        }
    }
}

/// Reads the header of a table and finds the columns in it.
fn read_header(
    lines: &mut Lines,
    read: fn(&mut Lines) -> Result<Option<Record>>,
    source: &str,
    target: &str,
    target_needed: bool,
) -> Result<Layout> {
    let Some(header) = read(lines)? else {
        let message = format!(
            "a table must start with a header, but {} is empty",
            lines.place().file.display()
        );
        return Err(Error::input(message));
    };
    let place = lines.place_of(header.line);
    let target_named = header.fields.iter().any(|name| name == target);
    let layout = Layout::Fields {
        read,
        source: column(&header, source, "data.source.column", &place)?,
        target: match target_needed || target_named {
            true => Some(column(&header, target, "data.target.column", &place)?),
            false => None,
        },
        width: header.fields.len(),
    };
    Ok(layout)
}

/// The place of a column in the header.
fn column(header: &Record, column: &str, key: &str, place: &Place) -> Result<usize> {
    let mut found = header
        .fields
        .iter()
        .enumerate()
        .filter(|(_, name)| *name == column)
        .map(|(index, _)| index);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => {
            let message = format!(
                "a header must name a column once, but `{}` stands in it twice",
                shorten(column)
            );
            Err(bad_row(&message, &header.raw, place))
        }
        (None, _) => {
            let (message, hint) = no_column(column, key, header.fields.iter().map(String::as_str));
            Err(Error::input(message).at(place).hint(hint))
        }
    }
}

/// The two fields of a row that has as many as the header.
fn from_record(
    mut record: Record,
    source: usize,
    target: Option<usize>,
    width: usize,
    lines: &Lines,
) -> Result<SourceRow> {
    let there = record.fields.len();
    if there != width {
        let fields = if there == 1 { "field" } else { "fields" };
        let message = format!("the row has {there} {fields}, but the header has {width}");
        return Err(bad_row(&message, &record.raw, &lines.place_of(record.line)));
    }
    // A clone, not a take, for the target: one column may serve as both sides.
    let reference = target.and_then(|index| record.fields.get(index).cloned());
    let text = record
        .fields
        .get_mut(source)
        .map(std::mem::take)
        .unwrap_or_default();
    Ok(SourceRow {
        text,
        reference,
        line: record.line,
    })
}

/// The string that an object has under a key.
fn string_of(object: &Map<String, Value>, key: &str, config_key: &str, lines: &Lines) -> Result<String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            let message = format!(
                "`{}` must be a string, but it is {}",
                shorten(key),
                kind_of(other)
            );
            Err(bad_row(&message, &lines.current(), &lines.place()))
        }
        None => {
            let (message, hint) = no_column(key, config_key, object.keys().map(String::as_str));
            Err(bad_row(&message, &lines.current(), &lines.place()).hint(hint))
        }
    }
}

impl Iterator for Sources {
    type Item = Result<SourceRow>;

    fn next(&mut self) -> Option<Result<SourceRow>> {
        if self.ended {
            return None;
        }
        let row = self.next_row().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}
