//! Tokens that are pieces of words, learned by byte-pair encoding or as a Unigram model.
//!
//! A text is split into words before each space. The space is written as `▁` (U+2581) at the start of its word, including the
//! first word, as in SentencePiece: so joining the tokens restores every space. If line breaks and tabs are kept, a word starts at
//! each of them as well. Where asked, words are split further, at every digit, and where the script changes. A character that has
//! no piece is unknown, or its bytes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use unicode_script::{Script, UnicodeScript};

use super::bpe::Bpe;
use super::bpe_dropout::Merger;
use super::bytes;
use super::lesson::Lesson;
use super::scheme::{Each, Scheme};
use super::unigram::Unigram;
use crate::data::PiecesConfig;
use crate::data::text_form::breaks;
use crate::data::vocabulary::{UNK, Vocabulary};
use crate::error::{Error, Result};

/// The mark for a space at the start of a word.
pub(super) const SPACE: char = '▁';

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
        least => format!(" that occurs {least} times"),
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
            Model::Bpe(bpe) => Some(Merger::new(bpe, self.rules, dropout)),
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

/// The text with a mark for each space and one before the first word; an empty text stays empty.
fn mark_spaces(text: &str) -> String {
    let mut marked = String::with_capacity(text.len() + text.len() / 4 + 4);
    for character in text.chars() {
        if marked.is_empty() {
            marked.push(SPACE);
        }
        marked.push(if character == ' ' { SPACE } else { character });
    }
    marked
}

/// The words of a marked text, each with its mark, line break or tab in front, cut by the rules.
pub(super) fn cut_words<'a>(rules: PiecesConfig, marked: &'a str, each: &mut dyn FnMut(&'a str)) {
    let (mut start, mut before) = (0, None);
    for (at, character) in marked.char_indices() {
        let script = before.map_or(Script::Unknown, |(_, script)| script_of(character, script));
        let begins = character == SPACE
            || breaks(character)
            || before.is_some_and(|(one, of_one)| {
                let digit = rules.split_digits && (character.is_numeric() || char::is_numeric(one));
                digit || rules.split_scripts && one != SPACE && script != of_one
            });
        if begins && at > start {
            each(&marked[start..at]);
            start = at;
        }
        let script =
            if before.is_none() || start == at { script_of(character, Script::Common) } else { script };
        before = Some((character, script));
    }
    if start < marked.len() {
        each(&marked[start..]);
    }
}

/// The script of a character behind one of another script. Marks have that of their letter, and the three of Japanese are one.
fn script_of(character: char, before: Script) -> Script {
    match character.script() {
        Script::Inherited => before,
        Script::Hiragana | Script::Katakana => Script::Han,
        _ if character == 'ー' => Script::Han,
        script => script,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_at_digits_and_scripts_where_asked() {
        let cut = |split_scripts, split_digits, text: &str| {
            let rules = PiecesConfig { split_scripts, split_digits, ..PiecesConfig::default() };
            let marked = mark_spaces(text);
            let mut words = Vec::new();
            cut_words(rules, &marked, &mut |word| words.push(word));
            assert_eq!(words.concat(), marked);
            words.join("|")
        };
        let text = "ab12 3c don't e\u{301}a Привет, 東京タワーは";
        assert_eq!(cut(false, false, text), "▁ab12|▁3c|▁don't|▁e\u{301}a|▁Привет,|▁東京タワーは");
        assert_eq!(cut(false, true, text), "▁ab|1|2|▁|3|c|▁don't|▁e\u{301}a|▁Привет,|▁東京タワーは");
        assert_eq!(cut(true, false, "ab12 don't e\u{301}a"), "▁ab|12|▁don|'|t|▁e\u{301}a");
        assert_eq!(cut(true, false, "Приветhi, 東京タワーは한"), "▁Привет|hi|,|▁東京タワーは|한");
        assert_eq!((cut(true, true, ""), cut(true, true, "1")), (String::new(), "▁|1".to_owned()));
        assert_eq!(cut(false, false, "a\tb  c"), "▁a|\tb|▁|▁c");
    }
}
