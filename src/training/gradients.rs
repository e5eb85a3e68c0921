//! The gradients of one update: the sum over the shards of its batches, and what to do if a shard runs out of memory.
//!
//! Each shard runs forward and backward on one thread. The results are added up along the tree that cut the batches
//! (`data/shard.rs`), so that the number of threads changes no bit. Several ranks share the same tree: its upper nodes
//! lie between them (`exchange.rs`), so their number changes no bit either.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Device, Tensor};

use super::TrainingConfig;
use super::context::{InjectedFaults, TrainContext};
use super::exchange::Exchange;
use super::loss::objective;
use super::metrics::RunningStats;
use super::out_of_memory::{MemoryRoom, catch_out_of_memory, find_budget};
use super::replicas::{GradientSum, Replicas};
use crate::data::batch::Batch;
use crate::data::loader::{Collator, MicroBatch, UpdatePlan};
use crate::data::shard::{Shard, Tree};
use crate::error::{Error, Result};
use crate::runtime::{memory, seed_for, threads};
use crate::shim::set_gradients;
use crate::shim::threads::on_this_thread_alone;

/// Computes the gradients of an update; shared by threads.
pub(crate) struct GradientEngine<'e> {
    /// `[training]`
    pub config: &'e TrainingConfig,
    /// The run's seed.
    pub seed: u64,
    /// Collates shards that are not collated yet.
    pub collator: &'e Collator,
    /// The network, for each thread.
    pub replicas: &'e Replicas,
    /// Faults that tests inject.
    pub faults: &'e InjectedFaults,
    /// The number of the update, from 1.
    pub step: u64,
}

/// The result of an update's batches. The losses are read last, so as not to synchronise with a GPU early.
pub(crate) struct StepOutput {
    counts: RunningStats,
    losses: Option<Tensor>,
    /// Rows that were skipped because they do not fit into memory.
    pub skipped_rows: Vec<usize>,
    /// The fewest positions that ran out of memory so far.
    pub too_large: Option<usize>,
}

/// Why there is no sum.
enum Interrupted {
    /// Out of memory at this shard.
    Memory(Shard),
    /// Another shard has failed already.
    Elsewhere,
    Error(Error),
}

impl Interrupted {
    /// Which of two to report.
    fn or(self, other: Interrupted) -> Interrupted {
        if matches!(self, Interrupted::Elsewhere) { other } else { self }
    }
}

/// One pass over the tree.
struct TreeReduction<'w> {
    engine: &'w GradientEngine<'w>,
    /// Number of labels in the whole update.
    tokens: usize,
    /// Whether a shard failed: the remaining ones need not start.
    broken: AtomicBool,
}

/// After this many single rows ran out of memory, with no success before, the shortest row is tried.
const FAILED_ROWS_BEFORE_TRIAL: usize = 8;

/// (positions of a side per shard at least, up to this many shards). Smaller shards keep more cores busy, but each
/// shard costs a pass over all weights.
const MIN_SHARD_POSITIONS: [(usize, usize); 3] = [(256, 2), (1024, 4), (2048, 1024)];

/// The number of shards of an update with `positions` positions on a side, if the config sets none.
fn shards_for(positions: usize) -> usize {
    MIN_SHARD_POSITIONS.iter().map(|&(worth, most)| (positions / worth).clamp(1, most)).max().unwrap_or(1)
}

/// The number of shards of an update, if its batches have enough rows.
pub(crate) fn shards(config: &TrainingConfig, tokens_per_batch: usize) -> usize {
    config.accumulate << halvings(config, tokens_per_batch, (Device::Cpu, 1))
}

/// How many times each batch is halved. On a CPU it follows from the config alone, never from the machine; a GPU takes
/// whole batches, or as many parts as there are ranks.
pub(crate) fn halvings(
    config: &TrainingConfig,
    tokens_per_batch: usize,
    (device, ranks): (Device, usize),
) -> u32 {
    let shards = match (device, config.shards) {
        (Device::Cpu, 0) => shards_for(tokens_per_batch * config.accumulate),
        (Device::Cpu, shards) => shards,
        _ => ranks,
    };
    (shards / config.accumulate.next_power_of_two()).max(1).ilog2()
}

