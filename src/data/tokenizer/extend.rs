//! Extends a vocabulary with the missing symbols of texts.

use std::collections::HashMap;

use super::{Bpe, Kind, Tokenizer, bpe, count};
use crate::data::SideConfig;
use crate::data::vocabulary::{SPECIALS, Vocabulary};
use crate::error::{Error, Result};

impl Tokenizer {
    /// The symbols of texts that are not in the vocabulary, the most frequent first: characters or words; for BPE,
    /// characters. Symbols rarer than the config's `minimum_count` do not count.
    pub(crate) fn missing<'a>(
        &self,
        config: &SideConfig,
        texts: impl Iterator<Item = &'a str>,
    ) -> Vec<String> {
        let mut counts = HashMap::new();
        if let Kind::Parts(parts) = &self.kind {
            let unknown = |text| parts.of_columns(text, Tokenizer::unknown_symbols);
            texts.flat_map(unknown).for_each(|symbol| count(&mut counts, &symbol));
            return Vocabulary::from_counts(counts, 1).tokens()[SPECIALS.len()..].to_vec();
        }
        let mut look_at = |symbol: &str| {
            if self.vocabulary().id(symbol).is_none() {
                count(&mut counts, symbol);
            }
        };
        for text in texts {
            let text = self.form.apply(text);
            let mut characters = |text: &str| {
                text.chars().for_each(|character| look_at(character.encode_utf8(&mut [0; 4])));
            };
            match &self.kind {
                Kind::Characters(_) => characters(&text),
                Kind::Bpe(_) => characters(&bpe::mark_spaces(&text)),
                Kind::Words(_) | Kind::Split(..) => self.split(&text).iter().for_each(|one| look_at(one)),
                Kind::Parts(_) => {}
            }
        }
        let minimum_count = match (&config.characters, &config.words) {
            (Some(characters), _) => characters.minimum_count,
            (_, Some(words)) => words.minimum_count,
            (None, None) => 1,
        };
        Vocabulary::from_counts(counts, minimum_count).tokens()[SPECIALS.len()..].to_vec()
    }

    /// The same tokenizer with more symbols, whose ids follow the existing ones.
    ///
    /// # Errors
    /// A symbol exists already, or is of another kind; a source has several columns, whose ids follow each other.
    pub(crate) fn extended(&self, symbols: &[String]) -> Result<Tokenizer> {
        if let Kind::Parts(_) = self.kind {
            let message = "the vocabularies of a source with several columns cannot be extended";
            return Err(Error::input(message));
        }
        let tokens = self.vocabulary().tokens().iter().chain(symbols).cloned().collect();
        let vocabulary = Vocabulary::from_tokens(tokens)?;
        let kind = match &self.kind {
            Kind::Characters(_) => Kind::Characters(vocabulary),
            Kind::Words(_) => Kind::Words(vocabulary),
            Kind::Split(_, separators) => Kind::Split(vocabulary, separators.clone()),
            Kind::Parts(parts) => Kind::Parts(parts.clone()),
            Kind::Bpe(bpe) => {
                Kind::Bpe(Box::new(Bpe::new(vocabulary, bpe.merges().to_vec()).map_err(Error::failure)?))
            }
        };
        Ok(Tokenizer { form: self.form, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{BpeConfig, WordsConfig};

    #[test]
    fn missing_symbols_are_appended_to_a_vocabulary() {
        let characters = SideConfig::default();
        let words = SideConfig { words: Some(WordsConfig { minimum_count: 2 }), ..SideConfig::default() };
        let bpe = SideConfig { bpe: Some(BpeConfig { vocabulary: 12 }), ..SideConfig::default() };
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
            assert_eq!(extended.decode(&extended.encode("xa").ids), "xa");
        }
    }
}
