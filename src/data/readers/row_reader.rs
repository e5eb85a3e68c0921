//! The rows of one input, streamed: text, parallel text or a table, from files or from standard input.
//!
//! `decode` reads inputs of any length row by row; training pairs are read with it as well. An empty source is a row
//! like any other here. Texts only: no tokens.

mod extra_columns;
mod replaced;

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Place;
use super::extra_fields::{self, ExtraField, FieldValue};
use super::format::Format;
use super::lines::{LineEnds, Lines, ReadError, ReadResult, bad_row, shorten};
use super::parallel::parallel_row;
use super::source_row::SourceRow;
use super::table::{Record, kind_of, no_column, read_csv, read_object, read_tsv, sole_name_with_separator};
use crate::error::{Error, Result};

/// The column of the targets, and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Texts.
    Text(&'a str),
    /// Lists of tokens, as JSON.
    Tokens(&'a str),
}

/// The requested columns.
#[derive(Clone, Copy)]
struct Columns<'a> {
    source: &'a str,
    target: &'a str,
    /// Whether a missing target, of a table or a row, is an error.
    target_needed: bool,
    /// Whether targets are lists of tokens.
    tokens: bool,
    prefix: Option<&'a str>,
    /// Whether the first row of .csv and .tsv names the columns; otherwise they are numbers, from 1.
    header: bool,
    /// The options or keys that name the columns of source and target, for messages.
    named_by: [&'static str; 2],
}

/// How to find source and target in a row.
enum Layout {
    Text,
    /// The targets, one line per source.
    Parallel(Lines),
    Fields(Fields),
    Objects(Keys),
}

/// A table: the reader of its rows, the indices of its fields, and all names.
struct Fields {
    read: ReadRecord,
    /// The first row of a table without a header, until it is returned.
    first: Option<Record>,
    /// What sets the number of fields, for messages.
    measure: &'static str,
    source: usize,
    target: Option<usize>,
    tokens: bool,
    prefix: Option<usize>,
    names: Vec<Arc<str>>,
}

type ReadRecord = fn(&mut Lines) -> ReadResult<Option<Record>>;

/// The keys of an object.
struct Keys {
    source: String,
    target: String,
    target_needed: bool,
    tokens: bool,
    prefix: Option<String>,
    named_by: [&'static str; 2],
}

/// The keys that name the columns in training.
pub(crate) const KEYS: [&str; 2] = ["data.source.column", "data.target.column"];

/// The option that names the column of prefixes.
const PREFIX_COLUMN: &str = "--prefix-column";

/// The rows of an input, one at a time: an iterator of `Result<SourceRow>` that ends after the first error.
pub struct RowReader {
    lines: Lines,
    layout: Layout,
    /// Whether other fields are kept.
    carries: bool,
    /// Rows that were read ahead.
    ahead: VecDeque<ReadResult<Option<SourceRow>>>,
    ended: bool,
}

impl RowReader {
    /// Opens a file, or standard input for `-`, in `format` or else in that of the extension; standard input is text by
    /// default. Without `header` the columns of .csv and .tsv are numbers, from 1.
    ///
    /// The columns are only for tables; that of the target may be missing if it is not required.
    ///
    /// # Errors
    /// The file is missing, or its header lacks the source's column, a required one, or that of the prefixes.
    pub fn open(
        input: &Path,
        format: Option<Format>,
        source_column: &str,
        (target_column, target_needed): (&str, bool),
        prefix_column: Option<&str>,
        header: bool,
    ) -> Result<RowReader> {
        let named_by = ["--column", if target_needed { "--target-column" } else { KEYS[1] }];
        let columns = Columns::new(source_column, target_column, target_needed);
        let columns = Columns { prefix: prefix_column, named_by, header, ..columns };
        RowReader::start(lines_of(input)?, format.unwrap_or(Format::of(input)), columns)
    }

    /// Whether rows may have a reference: a table with the target's column, or any JSONL.
    pub(crate) fn has_targets(&self) -> bool {
        match &self.layout {
            Layout::Text => false,
            Layout::Fields(fields) => fields.target.is_some(),
            Layout::Parallel(_) | Layout::Objects(_) => true,
        }
    }

    /// Opens a table of pairs, or standard input for `-`, in `format` or that of the extension. Every row must have
    /// both columns; `named_by` are the options that name them, for messages.
    ///
    /// # Errors
    /// The file is missing or no table, or its header lacks a column.
    pub(crate) fn with_targets(
        path: &Path,
        format: Option<Format>,
        source_column: &str,
        target: Target,
        header: bool,
        named_by: [&'static str; 2],
    ) -> Result<RowReader> {
        let format = format.unwrap_or(Format::of(path));
        if format == Format::Text {
            let message =
                format!("a file of pairs must be .csv, .tsv or .jsonl, but it is {}", path.display());
            return Err(Error::input(message));
        }
        let (target, tokens) = match target {
            Target::Text(column) => (column, false),
            Target::Tokens(column) => (column, true),
        };
        let columns = Columns { tokens, header, named_by, ..Columns::new(source_column, target, true) };
        RowReader::start(lines_of(path)?, format, columns)
    }

    /// Opens two text files with one line per pair; `-` for standard input as the sources.
    ///
    /// # Errors
    /// One of them is missing, or is a table.
    pub(crate) fn parallel(source: &Path, target: &Path) -> Result<RowReader> {
        if let Some(table) = [source, target].into_iter().find(|path| Format::of(path) != Format::Text) {
            let message = "parallel text must have one text per line, but by its name this file is a table";
            return Err(Error::input(format!("{message}: {}", table.display()))
                .hint("a table has both sides: name their columns, or change the file's extension"));
        }
        let (lines, targets) = (lines_of(source)?, Lines::open(target)?);
        Ok(RowReader::of(lines, Layout::Parallel(targets)))
    }

    /// Reads rows of `format` from `reader`; `name` is the file's name in messages.
    ///
    /// # Errors
    /// The header lacks the source's column, or cannot be read.
    pub(crate) fn new(
        reader: Box<dyn Read + Send>,
        name: &Path,
        format: Format,
        source_column: &str,
        target_column: &str,
    ) -> Result<RowReader> {
        let columns = Columns::new(source_column, target_column, false);
        RowReader::start(Lines::new(reader, name), format, columns)
    }

    /// The line ends of its files, which are known after reading.
    pub(crate) fn line_ends(&self) -> Vec<LineEnds> {
        let targets = match &self.layout {
            Layout::Parallel(targets) => Some(targets.ends()),
            _ => None,
        };
        [self.lines.ends()].into_iter().chain(targets).collect()
    }

    /// The place of a row, for messages.
    pub(crate) fn place(&self, line: u64) -> Place {
        self.lines.place_of(line)
    }

    /// Whether the next row, or at least its first line, has arrived, so that reading does not block.
    pub(crate) fn is_ready(&self) -> bool {
        let are_ready = || match &self.layout {
            Layout::Parallel(targets) => self.lines.is_ready() && targets.is_ready(),
            _ => self.lines.is_ready(),
        };
        !self.ahead.is_empty() || are_ready()
    }

    fn of(lines: Lines, layout: Layout) -> RowReader {
        RowReader { lines, layout, carries: false, ahead: VecDeque::new(), ended: false }
    }

    fn start(mut lines: Lines, format: Format, columns: Columns) -> Result<RowReader> {
        let layout = match format {
            Format::Text => Layout::Text,
            Format::Csv => Layout::Fields(Fields::from_header(&mut lines, read_csv, columns)?),
            Format::Tsv => Layout::Fields(Fields::from_header(&mut lines, read_tsv, columns)?),
            Format::Jsonl => Layout::Objects(Keys {
                source: columns.source.to_string(),
                target: columns.target.to_string(),
                target_needed: columns.target_needed,
                tokens: columns.tokens,
                prefix: columns.prefix.map(str::to_string),
                named_by: columns.named_by,
            }),
        };
        Ok(RowReader::of(lines, layout))
    }

    /// The next row, or its error; `None` at the end. After a broken row the next one can be read.
    ///
    /// # Errors
    /// Nothing more can be read: the file fails, a quote is never closed, or files of parallel text differ in length.
    pub(crate) fn next_row(&mut self) -> Result<Option<Result<SourceRow>>> {
        if self.ended {
            return Ok(None);
        }
        match self.ahead.pop_front().unwrap_or_else(|| self.read_next()) {
            Ok(Some(row)) => Ok(Some(Ok(row))),
            Err(ReadError::Row(error)) => Ok(Some(Err(error))),
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(ReadError::End(error)) => {
                self.ended = true;
                Err(error)
            }
        }
    }

    fn read_next(&mut self) -> ReadResult<Option<SourceRow>> {
        let lines = &mut self.lines;
        match &mut self.layout {
            Layout::Text => text_row(lines),
            Layout::Parallel(targets) => parallel_row(lines, targets),
            Layout::Fields(fields) => fields.next_row(lines, self.carries),
            Layout::Objects(keys) => keys.next_row(lines, self.carries),
        }
    }
}

/// The lines of a file, or of standard input for `-`.
fn lines_of(input: &Path) -> Result<Lines> {
    match input == Path::new("-") {
        true => Ok(Lines::new(Box::new(std::io::stdin()), Path::new("<stdin>"))),
        false => Lines::open(input),
    }
}

impl<'a> Columns<'a> {
    fn new(source: &'a str, target: &'a str, target_needed: bool) -> Columns<'a> {
        Columns { source, target, target_needed, tokens: false, prefix: None, header: true, named_by: KEYS }
    }
}

fn text_row(lines: &mut Lines) -> ReadResult<Option<SourceRow>> {
    let text = lines.next_line()?.map(str::to_string);
    let line = lines.number();
    Ok(text.map(|text| SourceRow::of_text(text, line)))
}

impl Fields {
    fn from_header(lines: &mut Lines, read: ReadRecord, columns: Columns) -> Result<Fields> {
        let Some(first) = read(lines)? else {
            let file = lines.place().file;
            let must = if columns.header { "start with a header" } else { "have a row" };
            return Err(Error::input(format!("a table must {must}, but {} is empty", file.display())));
        };
        let place = lines.place_of(first.line);
        let (header, first, measure) = match columns.header {
            true => (first, None, "header"),
            false => (first.numbered(), Some(first), "first row"),
        };
        let source = find_column(&header, columns.source, columns.named_by[0], &place)?;
        // The source's column is no reference, unless a target is required.
        let is_there =
            columns.target != columns.source && header.fields.iter().any(|name| name == columns.target);
        let target = match is_there || columns.target_needed {
            true => Some(find_column(&header, columns.target, columns.named_by[1], &place)?),
            false => None,
        };
        let prefix = columns.prefix.map(|column| find_column(&header, column, PREFIX_COLUMN, &place));
        let names = header.fields.into_iter().map(Arc::from).collect();
        let (tokens, prefix) = (columns.tokens, prefix.transpose()?);
        Ok(Fields { read, first, measure, source, target, tokens, prefix, names })
    }

    /// Indices and names of the other fields. A list of tokens counts as one of them, since a reference is text.
    fn others(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        let target = self.target.filter(|_| !self.tokens);
        let is_other = move |place: usize| place != self.source && Some(place) != target;
        self.names.iter().enumerate().filter(move |(place, _)| is_other(*place))
    }

    fn next_row(&mut self, lines: &mut Lines, carries: bool) -> ReadResult<Option<SourceRow>> {
        let record = match self.first.take() {
            Some(first) => Some(first),
            None => (self.read)(lines)?,
        };
        let Some(mut record) = record else {
            return Ok(None);
        };
        let (there, line) = (record.fields.len(), record.line);
        if there != self.names.len() {
            let fields = if there == 1 { "field" } else { "fields" };
            let (measure, width) = (self.measure, self.names.len());
            let message = format!("the row has {there} {fields}, but the {measure} has {width}");
            return Err(ReadError::Row(bad_row(&message, &record.raw, &lines.place_of(line))));
        }
        // Cloned, since one column may be both sides.
        let field = |index: Option<usize>| index.and_then(|index| record.fields.get(index).cloned());
        let (reference, prefix) = (field(self.target), field(self.prefix));
        let text = record.fields.get_mut(self.source).map(std::mem::take);
        let text = text.unwrap_or_default();
        let mut carry = |(place, name): (usize, &Arc<str>)| ExtraField {
            name: name.clone(),
            value: FieldValue::Text(std::mem::take(&mut record.fields[place])),
        };
        let others = if carries { self.others().map(&mut carry).collect() } else { Vec::new() };
        Ok(Some(SourceRow { text, target: reference, prefix, others, line }))
    }
}

/// The index of a column in the header.
fn find_column(header: &Record, column: &str, key: &str, place: &Place) -> Result<usize> {
    let is_it = |index: &usize| header.fields[*index] == column;
    let mut found = (0..header.fields.len()).filter(is_it);
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index),
        (Some(_), Some(_)) => {
            let column = shorten(column);
            let message = format!("a header must name each column once, but it names `{column}` twice");
            Err(bad_row(&message, &header.raw, place))
        }
        (None, _) => {
            let names = header.fields.iter().map(String::as_str);
            let (message, hint) = no_column(column, key, header.in_file, names.clone());
            let hint = match sole_name_with_separator(names) {
                Some('\t') => {
                    "the columns are separated by tabs: change the file's extension to .tsv".to_owned()
                }
                Some(separator) => format!(
                    "are the columns separated by `{separator}`? Use a comma in .csv, and a tab in .tsv"
                ),
                None => hint,
            };
            Err(Error::input(message).at(place).hint(hint))
        }
    }
}

