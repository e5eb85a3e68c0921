//! Tokenizers as JSON, for model files; reading is strict.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Bpe, Kind, Parts, TextForm, Tokenizer};
use crate::data::vocabulary::{SPECIALS, Vocabulary};
use crate::error::{Error, Result};

impl Tokenizer {
    /// The JSON that goes into a model file: `{"kind": …, "normalize": …, "whitespace": …, "tokens": […]}`, where a
    /// token's index is its id; for BPE also `"merges": ["a b", …]` in the order of application, for `split` its
    /// `"separators"`. Parts are `{"kind": "parts", "parts": [{"column": …, "set": …, "tokenizer": {…}}, …]}`.
    pub(crate) fn to_json(&self) -> Value {
        if let Kind::Parts(parts) = &self.kind {
            let part = |(column, set, tokenizer): (&str, bool, &Tokenizer)| json!({ "column": column, "set": set, "tokenizer": tokenizer.to_json() });
            return json!({ "kind": "parts", "parts": parts.list().map(part).collect::<Vec<_>>() });
        }
        let TextForm { normalize, whitespace } = self.form;
        let mut value = json!({
            "kind": self.kind(),
            "normalize": normalize,
            "whitespace": whitespace,
            "tokens": self.vocabulary(),
        });
        match &self.kind {
            Kind::Bpe(bpe) => {
                value["merges"] =
                    bpe.merges().iter().map(|(left, right)| format!("{left} {right}")).collect();
            }
            Kind::Split(_, separators) => value["separators"] = separators.as_str().into(),
            _ => {}
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
    let of_texts = ["kind", "tokens", "normalize", "whitespace"];
    let (of_all, keys): (&[&str], &[&str]) = match kind {
        "parts" => (&["kind"], &["parts"]),
        "bpe" => (&of_texts, &["merges"]),
        "split" => (&of_texts, &["separators"]),
        _ => (&of_texts, &[]),
    };
    if let Some(key) = object.keys().find(|key| ![of_all, keys].concat().contains(&key.as_str())) {
        return Err(format!("it has an unknown key `{key}`"));
    }
    if kind == "parts" {
        let kind = Kind::Parts(Box::new(read_parts(&value["parts"])?));
        return Ok(Tokenizer { form: super::parts::FORM, kind });
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
        "split" => {
            let separators = object.get("separators").and_then(Value::as_str).unwrap_or_default();
            if separators.is_empty() {
                return Err("it must have a string `separators` that is not empty".to_owned());
            }
            Kind::Split(vocabulary, separators.to_owned())
        }
        "bpe" => {
            let merges: Checked<Vec<_>> =
                strings(object, "merges")?.iter().map(|merge| parts(merge)).collect();
            Kind::Bpe(Box::new(Bpe::new(vocabulary, merges?)?))
        }
        _ => {
            let must = "its kind must be characters, words, split, bpe or parts";
            return Err(format!("{must}, but it is `{kind}`"));
        }
    };
    Ok(Tokenizer { form, kind })
}

/// The columns of a source, each with its tokenizer.
fn read_parts(value: &Value) -> Checked<Parts> {
    let read = |part: &Value| {
        let (Some(column), Some(set)) = (part["column"].as_str(), part["set"].as_bool()) else {
            return Err("each part must have a string `column` and a boolean `set`".to_owned());
        };
        let tokenizer = read_json(&part["tokenizer"])?;
        match &tokenizer.kind {
            Kind::Parts(_) => Err("a part must not have parts".to_owned()),
            _ => Ok((column.to_owned(), set, tokenizer)),
        }
    };
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or("`parts` must be a list with at least one part")?;
    Ok(Parts::of(list.iter().map(read).collect::<Checked<_>>()?))
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
