//! The batches of an epoch and their order: a function of (seed, epoch) and of the lengths.
//!
//! To resume in the middle of an epoch, only the position must be saved.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::runtime::seed_for;

/// Cuts the training rows into batches of similar length, epoch by epoch.
#[derive(Debug)]
pub struct BatchSampler {
    /// Positions of each row, including EOS: (source, target).
    lengths: Vec<(usize, usize)>,
    tokens_per_batch: usize,
    seed: u64,
    epoch: u64,
    batches: Vec<Vec<usize>>,
    position: usize,
}

impl BatchSampler {
    /// Starts before batch `position` of `epoch`; both count from 0. `lengths` are the positions of each row, including
    /// EOS: (source, target).
    pub fn new(
        lengths: Vec<(usize, usize)>,
        tokens_per_batch: usize,
        seed: u64,
        epoch: u64,
        position: usize,
    ) -> BatchSampler {
        let mut sampler =
            BatchSampler { lengths, tokens_per_batch, seed, epoch, batches: Vec::new(), position };
        sampler.batches = sampler.batches_of(epoch);
        sampler
    }

    /// Batches of the current pass.
    pub(crate) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// The rows of the next batch.
    pub fn next_batch(&mut self) -> &[usize] {
        if self.position == self.batches.len() {
            self.epoch += 1;
            self.position = 0;
            self.batches = self.batches_of(self.epoch);
        }
        self.position += 1;
        &self.batches[self.position - 1]
    }

    /// The epoch of the next batch; at the end of an epoch, the next epoch.
    pub fn epoch(&self) -> u64 {
        if self.position == self.batches.len() { self.epoch + 1 } else { self.epoch }
    }

    /// Number of batches of that epoch so far.
    pub(crate) fn position(&self) -> usize {
        if self.position == self.batches.len() { 0 } else { self.position }
    }

    /// Sorts rows by length, with ties in random order, cuts them into full batches, and shuffles the batches. The
    /// first batch has a random size, so that every epoch has other cuts.
    fn batches_of(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed_for(self.seed, epoch, "order"));
        let mut rows: Vec<usize> = (0..self.lengths.len()).collect();
        rows.shuffle(&mut random);
        sort_by_length(&mut rows, &self.lengths);
        let first = random.random_range(1..=self.tokens_per_batch);
        let mut batches = batches_within_budget(&rows, &self.lengths, first, self.tokens_per_batch);
        batches.shuffle(&mut random);
        batches
    }
}

/// Sorts rows so that neighbours need little padding on both sides: by the longer side, then by how much longer the
/// target is, alternately ascending and descending, so that it does not jump when the longer side grows.
pub(crate) fn sort_by_length(rows: &mut [usize], lengths: &[(usize, usize)]) {
    rows.sort_by_key(|&row| {
        let (source, target) = lengths[row];
        let (longer, difference) = (source.max(target), target as i64 - source as i64);
        (longer, if longer % 2 == 0 { difference } else { -difference })
    });
}

/// The most rows of a batch: a limit of GPU attention kernels.
const MOST_ROWS: usize = 65_535;

/// Cuts rows, in order, into batches of at most `budget` positions per side, including padding; the first one of at
/// most `first`. A longer row is a single-row batch.
pub(crate) fn batches_within_budget(
    rows: &[usize],
    lengths: &[(usize, usize)],
    first: usize,
    budget: usize,
) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for &row in rows {
        let length = lengths[row].0.max(lengths[row].1);
        let budget = if batches.len() <= 1 { first } else { budget };
        match batches.last_mut() {
            Some(batch) if batch.len() < MOST_ROWS && longest.max(length) * (batch.len() + 1) <= budget => {
                longest = longest.max(length);
                batch.push(row);
            }
            _ => {
                longest = length;
                batches.push(vec![row]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(count: usize) -> Vec<(usize, usize)> {
        (0..count).map(|n| (n % 7 + 2, n % 11 + 2)).collect()
    }

    fn epoch(sampler: &mut BatchSampler) -> Vec<Vec<usize>> {
        let now = sampler.epoch();
        let mut batches = Vec::new();
        while sampler.epoch() == now {
            batches.push(sampler.next_batch().to_vec());
        }
        batches
    }

    #[test]
    fn batches_of_the_shortest_rows_are_bounded() {
        let count = MOST_ROWS + 5;
        let rows: Vec<usize> = (0..count).collect();
        let batches = batches_within_budget(&rows, &vec![(1, 1); count], 1 << 20, 1 << 20);
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
                let longest = batch.iter().map(|&row| rows[row].0.max(rows[row].1)).max();
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
    fn sentences(count: usize) -> Vec<(usize, usize)> {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let pair = |_| {
            let source = 6.0 + 30.0 * random.random::<f64>().powi(3);
            let target = source * (0.8 + 0.5 * random.random::<f64>());
            (source as usize, 2 + target as usize)
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
            real += batch.iter().map(|&row| rows[row].0 + rows[row].1).sum::<usize>();
            all += batch.len() * (longest.0 + longest.1);
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
        let batches = batches_within_budget(&[0, 1, 2], &[(2, 2), (90, 3), (2, 2)], 10, 10);
        assert_eq!(batches, [vec![0], vec![1], vec![2]]);
    }
}
