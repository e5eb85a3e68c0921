//! Sampling: draws a token from a row of scores with one random number.
//!
//! The random numbers of a row follow from (seed, source, sample number, step) alone, so that neither the batch nor the
//! row's place in it changes an output. Unlikely tokens are excluded by `top_k` (Fan et al. 2018), `top_p` (Holtzman et
//! al. 2020) and `min_p` (Nguyen et al. 2024).

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

use super::top_k::maximum;
use crate::decoding::config::SamplingConfig;

/// The random numbers of one sample, one per token.
#[derive(Debug)]
pub(crate) struct SampleRng(ChaCha8Rng);

impl SampleRng {
    /// The numbers of sample `number` of a source.
    pub(crate) fn new(seed: u64, source: &[i64], number: usize) -> SampleRng {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        source.iter().for_each(|token| hash.update(token.to_le_bytes()));
        let mut numbers = ChaCha8Rng::from_seed(hash.finalize().into());
        numbers.set_stream(number as u64);
        SampleRng(numbers)
    }

    /// The next number, at least 0 and below 1.
    pub(crate) fn next_number(&mut self) -> f64 {
        self.0.random()
    }
}

/// The tokens that can be sampled, and their probabilities as shares of the highest one.
#[derive(Debug, Default)]
pub(crate) struct Sampler(Vec<(i64, f32)>);

impl Sampler {
    /// Draws a token of a row with a number in [0, 1); also returns the row's largest score. Draws no token if no score
    /// is finite.
    pub(crate) fn draw(&mut self, row: &[f32], config: &SamplingConfig, number: f64) -> (f32, Option<i64>) {
        let largest = maximum(row);
        if !largest.is_finite() {
            return (largest, None);
        }
        // Finite, since 0 times infinity is NaN.
        let sharpness = (config.temperature.recip() as f32).min(f32::MAX);
        let weights = row.iter().map(|log_p| ((log_p - largest) * sharpness).exp());
        self.0.clear();
        // NaN compares false.
        self.0.extend((0..).zip(weights).filter(|&(_, weight)| weight > 0.0));
        self.truncate_distribution(config);
        let point = number * self.total();
        let mut reached = 0.0;
        let drawn = self.0.iter().find(|(_, weight)| {
            reached += f64::from(*weight);
            reached > point
        });
        (largest, drawn.or(self.0.last()).map(|(token, _)| *token))
    }

    fn total(&self) -> f64 {
        self.0.iter().map(|(_, weight)| f64::from(*weight)).sum()
    }

