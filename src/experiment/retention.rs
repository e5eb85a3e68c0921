//! The regular checkpoints of a run: those that it saves in any case, not those of an early stop. Only these count for
//! pruning, rollback and averaging, which therefore do not depend on stops.

use crate::checkpoint::run::{RunDirectory, STATE, write_another_into};
use crate::error::{Error, Result};
use crate::training::TrainingConfig;
use crate::training::state::TrainState;

/// The training state of a checkpoint.
///
/// # Errors
/// The checkpoint is damaged.
pub(crate) fn progress(run: &RunDirectory, step: u64) -> Result<TrainState> {
    parse_progress(run, step, &run.read(step, STATE)?)
}

/// The training state of a checkpoint from the bytes of its file.
///
/// # Errors
/// The checkpoint is damaged.
pub(crate) fn parse_progress(run: &RunDirectory, step: u64, bytes: &[u8]) -> Result<TrainState> {
    let path = run.checkpoint(step).join(STATE);
    let damaged = |what: String| {
        Error::failure(format!("{} is damaged: {what}", path.display()))
            .hint(write_another_into(&run.file("latest")))
    };
    let progress: TrainState = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    progress.check().map_err(damaged)?;
    Ok(progress)
}

/// Whether a checkpoint is regular. Each checkpoint records it, since `checkpoint_every` may change when a run is
/// resumed; a damaged one counts as regular until it is pruned.
pub(crate) fn is_regular(run: &RunDirectory, config: &TrainingConfig, step: u64) -> bool {
    step == config.steps || progress(run, step).map_or(true, |progress| !progress.between)
}
