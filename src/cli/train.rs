//! `seqloom train`: a config in, a run directory out.

pub(super) mod bar;
mod ranks;

use std::path::{Path, PathBuf};

use clap::Args;

use self::bar::bar;
use super::headings::{BEGINNING, CONFIG, RUN};
use super::roles::FileRoles;
use crate::checkpoint::run::RunDirectory;
use crate::config::Experiment;
use crate::error::Result;
use crate::experiment::{RunOptions, train};
use crate::runtime::StopFlag;
use crate::training::recorders::console::Console;
use crate::training::state::StopReason;

/// Arguments of `seqloom train`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom train configs/dates.toml
  seqloom train configs/dates.toml --set training.steps=500 --out runs/short
  seqloom train configs/dates.toml --resume
  seqloom train configs/dates.toml --ranks 2
  seqloom train more.toml --from runs/dates --extend-vocabulary")]
pub(crate) struct TrainArgs {
    /// The config; `seqloom keys` explains every key
    config: PathBuf,
    /// Replace one key of the config; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = CONFIG)]
    overrides: Vec<String>,
    /// The run directory [default: runs/NAME]
    #[arg(long, value_name = "DIR", help_heading = RUN)]
    out: Option<PathBuf>,
    /// Resume from the run's latest checkpoint; start a new run if there is none
    #[arg(long, help_heading = RUN)]
    resume: bool,
    /// Start from the weights and vocabularies of another run, a checkpoint or a model.safetensors
    #[arg(long, value_name = "MODEL", help_heading = BEGINNING)]
    from: Option<PathBuf>,
    /// Add symbols that the vocabularies of --from lack; the embedding of each starts as the mean of the old embeddings
    #[arg(long, requires = "from", help_heading = BEGINNING)]
    extend_vocabulary: bool,
    /// Train with N processes on this machine, which share each update; torchrun, srun and mpirun start them on several
    /// machines, without this option
    #[arg(long, value_name = "N", help_heading = RUN, value_parser = clap::value_parser!(u16).range(1..=1024))]
    ranks: Option<u16>,
    /// Print with each log line what train.log has: speed as a share of this machine's matrix peak, share of padding,
    /// share of time spent waiting for batches, and memory
    #[arg(long, short, help_heading = RUN)]
    verbose: bool,
}

/// Trains; returns the exit code.
pub(crate) fn run(args: &TrainArgs) -> Result<u8> {
    let experiment = Experiment::load(&args.config, &args.overrides)?;
    if let Some(ranks) = args.ranks.filter(|ranks| *ranks > 1) {
        return ranks::run(usize::from(ranks));
    }
    let stop = StopFlag::on_signals(experiment.runtime.on_usr1)?;
    let folder = args.out.clone().unwrap_or_else(|| Path::new("runs").join(&experiment.name));
    roles(args, &experiment, &RunDirectory::at(&folder)).check()?;
    let options = RunOptions {
        resume: args.resume,
        from: args.from.clone(),
        extend_vocabulary: args.extend_vocabulary,
        ..RunOptions::into(&folder)
    };
    let mut console = Console::new(&folder, bar, args.verbose);
    Ok(match train(&experiment, &options, &stop, &mut console)?.stop_reason {
        StopReason::Stopped(signal) => 128 + signal,
        StopReason::Complete | StopReason::OutOfPatience => 0,
    })
}

/// The files that it reads, and those that it writes directly; all others are written as temporary files and renamed.
fn roles(args: &TrainArgs, experiment: &Experiment, run: &RunDirectory) -> FileRoles {
    let roles = FileRoles::default().reads("config", &args.config).reads_data(&experiment.data);
    let roles = roles.may_read("model of --from", args.from.as_deref());
    let own = |roles: FileRoles, name: &str| roles.writes(format!("run's {name}"), &run.file(name), "--out");
    ["metrics.csv", "train.log"].into_iter().fold(roles, own)
}
