//! `[data]`: the files of pairs, and the tokenizer of each side.
//!
//! Only the keys, their defaults and the rules among them. It opens no file and depends on no tokenizer.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::audio::config::AudioConfig;
use super::readers::Format;
use crate::error::ConfigError;

mod files;
mod parts;
mod tokenizers;

pub use files::{Files, PairFile, TableFile};
use tokenizers::TokenizerTable;
pub use tokenizers::{
    BytesConfig, CharactersConfig, GraphemesConfig, PiecesConfig, PretrainedConfig, WordsConfig,
};

/// The most tokens of a text, which is also the most bytes of a line.
const LONGEST: u64 = 1 << 24;

/// `[data]`: the files of pairs, and the tokenizer of each side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Training pairs: a file, a list of files, or `{ source = "a.en", target = "a.de" }` for parallel text.
    pub train: Files,
    /// Validation pairs, in the same forms.
    pub valid: Files,
    /// The format of tables; `None` for that of the extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Whether the first row of .csv and .tsv names the columns; otherwise they are named by their numbers, from 1.
    #[serde(default = "with_header")]
    pub header: bool,
    /// One vocabulary for both sides, built from both; both sides must then have the same tokenizer.
    #[serde(default)]
    pub shared_vocabulary: bool,
    /// What to do with a pair with a side longer than its `max_length`: `error`, or `skip` (counted and reported).
    #[serde(default)]
    pub too_long: TooLong,
    /// What to do with a pair with an empty side: `error` (with their number and the first one), `skip` (counted and
    /// reported), or `keep`: an empty side is EOS alone.
    #[serde(default)]
    pub empty: Policy,
    /// How many times as many characters one side of a pair may have as the other one; 0: any number.
    #[serde(default)]
    pub max_ratio: f64,
    /// What to do with a pair beyond `max_ratio`.
    #[serde(default)]
    pub too_unequal: Policy,
    /// What to do with a row that has bytes that are not UTF-8; `keep` reads U+FFFD in their place.
    #[serde(default)]
    pub invalid_utf8: Policy,
    /// What to do with a pair that came before.
    #[serde(default = "keep")]
    pub duplicate: Policy,
    /// What to do with a pair whose source and target are the same text.
    #[serde(default = "keep")]
    pub copy: Policy,
    /// The largest training files, in GiB, that are loaded into memory; larger ones are encoded into a file.
    #[serde(default = "quarter")]
    pub in_memory_limit: f64,
    /// The most pairs of a set larger than `in_memory_limit` from which vocabularies are learned.
    #[serde(default = "million")]
    pub learn_from: usize,
    /// The folder of encoded training sets, which runs may share; without it, `prepared` of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// The source side.
    #[serde(default)]
    pub source: SideConfig,
    /// The target side.
    #[serde(default)]
    pub target: SideConfig,
}

fn with_header() -> bool {
    true
}

fn keep() -> Policy {
    Policy::Keep
}

fn quarter() -> f64 {
    0.25
}

fn million() -> usize {
    1_000_000
}

/// What to do with a pair with a side longer than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// Stop with an error that names file and line.
    #[default]
    Error,
    /// Skip the pair, and report the count.
    Skip,
}

/// What to do with a pair that is probably a mistake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Stop with an error that names it.
    #[default]
    Error,
    /// Skip it, and report the count.
    Skip,
    /// Train on it.
    Keep,
}

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
            unigram: None,
            pretrained: None,
            audio: None,
        }
    }
}

impl DataConfig {
    /// The files of ready tokenizers.
    pub(crate) fn ready_tokenizers(&self) -> impl Iterator<Item = &Path> {
        let sides = [&self.source, &self.target].into_iter().chain(&self.source.parts);
        sides.filter_map(|side| Some(side.pretrained.as_ref()?.file.as_path()))
    }

    /// Fills in the default columns and tokenizer.
    pub(crate) fn fill_in(&mut self) {
        let [source, target] = DataConfig::columns(self.header);
        self.source.fill_in(source);
        self.target.fill_in(target);
    }

    /// The default columns of sources and targets.
    pub(crate) fn columns(header: bool) -> [&'static str; 2] {
        if header { ["source", "target"] } else { ["1", "2"] }
    }

