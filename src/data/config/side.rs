//! One side of the data: its column, its text form, and its tokenizer.
//!
//! Only the keys, their defaults and the rules among them.

use serde::{Deserialize, Serialize};

use super::LONGEST;
use super::tokenizers::{
    BytesConfig, CharactersConfig, GraphemesConfig, PiecesConfig, PretrainedConfig, TokenizerTable,
    WordsConfig,
};
use crate::data::audio::config::AudioConfig;
use crate::error::ConfigError;

/// A normal form of Unicode (UAX 15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// Composed: `é` is one character.
    #[default]
    Nfc,
    /// Decomposed: `é` is two characters, and a Korean syllable its jamo.
    Nfd,
    /// Composed, with compatibility characters replaced: `ﬁ` is two letters, a full-width letter an ordinary one.
    Nfkc,
    /// As it is in the file.
    None,
}

impl Normalize {
    /// Its name in Unicode.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Normalize::Nfc => "NFC",
            Normalize::Nfd => "NFD",
            Normalize::Nfkc => "NFKC",
            Normalize::None => "no normalization",
        }
    }
}

/// Treatment of white space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whitespace {
    /// Removed at the ends of a text; within it, line breaks and tabs become spaces.
    #[default]
    Trim,
    /// As it is in the file.
    Keep,
}

/// One side of the data, with at most one tokenizer, by default `characters`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SideConfig {
    /// The column's name; empty for `source` or `target`, or for `1` or `2` without a header.
    pub column: String,
    /// What is between several right targets of a row in its field; `None` if a field is one target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternatives: Option<String>,
    /// The columns of a source that has several, each with its own tokenizer, in the order in which they are read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<SideConfig>,
    /// Whether the symbols of a part have no order.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub set: bool,
    /// The normal form of Unicode in which texts are read.
    pub normalize: Normalize,
    /// Treatment of white space: `trim` or `keep`.
    pub whitespace: Whitespace,
    /// Whether texts are read and written in lower case.
    pub lowercase: bool,
    /// The most tokens (without BOS and EOS) of this side of a pair.
    pub max_length: usize,
    /// Unicode characters, one token each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<CharactersConfig>,
    /// What readers see as characters (grapheme clusters), one token each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphemes: Option<GraphemesConfig>,
    /// Tokens separated by white space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<WordsConfig>,
    /// Tokens separated by any of these characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Bytes of UTF-8, one token each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<BytesConfig>,
    /// Byte-pair encoding trained on the training split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bpe: Option<PiecesConfig>,
    /// Share of the possible merges of `bpe` that training leaves out, other ones in each pass (Provilkov et al. 2020).
    pub bpe_dropout: f64,
    /// A Unigram model trained on the training split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unigram: Option<PiecesConfig>,
    /// A ready tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<PretrainedConfig>,
    /// Recordings, as sources: the column has their paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<Box<AudioConfig>>,
}

impl Default for SideConfig {
    fn default() -> Self {
        SideConfig {
            column: String::new(),
            alternatives: None,
            parts: Vec::new(),
            set: false,
            normalize: Normalize::Nfc,
            whitespace: Whitespace::Trim,
            lowercase: false,
            max_length: 512,
            characters: None,
            graphemes: None,
            words: None,
            split: None,
            bytes: None,
            bpe: None,
            bpe_dropout: 0.0,
            unigram: None,
            pretrained: None,
            audio: None,
        }
    }
}

impl SideConfig {
    /// The tokenizers' tables; a side has one of them.
    pub(crate) const TOKENIZERS: [&'static str; 10] = [
        "characters",
        "graphemes",
        "words",
        "split",
        "bytes",
        "bpe",
        "unigram",
        "pretrained",
        "audio",
        "parts",
    ];

