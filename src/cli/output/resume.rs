//! What a killed command left: the rows of its output that are complete.
//!
//! Rows are written one behind the other, so what is there is the beginning of what was to be there.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

use super::OutputFormat;
use crate::error::{Error, Result};

/// What an output holds already.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    /// Complete rows, the header not counted.
    pub rows: u64,
    /// The column `source` of the last of them, where there is one.
    pub last_source: Option<String>,
}

/// Cuts a torn row off, stands behind the last complete one, and says what is there. Nothing where not even the header
/// of a table is complete: the file is empty then.
///
/// # Errors
/// The file cannot be read or cut, or begins with another header.
pub fn keep_complete_rows(
    file: &mut File,
    path: &Path,
    format: OutputFormat,
    header: &str,
) -> Result<Option<Kept>> {
    let failed = |doing: &'static str| move |error: std::io::Error| Error::file(doing, path, &error);
    let there = complete(&*file, format == OutputFormat::Csv).map_err(failed("read"))?;
    if there.rows > 0 && read_at(file, 0, header.len().min(there.bytes as usize))? != header.as_bytes() {
        return Err(other_columns(path, header));
    }
    let rows = if header.is_empty() { Some(there.rows) } else { there.rows.checked_sub(1) };
    let last = read_at(file, there.last, (there.bytes - there.last) as usize)?;
    let kept =
        rows.map(|rows| Kept { rows, last_source: source(&last, format, header).filter(|_| rows > 0) });
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

/// The source of a row.
fn source(row: &[u8], format: OutputFormat, header: &str) -> Option<String> {
    match format {
        OutputFormat::Text => None,
        OutputFormat::Jsonl => {
            Some(serde_json::from_slice::<Value>(row).ok()?.get("source")?.as_str()?.to_owned())
        }
        OutputFormat::Csv => {
            let place = header.trim_end().split(',').position(|name| name == "source")?;
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row);
            Some(reader.records().next()?.ok()?.get(place)?.to_owned())
        }
    }
}

/// The complete rows of a file.
#[derive(Debug, Default, PartialEq)]
struct Complete {
    rows: u64,
    /// Where the last of them begins, and where it ends.
    last: u64,
    bytes: u64,
}

/// Complete rows from the start of a file. A quoted field of a table may hold line breaks: within it the number of
/// quotes so far is odd.
fn complete(file: impl Read, csv: bool) -> std::io::Result<Complete> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut quoted, mut at, mut found) = (false, 0, Complete::default());
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(found);
        }
        for byte in buffer {
            at += 1;
            match byte {
                b'"' if csv => quoted = !quoted,
                b'\n' if !quoted => found = Complete { rows: found.rows + 1, last: found.bytes, bytes: at },
                _ => {}
            }
        }
        let used = buffer.len();
        reader.consume(used);
    }
}

fn other_columns(path: &Path, header: &str) -> Error {
    let message = format!(
        "an output that is continued must begin with `{}`, but {} does not",
        header.trim_end(),
        path.display()
    );
    Error::input(message).hint("--resume needs the same input and the same options as before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wherever_a_table_is_torn_its_complete_rows_are_counted() {
        let rows = ["source,b\n", "1,\"x\ny\"\n", "\"2\n\",\"say \"\"\n\"\"\"\n", "3,\n"];
        let text = rows.concat();
        let ends = |n: usize| rows[..n].concat().len();
        for cut in 0..=text.len() {
            let there = (0..=rows.len()).filter(|&n| ends(n) <= cut).max().unwrap_or(0);
            let (last, bytes) = (ends(there.saturating_sub(1)) as u64, ends(there) as u64);
            let found = complete(&text.as_bytes()[..cut], true).unwrap();
            assert_eq!(found, Complete { rows: there as u64, last, bytes }, "cut behind byte {cut}");
        }
        let sources = rows.map(|row| source(row.as_bytes(), OutputFormat::Csv, rows[0]).unwrap());
        assert_eq!(sources, ["source", "1", "2\n", "3"]);
    }

    #[test]
    fn a_quote_is_nothing_special_in_text() {
        assert_eq!(complete(&b"\"a\nb\n\nc"[..], false).unwrap(), Complete { rows: 3, last: 5, bytes: 6 });
    }
}
