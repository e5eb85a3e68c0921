//! The files of a config: reading them, and the places in them that messages name.
//!
//! It knows texts and bytes, and nothing about keys and values.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::data::readers::Format;
use crate::error::{ConfigError, Error, Origin, Result};

/// The most bytes of a config. A larger file was given by mistake.
const LARGEST_FILE: u64 = 1 << 20;

/// A text, and its name in messages.
pub(super) struct Text {
    pub place: String,
    pub text: String,
}

/// What displays a place: the texts of a config and of what it extends, and the `--set`s.
pub(super) struct Places<'a> {
    /// The config, then the files that it extends.
    pub texts: Vec<Text>,
    overrides: &'a [String],
}

impl<'a> Places<'a> {
    /// The places of a text of this name.
    pub(super) fn new(place: &str, text: &str, overrides: &'a [String]) -> Places<'a> {
        Places { texts: vec![Text { place: place.to_owned(), text: text.to_owned() }], overrides }
    }

    /// Reads a config.
    pub(super) fn read(path: &Path, overrides: &'a [String]) -> Result<Places<'a>> {
        let (bytes, place) = (bytes_of(path)?, path.display().to_string());
        let text = text_of(bytes, &place).map_err(|error| with_init(path, error))?;
        Ok(Places { texts: vec![Text { place, text }], overrides })
    }

    /// The text of the config itself.
    pub(super) fn text(&self) -> &str {
        self.texts.first().map_or("", |file| &file.text)
    }

    /// An error with its place.
    pub(super) fn error(&self, error: ConfigError) -> Error {
        let ConfigError { origin, message, hint, .. } = error;
        let error = Error::input(message).at(self.name(origin.unwrap_or(Origin::Unseen)));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn name(&self, origin: Origin) -> String {
        let at = |number: usize, byte: usize| match self.texts.get(number) {
            Some(file) => {
                let (line, column) = line_and_column(&file.text, byte);
                format!("{}:{line}:{column}", file.place)
            }
            None => String::new(),
        };
        match origin {
            Origin::Unseen => self.texts.first().map_or(String::new(), |file| file.place.clone()),
            Origin::File(byte) => at(0, byte),
            Origin::Base(number, byte) => at(number, byte),
            Origin::Set(number) => {
                let argument = self.overrides.get(number).map_or("", String::as_str);
                format!("--set {}", argument.replace(char::is_control, " "))
            }
        }
    }
}

/// The bytes of a config.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let is_pipe = std::fs::metadata(path).is_ok_and(|there| there.file_type().is_fifo());
    // A pipe of the shell has a name in /dev; any other pipe may block forever.
    if is_pipe && !path.starts_with("/dev") {
        let message = "a config must be a file, but this is a named pipe";
        return Err(Error::input(message).at(path.display()));
    }
    let mut bytes = Vec::new();
    // A device has no size and no end.
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::file("read", path, &error))?;
    Ok(bytes)
}

/// The text of a config.
pub(super) fn text_of(bytes: Vec<u8>, place: &str) -> Result<String> {
    if bytes.len() as u64 > LARGEST_FILE {
        let message = format!("a config must have at most {LARGEST_FILE} bytes, but this has more");
        return Err(Error::input(message).at(place));
    }
    String::from_utf8(bytes).map_err(|_| Error::input("a config must be UTF-8 text, but it is not").at(place))
}

/// Adds a hint if the file is a table of pairs: it is no config, but `init` can write one for it.
pub(super) fn with_init(path: &Path, error: Error) -> Error {
    match Format::of(path) {
        Format::Text => error,
        _ => error.hint(format!(
            "{0} is data: run `seqloom init {0}` first, which writes a config",
            path.display()
        )),
    }
}

/// Line and column, both from 1; the column counts characters.
fn line_and_column(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    // A byte order mark does not count as a column.
    let column = before[line_start..].chars().filter(|&c| c != '\u{feff}').count();
    (before.matches('\n').count() + 1, column + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_from_one_and_columns_in_characters() {
        let text = "\u{feff}ab\nä = 1\n";
        let places =
            ["ab", "b", "ä", "=", ""].map(|part| line_and_column(text, text.find(part).unwrap_or(0)));
        assert_eq!(places, [(1, 1), (1, 2), (2, 1), (2, 3), (1, 1)]);
        assert_eq!(line_and_column(text, text.len()), (3, 1));
        assert_eq!(line_and_column(text, 1000), (3, 1));
    }
}