/// How updates are made, and which part of them this rank computes.
///
/// # Errors
/// The ranks cannot share an update in whole subtrees.
pub(crate) fn plan(context: &TrainContext, tokens_per_batch: usize) -> Result<UpdatePlan> {
    let TrainContext { config, group, params, .. } = context;
    let (rank, ranks, accumulate) = (group.rank(), group.ranks(), config.accumulate);
    let halvings = halvings(config, tokens_per_batch, (params.device(), ranks));
    let shards = accumulate << halvings;
    if !ranks.is_power_of_two() || ranks > shards {
        let message = format!(
            "the number of ranks must be a power of two of at most {shards}, the shards of an update, but it is {ranks}"
        );
        let more = ranks.next_power_of_two();
        return Err(Error::input(message).hint(match more > shards {
            true => {
                format!("start fewer ranks, or cut updates into more shards: --set training.shards={more}")
            }
            false => format!("start {} or {more} ranks", more / 2),
        }));
    }
    Ok(UpdatePlan { accumulate, halvings, rank, ranks })
}

impl GradientEngine<'_> {
    /// Computes the gradients, together with the other ranks, and stores them in the weights. `too_large` is the fewest
    /// positions that ran out of memory so far: no shard of that size is tried again.
    ///
    /// When out of memory, it starts over with all shards of that size halved. A row that does not fit alone is
    /// skipped.
    ///
    /// # Errors
    /// Not a single row fits into memory; errors of libtorch; a rank is lost.
    pub(crate) fn gradients(
        &self,
        context: &TrainContext,
        exchange: &Exchange,
        update: Tree<MicroBatch>,
        too_large: Option<usize>,
    ) -> Result<StepOutput> {
        let (mut too_large, mut skipped_rows) = (too_large, Vec::new());
        let mut shards = Some(shards_of(&update));
        let mut tree = Some(update);
        if too_large.is_some() {
            (shards, tree) = (shards.map(|shards| self.small_enough(shards, too_large)), None);
        }
        loop {
            let Some(all) = shards else { return self.without_gradients(context, skipped_rows, too_large) };
            let leaves = tree.take().unwrap_or_else(|| all.clone().map(&mut |shard| (shard, None)));
            let labels = self.labels(&all)?;
            let own = exchange.part(leaves).map(|part| self.sum_over(part, labels));
            let broken = match exchange.sum(transposed(own), &all, context.params)? {
                ControlFlow::Continue(sum) => {
                    return Ok(StepOutput::of(sum, context, skipped_rows, too_large));
                }
                ControlFlow::Break(broken) => broken,
            };
            too_large = Some(self.positions(&broken).min(too_large.unwrap_or(usize::MAX)));
            let first = all.leaves()[0] == &broken;
            shards = Some(all);
            if broken.rows.len() == 1 {
                shards = shards.and_then(|all| all.without(&|shard| *shard == broken));
                skipped_rows.extend(broken.rows);
            }
            if first && skipped_rows.len() == FAILED_ROWS_BEFORE_TRIAL && !self.shortest_fits(context)? {
                let message = "at least one pair must fit into memory, but none does";
                return Err(Error::failure(message).hint("use a smaller model, or free some memory"));
            }
            shards = shards.map(|all| self.small_enough(all, too_large));
        }
    }

    /// No row fits into memory.
    fn without_gradients(
        &self,
        context: &TrainContext,
        skipped_rows: Vec<usize>,
        too_large: Option<usize>,
    ) -> Result<StepOutput> {
        context.params.clear_gradients();
        Ok(StepOutput { counts: RunningStats::default(), losses: None, skipped_rows, too_large })
    }

    /// Whether the shortest row of the set fits into memory; a batch may consist of long rows only.
    fn shortest_fits(&self, context: &TrainContext) -> Result<bool> {
        let rows = (0..context.train.corpus.len()).min_by_key(|&row| self.collator.positions(row));
        let shard = Tree::Leaf(Shard::whole(rows.into_iter().collect(), 0));
        Ok(self.sum_over_all(shard)?.is_continue())
    }

    /// The same rows in shards of fewer than `too_large` positions; single rows stay as they are.
    fn small_enough(&self, shards: Tree<Shard>, too_large: Option<usize>) -> Tree<Shard> {
        let Some(too_large) = too_large else { return shards };
        let is_too_large = |shard: &Shard| self.positions(shard) >= too_large;
        shards.halved_where(&is_too_large, &|row| self.collator.positions(row))
    }

    /// Positions of a shard, including padding.
    fn positions(&self, shard: &Shard) -> usize {
        self.collator.padded_positions(&shard.rows)
    }

    /// Labels of all rows.
    fn labels(&self, tree: &Tree<Shard>) -> Result<usize> {
        let leaves = tree.leaves().into_iter();
        let rows = leaves.flat_map(|shard| shard.rows.iter().map(|&row| (row, shard.pass)));
        rows.map(|(row, pass)| self.collator.labels(row, pass)).sum()
    }

    /// Forward and backward over the shards of an update, on this rank alone; or the shard that ran out of memory.
    fn sum_over_all(&self, shards: Tree<Shard>) -> Result<ControlFlow<Shard, GradientSum>> {
        let tokens = self.labels(&shards)?;
        self.sum_over(shards.map(&mut |shard| (shard, None)), tokens)
    }

    /// Forward and backward over shards of an update with `tokens` labels; or the shard that ran out of memory.
    fn sum_over(&self, tree: Tree<MicroBatch>, tokens: usize) -> Result<ControlFlow<Shard, GradientSum>> {
        let walk = TreeReduction { engine: self, tokens, broken: AtomicBool::new(false) };
        match self.replicas.on_all(|| walk.sum(tree)) {
            Ok(sum) => Ok(ControlFlow::Continue(sum)),
            Err(Interrupted::Memory(shard)) => Ok(ControlFlow::Break(shard)),
            Err(Interrupted::Error(error)) => Err(error),
            Err(Interrupted::Elsewhere) => Err(Error::failure("a shard failed without an error")),
        }
    }

    /// Forward and backward over one shard. The loss is divided by the `tokens` of the whole update.
    fn backward(&self, shard: &Shard, batch: &Batch, tokens: usize) -> Result<GradientSum> {
        self.faults.memory(batch.positions())?;
        let seed = seed_for(self.seed, self.step, &format!("dropout {}", shard.name));
        let fault = if self.faults.nan_at.contains(&self.step) { f64::NAN } else { 1.0 };
        self.replicas.with(|replica| {
            let batch = &batch.to_device(replica.device());
            let found = objective(&replica.model, self.config, batch, self.step, seed);
            let gradients = replica.backward(&(&found.total * (fault / tokens as f64)))?;
            let losses = Tensor::stack(&[found.total.detach() * fault, found.nll.detach()], 0); // (2)
            Ok(GradientSum { counts: RunningStats::of(batch), losses, gradients })
        })
    }
}

