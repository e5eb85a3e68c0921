//! Tokens that are bytes of UTF-8: the tokenizer `bytes`, and the byte fallback of others.
//!
//! A vocabulary that has them has all 256, as the ids 4 to 259: `<0x00>` to `<0xFF>`. They are no text: a text that spells
//! `<0x41>` has six characters. Bytes that are not UTF-8 together become U+FFFD in an output.

use std::borrow::Cow;
use std::sync::Arc;

use super::scheme::{Each, Scheme};
use crate::data::vocabulary::{SPECIALS, Vocabulary};
use crate::error::{Error, Result};

/// The first byte's id.
const FIRST: i64 = SPECIALS.len() as i64;

/// All bytes, as pieces.
const ALL: [u8; 256] = {
    let mut all = [0; 256];
    let mut n = 0;
    while n < all.len() {
        all[n] = n as u8;
        n += 1;
    }
    all
};

/// Number of tokens before those of texts, with bytes or without.
pub(super) const fn reserved(has_bytes: bool) -> usize {
    SPECIALS.len() + if has_bytes { ALL.len() } else { 0 }
}

/// The tokens before those of texts.
pub(super) fn reserved_tokens(has_bytes: bool) -> Vec<String> {
    let bytes = ALL.iter().filter(|_| has_bytes).map(|&byte| token(byte));
    SPECIALS.iter().map(|name| name.to_string()).chain(bytes).collect()
}

/// The token of a byte.
pub(super) fn token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// Whether a text is spelled like the token of a byte.
pub(super) fn is_token(text: &str) -> bool {
    byte_of(text).is_some()
}

/// The byte that a token names.
pub(super) fn byte_of(token_text: &str) -> Option<u8> {
    let digits = token_text.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|&byte| token(byte) == token_text)
}

/// The id of a byte.
pub(super) fn id(byte: u8) -> i64 {
    FIRST + i64::from(byte)
}

/// What the token of a byte adds to an output.
pub(super) fn piece(id: i64) -> Option<&'static [u8]> {
    let at = usize::try_from(id - FIRST).ok()?;
    ALL.get(at..=at)
}

/// Checks that a vocabulary begins as one with bytes.
pub(super) fn check(vocabulary: &Vocabulary) -> std::result::Result<(), String> {
    let bytes = reserved_tokens(true);
    match vocabulary.tokens().starts_with(&bytes) {
        true => Ok(()),
        false => Err("its tokens must begin with the special ones and 256 bytes".to_owned()),
    }
}

/// The bytes of a character that has no other token.
pub(super) fn fall_back(character: &str, each: Each) {
    character.bytes().for_each(|byte| each(id(byte), character));
}

/// The tokenizer `bytes`.
#[derive(Clone, Debug)]
pub(super) struct Bytes(Vocabulary);

impl Bytes {
    /// It learns nothing.
    pub(super) fn new() -> Result<Bytes> {
        Vocabulary::from_tokens(reserved_tokens(true)).map(Bytes)
    }

    /// The one of a model file.
    pub(super) fn of(vocabulary: Vocabulary) -> std::result::Result<Bytes, String> {
        check(&vocabulary)?;
        match vocabulary.size() - reserved(true) {
            0 => Ok(Bytes(vocabulary)),
            more => Err(format!("`bytes` must have no other tokens, but it has {more}")),
        }
    }
}

impl Scheme for Bytes {
    fn name(&self) -> &'static str {
        "bytes"
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.0
    }

    fn cut(&self, text: &str, each: Each) {
        let mut buffer = [0; 4];
        text.chars().for_each(|character| fall_back(character.encode_utf8(&mut buffer), each));
    }

    fn piece(&self, id: i64, _first: bool) -> Cow<'_, [u8]> {
        Cow::Borrowed(piece(id).unwrap_or_default())
    }

    fn spelled(&self, text: &str) -> String {
        text.to_owned()
    }

    fn extended(&self, symbols: &[String]) -> Result<Arc<dyn Scheme>> {
        match symbols.first() {
            None => Ok(Arc::new(self.clone())),
            Some(symbol) => Err(Error::failure(format!("bytes spell every text, also {symbol:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_byte_names_it_and_nothing_else_does() {
        for byte in ALL {
            assert_eq!(byte_of(&token(byte)), Some(byte));
            assert_eq!(piece(id(byte)), Some(&[byte][..]));
        }
        for text in ["<0x4>", "<0x041>", "<0xff>", "<0x+1>", "0x41", "<0x41", "<0xGG>", "<unk>", ""] {
            assert_eq!(byte_of(text), None, "{text}");
        }
        assert_eq!([3, 260, i64::MAX, i64::MIN + 10].map(piece), [None; 4]);
    }
}
