//! Reading pairs: tables (CSV, TSV, JSONL) and parallel text become [`Pair`]s, each with its place.
//!
//! Text is passed on as it is in the file: NFC and trimming belong to the tokenizer. Nothing is skipped but blank lines of a
//! table. An error stops the reading, names the file and the line, and shows the row.
//! Knows no tokens and no tensors. [`RowReader`] streams the rows to decode, and [`read_pairs`] is built on it.

mod extra_fields;
mod format;
mod line_ends;
mod lines;
mod parallel;
mod row_reader;
mod source_row;
mod table;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::data::{Files, PairFile};
use crate::error::{Error, Result};
pub use extra_fields::{ExtraField, FieldValue};
pub use format::Format;
pub use lines::{LineEnds, shorten};
use row_reader::KEYS;
pub use row_reader::{RowReader, Target};
pub use source_row::SourceRow;

/// A row's place: the file and the line where the row starts. Displayed as `path:line`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file; all pairs of one file share it.
    pub file: Arc<Path>,
    /// The physical line, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A source, the target that belongs to it, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The text that is read.
    pub source: String,
    /// The text that is to be written.
    pub target: String,
    /// Where the pair comes from; for parallel text, its line in the file of sources.
    pub place: Place,
}

/// The pairs of a set.
#[derive(Debug, Default)]
pub struct PairSet {
    /// In the order of the files and of their rows.
    pub pairs: Vec<Pair>,
    /// Notes about the files, a line each.
    pub notes: Vec<String>,
}

/// Reads every pair of a set, in the order of the files and of their rows.
///
/// A table is known by its extension (`.csv`, `.tsv`, `.jsonl`) and has the columns of sources and targets; without `header`
/// those of .csv and .tsv are named by their numbers, from 1. Parallel text has a pair for each line. A side may be empty here.
///
/// # Errors
/// Input errors that name the file and the line and show the row: a file that is missing or not UTF-8, an unknown
/// extension, a missing column, a row that breaks the format or has an empty side, files of parallel text that
/// differ in length, a set without any pair.
pub fn read_pairs(files: &Files, columns: [&str; 2], header: bool) -> Result<PairSet> {
    let mut set = PairSet::default();
    for file in &files.0 {
        let sources = match file {
            PairFile::Table(path) => open_table(path, columns, header)?,
            PairFile::Parallel { source, target } => {
                let is_table = |path: &&std::path::PathBuf| Format::of(path) != Format::Text;
                let note = |path: &std::path::PathBuf| {
                    format!("{} is read as text with one line per pair", path.display())
                };
                set.notes.extend([source, target].into_iter().filter(is_table).map(note));
                RowReader::parallel(source, target)
                    .map_err(|error| with_search_folder(&[source, target], error))?
            }
        };
        let before = set.pairs.len();
        read_all(sources, &mut set)?;
        if set.pairs.len() == before {
            let message = format!("a file of pairs must have at least one row, but {} has none", name(file));
            return Err(Error::input(message));
        }
    }
    if set.pairs.is_empty() {
        return Err(Error::input("a set must have at least one file, but it has none"));
    }
    Ok(set)
}

fn name(file: &PairFile) -> String {
    match file {
        PairFile::Table(path) => path.display().to_string(),
        PairFile::Parallel { source, target } => format!("{} and {}", source.display(), target.display()),
    }
}

fn open_table(path: &Path, [source, target]: [&str; 2], header: bool) -> Result<RowReader> {
    let hint = "name the two files of parallel text together: { source = \"a.en\", target = \"a.de\" }";
    RowReader::with_targets(path, None, source, Target::Text(target), header, KEYS).map_err(|error| {
        match Format::of(path) {
            Format::Text => error.hint(hint),
            _ => with_search_folder(&[path], error),
        }
    })
}

/// Whoever calls from another folder than the config's finds nothing, and may not know why.
fn with_search_folder(paths: &[impl AsRef<Path>], error: Error) -> Error {
    match paths.iter().map(AsRef::as_ref).any(|path| path.is_relative() && !path.exists()) {
        true => error.hint("relative paths start at the folder where seqloom is called"),
        false => error,
    }
}

fn read_all(mut sources: RowReader, set: &mut PairSet) -> Result<()> {
    while let Some(row) = sources.next() {
        let SourceRow { text, target: reference, line, .. } = row?;
        let place = sources.place(line);
        set.pairs.push(Pair { source: text, target: reference.unwrap_or_default(), place });
    }
    set.notes.extend(sources.line_ends().iter().filter_map(LineEnds::note));
    Ok(())
}

#[cfg(test)]
mod tests;
