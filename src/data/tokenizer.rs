//! Tokenizers: characters, words, symbols, byte-pair encoding. They split text into tokens and join tokens to text.
//!
//! Every text is first normalized to one form ([`TextForm`]). A special token has no text: `<eos>` in a file is
//! tokenized like any other characters and never ends a sequence. Strings and ids only: no tensors and no files.

mod bpe;
mod extend;
mod json;
mod parts;

use std::collections::HashMap;

pub(crate) use super::text_form::{ChangeCounts, Changes, TextForm};
use crate::data::readers::shorten;
use crate::data::source::PartShape;
use crate::data::vocabulary::{BOS, EOS, PAD, SPECIALS, UNK, Vocabulary, first_difference};
use crate::data::{SideConfig, Whitespace};
use crate::error::{Error, Result};
pub(crate) use bpe::Bpe;
use parts::Parts;

/// A text as ids, without BOS and EOS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The ids.
    pub ids: Vec<i64>,
    /// Number of UNK ids.
    pub unknown: usize,
}

/// Converts the texts of a side to ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    form: TextForm,
    kind: Kind,
}

/// The kinds of tokens.
#[derive(Clone, Debug)]
enum Kind {
    /// One token per Unicode scalar value, including the space.
    Characters(Vocabulary),
    /// Tokens separated by any white space; joined by one space.
    Words(Vocabulary),
    /// Tokens separated by any of these characters; joined by the first of them.
    Split(Vocabulary, String),
    /// Byte-pair encoding within words.
    Bpe(Box<Bpe>),
    /// Several columns, each with its own tokenizer.
    Parts(Box<Parts>),
}

