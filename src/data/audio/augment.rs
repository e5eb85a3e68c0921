//! Augmentation: training sees each recording a little different each time.
//!
//! Speed perturbation by resampling (Ko et al. 2015) on the samples; a warp of the frequency axis after VTLP (Jaitly and Hinton
//! 2013), a random filter and noise on the log-mel features; the masks of SpecAugment (Park et al. 2019) on the normalized
//! features, where 0 is the mean.
//! All randomness comes from the caller's seed; each kind has its own random stream.

mod channel;
mod config;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) use config::AugmentConfig;

use super::resample::resample_by;
use super::{Frames, Recording};
use crate::error::{Error, Result};

/// Augments recordings and their features by one config.
#[derive(Clone, Debug)]
pub(crate) struct Augmenter {
    config: AugmentConfig,
    /// All speeds in thousandths, a recording's own first.
    speeds: Vec<u32>,
    /// Places of those that are drawn.
    drawn: Vec<usize>,
}

/// What a stream of random numbers is for.
#[derive(Clone, Copy)]
enum Stream {
    Speed,
    Warp,
    FrequencyMasks,
    TimeMasks,
    Filter,
    Noise,
}

/// A recording's own speed, in thousandths.
pub(crate) const OWN_SPEED: u32 = 1000;

/// Below this share of the bins the warp is proportional; above, it returns to the last bin.
const WARP_KNEE: f64 = 0.8;

impl Augmenter {
    /// Augments by `config`.
    ///
    /// # Errors
    /// A value is out of range.
    pub(crate) fn new(config: &AugmentConfig) -> Result<Self> {
        config.check("augment").map_err(|problem| Error::input(problem.message))?;
        let named: Vec<u32> = config.speeds.iter().filter_map(|speed| config::thousandths(*speed)).collect();
        let mut speeds = vec![OWN_SPEED];
        speeds.extend(named.iter().filter(|speed| **speed != OWN_SPEED));
        speeds.dedup();
        let place = |speed: &u32| speeds.iter().position(|known| known == speed);
        let drawn = match named.is_empty() {
            true => vec![0],
            false => named.iter().filter_map(place).collect(),
        };
        Ok(Augmenter { config: config.clone(), speeds, drawn })
    }

    /// The speeds that features are needed at, in thousandths, a recording's own first.
    pub(crate) fn speeds(&self) -> &[u32] {
        &self.speeds
    }

    /// The place of a speed among [`Augmenter::speeds`].
    pub(crate) fn speed(&self, seed: u64) -> usize {
        self.drawn[rng(seed, Stream::Speed).random_range(0..self.drawn.len())]
    }

    /// A recording at a speed in thousandths. Pitch moves with it; the sample rate stays.
    ///
    /// # Errors
    /// There is not enough memory.
    pub(crate) fn at_speed(recording: Recording, speed: u32) -> Result<Recording> {
        match speed {
            OWN_SPEED => Ok(recording),
            speed => {
                Ok(Recording { samples: resample_by(&recording.samples, OWN_SPEED, speed)?, ..recording })
            }
        }
    }

    /// Log-mel features, before normalization, of another throat, through another microphone, in another room.
    pub(crate) fn distort(&self, frames: &mut Frames, seed: u64) {
        let AugmentConfig { warp, filter_db, noise_snr_db, .. } = &self.config;
        if *warp > 0.0 {
            let factor = 1.0 + rng(seed, Stream::Warp).random_range(-warp..=*warp);
            warp_bins(frames, factor);
        }
        if *filter_db > 0.0 {
            channel::filter(frames, *filter_db, &mut rng(seed, Stream::Filter));
        }
        if let [least, most] = noise_snr_db[..] {
            let mut rng = rng(seed, Stream::Noise);
            let ratio = rng.random_range(least..=most);
            channel::add_noise(frames, ratio, &mut rng);
        }
    }

    /// Sets masks of bins and of frames to 0, behind normalization.
    pub(crate) fn mask(&self, frames: &mut Frames, seed: u64) {
        let (length, bins) = (frames.len(), frames.bins());
        let mut frequency = rng(seed, Stream::FrequencyMasks);
        for _ in 0..self.config.frequency_masks {
            let mask = mask(bins, self.config.frequency_mask_bins, &mut frequency);
            frames.rows_mut().for_each(|row| row[mask.clone()].fill(0.0));
        }
        let mut time = rng(seed, Stream::TimeMasks);
        let widest = (self.config.time_mask_share * length as f64) as usize;
        for _ in 0..self.config.time_masks {
            let mask = mask(length, widest, &mut time);
            frames.data_mut()[mask.start * bins..mask.end * bins].fill(0.0);
        }
    }
}

fn rng(seed: u64, stream: Stream) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream as u64);
    rng
}

/// A mask of 0 to `widest` places, anywhere in `0..length`. One place at least stays.
fn mask(length: usize, widest: usize, rng: &mut impl Rng) -> Range<usize> {
    let width = rng.random_range(0..=widest.min(length.saturating_sub(1)));
    let start = rng.random_range(0..=length - width);
    start..start + width
}

/// Each bin gets the value at `factor` times its place, between two bins by linear interpolation.
fn warp_bins(frames: &mut Frames, factor: f64) {
    let last = (frames.bins() - 1) as f64;
    let knee = WARP_KNEE * last / factor.max(1.0);
    let place = |bin: usize| match bin as f64 {
        bin if bin <= knee => factor * bin,
        bin => last - (last - bin) * (last - factor * knee) / (last - knee),
    };
    let places: Vec<f64> = (0..frames.bins()).map(place).collect();
    let mut old = vec![0.0; frames.bins()];
    for row in frames.rows_mut() {
        old.copy_from_slice(row);
        for (value, place) in row.iter_mut().zip(&places) {
            let below = place.floor() as usize;
            let (share, above) = (place.fract() as f32, (below + 1).min(old.len() - 1));
            *value = old[below] + share * (old[above] - old[below]);
        }
    }
}
