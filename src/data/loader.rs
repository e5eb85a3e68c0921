//! Prefetches the batches of updates on its own thread, in the order of the batch sampler.
//!
//! The content of a batch is a function of (seed, epoch, position), so it does not depend on the thread or the time.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::batch::Batch;
use super::batch_sampler::{BatchSampler, Positions};
use super::corpus::{Corpus, Example};
use super::shard::{Shard, Tree};
use super::source::SourceItem;
use super::tokenizer::bpe_dropout::BpeDropout;
use super::vocabulary::UNK;
use crate::error::{Error, Result, caught};
use crate::runtime::seed_for;

/// Number of prefetched batches, at least; whole updates.
const AHEAD: usize = 8;

/// A shard, and its batch once it is collated.
pub(crate) type MicroBatch = (Shard, Option<Batch>);

/// How updates are made of batches, and which shards of an update a rank computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpdatePlan {
    /// Batches of an update.
    pub accumulate: usize,
    /// How many times each batch is halved.
    pub halvings: u32,
    /// The rank.
    pub rank: usize,
    /// The number of ranks, a power of two.
    pub ranks: usize,
}

/// The batches of an update, and the sampler's position after them.
#[derive(Debug)]
pub(crate) struct LoadedUpdate {
    /// The shards of all ranks; those of this rank are collated.
    pub shards: Tree<MicroBatch>,
    /// Complete passes over the set after this update.
    pub epoch: u64,
    /// Batches of the current pass after this update.
    pub position: usize,
}

impl LoadedUpdate {
    /// The rows of all shards.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> {
        self.shards.leaves().into_iter().flat_map(|(shard, _)| shard.rows.iter().copied())
    }
}

/// Makes batches of rows.
#[derive(Clone, Debug)]
pub struct Collator {
    corpus: Arc<Corpus>,
    lengths: Arc<[Positions]>,
    word_dropout: f64,
    bpe_dropout: [Option<BpeDropout>; 2],
    seed: u64,
}

impl Collator {
    /// For the rows of a set. `word_dropout` is the share of input tokens that are replaced by `<unk>`; labels are
    /// unchanged.
    pub fn new(corpus: Arc<Corpus>, word_dropout: f64, seed: u64) -> Collator {
        let lengths = corpus.lengths().clone();
        Collator { corpus, lengths, word_dropout, bpe_dropout: [None, None], seed }
    }

    /// The same with pieces that are drawn anew in each pass.
    pub(crate) fn with_bpe_dropout(self, bpe_dropout: [Option<BpeDropout>; 2]) -> Collator {
        Collator { bpe_dropout, ..self }
    }

    /// Positions of a row on both sides.
    pub(crate) fn positions(&self, row: usize) -> usize {
        let (source, target) = self.lengths[row];
        (source + target) as usize
    }

    /// Positions of some rows as a batch, including padding.
    pub(crate) fn padded_positions(&self, rows: &[usize]) -> usize {
        let lengths = rows.iter().map(|&row| self.lengths[row]);
        let longest = lengths.fold((0, 0), |most, row| (row.0.max(most.0), row.1.max(most.1)));
        rows.len() * (longest.0 + longest.1) as usize
    }

    /// Labels of a row in a pass.
    ///
    /// # Errors
    /// Tokens that cannot be read.
    pub(crate) fn labels(&self, row: usize, epoch: u64) -> Result<usize> {
        match &self.bpe_dropout[1] {
            None => Ok(self.lengths[row].1 as usize),
            Some(_) => {
                let [_, target] = self.corpus.tokens(row)?;
                Ok(self.drawn(1, target, row, epoch).len() + 1)
            }
        }
    }

