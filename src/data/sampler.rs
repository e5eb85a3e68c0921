//! Which rows go together, and in which order: a function of (seed, epoch) and of the lengths, so that nothing
//! needs to be saved to go on in the middle of an epoch but the position.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::dataset::Example;
use crate::runtime::seed_for;

/// Cuts the training rows into batches of similar length, epoch by epoch.
#[derive(Debug)]
pub struct Sampler {
    /// Positions of each row, EOS counted in: (source, target).
    lengths: Vec<(usize, usize)>,
    tokens_per_batch: usize,
    seed: u64,
    epoch: u64,
    batches: Vec<Vec<usize>>,
    position: usize,
}

impl Sampler {
    /// Stands before batch `position` of `epoch`; both count from 0.
    pub fn new(
        examples: &[Example],
        tokens_per_batch: usize,
        seed: u64,
        epoch: u64,
        position: usize,
    ) -> Sampler {
        let lengths = examples.iter().map(|row| (row.source.len() + 1, row.target.len() + 1)).collect();
        let mut sampler = Sampler { lengths, tokens_per_batch, seed, epoch, batches: Vec::new(), position };
        sampler.batches = sampler.batches_of(epoch);
        sampler
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

    /// The epoch that the next batch belongs to. At the end of an epoch that is the next one.
    pub fn epoch(&self) -> u64 {
        if self.position == self.batches.len() { self.epoch + 1 } else { self.epoch }
    }

    /// Batches of that epoch that were handed out.
    pub fn position(&self) -> usize {
        if self.position == self.batches.len() { 0 } else { self.position }
    }

    /// Rows sorted by length, equal ones in random order, cut where a batch is full, and the batches shuffled.
    fn batches_of(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed_for(self.seed, epoch, "order"));
        let mut rows: Vec<usize> = (0..self.lengths.len()).collect();
        rows.shuffle(&mut random);
        rows.sort_by_key(|&row| (self.lengths[row].1, self.lengths[row].0));
        let mut batches = batches_within(&rows, &self.lengths, self.tokens_per_batch);
        batches.shuffle(&mut random);
        batches
    }
}

/// Cuts rows, in their order, into batches of at most `budget` positions on either side, padding counted in.
/// A row that is longer than the budget is a batch of its own.
pub fn batches_within(rows: &[usize], lengths: &[(usize, usize)], budget: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for &row in rows {
        let length = lengths[row].0.max(lengths[row].1);
        match batches.last_mut() {
            Some(batch) if longest.max(length) * (batch.len() + 1) <= budget => {
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

    fn examples(count: usize) -> Vec<Example> {
        (0..count).map(|n| Example { source: vec![5; n % 7 + 1], target: vec![5; n % 11 + 1] }).collect()
    }

    fn epoch(sampler: &mut Sampler) -> Vec<Vec<usize>> {
        let now = sampler.epoch();
        let mut batches = Vec::new();
        while sampler.epoch() == now {
            batches.push(sampler.next_batch().to_vec());
        }
        batches
    }

    #[test]
    fn an_epoch_holds_every_row_once_and_keeps_to_the_budget() {
        let rows = examples(100);
        let mut sampler = Sampler::new(&rows, 40, 1, 0, 0);
        let (first, second) = (epoch(&mut sampler), epoch(&mut sampler));
        for batches in [&first, &second] {
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
            for batch in batches {
                let longest = batch.iter().map(|&r| rows[r].source.len().max(rows[r].target.len()) + 1).max();
                assert!(longest.unwrap() * batch.len() <= 40);
            }
        }
        assert_ne!(first, second);
    }

    #[test]
    fn a_sampler_that_starts_in_the_middle_goes_on_as_the_first_one_did() {
        let rows = examples(60);
        let mut whole = Sampler::new(&rows, 30, 7, 0, 0);
        for _ in 0..25 {
            whole.next_batch();
        }
        let mut resumed = Sampler::new(&rows, 30, 7, whole.epoch(), whole.position());
        for _ in 0..25 {
            assert_eq!(whole.next_batch(), resumed.next_batch());
        }
    }

    #[test]
    fn a_row_longer_than_the_budget_is_a_batch_of_its_own() {
        let batches = batches_within(&[0, 1, 2], &[(2, 2), (90, 3), (2, 2)], 10);
        assert_eq!(batches, [vec![0], vec![1], vec![2]]);
    }
}
