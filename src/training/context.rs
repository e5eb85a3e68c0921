//! The parts of a training run, and the interface to its checkpoints.

use tch::Tensor;

use super::TrainingConfig;
use super::state::TrainState;
use crate::data::dataset::Dataset;
use crate::data::tokenizer::Tokenizer;
use crate::decoding::DecodingConfig;
use crate::distributed::Group;
use crate::error::{Error, Result};
use crate::model::network::Network;
use crate::model::params::Params;

/// Everything that a training run uses.
pub struct TrainContext<'a> {
    /// `[training]`
    pub config: &'a TrainingConfig,
    /// `[decoding]`, for validation.
    pub decoding: &'a DecodingConfig,
    /// The run's seed.
    pub seed: u64,
    /// The network over `params`.
    pub model: &'a Network,
    /// Its weights.
    pub params: &'a Params,
    /// Model width D, for the `noam` schedule.
    pub width: usize,
    /// The processes that train together.
    pub group: &'a Group,
    /// Training pairs.
    pub train: &'a Dataset,
    /// Validation pairs.
    pub valid: &'a Dataset,
    /// The target's tokenizer, for validation metrics.
    pub target: &'a Tokenizer,
    /// The machine, as recorded in the state.
    pub machine: String,
    /// Faults that tests inject.
    pub faults: InjectedFaults,
}

/// Rare faults, injected by tests.
#[derive(Clone, Debug, Default)]
pub struct InjectedFaults {
    /// Steps whose loss is NaN.
    pub nan_at: Vec<u64>,
    /// Batches of more positions than this run out of memory.
    pub memory_for: Option<usize>,
}

impl InjectedFaults {
    /// Called before a batch of `positions` positions runs through the network.
    ///
    /// # Errors
    /// Out of memory, as injected by a test.
    pub(crate) fn memory(&self, positions: usize) -> Result<()> {
        match self.memory_for.is_some_and(|most| positions > most) {
            true => Err(Error::out_of_memory("out of memory, injected by a test")),
            false => Ok(()),
        }
    }
}

/// Tensors by name.
pub(crate) type NamedTensors = Vec<(String, Tensor)>;

/// Everything that a run needs to resume. Its tensors are copies, so that it can be written while training continues.
pub(crate) struct Snapshot {
    /// The state of training.
    pub progress: TrainState,
    /// The step that `best` names: that of `progress`, or of the validation at the last step, which may come later.
    pub best: Option<u64>,
    /// Steps of the best validations, including the last step's.
    pub best_steps: Vec<u64>,
    /// The weights for decoding: those trained, or their moving averages.
    pub weights: NamedTensors,
    /// The optimizer's state, and everything else that only training needs.
    pub training: NamedTensors,
}

/// Saves and restores checkpoints.
pub(crate) trait Checkpointer {
    /// Takes a snapshot; it may be written later.
    ///
    /// # Errors
    /// This snapshot, or the one before it, cannot be written.
    fn save(&mut self, snapshot: Snapshot) -> Result<()>;

    /// Reports an error of the snapshot in progress; with `wait`, waits until it is written.
    ///
    /// # Errors
    /// It cannot be written.
    fn finish_write(&mut self, wait: bool) -> Result<()>;

    /// Loads the weights of the last good checkpoint into the model and returns the state saved with them; `None` if
    /// there is none. A good checkpoint is from before step `last`, with no skipped update right before it.
    ///
    /// # Errors
    /// It cannot be read.
    fn restore(&mut self, last: u64) -> Result<Option<(TrainState, NamedTensors)>>;
}
