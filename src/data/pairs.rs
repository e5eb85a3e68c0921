//! Reading pairs: tables (CSV, TSV, JSONL) and parallel text become [`Pair`]s, each with its place.
//!
//! Text is handed on as it stands in the file: NFC and trimming are the tokenizer's. Nothing is skipped but
//! blank lines of a table; what is wrong stops the reading, names the file and the line, and shows the row.
//! Knows no tokens and no tensors. [`Sources`] streams the rows to decode, and [`read_pairs`] is built on it.

mod lines;
mod sources;
mod table;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::data::{Files, PairFile};
use crate::error::{Error, Result};
use lines::{Lines, shorten};
pub use sources::{Format, SourceRow, Sources};

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
        match file {
            PairFile::Table(path) => read_table(path, source_column, target_column, &mut pairs)?,
            PairFile::Parallel { source, target } => read_parallel(source, target, &mut pairs)?,
        }
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

fn read_table(path: &Path, source_column: &str, target_column: &str, pairs: &mut Vec<Pair>) -> Result<()> {
    if Format::of(path) == Format::Text {
        let message = format!("a file of pairs must be .csv, .tsv or .jsonl, but it is {}", path.display());
        let hint = "two files of parallel text are named together: { source = \"a.en\", target = \"a.de\" }";
        return Err(Error::input(message).hint(hint));
    }
    let file: Arc<Path> = path.into();
    for row in Sources::with_targets(path, source_column, target_column)? {
        let SourceRow { text, reference, line } = row?;
        let place = Place { file: file.clone(), line };
        let target = reference.unwrap_or_default();
        refuse_empty(&text, "source", &place, &target)?;
        refuse_empty(&target, "target", &place, &text)?;
        pairs.push(Pair { source: text, target, place });
    }
    Ok(())
}

fn read_parallel(source: &Path, target: &Path, pairs: &mut Vec<Pair>) -> Result<()> {
    let (mut sources, mut targets) = (Lines::open(source)?, Lines::open(target)?);
    loop {
        let (source_text, target_text) = match (sources.next_line()?, targets.next_line()?) {
            (Some(source_text), Some(target_text)) => (source_text.to_string(), target_text.to_string()),
            (None, None) => return Ok(()),
            _ => return Err(unequal(&mut sources, &mut targets)),
        };
        refuse_empty(&source_text, "source", &sources.place(), &target_text)?;
        refuse_empty(&target_text, "target", &targets.place(), &source_text)?;
        pairs.push(Pair { source: source_text, target: target_text, place: sources.place() });
    }
}

/// One of the files ended before the other: counts the rest, so that the message has both lengths.
fn unequal(sources: &mut Lines, targets: &mut Lines) -> Error {
    for lines in [&mut *sources, &mut *targets] {
        loop {
            match lines.next_line() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return error,
            }
        }
    }
    let (source, target) = (sources.place(), targets.place());
    Error::input(format!(
        "two files of parallel text must have the same number of lines, but {} has {} and {} has {}",
        source.file.display(),
        source.line,
        target.file.display(),
        target.line
    ))
}

/// There is nothing to learn from a pair without one of its sides, and it is most often a slip in the data.
fn refuse_empty(text: &str, side: &str, place: &Place, other: &str) -> Result<()> {
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