impl TreeReduction<'_> {
    /// Left and right in parallel if a thread is free. The order of the additions is that of the tree.
    fn sum(&self, tree: Tree<MicroBatch>) -> std::result::Result<GradientSum, Interrupted> {
        match tree {
            Tree::Leaf(leaf) => on_this_thread_alone(|| self.leaf(leaf)),
            Tree::Node(halves) => {
                let [left, right] = *halves;
                match threads::join(|| self.sum(left), || self.sum(right)) {
                    (Ok(left), Ok(right)) => Ok(left.plus(right)),
                    (Err(left), Err(right)) => Err(left.or(right)),
                    (Err(broken), _) | (_, Err(broken)) => Err(broken),
                }
            }
        }
    }

    fn leaf(&self, (shard, batch): MicroBatch) -> std::result::Result<GradientSum, Interrupted> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Interrupted::Elsewhere);
        }
        let run = || {
            let batch = batch.map_or_else(|| self.engine.collator.shard(&shard), Ok)?;
            self.engine.backward(&shard, &batch, self.tokens)
        };
        let broken = match catch_out_of_memory(run) {
            Ok(Some(sum)) => return Ok(sum),
            Ok(None) => Interrupted::Memory(shard),
            Err(error) => Interrupted::Error(error),
        };
        self.broken.store(true, Ordering::Relaxed);
        Err(broken)
    }
}

/// A rank may have no shard.
fn transposed(
    own: Option<Result<ControlFlow<Shard, GradientSum>>>,
) -> Result<ControlFlow<Shard, Option<GradientSum>>> {
    match own.transpose()? {
        Some(ControlFlow::Break(shard)) => Ok(ControlFlow::Break(shard)),
        Some(ControlFlow::Continue(sum)) => Ok(ControlFlow::Continue(Some(sum))),
        None => Ok(ControlFlow::Continue(None)),
    }
}

