//! A `tokenizer.json`, as crate `tokenizers` reads and applies it: its normalizer, its words, its model and its decoder.
//!
//! The ids of its tokens are in the order of its own, behind our special ones. Special tokens that it adds are not found in texts.
//! What a token adds to an output comes from its decoder once, token by token; a decoder that needs more is refused.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokenizers::{Decoder, Tokenizer as Pipeline};

use super::bytes;
use super::ready_file::ReadyFile;
use super::scheme::{Each, Scheme};
use crate::data::vocabulary::{SPECIALS, UNK, Vocabulary, is_special};
use crate::error::{Error, Result, caught};

/// A pipeline of crate `tokenizers`.
pub(super) struct TokenizerJson {
    file: ReadyFile,
    pipeline: Pipeline,
    vocabulary: Vocabulary,
    /// Our ids of its tokens.
    ids: HashMap<u32, i64>,
    /// What each token adds to an output: at its start, and later.
    pieces: Vec<[Box<[u8]>; 2]>,
}

impl TokenizerJson {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// It is none; its decoder does not decode token by token.
    pub(super) fn read(file: ReadyFile) -> std::result::Result<TokenizerJson, String> {
        let json: Value = serde_json::from_slice(file.bytes()).map_err(|error| error.to_string())?;
        let guarded = caught(|| Ok(Pipeline::from_bytes(file.bytes()).map_err(|error| error.to_string())));
        let mut pipeline = guarded.map_err(|error| error.message().to_owned())??;
        pipeline.with_padding(None).with_truncation(None).map_err(|error| error.to_string())?;
        // Then what spells a special token is a text.
        pipeline.set_encode_special_tokens(true);
        let (tokens, ids) = tokens_of(&pipeline, unknown_token(&json["model"]));
        let pieces = caught(|| Ok(pieces_of(&pipeline, &json["decoder"], &tokens)));
        let pieces = pieces.map_err(|error| error.message().to_owned())??;
        let vocabulary = Vocabulary::from_tokens(tokens).map_err(|error| error.message().to_owned())?;
        Ok(TokenizerJson { file, pipeline, vocabulary, ids, pieces })
    }
}

impl std::fmt::Debug for TokenizerJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenizerJson").field("tokens", &self.vocabulary.size()).finish_non_exhaustive()
    }
}

impl Scheme for TokenizerJson {
    fn name(&self) -> &'static str {
        "pretrained"
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// A text that the pipeline cannot tokenize, as without an unknown token, is unknown as a whole.
    fn cut(&self, text: &str, each: Each) {
        let encode = || Ok(self.pipeline.encode(text, false).ok());
        match caught(encode).ok().flatten() {
            Some(encoding) => {
                for (id, &(start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
                    let covered = text.get(start..end).unwrap_or_default();
                    each(self.ids.get(id).copied().unwrap_or(UNK), covered);
                }
            }
            None if text.is_empty() => {}
            None => each(UNK, text),
        }
    }

    fn piece(&self, id: i64, first: bool) -> Cow<'_, [u8]> {
        let piece = usize::try_from(id).ok().and_then(|id| self.pieces.get(id));
        Cow::Borrowed(piece.map_or(&[], |piece| &piece[usize::from(!first)]))
    }

    fn plain<'a>(&self, covered: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(covered.trim())
    }

    fn extended(&self, symbols: &[String]) -> Result<Arc<dyn Scheme>> {
        let lacks =
            format!("a tokenizer.json has its own vocabulary, and cannot have {} more", symbols.len());
        Err(Error::failure(lacks))
    }

    fn settings(&self) -> Map<String, Value> {
        self.file.settings()
    }
}

/// The unknown token of a model.
fn unknown_token(model: &Value) -> Option<String> {
    let of_unigram = || {
        let place = usize::try_from(model["unk_id"].as_u64()?).ok()?;
        model["vocab"].get(place)?.get(0)?.as_str()
    };
    model["unk_token"].as_str().or_else(of_unigram).map(str::to_owned)
}

