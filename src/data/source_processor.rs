//! What turns a source of the data into what a network reads: a tokenizer for texts, features for recordings.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::audio::augment::OWN_SPEED;
use super::audio::listing::path_in;
use super::audio::processor::{AudioProcessor, Extent, Segment, is_npy};
use super::audio::{Frames, Recording};
use super::source::SourceShape;
use super::tokenizer::{Changes, Tokenizer};
use crate::error::{Error, Result};

/// One of the two kinds of sources.
#[derive(Clone, Debug)]
pub enum SourceProcessor {
    /// Texts.
    Text(Tokenizer),
    /// Recordings.
    Audio(Box<AudioProcessor>),
}

/// A source as an input names it: a text, or a recording.
#[derive(Clone, Copy, Debug)]
pub struct SourceRef<'a> {
    /// The text, or the recording's path.
    pub text: &'a str,
    /// The part of a recording.
    pub segment: Segment,
    /// The file that names it, to whose folder a path is relative.
    pub named_by: Option<&'a Path>,
    /// The samples of a recording, if they are in memory; then there is nothing to read.
    pub recording: Option<&'a Recording>,
}

impl<'a> From<&'a str> for SourceRef<'a> {
    fn from(text: &'a str) -> SourceRef<'a> {
        SourceRef { text, segment: [None; 2], named_by: None, recording: None }
    }
}

impl SourceRef<'_> {
    /// Where the recording is.
    pub(crate) fn path(&self) -> PathBuf {
        self.named_by.map_or_else(|| self.text.into(), |file| path_in(file, self.text))
    }

    /// How long the recording is.
    ///
    /// # Errors
    /// Those of [`AudioProcessor::extent`]; there is no path.
    pub(crate) fn extent(&self, processor: &AudioProcessor) -> Result<Extent> {
        match self.recording {
            Some(recording) => Ok(Extent::Samples(recording.length())),
            None if self.text.trim().is_empty() => {
                Err(Error::input("a source must be the path of a recording, but it is empty"))
            }
            None => processor.extent(&self.path(), self.segment),
        }
    }

    /// The features of the recording before normalization, or of its first seconds; the features of a file are whole. (T, F)
    ///
    /// # Errors
    /// Those of [`AudioProcessor::features`].
    pub(crate) fn features(&self, processor: &AudioProcessor, first_seconds: Option<f64>) -> Result<Frames> {
        if let Some(recording) = self.recording {
            let most = first_seconds.map_or(f64::INFINITY, |most| most * f64::from(recording.sample_rate));
            // Casts saturate.
            return processor.log_mel(recording.part(0..recording.samples.len().min(most as usize)));
        }
        let (path, [start, end]) = (self.path(), self.segment);
        let first_seconds = first_seconds.filter(|_| !is_npy(&path));
        let end = first_seconds.map(|most| start.unwrap_or(0.0) + most).or(end);
        processor.features(&path, [start, end], OWN_SPEED)
    }
}

impl SourceProcessor {
    /// What comes out of a checkpoint.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn from_json(value: &Value) -> Result<SourceProcessor> {
        match value.get("audio") {
            Some(audio) => Ok(SourceProcessor::Audio(AudioProcessor::from_json(audio)?.into())),
            None => Ok(SourceProcessor::Text(Tokenizer::from_json(value)?)),
        }
    }

    /// What goes into a checkpoint.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            SourceProcessor::Text(tokenizer) => tokenizer.to_json(),
            SourceProcessor::Audio(processor) => json!({ "audio": processor.to_json() }),
        }
    }

    /// What the network's sources are made of.
    pub fn shape(&self) -> SourceShape {
        match self {
            SourceProcessor::Text(tokenizer) => match tokenizer.part_shapes() {
                Some(parts) => SourceShape::Parts(parts.into()),
                None => SourceShape::Tokens(tokenizer.vocabulary_size()),
            },
            SourceProcessor::Audio(processor) => SourceShape::Frames(processor.bins()),
        }
    }

    /// What a person calls it: `11 characters`, `80 log-mel bins at 16000 Hz`.
    pub(crate) fn described(&self) -> String {
        match self {
            SourceProcessor::Text(tokenizer) => {
                format!("{} {}", tokenizer.vocabulary_size(), tokenizer.kind())
            }
            SourceProcessor::Audio(processor) => {
                format!("{} log-mel bins at {} Hz", processor.bins(), processor.sample_rate())
            }
        }
    }

    /// The tokenizer of texts.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            SourceProcessor::Text(tokenizer) => Some(tokenizer),
            SourceProcessor::Audio(_) => None,
        }
    }

    /// The features of recordings.
    pub(crate) fn audio(&self) -> Option<&AudioProcessor> {
        match self {
            SourceProcessor::Text(_) => None,
            SourceProcessor::Audio(processor) => Some(processor),
        }
    }

    /// What reading changes in a text.
    pub(crate) fn changes(&self, text: &str) -> Changes {
        self.tokenizer().map_or(Changes::default(), |tokenizer| tokenizer.changes(text))
    }

    /// What differs between two of them, if anything does: a name, and the value of each.
    pub(crate) fn difference(&self, other: &SourceProcessor) -> Option<(String, [String; 2])> {
        match (self, other) {
            (SourceProcessor::Text(one), SourceProcessor::Text(other)) => one.difference(other),
            (SourceProcessor::Audio(one), SourceProcessor::Audio(other)) => {
                let values = [one, other].map(|processor| processor.to_json().to_string());
                one.difference(other).map(|name| (name.to_owned(), values))
            }
            (one, other) => Some(("kind".to_owned(), [one, other].map(SourceProcessor::described))),
        }
    }
}
