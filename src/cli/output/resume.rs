//! Finds the complete rows of an unfinished output.
//!
//! Rows are written in order, so the file is a prefix of the full output. With more than one output per row of the
//! input, the outputs of a row form a group, each with its rank.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Map, Value};

use super::{OutputFormat, SAME_AS_BEFORE, csv_line};
use crate::error::{Error, Result};

/// The rows that an output already has.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Kept {
    /// Number of input rows with complete outputs.
    pub rows: u64,
    /// The first source, if the record has it.
    pub first_source: Option<String>,
    /// The column `source` of the last row, if there is one.
    pub last_source: Option<String>,
}

/// Removes a torn row, or a group that may be incomplete, moves to the end of the last complete one, and returns the
/// rows so far. A group is complete if it has `n_best` rows or another one follows. `None`, and an empty file, if not
/// even the header of a table is complete.
///
/// # Errors
/// The file cannot be read or truncated, has other columns, or more outputs per row than `n_best`. It is unchanged
/// then.
pub(crate) fn keep_complete_rows(
    file: &mut File,
    path: &Path,
    format: OutputFormat,
    columns: &[&str],
    n_best: u64,
) -> Result<Option<Kept>> {
    let header = &if format == OutputFormat::Csv { csv_line(columns)? } else { String::new() };
    let failed = |doing: &'static str| move |error: std::io::Error| Error::file(doing, path, &error);
    let rank = |row: &[u8]| field(row, format, header, "rank").and_then(|rank| rank.parse::<u64>().ok());
    let place = |row: &[u8]| match (n_best > 1).then(|| rank(row)).flatten() {
        Some(rank) => Place { rank, last: rank == n_best },
        None => Place { rank: 1, last: true },
    };
    let there = complete(&*file, format == OutputFormat::Csv, place).map_err(failed("read"))?;
    if there.rows > 0 && read_at(file, 0, header.len().min(there.bytes as usize))? != header.as_bytes() {
        return Err(other_columns(path, header.trim_end()));
    }
    if there.most > n_best {
        return Err(too_many(path, n_best, there.most));
    }
    let rows = if header.is_empty() { Some(there.rows) } else { there.rows.checked_sub(1) };
    let last = read_at(file, there.last, (there.bytes - there.last) as usize)?;
    if format == OutputFormat::Jsonl && there.rows > 0 {
        let first = first_line(file).map_err(failed("read"))?;
        if ![first.as_slice(), &last].into_iter().all(|rows| has_keys(rows, columns)) {
            return Err(other_columns(path, &format!("an object with {}", columns.join(", "))));
        }
    }
    let kept = rows.map(|rows| Kept {
        rows,
        first_source: None,
        last_source: field(&last, format, header, "source").filter(|_| rows > 0),
    });
    let cut = file.set_len(there.bytes).and_then(|()| file.seek(SeekFrom::Start(there.bytes)));
    cut.map_err(failed("write"))?;
    Ok(kept)
}

fn read_at(file: &mut File, at: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
    read.map_err(|error| Error::failure(format!("cannot read the output: {error}")))?;
    Ok(bytes)
}

