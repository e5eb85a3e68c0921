//! From texts to decode requests: sources as each model tokenizes them, forced prefixes, and the allowed tokens.

use std::sync::Arc;

use super::loaded_model::LoadedModel;
use crate::data::audio::Frames;
use crate::data::audio::augment::OWN_SPEED;
use crate::data::audio::processor::AudioProcessor;
use crate::data::readers::shorten;
use crate::data::source::{SourceItem, subsampled};
use crate::data::source_processor::{SourceProcessor, SourceRef};
use crate::data::tokenizer::Tokenizer;
use crate::decoding::constraints::forced_prefix::ForcedPrefix;
use crate::decoding::incremental_decoder::{DecodeRequest, IncrementalDecoder};
use crate::error::{Error, Result, counted};
use crate::runtime::threads;

/// What to do with a source that has more tokens than `data.source.max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// Report an error with this hint.
    Refuse(&'static str),
    /// Truncate it.
    Truncate,
}

/// A request, and details of its text.
#[derive(Clone, Debug, Default)]
pub struct EncodedRequest {
    /// The request.
    pub decode: DecodeRequest,
    /// Number of UNK tokens in the source.
    pub unknown: usize,
    /// The text of each source token, if `decoding.replace_unknown` needs it.
    pub texts: Vec<String>,
    /// Number of tokens before truncation; `None` if it was not truncated.
    pub length_before: Option<usize>,
}

impl LoadedModel {
    /// The request for a source, with a forced prefix and restricted by the shortlist.
    ///
    /// # Errors
    /// An input error without a place: those of [`LoadedModel::encode_source`]; the target's vocabulary lacks a symbol
    /// of the prefix, or the prefix is longer than the output of this source may be.
    pub fn encode_request<'s>(
        &self,
        source: impl Into<SourceRef<'s>>,
        prefix: &str,
        too_long: TooLong,
    ) -> Result<EncodedRequest> {
        self.with_prefix(self.encode_source(source, too_long)?, prefix)
    }

    /// The request with a forced prefix, restricted by the shortlist.
    ///
    /// # Errors
    /// An input error without a place: the target's vocabulary lacks a symbol of the prefix, or the prefix is longer than
    /// the output of this source may be.
    pub(crate) fn with_prefix(&self, mut request: EncodedRequest, prefix: &str) -> Result<EncodedRequest> {
        let prefix = self.forced_prefix(&request.decode, prefix)?;
        let ids = request.decode.source.tokens();
        request.decode.allowed = self.shortlist.as_ref().map(|list| list.allowed(ids, prefix.tokens()));
        request.decode.prefix = Arc::new(prefix);
        Ok(request)
    }

    /// The request for a source, without a prefix and without restrictions.
    ///
    /// # Errors
    /// An input error without a place: the source is too long for one of the models; a recording that cannot be read.
    pub(crate) fn encode_source<'s>(
        &self,
        source: impl Into<SourceRef<'s>>,
        too_long: TooLong,
    ) -> Result<EncodedRequest> {
        self.encode_sources(vec![Ok(source.into())], too_long).remove(0)
    }

    /// Those of many sources, in order; recordings are read on all threads. An error in place of a source stays.
    pub fn encode_sources(
        &self,
        sources: Vec<Result<SourceRef>>,
        too_long: TooLong,
    ) -> Vec<Result<EncodedRequest>> {
        match &self.tokenizers.source {
            SourceProcessor::Text(tokenizer) => {
                let encode = |source: SourceRef| self.encode_text(tokenizer, source.text, too_long);
                sources.into_iter().map(|source| source.and_then(encode)).collect()
            }
            SourceProcessor::Audio(_) => {
                let members = self.members().take(if self.tokenizes_alike() { 1 } else { usize::MAX });
                let processors: Vec<_> =
                    members.filter_map(|member| member.tokenizers.source.audio()).collect();
                let read = threads::each(sources, |source| {
                    source.and_then(|source| items_of(&processors, &source, too_long))
                });
                read.into_iter().map(|read| read.map(|read| self.request_of(read))).collect()
            }
        }
    }

    /// The request of a recording.
    fn request_of(&self, (items, length_before): (Vec<SourceItem>, Option<usize>)) -> EncodedRequest {
        let mut items = items.into_iter();
        let own = items.next().unwrap_or_default();
        let decode = DecodeRequest {
            other_sources: items.collect(),
            ..self.options.request(own, self.decoder().max_length())
        };
        EncodedRequest { decode, length_before, ..EncodedRequest::default() }
    }

    /// Checks that the target's vocabulary can spell a prefix.
    ///
    /// # Errors
    /// An input error without a place: it cannot.
    pub(crate) fn check_prefix(&self, prefix: &str) -> Result<()> {
        let request = self.options.request(SourceItem::default(), self.decoder().max_length());
        self.forced_prefix(&request, prefix).map(drop)
    }

    fn encode_text(&self, tokenizer: &Tokenizer, text: &str, too_long: TooLong) -> Result<EncodedRequest> {
        tokenizer.check_columns(text)?;
        let others = self.others.iter().filter(|_| !self.tokenizes_alike());
        let others = others.filter_map(|other| other.tokenizers.source.tokenizer());
        let tokenizers: Vec<&Tokenizer> = std::iter::once(tokenizer).chain(others).collect();
        let mut all: Vec<Vec<i64>> = tokenizers.iter().map(|tokenizer| tokenizer.encode(text)).collect();
        let length = all[0].len();
        let mut is_cut = false;
        for (ids, limit) in all.iter_mut().zip(self.source_limits()) {
            match too_long {
                TooLong::Refuse(hint) => {
                    check_length(ids, "source", limit).map_err(|error| error.hint(hint))?
                }
                TooLong::Truncate => {
                    is_cut |= ids.len() > limit;
                    ids.truncate(limit);
                }
            }
        }
        let texts = match self.experiment.decoding.replace_unknown {
            true => tokenizer.split(text),
            false => Vec::new(),
        };
        let mut all = all.into_iter();
        let own = all.next().unwrap_or_default();
        let unknown = tokenizer.count_unknown(&own);
        let decode = DecodeRequest {
            other_sources: all.map(SourceItem::from).collect(),
            ..self.options.request(own, self.decoder().max_length())
        };
        Ok(EncodedRequest { decode, unknown, texts, length_before: is_cut.then_some(length) })
    }

    /// The forced prefix for this text.
    fn forced_prefix(&self, request: &DecodeRequest, text: &str) -> Result<ForcedPrefix> {
        let target = &self.tokenizers.target;
        let Some(prefix) = self.options.texts.forced_prefix(&target.normalized(text)) else {
            let unknown = target.count_unknown(&target.encode(text));
            let message = format!(
                "a prefix must consist of symbols of the target's vocabulary, but it lacks {unknown} of `{}`",
                shorten(text)
            );
            return Err(Error::input(message));
        };
        let (length, limit) = (prefix.min_tokens(), request.max_length);
        if length <= limit || !self.is_requested(&request.source) {
            return Ok(prefix);
        }
        let message = format!(
            "a prefix must not be longer than its output, which may have {}, but it has {length}",
            counted(limit, "token")
        );
        Err(Error::input(message).hint(match self.decoder().max_length() {
            Some(longest) if longest <= limit => {
                "the model has no more positions (`model.transformer.max_positions`)"
            }
            _ => "allow more with --set decoding.max_length=N",
        }))
    }

    /// Checks that a target is not longer than `data.target.max_length` and has a source that is decoded.
    ///
    /// # Errors
    /// An input error without a place.
    pub(crate) fn check_target(&self, source: &SourceItem, target: &[i64]) -> Result<()> {
        check_length(target, "target", self.max_target_length())?;
        match !self.is_requested(source) && !target.is_empty() {
            true => Err(Error::input("a target must have a source, but it is empty")),
            false => Ok(()),
        }
    }
}

