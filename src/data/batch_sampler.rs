//! The batches of an epoch and their order: a function of (seed, epoch) and of the lengths.
//!
//! To resume in the middle of an epoch, only the position must be saved. A row takes four bytes here, and eight for its
//! lengths, which others share.

use std::sync::Arc;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::passes::Mixture;
use crate::runtime::seed_for;

/// Positions of a row, including EOS: (source, target).
pub type Positions = (u32, u32);

/// Cuts the training rows into batches of similar length, epoch by epoch.
#[derive(Debug)]
pub struct BatchSampler {
    lengths: Arc<[Positions]>,
    mixture: Option<Mixture>,
    tokens_per_batch: usize,
    seed: u64,
    epoch: u64,
    batches: Batches,
    /// The batches in the order of the epoch.
    order: Vec<u32>,
    position: usize,
}

impl BatchSampler {
    /// Starts before batch `position` of `epoch`; both count from 0. `lengths` are those of each row.
    pub fn new(
        lengths: Arc<[Positions]>,
        tokens_per_batch: usize,
        seed: u64,
        epoch: u64,
        position: usize,
    ) -> BatchSampler {
        BatchSampler::mixed(lengths, None, tokens_per_batch, seed, (epoch, position))
    }

    /// The same over the rows that a mixture has in each pass.
    pub(crate) fn mixed(
        lengths: Arc<[Positions]>,
        mixture: Option<Mixture>,
        tokens_per_batch: usize,
        seed: u64,
        (epoch, position): (u64, usize),
    ) -> BatchSampler {
        let (batches, order) = (Batches::default(), Vec::new());
        let mut sampler =
            BatchSampler { lengths, mixture, tokens_per_batch, seed, epoch, batches, order, position };
        sampler.begin_epoch();
        sampler
    }

    /// Batches of the current pass.
    pub(crate) fn batches(&self) -> usize {
        self.order.len()
    }

    /// The rows of the next batch.
    pub fn next_batch(&mut self) -> Vec<usize> {
        if self.position == self.batches() {
            self.epoch += 1;
            self.position = 0;
            self.begin_epoch();
        }
        self.position += 1;
        self.batches.rows(self.order[self.position - 1] as usize)
    }

    /// The epoch of the next batch; at the end of an epoch, the next epoch.
    pub fn epoch(&self) -> u64 {
        if self.position == self.batches() { self.epoch + 1 } else { self.epoch }
    }

    /// Number of batches of that epoch so far.
    pub(crate) fn position(&self) -> usize {
        if self.position == self.batches() { 0 } else { self.position }
    }

    /// Sorts rows by length, with ties in random order, cuts them into full batches, and shuffles the batches. The
    /// first batch has a random size, so that every epoch has other cuts.
    fn begin_epoch(&mut self) {
        // The last epoch's memory is free for this one.
        self.batches = Batches::default();
        let mut random = ChaCha8Rng::seed_from_u64(seed_for(self.seed, self.epoch, "order"));
        let mut rows: Vec<u32> = match &self.mixture {
            Some(mixture) => mixture.rows(self.seed, self.epoch),
            None => (0..self.lengths.len() as u32).collect(),
        };
        // Before they are shuffled: the lengths of millions of rows are then read from start to end.
        let order = LengthOrder::of(&rows, &self.lengths);
        rows.shuffle(&mut random);
        let rows = order.sorted(rows);
        let first = random.random_range(1..=self.tokens_per_batch);
        let starts = Batches::starts(order.longer_sides(&rows), first, self.tokens_per_batch);
        self.batches = Batches { rows, starts };
        self.order = (0..self.batches.len() as u32).collect();
        self.order.shuffle(&mut random);
    }
}

/// An order in which neighbours need little padding on both sides: by the longer side, then by how much longer the target
/// is, alternately ascending and descending, so that it does not jump when the longer side grows.
struct LengthOrder<'a> {
    lengths: &'a [Positions],
    longest: usize,
    /// How many rows have each place in it. Millions of rows have few lengths: counting them is several times as fast as
    /// comparing. `None` for few rows.
    counts: Option<Vec<u32>>,
}