impl Keys {
    fn next_row(&self, lines: &mut Lines, carries: bool) -> ReadResult<Option<SourceRow>> {
        let Some(object) = read_object(lines)? else {
            return Ok(None);
        };
        let find = |key: &str, named_by| find_string(&object, key, named_by, lines).map_err(ReadError::Row);
        let text = find(&self.source, self.named_by[0])?;
        let reference = match object.get(&self.target) {
            None | Some(Value::Null) if !self.target_needed => None,
            _ if !self.target_needed && self.target == self.source => None,
            Some(list @ Value::Array(_)) if self.tokens => Some(list.to_string()),
            _ => Some(find(&self.target, self.named_by[1])?),
        };
        let prefix = match &self.prefix {
            Some(key) if object.get(key) != Some(&Value::Null) => Some(find(key, PREFIX_COLUMN)?),
            _ => None,
        };
        let others = match carries {
            true if self.tokens => extra_fields::of_object(&lines.current(), &[&self.source]),
            true => extra_fields::of_object(&lines.current(), &[&self.source, &self.target]),
            false => Vec::new(),
        };
        Ok(Some(SourceRow { text, target: reference, prefix, others, line: lines.number() }))
    }
}

/// The string of an object's key.
fn find_string(object: &Map<String, Value>, key: &str, config_key: &str, lines: &Lines) -> Result<String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            let (key, kind) = (shorten(key), kind_of(other));
            let message = format!("`{key}` must be a string, but it is {kind}");
            Err(bad_row(&message, lines.current().trim(), &lines.place()))
        }
        None => {
            let (message, hint) = no_column(key, config_key, false, object.keys().map(String::as_str));
            Err(bad_row(&message, lines.current().trim(), &lines.place()).hint(hint))
        }
    }
}

impl Iterator for RowReader {
    type Item = Result<SourceRow>;

    fn next(&mut self) -> Option<Result<SourceRow>> {
        let row = self.next_row().transpose()?.flatten();
        self.ended |= row.is_err();
        Some(row)
    }
}
