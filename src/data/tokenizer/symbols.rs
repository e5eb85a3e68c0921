//! Tokens that are symbols of the text: characters, grapheme clusters (UAX 29), words between white space, or what is
//! between separators.
//!
//! The vocabulary is that of the training texts; other symbols are unknown.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use unicode_segmentation::UnicodeSegmentation;

use super::scheme::{Each, Scheme};
use crate::data::vocabulary::{SPECIALS, UNK, Vocabulary};
use crate::error::{Error, Result};

/// What is a symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// A Unicode scalar value, also the space.
    Character,
    /// What a reader sees as one character: a letter with its marks, an emoji of several code points.
    Grapheme,
    /// What is between white space. Words are joined by one space.
    Word,
    /// What is between any of these characters. The first of them joins symbols.
    Between(String),
}

/// A tokenizer of symbols.
#[derive(Clone, Debug)]
pub(super) struct Symbols {
    symbol: Symbol,
    vocabulary: Vocabulary,
}

impl Symbols {
    /// Counts the symbols of texts in their form. One with fewer occurrences than `minimum_count` is unknown.
    pub(super) fn train<'a>(
        symbol: Symbol,
        minimum_count: usize,
        texts: impl Iterator<Item = Cow<'a, str>>,
    ) -> Symbols {
        let mut counts = HashMap::new();
        texts.for_each(|text| symbol.of(&text, &mut |symbol| count(&mut counts, symbol)));
        Symbols { symbol, vocabulary: Vocabulary::from_counts(counts, minimum_count) }
    }

    /// The one with these tokens.
    ///
    /// # Errors
    /// A token is no such symbol.
    pub(super) fn of(symbol: Symbol, vocabulary: Vocabulary) -> std::result::Result<Symbols, String> {
        let mut of_text = vocabulary.tokens().iter().skip(SPECIALS.len());
        match of_text.find(|token| !symbol.is(token)) {
            None => Ok(Symbols { symbol, vocabulary }),
            Some(token) => {
                let must = match symbol {
                    Symbol::Character => "each of its tokens must be one character",
                    Symbol::Grapheme => "each of its tokens must be one grapheme cluster",
                    Symbol::Word => "its tokens must be words",
                    Symbol::Between(_) => "its tokens must be symbols without separators",
                };
                Err(format!("{must}, but one is {token:?}"))
            }
        }
    }
}

impl Symbol {
    /// Gives each symbol of a text.
    fn of(&self, text: &str, each: &mut dyn FnMut(&str)) {
        match self {
            Symbol::Character => {
                text.chars().for_each(|character| each(character.encode_utf8(&mut [0; 4])));
            }
            Symbol::Grapheme => text.graphemes(true).for_each(each),
            Symbol::Word => text.split_whitespace().for_each(each),
            Symbol::Between(separators) => between(text, separators).for_each(each),
        }
    }

    /// Whether a text is one symbol.
    fn is(&self, text: &str) -> bool {
        match self {
            Symbol::Character => text.chars().count() == 1,
            Symbol::Grapheme => text.graphemes(true).count() == 1,
            Symbol::Word => !text.is_empty() && !text.contains(char::is_whitespace),
            Symbol::Between(separators) => between(text, separators).eq([text]),
        }
    }

    /// What joins symbols.
    fn joint(&self) -> &str {
        match self {
            Symbol::Character | Symbol::Grapheme => "",
            Symbol::Word => " ",
            Symbol::Between(separators) => separators.split_inclusive(|_| true).next().unwrap_or_default(),
        }
    }
}

impl Scheme for Symbols {
    fn name(&self) -> &'static str {
        match self.symbol {
            Symbol::Character => "characters",
            Symbol::Grapheme => "graphemes",
            Symbol::Word => "words",
            Symbol::Between(_) => "split",
        }
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn cut(&self, text: &str, each: Each) {
        self.symbol.of(text, &mut |symbol| each(self.vocabulary.id(symbol).unwrap_or(UNK), symbol));
    }

    fn piece(&self, id: i64, first: bool) -> Cow<'_, [u8]> {
        let token = self.vocabulary.token(id).unwrap_or_default();
        match self.unknown(token, first) {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }

    fn unknown<'a>(&self, symbol: &'a str, first: bool) -> Cow<'a, str> {
        match self.symbol.joint() {
            joint if !joint.is_empty() && !first => Cow::Owned(format!("{joint}{symbol}")),
            _ => Cow::Borrowed(symbol),
        }
    }

    fn spelled(&self, text: &str) -> String {
        match &self.symbol {
            Symbol::Character | Symbol::Grapheme => text.to_owned(),
            Symbol::Word => text.split_whitespace().collect::<Vec<_>>().join(" "),
            Symbol::Between(separators) => {
                between(text, separators).collect::<Vec<_>>().join(self.symbol.joint())
            }
        }
    }

    fn extended(&self, symbols: &[String]) -> Result<Arc<dyn Scheme>> {
        let tokens = self.vocabulary.tokens().iter().chain(symbols).cloned().collect();
        let extended = Symbols::of(self.symbol.clone(), Vocabulary::from_tokens(tokens)?);
        Ok(Arc::new(extended.map_err(Error::failure)?))
    }

    fn settings(&self) -> Map<String, Value> {
        match &self.symbol {
            Symbol::Between(separators) => Map::from_iter([("separators".to_owned(), json!(separators))]),
            Symbol::Character | Symbol::Grapheme | Symbol::Word => Map::new(),
        }
    }
}

/// What is between separators, without white space around it.
fn between<'a>(text: &'a str, separators: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = text.split(|character| separators.contains(character));
    parts.map(str::trim).filter(|symbol| !symbol.is_empty())
}

/// Counts a token.
pub(super) fn count(counts: &mut HashMap<String, u64>, token: &str) {
    // Two look-ups, but a string is allocated only for new tokens.
    match counts.get_mut(token) {
        Some(count) => *count += 1,
        None => drop(counts.insert(token.to_string(), 1)),
    }
}
