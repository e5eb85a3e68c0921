//! A split of the data, and the tokenizers of both sides.

use std::sync::Arc;

use serde_json::{Value, json};

use super::corpus::{Corpus, Example};
use super::readers::{Pair, Place};
use super::tokenizer::Tokenizer;
use super::{DataConfig, TooLong};
use crate::error::{Error, Result, counted};

/// The tokenizers of both sides.
#[derive(Clone, Debug)]
pub struct Tokenizers {
    /// The source's tokenizer.
    pub source: Tokenizer,
    /// The target's tokenizer.
    pub target: Tokenizer,
}

impl Tokenizers {
    /// Builds both from the training pairs alone.
    pub fn train(config: &DataConfig, pairs: &[&Pair]) -> Result<Tokenizers> {
        let sources = pairs.iter().map(|pair| pair.source.as_str());
        let targets = pairs.iter().map(|pair| pair.target.as_str());
        if config.shared_vocabulary {
            let shared = Tokenizer::train(&config.source, sources.chain(targets))?;
            return Ok(Tokenizers { source: shared.clone(), target: shared });
        }
        Ok(Tokenizers {
            source: Tokenizer::train(&config.source, sources)?,
            target: Tokenizer::train(&config.target, targets)?,
        })
    }

    /// The JSON of a checkpoint.
    pub fn to_json(&self) -> Value {
        json!({ "source": self.source.to_json(), "target": self.target.to_json() })
    }

    /// Reads the JSON of a checkpoint.
    pub fn from_json(value: &Value) -> Result<Tokenizers> {
        Ok(Tokenizers {
            source: Tokenizer::from_json(&value["source"])?,
            target: Tokenizer::from_json(&value["target"])?,
        })
    }
}

/// A split: the used pairs, and counts of the others.
#[derive(Debug)]
pub struct Dataset {
    /// The used pairs; shared with the loader's thread.
    pub corpus: Arc<Corpus>,
    /// Places of the pairs that are skipped because a side is too long.
    pub skipped: Vec<Place>,
    /// Places of the pairs that are skipped because a side is empty.
    pub empty: Vec<Place>,
    /// Symbols that are not in the vocabulary: of the sources, of the targets.
    pub unknown: [usize; 2],
    /// Notes about the files, one line each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Tokenizes pairs and checks them against `max_length`.
    ///
    /// # Errors
    /// A side is longer than its limit, unless `data.too_long` is `skip`; no pair is left.
    pub fn new(pairs: Vec<Pair>, tokenizers: &Tokenizers, config: &DataConfig) -> Result<Dataset> {
        let sources = tokenizers.source.encode_all(&texts(&pairs, |pair| &pair.source));
        let targets = tokenizers.target.encode_all(&texts(&pairs, |pair| &pair.target));
        let (mut kept, mut examples) = (Vec::new(), Vec::new());
        let (mut skipped, mut unknown) = (Vec::new(), [0, 0]);
        for ((pair, source), target) in pairs.into_iter().zip(sources).zip(targets) {
            let sides = [
                ("source", source.ids.len(), config.source.max_length),
                ("target", target.ids.len(), config.target.max_length),
            ];
            if let Some(side) = sides.iter().find(|(_, length, limit)| length > limit) {
                if config.too_long == TooLong::Error {
                    return Err(too_long(&pair.place, *side));
                }
                skipped.push(pair.place);
                continue;
            }
            unknown[0] += source.unknown;
            unknown[1] += target.unknown;
            examples.push(Example { source: source.ids.into(), target: target.ids });
            kept.push(pair);
        }
        if kept.is_empty() {
            let message = format!("no pair is left: all {} have a side that is too long", skipped.len());
            return Err(
                Error::input(message).hint("raise `data.source.max_length` and `data.target.max_length`")
            );
        }
        let (empty, notes) = (Vec::new(), Vec::new());
        let corpus = Arc::new(Corpus::new(kept, examples));
        Ok(Dataset { corpus, skipped, empty, unknown, notes })
    }
}

fn texts(pairs: &[Pair], side: impl Fn(&Pair) -> &String) -> Vec<&str> {
    pairs.iter().map(|pair| side(pair).as_str()).collect()
}

fn too_long(place: &Place, (side, length, limit): (&str, usize, usize)) -> Error {
    let message = format!(
        "a {side} may have {} (`data.{side}.max_length`), but this row's has {length}",
        counted(limit, "token")
    );
    Error::input(message)
        .at(place)
        .hint(format!("raise `data.{side}.max_length`, or skip such rows with `data.too_long = \"skip\"`"))
}
