//! Another microphone and another room, on log-mel features: a random filter (FilterAugment, Nam et al. 2022) and noise.

use rand::Rng;

use crate::data::audio::Frames;

/// Bands of a random curve over the bins; their number is drawn, too.
const BANDS: std::ops::RangeInclusive<usize> = 2..=5;

/// The largest deviation of a noise's spectrum from white, in dB.
const NOISE_COLOUR: f64 = 10.0;

/// Multiplies each bin with a gain of at most `decibels` up or down. The gains are a curve over the bins.
pub(super) fn filter(frames: &mut Frames, decibels: f64, rng: &mut impl Rng) {
    let gains = curve(frames.bins(), decibels, rng);
    for row in frames.rows_mut() {
        row.iter_mut().zip(&gains).for_each(|(value, gain)| *value += *gain as f32);
    }
}

/// Adds noise of a random smooth spectrum, at a ratio of the recording's mean energy to that of the noise in dB. Energies
/// add, since speech and noise do not correlate.
pub(super) fn add_noise(frames: &mut Frames, ratio: f64, rng: &mut impl Rng) {
    let mut spectrum: Vec<f64> = curve(frames.bins(), NOISE_COLOUR, rng).into_iter().map(f64::exp).collect();
    let mean = |total: f64, count: usize| total / count as f64;
    // Energies over the largest one: no feature is too large for `exp`.
    let largest = f64::from(frames.data().iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let energy = |value: f32| (f64::from(value) - largest).exp();
    let speech = mean(frames.data().iter().map(|value| energy(*value)).sum(), frames.data().len());
    let wanted = speech / nepers(ratio).exp() / mean(spectrum.iter().sum(), spectrum.len());
    spectrum.iter_mut().for_each(|noise| *noise *= wanted);
    for row in frames.rows_mut() {
        for (value, noise) in row.iter_mut().zip(&spectrum) {
            *value = (largest + (energy(*value) + noise * fluctuation(rng)).ln()) as f32;
        }
    }
}

/// The energy of noise in a frame over its mean: that of two spectral lines, each of which is exponentially distributed.
fn fluctuation(rng: &mut impl Rng) -> f64 {
    let mut line = || -(1.0 - rng.random::<f64>()).ln();
    0.5 * (line() + line())
}

/// Gains of log energies: random ones at the borders of random bands, and between them straight lines.
fn curve(bins: usize, decibels: f64, rng: &mut impl Rng) -> Vec<f64> {
    let last = bins.saturating_sub(1) as f64;
    let inner = rng.random_range(BANDS) - 1;
    let mut borders: Vec<f64> = (0..inner).map(|_| rng.random_range(0.0..=last)).collect();
    borders.extend([0.0, last]);
    borders.sort_by(f64::total_cmp);
    let gains: Vec<f64> = borders.iter().map(|_| nepers(rng.random_range(-decibels..=decibels))).collect();
    let at = |bin: f64| {
        let above = borders.partition_point(|border| *border < bin).max(1);
        let [from, to] = [borders[above - 1], borders[above]];
        let share = if to > from { (bin - from) / (to - from) } else { 0.0 };
        gains[above - 1] + share * (gains[above] - gains[above - 1])
    };
    (0..bins).map(|bin| at(bin as f64)).collect()
}

/// A ratio of energies in dB as a natural logarithm.
fn nepers(decibels: f64) -> f64 {
    decibels * std::f64::consts::LN_10 / 10.0
}
