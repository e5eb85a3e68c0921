//! Rows of named fields: CSV (RFC 4180), TSV, and JSON objects.
//!
//! CSV is parsed here, since crate `csv` reports the wrong line after CRLF and blank lines, and silently reads to the
//! end of the file if a quote is never closed. A TSV field is the text between two tabs (IANA
//! text/tab-separated-values): a quote in it is a character, as in corpora that come as TSV. Blank lines are not rows.

use serde_json::{Map, Value};

use super::lines::{ArrayPosition, LONGEST, Lines, ReadError, ReadResult, bad_row, shorten};
use crate::error::Error;

/// A row of a CSV or TSV file.
pub(super) struct Record {
    pub fields: Vec<String>,
    /// The physical line where it starts.
    pub line: u64,
    /// Whether it is in the file, unlike the numbered header of a table without one.
    pub in_file: bool,
    /// Its start as in the file, for messages.
    pub raw: String,
    /// Its approximate length in the file.
    bytes: usize,
    /// An error in a row whose end is known.
    fault: Option<Error>,
}

/// The state of the CSV parser.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// At the start of a field.
    Start,
    /// In a field without quotes.
    Plain,
    /// Between the quotes of a field.
    Quoted,
    /// After a quote within a quoted field: it ends the field, or another one follows and both are one character.
    Quote,
}

/// The next row of a CSV file, or `None` at its end. A quoted field may span several lines, joined by `\n`.
///
/// A line that is not UTF-8, or a field that continues after its closing quote, breaks only its own row. If such a row
/// spans several lines, the start of the next row is a guess.
pub(super) fn read_csv(lines: &mut Lines) -> ReadResult<Option<Record>> {
    let mut record: Option<Record> = None;
    let mut state = State::Start;
    loop {
        let fault = match lines.next_line() {
            Ok(Some(_)) => None,
            Ok(None) => {
                return record.map_or(Ok(None), |open| Err(ReadError::End(never_closed(&open, lines))));
            }
            Err(ReadError::Row(error)) => Some(error),
            Err(end) => return Err(end),
        };
        if let Some(error) = fault.as_ref().filter(|_| !lines.is_whole()) {
            return Err(ReadError::End(error.clone()));
        }
        let line = lines.current();
        if record.is_none() && line.is_empty() {
            continue;
        }
        let begun = record.get_or_insert_with(|| Record::new(lines.number(), vec![String::new()]));
        begun.keep_raw(&line);
        begun.fault = begun.fault.take().or(fault);
        let slipped;
        (state, slipped) = split_csv(&line, state, &mut begun.fields);
        if slipped {
            let error = continues_after_quote(begun, lines);
            return Err(if state == State::Quoted { ReadError::End(error) } else { ReadError::Row(error) });
        }
        if begun.bytes > LONGEST {
            return Err(ReadError::End(never_ends(begun, lines)));
        }
        if state == State::Quoted {
            lines.continue_field();
        } else {
            return begun.fault.take().map_or(Ok(record), |error| Err(ReadError::Row(error)));
        }
    }
}

/// Splits a line of a row into `fields`, the last of which is the open one. Returns the state at the line's end, which
/// is `Quoted` if the row continues, and whether a field continues after its closing quote.
fn split_csv(line: &str, mut state: State, fields: &mut Vec<String>) -> (State, bool) {
    let mut slipped = false;
    let mut field = fields.pop().unwrap_or_default();
    for character in line.chars() {
        state = match (state, character) {
            (State::Start, '"') => State::Quoted,
            (State::Quoted, '"') => State::Quote,
            (State::Start | State::Plain | State::Quote, ',') => {
                fields.push(std::mem::take(&mut field));
                State::Start
            }
            (State::Start | State::Plain, _) => {
                field.push(character);
                State::Plain
            }
            (State::Quoted, _) | (State::Quote, '"') => {
                field.push(character);
                State::Quoted
            }
            (State::Quote, _) => {
                slipped = true;
                State::Plain
            }
        };
    }
    if state == State::Quoted {
        field.push('\n');
    }
    fields.push(field);
    (state, slipped)
}

/// The next row of a TSV file, or `None` at its end.
pub(super) fn read_tsv(lines: &mut Lines) -> ReadResult<Option<Record>> {
    loop {
        let number = lines.number() + 1;
        match lines.next_line()? {
            None => return Ok(None),
            Some("") => {}
            Some(line) => {
                let mut record = Record::new(number, line.split('\t').map(str::to_string).collect());
                record.keep_raw(line);
                return Ok(Some(record));
            }
        }
    }
}