    pub(super) fn fill_in(&mut self, column: &str) {
        if self.column.is_empty() && self.parts.is_empty() {
            self.column = column.to_string();
        }
        if self.tokenizers().is_empty() {
            self.characters = Some(CharactersConfig::default());
        }
        self.parts.iter_mut().for_each(|part| part.fill_in(""));
    }

    /// The columns of this side.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self.parts.as_slice() {
            [] => vec![&self.column],
            parts => parts.iter().map(|part| part.column.as_str()).collect(),
        }
    }

    /// The tokenizers that the config names; exactly one in a checked config.
    fn tokenizers(&self) -> Vec<&'static str> {
        let others = [self.audio.is_some(), !self.parts.is_empty()];
        let are_there = self.tables().map(|table| table.is_some()).into_iter().chain(others);
        let all = Self::TOKENIZERS.into_iter().zip(are_there);
        all.filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
    }

    /// The tables of the tokenizers of texts, in the order of [`SideConfig::TOKENIZERS`].
    pub(super) fn tables(&self) -> [Option<TokenizerTable<'_>>; 8] {
        [
            self.characters.as_ref().map(TokenizerTable::Characters),
            self.graphemes.as_ref().map(TokenizerTable::Graphemes),
            self.words.as_ref().map(TokenizerTable::Words),
            self.split.as_deref().map(TokenizerTable::Split),
            self.bytes.as_ref().map(TokenizerTable::Bytes),
            self.bpe.as_ref().map(TokenizerTable::Bpe),
            self.unigram.as_ref().map(TokenizerTable::Unigram),
            self.pretrained.as_ref().map(TokenizerTable::Pretrained),
        ]
    }

    /// The tokenizer of this side.
    pub(crate) fn tokenizer_kind(&self) -> &'static str {
        self.tokenizers().first().copied().unwrap_or("characters")
    }

    /// The size of a vocabulary of pieces, which the training may not reach.
    pub(crate) fn pieces(&self) -> Option<usize> {
        self.piece_rules().map(|rules| rules.vocabulary)
    }

    /// How texts are cut into pieces.
    pub(in crate::data) fn piece_rules(&self) -> Option<PiecesConfig> {
        self.bpe.or(self.unigram)
    }

    /// The fewest occurrences of a symbol of the vocabulary.
    pub(crate) fn minimum_count(&self) -> usize {
        self.tables().into_iter().flatten().next().map_or(1, |table| table.minimum_count())
    }

    pub(super) fn tokenizer_in_words(&self) -> String {
        let table = self.tables().into_iter().flatten().next();
        table.map_or("none".to_owned(), |table| format!("`{}`{}", self.tokenizer_kind(), table.in_words()))
    }

    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_one(table, "tokenizer", &self.tokenizers())?;
        ConfigError::check_integer(table, 1, &[("max_length", self.max_length as u64)])?;
        ConfigError::check_most(table, LONGEST, &[("max_length", self.max_length as u64)])?;
        let share = [("bpe_dropout", self.bpe_dropout)];
        ConfigError::check_float(table, "between 0 and 1", |x| (0.0..=1.0).contains(&x), &share)?;
        if self.bpe_dropout > 0.0 && self.bpe.is_none() {
            let message =
                format!("`bpe_dropout` needs the tokenizer `bpe`, but this is `{}`", self.tokenizer_kind());
            return Err(ConfigError::new(table, &["bpe_dropout"], message));
        }
        if self.words.is_some() && self.whitespace == Whitespace::Keep {
            let message = "`whitespace` must be \"trim\" for `words`, which are joined by one space, but it is \
                           \"keep\"";
            let hint = "use `characters` or `bpe` to keep white space";
            return Err(ConfigError::new(table, &["whitespace"], message).hint(hint));
        }
        if let Some(audio) = &self.audio {
            audio.check(&format!("{table}.audio"))?;
        }
        let named = self.tables().into_iter().flatten().next();
        named.map_or(Ok(()), |named| named.check(&format!("{table}.{}", self.tokenizer_kind())))
    }
}
