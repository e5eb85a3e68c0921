//! Which checkpoints of a run count where the newest are meant: those that the run saves in any case, not the ones that
//! were made because somebody stopped it. So pruning, going back and averaging do not depend on stops.

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
            .hint(format!("name another step in {}", run.file("latest").display()))
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
