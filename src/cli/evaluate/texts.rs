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

/// Scores each file of outputs.
///
/// # Errors
/// A file cannot be read or is a table; files differ in length; one of several references in a line is empty; standard
/// input would be read twice.
pub(super) fn read(
    args: &EvaluateArgs,
    outputs: &[PathBuf],
    kinds: &[MetricKind],
) -> Result<Vec<ScoredOutputs>> {
    // References are read once for each system.
    let again = args.references.iter().filter(|path| is_stdin(path)).count() * outputs.len();
    if again + outputs.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Error::input("standard input can be read only once, but several texts are `-`")
            .hint("write it to a file; the references are read once for each system"));
    }
    let systems = outputs.iter().map(|output| read_system(args, output, kinds));
    let systems = systems.collect::<Result<Vec<_>>>()?;
    // All systems have the same references.
    if let Some((_, incomplete @ 1..)) = systems.first() {
        status(&format!(
            "note: rows with an empty line in one of several references: {incomplete}; as in sacrebleu, it is a reference \
             like any other"
        ));
    }
    Ok(systems.into_iter().map(|(system, _)| system).collect())
}

/// A system, and how many rows have an empty one among several references.
fn read_system(args: &EvaluateArgs, output: &Path, kinds: &[MetricKind]) -> Result<(ScoredOutputs, u64)> {
    let paths = std::iter::once(output).chain(args.references.iter().map(PathBuf::as_path));
    let mut files = paths.map(TextFile::open).collect::<Result<Vec<_>>>()?;
    let mut system = ScoredOutputs::new(output.display().to_string(), kinds);
    let mut incomplete = 0;
    loop {
        let lines = files.iter_mut().map(TextFile::next_line).collect::<Result<Vec<_>>>()?;
        if lines.iter().all(Option::is_none) {
            return Ok((system, incomplete));
        }
        let Some(lines) = lines.into_iter().collect::<Option<Vec<String>>>() else {
            return Err(unequal(&mut files));
        };
        let mut references = Vec::new();
        for (file, line) in files.iter().zip(&lines).skip(1) {
            references.extend(file.references(line, args.alternatives.as_deref())?);
        }
        let [reference, other_references @ ..] = references.as_slice() else {
            return Ok((system, incomplete));
        };
        let has_empty = !other_references.is_empty() && references.iter().any(|text| text.is_empty());
        incomplete += u64::from(has_empty);
        system.add(&Example {
            reference,
            other_references,
            output: &lines[..1],
            finished: true,
            ..Example::default()
        });
    }
}

/// The error of files that differ in length, with both lengths.
fn unequal(files: &mut [TextFile]) -> Error {
    let counts = files.iter_mut().map(TextFile::count).collect::<Result<Vec<u64>>>();
    let counts = match counts {
        Ok(counts) => counts,
        Err(error) => return error,
    };
    let other = counts.iter().position(|count| *count != counts[0]).unwrap_or_default();
    Error::input(format!(
        "outputs and references must have the same number of lines, but {} has {} and {} has {}",
        files[0].path.display(),
        counts[0],
        files[other].path.display(),
        counts[other]
    ))
}
