//! Parallel text: two files with one line per pair.

use super::SourceRow;
use crate::data::readers::lines::{Lines, ReadError, ReadResult};
use crate::error::Error;

/// Reads both lines even if one of them is broken, so that the next ones match.
pub(super) fn parallel_row(sources: &mut Lines, targets: &mut Lines) -> ReadResult<Option<SourceRow>> {
    let source = sources.next_line().map(|line| line.map(str::to_string));
    let target = targets.next_line().map(|line| line.map(str::to_string));
    match (source, target) {
        (Err(ReadError::End(error)), _) | (_, Err(ReadError::End(error))) => Err(ReadError::End(error)),
        (Ok(None), Ok(None)) => Ok(None),
        (Ok(None), _) | (_, Ok(None)) => Err(ReadError::End(unequal(sources, targets))),
        (Err(fault), _) | (_, Err(fault)) => Err(fault),
        (Ok(Some(text)), Ok(Some(target))) => {
            Ok(Some(SourceRow { target: Some(target), ..SourceRow::of_text(text, sources.place()) }))
        }
    }
}

/// The error for files of different length: counts the rest, so that the message has both lengths.
fn unequal(sources: &mut Lines, targets: &mut Lines) -> Error {
    for lines in [&mut *sources, &mut *targets] {
        loop {
            match lines.next_line() {
                Ok(Some(_)) | Err(ReadError::Row(_)) => {}
                Ok(None) => break,
                Err(ReadError::End(error)) => return error,
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
