//! The parts of a training run, and what goes into and out of its checkpoints.

use tch::Tensor;

use super::TrainingConfig;
use super::state::TrainState;
use crate::data::dataset::Dataset;
use crate::data::tokenizer::Tokenizer;
use crate::decoding::DecodingConfig;
use crate::error::{Error, Result};
use crate::model::network::Network;
use crate::model::params::Params;

/// What a training run is made of.
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
    /// D, for the `noam` schedule.
    pub width: usize,
    /// What is learned from.
    pub train: &'a Dataset,
    /// What is only looked at.
    pub valid: &'a Dataset,
    /// The target side's tokenizer, for the scores of validation.
    pub target: &'a Tokenizer,
    /// The machine, for the state.
    pub machine: String,
    /// Faults that tests inject.
    pub faults: InjectedFaults,
}

/// Faults so rare that tests must inject them.
#[derive(Clone, Debug, Default)]
pub struct InjectedFaults {
    /// Steps whose loss is not a number.
    pub nan_at: Vec<u64>,
    /// Batches of more positions than this run out of memory.
    pub memory_for: Option<usize>,
}

impl InjectedFaults {
    /// Stands where a batch of so many positions goes through the network.
    ///
    /// # Errors
    /// A test wants no memory to be there for it.
    pub fn memory(&self, positions: usize) -> Result<()> {
        match self.memory_for.is_some_and(|most| positions > most) {
            true => Err(Error::out_of_memory("out of memory, injected by a test")),
            false => Ok(()),
        }
    }
}

/// Tensors by name.
pub type NamedTensors = Vec<(String, Tensor)>;

/// All that a run needs to resume. Its tensors are copies, so that it can be written while training continues.
pub struct Snapshot {
    /// The state of training.
    pub progress: TrainState,
    /// The step that `best` names: of `progress`, or of the last step's validation, which may come after.
    pub best: Option<u64>,
    /// The best validations, the last step's among them.
    pub best_steps: Vec<u64>,
    /// What is decoded with: the weights, or their moving averages.
    pub weights: NamedTensors,
    /// What training needs besides.
    pub training: NamedTensors,
}

/// Where checkpoints go.
pub trait Checkpointer {
    /// Takes a snapshot; it may be written later.
    ///
    /// # Errors
    /// This one, or the one before it, cannot be written.
    fn save(&mut self, snapshot: Snapshot) -> Result<()>;

    /// Says what went wrong with a snapshot that is being written; with `wait` only when it is written.
    ///
    /// # Errors
    /// It cannot be written.
    fn finish_write(&mut self, wait: bool) -> Result<()>;

    /// Puts the weights of the last good checkpoint back into the model, and gives back what was saved beside them;
    /// nothing where there is none. Good is one from before the step `last`, with no skipped update right before it.
    ///
    /// # Errors
    /// It cannot be read.
    fn restore(&mut self, last: u64) -> Result<Option<(TrainState, NamedTensors)>>;
}