fn shards_of(tree: &Tree<MicroBatch>) -> Tree<Shard> {
    match tree {
        Tree::Leaf((shard, _)) => Tree::Leaf(shard.clone()),
        Tree::Node(halves) => Tree::node(shards_of(&halves[0]), shards_of(&halves[1])),
    }
}

impl StepOutput {
    /// Stores the gradients of a sum in the weights.
    fn of(
        sum: GradientSum,
        context: &TrainContext,
        skipped_rows: Vec<usize>,
        too_large: Option<usize>,
    ) -> StepOutput {
        let weights: Vec<&Tensor> = context.params.iter().map(|param| &param.tensor).collect();
        set_gradients(&weights, &sum.gradients);
        StepOutput { counts: sum.counts, losses: Some(sum.losses), skipped_rows, too_large }
    }

    /// The update's statistics, with the norm of its gradients.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub(crate) fn window(&self, gradient_norm: f64) -> Result<RunningStats> {
        let Some(losses) = &self.losses else { return Ok(RunningStats::default()) };
        let losses = Vec::<f64>::try_from(losses)?;
        Ok(RunningStats { loss: losses[0], nll: losses[1], gradient_norm, updates: 1, ..self.counts.clone() })
    }
}

impl RunningStats {
    /// The counts of a batch, with its sums still zero.
    fn of(batch: &Batch) -> RunningStats {
        RunningStats {
            tokens: batch.target_tokens() as u64,
            source_tokens: (batch.real_positions() - batch.target_tokens()) as u64,
            positions: batch.positions() as u64,
            rows: batch.rows() as u64,
            ..RunningStats::default()
        }
    }
}

/// `tokens_per_batch = "auto"`: tries how much fits, without changing the weights.
///
/// # Errors
/// Not even small batches fit.
pub(crate) fn budget_for(context: &TrainContext, collator: &Collator, replicas: &Replicas) -> Result<usize> {
    let TrainContext { config, seed, params, faults, .. } = context;
    let device = params.device();
    // While a checkpoint is written, weights and state are in memory twice more: as copies, and as bytes.
    let weights: usize = params.iter().map(|param| param.tensor.numel() * 4).sum();
    let saving = if device == Device::Cpu { 9 * weights as u64 } else { 0 };
    let limit = (config.memory_limit * (1u64 << 30) as f64) as u64;
    let engine = GradientEngine { config, seed: *seed, collator, replicas, faults, step: u64::MAX };
    let trial = |rows: &[usize], budget: usize| -> Result<()> {
        let shard = Shard::whole(rows.to_vec(), 0);
        let tree = Tree::cut(shard, halvings(config, budget, (device, 1)), &|row| collator.positions(row));
        match engine.sum_over_all(tree)? {
            ControlFlow::Continue(_) => Ok(()),
            ControlFlow::Break(_) => Err(Error::out_of_memory("out of memory")),
        }
    };
    let found =
        find_budget(context.train.corpus.lengths(), device, MemoryRoom { limit, kept: saving }, trial);
    memory::forget(device);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_shards_depends_on_the_positions_unless_the_config_sets_it() {
        let by_tokens = [256, 512, 1024, 2048, 4096, 8192, 16_384].map(shards_for);
        assert_eq!(by_tokens, [1, 2, 2, 2, 4, 4, 8]);
        let config = |shards, accumulate| TrainingConfig { shards, accumulate, ..TrainingConfig::default() };
        assert_eq!(halvings(&config(0, 1), 4096, (Device::Cpu, 1)), 2);
        assert_eq!(halvings(&config(0, 4), 512, (Device::Cpu, 1)), 0, "four batches are four shards");
        assert_eq!(halvings(&config(8, 1), 100, (Device::Cpu, 1)), 3);
        assert_eq!(halvings(&config(8, 3), 100, (Device::Cpu, 1)), 1, "three batches of two shards");
        assert_eq!(halvings(&config(8, 1), 4096, (Device::Cuda(0), 1)), 0);
        assert_eq!(halvings(&config(0, 1), 4096, (Device::Cuda(0), 4)), 2, "a part for each GPU");
    }
}
