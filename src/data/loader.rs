//! Batches made ahead of their use, on a thread of their own, in the sampler's order.
//!
//! What a batch holds is a function of (seed, epoch, position), so it is the same whoever makes it and when.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::batch::Batch;
use super::dataset::Example;
use super::sampler::Sampler;
use super::vocabulary::UNK;
use crate::error::{Error, Result, caught};
use crate::runtime::seed_for;

/// Batches that wait to be used.
const AHEAD: usize = 8;

/// A batch, and where the sampler stands behind it.
#[derive(Debug)]
pub struct Loaded {
    /// The padded rows.
    pub batch: Batch,
    /// Which rows of the set they are.
    pub rows: Vec<usize>,
    /// The pass over the set that it belongs to; the first is 0.
    pub pass: u64,
    /// Passes over the set that are complete after this batch.
    pub epoch: u64,
    /// Batches of the current pass that are used after this one.
    pub position: usize,
}

/// Makes batches of rows.
#[derive(Clone, Debug)]
pub struct Assembler {
    examples: Arc<[Example]>,
    word_dropout: f64,
    seed: u64,
}

impl Assembler {
    /// Over the rows of a set. `word_dropout` is the share of the tokens that the network sees as `<unk>`; the labels
    /// stay what they are.
    pub fn new(examples: Arc<[Example]>, word_dropout: f64, seed: u64) -> Assembler {
        Assembler { examples, word_dropout, seed }
    }

    /// Pads the rows named. Which words are dropped is a function of the row and the epoch.
    pub fn batch(&self, rows: &[usize], epoch: u64) -> Batch {
        let examples: Vec<&Example> = rows.iter().map(|&row| &self.examples[row]).collect();
        let sources: Vec<&[i64]> = examples.iter().map(|example| example.source.as_slice()).collect();
        let targets: Vec<&[i64]> = examples.iter().map(|example| example.target.as_slice()).collect();
        if self.word_dropout == 0.0 {
            return Batch::new(&sources, &targets);
        }
        let seen: Vec<Example> = rows.iter().map(|&row| self.with_unknown(row, epoch)).collect();
        let seen_sources: Vec<&[i64]> = seen.iter().map(|example| example.source.as_slice()).collect();
        let seen_targets: Vec<&[i64]> = seen.iter().map(|example| example.target.as_slice()).collect();
        let seen = Batch::new(&seen_sources, &seen_targets);
        Batch { source: seen.source, target_in: seen.target_in, ..Batch::new(&sources, &targets) }
    }

    fn with_unknown(&self, row: usize, epoch: u64) -> Example {
        let seed = seed_for(self.seed, epoch, &format!("word dropout {row}"));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut drop = |token: &i64| if random.random_bool(self.word_dropout) { UNK } else { *token };
        let Example { source, target } = &self.examples[row];
        Example { source: source.iter().map(&mut drop).collect(), target: target.iter().map(drop).collect() }
    }
}

/// Hands out batches.
#[derive(Debug)]
pub struct Loader {
    batches: Receiver<Result<Loaded>>,
}

impl Loader {
    /// Starts a thread that makes batches ahead; it ends with the loader.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(mut sampler: Sampler, assembler: Assembler) -> Result<Loader> {
        let (sender, batches) = sync_channel(AHEAD);
        let mut next = move || {
            let pass = sampler.epoch();
            let rows = sampler.next_batch().to_vec();
            let batch = assembler.batch(&rows, pass);
            Ok(Loaded { batch, rows, pass, epoch: sampler.epoch(), position: sampler.position() })
        };
        let make = move || {
            loop {
                let loaded = caught(&mut next);
                let broken = loaded.is_err();
                if sender.send(loaded).is_err() || broken {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("loader".to_owned()).spawn(make);
        thread.map_err(|error| Error::failure(format!("cannot start the loader's thread: {error}")))?;
        Ok(Loader { batches })
    }

    /// The next batch.
    ///
    /// # Errors
    /// The thread has broken down.
    pub fn next_batch(&self) -> Result<Loaded> {
        let ended = |_| Err(Error::failure("the loader's thread has ended"));
        self.batches.recv().unwrap_or_else(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(count: i64) -> Arc<[Example]> {
        let row = |n: i64| Example {
            source: vec![4 + n % 5; n as usize % 7 + 1],
            target: vec![4; n as usize % 5 + 1],
        };
        (0..count).map(row).collect()
    }

    fn loader(word_dropout: f64, epoch: u64, position: usize) -> Loader {
        let examples = examples(50);
        let lengths = examples.iter().map(Example::lengths).collect();
        let sampler = Sampler::new(lengths, 40, 3, epoch, position);
        Loader::start(sampler, Assembler::new(examples, word_dropout, 3)).unwrap()
    }

    #[test]
    fn a_loader_that_starts_in_the_middle_goes_on_as_the_first_one_did() {
        let whole = loader(0.3, 0, 0);
        let mut last = whole.next_batch().unwrap();
        for _ in 0..13 {
            last = whole.next_batch().unwrap();
        }
        let resumed = loader(0.3, last.epoch, last.position);
        for _ in 0..20 {
            let (one, other) = (whole.next_batch().unwrap(), resumed.next_batch().unwrap());
            assert_eq!((one.epoch, one.position, &one.rows), (other.epoch, other.position, &other.rows));
            assert!(one.batch.source.tokens.equal(&other.batch.source.tokens));
            assert!(one.batch.target_in.equal(&other.batch.target_in));
        }
    }

    #[test]
    fn a_thread_that_breaks_down_says_why() {
        let sampler = Sampler::new(vec![(3, 3); 4], 12, 3, 0, 0);
        // A set that lacks the rows that the sampler knows of.
        let loader = Loader::start(sampler, Assembler::new(examples(0), 0.0, 3)).unwrap();
        let error = loader.next_batch().unwrap_err();
        assert!(error.message().contains("index out of bounds"), "{error}");
    }

    #[test]
    fn word_dropout_hides_its_share_of_the_inputs_and_no_label() {
        let all: Vec<usize> = (0..50).collect();
        let assembler = |share| Assembler::new(examples(50), share, 1).batch(&all, 0);
        let (plain, dropped) = (assembler(0.0), assembler(0.4));
        let unknown = |tokens: &tch::Tensor| tokens.eq(UNK).sum(tch::Kind::Int64).int64_value(&[]) as f64;
        for (tokens, real) in [
            (&dropped.source.tokens, plain.source.lengths.iter().sum::<i64>() - 50),
            (&dropped.target_in, plain.target_tokens() as i64 - 50),
        ] {
            let share = unknown(tokens) / real as f64;
            assert!((share - 0.4).abs() < 0.12, "{share}");
        }
        assert!(dropped.labels.equal(&plain.labels) && dropped.places.equal(&plain.places));
        assert_eq!(unknown(&plain.source.tokens), 0.0);
    }
}
