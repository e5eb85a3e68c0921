//! `seqloom average`: the mean of several checkpoints of a run.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::checkpoint::average::mean;
use crate::checkpoint::run::{MODEL, RunDirectory, STATE};
use crate::checkpoint::tensors::Named;
use crate::error::{Error, Result};
use crate::training::AverageOf;
use crate::training::progress::Progress;
use crate::training::report::talk;

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
    if run.config()?.is_none() {
        let message = format!("there is no run at {}", args.run.display());
        return Err(Error::input(message).hint("a run directory is what `seqloom train CONFIG` makes"));
    }
    let (of, count) = match (args.last, args.best) {
        (_, Some(count)) => (AverageOf::Best, count),
        (count, None) => (AverageOf::Last, count.unwrap_or(0)),
    };
    let steps = chosen(&run, of, count)?;
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

/// The steps of the `count` last or best checkpoints that are there, up to the latest.
pub fn chosen(run: &RunDirectory, of: AverageOf, count: usize) -> Result<Vec<u64>> {
    let Some(latest) = run.latest()? else { return Ok(Vec::new()) };
    let steps: Vec<u64> = run.steps()?.into_iter().filter(|&step| step <= latest).collect();
    if of == AverageOf::Last {
        return Ok(steps[steps.len().saturating_sub(count)..].to_vec());
    }
    let path = run.checkpoint(latest).join(STATE);
    let progress: Progress = serde_json::from_slice(&run.read(latest, STATE)?)
        .map_err(|error| Error::failure(format!("{} cannot be read: {error}", path.display())))?;
    // The last step's validation comes after its checkpoint, so only `best` may know of it.
    let named = run.best()?.filter(|step| !progress.best_steps().any(|other| other == *step));
    let best = named.into_iter().chain(progress.best_steps()).filter(|step| steps.contains(step));
    Ok(best.take(count).collect())
}

/// Takes the mean of some steps' checkpoints and writes it; its path, and the weights.
pub fn write_average(run: &RunDirectory, steps: &[u64], step: u64) -> Result<(PathBuf, Named)> {
    let paths: Vec<PathBuf> = steps.iter().map(|&step| run.checkpoint(step).join(MODEL)).collect();
    let (mut header, weights) = mean(&paths)?;
    header.step = step;
    let path: &Path = &run.save_average(&header.to_bytes(&weights)?)?;
    Ok((path.to_path_buf(), weights))
}
