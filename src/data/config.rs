//! `[data]`: the files of pairs, and the tokenizer of each side.
//!
//! Only the keys, their defaults and the rules among them. It opens no file and depends on no tokenizer.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::readers::Format;
use crate::error::ConfigError;

mod files;
mod parts;
mod side;
mod tokenizers;

pub use files::{Files, PairFile, TableFile, ValidPairs};
pub use side::{Normalize, SideConfig, Whitespace};
pub use tokenizers::*;

/// The most tokens of a text, which is also the most bytes of a line.
const LONGEST: u64 = 1 << 24;

/// `[data]`: the files of pairs, and the tokenizer of each side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Training pairs: a file, a list of files, or `{ source = "a.en", target = "a.de" }` for parallel text.
    pub train: Files,
    /// Validation pairs, in the same forms, or `{ share = 0.05 }`: a share of the training pairs.
    pub valid: ValidPairs,
    /// Test pairs, in the forms of training pairs, which are scored once training has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Files>,
    /// How even the files of training pairs are mixed: 1 in proportion to their pairs and weights, more with ever more
    /// equal shares.
    #[serde(default = "in_proportion")]
    pub temperature: f64,
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

fn in_proportion() -> f64 {
    1.0
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
        self.check_files()?;
        let numbers = [("max_ratio", self.max_ratio), ("in_memory_limit", self.in_memory_limit)];
        ConfigError::check_float("data", "at least 0", |x| x >= 0.0, &numbers)?;
        ConfigError::check_float("data", "0, or at least 1", |x| x == 0.0 || x >= 1.0, &numbers[..1])?;
        ConfigError::check_float("data", "at least 1", |x| x >= 1.0, &[("temperature", self.temperature)])?;
        ConfigError::check_integer("data", 1, &[("learn_from", self.learn_from as u64)])?;
        self.source.check("data.source")?;
        self.target.check("data.target")?;
        self.check_parts()?;
        self.check_alternatives()?;
        self.check_audio()?;
        self.check_numbers()?;
        self.check_shared()
    }

    /// The same with each policy that makes an error skipping instead, so that what it refuses is counted.
    pub(crate) fn counting(&self) -> DataConfig {
        let mut counting = DataConfig { too_long: TooLong::Skip, ..self.clone() };
        let policies = [
            &mut counting.empty,
            &mut counting.too_unequal,
            &mut counting.invalid_utf8,
            &mut counting.duplicate,
            &mut counting.copy,
        ];
        for policy in policies.into_iter().filter(|policy| **policy == Policy::Error) {
            *policy = Policy::Skip;
        }
        counting
    }

    /// The sets that are files, by their keys.
    pub(crate) fn sets(&self) -> impl Iterator<Item = (&'static str, &Files)> {
        let sets =
            [("train", Some(&self.train)), ("valid", self.valid.files()), ("test", self.test.as_ref())];
        sets.into_iter().filter_map(|(key, files)| Some((key, files?)))
    }

    fn check_files(&self) -> Result<(), ConfigError> {
        let wrong = |key, message| Err(ConfigError::new("data", &[key], message));
        for (key, files) in self.sets() {
            if files.0.is_empty() {
                return wrong(key, format!("`{key}` must name at least one file"));
            }
            if files.paths().any(|path| path.as_os_str().is_empty()) {
                return wrong(key, format!("`{key}` must not have an empty file name"));
            }
            if key != "train" && files.0.iter().any(|file| file.own_weight().is_some()) {
                return wrong(key, format!("`weight` is for training pairs, but `{key}` has one"));
            }
        }
        if let Some(weight) =
            self.train.0.iter().map(PairFile::weight).find(|weight| !(1e-6..=1e6).contains(weight))
        {
            return wrong(
                "train",
                format!("a `weight` must be between 0.000001 and 1000000, but it is {weight}"),
            );
        }
        match self.valid.share() {
            Some(share) if !(share > 0.0 && share < 1.0) => {
                wrong("valid", format!("`share` must be between 0 and 1, but it is {share}"))
            }
            _ => Ok(()),
        }
    }

    /// Only a target can be right in several ways.
    fn check_alternatives(&self) -> Result<(), ConfigError> {
        let mut of_source = std::iter::once(&self.source).chain(&self.source.parts);
        if of_source.any(|side| side.alternatives.is_some()) {
            let message = "`alternatives` must be in [data.target], but [data.source] has it";
            return Err(ConfigError::new("data.source", &["alternatives", "parts"], message));
        }
        if self.target.alternatives.as_deref() == Some("") {
            let message = "`alternatives` must be a separator of targets, such as \"|\", but it is empty";
            return Err(ConfigError::new("data.target", &["alternatives"], message));
        }
        Ok(())
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
