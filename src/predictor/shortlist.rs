//! The vocabulary shortlist: the target tokens that each source allows.
//!
//! Of a large vocabulary only few tokens are plausible for a source: those that are frequent everywhere, and those that
//! go with its own tokens. A file lists both; it is learned from training pairs ([`crate::data::lexicon`]) and names
//! tokens by their texts: `{"format": 1, "frequent": ["der", …], "lists": {"dog": ["Hund", …], …}}`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checkpoint::files::{read_within, write_output};
use crate::data::dataset::Tokenizers;
use crate::data::tokenizer::Tokenizer;
use crate::data::vocabulary::{EOS, UNK};
use crate::error::{Error, Result};

/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// The most bytes of a file.
const LARGEST: u64 = 1 << 31;

/// The file, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    frequent: Vec<String>,
    lists: BTreeMap<String, Vec<String>>,
}

/// The tokens that every source allows, and those that each source token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortlist {
    frequent: Vec<i64>,
    /// One list per token of the source's vocabulary.
    lists: Vec<Vec<i64>>,
}

impl Shortlist {
    /// A shortlist of token ids: those that are always allowed, and those that each token of the source's vocabulary
    /// allows.
    pub(crate) fn new(frequent: Vec<i64>, lists: Vec<Vec<i64>>) -> Shortlist {
        Shortlist { frequent, lists }
    }

    /// Reads a file; a token of the source without a list has an empty one.
    ///
    /// # Errors
    /// The file cannot be read, is no shortlist, or has a token that is not in the vocabulary.
    pub(crate) fn read(path: &Path, tokenizers: &Tokenizers) -> Result<Shortlist> {
        let bytes = read_within(path, LARGEST)?;
        let wrong = |what: String| {
            let message = format!("{} must be a shortlist of this model, but {what}", path.display());
            Error::input(message).hint("make one with `seqloom shortlist RUN --output FILE`")
        };
        let file: File = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if file.format != FORMAT {
            return Err(wrong(format!("its format is {}, and this version reads {FORMAT}", file.format)));
        }
        let ids = |tokenizer: &Tokenizer, tokens: &[String]| -> Result<Vec<i64>> {
            let ids = tokens.iter().map(|token| tokenizer.id(token)).collect::<Result<_>>();
            ids.map_err(|error| wrong(error.message().to_owned()))
        };
        let source = of_texts(tokenizers)?;
        let mut lists = vec![Vec::new(); source.vocabulary_size()];
        for (token, list) in &file.lists {
            let of = ids(source, std::slice::from_ref(token))?;
            lists[of[0] as usize] = ids(&tokenizers.target, list)?;
        }
        Ok(Shortlist { frequent: ids(&tokenizers.target, &file.frequent)?, lists })
    }

    /// Writes the file that [`Shortlist::read`] reads.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path, tokenizers: &Tokenizers) -> Result<()> {
        let texts = |ids: &[i64]| ids.iter().map(|&id| tokenizers.target.token(id).to_owned()).collect();
        let source = of_texts(tokenizers)?;
        let lists = (0..).zip(&self.lists).filter(|(_, list)| !list.is_empty());
        let lists = lists.map(|(id, list)| (source.token(id).to_owned(), texts(list)));
        let file = File { format: FORMAT, frequent: texts(&self.frequent), lists: lists.collect() };
        let json = serde_json::to_vec(&file);
        let json = json.map_err(|error| Error::failure(format!("cannot serialize a shortlist: {error}")))?;
        write_output(path, &json)
    }

    /// The tokens that an output of this source may contain, in ascending order, always with EOS, UNK and those of
    /// `beginning`.
    pub(crate) fn allowed(&self, source: &[i64], beginning: impl Iterator<Item = i64>) -> Arc<[i64]> {
        let of_source = source.iter().filter_map(|&token| self.lists.get(token as usize)).flatten();
        let mut all: Vec<i64> =
            [UNK, EOS].iter().chain(&self.frequent).chain(of_source).copied().chain(beginning).collect();
        all.sort_unstable();
        all.dedup();
        all.into()
    }
}

/// The tokenizer of sources; recordings have none.
///
/// # Errors
/// The sources are recordings.
pub(crate) fn of_texts(tokenizers: &Tokenizers) -> Result<&Tokenizer> {
    let message = "a shortlist needs sources that are texts, but those of the model are recordings";
    tokenizers.source.tokenizer().ok_or_else(|| Error::input(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SideConfig;
    use crate::data::source_processor::SourceProcessor;

    fn tokenizers() -> Tokenizers {
        let side = |text: &str| Tokenizer::train(&SideConfig::default(), [text].into_iter()).unwrap();
        Tokenizers { source: SourceProcessor::Text(side("abc")), target: side("xyz \"") }
    }

    #[test]
    fn a_shortlist_allows_frequent_tokens_those_of_the_source_and_the_prefix() {
        let list = Shortlist::new(vec![5], vec![vec![], vec![], vec![], vec![], vec![8, 4], vec![5, 7]]);
        assert_eq!(list.allowed(&[], [].into_iter())[..], [UNK, EOS, 5]);
        assert_eq!(list.allowed(&[4, 5, 4], [].into_iter())[..], [UNK, EOS, 4, 5, 7, 8]);
        assert_eq!(list.allowed(&[UNK, 99], [6].into_iter())[..], [UNK, EOS, 5, 6]);
    }

    #[test]
    fn a_file_survives_a_round_trip_and_an_invalid_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.json");
        let lists = vec![vec![], vec![8], vec![], vec![], vec![4, 6], vec![], vec![5]];
        let list = Shortlist::new(vec![7, 5], lists);
        list.write(&path, &tokenizers()).unwrap();
        assert_eq!(Shortlist::read(&path, &tokenizers()).unwrap(), list);
        for (text, message) in [
            ("[]", "invalid length 0"),
            (r#"{"format": 2, "frequent": [], "lists": {}}"#, "its format is 2, and this version reads 1"),
            (r#"{"format": 1, "frequent": ["q"], "lists": {}}"#, "it lacks `q`"),
            (r#"{"format": 1, "frequent": [], "lists": {"x": []}}"#, "it lacks `x`"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Shortlist::read(&path, &tokenizers()).unwrap_err();
            assert!(error.message().contains(message), "{}", error.message());
            assert_eq!(error.exit_code(), 2);
        }
        assert!(Shortlist::read(&folder.path().join("none"), &tokenizers()).is_err());
    }
}
