//! Tokens that are pieces of words, learned by byte-pair encoding or as a Unigram model.
//!
//! A text is split into words (`marked_words.rs`), so joining the tokens restores every space. A character that has no piece is
//! unknown, or its bytes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::bpe::Bpe;
use super::bytes;
use super::lesson::Lesson;
use super::marked_words::{SPACE, cut_words, mark_spaces};
use super::merger::Merger;
use super::scheme::{Each, Scheme};
use super::unigram::Unigram;
use crate::data::PiecesConfig;
use crate::data::vocabulary::{UNK, Vocabulary};
use crate::error::{Error, Result};

/// The same, as a word.
const SPACE_WORD: &str = "▁";

/// Pieces are learned from words of at most this many characters, longer ones in parts: a trainer's time is quadratic in the
/// longest word, and text without spaces is one word. Encoding takes linear time and needs no parts.
const LONGEST_LEARNED: usize = 500;

/// A tokenizer of pieces.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    rules: PiecesConfig,
    model: Model,
}

/// How pieces are learned and chosen.
#[derive(Clone, Debug)]
pub(super) enum Model {
    /// Merges pairs of pieces.
    Bpe(Box<Bpe>),
    /// Takes the most likely pieces.
    Unigram(Box<Unigram>),
}

/// Learns a model.
pub(super) type Learn = fn(&Lesson) -> Result<Model>;

impl Pieces {
    /// Learns pieces from texts in their form. `what` names them in an error.
    ///
    /// # Errors
    /// The characters of the texts alone need a larger vocabulary.
    pub(super) fn train<'a>(
        what: &str,
        learn: Learn,
        rules: PiecesConfig,
        texts: impl Iterator<Item = Cow<'a, str>>,
    ) -> Result<Pieces> {
        let texts: Vec<String> = texts.map(|text| mark_spaces(&text)).collect();
        let mut counts: HashMap<char, usize> = HashMap::new();
        texts.iter().flat_map(|text| text.chars()).for_each(|one| *counts.entry(one).or_default() += 1);
        counts.retain(|_, count| *count >= rules.minimum_count);
        let mut alphabet: HashSet<char> = counts.into_keys().collect();
        let mut words = Vec::new();
        if rules.byte_fallback {
            // The bytes of the mark would spell it, and no space.
            alphabet.insert(SPACE);
            words.push(SPACE_WORD);
        }
        check_size(what, rules, alphabet.len())?;
        for text in &texts {
            let known = |word: &&str| !word.is_empty();
            cut_words(rules, text, &mut |word| {
                let parts = word.split(|character| !alphabet.contains(&character)).filter(known);
                words.extend(parts.flat_map(parts_of));
            });
        }
        let lesson = Lesson { size: rules.vocabulary, has_bytes: rules.byte_fallback, alphabet, words };
        Ok(Pieces { rules, model: learn(&lesson)? })
    }

    /// The pieces of a model file.
    ///
    /// # Errors
    /// The vocabulary does not begin with bytes, which the rules ask for.
    pub(super) fn of(rules: PiecesConfig, model: Model) -> std::result::Result<Pieces, String> {
        if rules.byte_fallback {
            bytes::check(model.vocabulary())?;
        }
        Ok(Pieces { rules, model })
    }
}

/// Each character must be a piece.
fn check_size(what: &str, rules: PiecesConfig, alphabet: usize) -> Result<()> {
    let smallest = alphabet + bytes::reserved(rules.byte_fallback);
    let size = rules.vocabulary;
    if size >= smallest {
        return Ok(());
    }
    let bytes = if rules.byte_fallback { ", and 256 bytes" } else { "" };
    let often = match rules.minimum_count {
        1 => String::new(),
        least => format!(" that occurs at least {least} times"),
    };
    let message = format!(
        "a {what} vocabulary must contain each character of the training text{often}, {alphabet} here with the mark for a space, and \
         {} special tokens{bytes}, but `vocabulary` is {size}",
        bytes::reserved(false)
    );
    Err(Error::input(message).hint(format!("set `vocabulary` to at least {smallest}")))
}

impl Model {
    /// Byte-pair encoding of a lesson.
    ///
    /// # Errors
    /// Those of [`Bpe::learn`].
    pub(super) fn bpe(lesson: &Lesson) -> Result<Model> {
        Bpe::learn(lesson).map(|bpe| Model::Bpe(Box::new(bpe)))
    }

