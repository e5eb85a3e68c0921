//! Tokens and their ids: every vocabulary starts with the four special tokens.
//!
//! Strings and numbers only: splitting a text into tokens is the tokenizer's task. Ids are `i64`, as libtorch needs
//! them. A special token has an id but no text: the characters `<eos>` in a file never end a sequence.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// Pads the rows of a batch to the longest one.
pub const PAD: i64 = 0;
/// Replaces symbols that are not in the vocabulary.
pub const UNK: i64 = 1;
/// Starts the decoder's input.
pub const BOS: i64 = 2;
/// Ends a sequence.
pub const EOS: i64 = 3;

/// Names of the special tokens, in the order of their ids.
pub(crate) const SPECIALS: [&str; 4] = ["<pad>", "<unk>", "<bos>", "<eos>"];

/// Token strings and their ids, both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vocabulary {
    /// The index of a token is its id.
    tokens: Vec<String>,
    /// Without the special tokens.
    ids: HashMap<String, i64>,
}

impl Vocabulary {
    /// The special tokens and every token seen at least `minimum_count` times, the most frequent first and equally
    /// frequent ones in the order of their code points. A token that is spelled like a special one is excluded.
    pub(crate) fn from_counts(counts: HashMap<String, u64>, minimum_count: usize) -> Vocabulary {
        let mut kept: Vec<(String, u64)> = counts
            .into_iter()
            .filter(|(token, count)| *count >= minimum_count as u64 && !is_special(token))
            .collect();
        kept.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let tokens: Vec<String> = SPECIALS.iter().map(|name| name.to_string()).collect();
        let mut vocabulary = Vocabulary { tokens, ids: HashMap::with_capacity(kept.len()) };
        for (token, _) in kept {
            vocabulary.push(token);
        }
        vocabulary
    }

    /// The vocabulary of a list in which a token's index is its id.
    ///
    /// # Errors
    /// The list does not start with the special tokens, or has a token twice.
    pub(crate) fn from_tokens(tokens: Vec<String>) -> Result<Vocabulary> {
        if !tokens.iter().map(String::as_str).take(SPECIALS.len()).eq(SPECIALS) {
            let message = format!(
                "a vocabulary must start with {}, but it starts with {:?}",
                SPECIALS.join(" "),
                &tokens[..tokens.len().min(SPECIALS.len())]
            );
            return Err(Error::failure(message));
        }
        let mut list = tokens.into_iter();
        let specials: Vec<String> = list.by_ref().take(SPECIALS.len()).collect();
        let mut vocabulary = Vocabulary { tokens: specials, ids: HashMap::with_capacity(list.len()) };
        for token in list {
            if is_special(&token) || vocabulary.ids.contains_key(&token) {
                return Err(Error::failure(format!(
                    "a vocabulary must have each token once, but it has {token:?} twice"
                )));
            }
            vocabulary.push(token);
        }
        Ok(vocabulary)
    }

    /// The tokens of several columns, whose names tell them apart.
    pub(crate) fn of_columns(tokens: Vec<String>) -> Vocabulary {
        let ids = tokens.iter().cloned().zip(0..).skip(SPECIALS.len()).collect();
        Vocabulary { tokens, ids }
    }

    /// All tokens in the order of their ids, the special ones first.
    pub(crate) fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Number of tokens, including the special ones.
    pub(crate) fn size(&self) -> usize {
        self.tokens.len()
    }

    /// The id of a token of a text, which is never a special one.
    pub(crate) fn id(&self, token: &str) -> Option<i64> {
        self.ids.get(token).copied()
    }

    /// The token of an id, special ones too; `None` outside of the vocabulary.
    pub(crate) fn token(&self, id: i64) -> Option<&str> {
        self.tokens.get(usize::try_from(id).ok()?).map(String::as_str)
    }

