//! Cutting text into tokens and putting it together again: characters, words, byte-pair encoding.
//!
//! Every text is brought to one form first ([`normalize`]), so that what looks the same is the same. A special token
//! has no text: `<eos>` in a file is cut like any other characters, and never ends a sequence.
//! Knows strings and ids, no tensors and no files.

mod bpe;
mod extend;

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::data::SideConfig;
use crate::data::pairs::shorten;
use crate::data::vocabulary::{BOS, EOS, PAD, SPECIALS, UNK, Vocabulary, first_difference};
use crate::error::{Error, Result};
pub use bpe::Bpe;

/// A text as ids, without BOS and EOS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// An id for each token.
    pub ids: Vec<i64>,
    /// How many of them are UNK.
    pub unknown: usize,
}

/// How the text of a side becomes ids, and back.
#[derive(Clone, Debug)]
pub enum Tokenizer {
    /// A token for each Unicode scalar value, the space too.
    Characters(Vocabulary),
    /// Tokens separated by white space, of any kind and amount; one space when joined.
    Words(Vocabulary),
    /// Byte-pair encoding within words.
    Bpe(Box<Bpe>),
}

/// The form in which every text is read: NFC, without white space at its ends, and with a space for each tab, line
/// break or other white space that moves a cursor, since what is written is a line.
pub fn normalize(text: &str) -> Cow<'_, str> {
    let trimmed = text.trim();
    let is_nfc = is_nfc_quick(trimmed.chars()) == IsNormalized::Yes;
    if is_nfc && !trimmed.contains(breaks) {
        return Cow::Borrowed(trimmed);
    }
    Cow::Owned(trimmed.nfc().map(|character| if breaks(character) { ' ' } else { character }).collect())
}

/// Tabs, line breaks, form feeds, and the Unicode separators of lines and paragraphs.
fn breaks(character: char) -> bool {
    character.is_whitespace() && (character.is_control() || matches!(character, '\u{2028}' | '\u{2029}'))
}