impl LengthOrder<'_> {
    /// That of some rows.
    fn of<'a>(rows: &[u32], lengths: &'a [Positions]) -> LengthOrder<'a> {
        let longest = rows.iter().map(|&row| longer(lengths[row as usize])).max().unwrap_or(0);
        let mut order = LengthOrder { lengths, longest, counts: None };
        let places = (longest + 1) * order.width();
        if places <= rows.len() {
            let mut counts = vec![0u32; places];
            rows.iter().for_each(|&row| counts[order.place(row)] += 1);
            order.counts = Some(counts);
        }
        order
    }

    /// Places of one longer side.
    fn width(&self) -> usize {
        2 * self.longest + 1
    }

    fn place(&self, row: u32) -> usize {
        let (source, target) = self.lengths[row as usize];
        let (longer, difference) = (longer((source, target)), i64::from(target) - i64::from(source));
        let second = if longer % 2 == 0 { difference } else { -difference };
        longer * self.width() + (second + self.longest as i64) as usize
    }

    /// The same rows in this order; those of the same lengths keep theirs.
    fn sorted(&self, mut rows: Vec<u32>) -> Vec<u32> {
        let Some(counts) = &self.counts else {
            rows.sort_by_key(|&row| self.place(row));
            return rows;
        };
        let before = |sum: &mut u32, count: &u32| Some(std::mem::replace(sum, *sum + count));
        let mut next: Vec<u32> = counts.iter().scan(0, before).collect();
        let mut sorted = vec![0; rows.len()];
        for row in rows {
            let next = &mut next[self.place(row)];
            sorted[*next as usize] = row;
            *next += 1;
        }
        sorted
    }

    /// The longer side of each row in this order.
    fn longer_sides<'s>(&'s self, sorted: &'s [u32]) -> Box<dyn Iterator<Item = usize> + 's> {
        match &self.counts {
            None => Box::new(sorted.iter().map(|&row| longer(self.lengths[row as usize]))),
            Some(counts) => {
                let of_place = |(place, &count)| std::iter::repeat_n(place / self.width(), count as usize);
                Box::new(counts.iter().enumerate().flat_map(of_place))
            }
        }
    }
}

fn longer((source, target): Positions) -> usize {
    source.max(target) as usize
}

/// The most rows of a batch: a limit of GPU attention kernels.
const MOST_ROWS: usize = 65_535;

/// Rows, cut into batches.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    rows: Vec<u32>,
    /// Where each batch begins.
    starts: Vec<u32>,
}

impl Batches {
    /// Batches of rows of similar length, of at most `budget` positions per side.
    pub(crate) fn by_length(rows: Vec<u32>, lengths: &[Positions], budget: usize) -> Batches {
        let order = LengthOrder::of(&rows, lengths);
        let rows = order.sorted(rows);
        let starts = Batches::starts(order.longer_sides(&rows), budget, budget);
        Batches { rows, starts }
    }

    /// Where batches begin: of rows in order, with these longer sides, at most `budget` positions per side, including
    /// padding; in the first one at most `first`. A longer row is a single-row batch.
    fn starts(longer: impl Iterator<Item = usize>, first: usize, budget: usize) -> Vec<u32> {
        let mut starts: Vec<u32> = Vec::new();
        let mut longest = 0;
        for (at, length) in longer.enumerate() {
            let budget = if starts.len() <= 1 { first } else { budget };
            let there = starts.last().map_or(0, |&start| at - start as usize);
            if there > 0 && there < MOST_ROWS && longest.max(length) * (there + 1) <= budget {
                longest = longest.max(length);
            } else {
                longest = length;
                starts.push(at as u32);
            }
        }
        starts
    }

    /// Number of batches.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The rows of a batch.
    pub(crate) fn rows(&self, batch: usize) -> Vec<usize> {
        let end = self.starts.get(batch + 1).map_or(self.rows.len(), |&end| end as usize);
        self.rows[self.starts[batch] as usize..end].iter().map(|&row| row as usize).collect()
    }