    /// The tokens of a side of a row in a pass, by BPE dropout.
    fn drawn(&self, side: usize, ids: Vec<i64>, row: usize, epoch: u64) -> Vec<i64> {
        let Some(dropout) = &self.bpe_dropout[side] else { return ids };
        let seed = seed_for(self.seed, epoch, &format!("BPE dropout {side} {row}"));
        dropout.apply(ids, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    /// A row as a pass reads it.
    fn example(&self, row: usize, epoch: u64) -> Result<Example> {
        let seed = || seed_for(self.seed, epoch, &format!("augmentation {row}"));
        let Example { source, target } = self.corpus.augmented(row, seed)?;
        let source = match source {
            SourceItem::Tokens(ids) => SourceItem::Tokens(self.drawn(0, ids, row, epoch)),
            frames => frames,
        };
        Ok(Example { source, target: self.drawn(1, target, row, epoch) })
    }

    /// The batch of a shard.
    ///
    /// # Errors
    /// Features that cannot be read.
    pub(crate) fn shard(&self, shard: &Shard) -> Result<Batch> {
        self.batch(&shard.rows, shard.pass)
    }

    /// Pads the rows named. Which words are dropped, in which pieces a text is read, and how a recording is varied, is a
    /// function of the row and the epoch.
    ///
    /// # Errors
    /// Features that cannot be read.
    pub fn batch(&self, rows: &[usize], epoch: u64) -> Result<Batch> {
        let examples = rows.iter().map(|&row| self.example(row, epoch));
        let examples = examples.collect::<Result<Vec<Example>>>()?;
        let batch = collate(&examples);
        if self.word_dropout == 0.0 {
            return Ok(batch);
        }
        let seen = rows.iter().zip(&examples).map(|(&row, one)| self.with_word_dropout(row, one, epoch));
        let seen = collate(&seen.collect::<Vec<_>>());
        Ok(Batch { source: seen.source, target_in: seen.target_in, ..batch })
    }

    fn with_word_dropout(&self, row: usize, example: &Example, epoch: u64) -> Example {
        let seed = seed_for(self.seed, epoch, &format!("word dropout {row}"));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut drop = |token: &i64| if random.random_bool(self.word_dropout) { UNK } else { *token };
        let source = match &example.source {
            SourceItem::Tokens(ids) => SourceItem::Tokens(ids.iter().map(&mut drop).collect()),
            frames => frames.clone(),
        };
        Example { source, target: example.target.iter().map(drop).collect() }
    }
}

/// Pads rows to a batch.
pub(crate) fn collate(examples: &[Example]) -> Batch {
    let sources: Vec<&SourceItem> = examples.iter().map(|example| &example.source).collect();
    let targets: Vec<&[i64]> = examples.iter().map(|example| example.target.as_slice()).collect();
    Batch::new(&sources, &targets)
}

/// The iterator of updates.
#[derive(Debug)]
pub(crate) struct Loader {
    updates: Receiver<Result<LoadedUpdate>>,
}

impl Loader {
    /// Starts a thread that prefetches the batches of updates; it ends with the loader.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        mut batch_sampler: BatchSampler,
        collator: Collator,
        plan: UpdatePlan,
    ) -> Result<Loader> {
        let (sender, updates) = sync_channel(AHEAD.div_ceil(plan.accumulate));
        let mut next = move || load(&mut batch_sampler, &collator, plan);
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
        Ok(Loader { updates })
    }

    /// The batches of the next update.
    ///
    /// # Errors
    /// The thread has panicked.
    pub(crate) fn next_update(&self) -> Result<LoadedUpdate> {
        let ended = |_| Err(Error::failure("the loader's thread has ended"));
        self.updates.recv().unwrap_or_else(ended)
    }
}

/// The next batches, cut into shards; those of the rank are collated.
fn load(batch_sampler: &mut BatchSampler, collator: &Collator, plan: UpdatePlan) -> Result<LoadedUpdate> {
    let UpdatePlan { accumulate, halvings, rank, ranks } = plan;
    let mut next = |number: usize| {
        let pass = batch_sampler.epoch();
        // The random numbers of a shard depend on its batch's number in the update, too.
        let name = number.to_string();
        let whole = Shard { name, ..Shard::whole(batch_sampler.next_batch(), pass) };
        Tree::cut(whole, halvings, &|row| collator.positions(row))
    };
    let batches = (0..accumulate).map(&mut next).collect();
    let shards = Tree::over(batches).ok_or_else(|| Error::failure("an update without batches"))?;
    let shards = shards.marked(Some(rank), ranks).try_map(&mut |(shard, own)| {
        let batch = own.then(|| collator.shard(&shard)).transpose()?;
        Ok((shard, batch))
    })?;
    Ok(LoadedUpdate { shards, epoch: batch_sampler.epoch(), position: batch_sampler.position() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(count: i64) -> Arc<Corpus> {
        let row = |n: i64| Example {
            source: vec![4 + n % 5; n as usize % 7 + 1].into(),
            target: vec![4; n as usize % 5 + 1],
        };
        Arc::new(Corpus::of_examples((0..count).map(row).collect()))
    }

    fn loader(word_dropout: f64, epoch: u64, position: usize) -> Loader {
        let corpus = corpus(50);
        let batch_sampler = BatchSampler::new(corpus.lengths().clone(), 40, 3, epoch, position);
        Loader::start(batch_sampler, Collator::new(corpus, word_dropout, 3), ALONE).unwrap()
    }

    const ALONE: UpdatePlan = UpdatePlan { accumulate: 1, halvings: 1, rank: 0, ranks: 1 };

    #[test]
    fn a_loader_resumed_in_the_middle_yields_the_same_batches() {
        let whole = loader(0.3, 0, 0);
        let mut last = whole.next_update().unwrap();
        for _ in 0..13 {
            last = whole.next_update().unwrap();
        }
        let resumed = loader(0.3, last.epoch, last.position);
        for _ in 0..20 {
            let (one, other) = (whole.next_update().unwrap(), resumed.next_update().unwrap());
            assert_eq!((one.epoch, one.position), (other.epoch, other.position));
            let (one, other) = (one.shards.leaves(), other.shards.leaves());
            assert_eq!(one.len(), other.len());
            for ((shard, batch), (same, other)) in one.into_iter().zip(other) {
                assert_eq!(shard, same);
                let (batch, other) = (batch.as_ref().unwrap(), other.as_ref().unwrap());
                assert!(batch.source.values.equal(&other.source.values));
                assert!(batch.target_in.equal(&other.target_in));
            }
        }
    }

    #[test]
    fn two_ranks_share_the_shards_of_the_updates_of_one() {
        let loader = |rank: usize, ranks: usize| {
            let corpus = corpus(50);
            let batch_sampler = BatchSampler::new(corpus.lengths().clone(), 40, 3, 0, 0);
            let plan = UpdatePlan { accumulate: 3, halvings: 2, rank, ranks };
            Loader::start(batch_sampler, Collator::new(corpus, 0.0, 3), plan).unwrap()
        };
        let (alone, ranks) = (loader(0, 1), [loader(0, 2), loader(1, 2)]);
        for _ in 0..10 {
            let (whole, parts) =
                (alone.next_update().unwrap(), ranks.each_ref().map(|one| one.next_update().unwrap()));
            let shards = |update: &LoadedUpdate| -> Vec<Shard> {
                update.shards.leaves().into_iter().map(|(shard, _)| shard.clone()).collect()
            };
            let own = |update: &LoadedUpdate| -> Vec<bool> {
                update.shards.leaves().into_iter().map(|(_, batch)| batch.is_some()).collect()
            };
            assert!(parts.iter().all(|part| shards(part) == shards(&whole)));
            assert!(own(&whole).into_iter().all(|own| own));
            let [left, right] = parts.each_ref().map(own);
            assert!(left.iter().zip(&right).all(|(left, right)| left != right));
            assert!(left.iter().any(|own| *own) && right.iter().any(|own| *own));
        }
    }

    #[test]
    fn a_thread_that_panics_reports_why() {
        let batch_sampler = BatchSampler::new([(3, 3); 4].into(), 12, 3, 0, 0);
        // A set without the sampler's rows.
        let loader = Loader::start(batch_sampler, Collator::new(corpus(0), 0.0, 3), ALONE).unwrap();
        let error = loader.next_update().unwrap_err();
        assert!(error.message().contains("index out of bounds"), "{error}");
    }

    #[test]
    fn word_dropout_replaces_its_share_of_the_inputs_and_no_label() {
        let all: Vec<usize> = (0..50).collect();
        let collator = |share| Collator::new(corpus(50), share, 1).batch(&all, 0).unwrap();
        let (plain, dropped) = (collator(0.0), collator(0.4));
        let unknown = |tokens: &tch::Tensor| tokens.eq(UNK).sum(tch::Kind::Int64).int64_value(&[]) as f64;
        for (tokens, real) in [
            (&dropped.source.values, plain.source.lengths.iter().sum::<i64>() - 50),
            (&dropped.target_in, plain.target_tokens() as i64 - 50),
        ] {
            let share = unknown(tokens) / real as f64;
            assert!((share - 0.4).abs() < 0.12, "{share}");
        }
        assert!(dropped.labels.equal(&plain.labels) && dropped.label_positions.equal(&plain.label_positions));
        assert_eq!(unknown(&plain.source.values), 0.0);
    }
}
