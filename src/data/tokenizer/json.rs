//! Tokenizers as JSON, for model files; reading is strict.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Bpe, Kind, TextForm, Tokenizer};
use crate::data::vocabulary::{SPECIALS, Vocabulary};
use crate::error::{Error, Result};

impl Tokenizer {
    /// The JSON that goes into a model file: `{"kind": …, "normalize": …, "whitespace": …, "tokens": […]}`, where a
    /// token's index is its id, and for BPE also `"merges": ["a b", …]` in the order of application.
    pub(crate) fn to_json(&self) -> Value {
        let TextForm { normalize, whitespace } = self.form;
        let mut value = json!({
            "kind": self.kind(),
            "normalize": normalize,
            "whitespace": whitespace,
            "tokens": self.vocabulary(),
        });
        if let Kind::Bpe(bpe) = &self.kind {
            value["merges"] = bpe.merges().iter().map(|(left, right)| format!("{left} {right}")).collect();
        }
        value
    }

    /// Reads the tokenizer of such a JSON value.
    ///
    /// # Errors
    /// A key is missing, unknown or of another type, or the tokens (and merges) are invalid.
    pub(crate) fn from_json(value: &Value) -> Result<Tokenizer> {
        let damaged = |message: String| Error::failure(format!("the tokenizer is damaged: {message}"));
        read_json(value).map_err(damaged)
    }
}

/// The content of a JSON value, or its error.
type Checked<T> = std::result::Result<T, String>;

fn read_json(value: &Value) -> Checked<Tokenizer> {
    let object = value.as_object().ok_or("it must be a JSON object")?;
    let kind = object.get("kind").and_then(Value::as_str).ok_or("it must have a string `kind`")?;
    let keys: &[&str] = if kind == "bpe" { &["merges"] } else { &[] };
    let of_all = ["kind", "tokens", "normalize", "whitespace"];
    if let Some(key) = object.keys().find(|key| ![&of_all, keys].concat().contains(&key.as_str())) {
        return Err(format!("it has an unknown key `{key}`"));
    }
    let form =
        TextForm { normalize: setting(object, "normalize")?, whitespace: setting(object, "whitespace")? };
    let vocabulary =
        Vocabulary::from_tokens(strings(object, "tokens")?).map_err(|error| error.message().to_string())?;
    let of_text = &vocabulary.tokens()[SPECIALS.len()..];
    let kind = match kind {
        "characters" => match of_text.iter().find(|token| token.chars().count() != 1) {
            Some(token) => {
                return Err(format!("each of its tokens must be one character, but one is {token:?}"));
            }
            None => Kind::Characters(vocabulary),
        },
        "words" => match of_text.iter().find(|token| token.is_empty() || token.contains(char::is_whitespace))
        {
            Some(token) => return Err(format!("its tokens must be words, but one is {token:?}")),
            None => Kind::Words(vocabulary),
        },
        "bpe" => {
            let merges: Checked<Vec<_>> =
                strings(object, "merges")?.iter().map(|merge| parts(merge)).collect();
            Kind::Bpe(Box::new(Bpe::new(vocabulary, merges?)?))
        }
        _ => return Err(format!("its kind must be characters, words or bpe, but it is `{kind}`")),
    };
    Ok(Tokenizer { form, kind })
}

/// A setting; the default if an older file lacks it.
fn setting<T: Default + DeserializeOwned>(object: &Map<String, Value>, key: &str) -> Checked<T> {
    let Some(value) = object.get(key) else { return Ok(T::default()) };
    serde_json::from_value(value.clone()).map_err(|error| format!("`{key}`: {error}"))
}

/// The two parts of a merge; tokens never contain a space.
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
