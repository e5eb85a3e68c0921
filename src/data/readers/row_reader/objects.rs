//! The rows of a table of objects: JSON Lines and JSON arrays, and what Parquet becomes.

use serde_json::{Map, Value};

use super::{Columns, PREFIX_COLUMN, SourceRow, joined};
use crate::data::readers::Place;
use crate::data::readers::extra_fields;
use crate::data::readers::lines::{ArrayPosition, Lines, ReadError, ReadResult, bad_row, shorten};
use crate::data::readers::table::{kind_of, no_column, read_object};
use crate::error::Result;

/// The keys of an object. A key that no object has may be a path: `translation.en` is the `en` of `translation`.
pub(super) struct Keys {
    sources: Vec<String>,
    target: String,
    target_needed: bool,
    tokens: bool,
    prefix: Option<String>,
    named_by: [&'static str; 2],
    /// The position in an array; `None` for an object on each line.
    array: Option<ArrayPosition>,
}

impl Keys {
    /// The keys of these columns; objects are elements of an array, or lines.
    pub(super) fn new(columns: Columns, is_array: bool) -> Keys {
        Keys {
            sources: columns.sources.iter().map(|column| (*column).to_owned()).collect(),
            target: columns.target.to_owned(),
            target_needed: columns.target_needed,
            tokens: columns.tokens,
            prefix: columns.prefix.map(str::to_owned),
            named_by: columns.named_by,
            array: is_array.then(ArrayPosition::default),
        }
    }

    pub(super) fn next_row(&mut self, lines: &mut Lines, carries: bool) -> ReadResult<Option<SourceRow>> {
        let Some(object) = read_object(lines, &mut self.array)? else {
            return Ok(None);
        };
        let row = self.row_of(&object, &lines.current(), &lines.place(), carries);
        row.map(Some).map_err(ReadError::Row)
    }

    /// The keys that are looked up, and whether each must be there.
    #[cfg(feature = "parquet")]
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, bool)> {
        let needed = self.sources.iter().chain(&self.prefix).map(|key| (key.as_str(), true));
        needed.chain([(self.target.as_str(), self.target_needed)])
    }

    /// The row of an object, as it is written.
    pub(super) fn row_of(
        &self,
        object: &Map<String, Value>,
        written: &str,
        place: &Place,
        carries: bool,
    ) -> Result<SourceRow> {
        let find = |key: &str, named_by| find_string(object, key, named_by, written, place);
        let text = match self.sources.as_slice() {
            [source] => find(source, self.named_by[0])?,
            sources => {
                let texts = sources.iter().map(|source| find(source, self.named_by[0]));
                let texts = texts.collect::<Result<Vec<String>>>()?;
                joined(texts.iter().map(String::as_str))
                    .map_err(|message| bad_row(&message, written.trim(), place))?
            }
        };
        let reference = match value_of(object, &self.target) {
            None | Some(Value::Null) if !self.target_needed => None,
            _ if !self.target_needed && self.sources.contains(&self.target) => None,
            Some(list @ Value::Array(_)) if self.tokens => Some(list.to_string()),
            _ => Some(find(&self.target, self.named_by[1])?),
        };
        let prefix = match &self.prefix {
            Some(key) if value_of(object, key) != Some(&Value::Null) => Some(find(key, PREFIX_COLUMN)?),
            _ => None,
        };
        let others = if carries { extra_fields::of_object(written, &self.left_out()) } else { Vec::new() };
        Ok(SourceRow { text, target: reference, prefix, others, place: place.clone() })
    }

    /// The keys that are no other fields: a list of tokens is one, and so are the columns of a source that has several.
    fn left_out(&self) -> Vec<&str> {
        let source = self.sources.first().filter(|_| self.sources.len() == 1);
        let target = Some(&self.target).filter(|_| !self.tokens);
        source.into_iter().chain(target).map(String::as_str).collect()
    }
}

/// The value of a key, or else of a path of keys.
fn value_of<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let nested = |(outer, inner): (&str, &str)| value_of(object.get(outer)?.as_object()?, inner);
    object
        .get(key)
        .or_else(|| key.match_indices('.').find_map(|(at, _)| nested((&key[..at], &key[at + 1..]))))
}

/// The string of an object's key.
fn find_string(
    object: &Map<String, Value>,
    key: &str,
    config_key: &str,
    written: &str,
    place: &Place,
) -> Result<String> {
    match value_of(object, key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            let (key, kind) = (shorten(key), kind_of(other));
            let message = format!("`{key}` must be a string, but it is {kind}");
            Err(bad_row(&message, written.trim(), place))
        }
        None => {
            let (message, hint) = no_column(key, config_key, false, object.keys().map(String::as_str));
            Err(bad_row(&message, written.trim(), place).hint(hint))
        }
    }
}
