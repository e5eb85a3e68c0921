//! Normalization of features: each bin gets mean 0 and standard deviation 1, over the corpus or over its recording.
//!
//! SpecAugment's zeros are the mean only behind this. The corpus's statistics belong to the model and are saved with
//! it.

use serde::{Deserialize, Serialize};

use super::Frames;
use crate::error::{Error, Result};

/// Over what mean and standard deviation are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// The training recordings. The statistics are saved with the model.
    #[default]
    Corpus,
    /// The recording itself.
    Recording,
    /// Features stay as they are.
    None,
}

/// Mean and standard deviation of each bin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeatureStats {
    /// The means, F values.
    pub mean: Vec<f32>,
    /// The standard deviations, F values.
    pub std: Vec<f32>,
}

/// Takes the statistics of many recordings. Sums are in f64 and in the order of the calls: the same order gives the
/// same bits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StatsAccumulator {
    frames: u64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

/// Normalizes the features of recordings.
#[derive(Clone, Debug)]
pub(crate) struct Normalizer {
    normalization: Normalization,
    stats: Option<FeatureStats>,
}

/// A bin that varies less carries nothing: dividing by less would only make noise of it. In log-mel units.
const LEAST_STD: f64 = 0.1;

impl StatsAccumulator {
    /// No frame of `bins` bins.
    pub(crate) fn new(bins: usize) -> Self {
        StatsAccumulator { frames: 0, sums: vec![0.0; bins], squares: vec![0.0; bins] }
    }

    /// Adds all frames of one recording.
    ///
    /// # Panics
    /// The frames have other bins.
    pub(crate) fn add(&mut self, frames: &Frames) {
        assert_eq!(frames.bins(), self.sums.len(), "the bins of the frames and of the statistics");
        self.frames += frames.len() as u64;
        for row in frames.rows() {
            for ((value, sum), square) in row.iter().zip(&mut self.sums).zip(&mut self.squares) {
                let value = f64::from(*value);
                *sum += value;
                *square += value * value;
            }
        }
    }

    /// Adds what another has taken, as recordings behind one's own.
    ///
    /// # Panics
    /// The other has other bins.
    pub(crate) fn merge(&mut self, other: &StatsAccumulator) {
        assert_eq!(other.sums.len(), self.sums.len(), "the bins of the statistics");
        self.frames += other.frames;
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
        self.squares.iter_mut().zip(&other.squares).for_each(|(square, other)| *square += other);
    }

    /// The statistics.
    ///
    /// # Errors
    /// There is no frame.
    pub(crate) fn finish(&self) -> Result<FeatureStats> {
        if self.frames == 0 {
            return Err(Error::input("the statistics of features need at least 1 frame, but there is none"));
        }
        let frames = self.frames as f64;
        let mean = self.sums.iter().map(|sum| sum / frames);
        let std = mean.clone().zip(&self.squares).map(|(mean, squares)| {
            let variance = (squares / frames - mean * mean).max(0.0);
            variance.sqrt().max(LEAST_STD) as f32
        });
        Ok(FeatureStats { std: std.collect(), mean: mean.map(|mean| mean as f32).collect() })
    }
}

impl FeatureStats {
    /// The statistics of one recording.
    ///
    /// # Errors
    /// It has no frame.
    pub(crate) fn of(frames: &Frames) -> Result<FeatureStats> {
        let mut accumulator = StatsAccumulator::new(frames.bins());
        accumulator.add(frames);
        accumulator.finish()
    }

    fn check(&self, bins: usize) -> Result<()> {
        let (means, stds) = (self.mean.len(), self.std.len());
        if means != bins || stds != bins {
            let message = format!(
                "the statistics must have {bins} means and standard deviations, but they have {means} and {stds}"
            );
            return Err(Error::input(message));
        }
        let valid = self.mean.iter().all(|mean| mean.is_finite())
            && self.std.iter().all(|std| std.is_normal() && *std > 0.0);
        match valid {
            true => Ok(()),
            false => {
                Err(Error::input("means must be finite and standard deviations above 0, but some are not"))
            }
        }
    }

