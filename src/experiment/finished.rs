//! How far the run of an experiment is in its directory, and whether its results are those of the experiment. No weights are
//! read.

use serde_json::Value;

use super::resume::{check_place, differing_keys, is_of};
use super::retention::progress;
use super::test_set::is_scored;
use crate::checkpoint::files::read_within;
use crate::checkpoint::model_file::read_header;
use crate::checkpoint::run::{MODEL, RunDirectory};
use crate::config::Experiment;
use crate::data::readers::shorten;
use crate::error::{Error, Result, counted};
use crate::training::state::TrainState;

/// Keys without an effect on the results of a run: what it shows, where its files are, and what it runs on.
const WITHOUT_EFFECT: [&str; 11] = [
    "name",
    "data.test",
    "data.cache",
    "training.log_every",
    "training.samples",
    "decoding.batch_size",
    "runtime.device",
    "runtime.threads",
    "runtime.on_usr1",
    "runtime.join_timeout",
    "runtime.rank_timeout",
];

/// The key that may rise where the learning rate does not depend on it.
const STEPS: &str = "training.steps";

/// The most keys that an error shows.
const SHOWN: usize = 3;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunStage {
    /// Nothing is saved yet.
    New,
    /// It can be resumed.
    Begun {
        /// `training.steps` so far, which may be less than the experiment's.
        steps: u64,
    },
    /// Nothing is left to do.
    Finished,
}

/// How far the run of this experiment is in the directory.
///
/// # Errors
/// The directory has something else, or a run that cannot be read, or one with other results than those of the experiment.
pub(crate) fn stage(run: &RunDirectory, experiment: &Experiment) -> Result<RunStage> {
    check_place(run)?;
    let latest = run.latest()?;
    let (Some(text), Some(step)) = (run.config()?, latest) else { return Ok(RunStage::New) };
    // Before the config: a newer version may have written both.
    read_header(&run.checkpoint(step).join(MODEL))?;
    let there = Experiment::parse(&text, &run.file("config.toml").display().to_string(), &[])?;
    let progress = progress(run, step)?;
    check_results(run, &progress, [&there, experiment])?;
    match is_complete(&progress, experiment, run) {
        true => Ok(RunStage::Finished),
        false => Ok(RunStage::Begun { steps: there.training.steps }),
    }
}

/// Whether nothing is left to do, not even a validation or an average.
pub(super) fn is_complete(there: &TrainState, experiment: &Experiment, run: &RunDirectory) -> bool {
    let config = &experiment.training;
    let ended = there.stop_reason(config).is_some();
    let validated = there.step.is_multiple_of(config.validate_every) || is_validated(there, run);
    let tested = experiment.data.test.is_none() || is_scored(run, there.step);
    let averaged = || read_header(&run.average()).is_ok_and(|header| header.step == there.step);
    ended && validated && tested && !there.validation_due && (config.average == 0 || averaged())
}

/// Whether the last validation was done, which comes after its checkpoint. If its row is missing, a kill came between the
/// two; if all rows are lost, the state decides, which has it unless an earlier end was better.
fn is_validated(there: &TrainState, run: &RunDirectory) -> bool {
    let path = run.file("metrics.csv");
    if !path.exists() {
        return there.ended_with.is_some_and(|ended| ended.step == there.step);
    }
    let metrics = read_within(&path, u64::MAX).unwrap_or_default();
    let behind = metrics.get(there.metrics_bytes as usize..).unwrap_or_default();
    let row = String::from_utf8_lossy(behind);
    row.starts_with(&format!("{},{},valid,", there.step, there.epoch))
        && row.ends_with('\n')
        && row.lines().count() == 1
}

/// Refuses a run with other results than those that are asked for.
fn check_results(run: &RunDirectory, progress: &TrainState, [there, asked]: [&Experiment; 2]) -> Result<()> {
    let configs = [there, asked].map(Experiment::to_json);
    let mut differing = differing_keys(&configs[0], &configs[1]);
    differing.retain(|key| !WITHOUT_EFFECT.iter().any(|name| is_of(key, name)));
    if may_continue(progress, asked) {
        differing.retain(|key| key != STEPS);
    }
    if differing.is_empty() {
        return Ok(());
    }
    let place = run.path().display();
    let shown = differing.iter().take(SHOWN).map(|key| {
        let [there, asked] = configs.each_ref().map(|config| shown_value(config, key));
        format!("`{key}` was {there}, and is {asked} here")
    });
    let mut list = shown.collect::<Vec<_>>().join("; ");
    if differing.len() > SHOWN {
        list += &format!("; and {}", counted(differing.len() - SHOWN, "more key"));
    }
    let of_decoding = match differing.iter().any(|key| is_of(key, "decoding.")) {
        true => {
            "; `seqloom evaluate RUN... --set decoding.KEY=VALUE` compares runs by other settings of decoding"
        }
        false => "",
    };
    Err(Error::input(format!("the run in {place} was trained with other settings: {list}")).hint(format!(
        "name another folder with --out, or delete {place} to train that run again{of_decoding}"
    )))
}

/// Whether a run can continue to the steps that are asked for, and is then like one that never had others.
fn may_continue(progress: &TrainState, asked: &Experiment) -> bool {
    let config = &asked.training;
    // A validation at the end of a run counts for its best model, but a longer run has none there.
    !config.decays_until_steps() && progress.step <= config.steps && progress.ended_with.is_none()
}

/// The value of a key as a message shows it.
fn shown_value(config: &Value, key: &str) -> String {
    match config.pointer(&format!("/{}", key.replace('.', "/"))) {
        None | Some(Value::Null) => "off".to_owned(),
        Some(value) => shorten(&value.to_string()).into_owned(),
    }
}

/// The best validation of a run, as the cost by `training.best_by`: lower is better. `None` if none has a score.
///
/// # Errors
/// The run's latest checkpoint cannot be read.
pub(crate) fn best_cost(run: &RunDirectory) -> Result<Option<f64>> {
    let latest = run.latest()?.map(|step| progress(run, step)).transpose()?;
    Ok(latest.and_then(|state| state.best_of_all()).map(|best| best.cost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::state::BestValidation;

    #[test]
    fn a_run_continues_to_more_steps_if_it_is_then_like_one_that_never_ended() {
        let experiment = |schedule: &str| {
            let data = "[data]\ntrain = \"a.csv\"\nvalid = \"b.csv\"";
            let text = format!("name = \"x\"\n{data}\n[training]\nsteps = 60\n{schedule}\n");
            Experiment::parse(&text, "x.toml", &[]).unwrap()
        };
        let at = |step, ended_with| TrainState { step, ended_with, ..TrainState::default() };
        let end = BestValidation { step: 40, cost: 1.0, nll: 1.0 };
        assert!(may_continue(&at(40, None), &experiment("")));
        assert!(!may_continue(&at(61, None), &experiment("")));
        assert!(!may_continue(&at(40, Some(end)), &experiment("")));
        for schedule in ["cosine = { warmup = 5 }", "linear = { warmup = 5 }"] {
            assert!(!may_continue(&at(40, None), &experiment(schedule)), "{schedule}");
        }
    }
}
