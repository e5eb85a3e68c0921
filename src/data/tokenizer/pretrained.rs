//! Ready tokenizers: a SentencePiece `.model` or a `tokenizer.json`, kept in the model file.
//!
//! Of both, the ids are behind ours, and only `<unk>` of the special tokens can come from a text.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::ready_file::ReadyFile;
use super::scheme::Scheme;
use super::sentencepiece::SentencePiece;
use super::tokenizer_json::TokenizerJson;
use super::{TextForm, Tokenizer};
use crate::error::{Error, Result};

/// The most bytes of a file. The largest in use have some 30 MB.
const LARGEST: u64 = 1 << 27;

/// The tokenizer of this content: a `tokenizer.json` is a JSON object, and no SentencePiece model begins like one.
///
/// # Errors
/// It is neither.
pub(super) fn tokenizer_of(file: ReadyFile) -> std::result::Result<Arc<dyn Scheme>, String> {
    match file.bytes().trim_ascii_start().first() {
        Some(b'{') => Ok(Arc::new(TokenizerJson::read(file)?)),
        _ => Ok(Arc::new(SentencePiece::read(file)?)),
    }
}

impl Tokenizer {
    /// The tokenizer of a file's content.
    ///
    /// # Errors
    /// It is neither a SentencePiece model nor a `tokenizer.json`.
    pub(crate) fn ready(bytes: &[u8]) -> Result<Tokenizer> {
        let scheme = tokenizer_of(ReadyFile::new(bytes)).map_err(Error::input)?;
        Ok(Tokenizer::of(TextForm::default(), scheme))
    }
}

/// Reads the tokenizer of a file.
///
/// # Errors
/// There is no file, it cannot be read, is too large, or is no tokenizer.
pub(super) fn read(path: &Path) -> Result<Arc<dyn Scheme>> {
    if path.as_os_str().is_empty() {
        let message =
            "`pretrained.file` must name a SentencePiece .model or a tokenizer.json, but it is empty";
        return Err(Error::input(message));
    }
    let cannot = |error| Error::file("read the tokenizer", path, &error);
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        let message = format!("the file of a tokenizer must have at most {LARGEST} bytes, but it has more");
        return Err(Error::input(message).at(path.display()));
    }
    tokenizer_of(ReadyFile::new(&bytes)).map_err(|why| {
        let message =
            format!("a pretrained tokenizer must be a SentencePiece .model or a tokenizer.json: {why}");
        Error::input(message).at(path.display())
    })
}
