//! `seqloom average`: the mean of several checkpoints of a run.

use std::path::{Path, PathBuf};

use clap::Args;

use super::regular::{is_regular, progress};
use crate::checkpoint::average::mean;
use crate::checkpoint::run::{MODEL, RunDirectory};
use crate::checkpoint::tensors::Named;
use crate::config::Experiment;
use crate::error::{Error, Result};
use crate::training::progress::Progress;
use crate::training::report::talk;
use crate::training::{AverageOf, TrainingConfig};

/// Arguments of `seqloom average`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom average runs/dates --last 5
  seqloom average runs/dates --best 3
  seqloom decode runs/dates/average --input test.csv")]
pub struct AverageArgs {
    /// The run's directory; the mean goes into its folder `average`
    run: PathBuf,
    /// Takes the newest checkpoints, so many
    #[arg(long, value_name = "K", required_unless_present = "best", conflicts_with = "best")]
    last: Option<usize>,
    /// Takes the checkpoints with the best validations, so many
    #[arg(long, value_name = "K")]
    best: Option<usize>,
}

/// Averages, and says what it took.
pub fn run(args: &AverageArgs) -> Result<()> {
    let run = RunDirectory::at(&args.run);
    let Some(config) = run.config()? else {
        let message = format!("there is no run at {}", args.run.display());
        return Err(Error::input(message).hint("a run directory is what `seqloom train CONFIG` makes"));
    };
    let (of, count) = match (args.last, args.best) {
        (_, Some(count)) => (AverageOf::Best, count),
        (count, None) => (AverageOf::Last, count.unwrap_or(0)),
    };
    let (progress, experiment) = state(&run, &config)?;
    let steps = chosen(&run, &progress, &experiment.training, of, count)?;
    if steps.len() < count {
        let kept = if of == AverageOf::Best { "keep_best" } else { "keep_last" };
        let message = format!("{count} checkpoints were asked for, but the run has {} of them", steps.len());
        return Err(Error::input(message).hint(format!("`training.{kept}` says how many a run keeps")));
    }
    let (path, _) = write_average(&run, &steps, steps.iter().copied().max().unwrap_or(0))?;
    let listed: Vec<String> = steps.iter().map(u64::to_string).collect();
    talk(&format!("the mean of steps {} is in {}", listed.join(", "), path.display()));
    Ok(())
}

/// Where the run stands, and what it is.
fn state(run: &RunDirectory, config: &str) -> Result<(Progress, Experiment)> {
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
    progress: &Progress,
    config: &TrainingConfig,
    of: AverageOf,
    count: usize,
) -> Result<Vec<u64>> {
    let steps: Vec<u64> = run.steps()?.into_iter().filter(|&step| step <= progress.step).collect();
    if of == AverageOf::Best {
        return Ok(progress.best_steps().filter(|step| steps.contains(step)).take(count).collect());
    }
    let last = |&step: &u64| step == progress.step || is_regular(run, config, step);
    let last: Vec<u64> = steps.into_iter().filter(last).collect();
    Ok(last[last.len().saturating_sub(count)..].to_vec())
}

/// Takes the mean of some steps' checkpoints and writes it; its path, and the weights.
pub fn write_average(run: &RunDirectory, steps: &[u64], step: u64) -> Result<(PathBuf, Named)> {
    let paths: Vec<PathBuf> = steps.iter().map(|&step| run.checkpoint(step).join(MODEL)).collect();
    let (mut header, weights) = mean(&paths)?;
    header.step = step;
    let path: &Path = &run.save_average(&header.to_bytes(&weights)?)?;
    Ok((path.to_path_buf(), weights))
}
