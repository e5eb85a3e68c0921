//! The rows of a Parquet file: each becomes the text of a JSON object, from which [`Keys`] takes its columns.
//!
//! Rows are read as they are asked for, a page of each column at a time; only the columns that are named are read, unless
//! the others are kept as well. A number has the text that it has in JSON. Bytes without a type are text if they are
//! UTF-8, since older programs write text so; otherwise they are an array of numbers. Crate `parquet` may panic on a
//! damaged file, which is an error here.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::errors::Result as ParquetResult;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};

use super::objects::Keys;
use super::{Columns, SourceRow};
use crate::data::readers::Place;
use crate::data::readers::format::Format;
use crate::data::readers::lines::{LONGEST, Lines, ReadError, ReadResult, bad_row, shorten};
use crate::error::{Error, Result, reason};

/// An open file.
pub(super) struct Table {
    /// The file, until its first row is read.
    file: Option<Box<dyn FileReader>>,
    rows: Option<RowIter<'static>>,
    keys: Keys,
    /// Rows so far.
    number: u64,
}

impl Table {
    /// Opens a file, which is read at any place.
    pub(super) fn open(path: &Path, columns: Columns) -> Result<Table> {
        if path == Path::new("-") || Format::is_compressed(path) {
            return Err(not_a_file(path));
        }
        let failed = |error: std::io::Error| Error::file("read", path, &error);
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(not_a_file(path));
        }
        let file = File::open(path).map_err(failed)?;
        let file = guarded(|| SerializedFileReader::new(file))
            .map_err(|reason| damaged(&reason).at(path.display()))?;
        Ok(Table { file: Some(Box::new(file)), rows: None, keys: Keys::new(columns, false), number: 0 })
    }

    /// The next row. Its place is that of `lines`, with the number of the row as the line.
    pub(super) fn next_row(&mut self, lines: &Lines, carries: bool) -> ReadResult<Option<SourceRow>> {
        let place = lines.place_of(self.number + 1);
        let text = guarded(|| self.next_object(carries)).map_err(|reason| damaged(&reason).at(&place))?;
        let Some(text) = text else { return Ok(None) };
        self.number += 1;
        self.row_of(&text, &place, carries).map(Some)
    }

    fn row_of(&self, text: &str, place: &Place, carries: bool) -> ReadResult<SourceRow> {
        if text.len() > LONGEST {
            let message = format!("a row may have at most {} MiB, but this one is longer", LONGEST >> 20);
            return Err(ReadError::Row(bad_row(&message, text, place)));
        }
        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| damaged(&error.to_string()).at(place))?;
        self.keys.row_of(&object, text, place, carries).map_err(ReadError::Row)
    }

    /// The next row as JSON; `None` at the end.
    fn next_object(&mut self, carries: bool) -> ParquetResult<Option<String>> {
        if let Some(file) = self.file.take() {
            let chosen = match carries {
                true => None,
                false => chosen(&self.keys, file.metadata().file_metadata().schema())?,
            };
            self.rows = Some(RowIter::from_file_into(file).project(chosen)?);
        }
        let Some(row) = self.rows.as_mut().and_then(Iterator::next).transpose()? else {
            return Ok(None);
        };
        let mut text = String::new();
        write_object(&row, &mut text);
        Ok(Some(text))
    }
}

/// The columns with these keys; `None` for all columns if one is missing, so that its error lists them.
fn chosen(keys: &Keys, schema: &Type) -> ParquetResult<Option<Type>> {
    let mut columns: Vec<TypePtr> = Vec::new();
    for (key, is_needed) in keys.named() {
        match column_of(schema, key) {
            Some(column) if !columns.contains(column) => columns.push(column.clone()),
            None if is_needed => return Ok(None),
            _ => {}
        }
    }
    Type::group_type_builder(schema.name()).with_fields(columns).build().map(Some)
}

/// The column of a group that has a key, or a path of keys.
fn column_of<'a>(group: &'a Type, key: &str) -> Option<&'a TypePtr> {
    let columns: &'a [TypePtr] = if group.is_group() { group.get_fields() } else { &[] };
    let has_path = |column: &TypePtr| {
        let inner = key.strip_prefix(column.name()).and_then(|rest| rest.strip_prefix('.'));
        inner.is_some_and(|inner| column_of(column, inner).is_some())
    };
    let named = columns.iter().find(|column| column.name() == key);
    named.or_else(|| columns.iter().find(|column| has_path(column)))
}

fn write_object(row: &Row, text: &mut String) {
    text.push('{');
    for (place, (name, field)) in row.get_column_iter().enumerate() {
        write_member(place, string(name), field, text);
    }
    text.push('}');
}

/// Writes the member of an object at this place; `name` is in quotes.
fn write_member(place: usize, name: String, field: &Field, text: &mut String) {
    if place > 0 {
        text.push(',');
    }
    text.push_str(&name);
    text.push(':');
    write_value(field, text);
}

fn write_value(field: &Field, text: &mut String) {
    match field {
        Field::Group(row) => write_object(row, text),
        Field::ListInternal(list) => {
            text.push('[');
            for (place, element) in list.elements().iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_value(element, text);
            }
            text.push(']');
        }
        Field::MapInternal(map) => {
            text.push('{');
            for (place, (key, value)) in map.entries().iter().enumerate() {
                write_member(place, key_of(key), value, text);
            }
            text.push('}');
        }
        field => text.push_str(&of_one(field)),
    }
}

/// The key of a map, in quotes.
fn key_of(key: &Field) -> String {
    match key {
        Field::Str(key) => string(key),
        key => {
            let mut text = String::new();
            write_value(key, &mut text);
            // A number becomes a string.
            if text.starts_with('"') { text } else { string(&text) }
        }
    }
}

/// A value that consists of no others.
fn of_one(field: &Field) -> String {
    let number = |is_finite: bool, text: String| if is_finite { text } else { "null".to_owned() };
    match field {
        Field::Str(value) => string(value),
        Field::Bytes(value) => match std::str::from_utf8(value.data()) {
            Ok(value) => string(value),
            Err(_) => field.to_string(),
        },
        // Their own `Display`: that of the field has exponents where JSON has none.
        Field::Float16(value) => number(value.is_finite(), value.to_string()),
        Field::Float(value) => number(value.is_finite(), value.to_string()),
        Field::Double(value) => number(value.is_finite(), value.to_string()),
        Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_) => string(&field.to_string()),
        field => field.to_string(),
    }
}

/// A string of JSON.
fn string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Runs `work`, in which a damaged file may cause a panic. The error is what is wrong.
fn guarded<T>(work: impl FnOnce() -> ParquetResult<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(payload) => Err(reason(payload.as_ref()).to_owned()),
    }
}

fn damaged(reason: &str) -> Error {
    let reason = shorten(reason);
    Error::input(format!(
        "a Parquet file must be whole and follow its format, but this one does not: {reason}"
    ))
}

fn not_a_file(path: &Path) -> Error {
    let name = if path == Path::new("-") { "standard input".into() } else { path.display().to_string() };
    let message =
        "Parquet must be in a file that is not compressed as a whole, since it is read from its end";
    Error::input(format!("{message}, but the input is {name}")).hint("save it as a .parquet file")
}

#[cfg(test)]
mod tests;
