//! The formats of row files, and the format that a file's name implies.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::compression;

/// The format of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One source per line; an empty line is an empty source. No config names it: a table is none.
    #[serde(skip)]
    Text,
    /// Comma-separated fields with a header (RFC 4180).
    Csv,
    /// Tab-separated fields with a header, without quoting.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// An array of JSON objects.
    Json,
    /// Columns with names and types, as Apache Parquet; read with the cargo feature `parquet`.
    Parquet,
}

impl Format {
    /// The format by a file's extension, ignoring case; anything but `.csv`, `.tsv`, `.jsonl`, `.json` and `.parquet`
    /// is text. The extension of a compressed file comes before `.gz` or `.zst`.
    pub(crate) fn of(path: &Path) -> Format {
        let stem = path.file_stem().map(Path::new).filter(|_| Format::is_compressed(path));
        match extension(stem.unwrap_or(path)) {
            Some(extension) if extension == "csv" => Format::Csv,
            Some(extension) if extension == "tsv" => Format::Tsv,
            Some(extension) if extension == "jsonl" => Format::Jsonl,
            Some(extension) if extension == "json" => Format::Json,
            Some(extension) if extension == "parquet" => Format::Parquet,
            _ => Format::Text,
        }
    }

    /// Whether a file's extension is that of a compressed file.
    pub(crate) fn is_compressed(path: &Path) -> bool {
        extension(path).is_some_and(|own| compression::EXTENSIONS.iter().any(|known| own == *known))
    }
}

fn extension(path: &Path) -> Option<OsString> {
    path.extension().map(OsStr::to_ascii_lowercase)
}
