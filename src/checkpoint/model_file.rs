//! `model.safetensors`: the weights and, in one metadata key, everything else that decoding needs.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::read_within;
use super::tensors::{self, NamedTensors, sha256, sha256_of_parts};
use crate::error::{Error, Result};

/// Incremented when older versions cannot read the new format.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Placeholder of the checksum while it is computed.
const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The JSON in the metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelHeader {
    /// SHA-256 of the whole file with 64 zeros in this place, so that a single file can be checked.
    pub sha256: String,
    /// Version of this format.
    pub format_version: u32,
    /// Version of the seqloom that wrote it.
    pub seqloom_version: String,
    /// Number of updates behind the weights.
    pub step: u64,
    /// The resolved experiment.
    pub config: Value,
    /// The tokenizers of both sides.
    pub tokenizers: Value,
}

impl ModelHeader {
    /// The header of weights after `step` updates.
    pub(crate) fn new(config: Value, tokenizers: Value, step: u64) -> ModelHeader {
        ModelHeader {
            sha256: NO_CHECKSUM.to_owned(),
            format_version: FORMAT_VERSION,
            seqloom_version: env!("CARGO_PKG_VERSION").to_owned(),
            step,
            config,
            tokenizers,
        }
    }

    /// The bytes of the file.
    pub fn to_bytes(&self, weights: &[(String, tch::Tensor)]) -> Result<Vec<u8>> {
        let header = ModelHeader { sha256: NO_CHECKSUM.to_owned(), ..self.clone() };
        let failed = |error| Error::failure(format!("cannot write the model's header: {error}"));
        let header = serde_json::to_string(&header).map_err(failed)?;
        let mut bytes = tensors::to_bytes(weights, Some(&header))?;
        let sum = sha256(&bytes);
        if let Some(place) = place_of(NO_CHECKSUM, &bytes) {
            bytes[place].copy_from_slice(sum.as_bytes());
        }
        Ok(bytes)
    }
}

/// The position of the checksum in a file: it is the first thing in the metadata, whose quotes are escaped there.
fn place_of(checksum: &str, bytes: &[u8]) -> Option<Range<usize>> {
    let before = br#"\"sha256\":\""#;
    let pattern = [before, checksum.as_bytes()].concat();
    let start = bytes.windows(pattern.len()).position(|window| window == pattern)?;
    Some(start + before.len()..start + pattern.len())
}

/// Whether a file matches its checksum.
fn is_sound(checksum: &str, bytes: &[u8]) -> bool {
    let Some(place) = place_of(checksum, bytes).filter(|place| place.len() == NO_CHECKSUM.len()) else {
        return false;
    };
    sha256_of_parts(&[&bytes[..place.start], NO_CHECKSUM.as_bytes(), &bytes[place.end..]]) == checksum
}

/// Reads a model file and verifies its checksum.
///
/// # Errors
/// A missing file; errors of [`parse`].
pub fn read(path: &Path) -> Result<(ModelHeader, NamedTensors)> {
    parse(&read_within(path, u64::MAX)?, path)
}

/// Parses a model file's bytes; `path` is for error messages.
///
/// # Errors
/// The bytes are truncated, changed, of a newer format, or no seqloom model.
pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<(ModelHeader, NamedTensors)> {
    let (weights, metadata) = tensors::from_bytes(bytes, path)?;
    let place = path.display();
    let Some(metadata) = metadata else {
        return Err(Error::input(format!("{place} is a safetensors file, but seqloom did not write it")));
    };
    let unreadable =
        |error| Error::failure(format!("{place} is damaged: its header cannot be read: {error}"));
    let header: Value = serde_json::from_str(&metadata).map_err(unreadable)?;
    if let Some(found) = header["format_version"].as_u64().filter(|&found| found > FORMAT_VERSION.into()) {
        let message =
            format!("{place} has format {found}, but this seqloom reads formats up to {FORMAT_VERSION}");
        return Err(
            Error::input(message).hint(format!("it was written by seqloom {}", header["seqloom_version"]))
        );
    }
    let header: ModelHeader = serde_json::from_value(header).map_err(unreadable)?;
    if !is_sound(&header.sha256, bytes) {
        return Err(Error::failure(format!("{place} is damaged: its content does not match its checksum"))
            .hint("use another checkpoint of the run, or copy the file again"));
    }
    Ok((header, weights))
}