    /// The first id at which another vocabulary has another token, and what each of them has there.
    pub(crate) fn difference<'a>(
        &'a self,
        other: &'a Vocabulary,
    ) -> Option<(usize, [Option<&'a String>; 2])> {
        first_difference([&self.tokens, &other.tokens])
    }

    fn push(&mut self, token: String) {
        self.ids.insert(token.clone(), self.tokens.len() as i64);
        self.tokens.push(token);
    }
}

/// The first index at which two lists differ, and both values.
pub(super) fn first_difference<T: PartialEq>([one, other]: [&[T]; 2]) -> Option<(usize, [Option<&T>; 2])> {
    let places = 0..one.len().max(other.len());
    places.map(|n| (n, [one.get(n), other.get(n)])).find(|(_, [one, other])| one != other)
}

/// Whether a token is spelled like a special one.
pub(super) fn is_special(token: &str) -> bool {
    SPECIALS.contains(&token)
}

impl Serialize for Vocabulary {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.tokens.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vocabulary, D::Error> {
        let tokens = Vec::deserialize(deserializer)?;
        Vocabulary::from_tokens(tokens).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(tokens: &[&str]) -> Vec<String> {
        tokens.iter().map(|token| token.to_string()).collect()
    }

    fn counted(counts: &[(&str, u64)], minimum_count: usize) -> Vocabulary {
        Vocabulary::from_counts(
            counts.iter().map(|(token, count)| (token.to_string(), *count)).collect(),
            minimum_count,
        )
    }

    #[test]
    fn frequent_tokens_come_first_and_ties_in_code_point_order() {
        let vocabulary = counted(&[("b", 2), ("é", 2), ("a", 2), ("z", 9), ("rare", 1)], 2);
        assert_eq!(vocabulary.tokens()[4..], strings(&["z", "a", "b", "é"]));
        assert_eq!((vocabulary.size(), vocabulary.id("z"), vocabulary.id("rare")), (8, Some(4), None));
        assert_eq!((vocabulary.token(EOS), vocabulary.token(7)), (Some("<eos>"), Some("é")));
        assert_eq!(
            (vocabulary.token(8), vocabulary.token(-1), vocabulary.token(i64::MAX)),
            (None, None, None)
        );
    }

    #[test]
    fn a_text_cannot_name_a_special_token() {
        let vocabulary = counted(&[("<eos>", 100), ("a", 1)], 1);
        assert_eq!(vocabulary.tokens(), strings(&["<pad>", "<unk>", "<bos>", "<eos>", "a"]));
        assert!(SPECIALS.iter().all(|special| vocabulary.id(special).is_none()));
    }

    #[test]
    fn the_constants_are_the_ids_of_the_special_tokens() {
        let vocabulary = counted(&[], 1);
        let shown = [PAD, UNK, BOS, EOS].map(|id| vocabulary.token(id).unwrap_or_default());
        assert_eq!(shown, SPECIALS);
    }

    #[test]
    fn a_vocabulary_survives_a_round_trip() {
        let vocabulary = counted(&[("b", 2), ("a", 3)], 1);
        let json = serde_json::to_string(&vocabulary).unwrap();
        assert_eq!(json, r#"["<pad>","<unk>","<bos>","<eos>","a","b"]"#);
        assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), vocabulary);
    }

    #[test]
    fn an_invalid_vocabulary_is_refused() {
        let wrong: [&[&str]; 5] = [
            &[],
            &["<pad>", "<unk>", "<bos>"],
            &["<unk>", "<pad>", "<bos>", "<eos>", "a"],
            &["<pad>", "<unk>", "<bos>", "<eos>", "a", "a"],
            &["<pad>", "<unk>", "<bos>", "<eos>", "a", "<eos>"],
        ];
        for tokens in wrong {
            assert!(Vocabulary::from_tokens(strings(tokens)).is_err(), "{tokens:?}");
        }
        assert!(serde_json::from_str::<Vocabulary>("[1]").is_err());
        let error = serde_json::from_str::<Vocabulary>(r#"["a"]"#).unwrap_err().to_string();
        assert!(error.starts_with("a vocabulary must start with <pad> <unk> <bos> <eos>"), "{error}");
    }
}
