//! The rows of one input, streamed: text, parallel text or a table, from files or from standard input.
//!
//! `decode` reads inputs of any length row by row; training pairs are read with it as well. An empty source is a row
//! like any other here. Texts only: no tokens.

mod extra_columns;
mod fields;
mod objects;
mod parallel;
#[cfg(feature = "parquet")]
mod parquet;
mod replaced;

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

use super::Place;
use super::extra_fields::ExtraField;
use super::format::Format;
use super::lines::{LineEnds, Lines, ReadError, ReadResult};
use super::table::{read_csv, read_tsv};
use crate::error::{Error, Result};
use fields::Fields;
use objects::Keys;
use parallel::parallel_row;

/// Between the columns of a source that has several.
pub(crate) const COLUMN_SEPARATOR: char = '\t';

/// A row of an input: its texts, and where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// The source, as it is in the file; several columns are separated by tabs.
    pub text: String,
    /// The target, if the table has its column; always in parallel text. A list of tokens is kept as JSON.
    pub target: Option<String>,
    /// The forced prefix of the output, if a table has a column for it.
    pub prefix: Option<String>,
    /// The fields that are neither source nor reference, if they are kept ([`RowReader::keeping_extra_fields`]).
    pub others: Vec<ExtraField>,
    /// Where the row starts.
    pub place: Place,
}

impl SourceRow {
    /// A source without other fields.
    fn of_text(text: String, place: Place) -> SourceRow {
        SourceRow { text, target: None, prefix: None, others: Vec::new(), place }
    }
}

/// The requested columns.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// The columns that a source is made of.
    pub sources: &'a [&'a str],
    /// The column of targets.
    pub target: &'a str,
    /// Whether a missing target, of a table or a row, is an error.
    pub target_needed: bool,
    /// Whether targets are lists of tokens, as JSON.
    pub tokens: bool,
    /// The column of forced prefixes.
    pub prefix: Option<&'a str>,
    /// Whether the first row of .csv and .tsv names the columns; otherwise they are numbers, from 1.
    pub header: bool,
    /// The options or keys that name the columns of source and target, for messages.
    pub named_by: [&'static str; 2],
}

/// How to find source and target in a row.
enum Layout {
    Text,
    /// The targets, one line per source.
    Parallel(Lines),
    Fields(Fields),
    Objects(Keys),
    /// Apart from the lines, which are none.
    #[cfg(feature = "parquet")]
    Parquet(Box<self::parquet::Table>),
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
    /// default.
    ///
    /// The columns are only for tables; that of the target may be missing if it is not required. A line of text has all
    /// columns of its source.
    ///
    /// # Errors
    /// The file is missing, or its header lacks the source's column, a required one, or that of the prefixes.
    pub fn open(input: &Path, format: Option<Format>, columns: Columns) -> Result<RowReader> {
        RowReader::of_file(input, format.unwrap_or(Format::of(input)), columns)
    }

    /// Whether rows may have a reference: a table with the target's column, or any of objects.
    pub(crate) fn has_targets(&self) -> bool {
        match &self.layout {
            Layout::Text => false,
            Layout::Fields(fields) => fields.target.is_some(),
            Layout::Parallel(_) | Layout::Objects(_) => true,
            #[cfg(feature = "parquet")]
            Layout::Parquet(_) => true,
        }
    }

    /// Opens a table of pairs, or standard input for `-`, in `format` or that of the extension. Every row must have all
    /// columns.
    ///
    /// # Errors
    /// The file is missing or no table, or its header lacks a column.
    pub(crate) fn with_targets(path: &Path, format: Option<Format>, columns: Columns) -> Result<RowReader> {
        let format = format.unwrap_or(Format::of(path));
        if format == Format::Text {
            let message = "a file of pairs must be .csv, .tsv, .jsonl, .json or .parquet, but it is";
            return Err(Error::input(format!("{message} {}", path.display())));
        }
        RowReader::of_file(path, format, Columns { target_needed: true, ..columns })
    }

    fn of_file(input: &Path, format: Format, columns: Columns) -> Result<RowReader> {
        match format {
            Format::Parquet => RowReader::of_parquet(input, columns),
            _ => RowReader::start(lines_of(input)?, format, columns),
        }
    }

    #[cfg(feature = "parquet")]
    fn of_parquet(input: &Path, columns: Columns) -> Result<RowReader> {
        let table = self::parquet::Table::open(input, columns)?;
        let lines = Lines::new(Box::new(std::io::empty()), input);
        Ok(RowReader::of(lines, Layout::Parquet(Box::new(table))))
    }

    #[cfg(not(feature = "parquet"))]
    fn of_parquet(input: &Path, _: Columns) -> Result<RowReader> {
        let message =
            "Parquet is read only by a build with the cargo feature `parquet`, but this one is without it";
        Err(Error::input(message)
            .at(input.display())
            .hint("build with it: `cargo build --release --features parquet`"))
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
    pub(crate) fn read(
        reader: Box<dyn Read + Send>,
        name: &Path,
        format: Format,
        columns: Columns,
    ) -> Result<RowReader> {
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
            #[cfg(feature = "parquet")]
            Layout::Parquet(_) => true,
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
            Format::Jsonl => Layout::Objects(Keys::new(columns, false)),
            // JSON Lines often have this extension, too.
            Format::Json => Layout::Objects(Keys::new(columns, lines.first_byte()? != Some(b'{'))),
            Format::Parquet => {
                let message =
                    "Parquet must be in a file, since it is read from its end, but this is a stream";
                return Err(Error::input(message).at(lines.place().file.display()));
            }
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
            #[cfg(feature = "parquet")]
            Layout::Parquet(table) => table.next_row(lines, self.carries),
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
    /// These columns of a table with a header, as a config names them; the target may be missing.
    pub fn new(sources: &'a [&'a str], target: &'a str) -> Columns<'a> {
        let (tokens, header) = (false, true);
        Columns { sources, target, target_needed: false, tokens, prefix: None, header, named_by: KEYS }
    }
}

/// The columns of a source as one text, or what is wrong with one of them.
fn joined<'a>(columns: impl Iterator<Item = &'a str> + Clone) -> std::result::Result<String, String> {
    if columns.clone().any(|text| text.contains(COLUMN_SEPARATOR)) {
        return Err("a column of a source that has several must not contain a tab, but one does".to_owned());
    }
    Ok(columns.collect::<Vec<_>>().join(COLUMN_SEPARATOR.encode_utf8(&mut [0; 4])))
}

fn text_row(lines: &mut Lines) -> ReadResult<Option<SourceRow>> {
    let text = lines.next_line()?.map(str::to_string);
    let place = lines.place();
    Ok(text.map(|text| SourceRow::of_text(text, place)))
}

impl Iterator for RowReader {
    type Item = Result<SourceRow>;

    fn next(&mut self) -> Option<Result<SourceRow>> {
        let row = self.next_row().transpose()?.flatten();
        self.ended |= row.is_err();
        Some(row)
    }
}
