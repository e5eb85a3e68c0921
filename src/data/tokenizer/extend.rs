//! What a tokenizer lacks: the missing symbols of texts, with which its vocabulary is extended, and what another one has.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::Tokenizer;
use super::symbols::count;
use crate::data::SideConfig;
use crate::data::readers::shorten;
use crate::data::vocabulary::{SPECIALS, Vocabulary, first_difference};
use crate::error::Result;

impl Tokenizer {
    /// The symbols of texts that are not in the vocabulary, the most frequent first: characters, graphemes or words; for pieces,
    /// characters. Symbols rarer than the config's `minimum_count` do not count. A ready tokenizer is as it is, and misses none.
    pub(crate) fn missing<'a>(
        &self,
        config: &SideConfig,
        texts: impl Iterator<Item = &'a str>,
    ) -> Vec<String> {
        if self.kind() == "pretrained" {
            return Vec::new();
        }
        let mut counts = HashMap::new();
        for text in texts {
            self.scheme.cut(&self.form.apply(text), &mut |id, symbol| {
                if self.scheme.is_unknown(id) {
                    count(&mut counts, symbol);
                }
            });
        }
        Vocabulary::from_counts(counts, config.minimum_count()).tokens()[SPECIALS.len()..].to_vec()
    }

    /// The first rule of pieces that a config of this kind has otherwise: its key, and its value here.
    pub(crate) fn other_rule(&self, config: &SideConfig) -> Option<(&'static str, bool)> {
        let (rules, here) = (config.piece_rules()?, self.scheme.settings());
        let wanted = [
            ("byte_fallback", rules.byte_fallback),
            ("split_scripts", rules.split_scripts),
            ("split_digits", rules.split_digits),
        ];
        let other = wanted.into_iter().find(|(key, wanted)| here.contains_key(*key) != *wanted);
        other.map(|(key, wanted)| (key, !wanted))
    }

    /// The same tokenizer with more symbols, whose ids follow the existing ones.
    ///
    /// # Errors
    /// A symbol exists already, or is of another kind.
    pub(crate) fn extended(&self, symbols: &[String]) -> Result<Tokenizer> {
        Ok(Tokenizer::of(self.form, self.scheme.extended(symbols)?))
    }
}

/// The first setting in which two schemes of a kind differ, and both values; in a list, the first item.
pub(super) fn difference_of_settings([one, other]: [Map<String, Value>; 2]) -> Option<(String, [String; 2])> {
    let shown = |value: Option<&Value>| {
        value.map_or("missing".to_owned(), |value| shorten(&value.to_string()).into_owned())
    };
    let keys = one.keys().chain(other.keys());
    let mut differing = keys.filter(|key| one.get(*key) != other.get(*key));
    let key = differing.next()?;
    let both = [&one, &other].map(|settings| settings.get(key));
    let lists = both.map(|value| value.and_then(Value::as_array));
    if let [Some(one), Some(other)] = lists
        && let Some((n, both)) = first_difference([one, other])
    {
        return Some((format!("{key} {n}"), both.map(shown)));
    }
    Some((key.clone(), both.map(shown)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{PiecesConfig, WordsConfig};

    #[test]
    fn missing_symbols_are_appended_to_a_vocabulary() {
        let characters = SideConfig::default();
        let words = SideConfig { words: Some(WordsConfig { minimum_count: 2 }), ..SideConfig::default() };
        let bpe = SideConfig {
            bpe: Some(PiecesConfig { vocabulary: 12, ..PiecesConfig::default() }),
            ..SideConfig::default()
        };
        for (config, missing) in [(characters, &["x", "y"][..]), (words, &["xa"]), (bpe, &["x", "y"])] {
            let tokenizer = Tokenizer::train(&config, ["ab ba ab", "ab ba"].into_iter()).unwrap();
            let texts = || ["xa ab", "xa yb"].into_iter();
            let found = tokenizer.missing(&config, texts());
            assert_eq!(found, missing, "{}", tokenizer.kind());
            let extended = tokenizer.extended(&found).unwrap();
            assert!(extended.missing(&config, texts()).is_empty());
            assert_eq!(extended.encode("ab ba"), tokenizer.encode("ab ba"));
            let size = tokenizer.vocabulary_size();
            assert_eq!(&extended.vocabulary().tokens()[size..], missing);
            assert_eq!(extended.decode(&extended.encode("xa")), "xa");
        }
    }
}
