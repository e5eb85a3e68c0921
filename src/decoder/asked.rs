//! From texts to what a search is asked: sources as each model cuts them, what an output begins with, what it may say.

use super::loaded::LoadedModel;
use crate::data::pairs::shorten;
use crate::data::tokenizer::Encoded;
use crate::data::vocabulary::UNK;
use crate::decoding::jobs::Request;
use crate::decoding::search::{Reading, Stepper};
use crate::error::{Error, Result};

/// A source in the tokens of all models that choose together.
#[derive(Clone, Debug, Default)]
pub struct EncodedSource {
    /// Those of the first.
    pub own: Encoded,
    /// Those of each other; empty where all of them cut sources alike.
    others: Vec<Encoded>,
}

impl EncodedSource {
    /// As a model reads it.
    pub fn reading(self) -> Reading {
        let others = self.others.into_iter().map(|other| other.ids).collect();
        Reading { ids: self.own.ids, others, allowed: None }
    }

    fn parts(&self) -> impl Iterator<Item = &Encoded> {
        std::iter::once(&self.own).chain(&self.others)
    }
}

/// What the models are asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// What they read.
    pub reading: Reading,
    /// How many of its tokens are UNK.
    pub unknown: usize,
    /// The tokens that the output begins with.
    pub prefix: Vec<i64>,
}

impl Asked {
    /// The same to a search.
    pub fn request(&self) -> Request<'_> {
        Request { source: self.reading.source(), prefix: &self.prefix }
    }
}

impl LoadedModel {
    /// Cuts a source into tokens.
    pub fn encode_source(&self, text: &str) -> EncodedSource {
        let others = match self.cuts_alike() {
            true => Vec::new(),
            false => self.others.iter().map(|other| other.tokenizers.source.encode(text)).collect(),
        };
        EncodedSource { own: self.tokenizers.source.encode(text), others }
    }

    /// Cuts a source to what the models may read, and says whether there was something to cut.
    pub fn truncate(&self, source: &mut EncodedSource) -> bool {
        let limits = self.source_limits();
        let mut cut = false;
        for (part, limit) in std::iter::once(&mut source.own).chain(&mut source.others).zip(limits) {
            if part.ids.len() > limit {
                part.ids.truncate(limit);
                part.ids.shrink_to_fit();
                part.unknown = part.ids.iter().filter(|&&token| token == UNK).count();
                cut = true;
            }
        }
        cut
    }

    /// A request for the output of a source, whose length was checked ([`LoadedModel::check_source`]), that begins with `prefix`.
    ///
    /// # Errors
    /// Those of [`LoadedModel::encode_prefix`].
    pub fn ask(&self, source: EncodedSource, prefix: &str) -> Result<Asked> {
        let prefix = self.encode_prefix(&source.own, prefix)?;
        let unknown = source.own.unknown;
        let allowed = self.shortlist.as_ref().map(|list| list.allowed(&source.own.ids, &prefix));
        Ok(Asked { reading: Reading { allowed, ..source.reading() }, unknown, prefix })
    }

    /// The tokens of what the output of a source is to begin with.
    ///
    /// # Errors
    /// An input error without a place: the target's vocabulary lacks a symbol of it, or it is longer than the output of this
    /// source may be.
    pub fn encode_prefix(&self, source: &Encoded, text: &str) -> Result<Vec<i64>> {
        let Encoded { ids, unknown } = self.tokenizers.target.encode(text);
        if unknown > 0 {
            let message = format!(
                "a prefix must be spelled with the target's vocabulary, but it lacks {unknown} symbols of `{}`",
                shorten(text)
            );
            return Err(Error::input(message));
        }
        let length = ids.len();
        if length == 0 || !self.is_asked_for(&source.ids) {
            return Ok(ids);
        }
        let limit = self.rules.limits.of(source.ids.len(), self.stepper().longest());
        if length > limit {
            let message = format!(
                "a prefix must not be longer than its output, which may have {limit} tokens, but it has {length}"
            );
            return Err(Error::input(message).hint(match self.stepper().longest() {
                Some(longest) if longest <= limit => {
                    "the model has no more positions (`model.transformer.max_positions`)"
                }
                _ => "allow more with --set decoding.max_length=N",
            }));
        }
        Ok(ids)
    }

    /// A source must not be longer than `data.source.max_length`, for any of the models.
    ///
    /// # Errors
    /// An input error without a place.
    pub fn check_source(&self, source: &EncodedSource) -> Result<()> {
        let mut parts = source.parts().zip(self.source_limits());
        parts.try_for_each(|(part, limit)| check_length(part, "source", limit))
    }

    /// Neither side of a pair must be longer than its `max_length`, and a target must have a source that the model is asked for.
    ///
    /// # Errors
    /// An input error without a place.
    pub fn check_pair(&self, source: &EncodedSource, target: &Encoded) -> Result<()> {
        self.check_source(source)?;
        check_length(target, "target", self.longest_target())?;
        match !self.is_asked_for(&source.own.ids) && !target.ids.is_empty() {
            true => Err(Error::input("a target must have a source, but it is empty")),
            false => Ok(()),
        }
    }
}

fn check_length(side: &Encoded, name: &str, limit: usize) -> Result<()> {
    let length = side.ids.len();
    if length <= limit {
        return Ok(());
    }
    let message =
        format!("a {name} may have {limit} tokens (`data.{name}.max_length`), but this row's has {length}");
    Err(Error::input(message))
}
