//! Test sets, read once before anything is trained: what is wrong with one must not be found after hours.
//!
//! Each config reads a set by its own columns. Outputs are compared with references, so these must be the same for all configs;
//! sources may differ.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::plan::{Plan, System, TestSet};
use crate::cli::input::columns_of;
use crate::data::audio::listing;
use crate::data::readers::{Columns, RowReader, SourceRow, check_alternatives};
use crate::data::tokenizer::Tokenizer;
use crate::data::{DataConfig, TooLong};
use crate::error::{Error, Result, counted};

/// Reads all test sets as each config reads them.
///
/// # Errors
/// A set that cannot be read, or has no rows; a row without a reference, or with a source that is too long for sure; configs that
/// read other references.
pub(super) fn check(plan: &Plan) -> Result<()> {
    for set in &plan.sets {
        let mut read: Vec<(&System, Vec<u64>)> = Vec::new();
        for system in &plan.systems {
            let is_alike = |(other, _): &(&System, _)| other.experiment.data == system.experiment.data;
            if !read.iter().any(is_alike) {
                read.push((system, references(set, &system.experiment.data)?));
            }
        }
        let [first, others @ ..] = read.as_slice() else { continue };
        others.iter().try_for_each(|other| check_same(set, first, other))?;
    }
    Ok(())
}

/// The number of rows of a test set; one that cannot be read counts, too.
///
/// # Errors
/// The file cannot be read.
pub(super) fn rows_of(plan: &Plan, set: &TestSet) -> Result<u64> {
    let mut rows = open(set, &plan.systems[0].experiment.data)?;
    let mut count = 0;
    while rows.next_row()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// A hash of each row's reference.
fn references(set: &TestSet, data: &DataConfig) -> Result<Vec<u64>> {
    let (mut rows, name) = (open(set, data)?, &set.name);
    if !rows.has_targets() {
        let message = format!(
            "the test set {name} must have references, but {} has no column `{}`",
            set.input.display(),
            data.target.column
        );
        return Err(Error::input(message).hint(
            "`data.target.column` names it; --test NAME=SOURCES,TARGETS reads two text files, a pair in each line",
        ));
    }
    let mut hashes = Vec::new();
    while let Some(row) = rows.next_row()? {
        let row = row?;
        let reference = check_row(&row, data).map_err(|error| error.at(&row.place))?;
        let mut hash = DefaultHasher::new();
        reference.hash(&mut hash);
        hashes.push(hash.finish());
    }
    match hashes.is_empty() {
        true => Err(Error::input(format!("the test set {name} must have at least one row, but it has none"))
            .at(set.input.display())),
        false => Ok(hashes),
    }
}

/// The rows as `decode` reads them with a model of the config.
fn open(set: &TestSet, data: &DataConfig) -> Result<RowReader> {
    if let Some(targets) = &set.targets {
        return RowReader::parallel(&set.input, targets);
    }
    if let Some(audio) = &data.source.audio
        && let Some(recordings) = listing::open(&set.input, audio)?
    {
        return Ok(recordings);
    }
    let (header, sources, target) = columns_of(data, set.header);
    let columns = Columns { header, ..Columns::new(&sources, target) };
    RowReader::open(&set.input, set.format(data), columns)
}

/// Checks what can be known of a row without a model; returns its reference.
fn check_row<'a>(row: &'a SourceRow, data: &DataConfig) -> Result<&'a str> {
    let reference = row.target.as_deref();
    let reference = reference
        .ok_or_else(|| Error::input("a row of a test set must have a reference, but it has none"))?;
    check_alternatives(reference, data.target.alternatives.as_deref())?;
    if data.source.audio.is_some() || data.too_long == TooLong::Skip {
        return Ok(reference);
    }
    let (length, most) = (Tokenizer::least_tokens(&data.source, &row.text), data.source.max_length);
    if length > most {
        let most = counted(most, "token");
        let message =
            format!("a source may have {most} (`data.source.max_length`), but this row's has {length}");
        return Err(Error::input(message).hint(
            "raise `data.source.max_length`, or remove the row; with `data.too_long = \"skip\"` the row stays, and its \
             output counts as empty",
        ));
    }
    Ok(reference)
}

/// Refuses configs that read other references.
fn check_same(
    set: &TestSet,
    (one, first): &(&System, Vec<u64>),
    (other, second): &(&System, Vec<u64>),
) -> Result<()> {
    let mut rows = 0..first.len().max(second.len());
    let Some(row) = rows.find(|&row| first.get(row) != second.get(row)) else { return Ok(()) };
    let message = format!(
        "all configs must read the same references of the test set {}, but {} and {} read others in row {}",
        set.name,
        one.name,
        other.name,
        row + 1
    );
    Err(Error::input(message).at(set.input.display()).hint(
        "`data.target.column` must name the same column in all of them; `data.source.column` may differ",
    ))
}
