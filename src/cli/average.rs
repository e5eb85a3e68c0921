//! `seqloom average`: the average of several checkpoints.

use std::path::{Path, PathBuf};

use clap::Args;

use super::headings::{MODELS, OUTPUT};
use super::roles::FileRoles;
use crate::checkpoint::average::mean;
use crate::checkpoint::files::write_output;
use crate::checkpoint::run::{RunDirectory, locate_model, without_checkpoint};
use crate::config::Experiment;
use crate::console::status;
use crate::error::{Error, Result, sought_from};
use crate::experiment::average::{chosen, mean_of};
use crate::experiment::retention::progress;
use crate::model::ModelConfig;
use crate::predictor::loaded_model::read_description;
use crate::training::AverageOf;
use crate::training::state::TrainState;

/// Arguments of `seqloom average`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom average runs/dates --last 5
  seqloom average runs/dates --best 3
  seqloom decode runs/dates/average --input test.csv
  seqloom average runs/one --with runs/two --with runs/three --output mean.safetensors")]
pub(crate) struct AverageArgs {
    /// The run directory; the average is written into its folder `average`. With --with: a run, a checkpoint folder or a
    /// model.safetensors
    run: PathBuf,
    /// Average the K newest checkpoints
    #[arg(long, value_name = "K", required_unless_present_any = ["best", "with"], conflicts_with = "best", help_heading = MODELS)]
    last: Option<usize>,
    /// Average the K checkpoints with the best validations
    #[arg(long, value_name = "K", help_heading = MODELS)]
    best: Option<usize>,
    /// Average RUN and this model, from any run; may be given more than once
    #[arg(long, value_name = "RUN", requires = "output", conflicts_with_all = ["last", "best"], help_heading = MODELS)]
    with: Vec<PathBuf>,
    /// Write the average to this file
    #[arg(long, short, value_name = "FILE", requires = "with", help_heading = OUTPUT)]
    output: Option<PathBuf>,
}

/// Averages, and reports which checkpoints.
pub(crate) fn run(args: &AverageArgs) -> Result<()> {
    if let Some(output) = &args.output {
        return average_models(args, output);
    }
    let run = RunDirectory::at(&args.run);
    let Some(config) = run.config()? else {
        let message = format!("there is no run at {}{}", args.run.display(), sought_from(&args.run));
        return Err(Error::input(message).hint("`seqloom train CONFIG` creates a run directory"));
    };
    let (of, count) = match (args.last, args.best) {
        (_, Some(count)) => (AverageOf::Best, count),
        (count, None) => (AverageOf::Last, count.unwrap_or(0)),
    };
    let (progress, experiment) = state(&run, &config)?;
    let steps = chosen(&run, &progress, &experiment.training, of, count)?;
    if steps.len() < count {
        let kept = if of == AverageOf::Best { "keep_best" } else { "keep_last" };
        let message =
            format!("an average of {count} needs as many checkpoints, but the run has {}", steps.len());
        return Err(Error::input(message).hint(format!("`training.{kept}` sets how many a run keeps")));
    }
    let (header, weights) = mean_of(&run, &steps, steps.iter().copied().max().unwrap_or(0))?;
    let path = run.save_average(&header.to_bytes(&weights)?)?;
    let listed: Vec<String> = steps.iter().map(u64::to_string).collect();
    status(&format!("the average of steps {} is in {}", listed.join(", "), path.display()));
    Ok(())
}

/// Averages models from any run into a new file, which is like the first one's except for the weights.
fn average_models(args: &AverageArgs, output: &Path) -> Result<()> {
    let paths = std::iter::once(&args.run).chain(&args.with).map(|path| locate_model(path));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let (headers, weights) = mean(&paths)?;
    let header = &headers[0];
    let mut roles = FileRoles::default();
    for (header, path) in headers.iter().zip(&paths) {
        let (experiment, _) = read_description(header, path, &[])?;
        roles = roles.reads_model(path).reads_data(&experiment.data);
    }
    roles.writes("output", output, "--output").check()?;
    for (other, path) in headers.iter().zip(&paths) {
        let differing = ModelConfig::differences(&header.config, &other.config);
        if !differing.is_empty() {
            let (one, other, keys) = (paths[0].display(), path.display(), differing.join("`, `"));
            let message =
                format!("averaged models must be the same network, but {one} and {other} differ in `{keys}`");
            return Err(Error::input(message).hint("compare them with `seqloom inspect`"));
        }
    }
    write_output(output, &header.to_bytes(&weights)?)?;
    let listed: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    status(&format!("the average of {} is in {}", listed.join(", "), output.display()));
    Ok(())
}

/// The state of training at the latest checkpoint, and the experiment.
fn state(run: &RunDirectory, config: &str) -> Result<(TrainState, Experiment)> {
    let Some(latest) = run.latest()? else {
        return Err(without_checkpoint(run.path()));
    };
    let experiment = Experiment::parse(config, &run.file("config.toml").display().to_string(), &[])?;
    Ok((progress(run, latest)?, experiment))
}
