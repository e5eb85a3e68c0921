//! The statistics of each row for one metric: numbers that add up, so that any choice of rows has a value.
//!
//! Texts are not kept.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::MetricKind;

/// The most blocks of rows that are resampled. The rows of a larger set are dealt into blocks in random order, which has the
/// same expected variance, and takes no longer for more rows. Blocks of consecutive rows would not have it: neighbours are
/// alike in a file that is sorted, or that has one document after the other.
pub(super) const MOST_BLOCKS: usize = 1 << 14;

/// The statistics ([`Metric::statistics`](super::Metric::statistics)) of the rows of a set, in their order. A row may have
/// outputs of several runs, such as seeds of one system: then a value is the mean of theirs.
#[derive(Clone, Debug)]
pub struct RowStatistics {
    kind: MetricKind,
    /// How many outputs a row has.
    runs: usize,
    /// How many numbers a row has, those of all its outputs.
    width: usize,
    numbers: Vec<f64>,
}

/// Sums of blocks of rows: all as large as each other, or larger by one row.
pub(super) struct Blocks {
    kind: MetricKind,
    runs: usize,
    width: usize,
    sums: Vec<f64>,
}

impl RowStatistics {
    /// No rows yet, of one run.
    pub fn new(kind: MetricKind) -> RowStatistics {
        RowStatistics { kind, runs: 1, width: 0, numbers: Vec::new() }
    }

    /// Several runs over the same rows, such as the seeds of a system, whose value is the mean of theirs. A row is drawn, or
    /// swapped, with the outputs of all runs at once. A run may be there more than once.
    pub fn mean_of(kind: MetricKind, runs: &[&RowStatistics]) -> RowStatistics {
        let rows = runs.iter().map(|run| run.rows()).min().unwrap_or_default();
        let row = |row: usize| runs.iter().flat_map(move |run| run.row(row)).copied();
        RowStatistics {
            kind,
            runs: runs.iter().map(|run| run.runs).sum::<usize>().max(1),
            width: runs.iter().map(|run| run.width).sum(),
            numbers: (0..rows).flat_map(row).collect(),
        }
    }

    /// Adds a row: the statistics of its metric, which are as many for each row.
    pub fn push(&mut self, statistics: &[f64]) {
        self.width = statistics.len();
        self.numbers.extend(statistics);
    }

    /// Which metric.
    pub fn kind(&self) -> MetricKind {
        self.kind
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.numbers.len() / self.width.max(1)
    }

    /// The value of a row alone, from 0: [`MetricKind::of_row`], as the mean over runs.
    pub fn value_of_row(&self, row: usize) -> f64 {
        mean_value(self.kind.of_row, self.runs, &self.sum(row, row + 1))
    }

    /// The value of all rows.
    pub fn value(&self) -> f64 {
        mean_value(self.kind.of_statistics, self.runs, &self.sum(0, self.rows()))
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.numbers[row * self.width..(row + 1) * self.width]
    }

    /// The sums over rows from `start` to before `end`.
    fn sum(&self, start: usize, end: usize) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        for row in self.numbers[start * self.width..end * self.width].chunks_exact(self.width.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
        }
        sums
    }

    /// The rows, or blocks of them if they are too many. Which rows a block has follows from their number alone, so that the
    /// blocks of systems over the same rows are of the same rows.
    pub(super) fn blocks(&self) -> Blocks {
        let rows = self.rows();
        let count = rows.min(MOST_BLOCKS);
        let mut order: Vec<usize> = (0..rows).collect();
        if rows > count {
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(rows as u64));
        }
        let mut sums = vec![0.0; count * self.width];
        for (place, row) in order.into_iter().enumerate() {
            let block = place % count * self.width;
            let numbers = sums[block..block + self.width].iter_mut().zip(self.row(row));
            numbers.for_each(|(sum, number)| *sum += number);
        }
        Blocks { kind: self.kind, runs: self.runs, width: self.width, sums }
    }
}

impl Blocks {
    /// Number of blocks.
    pub(super) fn count(&self) -> usize {
        self.sums.len() / self.width.max(1)
    }

    /// How many numbers a block has.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The sums of a block, from 0.
    pub(super) fn block(&self, number: usize) -> &[f64] {
        &self.sums[number * self.width..(number + 1) * self.width]
    }

    /// The sums of all blocks.
    pub(super) fn total(&self) -> Vec<f64> {
        let mut total = vec![0.0; self.width];
        for block in 0..self.count() {
            total.iter_mut().zip(self.block(block)).for_each(|(sum, number)| *sum += number);
        }
        total
    }

    /// The value of sums.
    pub(super) fn value_of(&self, sums: &[f64]) -> f64 {
        mean_value(self.kind.of_statistics, self.runs, sums)
    }
}

/// The mean over runs of the values that their sums give. `runs` is at least 1.
fn mean_value(value: fn(&[f64]) -> f64, runs: usize, sums: &[f64]) -> f64 {
    let width = sums.len() / runs;
    mean((0..runs).map(|run| value(&sums[run * width..(run + 1) * width])))
}

