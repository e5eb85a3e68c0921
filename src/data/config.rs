//! `[data]`: the files of pairs, and the tokenizer of each side.
//!
//! Only the keys, their defaults and the rules among them. It opens no file and knows no tokenizer.

use super::audio::config::AudioConfig;
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

mod files;

pub use files::{Files, PairFile};

/// The most tokens of a text: a line that is read has no more bytes.
const LONGEST: u64 = 1 << 24;

/// The most pieces of a vocabulary; the largest that are in use have a million.
const MOST_PIECES: u64 = 1 << 22;

/// Where the pairs are and how each side is cut into tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Training pairs: a file, a list of files, or `{ source = "a.en", target = "a.de" }` for parallel text.
    pub train: Files,
    /// Validation pairs, in the same ways.
    pub valid: Files,
    /// Whether the first row of .csv and .tsv names the columns; otherwise they are named by their numbers, from 1.
    #[serde(default = "with_header")]
    pub header: bool,
    /// One vocabulary for both sides, built from both; both sides then name the same tokenizer.
    #[serde(default)]
    pub shared_vocabulary: bool,
    /// What happens to a pair with a side longer than its `max_length`: `error`, or `skip` (counted and reported).
    #[serde(default)]
    pub too_long: TooLong,
    /// What happens to a pair with an empty side: `error`, `skip` (counted and reported), or `keep`.
    #[serde(default)]
    pub empty: Empty,
    /// The side that is read.
    #[serde(default)]
    pub source: SideConfig,
    /// The side that is written.
    #[serde(default)]
    pub target: SideConfig,
}

fn with_header() -> bool {
    true
}

/// What to do with a pair that has a side longer than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// Stop, and name the file and the line.
    #[default]
    Error,
    /// Leave the pair out, and report the count.
    Skip,
}

/// What to do with a pair that has an empty side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// Stop, count them, and name the first.
    #[default]
    Error,
    /// Leave them out, and report the count.
    Skip,
    /// Learn from them: an empty side is EOS alone.
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
    /// Composed, and what only looks different is the same: `ﬁ` is two letters, a full-width letter an ordinary one.
    Nfkc,
    /// As it is in the file.
    None,
}

impl Normalize {
    /// As Unicode has it.
    pub fn name(self) -> &'static str {
        match self {
            Normalize::Nfc => "NFC",
            Normalize::Nfd => "NFD",
            Normalize::Nfkc => "NFKC",
            Normalize::None => "no normalization",
        }
    }
}

/// What becomes of white space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whitespace {
    /// Gone at the ends of a text; within it, what moves a cursor is a space.
    #[default]
    Trim,
    /// As it is in the file.
    Keep,
}

/// One side of the data. At most one of the tokenizers is named; without one it is `characters`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SideConfig {
    /// The column's name; empty for `source` and `target` on their sides, or `1` and `2` where no header names them.
    pub column: String,
    /// The normal form of Unicode in which texts are read.
    pub normalize: Normalize,
    /// What becomes of white space: `trim`, or `keep`.
    pub whitespace: Whitespace,
    /// The most tokens (without BOS and EOS) that this side of a pair may have.
    pub max_length: usize,
    /// Unicode characters, one token each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<CharactersConfig>,
    /// Tokens separated by white space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<WordsConfig>,
    /// Byte-pair encoding trained on the training split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bpe: Option<BpeConfig>,
    /// Recordings, as sources: the column has their paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<Box<AudioConfig>>,
}

impl Default for SideConfig {
    fn default() -> Self {
        SideConfig {
            column: String::new(),
            normalize: Normalize::Nfc,
            whitespace: Whitespace::Trim,
            max_length: 512,
            characters: None,
            words: None,
            bpe: None,
            audio: None,
        }
    }
}

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

/// `[data.source.bpe]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BpeConfig {
    /// Size of the vocabulary, including the four special tokens.
    pub vocabulary: usize,
}

impl Default for BpeConfig {
    fn default() -> Self {
        BpeConfig { vocabulary: 8000 }
    }
}

impl DataConfig {
    /// Fills in what stays empty in the file: the names of the columns, and the tokenizer.
    pub fn fill_in(&mut self) {
        let [source, target] = DataConfig::columns(self.header);
        self.source.fill_in(source);
        self.target.fill_in(target);
    }

    /// The columns of sources and targets where nothing else is said.
    pub fn columns(header: bool) -> [&'static str; 2] {
        if header { ["source", "target"] } else { ["1", "2"] }
    }

    /// The rules among these keys, once [`DataConfig::fill_in`] has run.
    pub fn check(&self) -> Result<(), ConfigError> {
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
        self.source.check("data.source")?;
        self.target.check("data.target")?;
        self.check_audio()?;
        self.check_numbers()?;
        self.check_shared()
    }

