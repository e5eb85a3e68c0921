//! Averages checkpoints of one run.

use std::path::PathBuf;

use super::retention::is_regular;
use crate::checkpoint::average::mean;
use crate::checkpoint::model_file::ModelHeader;
use crate::checkpoint::run::{MODEL, RunDirectory};
use crate::checkpoint::tensors::NamedTensors;
use crate::error::Result;
use crate::training::state::TrainState;
use crate::training::{AverageOf, TrainingConfig};

/// The steps of the `count` last or best checkpoints, up to the latest. Of the last ones only regular checkpoints
/// count, so that the average does not depend on where a run was stopped.
pub(crate) fn chosen(
    run: &RunDirectory,
    progress: &TrainState,
    config: &TrainingConfig,
    of: AverageOf,
    count: usize,
) -> Result<Vec<u64>> {
    let steps: Vec<u64> = run.steps()?.into_iter().filter(|&step| step <= progress.step).collect();
    if of == AverageOf::Best {
        let best = progress.best_steps_of_all().into_iter();
        return Ok(best.filter(|step| steps.contains(step)).take(count).collect());
    }
    let last = |&step: &u64| step == progress.step || is_regular(run, config, step);
    let last: Vec<u64> = steps.into_iter().filter(last).collect();
    Ok(last[last.len().saturating_sub(count)..].to_vec())
}

/// The average of the checkpoints of `steps`, as a model of step `step`.
pub(crate) fn mean_of(run: &RunDirectory, steps: &[u64], step: u64) -> Result<(ModelHeader, NamedTensors)> {
    let paths: Vec<PathBuf> = steps.iter().map(|&step| run.checkpoint(step).join(MODEL)).collect();
    let (mut headers, weights) = mean(&paths)?;
    Ok((ModelHeader { step, ..headers.swap_remove(0) }, weights))
}
