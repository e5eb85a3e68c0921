//! `model.safetensors`: weights and, in one metadata key, everything that decoding needs besides.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tensors::{self, Named};
use crate::error::{Error, Result};

/// Raised when an older seqloom could not read what a newer one writes.
pub const FORMAT_VERSION: u32 = 1;

/// The JSON in the metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelHeader {
    /// Version of this format.
    pub format_version: u32,
    /// Version of the seqloom that wrote it.
    pub seqloom_version: String,
    /// Updates that made the weights.
    pub step: u64,
    /// The resolved experiment.
    pub config: Value,
    /// The tokenizers of both sides.
    pub tokenizers: Value,
    /// SHA-256 over this header with the field empty, and the tensors: a lone file can be checked, too.
    pub sha256: String,
}

impl ModelHeader {
    /// The header of weights made by `step` updates.
    pub fn new(config: Value, tokenizers: Value, step: u64) -> ModelHeader {
        let seqloom_version = env!("CARGO_PKG_VERSION").to_owned();
        ModelHeader { format_version: FORMAT_VERSION, seqloom_version, step, config, tokenizers, sha256: String::new() }
    }

    /// The bytes of the file.
    pub fn to_bytes(&self, weights: &[(String, tch::Tensor)]) -> Result<Vec<u8>> {
        let mut header = ModelHeader { sha256: String::new(), ..self.clone() };
        header.sha256 = tensors::fingerprint(weights, &header.to_json()?)?;
        tensors::to_bytes(weights, Some(&header.to_json()?))
    }

    fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::failure(format!("cannot write the model's header: {error}")))
    }
}

/// Reads a model file and holds it against its own checksum.
///
/// # Errors
/// A file that is missing, cut short, changed, of a newer format, or no seqloom model.
pub fn read(path: &Path) -> Result<(ModelHeader, Named)> {
    let bytes = std::fs::read(path).map_err(|error| Error::file("read", path, &error))?;
    let (weights, metadata) = tensors::from_bytes(&bytes, path)?;
    let place = path.display();
    let Some(metadata) = metadata else {
        return Err(Error::input(format!("{place} is a safetensors file, but none that seqloom wrote")));
    };
    let mut header: ModelHeader = serde_json::from_str(&metadata)
        .map_err(|error| Error::failure(format!("the header of {place} cannot be read: {error}")))?;
    if header.format_version > FORMAT_VERSION {
        let found = header.format_version;
        return Err(Error::input(format!("{place} has format {found}, but this seqloom reads up to {FORMAT_VERSION}"))
            .hint(format!("it was written by seqloom {}; use that or a newer one", header.seqloom_version)));
    }
    let written = std::mem::take(&mut header.sha256);
    if tensors::fingerprint(&weights, &header.to_json()?)? != written {
        return Err(Error::failure(format!("{place} is damaged: its content does not match its checksum"))
            .hint("use another checkpoint of the run, or copy the file again"));
    }
    Ok((ModelHeader { sha256: written, ..header }, weights))
}
