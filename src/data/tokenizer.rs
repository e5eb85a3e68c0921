//! Tokenizers: characters, graphemes, words, bytes, pieces, and ready ones. They split text into tokens and join tokens to text.
//!
//! Every text is first normalized to one form ([`TextForm`]); a scheme (`tokenizer/scheme.rs`) does the rest. A special token has
//! no text: `<eos>` in a file is tokenized like any other characters and never ends a sequence. No tensors, and no files but that of
//! a ready tokenizer.

mod bpe;
pub(crate) mod bpe_dropout;
mod bytes;
mod extend;
mod json;
mod lesson;
mod marked_words;
mod merger;
mod parts;
mod pieces;
mod pretrained;
mod ready_file;
mod scheme;
mod sentencepiece;
mod symbols;
mod tokenizer_json;
mod trie;
mod unigram;

use std::borrow::Cow;
use std::sync::Arc;

use unicode_segmentation::UnicodeSegmentation;

use super::text_form::without_breaks;
pub(crate) use super::text_form::{ChangeCounts, Changes, TextForm};
use crate::data::readers::{COLUMN_SEPARATOR, shorten};
use crate::data::source::PartShape;
use crate::data::vocabulary::{BOS, EOS, PAD, SPECIALS, UNK, Vocabulary};
use crate::data::{SideConfig, Whitespace};
use crate::error::{Error, Result};
use bytes::Bytes;
use parts::Parts;
use pieces::{Model, Pieces};
use scheme::Scheme;
use symbols::{Symbol, Symbols};

/// The highest mean number of characters per piece, to exclude texts that cannot fit.
const LONGEST_MEAN: usize = 16;

/// The text that a token adds to an output, in bytes: at its start, and later. Together, those of an output are UTF-8.
pub(crate) type TokenBytes = [Box<[u8]>; 2];

/// Converts the texts of a side to ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    form: TextForm,
    scheme: Arc<dyn Scheme>,
    /// The scheme, if it is that of a source with several columns.
    parts: Option<Arc<Parts>>,
}

