//! The rows of a table with fields by place: CSV and TSV.

use std::sync::Arc;

use super::{Columns, PREFIX_COLUMN, SourceRow, joined};
use crate::data::readers::Place;
use crate::data::readers::extra_fields::{ExtraField, FieldValue};
use crate::data::readers::lines::{Lines, ReadError, ReadResult, bad_row, shorten};
use crate::data::readers::table::{Record, no_column, sole_name_with_separator};
use crate::error::{Error, Result};

/// A table: the reader of its rows, the indices of its fields, and all names.
pub(super) struct Fields {
    read: ReadRecord,
    /// The first row of a table without a header, until it is returned.
    first: Option<Record>,
    /// What sets the number of fields, for messages.
    measure: &'static str,
    /// The columns that a source is made of.
    sources: Vec<usize>,
    pub(super) target: Option<usize>,
    tokens: bool,
    prefix: Option<usize>,
    names: Vec<Arc<str>>,
}

type ReadRecord = fn(&mut Lines) -> ReadResult<Option<Record>>;

impl Fields {
    pub(super) fn from_header(lines: &mut Lines, read: ReadRecord, columns: Columns) -> Result<Fields> {
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
        let find_source = |column: &&str| find_column(&header, column, columns.named_by[0], &place);
        let sources = columns.sources.iter().map(find_source).collect::<Result<Vec<usize>>>()?;
        // The source's column is no reference, unless a target is required.
        let is_there = !columns.sources.contains(&columns.target)
            && header.fields.iter().any(|name| name == columns.target);
        let target = match is_there || columns.target_needed {
            true => Some(find_column(&header, columns.target, columns.named_by[1], &place)?),
            false => None,
        };
        let prefix = columns.prefix.map(|column| find_column(&header, column, PREFIX_COLUMN, &place));
        let names = header.fields.into_iter().map(Arc::from).collect();
        let (tokens, prefix) = (columns.tokens, prefix.transpose()?);
        Ok(Fields { read, first, measure, sources, target, tokens, prefix, names })
    }

    /// Indices and names of the other fields. A list of tokens counts as one of them, since a reference is text; and so
    /// do the columns of a source that has several.
    pub(super) fn others(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        let target = self.target.filter(|_| !self.tokens);
        let source = self.sources.first().filter(|_| self.sources.len() == 1).copied();
        let is_other = move |place: usize| Some(place) != source && Some(place) != target;
        self.names.iter().enumerate().filter(move |(place, _)| is_other(*place))
    }

    pub(super) fn next_row(&mut self, lines: &mut Lines, carries: bool) -> ReadResult<Option<SourceRow>> {
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
        let text = match self.sources.as_slice() {
            [source] => std::mem::take(&mut record.fields[*source]),
            sources => joined(sources.iter().map(|&source| record.fields[source].as_str()))
                .map_err(|message| ReadError::Row(bad_row(&message, &record.raw, &lines.place_of(line))))?,
        };
        let mut carry = |(place, name): (usize, &Arc<str>)| ExtraField {
            name: name.clone(),
            value: FieldValue::Text(std::mem::take(&mut record.fields[place])),
        };
        let others = if carries { self.others().map(&mut carry).collect() } else { Vec::new() };
        Ok(Some(SourceRow { text, target: reference, prefix, others, place: lines.place_of(line) }))
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