/// What is read of a recording behind the longest, in seconds: its last frames need what follows them.
const MARGIN: f64 = 1.0;

/// The normalized features of a recording for each model, and its positions before truncation.
fn items_of(
    processors: &[&AudioProcessor],
    source: &SourceRef,
    too_long: TooLong,
) -> Result<(Vec<SourceItem>, Option<usize>)> {
    let (mut items, mut length_before) = (Vec::new(), None);
    for processor in processors {
        let (frames, before) = frames_of(processor, source, too_long)?;
        length_before = length_before.or(before);
        items.push(processor.item(frames)?);
    }
    Ok((items, length_before))
}

/// The frames of a recording that a model may read, and its positions before truncation. One that is too long is not read.
fn frames_of(
    processor: &AudioProcessor,
    source: &SourceRef,
    too_long: TooLong,
) -> Result<(Frames, Option<usize>)> {
    let extent = source.extent(processor)?;
    let (seconds, most) = (processor.seconds(extent), processor.max_seconds());
    if seconds <= most {
        return Ok((source.features(processor, None)?, None));
    }
    let TooLong::Truncate = too_long else { return Err(too_long_to_hear(seconds, most)) };
    let mut frames = source.features(processor, Some(most + MARGIN).filter(|most| *most < seconds))?;
    frames.truncate((most / processor.seconds_per_frame()) as usize);
    Ok((frames, Some(subsampled(processor.frames(extent, OWN_SPEED)))))
}

fn too_long_to_hear(seconds: f64, most: f64) -> Error {
    let message = format!(
        "a recording may last {most} s (`data.source.audio.max_seconds` in training), but this one lasts {seconds:.1}"
    );
    Error::input(message).hint(
        "`decode --split` cuts it at silences; --truncate of decode, score, verify, evaluate and interactive reads only \
         its beginning",
    )
}

fn check_length(ids: &[i64], name: &str, limit: usize) -> Result<()> {
    let length = ids.len();
    if length <= limit {
        return Ok(());
    }
    let message = format!(
        "a {name} may have {} (`data.{name}.max_length`), but this row's has {length}",
        counted(limit, "token")
    );
    Err(Error::input(message))
}
