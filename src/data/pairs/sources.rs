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

/// The columns that are asked for.
#[derive(Clone, Copy)]
struct Columns<'a> {
    source: &'a str,
    target: &'a str,
    /// Whether a table, or a row, without the target is an error.
    target_needed: bool,
}

/// What it takes to find source and target in a row.
enum Layout {
    Text,
    Fields(Fields),
    Objects(Keys),
}

/// A table with a header: how a row of it is read, the places of the two fields, and the number of all.
struct Fields {
    read: ReadRecord,
    source: usize,
    target: Option<usize>,
    width: usize,
}

type ReadRecord = fn(&mut Lines) -> Result<Option<Record>>;

/// The keys of an object.
struct Keys {
    source: String,
    target: String,
    target_needed: bool,
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
        let columns = Columns::new(source_column, target_column, false);
        if input == Path::new("-") {
            let stdin = Box::new(BufReader::new(std::io::stdin()));
            return Sources::start(Lines::new(stdin, Path::new("<stdin>")), Format::Text, columns);
        }
        Sources::start(Lines::open(input)?, Format::of(input), columns)
    }

    /// Whether rows may have a reference: a table with the target's column, or any JSONL.
    pub fn has_references(&self) -> bool {
        match &self.layout {
            Layout::Text => false,
            Layout::Fields(fields) => fields.target.is_some(),
            Layout::Objects(_) => true,
        }
    }

    /// Opens a table that must have both columns, in every row.
    pub(super) fn with_targets(path: &Path, source_column: &str, target_column: &str) -> Result<Sources> {
        let columns = Columns::new(source_column, target_column, true);
        Sources::start(Lines::open(path)?, Format::of(path), columns)
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
        let columns = Columns::new(source_column, target_column, false);
        Sources::start(Lines::new(reader, name), format, columns)
    }

    /// The place of a row, for messages.
    pub fn place(&self, line: u64) -> Place {
        self.lines.place_of(line)
    }

    fn start(mut lines: Lines, format: Format, columns: Columns) -> Result<Sources> {
        let layout = match format {
            Format::Text => Layout::Text,
            Format::Csv => Layout::Fields(Fields::from_header(&mut lines, read_csv, columns)?),
            Format::Tsv => Layout::Fields(Fields::from_header(&mut lines, read_tsv, columns)?),
            Format::Jsonl => Layout::Objects(Keys {
                source: columns.source.to_string(),
                target: columns.target.to_string(),
                target_needed: columns.target_needed,
            }),
        };
        let ended = false;
        Ok(Sources { lines, layout, ended })
    }

    fn next_row(&mut self) -> Result<Option<SourceRow>> {
        let lines = &mut self.lines;
        match &self.layout {
            Layout::Text => text_row(lines),
            Layout::Fields(fields) => fields.next_row(lines),
            Layout::Objects(keys) => keys.next_row(lines),
        }
    }
}

impl<'a> Columns<'a> {
    fn new(source: &'a str, target: &'a str, target_needed: bool) -> Columns<'a> {
        Columns { source, target, target_needed }
    }
}

fn text_row(lines: &mut Lines) -> Result<Option<SourceRow>> {
    let text = lines.next_line()?.map(str::to_string);
    let line = lines.number();
    Ok(text.map(|text| SourceRow { text, reference: None, line }))
}

impl Fields {
    fn from_header(lines: &mut Lines, read: ReadRecord, columns: Columns) -> Result<Fields> {
        let Some(header) = read(lines)? else {
            let file = lines.place().file;
            let message = format!("a table must start with a header, but {} is empty", file.display());
            return Err(Error::input(message));
        };
        let place = lines.place_of(header.line);
        let source = find_column(&header, columns.source, "data.source.column", &place)?;
        let is_there = header.fields.iter().any(|name| name == columns.target);
        let target = match is_there || columns.target_needed {
            true => Some(find_column(&header, columns.target, "data.target.column", &place)?),
            false => None,
        };
        let width = header.fields.len();
        Ok(Fields { read, source, target, width })
    }

    fn next_row(&self, lines: &mut Lines) -> Result<Option<SourceRow>> {
        let Some(mut record) = (self.read)(lines)? else {
            return Ok(None);
        };
        let (there, line) = (record.fields.len(), record.line);
        if there != self.width {
            let fields = if there == 1 { "field" } else { "fields" };
            let message = format!("the row has {there} {fields}, but the header has {}", self.width);
            return Err(bad_row(&message, &record.raw, &lines.place_of(line)));
        }
        // A clone, not a take, for the target: one column may serve as both sides.
        let reference = self.target.and_then(|index| record.fields.get(index).cloned());
        let text = record.fields.get_mut(self.source).map(std::mem::take);
        let text = text.unwrap_or_default();
        Ok(Some(SourceRow { text, reference, line }))
    }
}

/// The place of a column in the header.
fn find_column(header: &Record, column: &str, key: &str, place: &Place) -> Result<usize> {
    let is_it = |index: &usize| header.fields[*index] == column;
    let mut found = (0..header.fields.len()).filter(is_it);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => {
            let column = shorten(column);
            let message = format!("a header must name a column once, but `{column}` stands in it twice");
            Err(bad_row(&message, &header.raw, place))
        }
        (None, _) => {
            let (message, hint) = no_column(column, key, header.fields.iter().map(String::as_str));
            Err(Error::input(message).at(place).hint(hint))
        }
    }
}

impl Keys {
    fn next_row(&self, lines: &mut Lines) -> Result<Option<SourceRow>> {
        let Some(object) = read_object(lines)? else {
            return Ok(None);
        };
        let text = find_string(&object, &self.source, "data.source.column", lines)?;
        let reference = match object.get(&self.target) {
            None | Some(Value::Null) if !self.target_needed => None,
            _ => Some(find_string(&object, &self.target, "data.target.column", lines)?),
        };
        let line = lines.number();
        Ok(Some(SourceRow { text, reference, line }))
    }
}

/// The string that an object has under a key.
fn find_string(object: &Map<String, Value>, key: &str, config_key: &str, lines: &Lines) -> Result<String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            let (key, kind) = (shorten(key), kind_of(other));
            let message = format!("`{key}` must be a string, but it is {kind}");
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