    /// Of equally likely tokens the lower ids are kept first.
    fn truncate_distribution(&mut self, config: &SamplingConfig) {
        let likelier =
            |one: &(i64, f32), other: &(i64, f32)| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0));
        if (1..self.0.len()).contains(&config.top_k) {
            self.0.select_nth_unstable_by(config.top_k, likelier);
            self.0.truncate(config.top_k);
        }
        let total = self.total();
        if config.top_p < 1.0 {
            // Tokens below this have less than 1 - top_p in total, and need not be sorted.
            let least = (1.0 - config.top_p) * total / self.0.len() as f64;
            self.0.retain(|(_, weight)| f64::from(*weight) >= least);
        }
        if config.top_p < 1.0 || config.top_k > 0 {
            self.0.sort_unstable_by(likelier);
        }
        if config.top_p < 1.0 {
            let mut reached = 0.0;
            let enough = self.0.iter().position(|(_, weight)| {
                reached += f64::from(*weight);
                reached >= config.top_p * total
            });
            self.0.truncate(enough.map_or(self.0.len(), |last| last + 1));
        }
        if config.min_p > 0.0 {
            self.0.retain(|(_, weight)| f64::from(*weight) >= config.min_p);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probability with which each token is drawn, measured with evenly spaced numbers from 0 to 1.
    fn drawn(p: &[f64], config: &SamplingConfig) -> Vec<f64> {
        let row: Vec<f32> = p.iter().map(|p| p.ln() as f32).collect();
        let mut found = vec![0.0; p.len()];
        for n in 0..1000 {
            let (largest, token) = Sampler::default().draw(&row, config, (f64::from(n) + 0.5) / 1000.0);
            assert_eq!(largest, row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            found[token.unwrap() as usize] += 0.001;
        }
        found
    }

    fn check(config: SamplingConfig, expected: [f64; 5]) {
        let found = drawn(&[0.1, 0.4, 0.05, 0.15, 0.3], &config);
        let right = found.iter().zip(&expected).all(|(one, other)| (one - other).abs() < 0.0021);
        assert!(right, "{config:?}: {found:?}, not {expected:?}");
    }

    #[test]
    fn tokens_are_sampled_with_the_probabilities_that_the_options_give() {
        let plain = SamplingConfig::default();
        check(plain.clone(), [0.1, 0.4, 0.05, 0.15, 0.3]);
        check(SamplingConfig { temperature: 1e-6, ..plain.clone() }, [0.0, 1.0, 0.0, 0.0, 0.0]);
        let squares = [0.01, 0.16, 0.0025, 0.0225, 0.09].map(|square| square / 0.285);
        check(SamplingConfig { temperature: 0.5, ..plain.clone() }, squares);
        check(SamplingConfig { top_k: 2, ..plain.clone() }, [0.0, 4.0 / 7.0, 0.0, 0.0, 3.0 / 7.0]);
        check(SamplingConfig { top_k: 5, ..plain.clone() }, [0.1, 0.4, 0.05, 0.15, 0.3]);
        check(SamplingConfig { top_p: 0.3, ..plain.clone() }, [0.0, 1.0, 0.0, 0.0, 0.0]);
        check(SamplingConfig { top_p: 0.69, ..plain.clone() }, [0.0, 4.0 / 7.0, 0.0, 0.0, 3.0 / 7.0]);
        check(
            SamplingConfig { top_p: 0.71, ..plain.clone() },
            [0.0, 8.0 / 17.0, 0.0, 3.0 / 17.0, 6.0 / 17.0],
        );
        check(SamplingConfig { min_p: 0.3, ..plain.clone() }, [0.0, 8.0 / 17.0, 0.0, 3.0 / 17.0, 6.0 / 17.0]);
        check(SamplingConfig { min_p: 1.0, ..plain }, [0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn each_sampling_option_applies_to_the_result_of_the_previous_one() {
        let config = SamplingConfig { top_k: 2, top_p: 0.5, ..SamplingConfig::default() };
        // 0.4 is more than half of 0.7, and less than half of 1.
        check(config.clone(), [0.0, 1.0, 0.0, 0.0, 0.0]);
        check(SamplingConfig { top_k: 0, ..config }, [0.0, 4.0 / 7.0, 0.0, 0.0, 3.0 / 7.0]);
    }

    #[test]
    fn of_equally_likely_tokens_the_lower_ones_are_kept() {
        let config = SamplingConfig { top_k: 2, ..SamplingConfig::default() };
        let found = drawn(&[0.25, 0.25, 0.25, 0.25], &config);
        assert!(found[0] > 0.49 && found[1] > 0.49, "{found:?}");
    }

    #[test]
    fn impossible_tokens_and_nan_are_never_sampled() {
        let config = SamplingConfig::default();
        let row = [f32::NAN, -1.0, f32::NEG_INFINITY];
        for number in [0.0, 0.5, 0.999_999] {
            assert_eq!(Sampler::default().draw(&row, &config, number).1, Some(1));
        }
        assert_eq!(Sampler::default().draw(&[f32::NAN; 3], &config, 0.5), (f32::NEG_INFINITY, None));
    }

    #[test]
    fn random_numbers_depend_on_the_seed_the_source_and_the_sample() {
        let first = |seed, source: &[i64], number| SampleRng::new(seed, source, number).next_number();
        let all = [first(1, &[4, 5], 0), first(2, &[4, 5], 0), first(1, &[5, 4], 0), first(1, &[4, 5], 1)];
        assert!(all.iter().enumerate().all(|(n, one)| !all[..n].contains(one)), "{all:?}");
        assert_eq!(first(1, &[4, 5], 0), all[0]);
    }
}
