//! The regular checkpoints of a run: those that it saves in any case, not those of an early stop. Pruning, rolling back and
//! averaging count only these, so that they do not depend on stops.

use crate::checkpoint::run::{RunDirectory, STATE};
use crate::error::{Error, Result};
use crate::training::TrainingConfig;
use crate::training::state::TrainState;

/// Where training stood when a checkpoint was saved.
///
/// # Errors
/// A checkpoint that is damaged.
pub fn progress(run: &RunDirectory, step: u64) -> Result<TrainState> {
    let path = run.checkpoint(step).join(STATE);
    let damaged = |what: String| {
        Error::failure(format!("{} is damaged: {what}", path.display()))
            .hint(format!("write another step into {}", run.file("latest").display()))
    };
    let progress: TrainState =
        serde_json::from_slice(&run.read(step, STATE)?).map_err(|error| damaged(error.to_string()))?;
    progress.check().map_err(damaged)?;
    Ok(progress)
}

/// Whether a checkpoint counts. When checkpoints are due may change where a run is resumed, so each says it of itself; a
/// damaged one counts until it is pruned.
pub fn is_regular(run: &RunDirectory, config: &TrainingConfig, step: u64) -> bool {
    step == config.steps || progress(run, step).map_or(true, |progress| !progress.between)
}