    /// A Unigram model of a lesson.
    ///
    /// # Errors
    /// Those of [`Unigram::learn`].
    pub(super) fn unigram(lesson: &Lesson) -> Result<Model> {
        Unigram::learn(lesson).map(|unigram| Model::Unigram(Box::new(unigram)))
    }

    fn vocabulary(&self) -> &Vocabulary {
        match self {
            Model::Bpe(bpe) => bpe.vocabulary(),
            Model::Unigram(unigram) => unigram.vocabulary(),
        }
    }

    fn cut(&self, word: &str, each: Each) {
        match self {
            Model::Bpe(bpe) => bpe.cut(word, each),
            Model::Unigram(unigram) => unigram.cut(word, each),
        }
    }
}

impl Scheme for Pieces {
    fn name(&self) -> &'static str {
        match self.model {
            Model::Bpe(_) => "bpe",
            Model::Unigram(_) => "unigram",
        }
    }

    fn vocabulary(&self) -> &Vocabulary {
        self.model.vocabulary()
    }

    fn cut(&self, text: &str, each: Each) {
        cut_words(self.rules, &mark_spaces(text), &mut |word| {
            self.model.cut(word, &mut |id, covered| match id {
                UNK if self.rules.byte_fallback => bytes::fall_back(covered, each),
                _ => each(id, covered),
            });
        });
    }

    fn piece(&self, id: i64, first: bool) -> Cow<'_, [u8]> {
        if self.rules.byte_fallback
            && let Some(byte) = bytes::piece(id)
        {
            return Cow::Borrowed(byte);
        }
        spelled_by(self.vocabulary().token(id).unwrap_or_default(), first)
    }

    fn unknown<'a>(&self, symbol: &'a str, first: bool) -> Cow<'a, str> {
        unmark(symbol.strip_prefix(SPACE).filter(|_| first).unwrap_or(symbol))
    }

    fn plain<'a>(&self, covered: &'a str) -> Cow<'a, str> {
        plain(covered)
    }

    fn spelled(&self, text: &str) -> String {
        unmark(text).into_owned()
    }

    fn extended(&self, symbols: &[String]) -> Result<Arc<dyn Scheme>> {
        let model = match &self.model {
            Model::Bpe(bpe) => Model::Bpe(Box::new(bpe.extended(symbols)?)),
            Model::Unigram(unigram) => Model::Unigram(Box::new(unigram.extended(symbols)?)),
        };
        Ok(Arc::new(Pieces { rules: self.rules, model }))
    }

    fn merger(&self, dropout: f64) -> Option<Merger> {
        match &self.model {
            Model::Bpe(bpe) => {
                let tokens = (bpe.vocabulary(), bytes::reserved(self.rules.byte_fallback));
                Some(Merger::new(tokens, bpe.merges(), self.rules, dropout))
            }
            Model::Unigram(_) => None,
        }
    }

    fn settings(&self) -> Map<String, Value> {
        let PiecesConfig { byte_fallback, split_scripts, split_digits, .. } = self.rules;
        let rules = [
            ("byte_fallback", byte_fallback),
            ("split_scripts", split_scripts),
            ("split_digits", split_digits),
        ];
        let mut settings: Map<String, Value> = rules
            .into_iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(name, is_set)| (name.to_owned(), is_set.into()))
            .collect();
        let (name, list) = match &self.model {
            Model::Bpe(bpe) => ("merges", bpe.merges_as_texts()),
            Model::Unigram(unigram) => ("scores", unigram.scores().iter().copied().collect()),
        };
        settings.insert(name.to_owned(), list);
        settings
    }
}

/// A word in parts for training.
fn parts_of(word: &str) -> impl Iterator<Item = &str> {
    let starts = word.char_indices().step_by(LONGEST_LEARNED).map(|(start, _)| start);
    let ends = starts.clone().skip(1).chain([word.len()]);
    starts.zip(ends).map(|(start, end)| &word[start..end])
}

/// What a piece adds to an output: marks become spaces again, except the one at its start.
pub(super) fn spelled_by(token: &str, first: bool) -> Cow<'_, [u8]> {
    match unmark(token.strip_prefix(SPACE).filter(|_| first).unwrap_or(token)) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Replaces marks by spaces.
pub(super) fn unmark(marked: &str) -> Cow<'_, str> {
    match marked.contains(SPACE) {
        true => Cow::Owned(marked.replace(SPACE, " ")),
        false => Cow::Borrowed(marked),
    }
}

/// A marked text without marks and spaces at its ends.
pub(super) fn plain(marked: &str) -> Cow<'_, str> {
    unmark(marked.trim_matches(|end: char| end == SPACE || end.is_whitespace()))
}