fn first_line(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    file.rewind()?;
    BufReader::new(file).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Whether the first of these rows is an object with these keys; it may have others.
fn has_keys(rows: &[u8], keys: &[&str]) -> bool {
    let row = rows.split(|&byte| byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<Map<String, Value>>(row)
        .is_ok_and(|row| keys.iter().all(|key| row.contains_key(*key)))
}

/// A field of the first of these rows.
fn field(rows: &[u8], format: OutputFormat, header: &str, column: &str) -> Option<String> {
    match format {
        OutputFormat::Text => None,
        OutputFormat::Jsonl => {
            let row = rows.split(|&byte| byte == b'\n').next()?;
            match serde_json::from_slice::<Value>(row).ok()?.get(column)? {
                Value::String(text) => Some(text.clone()),
                Value::Null => None,
                other => Some(other.to_string()),
            }
        }
        OutputFormat::Csv => {
            let place = first_record(header.as_bytes())?.iter().position(|name| name == column)?;
            Some(first_record(rows)?.get(place)?.to_owned())
        }
    }
}

fn first_record(table: &[u8]) -> Option<csv::StringRecord> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(table);
    reader.records().next()?.ok()
}

/// The position of a row in its group.
struct Place {
    /// Its rank; a group begins with 1.
    rank: u64,
    last: bool,
}

/// The complete groups of a file; a group may be a single row.
#[derive(Debug, Default, PartialEq)]
struct Complete {
    rows: u64,
    /// Start and end of the last group.
    last: u64,
    bytes: u64,
    /// The highest rank of all rows.
    most: u64,
}

impl Complete {
    /// Adds a complete group.
    fn add(&mut self, first: u64, end: u64) {
        *self = Complete { rows: self.rows + 1, last: first, bytes: end, most: self.most };
    }
}

/// Finds the complete groups of a file. A quoted field of a table may contain line breaks: within it the number of
/// quotes so far is odd.
fn complete(file: impl Read, csv: bool, place: impl Fn(&[u8]) -> Place) -> std::io::Result<Complete> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut quoted, mut row, mut at) = (false, Vec::new(), 0);
    let (mut open, mut found) = (None, Complete::default());
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(found);
        }
        for &byte in buffer {
            row.push(byte);
            quoted ^= csv && byte == b'"';
            if byte != b'\n' || quoted {
                continue;
            }
            let Place { rank, last } = place(&row);
            found.most = found.most.max(rank);
            if rank == 1
                && let Some(begun) = open.replace(at)
            {
                found.add(begun, at);
            }
            at += row.len() as u64;
            row.clear();
            if last && let Some(begun) = open.take() {
                found.add(begun, at);
            }
        }
        let used = buffer.len();
        reader.consume(used);
    }
}

fn other_columns(path: &Path, first: &str) -> Error {
    let message = format!("an output to resume must begin with `{first}`, but {} does not", path.display());
    Error::input(message).hint(SAME_AS_BEFORE)
}

fn too_many(path: &Path, n_best: u64, rank: u64) -> Error {
    let path = path.display();
    let message = format!(
        "an output to resume must have at most {n_best} outputs per row (`decoding.n_best`), but {path} has one of rank \
         {rank}"
    );
    Error::input(message).hint(SAME_AS_BEFORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(_: &[u8]) -> Place {
        Place { rank: 1, last: true }
    }

    #[test]
    fn the_complete_rows_of_a_table_cut_anywhere_are_counted() {
        let rows = ["source,b\n", "1,\"x\ny\"\n", "\"2\n\",\"say \"\"\n\"\"\"\n", "3,\n"];
        let text = rows.concat();
        let ends = |n: usize| rows[..n].concat().len();
        for cut in 0..=text.len() {
            let there = (0..=rows.len()).filter(|&n| ends(n) <= cut).max().unwrap_or(0);
            let (last, bytes) = (ends(there.saturating_sub(1)) as u64, ends(there) as u64);
            let found = complete(&text.as_bytes()[..cut], true, alone).unwrap();
            let most = u64::from(there > 0);
            assert_eq!(found, Complete { rows: there as u64, last, bytes, most }, "cut after byte {cut}");
        }
        let sources = rows.map(|row| field(row.as_bytes(), OutputFormat::Csv, rows[0], "source").unwrap());
        assert_eq!(sources, ["source", "1", "2\n", "3"]);
    }

    #[test]
    fn a_quote_is_an_ordinary_character_in_text() {
        let found = complete(&b"\"a\nb\n\nc"[..], false, alone).unwrap();
        assert_eq!(found, Complete { rows: 3, last: 5, bytes: 6, most: 1 });
    }

    /// A group ends with its third row, or where another one begins.
    #[test]
    fn a_group_that_may_lack_a_row_is_incomplete() {
        let place = |row: &[u8]| Place { rank: u64::from(row[0] - b'0'), last: row[0] == b'3' };
        let text = b"1\n2\n3\n1\n2\n1\n1\n2\n3\n1\n";
        let ends = [0, 6, 10, 12, 18];
        let begins = [0, 0, 6, 10, 12];
        for cut in 0..=text.len() {
            // Short groups are complete if another row follows.
            let rows = [6, 12, 14, 18].iter().filter(|&&known| known <= cut).count();
            let most = text[..cut]
                .split_inclusive(|&byte| byte == b'\n')
                .filter(|row| row.len() == 2)
                .map(|row| row[0] - b'0');
            let most = u64::from(most.max().unwrap_or(0));
            let expected = Complete { rows: rows as u64, last: begins[rows], bytes: ends[rows], most };
            assert_eq!(complete(&text[..cut], false, place).unwrap(), expected, "cut after byte {cut}");
        }
    }
}
