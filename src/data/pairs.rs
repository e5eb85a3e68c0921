//! Reading pairs: tables (CSV, TSV, JSONL) and parallel text become [`Pair`]s, each with its place.
//!
//! Text is handed on as it stands in the file: NFC and trimming are the tokenizer's. Nothing is skipped but
//! blank lines of a table; what is wrong stops the reading, names the file and the line, and shows the row.
//! Knows no tokens and no tensors. [`Sources`] streams the rows to decode, and [`read_pairs`] is built on it.

mod lines;
mod parallel;
mod sources;
mod table;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::data::{Files, PairFile};
use crate::error::{Error, Result};
pub use lines::shorten;
use sources::KEYS;
pub use sources::{Content, Format, Other, SourceRow, Sources, Target};

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

/// Reads every pair of a set, in the order of the files and of their rows.
///
/// A table is known by its extension (`.csv`, `.tsv`, `.jsonl`) and has the columns named; parallel text has a pair
/// for each line. Of a pair, neither side may be empty or white space.
///
/// # Errors
/// Input errors that name the file and the line and show the row: a file that is missing or not UTF-8, an unknown
/// extension, a missing column, a row that breaks the format or has an empty side, files of parallel text that
/// differ in length, a set without any pair.
pub fn read_pairs(files: &Files, source_column: &str, target_column: &str) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for file in &files.0 {
        let sources = match file {
            PairFile::Table(path) => open_table(path, source_column, target_column)?,
            PairFile::Parallel { source, target } => Sources::parallel(source, target)?,
        };
        read_all(sources, &mut pairs)?;
    }
    if pairs.is_empty() {
        let names: Vec<String> = files.0.iter().map(name).collect();
        return Err(Error::input(format!(
            "a set must have at least one pair, but it has none: {}",
            names.join(", ")
        )));
    }
    Ok(pairs)
}

fn name(file: &PairFile) -> String {
    match file {
        PairFile::Table(path) => path.display().to_string(),
        PairFile::Parallel { source, target } => format!("{} and {}", source.display(), target.display()),
    }
}

fn open_table(path: &Path, source_column: &str, target_column: &str) -> Result<Sources> {
    let hint = "two files of parallel text are named together: { source = \"a.en\", target = \"a.de\" }";
    Sources::with_targets(path, None, source_column, Target::Text(target_column), KEYS).map_err(|error| {
        match Format::of(path) {
            Format::Text => error.hint(hint),
            _ => error,
        }
    })
}

fn read_all(mut sources: Sources, pairs: &mut Vec<Pair>) -> Result<()> {
    while let Some(row) = sources.next() {
        let SourceRow { text, reference, line, .. } = row?;
        let place = sources.place(line);
        let target = reference.unwrap_or_default();
        refuse_empty(&text, "source", &place, &target)?;
        refuse_empty(&target, "target", &sources.target_place(line), &text)?;
        pairs.push(Pair { source: text, target, place });
    }
    Ok(())
}

/// There is nothing to learn from a pair without one of its sides, and it is most often a slip in the data.
pub fn refuse_empty(text: &str, side: &str, place: &Place, other: &str) -> Result<()> {
    if !text.trim().is_empty() {
        return Ok(());
    }
    let other_side = if side == "source" { "target" } else { "source" };
    let message =
        format!("the {side} of a pair must not be empty, but it is\n  {other_side}: {}", shorten(other));
    Err(Error::input(message).at(place).hint("leave the pair out of the file, or fill in the missing side"))
}

#[cfg(test)]
mod tests;