/// Our tokens, and our id for each of the pipeline's. Special tokens are all unknown: no text has them.
fn tokens_of(pipeline: &Pipeline, unknown: Option<String>) -> (Vec<String>, HashMap<u32, i64>) {
    let mut theirs: Vec<(u32, String)> =
        pipeline.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
    theirs.sort_unstable();
    let added = pipeline.get_added_tokens_decoder();
    let is_none_of_a_text = |id: u32, token: &str| {
        let is_unknown = unknown.as_deref() == Some(token);
        is_unknown || is_special(token) || added.get(&id).is_some_and(|token| token.special)
    };
    let mut tokens: Vec<String> = SPECIALS.iter().map(|name| name.to_string()).collect();
    let mut ids = HashMap::new();
    for (id, token) in theirs {
        if !is_none_of_a_text(id, &token) {
            ids.insert(id, tokens.len() as i64);
            tokens.push(token);
        }
    }
    (tokens, ids)
}

/// What each token adds to an output, by its decoder.
fn pieces_of(
    pipeline: &Pipeline,
    decoder: &Value,
    tokens: &[String],
) -> std::result::Result<Vec<[Box<[u8]>; 2]>, String> {
    let steps: Vec<&str> = match decoder["decoders"].as_array() {
        Some(steps) => steps.iter().filter_map(|step| step["type"].as_str()).collect(),
        None => decoder["type"].as_str().into_iter().collect(),
    };
    let byte_of = byte_level();
    let piece = |token: &String| -> std::result::Result<[Box<[u8]>; 2], String> {
        if steps.contains(&"ByteLevel") {
            let spelled: Vec<u8> = token.chars().flat_map(|one| bytes_of(&byte_of, one)).collect();
            return Ok([spelled.clone().into(), spelled.into()]);
        }
        if steps.contains(&"ByteFallback")
            && let Some(byte) = bytes::byte_of(token)
        {
            return Ok([Box::new([byte]), Box::new([byte])]);
        }
        if decoder.is_null() {
            return Ok([token.as_bytes().into(), format!(" {token}").into_bytes().into()]);
        }
        let alone = decoded(pipeline, &[token, "b"], 0, ["", "b"])?;
        let later = decoded(pipeline, &["a", token, "b"], 1, ["a", "b"])?;
        Ok([alone, later].map(|text| text.into_bytes().into()))
    };
    let of_specials = SPECIALS.map(|_| Ok(Default::default()));
    of_specials.into_iter().chain(tokens.iter().skip(SPECIALS.len()).map(piece)).collect()
}

/// What the token at a place adds, between letters whose own texts are known.
fn decoded(
    pipeline: &Pipeline,
    tokens: &[&str],
    place: usize,
    [before, behind]: [&str; 2],
) -> std::result::Result<String, String> {
    let Some(decoder) = pipeline.get_decoder() else { return Ok(tokens[place].to_owned()) };
    let names = tokens.iter().map(|token| token.to_string()).collect();
    let parts = decoder.decode_chain(names).map_err(|error| error.to_string())?;
    if parts.len() == tokens.len() {
        return Ok(parts[place].clone());
    }
    let whole = parts.concat();
    let inner = whole.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
    inner.map(str::to_owned).ok_or_else(|| {
        format!("its decoder must decode token by token, but of {tokens:?} it makes {whole:?}")
    })
}

/// The letters that stand for bytes in vocabularies of bytes, as GPT-2 chose them: printable ones for themselves, and the others from
/// U+0100 on.
fn byte_level() -> HashMap<char, u8> {
    let mut others = '\u{100}'..;
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let letter =
        |byte: u8| if is_printable(byte) { char::from(byte) } else { others.next().unwrap_or_default() };
    (0..=u8::MAX).map(letter).zip(0..).collect()
}

fn bytes_of(byte_of: &HashMap<char, u8>, letter: char) -> Vec<u8> {
    match byte_of.get(&letter) {
        Some(byte) => vec![*byte],
        None => letter.encode_utf8(&mut [0; 4]).as_bytes().to_vec(),
    }
}
