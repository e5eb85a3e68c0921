//! The content of a ready tokenizer's file, as the model file keeps it.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The bytes of a ready tokenizer's file.
#[derive(Clone, Debug)]
pub(super) struct ReadyFile(Arc<[u8]>);

impl ReadyFile {
    /// For this content.
    pub(super) fn new(bytes: &[u8]) -> ReadyFile {
        ReadyFile(bytes.into())
    }

    /// Its content.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the model file has of it.
    pub(super) fn settings(&self) -> Map<String, Value> {
        Map::from_iter([("file".to_owned(), STANDARD.encode(&self.0).into())])
    }

    /// The file in a model file.
    ///
    /// # Errors
    /// It is not base64.
    pub(super) fn of(text: &str) -> std::result::Result<ReadyFile, String> {
        match STANDARD.decode(text) {
            Ok(bytes) => Ok(ReadyFile::new(&bytes)),
            Err(error) => Err(format!("`file` must be base64: {error}")),
        }
    }
}
