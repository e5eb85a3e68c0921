//! Whether two systems differ by more than chance: paired tests over the same rows, two-sided.
//!
//! The paired bootstrap (Koehn 2004; Efron and Tibshirani 1993, chapter 16) and approximate randomization (Riezler and
//! Maxwell 2005): p = (c + 1) / (n + 1), where c of n draws differ as much as the systems do. A draw that differs exactly
//! as much counts, too, so that equal outputs have p = 1. tests/golden/make_significance.py compares both.
//!
//! Of k rows in which the systems differ there are 2^k ways to swap the outputs, and two of them differ at least as much as the
//! systems do. So no p is below 2^(1 - k): with five rows nothing is significant.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::RowStatistics;

/// A difference with a lower p is called significant.
pub const SIGNIFICANT: f64 = 0.05;

/// Differences that are closer than this are equal: values are computed from different sums.
const EQUAL: f64 = 1e-12;

/// p by the paired bootstrap: `resampled` are the values of two systems over the same resamples
/// ([`resampled_values`](super::resampled_values)), and `values` are those over all rows. The differences over resamples
/// are recentred at 0, as if the systems were equal: the difference over all rows is subtracted from each. 1 without resamples.
/// `differing` is the number of rows in which the systems differ ([`differing_rows`]): of a few rows all resamples may be
/// alike, and p is at least that of all ways to swap them.
///
/// sacrebleu 2 subtracts the mean of the absolute differences from the absolute differences instead. That counts about half
/// of the draws: at p < 0.05 it calls two equal systems different in some 12 % of all tests.
pub fn paired_bootstrap(resampled: [&[f64]; 2], values: [f64; 2], differing: usize) -> f64 {
    let [one, other] = resampled;
    let difference = values[1] - values[0];
    let recentred = one.iter().zip(other).map(|(one, other)| (other - one - difference).abs());
    share(recentred, difference.abs()).max(least(differing))
}

/// The number of rows in which two systems have other statistics.
pub fn differing_rows(baseline: &RowStatistics, system: &RowStatistics) -> usize {
    let rows = baseline.rows().min(system.rows());
    (0..rows).filter(|&row| baseline.row(row) != system.row(row)).count()
}

/// p by approximate randomization: in each trial, the outputs of either system are swapped in each row with
/// probability 1/2, those of all runs together. Both have the same rows and as many runs. 1 without trials.
pub fn approximate_randomization(
    baseline: &RowStatistics,
    system: &RowStatistics,
    trials: u32,
    seed: u64,
) -> f64 {
    let (one, other) = (baseline.blocks(), system.blocks());
    let (total, other_total, width) = (one.total(), other.total(), one.width().max(1));
    let difference = (one.value_of(&total) - other.value_of(&other_total)).abs();
    // What a swap adds to the baseline's sums; nothing in blocks without a difference.
    let pairs = (0..one.count().min(other.count())).map(|block| (one.block(block), other.block(block)));
    let differing = pairs.filter(|(one, other)| one != other);
    let changes: Vec<f64> =
        differing.flat_map(|(one, other)| one.iter().zip(other).map(|(one, other)| other - one)).collect();
    let least = least(changes.len() / width);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let trial = |_| {
        let swapped = half_of(&changes, width, &mut random);
        let one_sums: Vec<f64> = total.iter().zip(&swapped).map(|(sum, change)| sum + change).collect();
        let other_sums: Vec<f64> =
            other_total.iter().zip(&swapped).map(|(sum, change)| sum - change).collect();
        (one.value_of(&one_sums) - other.value_of(&other_sums)).abs()
    };
    share((0..trials).map(trial), difference).max(least)
}

/// The lowest p that outputs have which differ in so many rows: two of all ways to swap them.
fn least(differing: usize) -> f64 {
    let ways = 2.0_f64.powi(i32::try_from(differing).unwrap_or(i32::MAX));
    (2.0 / ways).min(1.0)
}

/// The sums over blocks of `width` numbers, each of which is there with probability 1/2.
fn half_of(blocks: &[f64], width: usize, random: &mut impl Rng) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    for blocks in blocks.chunks(64 * width) {
        let bits = random.random::<u64>();
        for (place, block) in blocks.chunks_exact(width).enumerate() {
            // A product is faster than a branch that nothing predicts.
            let is_there = ((bits >> place) & 1) as f64;
            sums.iter_mut().zip(block).for_each(|(sum, number)| *sum += is_there * number);
        }
    }
    sums
}

