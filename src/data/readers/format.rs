//! The formats of row files, and the format that a file's name implies.

use std::path::Path;

/// The format of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One source per line; an empty line is an empty source.
    Text,
    /// Comma-separated fields with a header (RFC 4180).
    Csv,
    /// Tab-separated fields with a header, without quoting.
    Tsv,
    /// One JSON object per line.
    Jsonl,
}

impl Format {
    /// The format by a file's extension, ignoring case; anything but `.csv`, `.tsv` and `.jsonl` is text.
    pub(crate) fn of(path: &Path) -> Format {
        match path.extension().map(|extension| extension.to_ascii_lowercase()) {
            Some(extension) if extension == "csv" => Format::Csv,
            Some(extension) if extension == "tsv" => Format::Tsv,
            Some(extension) if extension == "jsonl" => Format::Jsonl,
            _ => Format::Text,
        }
    }
}