/// The arithmetic mean; 0 without values. That of equal values is their value: their sum is rounded, and a part of it may be
/// another number.
pub(crate) fn mean(mut values: impl Iterator<Item = f64>) -> f64 {
    let Some(first) = values.next() else { return 0.0 };
    let (mut sum, mut count, mut are_equal) = (first, 1.0, true);
    for value in values {
        sum += value;
        count += 1.0;
        are_equal &= value == first;
    }
    if are_equal { first } else { sum / count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_each_row_once_and_a_small_set_has_its_rows() {
        let kind = MetricKind::named("exact_match").unwrap();
        for rows in [0, 1, 5, MOST_BLOCKS, MOST_BLOCKS + 1, 3 * MOST_BLOCKS - 1] {
            let mut statistics = RowStatistics::new(kind);
            (0..rows).for_each(|row| statistics.push(&[f64::from(u8::from(row % 4 == 0)), 1.0]));
            let blocks = statistics.blocks();
            assert_eq!((statistics.rows(), blocks.count()), (rows, rows.min(MOST_BLOCKS)));
            if rows > 0 {
                assert_eq!(blocks.total(), [rows.div_ceil(4) as f64, rows as f64]);
                assert_eq!(statistics.value(), rows.div_ceil(4) as f64 / rows as f64);
                let sizes = (0..blocks.count()).map(|block| blocks.block(block)[1] as usize);
                let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
                assert!(least >= 1 && most - least <= 1, "{least} to {most}");
            }
        }
    }

    /// Rows 0, 1, 2 and so on. What they add up to shows which rows a block has.
    #[test]
    fn blocks_have_random_rows_and_the_same_in_each_system() {
        let kind = MetricKind::named("word_error_rate").unwrap();
        let numbered = |rows: usize| {
            let mut statistics = RowStatistics::new(kind);
            (0..rows).for_each(|row| statistics.push(&[row as f64, 1.0]));
            statistics.blocks()
        };
        let small = numbered(5);
        assert!((0..5).all(|row| small.block(row) == [row as f64, 1.0]));
        let rows = 2 * MOST_BLOCKS;
        let (one, other) = (numbered(rows), numbered(rows));
        assert!((0..MOST_BLOCKS).all(|block| one.block(block) == other.block(block)));
        // The sum of two random numbers below n is n / 3 away from n, on average; that of two neighbours n / 2, and that of
        // one of each half n / 6.
        let mean = rows as f64 - 1.0;
        let spread = (0..MOST_BLOCKS).map(|block| (one.block(block)[0] - mean).abs()).sum::<f64>();
        let spread = spread / MOST_BLOCKS as f64 / rows as f64;
        assert!((spread - 1.0 / 3.0).abs() < 0.02, "{spread}");
    }

    #[test]
    fn a_row_has_its_own_value() {
        let mut statistics = RowStatistics::new(MetricKind::named("word_error_rate").unwrap());
        statistics.push(&[1.0, 4.0]);
        statistics.push(&[3.0, 4.0]);
        let values = [statistics.value_of_row(0), statistics.value_of_row(1), statistics.value()];
        assert_eq!(values, [0.25, 0.75, 0.5]);
        // The mean length of three references, as TER has it.
        let length = 7.0 / 3.0;
        statistics.push(&[1.0, length]);
        assert_eq!(statistics.value_of_row(2), 1.0 / length);
    }

    #[test]
    fn the_mean_of_equal_values_is_their_value() {
        let third = [0.1; 3];
        assert_ne!(third.iter().sum::<f64>() / 3.0, 0.1);
        assert_eq!(mean(third.into_iter()), 0.1);
        assert_eq!([mean([1.0, 2.0, 6.0].into_iter()), mean(std::iter::empty())], [3.0, 0.0]);
        assert_eq!(mean([f64::INFINITY; 2].into_iter()), f64::INFINITY);
        // One row of ten is right in each of three runs.
        let mut run = RowStatistics::new(MetricKind::named("exact_match").unwrap());
        (0..10).for_each(|row| run.push(&[f64::from(u8::from(row == 0)), 1.0]));
        assert_eq!(RowStatistics::mean_of(run.kind(), &[&run, &run, &run]).value(), run.value());
    }

    #[test]
    fn several_runs_have_the_mean_of_their_values_and_not_of_their_counts() {
        let kind = MetricKind::named("word_error_rate").unwrap();
        let run = |rows: [[f64; 2]; 2]| {
            let mut statistics = RowStatistics::new(kind);
            rows.iter().for_each(|row| statistics.push(row));
            statistics
        };
        // Of several references the nearest one counts, so that two runs may have references of other lengths.
        let (one, other) = (run([[1.0, 4.0], [3.0, 4.0]]), run([[0.0, 4.0], [0.0, 12.0]]));
        let both = RowStatistics::mean_of(kind, &[&one, &other]);
        assert_eq!((both.rows(), both.value()), (2, (0.5 + 0.0) / 2.0));
        assert_eq!([both.value_of_row(0), both.value_of_row(1)], [0.125, 0.375]);
        let again = RowStatistics::mean_of(kind, &[&both, &other]);
        assert_eq!(again.value(), (0.5 + 0.0 + 0.0) / 3.0);
        assert_eq!(RowStatistics::mean_of(kind, &[]).value(), 0.0);
    }
}