impl Tokenizer {
    /// Builds the tokenizer that the config names (characters, where it names none) from the training texts: those of
    /// one side, or of both for a shared vocabulary. The same texts in the same order give the same tokenizer.
    ///
    /// # Errors
    /// A BPE vocabulary is asked that is too small for the characters of the texts.
    pub fn train<'a>(config: &SideConfig, texts: impl Iterator<Item = &'a str>) -> Result<Tokenizer> {
        if let Some(bpe) = &config.bpe {
            return Ok(Tokenizer::Bpe(Box::new(Bpe::train(bpe.vocabulary, texts)?)));
        }
        let mut counts = HashMap::new();
        if let Some(words) = &config.words {
            for text in texts {
                normalize(text).split_whitespace().for_each(|word| count(&mut counts, word));
            }
            return Ok(Tokenizer::Words(Vocabulary::from_counts(counts, words.minimum_count)));
        }
        for text in texts {
            normalize(text)
                .chars()
                .for_each(|character| count(&mut counts, character.encode_utf8(&mut [0; 4])));
        }
        let minimum_count = config.characters.as_ref().map_or(1, |characters| characters.minimum_count);
        Ok(Tokenizer::Characters(Vocabulary::from_counts(counts, minimum_count)))
    }

    /// A text, normalised, as ids without BOS and EOS. What the vocabulary lacks is UNK and counted: for BPE a
    /// character, otherwise a token.
    pub fn encode(&self, text: &str) -> Encoded {
        let text = normalize(text);
        let ids: Vec<i64> = match self {
            Tokenizer::Characters(vocabulary) => {
                let id = |character: char| vocabulary.id(character.encode_utf8(&mut [0; 4]));
                text.chars().map(|character| id(character).unwrap_or(UNK)).collect()
            }
            Tokenizer::Words(vocabulary) => {
                text.split_whitespace().map(|word| vocabulary.id(word).unwrap_or(UNK)).collect()
            }
            Tokenizer::Bpe(bpe) => bpe.encode(&text),
        };
        let unknown = ids.iter().filter(|id| **id == UNK).count();
        Encoded { ids, unknown }
    }

    /// What is UNK in [`Tokenizer::encode`], in its order.
    pub fn unknown_symbols(&self, text: &str) -> Vec<String> {
        let text = normalize(text);
        let lacks = |symbol: &String| self.vocabulary().id(symbol).is_none();
        match self {
            Tokenizer::Characters(_) => text.chars().map(String::from).filter(lacks).collect(),
            Tokenizer::Words(_) => text.split_whitespace().map(str::to_owned).filter(lacks).collect(),
            Tokenizer::Bpe(_) => bpe::mark_spaces(&text).chars().map(String::from).filter(lacks).collect(),
        }
    }

    /// [`Tokenizer::encode`] for each of many texts.
    pub fn encode_all(&self, texts: &[&str]) -> Vec<Encoded> {
        texts.iter().map(|text| self.encode(text)).collect()
    }

    /// The text of ids. PAD, BOS and EOS are left out wherever they stand; UNK, and an id outside of the vocabulary,
    /// is `<unk>`.
    ///
    /// Gives back the normalised text that was encoded if nothing in it was unknown, except that words are joined by
    /// one space and that BPE, where the space is `▁`, gives a `▁` of the text as a space.
    pub fn decode(&self, ids: &[i64]) -> String {
        let tokens = ids.iter().filter(|id| ![PAD, BOS, EOS].contains(id)).map(|id| self.token(*id));
        match self {
            Tokenizer::Characters(_) => tokens.collect(),
            Tokenizer::Words(_) => tokens.collect::<Vec<_>>().join(" "),
            Tokenizer::Bpe(_) => bpe::join(tokens),
        }
    }

    /// What each token adds to the text of [`Tokenizer::decode`], in the order of the ids: at its beginning, and further on.
    pub fn pieces(&self) -> Vec<[String; 2]> {
        let piece = |id| {
            let token = self.token(id);
            match self {
                _ if [PAD, BOS, EOS].contains(&id) => Default::default(),
                Tokenizer::Characters(_) => [token.to_owned(), token.to_owned()],
                Tokenizer::Words(_) => [token.to_owned(), format!(" {token}")],
                Tokenizer::Bpe(_) => [bpe::join([token].into_iter()), bpe::unmark(token)],
            }
        };
        (0..self.vocabulary_size() as i64).map(piece).collect()
    }

    /// Whether an output says what a reference says, however each is cut. What the vocabulary lacks is never right.
    pub fn same_text(&self, reference: &[i64], output: &[i64]) -> bool {
        !reference.contains(&UNK) && self.decode(reference) == self.decode(output)
    }

    /// A token as it is shown: special tokens by their names, an id outside of the vocabulary as `<unk>`.
    pub fn token(&self, id: i64) -> &str {
        self.vocabulary().token(id).unwrap_or(SPECIALS[UNK as usize])
    }

    /// The id of a token as [`Tokenizer::token`] shows it.
    ///
    /// # Errors
    /// An input error without a place: there is no such token.
    pub fn id(&self, token: &str) -> Result<i64> {
        let special = SPECIALS.iter().position(|name| *name == token).map(|id| id as i64);
        special.or_else(|| self.vocabulary().id(token)).ok_or_else(|| {
            Error::input(format!(
                "a token must be one of the model's vocabulary, but it lacks `{}`",
                shorten(token)
            ))
        })
    }

    /// Number of tokens, the four special ones counted in. BPE may reach fewer than the config asks for.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary().size()
    }

    /// The tokens and their ids.
    pub fn vocabulary(&self) -> &Vocabulary {
        match self {
            Tokenizer::Characters(vocabulary) | Tokenizer::Words(vocabulary) => vocabulary,
            Tokenizer::Bpe(bpe) => bpe.vocabulary(),
        }
    }

    /// `characters`, `words` or `bpe`, as in the config.
    pub fn kind(&self) -> &'static str {
        match self {
            Tokenizer::Characters(_) => "characters",
            Tokenizer::Words(_) => "words",
            Tokenizer::Bpe(_) => "bpe",
        }
    }

    /// The first thing in which another tokenizer differs, and what it is in each of them: the kind, a token, or with BPE
    /// a merge. Two without a difference cut every text alike, into the same ids.
    pub fn difference(&self, other: &Tokenizer) -> Option<(String, [String; 2])> {
        if self.kind() != other.kind() {
            return Some(("kind".to_owned(), [self.kind(), other.kind()].map(str::to_owned)));
        }
        let shown = |token: Option<&String>| token.map_or("missing".to_owned(), |token| format!("{token:?}"));
        if let Some((id, both)) = self.vocabulary().difference(other.vocabulary()) {
            return Some((format!("token {id}"), both.map(shown)));
        }
        let (Tokenizer::Bpe(one), Tokenizer::Bpe(other)) = (self, other) else { return None };
        let merge = |merge: Option<&(String, String)>| {
            merge.map_or("missing".to_owned(), |(left, right)| format!("{left:?} + {right:?}"))
        };
        let (n, both) = first_difference([one.merges(), other.merges()])?;
        Some((format!("merge {n}"), both.map(merge)))
    }

    /// The JSON that goes into a model file: `{"kind": …, "tokens": […]}`, where a token's place is its id, and for BPE
    /// `"merges": ["a b", …]` beside it, the first to be applied first.
    pub fn to_json(&self) -> Value {
        let mut value = json!({ "kind": self.kind(), "tokens": self.vocabulary() });
        if let Tokenizer::Bpe(bpe) = self {
            value["merges"] = bpe.merges().iter().map(|(left, right)| format!("{left} {right}")).collect();
        }
        value
    }

    /// The tokenizer of such a JSON value.
    ///
    /// # Errors
    /// A key is missing, unknown or of another type, or the tokens (and merges) are not such as training makes.
    pub fn from_json(value: &Value) -> Result<Tokenizer> {
        let damaged = |message: String| Error::failure(format!("the tokenizer is damaged: {message}"));
        read_json(value).map_err(damaged)
    }
}

