//! Whether models cut targets into the same tokens, or into tokens of one unit, so that what is counted over them can be
//! compared.

use std::path::{Path, PathBuf};

use crate::checkpoint::model_file::read_header;
use crate::checkpoint::run::locate_model;
use crate::data::dataset::Tokenizers;
use crate::data::tokenizer::Tokenizer;
use crate::error::Result;
use crate::metrics::Unit;
use crate::training::validation::unit_of;

/// The number of the first model that cuts targets into other tokens than the first one, from 0, and a difference between
/// the two. The models are named as for `decode`. In which order a vocabulary has its tokens makes no difference.
///
/// # Errors
/// A model cannot be read.
pub(super) fn first_with_others(models: &[PathBuf]) -> Result<Option<(usize, String)>> {
    first_that_differs(models, |first, other| {
        first.difference_in_cuts(other).map(|(what, [one, other])| format!("{what} is {one} and {other}"))
    })
}

/// The number of the first model whose target tokens are of another unit than those of the first one, and both units.
///
/// # Errors
/// A model cannot be read.
pub(super) fn first_with_another_unit(models: &[PathBuf]) -> Result<Option<(usize, [Unit; 2])>> {
    first_that_differs(models, |first, other| {
        let units = [first, other].map(unit_of);
        (units[0] != units[1]).then_some(units)
    })
}

/// The number of the first model whose targets differ from those of the first one, from 0, and how.
fn first_that_differs<T>(
    models: &[PathBuf],
    difference: impl Fn(&Tokenizer, &Tokenizer) -> Option<T>,
) -> Result<Option<(usize, T)>> {
    let [first, others @ ..] = models else { return Ok(None) };
    // Nothing is read if there is nothing to compare.
    if others.is_empty() {
        return Ok(None);
    }
    let first = target_of(first)?;
    for (number, other) in (1..).zip(others) {
        if let Some(how) = difference(&first, &target_of(other)?) {
            return Ok(Some((number, how)));
        }
    }
    Ok(None)
}

/// The tokenizer of a model's targets.
///
/// # Errors
/// The model cannot be read.
pub(super) fn target_of(model: &Path) -> Result<Tokenizer> {
    let path = locate_model(model)?;
    let tokenizers = Tokenizers::from_json(&read_header(&path)?.tokenizers);
    Ok(tokenizers.map_err(|error| error.at(path.display()))?.target)
}
