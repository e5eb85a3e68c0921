//! From texts to what a search is asked: sources as each model cuts them, what an output begins with, what it may say.

use std::sync::Arc;

use super::loaded_model::LoadedModel;
use crate::data::readers::shorten;
use crate::data::tokenizer::Encoded;
use crate::data::vocabulary::UNK;
use crate::decoding::constraints::forced_prefix::ForcedPrefix;
use crate::decoding::incremental_decoder::{IncrementalDecoder, OwnedSource};
use crate::decoding::request::DecodeRequest;
use crate::error::{Error, Result, counted};

/// A source in the tokens of all models that choose together.
#[derive(Clone, Debug, Default)]
pub struct EncodedSource {
    /// Those of the first.
    pub own: Encoded,
    /// Those of each other; empty where all of them cut sources alike.
    others: Vec<Encoded>,
    /// What each of the first's tokens is in the text, where `decoding.replace_unknown` asks for it.
    texts: Vec<String>,
}

impl EncodedSource {
    /// As a model reads it.
    pub fn into_source(self) -> OwnedSource {
        let others = self.others.into_iter().map(|other| other.ids).collect();
        OwnedSource { ids: self.own.ids, others, allowed: None }
    }

    fn parts(&self) -> impl Iterator<Item = &Encoded> {
        std::iter::once(&self.own).chain(&self.others)
    }
}

/// What the models are asked for.
#[derive(Clone, Debug, Default)]
pub struct EncodedRequest {
    /// What they read.
    pub reading: OwnedSource,
    /// How many of its tokens are UNK.
    pub unknown: usize,
    /// What each of its tokens is in the text; empty where nobody asks.
    pub texts: Vec<String>,
    /// How the output begins.
    pub opening: Arc<ForcedPrefix>,
}

impl EncodedRequest {
    /// The same to a search.
    pub fn request(&self) -> DecodeRequest<'_> {
        DecodeRequest { source: self.reading.source(), prefix: Some(&self.opening) }
    }
}

impl LoadedModel {
    /// Cuts a source into tokens.
    pub fn encode_source(&self, text: &str) -> EncodedSource {
        let others = match self.tokenizes_alike() {
            true => Vec::new(),
            false => self.others.iter().map(|other| other.tokenizers.source.encode(text)).collect(),
        };
        let texts = match self.experiment.decoding.replace_unknown {
            true => self.tokenizers.source.split(text),
            false => Vec::new(),
        };
        EncodedSource { own: self.tokenizers.source.encode(text), others, texts }
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
    /// Those of [`LoadedModel::forced_prefix`].
    pub fn encode_request(&self, mut source: EncodedSource, prefix: &str) -> Result<EncodedRequest> {
        let opening = Arc::new(self.forced_prefix(&source.own, prefix)?);
        let (unknown, texts) = (source.own.unknown, std::mem::take(&mut source.texts));
        let allowed = self.shortlist.as_ref().map(|list| list.allowed(&source.own.ids, opening.tokens()));
        Ok(EncodedRequest {
            reading: OwnedSource { allowed, ..source.into_source() },
            unknown,
            texts,
            opening,
        })
    }

    /// All ways to begin the output of a source with this text.
    ///
    /// # Errors
    /// An input error without a place: the target's vocabulary lacks a symbol of it, or it is longer than the output of this
    /// source may be.
    pub fn forced_prefix(&self, source: &Encoded, text: &str) -> Result<ForcedPrefix> {
        let target = &self.tokenizers.target;
        let Some(opening) = self.options.texts.forced_prefix(&target.normalized(text)) else {
            let unknown = target.encode(text).unknown;
            let message = format!(
                "a prefix must be spelled with the target's vocabulary, but it lacks {unknown} symbols of `{}`",
                shorten(text)
            );
            return Err(Error::input(message));
        };
        let length = opening.min_tokens();
        if length == 0 || !self.is_requested(&source.ids) {
            return Ok(opening);
        }
        let limit = self.options.length_limits.of(source.ids.len(), self.decoder().max_length());
        if length > limit {
            let limit_said = counted(limit, "token");
            let message = format!(
                "a prefix must not be longer than its output, which may have {limit_said}, but it has {length}"
            );
            return Err(Error::input(message).hint(match self.decoder().max_length() {
                Some(longest) if longest <= limit => {
                    "the model has no more positions (`model.transformer.max_positions`)"
                }
                _ => "allow more with --set decoding.max_length=N",
            }));
        }
        Ok(opening)
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
        check_length(target, "target", self.max_target_length())?;
        match !self.is_requested(&source.own.ids) && !target.ids.is_empty() {
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
    let message = format!(
        "a {name} may have {} (`data.{name}.max_length`), but this row's has {length}",
        counted(limit, "token")
    );
    Err(Error::input(message))
}
