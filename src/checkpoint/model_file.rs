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

/// Reads the header of a model file alone: neither its weights, nor whether they match the checksum.
///
/// # Errors
/// A missing or truncated file, one of a newer format, or no seqloom model.
pub(crate) fn read_header(path: &Path) -> Result<ModelHeader> {
    header_of(tensors::read_metadata(path)?, path)
}

/// Parses a model file's bytes; `path` is for error messages.
///
/// # Errors
/// The bytes are truncated, changed, of a newer format, or no seqloom model.
pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<(ModelHeader, NamedTensors)> {
    let (weights, metadata) = tensors::from_bytes(bytes, path)?;
    let header = header_of(metadata, path)?;
    if !is_sound(&header.sha256, bytes) {
        let place = path.display();
        return Err(Error::failure(format!("{place} is damaged: its content does not match its checksum"))
            .hint("use another checkpoint of the run, or copy the file again"));
    }
    Ok((header, weights))
}

/// The header in a file's metadata.
fn header_of(metadata: Option<String>, path: &Path) -> Result<ModelHeader> {
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
    serde_json::from_value(header).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::Tensor;

    use super::*;

    #[test]
    fn the_header_is_read_without_the_weights_and_a_cut_file_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let weights = [("a".to_owned(), Tensor::from_slice(&[1.0f32, 2.0]))];
        let bytes = ModelHeader::new(json!({ "name": "x" }), json!({}), 7).to_bytes(&weights).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let header = read_header(&path).unwrap();
        assert_eq!((header.step, &header), (7, &read(&path).unwrap().0));
        for end in [0, 4, 100, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let message = read_header(&path).unwrap_err().message().to_owned();
            assert!(message.contains("model.safetensors is damaged or not a model file: "), "{message}");
        }
    }
}
