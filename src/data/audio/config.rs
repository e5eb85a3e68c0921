//! `[data.source.audio]`: how sources that are recordings become frames of features.

use serde::{Deserialize, Serialize};

use super::augment::AugmentConfig;
use super::fbank::{FbankConfig, default_bins};
use super::normalize::Normalization;
use crate::error::ConfigError;

/// `[data.source.audio]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioConfig {
    /// Over what each bin of the features is normalized: `corpus`, `recording` or `none`.
    pub normalize: Normalization,
    /// Take the mean of a recording's channels; otherwise more than one is an error.
    pub mix_down: bool,
    /// The longest recording, in seconds.
    pub max_seconds: f64,
    /// The column in which the part of a recording starts, in seconds; where a table has none, recordings are whole.
    pub start_column: String,
    /// The column in which the part of a recording ends, in seconds.
    pub end_column: String,
    /// The features.
    pub fbank: FbankConfig,
    /// How training varies recordings.
    pub augment: AugmentConfig,
}

impl Default for AudioConfig {
    fn default() -> AudioConfig {
        AudioConfig {
            normalize: Normalization::Corpus,
            mix_down: false,
            max_seconds: 40.0,
            start_column: "start".to_owned(),
            end_column: "end".to_owned(),
            fbank: FbankConfig::default(),
            augment: AugmentConfig::default(),
        }
    }
}

/// Above it speech has nothing that is worth its cost, in Hz.
pub(super) const USUAL_RATE: u32 = 16_000;

impl AudioConfig {
    /// The rules among these keys.
    ///
    /// # Errors
    /// A value is out of range.
    pub(crate) fn check(&self, table: &str) -> Result<(), ConfigError> {
        let seconds = [("max_seconds", self.max_seconds)];
        ConfigError::check_float(table, "above 0 and at most 86400", |x| x > 0.0 && x <= 86_400.0, &seconds)?;
        self.resolved(USUAL_RATE).check(&format!("{table}.fbank"))?;
        self.augment.check(&format!("{table}.augment"))
    }

    /// Positions that the encoder makes of the longest recording, at the slowest speed of the augmentation.
    pub(crate) fn max_positions(&self) -> usize {
        let slowest = self.augment.speeds.iter().copied().fold(1.0, f64::min);
        (self.max_seconds / slowest * 1000.0 / self.fbank.shift_ms / 4.0).ceil() as usize
    }

    /// The features for training recordings whose first one has this sample rate: with the values that are 0 in the file.
    pub(crate) fn resolved(&self, first_rate: u32) -> FbankConfig {
        let mut fbank = self.fbank.clone();
        if fbank.sample_rate == 0 {
            fbank.sample_rate = first_rate.min(USUAL_RATE);
        }
        if fbank.bins == 0 {
            fbank.bins = default_bins(fbank.sample_rate);
        }
        fbank
    }
}
