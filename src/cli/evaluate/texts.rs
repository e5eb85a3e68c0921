//! Systems as texts: outputs and references with one row per line, read side by side.

use std::path::{Path, PathBuf};

use super::{EvaluateArgs, is_stdin};
use crate::cli::scored::ScoredOutputs;
use crate::console::status;
use crate::data::readers::{Columns, Format, RowReader, check_alternatives, split_alternatives};
use crate::error::{Error, Result};
use crate::metrics::{Example, MetricKind};

/// A file with a text on each line.
struct TextFile<'a> {
    path: &'a Path,
    rows: RowReader,
    /// Lines so far.
    lines: u64,
}

impl<'a> TextFile<'a> {
    fn open(path: &'a Path) -> Result<TextFile<'a>> {
        if Format::of(path) != Format::Text {
            let message = format!(
                "--references and --outputs must be texts with one row per line, but by its name this file is a table: {}",
                path.display()
            );
            return Err(Error::input(message)
                .hint("name a table of references and outputs with --input, or change the extension"));
        }
        let rows = RowReader::open(path, Some(Format::Text), Columns::new(&["text"], ""))?;
        Ok(TextFile { path, rows, lines: 0 })
    }

    fn next_line(&mut self) -> Result<Option<String>> {
        let Some(row) = self.rows.next_row()? else { return Ok(None) };
        self.lines += 1;
        Ok(Some(row?.text))
    }

    /// The references in its last line.
    fn references<'t>(&self, line: &'t str, alternatives: Option<&str>) -> Result<Vec<&'t str>> {
        check_alternatives(line, alternatives).map_err(|error| error.at(self.rows.place(self.lines)))?;
        let (first, others) = split_alternatives(line, alternatives);
        Ok(std::iter::once(first).chain(others).collect())
    }

    /// The number of all lines.
    fn count(&mut self) -> Result<u64> {
        while self.next_line()?.is_some() {}
        Ok(self.lines)
    }
}

/// Scores each file of outputs. All files are read side by side, the references once.
///
/// # Errors
/// A file cannot be read or is a table; files differ in length; one of several references in a line is empty; standard
/// input would be read twice.
pub(super) fn read(
    args: &EvaluateArgs,
    outputs: &[PathBuf],
    kinds: &[MetricKind],
) -> Result<Vec<ScoredOutputs>> {
    let paths = args.references.iter().chain(outputs);
    if paths.clone().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Error::input("standard input can be read only once, but several texts are `-`")
            .hint("write it to a file"));
    }
    let mut files = paths.map(|path| TextFile::open(path)).collect::<Result<Vec<_>>>()?;
    let new = |output: &PathBuf| ScoredOutputs::new(output.display().to_string(), kinds);
    let mut systems: Vec<ScoredOutputs> = outputs.iter().map(new).collect();
    let mut incomplete = 0;
    while let Some(lines) = next_lines(&mut files)? {
        let (lines, outputs) = lines.split_at(args.references.len());
        let mut references = Vec::new();
        for (file, line) in files.iter().zip(lines) {
            references.extend(file.references(line, args.alternatives.as_deref())?);
        }
        let has_empty = references.len() > 1 && references.iter().any(|text| text.is_empty());
        incomplete += u64::from(has_empty);
        add_row(&mut systems, &references, outputs);
    }
    if incomplete > 0 {
        status(&format!(
            "note: rows with an empty line in one of several references: {incomplete}; as in sacrebleu, it is a reference \
             like any other"
        ));
    }
    Ok(systems)
}

/// The next line of each file, or `None` at the end of all.
///
/// # Errors
/// A file cannot be read, or only some of them are at their end.
fn next_lines(files: &mut [TextFile]) -> Result<Option<Vec<String>>> {
    let lines = files.iter_mut().map(TextFile::next_line).collect::<Result<Vec<_>>>()?;
    if lines.iter().all(Option::is_none) {
        return Ok(None);
    }
    match lines.into_iter().collect() {
        None => Err(unequal(files)),
        lines => Ok(lines),
    }
}

/// Counts the outputs of a row, one of each system.
fn add_row(systems: &mut [ScoredOutputs], references: &[&str], outputs: &[String]) {
    let [reference, other_references @ ..] = references else { return };
    for (system, output) in systems.iter_mut().zip(outputs) {
        system.add(&Example {
            reference,
            other_references,
            output: std::slice::from_ref(output),
            finished: true,
            ..Example::default()
        });
    }
}

/// The error of files that differ in length from the first references, with both lengths.
fn unequal(files: &mut [TextFile]) -> Error {
    let counts = files.iter_mut().map(TextFile::count).collect::<Result<Vec<u64>>>();
    let counts = match counts {
        Ok(counts) => counts,
        Err(error) => return error,
    };
    let other = counts.iter().position(|count| *count != counts[0]).unwrap_or_default();
    Error::input(format!(
        "outputs and references must have the same number of lines, but {} has {} and {} has {}",
        files[other].path.display(),
        counts[other],
        files[0].path.display(),
        counts[0]
    ))
}
