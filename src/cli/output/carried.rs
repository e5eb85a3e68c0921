//! The columns or fields of the input that are copied to the output, in front of its own.
//!
//! A column with a name that the output uses itself is not copied. The columns of a table are fixed before its first
//! row: with JSON Lines as input they are the fields of the first row. Fields that are not copied are reported at the
//! end.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::OutputFormat;
use crate::console::status;
use crate::data::readers::{ExtraField, FieldValue, RowReader, shorten};

/// The carried fields, and those that are not.
#[derive(Debug, Default)]
pub(crate) struct CarriedFields {
    /// The output's own columns; text has none.
    own: Vec<String>,
    /// The carried columns, if the output is a table.
    columns: Option<Vec<Arc<str>>>,
    /// Names of fields that the output has itself.
    taken: BTreeSet<String>,
    /// Names that occur twice in the input's header; an object can have them only once.
    twice: BTreeSet<String>,
    /// The number of rows with fields that the table has no column for, and the first of these fields.
    without_column: (usize, String),
}

impl CarriedFields {
    /// For an output with these columns; the returned reader copies the other fields. Text output has none.
    pub(crate) fn new(sources: RowReader, format: OutputFormat, own: &[&str]) -> (RowReader, CarriedFields) {
        if format == OutputFormat::Text {
            return (sources, CarriedFields::default());
        }
        let (mut sources, own) =
            (sources.keeping_extra_fields(), own.iter().map(|name| (*name).to_owned()).collect());
        let mut carried = CarriedFields { own, ..CarriedFields::default() };
        if format == OutputFormat::Csv {
            let columns = sources.extra_columns().into_iter().filter(|name| carried.is_free(name)).collect();
            carried.columns = Some(columns);
        }
        (sources, carried)
    }

    /// The columns of a table: the carried ones, then its own.
    pub(crate) fn header(&self) -> Vec<&str> {
        let carried = self.columns.iter().flatten().map(|name| &**name);
        carried.chain(self.own.iter().map(String::as_str)).collect()
    }

    /// The fields of a row to copy; `None` is an empty cell of a table.
    pub(crate) fn of_row<'a>(&mut self, others: &'a [ExtraField]) -> Vec<Option<&'a ExtraField>> {
        if self.own.is_empty() {
            return Vec::new();
        }
        let free: Vec<&ExtraField> = others.iter().filter(|other| self.is_free(&other.name)).collect();
        let Some(columns) = &self.columns else {
            let mut seen = HashSet::new();
            let (first, again): (Vec<&ExtraField>, Vec<&ExtraField>) =
                free.into_iter().partition(|other| seen.insert(&*other.name));
            self.twice.extend(again.iter().map(|other| other.name.to_string()));
            return first.into_iter().map(Some).collect();
        };
        if columns.iter().eq(free.iter().map(|other| &other.name)) {
            return free.into_iter().map(Some).collect();
        }
        let mut by_name: HashMap<&str, &ExtraField> =
            free.iter().map(|other| (&*other.name, *other)).collect();
        let cells = columns.iter().map(|name| by_name.remove(&**name)).collect();
        if let Some(other) = free.iter().find(|other| by_name.contains_key(&*other.name)) {
            if self.without_column.0 == 0 {
                self.without_column.1 = other.name.to_string();
            }
            self.without_column.0 += 1;
        }
        cells
    }

    /// Whether the output has no column of this name; if it has, the name is recorded for the report.
    fn is_free(&mut self, name: &str) -> bool {
        let free = !self.own.iter().any(|own| own == name);
        if !free && !self.taken.contains(name) {
            self.taken.insert(name.to_owned());
        }
        free
    }

    /// Reports the fields that are not copied.
    pub(crate) fn say(&self) {
        let listed = |names: &BTreeSet<String>| {
            let names: Vec<String> = names.iter().map(|name| format!("`{}`", shorten(name))).collect();
            names.join(", ")
        };
        if !self.taken.is_empty() {
            let taken = listed(&self.taken);
            status(&format!(
                "note: not copied from the input: {taken} (the output has its own columns of that name)"
            ));
        }
        if !self.twice.is_empty() {
            let twice = listed(&self.twice);
            status(&format!(
                "note: the header names {twice} more than once; the output has the values of the first one"
            ));
        }
        let (rows, first) = &self.without_column;
        if *rows > 0 {
            status(&format!(
                "note: rows with fields that the first row lacks: {rows} (the table has no column for them; --format jsonl \
                 keeps all); the first: `{}`",
                shorten(first)
            ));
        }
    }
}

