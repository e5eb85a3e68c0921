//! The checkpoints of a run, written by a separate thread while training continues. Of several ranks the first one
//! writes and reads them, and sends the others what it has read.

use std::thread::JoinHandle;

use serde_json::Value;

use super::resume::SavedRun;
use super::retention::{is_regular, progress};
use crate::checkpoint::model_file::ModelHeader;
use crate::checkpoint::run::{MODEL, RunDirectory, STATE, TRAINING};
use crate::checkpoint::tensors::{self, NamedTensors};
use crate::config::Experiment;
use crate::data::dataset::Tokenizers;
use crate::distributed::Group;
use crate::error::{Error, Result, caught};
use crate::model::params::Params;
use crate::training::context::{Checkpointer, Snapshot};
use crate::training::state::TrainState;
use crate::training::{Then, TrainingConfig};

/// Writes snapshots into a run directory, one at a time.
pub(crate) struct Checkpoints<'a> {
    run: &'a RunDirectory,
    params: &'a Params,
    group: &'a Group,
    config: Value,
    tokenizers: Value,
    training: TrainingConfig,
    writing: Option<JoinHandle<Result<()>>>,
}

impl<'a> Checkpoints<'a> {
    /// The checkpoints of `experiment` in `run`; a rollback loads them into `params`.
    pub(crate) fn new(
        run: &'a RunDirectory,
        (params, group): (&'a Params, &'a Group),
        experiment: &Experiment,
        tokenizers: &Tokenizers,
    ) -> Checkpoints<'a> {
        Checkpoints {
            run,
            params,
            group,
            config: experiment.to_checkpoint(),
            tokenizers: tokenizers.to_json(),
            training: experiment.training.clone(),
            writing: None,
        }
    }
}

impl Checkpointer for Checkpoints<'_> {
    fn save(&mut self, snapshot: Snapshot) -> Result<()> {
        if !self.group.leads() {
            return Ok(());
        }
        self.finish_write(true)?;
        let step = snapshot.progress.step;
        let header = ModelHeader::new(self.config.clone(), self.tokenizers.clone(), step);
        let (run, training) = (self.run.clone(), self.training.clone());
        let thread = std::thread::Builder::new().name("checkpoint".to_owned());
        let writing = thread.spawn(move || caught(|| write(&run, &training, &header, &snapshot)));
        let failed =
            |error| Error::failure(format!("cannot start the thread that writes checkpoints: {error}"));
        self.writing = Some(writing.map_err(failed)?);
        Ok(())
    }

    fn finish_write(&mut self, wait: bool) -> Result<()> {
        match self.writing.take_if(|writing| wait || writing.is_finished()) {
            Some(writing) => {
                writing.join().unwrap_or_else(|_| Err(Error::failure("a checkpoint could not be written")))
            }
            None => Ok(()),
        }
    }

    fn restore(&mut self, last: u64) -> Result<Option<(TrainState, NamedTensors)>> {
        let Checkpoints { run, params, group, training, .. } = self;
        let last_good = || {
            good(run, training)?.find(|&step| step < last).map(|step| SavedRun::read(run, step)).transpose()
        };
        let saved = if group.leads() { last_good() } else { Ok(None) };
        let Some(saved) = SavedRun::shared(group.agree(saved)?, run, group)? else { return Ok(None) };
        saved.into_model(run, params, group).map(Some)
    }
}

/// An error must not end the process before the current checkpoint is complete.
impl Drop for Checkpoints<'_> {
    fn drop(&mut self) {
        // The caller already has an error to report.
        let _ = self.finish_write(true);
    }
}

/// Checkpoints for a rollback, the newest first: regular ones, so that they do not depend on stops, and none after
/// skipped updates.
fn good<'a>(run: &'a RunDirectory, training: &'a TrainingConfig) -> Result<impl Iterator<Item = u64> + 'a> {
    let is_good = |step: &u64| progress(run, *step).is_ok_and(|progress| progress.skipped_in_a_row == 0);
    let steps = run.steps()?.into_iter().rev();
    Ok(steps.filter(is_good).filter(|&step| is_regular(run, training, step)))
}

fn write(
    run: &RunDirectory,
    training: &TrainingConfig,
    header: &ModelHeader,
    snapshot: &Snapshot,
) -> Result<()> {
    let progress = &snapshot.progress;
    let state = serde_json::to_vec_pretty(progress).map_err(|error| Error::failure(error.to_string()))?;
    let files = [
        (MODEL, header.to_bytes(&snapshot.weights)?),
        (TRAINING, tensors::to_bytes(&snapshot.training, None)?),
        (STATE, state),
    ];
    run.save_checkpoint(progress.step, snapshot.best, &files)?;
    // A run that resumes from here needs the best checkpoints of `progress`.
    let mut kept: Vec<u64> =
        snapshot.best_steps.iter().copied().chain(progress.best_steps()).chain(snapshot.best).collect();
    if training.non_finite.then == Then::Rollback {
        // Two, since the newest may have the weights that failed.
        kept.extend(good(run, training)?.take(2));
    }
    run.prune(training.keep_last, &kept, |step| is_regular(run, training, step))
}