    /// Recordings are read, and never written.
    fn check_audio(&self) -> Result<(), ConfigError> {
        if self.target.audio.is_some() {
            let message = "a target must be a text, but [data.target] names `audio`";
            return Err(ConfigError::new("data.target", &["audio"], message)
                .hint("`characters`, `words` and `bpe` cut texts"));
        }
        if self.shared_vocabulary && self.source.audio.is_some() {
            let message = "`shared_vocabulary` needs texts on both sides, but sources are `audio`";
            return Err(ConfigError::new("data", &["shared_vocabulary", "source"], message));
        }
        Ok(())
    }

    /// Columns that nothing names have numbers.
    fn check_numbers(&self) -> Result<(), ConfigError> {
        for (table, side) in [("data.source", &self.source), ("data.target", &self.target)] {
            if !self.header && !side.column.parse::<usize>().is_ok_and(|number| number > 0) {
                let message = format!(
                    "without a header (`data.header` = false) `column` must be a number from 1, but it is `{}`",
                    side.column
                );
                return Err(ConfigError::new(table, &["column"], message));
            }
        }
        Ok(())
    }

    /// One vocabulary needs one tokenizer.
    fn check_shared(&self) -> Result<(), ConfigError> {
        let (source, target) = (&self.source, &self.target);
        if !self.shared_vocabulary {
            return Ok(());
        }
        let forms = [source, target].map(|side| (side.normalize, side.whitespace));
        if forms[0] != forms[1] {
            let keys = ["shared_vocabulary", "source", "target"];
            let message = "`shared_vocabulary` needs the same `normalize` and `whitespace` on both sides, but they differ";
            return Err(ConfigError::new("data", &keys, message).hint("use the same ones on both sides"));
        }
        let same = source.characters == target.characters
            && source.words == target.words
            && source.bpe == target.bpe;
        if same {
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
    /// The tables of which one names the tokenizer.
    pub const TOKENIZERS: [&'static str; 4] = ["characters", "words", "bpe", "audio"];

    fn fill_in(&mut self, column: &str) {
        if self.column.is_empty() {
            self.column = column.to_string();
        }
        if self.tokenizers().is_empty() {
            self.characters = Some(CharactersConfig::default());
        }
    }

    /// The tokenizers that are named; one, in a config that was checked.
    fn tokenizers(&self) -> Vec<&'static str> {
        let are_there =
            [self.characters.is_some(), self.words.is_some(), self.bpe.is_some(), self.audio.is_some()];
        let all = Self::TOKENIZERS.into_iter().zip(are_there);
        all.filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
    }

    /// The tokenizer that this side names.
    pub fn tokenizer_kind(&self) -> &'static str {
        self.tokenizers().first().copied().unwrap_or("characters")
    }

    fn tokenizer_in_words(&self) -> String {
        let counted = |name, minimum: usize| format!("`{name}` with minimum_count = {minimum}");
        match (&self.characters, &self.words, &self.bpe) {
            (Some(characters), _, _) => counted("characters", characters.minimum_count),
            (_, Some(words), _) => counted("words", words.minimum_count),
            (_, _, Some(bpe)) => format!("`bpe` with vocabulary = {}", bpe.vocabulary),
            (None, None, None) => "none".to_string(),
        }
    }

    fn check(&self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_one(table, "tokenizer", &self.tokenizers())?;
        ConfigError::check_integer(table, 1, &[("max_length", self.max_length as u64)])?;
        ConfigError::check_most(table, LONGEST, &[("max_length", self.max_length as u64)])?;
        if let Some(characters) = &self.characters {
            let values = [("minimum_count", characters.minimum_count as u64)];
            ConfigError::check_integer(&format!("{table}.characters"), 1, &values)?;
        }
        if let Some(words) = &self.words {
            if self.whitespace == Whitespace::Keep {
                let message = "`whitespace` must be \"trim\" for `words`, which are joined by one space, but it is \
                               \"keep\"";
                let hint = "use `characters` or `bpe` to keep white space";
                return Err(ConfigError::new(table, &["whitespace"], message).hint(hint));
            }
            ConfigError::check_integer(
                &format!("{table}.words"),
                1,
                &[("minimum_count", words.minimum_count as u64)],
            )?;
        }
        if let Some(audio) = &self.audio {
            audio.check(&format!("{table}.audio"))?;
        }
        if let Some(bpe) = &self.bpe {
            // Four of them are the special tokens; a vocabulary of nothing else writes nothing.
            let (table, size) = (format!("{table}.bpe"), [("vocabulary", bpe.vocabulary as u64)]);
            ConfigError::check_integer(&table, 5, &size)?;
            ConfigError::check_most(&table, MOST_PIECES, &size)?;
        }
        Ok(())
    }
}
