//! The mean of checkpoints of one run: which ones, and what it is.

use std::path::PathBuf;

use super::retention::{is_regular, progress};
use crate::checkpoint::average::mean;
use crate::checkpoint::model_file::ModelHeader;
use crate::checkpoint::run::{MODEL, RunDirectory};
use crate::checkpoint::tensors::NamedTensors;
use crate::config::Experiment;
use crate::error::{Error, Result};
use crate::training::state::TrainState;
use crate::training::{AverageOf, TrainingConfig};

/// The state of training at the latest checkpoint, and the experiment.
pub fn state(run: &RunDirectory, config: &str) -> Result<(TrainState, Experiment)> {
    let Some(latest) = run.latest()? else {
        return Err(Error::input(format!("the run {} has no checkpoint yet", run.path().display())));
    };
    let experiment = Experiment::parse(config, &run.file("config.toml").display().to_string(), &[])?;
    Ok((progress(run, latest)?, experiment))
}

/// The steps of the `count` last or best checkpoints that are there, up to the latest. Of the last ones only those that
/// every run saves count, so that the mean does not depend on where a run was stopped.
pub fn chosen(
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

/// The mean of some steps' checkpoints, as a model of step `step`.
pub fn mean_of(run: &RunDirectory, steps: &[u64], step: u64) -> Result<(ModelHeader, NamedTensors)> {
    let paths: Vec<PathBuf> = steps.iter().map(|&step| run.checkpoint(step).join(MODEL)).collect();
    let (mut headers, weights) = mean(&paths)?;
    Ok((ModelHeader { step, ..headers.swap_remove(0) }, weights))
}
