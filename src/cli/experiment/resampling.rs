//! How sure a comparison is: bootstrap intervals, and approximate randomization.
//!
//! Rows are drawn, or swapped between two systems, with the outputs of all seeds at once. Only the counts of rows are
//! added, from which the metric is computed as over a whole set. The draws follow from a name alone.
//!
//! Sources: Koehn, "Statistical significance tests for machine translation evaluation" (2004); Riezler and Maxwell, "On
//! some pitfalls in automatic evaluation and significance testing for MT" (2005).

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::metrics::MetricKind;
use crate::runtime::seed_for;

/// The number of draws.
const DRAWS: usize = 1000;

/// The counts of a metric: by seed, then by row.
pub(super) type Counts = Vec<Vec<Vec<f64>>>;

/// The value of each seed.
pub(super) fn values(kind: &MetricKind, counts: &Counts) -> Vec<f64> {
    let value = |rows: &Vec<Vec<f64>>| {
        let mut sum = Vec::new();
        rows.iter().for_each(|row| add(&mut sum, row));
        (kind.of_statistics)(&sum)
    };
    counts.iter().map(value).collect()
}

/// The 95 % interval of the mean over seeds.
pub(super) fn interval(kind: &MetricKind, counts: &Counts, name: &str) -> [f64; 2] {
    let rows = counts.first().map_or(0, Vec::len);
    let mut random = ChaCha8Rng::seed_from_u64(seed_for(0, 0, &format!("interval of {name}")));
    let mut draw = || {
        let mut sums = vec![Vec::new(); counts.len()];
        for _ in 0..rows {
            let row = random.random_range(0..rows);
            sums.iter_mut().zip(counts).for_each(|(sum, seed)| add(sum, &seed[row]));
        }
        mean_of(kind, &sums)
    };
    let mut drawn: Vec<f64> = (0..DRAWS).map(|_| draw()).collect();
    drawn.sort_by(f64::total_cmp);
    [drawn[DRAWS * 25 / 1000], drawn[DRAWS - 1 - DRAWS * 25 / 1000]]
}

/// The probability of a difference in the mean as large as the one between two systems, if they did not differ.
pub(super) fn p_value(kind: &MetricKind, [one, other]: [&Counts; 2], name: &str) -> f64 {
    let rows = one.first().map_or(0, Vec::len);
    let mut random = ChaCha8Rng::seed_from_u64(seed_for(0, 0, &format!("difference of {name}")));
    let mut difference = |swaps: bool| {
        let mut sums = [vec![Vec::new(); one.len()], vec![Vec::new(); other.len()]];
        for row in 0..rows {
            let swapped = swaps && random.random_bool(0.5);
            for (system, counts) in [one, other].into_iter().enumerate() {
                let sums = &mut sums[if swapped { 1 - system } else { system }];
                sums.iter_mut().zip(counts).for_each(|(sum, seed)| add(sum, &seed[row]));
            }
        }
        (mean_of(kind, &sums[0]) - mean_of(kind, &sums[1])).abs()
    };
    let there = difference(false);
    // Equal sums may be added up in another order.
    let as_large = (0..DRAWS).filter(|_| difference(true) >= there - 1e-12).count();
    (as_large + 1) as f64 / (DRAWS + 1) as f64
}

fn mean_of(kind: &MetricKind, sums: &[Vec<f64>]) -> f64 {
    mean(&sums.iter().map(|sum| (kind.of_statistics)(sum)).collect::<Vec<_>>())
}

/// The mean.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation of a sample; `None` for a single value.
pub(super) fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// Adds counts; a sum begins without any.
fn add(sum: &mut Vec<f64>, row: &[f64]) {
    sum.resize(sum.len().max(row.len()), 0.0);
    sum.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that are right or wrong, of one seed.
    fn counts(right: &[bool]) -> Counts {
        vec![right.iter().map(|right| vec![f64::from(u8::from(*right)), 1.0]).collect()]
    }

    fn exact_match() -> MetricKind {
        MetricKind::named("exact_match").unwrap()
    }

    #[test]
    fn an_interval_has_the_width_of_the_normal_approximation() {
        let half: Vec<bool> = (0..400).map(|row| row % 2 == 0).collect();
        let [low, high] = interval(&exact_match(), &counts(&half), "a");
        // 1.96 * sqrt(0.5 * 0.5 / 400) = 0.049
        assert!((low - 0.451).abs() < 0.008 && (high - 0.549).abs() < 0.008, "{low} {high}");
        assert_eq!(interval(&exact_match(), &counts(&half), "a"), [low, high]);
        assert_eq!(interval(&exact_match(), &counts(&[true; 9]), "a"), [1.0, 1.0]);
    }

    #[test]
    fn only_a_difference_in_many_rows_is_significant() {
        let p = |one: &[bool], other: &[bool]| p_value(&exact_match(), [&counts(one), &counts(other)], "a");
        assert_eq!(p(&[true, false, true], &[true, false, true]), 1.0);
        assert!(p(&[true; 12], &[false; 12]) < 0.01);
        // Of three rows, a quarter of all swaps differ as much.
        assert!(p(&[true; 3], &[false; 3]) > 0.2);
    }

    #[test]
    fn the_spread_over_seeds_is_that_of_a_sample() {
        assert_eq!((mean(&[1.0, 2.0, 3.0]), deviation(&[1.0, 2.0, 3.0])), (2.0, Some(1.0)));
        assert_eq!(deviation(&[1.0]), None);
        let two = [counts(&[true, false]), counts(&[true, true])].concat();
        assert_eq!(values(&exact_match(), &two), [0.5, 1.0]);
    }
}