    /// The rules among these keys, once [`DataConfig::fill_in`] has run.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (key, files) in [("train", &self.train), ("valid", &self.valid)] {
            if files.0.is_empty() {
                return Err(ConfigError::new("data", &[key], format!("`{key}` must name at least one file")));
            }
            if files.paths().any(|path| path.as_os_str().is_empty()) {
                return Err(ConfigError::new(
                    "data",
                    &[key],
                    format!("`{key}` must not have an empty file name"),
                ));
            }
        }
        let numbers = [("max_ratio", self.max_ratio), ("in_memory_limit", self.in_memory_limit)];
        ConfigError::check_float("data", "at least 0", |x| x >= 0.0, &numbers)?;
        ConfigError::check_float("data", "0, or at least 1", |x| x == 0.0 || x >= 1.0, &numbers[..1])?;
        ConfigError::check_integer("data", 1, &[("learn_from", self.learn_from as u64)])?;
        self.source.check("data.source")?;
        self.target.check("data.target")?;
        self.check_parts()?;
        self.check_audio()?;
        self.check_numbers()?;
        self.check_shared()
    }

    /// Recordings are read, and never written.
    fn check_audio(&self) -> Result<(), ConfigError> {
        if self.target.audio.is_some() {
            let message = "a target must be a text, but [data.target] names `audio`";
            return Err(ConfigError::new("data.target", &["audio"], message)
                .hint("`characters`, `words` and `bpe`, for example, cut texts"));
        }
        if self.max_ratio > 0.0 && self.source.audio.is_some() {
            let message = format!(
                "`max_ratio` compares texts, so it must be 0 where sources are `audio`, but it is {}",
                self.max_ratio
            );
            return Err(ConfigError::new("data", &["max_ratio"], message));
        }
        if self.shared_vocabulary && self.source.audio.is_some() {
            let message = "`shared_vocabulary` needs texts on both sides, but sources are `audio`";
            return Err(ConfigError::new("data", &["shared_vocabulary", "source"], message));
        }
        Ok(())
    }

    /// Without a header, columns are numbers.
    fn check_numbers(&self) -> Result<(), ConfigError> {
        let is_number = |column: &str| column.parse::<usize>().is_ok_and(|number| number > 0);
        for (table, side) in [("data.source", &self.source), ("data.target", &self.target)] {
            if let Some(column) = side.columns().into_iter().find(|column| !self.header && !is_number(column))
            {
                let message = format!(
                    "without a header (`data.header` = false) `column` must be a number from 1, but it is `{column}`"
                );
                return Err(ConfigError::new(table, &["column"], message));
            }
        }
        Ok(())
    }

    /// A shared vocabulary needs the same tokenizer on both sides.
    fn check_shared(&self) -> Result<(), ConfigError> {
        let (source, target) = (&self.source, &self.target);
        if !self.shared_vocabulary {
            return Ok(());
        }
        let forms = [source, target].map(|side| (side.normalize, side.whitespace, side.lowercase));
        if forms[0] != forms[1] {
            let keys = ["shared_vocabulary", "source", "target"];
            let message = "`shared_vocabulary` needs the same `normalize`, `whitespace` and `lowercase` on both sides, but they \
                           differ";
            return Err(ConfigError::new("data", &keys, message).hint("use the same ones on both sides"));
        }
        if source.parts.is_empty() && source.tables() == target.tables() {
            return Ok(());
        }
        let keys = ["shared_vocabulary", "source", "target"];
        let message = format!(
            "`shared_vocabulary` needs the same tokenizer on both sides, but [data.source] has {} and [data.target] has {}",
            source.tokenizer_in_words(),
            target.tokenizer_in_words()
        );
        Err(ConfigError::new("data", &keys, message)
            .hint("use the same one on both sides, with the same settings"))
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

    fn fill_in(&mut self, column: &str) {
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
    fn tables(&self) -> [Option<TokenizerTable<'_>>; 8] {
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
    pub(super) fn piece_rules(&self) -> Option<PiecesConfig> {
        self.bpe.or(self.unigram)
    }

    /// The fewest occurrences of a symbol of the vocabulary.
    pub(crate) fn minimum_count(&self) -> usize {
        self.tables().into_iter().flatten().next().map_or(1, |table| table.minimum_count())
    }

    fn tokenizer_in_words(&self) -> String {
        let table = self.tables().into_iter().flatten().next();
        table.map_or("none".to_owned(), |table| format!("`{}`{}", self.tokenizer_kind(), table.in_words()))
    }

    fn check(&self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_one(table, "tokenizer", &self.tokenizers())?;
        ConfigError::check_integer(table, 1, &[("max_length", self.max_length as u64)])?;
        ConfigError::check_most(table, LONGEST, &[("max_length", self.max_length as u64)])?;
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
