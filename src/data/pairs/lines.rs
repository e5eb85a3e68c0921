//! A file's physical lines, counted, checked to be UTF-8, without their ends: what every format here is read from.
//!
//! Drops a byte-order mark at the file's start and a CR before the line's end; the last line needs no end.
//! Knows nothing of rows and columns.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use super::Place;
use crate::error::{Error, Result};

/// How much of a row a message shows, in characters.
const SHOWN: usize = 80;

/// The lines of a file, one at a time.
pub(super) struct Lines {
    reader: Box<dyn BufRead>,
    file: Arc<Path>,
    number: u64,
    buffer: Vec<u8>,
}

impl Lines {
    pub fn open(path: &Path) -> Result<Lines> {
        let file = File::open(path).map_err(|error| Error::file("read", path, &error))?;
        Ok(Lines::new(Box::new(BufReader::with_capacity(1 << 16, file)), path))
    }

    pub fn new(reader: Box<dyn BufRead>, name: &Path) -> Lines {
        Lines { reader, file: name.into(), number: 0, buffer: Vec::new() }
    }

    /// The number of the line that was read last, from 1; 0 before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The place of the line that was read last; before the first line, and in an empty file, its number is 0.
    pub fn place(&self) -> Place {
        self.place_of(self.number)
    }

    pub fn place_of(&self, line: u64) -> Place {
        Place { file: self.file.clone(), line }
    }

    /// The line that was read last, for messages.
    pub fn current(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.buffer.trim_ascii())
    }

    /// The next line, or `None` at the end of the file.
    pub fn next_line(&mut self) -> Result<Option<&str>> {
        self.buffer.clear();
        let read = self.reader.read_until(b'\n', &mut self.buffer);
        if read.map_err(|error| Error::file("read", &self.file, &error))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let mut bytes = self.buffer.as_slice();
        bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if self.number == 1 {
            bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        }
        match std::str::from_utf8(bytes) {
            Ok(line) => Ok(Some(line)),
            Err(error) => Err(not_utf8(bytes, error.valid_up_to(), &self.place())),
        }
    }
}

/// The line as it can be shown, and the byte that breaks it.
fn not_utf8(line: &[u8], good: usize, place: &Place) -> Error {
    let byte = line.get(good).copied().unwrap_or_default();
    let shown = String::from_utf8_lossy(line);
    let message = format!("the text must be UTF-8, but byte {} of the line is 0x{byte:02X}", good + 1);
    // A file in UTF-16 starts with FF FE or FE FF, neither of which UTF-8 ever has.
    let utf16 = place.line == 1 && matches!(line, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]);
    let hint =
        if utf16 { "the file looks like UTF-16: save it as UTF-8" } else { "convert the file to UTF-8" };
    bad_row(&message, &shown, place).hint(hint)
}

/// An error about a row, which is shown.
pub(super) fn bad_row(message: &str, row: &str, place: &Place) -> Error {
    Error::input(format!("{message}\n  {}", shorten(row))).at(place)
}

/// A row as a message shows it: on one line, cut to [`SHOWN`] characters, without anything that moves a cursor.
pub(super) fn shorten(row: &str) -> Cow<'_, str> {
    let cut = row.char_indices().nth(SHOWN).map(|(end, _)| end);
    let shown = &row[..cut.unwrap_or(row.len())];
    if cut.is_none() && !shown.contains(char::is_control) {
        return Cow::Borrowed(shown);
    }
    let mut text = String::with_capacity(shown.len() + 8);
    for character in shown.chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    if cut.is_some() {
        text.push('…');
    }
    Cow::Owned(text)
}
