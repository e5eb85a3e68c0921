//! From a recording to what a network reads, as the model file records it: features in use are those of training.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::augment::{Augmenter, OWN_SPEED};
use super::config::{AudioConfig, USUAL_RATE};
use super::fbank::{Fbank, FbankConfig};
use super::normalize::{FeatureStats, Normalization, Normalizer};
use super::npy::{read_npy, read_npy_shape};
use super::recording::{Length, ReadOptions, read_length, read_recording, read_sample_rate};
use super::resample::{resample, resampled_length};
use super::{Frames, Recording};
use crate::data::source::{self, SourceItem};
use crate::error::{Error, Result};

/// The features' definition in a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    fbank: FbankConfig,
    normalize: Normalization,
    mix_down: bool,
    max_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<FeatureStats>,
}

/// Makes features of recordings; threads may share it.
#[derive(Clone)]
pub struct AudioProcessor {
    definition: Definition,
    fbank: Fbank,
}

impl std::fmt::Debug for AudioProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.definition.fmt(f)
    }
}

/// The longest recording that is read at all, in seconds: 2 hours have half a gigabyte of samples.
const LONGEST_READ: f64 = 7200.0;

/// A part of a recording, in seconds: its start and its end.
pub(crate) type Segment = [Option<f64>; 2];

/// How long a source is, before its features are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// A recording.
    Samples(Length),
    /// Features of one's own, which have no other speed.
    Frames(usize),
}

impl AudioProcessor {
    /// The features of a config, for recordings whose first one has this sample rate.
    ///
    /// # Errors
    /// Filters that cover nothing.
    pub fn new(config: &AudioConfig, first_rate: u32) -> Result<AudioProcessor> {
        AudioProcessor::of(Definition {
            fbank: config.resolved(first_rate),
            normalize: config.normalize,
            mix_down: config.mix_down,
            max_seconds: config.max_seconds,
            stats: None,
        })
    }

    /// The features of a config for recordings of which this is the first.
    ///
    /// # Errors
    /// It cannot be read; filters that cover nothing.
    pub(crate) fn of_first(config: &AudioConfig, path: &Path) -> Result<AudioProcessor> {
        if !is_npy(path) {
            return AudioProcessor::new(config, read_sample_rate(path)?);
        }
        let mut config = config.clone();
        if config.fbank.bins == 0 {
            config.fbank.bins = read_npy_shape(path)?.1;
        }
        AudioProcessor::new(&config, USUAL_RATE)
    }

    fn of(definition: Definition) -> Result<AudioProcessor> {
        Ok(AudioProcessor { fbank: Fbank::new(&definition.fbank)?, definition })
    }

    /// What comes out of a checkpoint.
    ///
    /// # Errors
    /// It is damaged.
    pub(crate) fn from_json(value: &Value) -> Result<AudioProcessor> {
        let damaged = |error: serde_json::Error| Error::failure(format!("the features are damaged: {error}"));
        let definition: Definition = serde_json::from_value(value.clone()).map_err(damaged)?;
        let processor = AudioProcessor::of(definition)?;
        processor.normalizer()?;
        Ok(processor)
    }

    /// What goes into a checkpoint.
    pub(crate) fn to_json(&self) -> Value {
        json!(self.definition)
    }

    /// The same, normalized by the statistics of the training recordings.
    pub(crate) fn with_stats(self, stats: Option<FeatureStats>) -> AudioProcessor {
        AudioProcessor { definition: Definition { stats, ..self.definition }, ..self }
    }

    /// Whether it needs statistics that it has not got yet.
    pub(crate) fn needs_stats(&self) -> bool {
        self.definition.normalize == Normalization::Corpus && self.definition.stats.is_none()
    }

    /// What the features of a run are of, for the key of a cache: all but normalization.
    pub(crate) fn settings(&self) -> Vec<u8> {
        let Definition { fbank, mix_down, .. } = &self.definition;
        json!({ "fbank": fbank, "mix_down": mix_down }).to_string().into_bytes()
    }

    /// Numbers of a frame (F).
    pub fn bins(&self) -> usize {
        self.definition.fbank.bins
    }

    /// Samples in a second that the features are made of.
    pub(crate) fn sample_rate(&self) -> u32 {
        self.definition.fbank.sample_rate
    }

    /// Where a frequency lies among the bins: n at the peak of bin n, from 0.
    pub(crate) fn bin_at(&self, hertz: f64) -> f64 {
        self.fbank.bin_at(hertz)
    }

    /// Seconds from one frame to the next.
    pub(crate) fn seconds_per_frame(&self) -> f64 {
        self.definition.fbank.shift_ms / 1000.0
    }

    /// Seconds from one position of the encoder to the next: four frames.
    pub(crate) fn seconds_per_position(&self) -> f64 {
        4.0 * self.definition.fbank.shift_ms / 1000.0
    }

    /// The longest recording, in seconds.
    pub(crate) fn max_seconds(&self) -> f64 {
        self.definition.max_seconds
    }