/// The next object of a file, from the last line read; `None` at the end. With a position it is an element of an array,
/// else a line.
pub(super) fn read_object(
    lines: &mut Lines,
    array: &mut Option<ArrayPosition>,
) -> ReadResult<Option<Map<String, Value>>> {
    loop {
        let (what, text) = match array {
            Some(position) => ("each element", lines.next_element(position)?),
            None => ("each line", lines.next_line()?),
        };
        let Some(text) = text else { return Ok(None) };
        if array.is_none() && text.trim().is_empty() {
            continue;
        }
        let message = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => return Ok(Some(object)),
            Ok(other) => format!("{what} must be a JSON object, but it is {}", kind_of(&other)),
            Err(error) => {
                let text = error.to_string();
                let reason = text.split(" at line").next().unwrap_or_default();
                format!("{what} must be a JSON object, but at column {}: {reason}", error.column())
            }
        };
        return Err(ReadError::Row(bad_row(&message, lines.current().trim(), &lines.place())));
    }
}

/// A JSON value's kind with its article.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl Record {
    fn new(line: u64, fields: Vec<String>) -> Record {
        Record { fields, line, in_file: true, raw: String::new(), bytes: 0, fault: None }
    }

    /// A header for a table without one: the numbers of the columns.
    pub(super) fn numbered(&self) -> Record {
        let fields = (1..=self.fields.len()).map(|number| number.to_string()).collect();
        Record { in_file: false, raw: self.raw.clone(), ..Record::new(self.line, fields) }
    }

    /// Keeps as much of a line as a message may show: a row with an unclosed quote can be the rest of the file.
    fn keep_raw(&mut self, line: &str) {
        self.bytes += line.len() + 1;
        if self.raw.len() < 400 {
            if !self.raw.is_empty() {
                self.raw.push('\n');
            }
            self.raw.extend(line.chars().take(100));
        }
    }
}

const QUOTE_HINT: &str = "to write a quote as text, double it inside a quoted field: \"say \"\"yes\"\"\"";

fn never_closed(record: &Record, lines: &Lines) -> Error {
    let message = "a quote opens a field in this row and must be closed, but the file ends";
    bad_row(message, &record.raw, &lines.place_of(record.line)).hint(QUOTE_HINT)
}

fn never_ends(record: &Record, lines: &Lines) -> Error {
    let message = format!(
        "a quote opens a field in this row and must be closed within {} MiB, but it is not",
        LONGEST >> 20
    );
    bad_row(&message, &record.raw, &lines.place_of(record.line)).hint(QUOTE_HINT)
}

fn continues_after_quote(record: &Record, lines: &Lines) -> Error {
    let end = lines.number();
    let where_from = if end == record.line { String::new() } else { format!(" in line {end}") };
    let message = format!("a comma must follow a closing quote, but the field continues{where_from}");
    bad_row(&message, &record.raw, &lines.place_of(record.line)).hint(QUOTE_HINT)
}

/// The likely separator of a header that was read as a single name.
pub(super) fn sole_name_with_separator<'a>(mut there: impl Iterator<Item = &'a str>) -> Option<char> {
    let sole = there.next().filter(|_| there.next().is_none())?;
    sole.chars().find(|character| [';', '\t', '|', ','].contains(character))
}

/// The error for a missing column, with the existing ones (of a header or an object) and the one that is likely meant:
/// message and hint.
pub(super) fn no_column<'a>(
    column: &str,
    key: &str,
    of_header: bool,
    there: impl Iterator<Item = &'a str> + Clone,
) -> (String, String) {
    const LISTED: usize = 20;
    let mut listed: Vec<String> =
        there.clone().take(LISTED).map(|name| format!("`{}`", shorten(name))).collect();
    if there.clone().nth(LISTED).is_some() {
        listed.push("…".to_string());
    }
    let listed = if listed.is_empty() {
        "there is none".to_string()
    } else {
        format!("there are {}", listed.join(", "))
    };
    let message = format!("there must be a column `{}`, but {listed}", shorten(column));
    let likeness = |name: &str| strsim::jaro_winkler(&column.to_lowercase(), &name.trim().to_lowercase());
    let nearest = there.map(|name| (likeness(name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((likeness, name)) if likeness > 0.7 => {
            format!("did you mean `{}`? `{key}` names the column", shorten(name))
        }
        _ if of_header => {
            let without = if key.starts_with("--") { "--header false" } else { "data.header = false" };
            format!(
                "`{key}` names the column, and the first row names all columns; for a file without such a row use \
                 `{without}`"
            )
        }
        _ => format!("`{key}` names the column"),
    };
    (message, hint)
}