/// A field as a cell: text, or else a value as written in the input.
pub(crate) fn cell(field: Option<&ExtraField>) -> String {
    match field.map(|other| &other.value) {
        None => String::new(),
        Some(FieldValue::Text(text)) => text.clone(),
        Some(FieldValue::Json(json)) => match serde_json::from_str::<Value>(json) {
            Ok(Value::String(text)) => text,
            Ok(Value::Null) => String::new(),
            _ => json.clone(),
        },
    }
}

/// A field as a member of an object.
pub(crate) fn member(other: &ExtraField) -> String {
    let value = match &other.value {
        FieldValue::Text(text) => Value::from(text.as_str()).to_string(),
        FieldValue::Json(json) => json.clone(),
    };
    format!("{}:{value}", Value::from(&*other.name))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::*;
    use crate::data::readers::{Columns, Format};

    /// The columns of a table of these rows, and the cells or members of each row.
    fn carried(
        text: &'static str,
        from: Format,
        to: OutputFormat,
    ) -> (Vec<String>, Vec<String>, CarriedFields) {
        let reader = Box::new(Cursor::new(text.as_bytes()));
        let sources =
            RowReader::read(reader, Path::new("in"), from, Columns::new(&["source"], "target")).unwrap();
        let (sources, mut carried) = CarriedFields::new(sources, to, &["source", "score"]);
        let header = carried.header().into_iter().map(str::to_owned).collect();
        let rows: Vec<String> = sources
            .map(|row| {
                let row = row.unwrap();
                let fields = carried.of_row(&row.others);
                let parts: Vec<String> = match to {
                    OutputFormat::Jsonl => fields.into_iter().flatten().map(member).collect(),
                    _ => fields.into_iter().map(cell).collect(),
                };
                parts.join("|")
            })
            .collect();
        (header, rows, carried)
    }

    #[test]
    fn a_json_value_is_copied_unchanged() {
        let values = r#"{"id":123456789012345678901234567890, "target":"t", "x":{"b":[1.0, 1e2],"a":null},"source":"s","é\n":"\u00e9"}"#;
        let (_, rows, _) = carried(values, Format::Jsonl, OutputFormat::Jsonl);
        let expected = r#""id":123456789012345678901234567890|"x":{"b":[1.0, 1e2],"a":null}|"é\n":"\u00e9""#;
        assert_eq!(rows, [expected]);
        let (header, rows, _) = carried(values, Format::Jsonl, OutputFormat::Csv);
        assert_eq!(header, ["id", "x", "é\n", "source", "score"]);
        assert_eq!(rows, [r#"123456789012345678901234567890|{"b":[1.0, 1e2],"a":null}|é"#]);
    }

    #[test]
    fn columns_keep_their_order_and_duplicate_names() {
        let text = "n,source,a,target,a\n1,s,x,t,y\n2,s,\"q,\"\"\",t,\n";
        let (header, rows, _) = carried(text, Format::Csv, OutputFormat::Csv);
        assert_eq!(header, ["n", "a", "a", "source", "score"]);
        assert_eq!(rows, ["1|x|y", "2|q,\"|"]);
        let (_, rows, notes) = carried(text, Format::Csv, OutputFormat::Jsonl);
        assert_eq!(rows, [r#""n":"1"|"a":"x""#, r#""n":"2"|"a":"q,\"""#]);
        assert_eq!(notes.twice.into_iter().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn fields_without_a_column_in_the_table_are_counted() {
        let text = concat!(
            r#"{"source":"s","a":1,"b":"x","score":7}"#,
            "\n",
            r#"{"b":null,"source":"s","c":true,"d":1}"#,
            "\n",
            r#"{"b":"y","a":2,"source":"s"}"#,
            "\n"
        );
        let (header, rows, notes) = carried(text, Format::Jsonl, OutputFormat::Csv);
        assert_eq!(header, ["a", "b", "source", "score"]);
        assert_eq!(rows, ["1|x", "|", "2|y"]);
        assert_eq!(notes.without_column, (1, "c".to_owned()));
        assert_eq!(notes.taken.into_iter().collect::<Vec<_>>(), ["score"]);
        let (_, rows, notes) = carried(text, Format::Jsonl, OutputFormat::Jsonl);
        assert_eq!(rows, [r#""a":1|"b":"x""#, r#""b":null|"c":true|"d":1"#, r#""b":"y"|"a":2"#]);
        assert_eq!(notes.without_column.0, 0);
    }

    /// A key may occur twice in an object; serde, Python and browsers use the last value.
    #[test]
    fn the_last_value_of_a_duplicate_key_is_copied() {
        let (_, rows, _) = carried(r#"{"a":1,"source":"s","b":2,"a":3}"#, Format::Jsonl, OutputFormat::Jsonl);
        assert_eq!(rows, [r#""a":3|"b":2"#]);
    }
}