fn count(counts: &mut HashMap<String, u64>, token: &str) {
    // Two look-ups, but a string is only made for a token that is new.
    match counts.get_mut(token) {
        Some(count) => *count += 1,
        None => drop(counts.insert(token.to_string(), 1)),
    }
}

/// What a JSON value holds, or what is wrong with it.
type Checked<T> = std::result::Result<T, String>;

fn read_json(value: &Value) -> Checked<Tokenizer> {
    let object = value.as_object().ok_or("it must be a JSON object")?;
    let kind = object.get("kind").and_then(Value::as_str).ok_or("it must have a string `kind`")?;
    let keys: &[&str] = if kind == "bpe" { &["kind", "tokens", "merges"] } else { &["kind", "tokens"] };
    if let Some(key) = object.keys().find(|key| !keys.contains(&key.as_str())) {
        return Err(format!("it has an unknown key `{key}`"));
    }
    let vocabulary =
        Vocabulary::from_tokens(strings(object, "tokens")?).map_err(|error| error.message().to_string())?;
    let of_text = &vocabulary.tokens()[SPECIALS.len()..];
    match kind {
        "characters" => match of_text.iter().find(|token| token.chars().count() != 1) {
            Some(token) => Err(format!("each of its tokens must be one character, but one is {token:?}")),
            None => Ok(Tokenizer::Characters(vocabulary)),
        },
        "words" => match of_text.iter().find(|token| token.is_empty() || token.contains(char::is_whitespace))
        {
            Some(token) => Err(format!("its tokens must be words, but one is {token:?}")),
            None => Ok(Tokenizer::Words(vocabulary)),
        },
        "bpe" => {
            let merges: Checked<Vec<_>> =
                strings(object, "merges")?.iter().map(|merge| parts(merge)).collect();
            Ok(Tokenizer::Bpe(Box::new(Bpe::new(vocabulary, merges?)?)))
        }
        _ => Err(format!("its kind must be characters, words or bpe, but it is `{kind}`")),
    }
}

/// The two parts of a merge; a token never has a space in it.
fn parts(merge: &str) -> Checked<(String, String)> {
    match merge.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok((left.to_string(), right.to_string()))
        }
        _ => Err(format!("a merge must be two tokens with a space between, but one is {merge:?}")),
    }
}

fn strings(object: &Map<String, Value>, key: &str) -> Checked<Vec<String>> {
    let list = object.get(key).and_then(Value::as_array).ok_or(format!("it must have a list `{key}`"))?;
    let strings: Option<Vec<String>> = list.iter().map(|item| item.as_str().map(str::to_string)).collect();
    strings.ok_or(format!("`{key}` must be a list of strings"))
}

#[cfg(test)]
mod tests;
