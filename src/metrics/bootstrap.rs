//! Bootstrap: how much a value would vary with other rows of the same kind (Efron 1979; for BLEU Koehn 2004).
//!
//! A resample draws as many rows as there are, with replacement, and has the metric's value. The middle 95 % of such
//! values are the interval (the percentile method). All draws follow from a seed and the number of rows alone, so that
//! two systems are resampled alike, and their values can be compared in pairs.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::RowStatistics;

/// The values of resamples. Of systems with as many rows, the n-th value is of the same rows. None without rows.
pub fn resampled_values(statistics: &RowStatistics, resamples: u32, seed: u64) -> Vec<f64> {
    let blocks = statistics.blocks();
    let count = blocks.count() as u32;
    if count == 0 {
        return Vec::new();
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut sums = vec![0.0; blocks.width()];
    let resample = |_| {
        sums.fill(0.0);
        for _ in 0..count {
            let drawn = blocks.block(random.random_range(0..count) as usize);
            sums.iter_mut().zip(drawn).for_each(|(sum, number)| *sum += number);
        }
        blocks.value_of(&sums)
    };
    (0..resamples).map(resample).collect()
}

/// The middle share of values: `confidence` is 0.95 for those between the 2.5th and the 97.5th percentile. None
/// without values.
pub fn percentile_interval(values: &[f64], confidence: f64) -> Option<[f64; 2]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    // So that 5 % of 1000 is not 49.999…
    let outside = ((1.0 - confidence) / 2.0 * sorted.len() as f64 + 1e-9) as usize;
    let outside = outside.min(last / 2);
    Some([sorted[outside], sorted[last - outside]])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::metrics::MetricKind;
    use crate::metrics::row_statistics::MOST_BLOCKS;

    /// A small generator (Knuth's MMIX numbers), so that the sets are the same on every run.
    pub(in crate::metrics) struct Draws(pub u64);

    impl Draws {
        pub(in crate::metrics) fn below(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % below
        }
    }

    /// The intervals of 200 sets of 400 rows that hold the known value.
    fn coverage(name: &str, known: f64, draws: &mut Draws, row: fn(&mut Draws) -> [f64; 2]) -> usize {
        let held = |set: &u64| {
            let mut statistics = RowStatistics::new(MetricKind::named(name).unwrap());
            (0..400).for_each(|_| statistics.push(&row(draws)));
            let values = resampled_values(&statistics, 1000, *set);
            let [low, high] = percentile_interval(&values, 0.95).unwrap();
            low <= known && known <= high
        };
        (0..200).filter(held).count()
    }

    #[test]
    fn an_interval_of_95_percent_holds_a_known_rate_in_92_to_98_percent_of_sets() {
        let exact = coverage("exact_match", 0.3, &mut Draws(1), |draws| {
            [f64::from(u8::from(draws.below(10) < 3)), 1.0]
        });
        assert!((184..=196).contains(&exact), "{exact} of 200");
        // Each symbol of a row of 1 to 12 is wrong with probability 0.1.
        let rate = coverage("word_error_rate", 0.1, &mut Draws(1), |draws| {
            let length = 1 + draws.below(12);
            let errors = (0..length).filter(|_| draws.below(10) == 0).count();
            [errors as f64, length as f64]
        });
        assert!((184..=196).contains(&rate), "{rate} of 200");
    }

    /// More rows than blocks, with errors in 30 % of them: here and there, or all at the end, as in a file that is sorted by
    /// length. The standard error is sqrt(p (1 - p) / n).
    #[test]
    fn an_interval_of_many_rows_is_as_wide_as_theory_says_in_any_order() {
        let mut draws = Draws(5);
        let rows = 5 * MOST_BLOCKS / 2;
        let mixed: Vec<bool> = (0..rows).map(|_| draws.below(10) < 3).collect();
        let mut sorted = mixed.clone();
        sorted.sort_unstable();
        let widths = [mixed, sorted].map(|wrong| {
            let mut statistics = RowStatistics::new(MetricKind::named("word_error_rate").unwrap());
            wrong.iter().for_each(|wrong| statistics.push(&[f64::from(u8::from(*wrong)), 1.0]));
            let values = resampled_values(&statistics, 1000, 1);
            let [low, high] = percentile_interval(&values, 0.95).unwrap();
            assert!(low < statistics.value() && statistics.value() < high);
            high - low
        });
        let width = 2.0 * 1.96 * (0.3 * 0.7 / rows as f64).sqrt();
        assert!(widths.iter().all(|found| (found / width - 1.0).abs() < 0.15), "{widths:?} and {width}");
    }

    #[test]
    fn a_seed_decides_all_draws_and_without_rows_there_is_no_interval() {
        let kind = MetricKind::named("exact_match").unwrap();
        let mut statistics = RowStatistics::new(kind);
        assert!(resampled_values(&statistics, 10, 1).is_empty());
        assert_eq!(percentile_interval(&[], 0.95), None);
        (0..50).for_each(|row| statistics.push(&[f64::from(row % 2), 1.0]));
        let values = |seed| resampled_values(&statistics, 100, seed);
        assert_eq!(values(1), values(1));
        assert_ne!(values(1), values(2));
    }

    #[test]
    fn rows_are_drawn_with_the_outputs_of_all_runs_at_once() {
        let kind = MetricKind::named("exact_match").unwrap();
        let run = |every: usize| {
            let mut statistics = RowStatistics::new(kind);
            (0..60).for_each(|row| statistics.push(&[f64::from(u8::from(row % every == 0)), 1.0]));
            statistics
        };
        let (one, other) = (run(2), run(3));
        let [alone, beside, both] = [&one, &other, &RowStatistics::mean_of(kind, &[&one, &other])]
            .map(|rows| resampled_values(rows, 50, 4));
        let means: Vec<f64> = alone.iter().zip(&beside).map(|(one, other)| (one + other) / 2.0).collect();
        assert_eq!(both, means);
    }

    #[test]
    fn percentiles_leave_as_many_values_on_either_side() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(percentile_interval(&values, 0.95), Some([25.0, 974.0]));
        assert_eq!(percentile_interval(&values, 0.9), Some([50.0, 949.0]));
        assert_eq!(percentile_interval(&[3.0], 0.5), Some([3.0, 3.0]));
    }
}
