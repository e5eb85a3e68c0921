//! The physical lines of a file: counted, checked to be UTF-8, without line ends. Every format is read from them.
//!
//! Drops a byte-order mark at the file's start and a CR before the line's end; the last line needs no end. Lines may
//! end in CR alone (`line_ends`). A file may be compressed (`compression`). Lines are limited to [`LONGEST`] bytes, so
//! that an input without line breaks does not fill the memory. Lines only: no rows and columns.

mod json_array;

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Place;
use super::compression;
use super::line_ends::{LineEndDecoder, WINDOW};
use crate::error::{Error, Result};
pub(super) use json_array::ArrayPosition;

/// The most characters of a row in a message.
const SHOWN: usize = 80;

/// The longest line, and the longest row over several lines, in bytes.
pub(super) const LONGEST: usize = 1 << 24;

/// An error of reading a row.
#[derive(Debug)]
pub(super) enum ReadError {
    /// This row is broken, and the next one can be read.
    Row(Error),
    /// Nothing more can be read: the file fails, or the start of the next row is unknown.
    End(Error),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> ReadError {
        ReadError::End(error)
    }
}

impl From<ReadError> for Error {
    fn from(fault: ReadError) -> Error {
        match fault {
            ReadError::Row(error) | ReadError::End(error) => error,
        }
    }
}

/// The result of reading.
pub(super) type ReadResult<T> = std::result::Result<T, ReadError>;

/// The line ends of a file, as far as it was read.
#[derive(Clone, Debug)]
pub(crate) struct LineEnds {
    file: Arc<Path>,
    by_cr: Arc<AtomicBool>,
    within_field: Arc<AtomicBool>,
}

impl LineEnds {
    /// A note about it, if needed.
    pub(crate) fn note(&self) -> Option<String> {
        let kinds = [
            (&self.by_cr, "lines end in CR alone, and CR is read as the line break"),
            (&self.within_field, "line breaks within fields are CR and LF, and are read as LF"),
        ];
        let (_, note) = kinds.into_iter().find(|(is_so, _)| is_so.load(Ordering::Relaxed))?;
        Some(format!("{}: {note}", self.file.display()))
    }
}

/// The lines of a file, one at a time.
pub(super) struct Lines {
    reader: BufReader<LineEndDecoder>,
    file: Arc<Path>,
    number: u64,
    buffer: Vec<u8>,
    /// The last line was too long, and the rest of it is still in the reader.
    cut: bool,
    /// Whether bytes that are not UTF-8 become U+FFFD; otherwise their line is broken.
    lossy: bool,
    /// Bytes were replaced since [`Lines::was_replaced`].
    replaced: bool,
    /// Set if a field contains CR LF.
    crlf_within_field: Arc<AtomicBool>,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Lines> {
        let bytes = compression::open(path).map_err(|error| Error::file("read", path, &error))?;
        Ok(Lines::new(bytes, path))
    }

    pub(crate) fn new(reader: Box<dyn Read + Send>, name: &Path) -> Lines {
        let reader = BufReader::with_capacity(1 << 16, LineEndDecoder::new(reader, WINDOW));
        Lines {
            reader,
            file: name.into(),
            number: 0,
            buffer: Vec::new(),
            cut: false,
            lossy: false,
            replaced: false,
            crlf_within_field: Arc::default(),
        }
    }

    /// Whether the next line is complete in the buffer, so that reading it does not block.
    pub(crate) fn is_ready(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// The line ends, for use while another thread reads.
    pub(crate) fn ends(&self) -> LineEnds {
        let within_field = self.crlf_within_field.clone();
        LineEnds { file: self.file.clone(), by_cr: self.reader.get_ref().by_cr(), within_field }
    }

    /// Records that a field continues after the last line.
    pub(crate) fn continue_field(&self) {
        if self.buffer.ends_with(b"\r\n") {
            self.crlf_within_field.store(true, Ordering::Relaxed);
        }
    }

    /// The number of the last line read, from 1; 0 before the first.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The place of the last line read; before the first line, and in an empty file, its number is 0.
    pub(crate) fn place(&self) -> Place {
        self.place_of(self.number)
    }

    pub(crate) fn place_of(&self, line: u64) -> Place {
        Place { file: self.file.clone(), line }
    }

    /// The last line read, with a replacement character for each byte that is not UTF-8.
    pub(crate) fn current(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }

    /// Whether the last line was read completely.
    pub(crate) fn is_whole(&self) -> bool {
        !self.cut
    }

    /// From the next line on, bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn replace_invalid(&mut self) {
        self.lossy = true;
    }

    /// Whether bytes were replaced since the last call.
    pub(crate) fn was_replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    /// The next line, or `None` at the end of the file.
    pub(crate) fn next_line(&mut self) -> ReadResult<Option<&str>> {
        if !self.advance().map_err(|error| Error::file("read", &self.file, &error))? {
            return Ok(None);
        }
        if self.cut {
            return Err(ReadError::Row(too_long(&self.current(), &self.place())));
        }
        self.replace();
        let bytes = self.bytes();
        match std::str::from_utf8(bytes) {
            Ok(line) => Ok(Some(line)),
            Err(error) => Err(ReadError::Row(not_utf8(bytes, error.valid_up_to(), &self.place()))),
        }
    }

    /// Replaces what is not UTF-8 in the buffer, if that is asked for.
    fn replace(&mut self) {
        if self.lossy && std::str::from_utf8(&self.buffer).is_err() {
            self.buffer = String::from_utf8_lossy(&self.buffer).into_owned().into_bytes();
            self.replaced = true;
        }
    }

    /// Reads a line into the buffer; false at the end of the file.
    fn advance(&mut self) -> std::io::Result<bool> {
        if std::mem::take(&mut self.cut) {
            self.reader.skip_until(b'\n')?;
        }
        self.buffer.clear();
        let mut limited = self.reader.by_ref().take(LONGEST as u64);
        let read = limited.read_until(b'\n', &mut self.buffer)?;
        self.cut = read == LONGEST && !self.buffer.ends_with(b"\n");
        self.number += u64::from(read > 0);
        Ok(read > 0)
    }

    /// The bytes of the last line, without its end.
    fn bytes(&self) -> &[u8] {
        let bytes = self.buffer.as_slice();
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        match self.number {
            1 => bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes),
            _ => bytes,
        }
    }
}

fn too_long(line: &str, place: &Place) -> Error {
    bad_row(&format!("a line may have at most {} MiB, but this one is longer", LONGEST >> 20), line, place)
}

/// The error for a line that is not UTF-8, with the first invalid byte.
fn not_utf8(line: &[u8], good: usize, place: &Place) -> Error {
    let byte = line.get(good).copied().unwrap_or_default();
    let shown = String::from_utf8_lossy(line);
    let message = format!("the text must be UTF-8, but byte {} of the line is 0x{byte:02X}", good + 1);
    // A file in UTF-16 starts with FF FE or FE FF, which never occur in UTF-8.
    let utf16 = place.line == 1 && matches!(line, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]);
    let hint =
        if utf16 { "the file looks like UTF-16: save it as UTF-8" } else { "convert the file to UTF-8" };
    bad_row(&message, &shown, place).hint(hint)
}

/// An error that shows the row.
pub(super) fn bad_row(message: &str, row: &str, place: &Place) -> Error {
    Error::input(format!("{message}\n  {}", shorten(row))).at(place)
}

/// A row for a message: on one line, cut to `SHOWN` characters, with control characters escaped.
pub(crate) fn shorten(row: &str) -> Cow<'_, str> {
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
