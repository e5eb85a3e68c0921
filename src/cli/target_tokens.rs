//! Whether models cut targets into the same tokens, so that what is counted over tokens can be compared.

use std::path::{Path, PathBuf};

use crate::checkpoint::model_file::read_header;
use crate::checkpoint::run::locate_model;
use crate::data::dataset::Tokenizers;
use crate::data::tokenizer::Tokenizer;
use crate::error::Result;

/// The number of the first model that cuts targets into other tokens than the first one, from 0, and a difference between
/// the two. The models are named as for `decode`. In which order a vocabulary has its tokens makes no difference.
///
/// # Errors
/// A model cannot be read.
pub(super) fn first_with_others(models: &[PathBuf]) -> Result<Option<(usize, String)>> {
    let [first, others @ ..] = models else { return Ok(None) };
    // Nothing is read if there is nothing to compare.
    if others.is_empty() {
        return Ok(None);
    }
    let first = target_of(first)?;
    for (number, other) in (1..).zip(others) {
        if let Some((what, [one, other])) = first.difference_in_cuts(&target_of(other)?) {
            return Ok(Some((number, format!("{what} is {one} and {other}"))));
        }
    }
    Ok(None)
}

fn target_of(model: &Path) -> Result<Tokenizer> {
    let path = locate_model(model)?;
    let tokenizers = Tokenizers::from_json(&read_header(&path)?.tokenizers);
    Ok(tokenizers.map_err(|error| error.at(path.display()))?.target)
}
