//! The tables of tokenizers: `[data.source.bpe]` and so on.
//!
//! Only the keys, their defaults and the rules among them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// The most pieces of a vocabulary; the largest in use have a million.
const MOST_PIECES: u64 = 1 << 22;

/// The fewest tokens of a vocabulary: the special ones alone are none.
const FEWEST: u64 = 5;

/// Tokens that are bytes.
const BYTES: u64 = 256;

/// `[data.source.characters]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CharactersConfig {
    /// A character seen fewer times than this in the training split is `<unk>`.
    pub minimum_count: usize,
}

impl Default for CharactersConfig {
    fn default() -> Self {
        CharactersConfig { minimum_count: 1 }
    }
}

/// `[data.source.graphemes]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphemesConfig {
    /// A grapheme cluster seen fewer times than this in the training split is `<unk>`.
    pub minimum_count: usize,
}

impl Default for GraphemesConfig {
    fn default() -> Self {
        GraphemesConfig { minimum_count: 1 }
    }
}

/// `[data.source.words]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WordsConfig {
    /// A word seen fewer times than this in the training split is `<unk>`.
    pub minimum_count: usize,
}

impl Default for WordsConfig {
    fn default() -> Self {
        WordsConfig { minimum_count: 1 }
    }
}

/// `[data.source.bytes]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BytesConfig {}

/// `[data.source.bpe]` and `[data.source.unigram]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PiecesConfig {
    /// Size of the vocabulary, including the four special tokens, and the bytes if there are any.
    pub vocabulary: usize,
    /// A character seen fewer times than this in the training split is `<unk>`, or its bytes.
    pub minimum_count: usize,
    /// Whether a character without a piece is its bytes, so that nothing is `<unk>`.
    pub byte_fallback: bool,
    /// Whether a piece has characters of one script (UAX 24) only; marks belong to their letter.
    pub split_scripts: bool,
    /// Whether each digit is a piece by itself.
    pub split_digits: bool,
}

impl Default for PiecesConfig {
    fn default() -> Self {
        PiecesConfig {
            vocabulary: 8000,
            minimum_count: 1,
            byte_fallback: false,
            split_scripts: false,
            split_digits: false,
        }
    }
}

/// `[data.source.pretrained]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainedConfig {
    /// A SentencePiece `.model` or a `tokenizer.json`. The model file keeps its content.
    pub file: PathBuf,
}

impl PiecesConfig {
    fn check(self, table: &str) -> Result<(), ConfigError> {
        let size = [("vocabulary", self.vocabulary as u64)];
        ConfigError::check_integer(table, FEWEST + if self.byte_fallback { BYTES } else { 0 }, &size)?;
        ConfigError::check_most(table, MOST_PIECES, &size)
    }
}

/// The table of a side's tokenizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TokenizerTable<'a> {
    Characters(&'a CharactersConfig),
    Graphemes(&'a GraphemesConfig),
    Words(&'a WordsConfig),
    Split(&'a str),
    Bytes(&'a BytesConfig),
    Bpe(&'a PiecesConfig),
    Unigram(&'a PiecesConfig),
    Pretrained(&'a PretrainedConfig),
}

impl TokenizerTable<'_> {
    pub(super) fn check(self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_integer(table, 1, &[("minimum_count", self.minimum_count() as u64)])?;
        match self {
            TokenizerTable::Split("") => {
                let message =
                    "`split` must have at least one character, which separates tokens, but it is empty";
                Err(ConfigError::new(table, &["split"], message))
            }
            TokenizerTable::Bpe(pieces) | TokenizerTable::Unigram(pieces) => pieces.check(table),
            _ => Ok(()),
        }
    }

    /// The fewest occurrences of a symbol of the vocabulary.
    pub(super) fn minimum_count(self) -> usize {
        match self {
            TokenizerTable::Characters(characters) => characters.minimum_count,
            TokenizerTable::Graphemes(graphemes) => graphemes.minimum_count,
            TokenizerTable::Words(words) => words.minimum_count,
            TokenizerTable::Bpe(pieces) | TokenizerTable::Unigram(pieces) => pieces.minimum_count,
            TokenizerTable::Split(_) | TokenizerTable::Bytes(_) | TokenizerTable::Pretrained(_) => 1,
        }
    }

    /// Its keys, for a message.
    pub(super) fn in_words(self) -> String {
        let of_pieces = |rules: PiecesConfig| {
            let mut words = format!(" with vocabulary = {}", rules.vocabulary);
            if rules.minimum_count > 1 {
                words += &format!(", minimum_count = {}", rules.minimum_count);
            }
            let flags = [
                ("byte_fallback", rules.byte_fallback),
                ("split_scripts", rules.split_scripts),
                ("split_digits", rules.split_digits),
            ];
            let set = flags.iter().filter(|(_, is_set)| *is_set);
            words + &set.map(|(name, _)| format!(", {name} = true")).collect::<String>()
        };
        match self {
            TokenizerTable::Bytes(_) => String::new(),
            TokenizerTable::Split(separators) => format!(" = {separators:?}"),
            TokenizerTable::Bpe(pieces) | TokenizerTable::Unigram(pieces) => of_pieces(*pieces),
            TokenizerTable::Pretrained(ready) => format!(" with file = {:?}", ready.file),
            _ => format!(" with minimum_count = {}", self.minimum_count()),
        }
    }
}
