//! What a killed command left: the rows of its output that are complete.
//!
//! Rows are written one behind the other, so what is there is the beginning of what was to be there.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::OutputFormat;
use crate::error::{Error, Result};

/// Cuts a torn row off, stands behind the last complete one, and says how many rows there are, the header not counted.
/// Nothing where not even the header of a table is complete: the file is empty then.
///
/// # Errors
/// The file cannot be read or cut, or begins with another header.
pub fn keep_complete_rows(
    file: &mut File,
    path: &Path,
    format: OutputFormat,
    header: &str,
) -> Result<Option<u64>> {
    let failed = |doing: &'static str| move |error: std::io::Error| Error::file(doing, path, &error);
    let (lines, bytes) = complete(&*file, format == OutputFormat::Csv).map_err(failed("read"))?;
    if lines > 0 {
        let mut start = vec![0; header.len()];
        file.seek(SeekFrom::Start(0)).map_err(failed("read"))?;
        let same = bytes >= start.len() as u64 && file.read_exact(&mut start).is_ok();
        if !same || start != header.as_bytes() {
            return Err(other_columns(path, header));
        }
    }
    let rows = if header.is_empty() { Some(lines) } else { lines.checked_sub(1) };
    let cut = file.set_len(bytes).and_then(|()| file.seek(SeekFrom::Start(bytes)));
    cut.map_err(failed("write"))?;
    Ok(rows)
}

/// Complete rows from the start of a file, and the bytes that they take. A quoted field of a table may hold line
/// breaks: within it the number of quotes so far is odd.
fn complete(file: impl Read, csv: bool) -> std::io::Result<(u64, u64)> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut quoted, mut at, mut rows, mut bytes) = (false, 0, 0, 0);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok((rows, bytes));
        }
        for byte in buffer {
            at += 1;
            match byte {
                b'"' if csv => quoted = !quoted,
                b'\n' if !quoted => (rows, bytes) = (rows + 1, at),
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
        let rows = ["a,b\n", "1,\"x\ny\"\n", "2,\"say \"\"\n\"\"\"\n", "3,\n"];
        let text = rows.concat();
        let ends: Vec<usize> = rows
            .iter()
            .scan(0, |end, row| {
                *end += row.len();
                Some(*end)
            })
            .collect();
        for cut in 0..=text.len() {
            let there = ends.iter().filter(|&&end| end <= cut).count();
            let bytes = ends[..there].last().copied().unwrap_or(0);
            let found = complete(&text.as_bytes()[..cut], true).unwrap();
            assert_eq!(found, (there as u64, bytes as u64), "cut behind byte {cut}");
        }
    }

    #[test]
    fn a_quote_is_nothing_special_in_text() {
        assert_eq!(complete(&b"\"a\nb\n\nc"[..], false).unwrap(), (3, 6));
    }
}