    fn apply(&self, frames: &mut Frames) {
        for row in frames.rows_mut() {
            for ((value, mean), std) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                *value = (*value - mean) / std;
            }
        }
    }
}

impl Normalizer {
    /// Normalizes frames of `bins` bins; `stats` are the corpus's.
    ///
    /// # Errors
    /// `stats` are missing for [`Normalization::Corpus`], or do not fit.
    pub(crate) fn new(
        normalization: Normalization,
        bins: usize,
        stats: Option<FeatureStats>,
    ) -> Result<Self> {
        match &stats {
            Some(stats) => stats.check(bins)?,
            None if normalization == Normalization::Corpus => {
                return Err(Error::input(
                    "normalization over the corpus needs its statistics, but there are none",
                ));
            }
            None => {}
        }
        Ok(Normalizer { normalization, stats })
    }

    /// Normalizes the features of one recording, each frame in place.
    ///
    /// # Errors
    /// There is no frame.
    pub(crate) fn apply(&self, frames: &mut Frames) -> Result<()> {
        match (self.normalization, &self.stats) {
            (Normalization::Corpus, Some(stats)) => stats.apply(frames),
            (Normalization::Recording, _) => FeatureStats::of(frames)?.apply(frames),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(rows: &[[f32; 2]]) -> Frames {
        Frames::new(2, rows.concat()).unwrap()
    }

    #[test]
    fn corpus_statistics_are_over_all_frames() {
        let mut accumulator = StatsAccumulator::new(2);
        accumulator.add(&frames(&[[1.0, -2.0], [3.0, -2.0]]));
        let mut other = StatsAccumulator::new(2);
        other.add(&frames(&[[5.0, -2.0]]));
        accumulator.merge(&other);
        let stats = accumulator.finish().unwrap();
        assert_eq!(stats.mean, [3.0, -2.0]);
        // The second bin does not vary.
        assert_eq!(stats.std, [(8.0_f32 / 3.0).sqrt(), 0.1]);
        let mut normalized = frames(&[[3.0, -2.0], [5.0, -1.0]]);
        let corpus = Normalizer::new(Normalization::Corpus, 2, Some(stats)).unwrap();
        corpus.apply(&mut normalized).unwrap();
        assert_eq!(normalized, frames(&[[0.0, 0.0], [2.0 / (8.0_f32 / 3.0).sqrt(), 10.0]]));
    }

    #[test]
    fn a_recording_is_normalized_by_its_own_statistics() {
        let mut normalized = frames(&[[1.0, 4.0], [3.0, 8.0]]);
        let recording = Normalizer::new(Normalization::Recording, 2, None).unwrap();
        recording.apply(&mut normalized).unwrap();
        assert_eq!(normalized, frames(&[[-1.0, -1.0], [1.0, 1.0]]));
        let none = Normalizer::new(Normalization::None, 2, None).unwrap();
        none.apply(&mut normalized).unwrap();
        assert_eq!(normalized, frames(&[[-1.0, -1.0], [1.0, 1.0]]));
    }

    #[test]
    fn mismatched_statistics_are_refused() {
        let new = |stats| Normalizer::new(Normalization::Corpus, 2, stats).unwrap_err().message().to_owned();
        assert_eq!(new(None), "normalization over the corpus needs its statistics, but there are none");
        let stats = |mean: &[f32], std: &[f32]| Some(FeatureStats { mean: mean.to_vec(), std: std.to_vec() });
        let must = "the statistics must have 2 means and standard deviations, but they have 2 and 1";
        assert_eq!(new(stats(&[0.0, 0.0], &[1.0])), must);
        let must = "means must be finite and standard deviations above 0, but some are not";
        assert_eq!(new(stats(&[0.0, 0.0], &[1.0, 0.0])), must);
        assert_eq!(new(stats(&[0.0, f32::NAN], &[1.0, 1.0])), must);
        assert!(StatsAccumulator::new(2).finish().is_err());
        assert!(FeatureStats::of(&frames(&[])).is_err());
    }
}