/// (c + 1) / (n + 1) for c of n draws that are at least `difference`.
fn share(draws: impl Iterator<Item = f64>, difference: f64) -> f64 {
    let (mut all, mut extreme) = (1.0, 1.0);
    for draw in draws {
        all += 1.0;
        extreme += f64::from(u8::from(draw >= difference - EQUAL));
    }
    extreme / all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::bootstrap::tests::Draws;
    use crate::metrics::{MetricKind, resampled_values};

    /// Exact match, a row for each digit: 1 for a right one.
    fn rows(digits: &str) -> RowStatistics {
        let mut statistics = RowStatistics::new(MetricKind::named("exact_match").unwrap());
        digits.chars().for_each(|digit| statistics.push(&[f64::from(u8::from(digit == '1')), 1.0]));
        statistics
    }

    fn both(one: &RowStatistics, other: &RowStatistics) -> [f64; 2] {
        let values = [one, other].map(|rows| resampled_values(rows, 1000, 7));
        let differing = differing_rows(one, other);
        let bootstrap = paired_bootstrap([&values[0], &values[1]], [one.value(), other.value()], differing);
        [bootstrap, approximate_randomization(one, other, 10_000, 7)]
    }

    #[test]
    fn equal_outputs_differ_by_chance_and_much_better_ones_do_not() {
        let (poor, same) = (rows(&"10000".repeat(20)), rows(&"10000".repeat(20)));
        assert_eq!(both(&poor, &same), [1.0, 1.0]);
        let good = rows(&"11011".repeat(20));
        for (one, other) in [(&poor, &good), (&good, &poor)] {
            let found = both(one, other);
            assert!(found.iter().all(|&p| p < 0.01), "{found:?}");
        }
    }

    /// Word error rates of two systems that are wrong in each word with the same probability, 0.3, over 100 rows.
    fn equal_systems(draws: &mut Draws) -> [RowStatistics; 2] {
        let kind = MetricKind::named("word_error_rate").unwrap();
        let mut systems = [RowStatistics::new(kind), RowStatistics::new(kind)];
        for _ in 0..100 {
            let length = 1 + draws.below(12);
            for system in &mut systems {
                let errors = (0..length).filter(|_| draws.below(10) < 3).count();
                system.push(&[errors as f64, length as f64]);
            }
        }
        systems
    }

    /// By sacrebleu's way to recentre it would be 115 to 130 of 1000.
    #[test]
    fn equal_systems_differ_at_0_05_in_about_5_percent_of_tests() {
        let (mut draws, mut found) = (Draws(1), [0, 0]);
        for pair in 0..1000 {
            let [one, other] = equal_systems(&mut draws);
            let values = [&one, &other].map(|rows| resampled_values(rows, 400, pair));
            let bootstrap = paired_bootstrap([&values[0], &values[1]], [one.value(), other.value()], 100);
            let randomization = approximate_randomization(&one, &other, 400, pair);
            found[0] += usize::from(bootstrap < SIGNIFICANT);
            found[1] += usize::from(randomization < SIGNIFICANT);
        }
        assert!(found.iter().all(|count| (30..=80).contains(count)), "{found:?} of 1000");
    }

    #[test]
    fn differences_are_recentred_at_the_difference_over_all_rows() {
        // Around 0.1 the differences are -0.2, -0.05, 0, 0.05 and 0.1: two are at least 0.1 away.
        let (one, other) = ([0.5; 5], [0.4, 0.55, 0.6, 0.65, 0.7]);
        assert_eq!(paired_bootstrap([&one, &other], [0.5, 0.6], 9), 3.0 / 6.0);
        assert_eq!(paired_bootstrap([&other, &one], [0.6, 0.5], 9), 3.0 / 6.0);
        // Other outputs with the same value: all draws are at least 0 away.
        assert_eq!(paired_bootstrap([&one, &other], [0.5, 0.5], 9), 1.0);
    }

    /// Four rows differ, all for the better: of the 16 ways to swap them, 2 differ as much. Three and one: 10 of 16.
    #[test]
    fn randomization_has_the_p_of_the_exact_permutation_test() {
        let exact = |one: &str, other: &str| approximate_randomization(&rows(one), &rows(other), 40_000, 3);
        let found = [exact("00001111", "11111111"), exact("00011111", "11101111")];
        assert!((found[0] - 2.0 / 16.0).abs() < 0.01 && (found[1] - 10.0 / 16.0).abs() < 0.01, "{found:?}");
    }

    /// Of a few rows that are all better, all resamples have the same difference, whatever it is.
    #[test]
    fn a_few_rows_are_not_significant() {
        for (count, least) in [(1, 1.0), (2, 0.5), (5, 0.0625), (6, 0.03125)] {
            let (one, other) = (rows(&"0".repeat(count)), rows(&"1".repeat(count)));
            let [bootstrap, randomization] = both(&one, &other);
            assert_eq!(bootstrap, least, "{count}");
            assert!((least..least + 0.02).contains(&randomization), "{count}: {randomization}");
        }
        assert!(both(&rows(&"0".repeat(20)), &rows(&"1".repeat(20)))[0] < 0.001);
    }

    /// Two runs of each system. The rows differ by 1, 1/2 and 1/2: of the 8 ways to swap them, 2 differ as much.
    #[test]
    fn outputs_of_all_runs_are_swapped_together() {
        let together = |runs: [&str; 2]| {
            let [one, other] = runs.map(rows);
            RowStatistics::mean_of(one.kind(), &[&one, &other])
        };
        let found =
            approximate_randomization(&together(["000", "001"]), &together(["111", "101"]), 40_000, 3);
        assert!((found - 2.0 / 8.0).abs() < 0.01, "{found}");
        // The same run twice is the run.
        let [one, other] = ["0010111", "1011011"].map(|run| together([run; 2]));
        let alone = approximate_randomization(&rows("0010111"), &rows("1011011"), 500, 3);
        assert_eq!(approximate_randomization(&one, &other, 500, 3), alone);
    }

    #[test]
    fn without_draws_nothing_is_significant() {
        assert_eq!(paired_bootstrap([&[], &[]], [0.0, 0.5], 9), 1.0);
        assert_eq!(approximate_randomization(&rows("01"), &rows("10"), 0, 1), 1.0);
        assert_eq!(approximate_randomization(&rows(""), &rows(""), 10, 1), 1.0);
    }
}
