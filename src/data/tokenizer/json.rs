//! Tokenizers as JSON, for model files; reading is strict.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::bpe::Bpe;
use super::bytes::Bytes;
use super::parts::Parts;
use super::pieces::{Model, Pieces};
use super::pretrained::tokenizer_of;
use super::ready_file::ReadyFile;
use super::scheme::Scheme;
use super::symbols::{Symbol, Symbols};
use super::unigram::Unigram;
use super::{TextForm, Tokenizer};
use crate::data::PiecesConfig;
use crate::data::SideConfig;
use crate::data::vocabulary::Vocabulary;
use crate::error::{Error, Result};

impl Tokenizer {
    /// The JSON that goes into a model file: `{"kind": …, "normalize": …, "whitespace": …, "tokens": […]}`, where a
    /// token's index is its id, `"lowercase": true` if it is, and what the kind needs beside; docs/checkpoint.md has it. Parts
    /// are `{"kind": "parts", "parts": [{"column": …, "set": …, "tokenizer": {…}}, …]}`.
    pub(crate) fn to_json(&self) -> Value {
        if let Some(parts) = &self.parts {
            let part = |(column, set, tokenizer): (&str, bool, &Tokenizer)| json!({ "column": column, "set": set, "tokenizer": tokenizer.to_json() });
            return json!({ "kind": "parts", "parts": parts.list().map(part).collect::<Vec<_>>() });
        }
        let TextForm { normalize, whitespace, lowercase } = self.form;
        let mut value = json!({
            "kind": self.kind(),
            "normalize": normalize,
            "whitespace": whitespace,
            "tokens": self.vocabulary(),
        });
        if lowercase {
            value["lowercase"] = true.into();
        }
        self.scheme.settings().into_iter().for_each(|(key, setting)| value[key] = setting);
        value
    }

    /// Reads the tokenizer of such a JSON value.
    ///
    /// # Errors
    /// A key is missing, unknown or of another type, or the tokens (and what belongs to them) are invalid.
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
    if kind == "parts" {
        return read_parts(object);
    }
    let of_pieces = ["byte_fallback", "split_scripts", "split_digits"];
    let own: Vec<&str> = match kind {
        "bpe" => of_pieces.into_iter().chain(["merges"]).collect(),
        "unigram" => of_pieces.into_iter().chain(["scores"]).collect(),
        "pretrained" => vec!["file"],
        "split" => vec!["separators"],
        _ => Vec::new(),
    };
    let of_all = ["kind", "tokens", "normalize", "whitespace", "lowercase"];
    if let Some(key) = object.keys().find(|key| !of_all.iter().chain(&own).any(|known| known == key)) {
        return Err(format!("it has an unknown key `{key}`"));
    }
    let form = TextForm {
        normalize: setting(object, "normalize")?,
        whitespace: setting(object, "whitespace")?,
        lowercase: setting(object, "lowercase")?,
    };
    let tokens = Vocabulary::from_tokens(strings(object, "tokens")?);
    let vocabulary = tokens.map_err(|error| error.message().to_string())?;
    Ok(Tokenizer::of(form, scheme(kind, object, vocabulary)?))
}

/// The columns of a source, each with its tokenizer.
fn read_parts(object: &Map<String, Value>) -> Checked<Tokenizer> {
    let read = |part: &Value| {
        let (Some(column), Some(set)) = (part["column"].as_str(), part["set"].as_bool()) else {
            return Err("each part must have a string `column` and a boolean `set`".to_owned());
        };
        match read_json(&part["tokenizer"])? {
            Tokenizer { parts: Some(_), .. } => Err("a part must not have parts".to_owned()),
            tokenizer => Ok((column.to_owned(), set, tokenizer)),
        }
    };
    if let Some(key) = object.keys().find(|key| !["kind", "parts"].contains(&key.as_str())) {
        return Err(format!("it has an unknown key `{key}`"));
    }
    let list = object.get("parts").and_then(Value::as_array).filter(|list| !list.is_empty());
    let list = list.ok_or("`parts` must be a list with at least one part")?;
    Ok(Parts::of(list.iter().map(read).collect::<Checked<_>>()?).into())
}

fn scheme(kind: &str, object: &Map<String, Value>, vocabulary: Vocabulary) -> Checked<Arc<dyn Scheme>> {
    Ok(match kind {
        "characters" => Arc::new(Symbols::of(Symbol::Character, vocabulary)?),
        "graphemes" => Arc::new(Symbols::of(Symbol::Grapheme, vocabulary)?),
        "words" => Arc::new(Symbols::of(Symbol::Word, vocabulary)?),
        "split" => {
            let separators = object.get("separators").and_then(Value::as_str).unwrap_or_default();
            if separators.is_empty() {
                return Err("it must have a string `separators` that is not empty".to_owned());
            }
            Arc::new(Symbols::of(Symbol::Between(separators.to_owned()), vocabulary)?)
        }
        "bytes" => Arc::new(Bytes::of(vocabulary)?),
        "bpe" => {
            let merges: Checked<Vec<_>> =
                strings(object, "merges")?.iter().map(|merge| parts(merge)).collect();
            let bpe = Bpe::new(vocabulary, merges?)?;
            Arc::new(Pieces::of(rules(object)?, Model::Bpe(Box::new(bpe)))?)
        }
        "unigram" => {
            let scores =
                object.get("scores").and_then(Value::as_array).map(|list| list.iter().map(Value::as_f64));
            let scores: Option<Vec<f64>> = scores.and_then(Iterator::collect);
            let unigram = Unigram::new(vocabulary, scores.ok_or("it must have a list of numbers `scores`")?)?;
            Arc::new(Pieces::of(rules(object)?, Model::Unigram(Box::new(unigram)))?)
        }
        "pretrained" => {
            let file = object.get("file").and_then(Value::as_str).ok_or("it must have a string `file`")?;
            let ready = tokenizer_of(ReadyFile::of(file)?)?;
            if *ready.vocabulary() != vocabulary {
                return Err("its tokens must be those of its file, but they are others".to_owned());
            }
            ready
        }
        _ => {
            let kinds = SideConfig::TOKENIZERS.into_iter().filter(|kind| *kind != "audio");
            let kinds = kinds.map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
            return Err(format!("its kind must be one of {kinds}, but it is `{kind}`"));
        }
    })
}

/// The rules of pieces; those of learning are not kept.
fn rules(object: &Map<String, Value>) -> Checked<PiecesConfig> {
    Ok(PiecesConfig {
        byte_fallback: setting(object, "byte_fallback")?,
        split_scripts: setting(object, "split_scripts")?,
        split_digits: setting(object, "split_digits")?,
        ..PiecesConfig::default()
    })
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