    /// Reads a recording, or a part of it.
    ///
    /// # Errors
    /// Those of [`read_recording`].
    pub(crate) fn read(&self, path: &Path, segment: Segment) -> Result<Recording> {
        read_recording(path, &self.read_options(segment))
    }

    /// What is read and what is refused. What is longer than `max_seconds` is for the caller to refuse or to skip.
    pub(crate) fn read_options(&self, [start, end]: Segment) -> ReadOptions {
        let Definition { mix_down, max_seconds, .. } = self.definition;
        ReadOptions { start, end, mix_down, max_seconds: max_seconds.max(LONGEST_READ) }
    }

    /// The length of a source, by its header if it declares one.
    ///
    /// # Errors
    /// Those of [`read_length`] and [`read_npy_shape`].
    pub(crate) fn extent(&self, path: &Path, segment: Segment) -> Result<Extent> {
        match is_npy(path) {
            true => read_npy_shape(path).map(|(frames, _)| Extent::Frames(frames)),
            false => read_length(path, &self.read_options(segment)).map(Extent::Samples),
        }
    }

    /// The frames of a source at a speed in thousandths (T); 0 if it is then shorter than one.
    pub(crate) fn frames(&self, extent: Extent, speed: u32) -> usize {
        match extent {
            Extent::Frames(frames) => frames,
            Extent::Samples(Length { samples, sample_rate }) => {
                let samples = resampled_length(samples, OWN_SPEED, speed);
                let samples = resampled_length(samples, self.sample_rate(), sample_rate);
                let config = self.fbank.config();
                if samples < config.window_samples() { 0 } else { config.frames(samples) }
            }
        }
    }

    /// How long a source lasts, in seconds, to a frame.
    pub(crate) fn seconds(&self, extent: Extent) -> f64 {
        self.frames(extent, OWN_SPEED) as f64 * self.seconds_per_frame()
    }

    /// The features of a file before normalization: those of a recording, or those that a `.npy` file holds. (T, F)
    ///
    /// # Errors
    /// The file cannot be read; the recording is shorter than one frame; features of another width, or a part of them.
    pub(crate) fn features(&self, path: &Path, segment: Segment, speed: u32) -> Result<Frames> {
        if !is_npy(path) {
            let recording = Augmenter::at_speed(self.read(path, segment)?, speed)?;
            return self.log_mel(recording).map_err(|error| error.at(path.display()));
        }
        let frames = read_npy(path)?;
        let must = match segment {
            [None, None] if frames.bins() == self.bins() => return Ok(frames),
            [None, None] => {
                format!("features must have {} numbers per frame, but have {}", self.bins(), frames.bins())
            }
            _ => "a part of a recording needs its samples, but this file holds features".to_owned(),
        };
        Err(Error::input(must).at(path.display()))
    }

    /// Features before normalization: (T, F)
    ///
    /// # Errors
    /// The recording is shorter than one frame.
    pub(crate) fn log_mel(&self, recording: Recording) -> Result<Frames> {
        let config = self.fbank.config();
        let recording = resample(recording, config.sample_rate)?;
        let window = config.window_samples();
        if recording.samples.len() < window {
            let message = format!(
                "a recording must have at least {window} samples ({} ms at {} Hz), but it has {}",
                config.window_ms,
                config.sample_rate,
                recording.length_in_words()
            );
            return Err(Error::input(message));
        }
        Ok(self.fbank.compute(&recording.samples))
    }

    /// What normalizes features.
    ///
    /// # Errors
    /// Statistics that are missing, or do not fit.
    pub(crate) fn normalizer(&self) -> Result<Normalizer> {
        Normalizer::new(self.definition.normalize, self.bins(), self.definition.stats.clone())
    }

    /// What a network reads of features.
    ///
    /// # Errors
    /// Statistics that are missing.
    pub(crate) fn item(&self, mut frames: Frames) -> Result<SourceItem> {
        self.normalizer()?.apply(&mut frames)?;
        Ok(of_frames(frames))
    }

    /// Whether another one makes the same features, but for the numbers that normalize them.
    pub(crate) fn has_same_features(&self, other: &AudioProcessor) -> bool {
        let (one, other) = (&self.definition, &other.definition);
        one.fbank == other.fbank && one.normalize == other.normalize
    }

    /// Which of the values that define features differ between two models, if any.
    pub(crate) fn difference(&self, other: &AudioProcessor) -> Option<&'static str> {
        let (one, other) = (&self.definition, &other.definition);
        match () {
            () if one.fbank != other.fbank => Some("fbank"),
            () if (one.normalize, &one.stats) != (other.normalize, &other.stats) => Some("normalize"),
            () => None,
        }
    }
}

/// Whether a file holds features, by its name.
pub(crate) fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"))
}

/// The frames of a network's source.
pub(crate) fn of_frames(frames: Frames) -> SourceItem {
    let bins = frames.bins();
    SourceItem::Frames(source::Frames::new(frames.into_data(), bins))
}