impl Tokenizer {
    /// Builds the tokenizer of the config (by default characters) from the training texts of one side, or of both for a
    /// shared vocabulary. The same texts in the same order give the same tokenizer.
    ///
    /// # Errors
    /// The BPE vocabulary is too small for the characters of the texts.
    pub fn train<'a>(config: &SideConfig, texts: impl Iterator<Item = &'a str>) -> Result<Tokenizer> {
        let form = TextForm::of(config);
        if !config.parts.is_empty() {
            let kind = Kind::Parts(Box::new(Parts::train(&config.parts, texts)?));
            return Ok(Tokenizer { form: parts::FORM, kind });
        }
        if let Some(bpe) = &config.bpe {
            let kind = Kind::Bpe(Box::new(Bpe::train(bpe.vocabulary, form, texts)?));
            return Ok(Tokenizer { form, kind });
        }
        let mut counts = HashMap::new();
        if let Some(words) = &config.words {
            for text in texts {
                form.apply(text).split_whitespace().for_each(|word| count(&mut counts, word));
            }
            let kind = Kind::Words(Vocabulary::from_counts(counts, words.minimum_count));
            return Ok(Tokenizer { form, kind });
        }
        if let Some(separators) = &config.split {
            for text in texts {
                symbols(&form.apply(text), separators).for_each(|symbol| count(&mut counts, symbol));
            }
            let kind = Kind::Split(Vocabulary::from_counts(counts, 1), separators.clone());
            return Ok(Tokenizer { form, kind });
        }
        for text in texts {
            let text = form.apply(text);
            text.chars().for_each(|character| count(&mut counts, character.encode_utf8(&mut [0; 4])));
        }
        let minimum_count = config.characters.as_ref().map_or(1, |characters| characters.minimum_count);
        let kind = Kind::Characters(Vocabulary::from_counts(counts, minimum_count));
        Ok(Tokenizer { form, kind })
    }

    /// The text form; of several columns that of the first.
    pub(crate) fn form(&self) -> TextForm {
        match &self.kind {
            Kind::Parts(parts) => parts.first().form,
            _ => self.form,
        }
    }

    /// The parts of the ids, if a source has several columns.
    pub(crate) fn part_shapes(&self) -> Option<Vec<PartShape>> {
        match &self.kind {
            Kind::Parts(parts) => Some(parts.shapes()),
            _ => None,
        }
    }

    /// Checks that a source has all its columns.
    ///
    /// # Errors
    /// An input error without a place: it has more or less.
    pub(crate) fn check_columns(&self, text: &str) -> Result<()> {
        match &self.kind {
            Kind::Parts(parts) => parts.check_columns(text),
            _ => Ok(()),
        }
    }

    /// Normalizes and tokenizes a text, without BOS and EOS. Symbols that are not in the vocabulary (for BPE
    /// characters, otherwise tokens) are UNK and counted.
    pub fn encode(&self, text: &str) -> Encoded {
        let text = self.form.apply(text);
        let ids: Vec<i64> = match &self.kind {
            Kind::Characters(vocabulary) => {
                let id = |character: char| vocabulary.id(character.encode_utf8(&mut [0; 4]));
                text.chars().map(|character| id(character).unwrap_or(UNK)).collect()
            }
            Kind::Words(vocabulary) => {
                text.split_whitespace().map(|word| vocabulary.id(word).unwrap_or(UNK)).collect()
            }
            Kind::Split(vocabulary, separators) => {
                symbols(&text, separators).map(|symbol| vocabulary.id(symbol).unwrap_or(UNK)).collect()
            }
            Kind::Bpe(bpe) => bpe.encode(&text),
            Kind::Parts(parts) => return parts.encode(&text),
        };
        let unknown = ids.iter().filter(|id| **id == UNK).count();
        Encoded { ids, unknown }
    }

    /// The symbols that are UNK in [`Tokenizer::encode`], in order.
    pub(crate) fn unknown_symbols(&self, text: &str) -> Vec<String> {
        let text = self.form.apply(text);
        let lacks = |symbol: &String| self.vocabulary().id(symbol).is_none();
        match &self.kind {
            Kind::Characters(_) => text.chars().map(String::from).filter(lacks).collect(),
            Kind::Words(_) | Kind::Split(..) => self.split(&text).into_iter().filter(lacks).collect(),
            Kind::Bpe(_) => bpe::mark_spaces(&text).chars().map(String::from).filter(lacks).collect(),
            Kind::Parts(parts) => parts.of_columns(&text, Tokenizer::unknown_symbols),
        }
    }

    /// [`Tokenizer::encode`] for each of many texts.
    pub(crate) fn encode_all(&self, texts: &[&str]) -> Vec<Encoded> {
        texts.iter().map(|text| self.encode(text)).collect()
    }

    /// How [`Tokenizer::encode`] changes a text of a file, apart from unknown symbols.
    pub(crate) fn changes(&self, text: &str) -> Changes {
        if let Kind::Parts(parts) = &self.kind {
            return parts.changes(text);
        }
        let normal = self.form.normalize(text);
        let trimmed = if self.form.whitespace == Whitespace::Trim { normal.trim() } else { &normal };
        let of_words = self.is_of_words();
        Changes {
            normal_form: normal != text,
            outer: trimmed.len() < normal.len(),
            breaks: !of_words && self.form.apply(text) != trimmed,
            between: of_words && !is_joined_by_spaces(trimmed),
            mark: matches!(self.kind, Kind::Bpe(_)) && text.contains(bpe::SPACE),
        }
    }

    /// The text of ids, in its form. PAD, BOS and EOS are omitted; UNK and ids outside the vocabulary are `<unk>`.
    ///
    /// Restores the encoded text, in its form, if nothing in it was unknown; except that words are joined by one space,
    /// and that BPE, which marks spaces by `▁`, restores a `▁` of the text as a space.
    pub fn decode(&self, ids: &[i64]) -> String {
        self.decode_with(ids, |_| SPECIALS[UNK as usize])
    }

    /// The same with other texts in place of UNK: `unknown(n)` for the n-th id, from 0.
    pub(crate) fn decode_with<'a>(&'a self, ids: &[i64], unknown: impl Fn(usize) -> &'a str) -> String {
        let shown = (0..).zip(ids).filter(|(_, id)| ![PAD, BOS, EOS].contains(id));
        let tokens = shown.map(|(n, &id)| if id == UNK { unknown(n) } else { self.token(id) });
        let text = match &self.kind {
            Kind::Characters(_) => tokens.collect(),
            Kind::Words(_) => tokens.collect::<Vec<_>>().join(" "),
            Kind::Split(_, separators) => tokens.collect::<Vec<_>>().join(first_of(separators)),
            Kind::Bpe(_) => bpe::join(tokens),
            Kind::Parts(parts) => parts.decode(ids),
        };
        // Tokens in the form need not join to a text in the form.
        self.form.apply(&text).into_owned()
    }

    /// A text in the form of outputs, in which references are compared.
    pub(crate) fn as_output(&self, text: &str) -> String {
        self.form.apply(&self.normalized(text)).into_owned()
    }

    /// A text as its tokens spell it, if nothing is unknown: in its form, before that of outputs.
    pub(crate) fn normalized(&self, text: &str) -> String {
        let text = self.form.apply(text);
        match &self.kind {
            Kind::Characters(_) => text.into_owned(),
            Kind::Words(_) => text.split_whitespace().collect::<Vec<_>>().join(" "),
            Kind::Split(_, separators) => {
                symbols(&text, separators).collect::<Vec<_>>().join(first_of(separators))
            }
            Kind::Bpe(_) => bpe::unmark(&text),
            Kind::Parts(parts) => parts.normalized(&text),
        }
    }

    /// The text of each token of [`Tokenizer::encode`], also of UNK; without the mark of a space.
    pub(crate) fn split(&self, text: &str) -> Vec<String> {
        let text = self.form.apply(text);
        match &self.kind {
            Kind::Characters(_) => text.chars().map(String::from).collect(),
            Kind::Words(_) => text.split_whitespace().map(str::to_owned).collect(),
            Kind::Split(_, separators) => symbols(&text, separators).map(str::to_owned).collect(),
            Kind::Parts(parts) => parts.of_columns(&text, Tokenizer::split),
            Kind::Bpe(bpe) => {
                let marked = bpe::mark_spaces(&text);
                let mut rest = marked.chars();
                let mut next = |id: i64| -> String {
                    let length = if id == UNK { 1 } else { self.token(id).chars().count() };
                    rest.by_ref().take(length).collect()
                };
                bpe.encode(&text).into_iter().map(|id| bpe::unmark(&next(id)).trim().to_owned()).collect()
            }
        }
    }

    /// The text that each token adds in [`Tokenizer::decode`] before normalization, in the order of the ids: at the
    /// start of a text, and later.
    pub(crate) fn pieces(&self) -> Vec<[String; 2]> {
        let pieces = |id| match [PAD, BOS, EOS].contains(&id) {
            true => Default::default(),
            false => [true, false].map(|first| self.piece(id, first)),
        };
        (0..self.vocabulary_size() as i64).map(pieces).collect()
    }

    /// The text of [`Tokenizer::decode`], split at its unknown symbols; one part without any.
    pub(crate) fn known_parts(&self, ids: &[i64]) -> Vec<String> {
        let known = |id: i64| self.vocabulary().token(id).is_some() && id != UNK;
        let (mut parts, mut first) = (vec![String::new()], true);
        for &id in ids.iter().filter(|id| ![PAD, BOS, EOS].contains(id)) {
            let piece = self.piece(id, first);
            first = false;
            let part = parts.last_mut();
            match part {
                Some(part) if known(id) => part.push_str(&piece),
                Some(part) => {
                    part.push_str(piece.strip_suffix(SPECIALS[UNK as usize]).unwrap_or_default());
                    parts.push(String::new());
                }
                None => {}
            }
        }
        let last = parts.len() - 1;
        let in_form = |(n, part): (usize, String)| {
            let mut part = self.form.normalize(&part).into_owned();
            if self.form.whitespace == Whitespace::Trim {
                // Only the first and the last part are trimmed at the ends of the text.
                part = if n == last { part.trim_end() } else { &part }.to_owned();
                part = if n == 0 { part.trim_start() } else { &part }.to_owned();
            }
            part
        };
        parts.into_iter().enumerate().map(in_form).collect()
    }

    /// The text that a token adds, at the start of a text or later.
    pub(crate) fn piece(&self, id: i64, first: bool) -> String {
        let token = self.token(id);
        match &self.kind {
            Kind::Words(_) if !first => format!(" {token}"),
            Kind::Split(_, separators) if !first => format!("{}{token}", first_of(separators)),
            Kind::Characters(_) | Kind::Words(_) | Kind::Split(..) | Kind::Parts(_) => token.to_owned(),
            Kind::Bpe(_) if first => bpe::join([token].into_iter()),
            Kind::Bpe(_) => bpe::unmark(token),
        }
    }

    /// Whether its texts are words, phones or symbols separated by white space: then error rates are over these,
    /// otherwise over characters.
    pub(crate) fn is_of_words(&self) -> bool {
        matches!(self.kind, Kind::Words(_))
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

    /// Number of tokens, including the four special ones. BPE may have fewer than in the config.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary().size()
    }

    /// The tokens and their ids.
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        match &self.kind {
            Kind::Characters(vocabulary) | Kind::Words(vocabulary) | Kind::Split(vocabulary, _) => vocabulary,
            Kind::Bpe(bpe) => bpe.vocabulary(),
            Kind::Parts(parts) => parts.vocabulary(),
        }
    }

    /// Its name in the config.
    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Characters(_) => "characters",
            Kind::Words(_) => "words",
            Kind::Split(..) => "split",
            Kind::Bpe(_) => "bpe",
            Kind::Parts(_) => "parts",
        }
    }

    /// The first difference from another tokenizer, with both values: the kind, the form, a token, or a BPE merge.
    /// Without a difference, both give the same ids for every text.
    pub(crate) fn difference(&self, other: &Tokenizer) -> Option<(String, [String; 2])> {
        if self.kind() != other.kind() {
            return Some(("kind".to_owned(), [self.kind(), other.kind()].map(str::to_owned)));
        }
        if self.form != other.form {
            return Some(("form".to_owned(), [self.form, other.form].map(|form| form.to_string())));
        }
        let shown = |token: Option<&String>| token.map_or("missing".to_owned(), |token| format!("{token:?}"));
        if let Some((id, both)) = self.vocabulary().difference(other.vocabulary()) {
            return Some((format!("token {id}"), both.map(shown)));
        }
        let (one, other) = match (&self.kind, &other.kind) {
            (Kind::Bpe(one), Kind::Bpe(other)) => (one, other),
            (Kind::Parts(one), Kind::Parts(other)) => return one.difference(other),
            (Kind::Split(_, one), Kind::Split(_, other)) if one != other => {
                return Some(("separators".to_owned(), [one, other].map(|text| format!("{text:?}"))));
            }
            _ => return None,
        };
        let merge = |merge: Option<&(String, String)>| {
            merge.map_or("missing".to_owned(), |(left, right)| format!("{left:?} + {right:?}"))
        };
        let (n, both) = first_difference([one.merges(), other.merges()])?;
        Some((format!("merge {n}"), both.map(merge)))
    }
}

fn count(counts: &mut HashMap<String, u64>, token: &str) {
    // Two look-ups, but a string is allocated only for new tokens.
    match counts.get_mut(token) {
        Some(count) => *count += 1,
        None => drop(counts.insert(token.to_string(), 1)),
    }
}

/// The symbols of a text between separators.
fn symbols<'a>(text: &'a str, separators: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = text.split(|character| separators.contains(character));
    parts.map(str::trim).filter(|symbol| !symbol.is_empty())
}

/// The separator that joins symbols.
fn first_of(separators: &str) -> &str {
    separators.split_inclusive(|_| true).next().unwrap_or_default()
}

/// Whether a text is words with one space between.
fn is_joined_by_spaces(text: &str) -> bool {
    text.split(' ').all(|word| !word.is_empty() && !word.contains(char::is_whitespace)) || text.is_empty()
}

#[cfg(test)]
mod tests;