impl Tokenizer {
    /// Builds the tokenizer of the config (by default characters) from the training texts of one side, or of both for a
    /// shared vocabulary. The same texts in the same order give the same tokenizer. A ready one is read from its file.
    ///
    /// # Errors
    /// The vocabulary is too small for the characters of the texts; the file of a ready tokenizer cannot be used.
    pub fn train<'a>(config: &SideConfig, texts: impl Iterator<Item = &'a str>) -> Result<Tokenizer> {
        let form = TextForm::of(config);
        if !config.parts.is_empty() {
            return Ok(Parts::train(&config.parts, texts)?.into());
        }
        let texts = texts.map(|text| form.apply(text));
        let scheme: Arc<dyn Scheme> = if let Some(ready) = &config.pretrained {
            pretrained::read(&ready.file)?
        } else if let Some(bpe) = &config.bpe {
            Arc::new(Pieces::train("BPE", Model::bpe, *bpe, texts)?)
        } else if let Some(unigram) = &config.unigram {
            Arc::new(Pieces::train("Unigram", Model::unigram, *unigram, texts)?)
        } else if config.bytes.is_some() {
            Arc::new(Bytes::new()?)
        } else {
            let symbol = match config {
                SideConfig { words: Some(_), .. } => Symbol::Word,
                SideConfig { graphemes: Some(_), .. } => Symbol::Grapheme,
                SideConfig { split: Some(separators), .. } => Symbol::Between(separators.clone()),
                _ => Symbol::Character,
            };
            Arc::new(Symbols::train(symbol, config.minimum_count(), texts))
        };
        Ok(Tokenizer::of(form, scheme))
    }

    fn of(form: TextForm, scheme: Arc<dyn Scheme>) -> Tokenizer {
        Tokenizer { form, scheme, parts: None }
    }

    /// A lower bound of a text's tokens for any vocabulary of the config; exact but for pieces.
    pub(crate) fn least_tokens(config: &SideConfig, text: &str) -> usize {
        if !config.parts.is_empty() {
            let columns = config.parts.iter().zip(text.split(COLUMN_SEPARATOR));
            return columns.map(|(part, text)| Tokenizer::least_tokens(part, text)).sum();
        }
        let text = TextForm::of(config).apply(text);
        match config.tokenizer_kind() {
            "words" => text.split_whitespace().count(),
            "graphemes" => text.graphemes(true).count(),
            "bytes" => text.len(),
            "bpe" | "unigram" => text.chars().count() / LONGEST_MEAN,
            "characters" => text.chars().count(),
            _ => 0,
        }
    }

    /// The text form; of several columns that of the first.
    pub(crate) fn form(&self) -> TextForm {
        self.parts.as_ref().map_or(self.form, |parts| parts.first().form)
    }

    /// The ids of each column, if a source has several.
    pub(crate) fn part_shapes(&self) -> Option<Vec<PartShape>> {
        self.parts.as_ref().map(|parts| parts.shapes())
    }

    /// Checks that a source has all its columns.
    ///
    /// # Errors
    /// An input error without a place: it has more or less.
    pub(crate) fn check_columns(&self, text: &str) -> Result<()> {
        self.parts.as_ref().map_or(Ok(()), |parts| parts.check_columns(text))
    }

    /// The ids of a text in its form, without BOS and EOS. Symbols that are not in the vocabulary (for pieces characters,
    /// otherwise tokens) are UNK.
    pub fn encode(&self, text: &str) -> Vec<i64> {
        let mut ids = Vec::new();
        self.cut(text, &mut |id, _| ids.push(id));
        ids
    }

    /// Number of ids that are unknown symbols.
    pub(crate) fn count_unknown(&self, ids: &[i64]) -> usize {
        ids.iter().filter(|id| self.scheme.is_unknown(**id)).count()
    }

    /// Gives each token and what it covers.
    fn cut(&self, text: &str, each: scheme::Each) {
        self.scheme.cut(&self.form.apply(text), each);
    }

    /// The symbols that are UNK in [`Tokenizer::encode`], in order.
    pub(crate) fn unknown_symbols(&self, text: &str) -> Vec<String> {
        let mut unknown = Vec::new();
        self.cut(text, &mut |id, covered| {
            if self.scheme.is_unknown(id) {
                unknown.push(covered.to_owned());
            }
        });
        unknown
    }

    /// [`Tokenizer::encode`] for each of many texts.
    pub(crate) fn encode_all(&self, texts: &[&str]) -> Vec<Vec<i64>> {
        texts.iter().map(|text| self.encode(text)).collect()
    }

    /// How [`Tokenizer::encode`] changes a text of a file, apart from unknown symbols.
    pub(crate) fn changes(&self, text: &str) -> Changes {
        if let Some(parts) = &self.parts {
            return parts.changes(text);
        }
        let normal = self.form.in_unicode(text);
        let cased = self.form.normalize(text);
        let trimmed = if self.form.whitespace == Whitespace::Trim { cased.trim() } else { &cased };
        let applied = self.form.apply(text);
        let (of_words, is_ready) = (self.is_of_words(), self.kind() == "pretrained");
        let of_symbols = of_words || self.kind() == "split";
        let spelled_otherwise = !of_symbols && self.scheme.spelled(&applied) != applied;
        Changes {
            normal_form: normal != text,
            case: cased != normal,
            outer: trimmed.len() < cased.len(),
            breaks: !of_words && applied != trimmed,
            between: of_words && !is_joined_by_spaces(trimmed),
            mark: spelled_otherwise && !is_ready,
            ready: spelled_otherwise && is_ready,
        }
    }

    /// The text of ids, in its form. PAD, BOS and EOS are omitted; UNK and ids outside the vocabulary are `<unk>`, and bytes that
    /// are not UTF-8 U+FFFD.
    ///
    /// Restores the encoded text, in its form, if nothing in it was unknown; except that words are joined by one space,
    /// that pieces, which mark spaces by `▁`, restore a `▁` of the text as a space, and that a ready tokenizer may have a
    /// normalizer of its own.
    pub fn decode(&self, ids: &[i64]) -> String {
        self.decode_with(ids, |_| SPECIALS[UNK as usize])
    }

    /// The same with other texts in place of UNK: `unknown(n)` for the n-th id, from 0.
    pub(crate) fn decode_with<'a>(&'a self, ids: &[i64], unknown: impl Fn(usize) -> &'a str) -> String {
        if let Some(parts) = &self.parts {
            return parts.decode(ids);
        }
        let mut text = Vec::with_capacity(4 * ids.len());
        let shown = (0..).zip(ids).filter(|(_, id)| !is_silent(**id));
        for (place, (n, &id)) in shown.enumerate() {
            let first = place == 0;
            match self.is_known(id) {
                true => text.extend_from_slice(&self.scheme.piece(id, first)),
                false if id == UNK => {
                    text.extend_from_slice(self.scheme.unknown(unknown(n), first).as_bytes())
                }
                false => text.extend_from_slice(&self.piece_bytes(UNK, first)),
            }
        }
        // Tokens in the form need not join to a text in the form.
        self.form.apply(&String::from_utf8_lossy(&text)).into_owned()
    }

    /// A text in the form of outputs, in which references are compared.
    pub(crate) fn as_output(&self, text: &str) -> String {
        self.form.apply(&self.normalized(text)).into_owned()
    }

    /// A text as its tokens spell it, if nothing is unknown: in its form, before that of outputs.
    pub(crate) fn normalized(&self, text: &str) -> String {
        self.scheme.spelled(&self.form.apply(text))
    }

    /// The text of each token of [`Tokenizer::encode`], also of UNK; without the mark of a space. That of a byte is its character.
    pub(crate) fn split(&self, text: &str) -> Vec<String> {
        let mut parts = Vec::new();
        self.cut(text, &mut |_, covered| {
            parts.push(self.scheme.plain(covered).into_owned());
        });
        parts
    }

    /// The text that each token adds in [`Tokenizer::decode`] before normalization, in the order of the ids: at the
    /// start of a text, and later.
    pub(crate) fn pieces(&self) -> Vec<TokenBytes> {
        let pieces = |id| [true, false].map(|first| self.piece_bytes(id, first).into());
        (0..self.vocabulary_size() as i64).map(pieces).collect()
    }

    /// The text of [`Tokenizer::decode`], split at its unknown symbols; one part without any.
    pub(crate) fn known_parts(&self, ids: &[i64]) -> Vec<String> {
        let mut parts = vec![Vec::new()];
        let shown = ids.iter().filter(|id| !is_silent(**id));
        for (place, &id) in shown.enumerate() {
            let piece = self.piece_bytes(id, place == 0);
            let known = self.is_known(id);
            let added = if known { &piece[..] } else { piece.strip_suffix(UNKNOWN).unwrap_or_default() };
            if let Some(part) = parts.last_mut() {
                part.extend_from_slice(added);
            }
            if !known {
                parts.push(Vec::new());
            }
        }
        let last = parts.len() - 1;
        let in_form = |(n, part): (usize, Vec<u8>)| {
            let mut part = self.form.normalize(&String::from_utf8_lossy(&part)).into_owned();
            if self.form.whitespace == Whitespace::Trim {
                part = without_breaks(&part).into_owned();
                // Only the first and the last part are trimmed at the ends of the text.
                part = if n == last { part.trim_end() } else { &part }.to_owned();
                part = if n == 0 { part.trim_start() } else { &part }.to_owned();
            }
            part
        };
        parts.into_iter().enumerate().map(in_form).collect()
    }

    /// The bytes of text that a token adds, at the start of a text or later.
    pub(crate) fn piece_bytes(&self, id: i64, first: bool) -> Cow<'_, [u8]> {
        if is_silent(id) {
            return Cow::default();
        }
        if self.is_known(id) {
            return self.scheme.piece(id, first);
        }
        match self.scheme.unknown(SPECIALS[UNK as usize], first) {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }

    /// Whether a token has a text.
    fn is_known(&self, id: i64) -> bool {
        id > EOS && self.vocabulary().token(id).is_some()
    }

    /// Whether its texts are words, phones or symbols separated by white space: then error rates are over these,
    /// otherwise over characters.
    pub(crate) fn is_of_words(&self) -> bool {
        self.kind() == "words"
    }

    /// A token for display: special tokens by their names, ids outside the vocabulary as `<unk>`.
    pub(crate) fn token(&self, id: i64) -> &str {
        self.vocabulary().token(id).unwrap_or(SPECIALS[UNK as usize])
    }

    /// The id of a token as displayed by [`Tokenizer::token`].
    ///
    /// # Errors
    /// An input error without a place: there is no such token.
    pub(crate) fn id(&self, token: &str) -> Result<i64> {
        let special = SPECIALS.iter().position(|name| *name == token).map(|id| id as i64);
        special.or_else(|| self.vocabulary().id(token)).ok_or_else(|| {
            Error::input(format!(
                "a token must be one of the model's vocabulary, but it lacks `{}`",
                shorten(token)
            ))
        })
    }

    /// Number of tokens, including the four special ones. Pieces may be fewer than in the config.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary().size()
    }

    /// The tokens and their ids.
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        self.scheme.vocabulary()
    }

    /// `characters`, `words`, `bpe` and so on, as in the config.
    pub(crate) fn kind(&self) -> &'static str {
        self.scheme.name()
    }

    /// The first difference from another tokenizer, with both values: the kind, the form, a token, or a setting of the kind, such
    /// as a merge of BPE. Without a difference, both give the same ids for every text.
    pub(crate) fn difference(&self, other: &Tokenizer) -> Option<(String, [String; 2])> {
        if self.kind() != other.kind() {
            return Some(("kind".to_owned(), [self.kind(), other.kind()].map(str::to_owned)));
        }
        if let (Some(one), Some(other)) = (&self.parts, &other.parts) {
            return one.difference(other);
        }
        if self.form != other.form {
            return Some(("form".to_owned(), [self.form, other.form].map(|form| form.to_string())));
        }
        let shown = |token: Option<&String>| token.map_or("missing".to_owned(), |token| format!("{token:?}"));
        if let Some((id, both)) = self.vocabulary().difference(other.vocabulary()) {
            return Some((format!("token {id}"), both.map(shown)));
        }
        extend::difference_of_settings([self, other].map(|one| one.scheme.settings()))
    }

    /// The first difference in how texts are cut, as of [`Tokenizer::difference`]: tokens may have other ids. Without one, both
    /// give the same tokens for every text.
    pub(crate) fn difference_in_cuts(&self, other: &Tokenizer) -> Option<(String, [String; 2])> {
        let difference = self.difference(other)?;
        let has_same_rules = self.kind() == other.kind() && self.form == other.form;
        // The scores of Unigram are in the order of its tokens.
        if !has_same_rules || self.parts.is_some() || self.kind() == "unigram" {
            return Some(difference);
        }
        let [mut one, mut two] = [self, other].map(|tokenizer| tokenizer.vocabulary().tokens().to_vec());
        one.sort_unstable();
        two.sort_unstable();
        match one == two {
            true => extend::difference_of_settings([self, other].map(|one| one.scheme.settings())),
            false => Some(difference),
        }
    }
}

/// `<unk>` in an output.
const UNKNOWN: &[u8] = SPECIALS[UNK as usize].as_bytes();

/// Whether a token adds nothing to an output.
fn is_silent(id: i64) -> bool {
    [PAD, BOS, EOS].contains(&id)
}

/// Whether a text is words with one space between.
fn is_joined_by_spaces(text: &str) -> bool {
    text.split(' ').all(|word| !word.is_empty() && !word.contains(char::is_whitespace)) || text.is_empty()
}

#[cfg(test)]
mod tests;