    /// The rows of each batch.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Vec<usize>> {
        (0..self.len()).map(|batch| self.rows(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(count: usize) -> Arc<[Positions]> {
        (0..count as u32).map(|n| (n % 7 + 2, n % 11 + 2)).collect()
    }

    fn cut(rows: Vec<u32>, lengths: &[Positions], budget: usize) -> Vec<Vec<usize>> {
        let longer = rows.iter().map(|&row| longer(lengths[row as usize]));
        let starts = Batches::starts(longer, budget, budget);
        Batches { rows, starts }.iter().collect()
    }

    fn epoch(sampler: &mut BatchSampler) -> Vec<Vec<usize>> {
        let now = sampler.epoch();
        let mut batches = Vec::new();
        while sampler.epoch() == now {
            batches.push(sampler.next_batch());
        }
        batches
    }

    #[test]
    fn batches_of_the_shortest_rows_are_bounded() {
        let count = MOST_ROWS + 5;
        let batches = cut((0..count as u32).collect(), &vec![(1, 1); count], 1 << 20);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [MOST_ROWS, 5]);
    }

    #[test]
    fn an_epoch_has_every_row_once_within_the_budget() {
        let rows = lengths(100);
        let mut sampler = BatchSampler::new(rows.clone(), 40, 1, 0, 0);
        let (first, second) = (epoch(&mut sampler), epoch(&mut sampler));
        for batches in [&first, &second] {
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
            for batch in batches {
                let longest = batch.iter().map(|&row| longer(rows[row])).max();
                assert!(longest.unwrap() * batch.len() <= 40);
            }
        }
        assert_ne!(first, second);
    }

    #[test]
    fn a_sampler_resumed_in_the_middle_yields_the_same_batches() {
        let mut whole = BatchSampler::new(lengths(60), 30, 7, 0, 0);
        for _ in 0..25 {
            whole.next_batch();
        }
        let mut resumed = BatchSampler::new(lengths(60), 30, 7, whole.epoch(), whole.position());
        for _ in 0..25 {
            assert_eq!(whole.next_batch(), resumed.next_batch());
        }
    }

    /// Lengths of sentences and their translations: skewed and correlated.
    fn sentences(count: usize) -> Arc<[Positions]> {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let pair = |_| {
            let source = 6.0 + 30.0 * random.random::<f64>().powi(3);
            let target = source * (0.8 + 0.5 * random.random::<f64>());
            (source as u32, 2 + target as u32)
        };
        (0..count).map(pair).collect()
    }

    #[test]
    fn less_than_a_twentieth_of_a_batch_is_padding() {
        let rows = sentences(20_000);
        let (mut real, mut all) = (0, 0);
        for batch in epoch(&mut BatchSampler::new(rows.clone(), 4096, 1, 0, 0)) {
            let longest =
                batch.iter().fold((0, 0), |most, &row| (rows[row].0.max(most.0), rows[row].1.max(most.1)));
            real += batch.iter().map(|&row| rows[row].0 + rows[row].1).sum::<u32>();
            all += batch.len() as u32 * (longest.0 + longest.1);
        }
        let padding = 1.0 - real as f64 / all as f64;
        assert!(padding < 0.05, "{padding}");
    }

    #[test]
    fn rows_of_one_batch_are_rarely_together_in_the_next_epoch() {
        let mut sampler = BatchSampler::new(sentences(20_000), 1024, 1, 0, 0);
        let place = |batches: &[Vec<usize>]| {
            let mut place = vec![0; 20_000];
            batches.iter().enumerate().for_each(|(n, rows)| rows.iter().for_each(|&row| place[row] = n));
            place
        };
        let first = epoch(&mut sampler);
        let second = place(&epoch(&mut sampler));
        let neighbours = first.iter().flat_map(|rows| rows.windows(2));
        let (mut met, mut all) = (0, 0);
        for pair in neighbours {
            all += 1;
            met += usize::from(second[pair[0]] == second[pair[1]]);
        }
        assert!(met * 2 < all, "{met} of {all} pairs of neighbours met again");
    }

    #[test]
    fn a_row_longer_than_the_budget_is_a_single_row_batch() {
        let batches = cut(vec![0, 1, 2], &[(2, 2), (90, 3), (2, 2)], 10);
        assert_eq!(batches, [vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn counting_sorts_as_comparing_does() {
        let lengths = sentences(50_000);
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let mut rows: Vec<u32> = (0..50_000).collect();
        rows.shuffle(&mut random);
        let mut compared = rows.clone();
        compared.sort_by_key(|&row| {
            let (source, target) = lengths[row as usize];
            let (longer, difference) = (source.max(target), i64::from(target) - i64::from(source));
            (longer, if longer % 2 == 0 { difference } else { -difference })
        });
        let order = LengthOrder::of(&rows, &lengths);
        let rows = order.sorted(rows);
        assert!(order.longer_sides(&rows).eq(rows.iter().map(|&row| longer(lengths[row as usize]))));
        assert_eq!(rows, compared);
        // So few rows that they are compared.
        let mut few: Vec<u32> = compared[compared.len() - 100..].iter().rev().copied().collect();
        let order = LengthOrder::of(&few, &lengths);
        assert!(order.counts.is_none());
        few = order.sorted(few);
        assert!(few.is_sorted_by_key(|&row| longer(lengths[row as usize])));
    }

    /// Written plainly: pairs that are lists, rows that are compared.
    fn plain_epoch(lengths: &[Positions], budget: usize, seed: u64) -> Vec<Vec<usize>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed_for(seed, 0, "order"));
        let mut rows: Vec<usize> = (0..lengths.len()).collect();
        rows.shuffle(&mut random);
        rows.sort_by_key(|&row| {
            let (source, target) = (i64::from(lengths[row].0), i64::from(lengths[row].1));
            let longer = source.max(target);
            (longer, if longer % 2 == 0 { target - source } else { source - target })
        });
        let first = random.random_range(1..=budget);
        let mut batches: Vec<Vec<usize>> = Vec::new();
        for row in rows {
            let budget = if batches.len() <= 1 { first } else { budget };
            let fits = |batch: &Vec<usize>| {
                let longest = batch.iter().chain([&row]).map(|&row| longer(lengths[row])).max().unwrap();
                longest * (batch.len() + 1) <= budget
            };
            match batches.last_mut() {
                Some(batch) if fits(batch) => batch.push(row),
                _ => batches.push(vec![row]),
            }
        }
        batches.shuffle(&mut random);
        batches
    }

    #[test]
    fn a_compact_epoch_is_the_plain_one() {
        for (lengths, budget) in [(lengths(60), 30), (sentences(20_000), 1024)] {
            let mut sampler = BatchSampler::new(lengths.clone(), budget, 7, 0, 0);
            assert_eq!(epoch(&mut sampler), plain_epoch(&lengths, budget, 7));
        }
    }
}
