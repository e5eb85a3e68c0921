//! `seqloom experiment`: trains configs with several seeds, decodes test sets with all models, and compares them.
//!
//! Each training and each decoding is a process of this binary. What its files show as finished is not done again, so
//! the same command continues after any stop. The table and the page follow from these files alone.

mod attention;
mod children;
mod curves;
mod ensembles;
mod outputs;
mod page;
mod plan;
mod results;
mod shown_rows;
mod table;
mod test_sets;
mod training;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::Args;

pub(super) use self::children::end_with_parent;
use self::children::run_all;
use self::outputs::{check_sets, is_done, next_step};
use self::plan::{EnsembleSize, NamedFile, Plan, Task};
use self::results::Results;
use self::training::{check_runs, report_unrecorded};
use super::headings::{CONFIG, INPUT, RUN};
use super::shard::Shard;
use crate::checkpoint::files::{try_lock, try_lock_shared, write_output};
use crate::console::status;
use crate::distributed::launch::Rank;
use crate::error::{Error, Result, counted};
use crate::runtime::StopFlag;

/// Arguments of `seqloom experiment`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom experiment small.toml wide.toml
  seqloom experiment sweep.toml --seeds 1,2 --jobs 2
  seqloom experiment small.toml wide.toml --test short=short.csv --test long=long.csv
  seqloom experiment small.toml wide.toml --out experiments/width --set training.steps=500
  seqloom experiment small.toml wide.toml --ensemble all

Each config is trained with each seed, and each model decodes each test set. The same command continues after a stop. At the \
end, table.txt, table.csv and index.html in the folder have the means, their intervals and which differences are significant. \
A config with [sweep] is one system for each of its combinations. More: docs/experiments.md")]
pub(crate) struct ExperimentArgs {
    /// The configs, each with its own `name`
    #[arg(required = true, value_name = "CONFIG")]
    configs: Vec<PathBuf>,
    /// Replace one key of all configs; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = CONFIG)]
    overrides: Vec<String>,
    /// Train each config with each of these seeds
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,3", help_heading = RUN,
        value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    seeds: Vec<u64>,
    /// Also decode with models of several seeds together, for each config: all, or those of the N seeds with the best
    /// validations (training.best_by)
    #[arg(long, value_name = "N", help_heading = RUN)]
    ensemble: Option<EnsembleSize>,
    /// The folder of the experiment [default: experiments/NAME, with the name of the first config]
    #[arg(long, value_name = "DIR", help_heading = RUN)]
    out: Option<PathBuf>,
    /// Run N trainings or decodings at once
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = RUN, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// A test set: its name and its file, with the columns of training, or two text files, SOURCES,TARGETS; may be given
    /// more than once [default: data.test of the configs, or else data.valid]
    #[arg(long = "test", value_name = "NAME=FILE", help_heading = INPUT)]
    tests: Vec<NamedFile>,
    /// Do every N-th run, from run I: job I of N; auto: by the job array (Slurm, Grid Engine) or the rank. The job that
    /// finds all runs finished writes the table
    #[arg(long, value_name = "I/N", help_heading = RUN)]
    shard: Option<Shard>,
}

/// Does what is left to do, and compares the models; returns the exit code.
pub(crate) fn run(args: &ExperimentArgs) -> Result<u8> {
    check_ranks(args)?;
    let plan = Plan::new(args)?;
    // Before hours of training, not after them.
    test_sets::check(&plan)?;
    let _lock = lock(&plan.place, args.shard.is_some())?;
    check_runs(&plan)?;
    report_unrecorded(&plan)?;
    let stop = StopFlag::on_signals(plan.runs[0].experiment.runtime.on_usr1)?;
    let is_own = |run: &usize| args.shard.is_none_or(|shard| shard.has(*run as u64 + 1));
    let (own, others): (Vec<usize>, Vec<usize>) = (0..plan.runs.len()).partition(is_own);
    let [own, others] = [own, others].map(|runs| runs.into_iter().map(Task::Run).collect::<Vec<_>>());
    let jobs = usize::from(args.jobs);
    if !complete(&plan, &own, (&others, plan.runs.len()), &stop, jobs)? {
        return Ok(0);
    }
    // Whoever gets here takes those that no other job has begun.
    let ensembles = plan.ensembles();
    if !complete(&plan, &ensembles, (&ensembles, ensembles.len()), &stop, jobs)? {
        return Ok(0);
    }
    compare(&plan, &stop, jobs)
}

/// Refuses a process for each rank.
fn check_ranks(args: &ExperimentArgs) -> Result<()> {
    if args.shard.is_none()
        && let Some(Rank { rank, ranks, by }) = Rank::from_environment()?
    {
        let message =
            format!("an experiment must have one process, but this is rank {rank} of {ranks}, by {by}");
        return Err(Error::input(message).hint("--shard auto gives each rank its share of the runs"));
    }
    Ok(())
}

/// Locks the folder of the experiment while the value exists. Jobs with --shard hold the lock together.
fn lock(place: &Path, is_shared: bool) -> Result<File> {
    fs::create_dir_all(place).map_err(|error| Error::file("make", place, &error))?;
    let path = place.join("lock");
    let lock = if is_shared { try_lock_shared(&path) } else { try_lock(&path) };
    lock?.ok_or_else(|| {
        let message = format!("another `seqloom experiment` is running in {}", place.display());
        Error::input(message)
            .hint("wait until it ends, or name another folder with --out; jobs with --shard share a folder")
    })
}

/// Does the own tasks. False if some of those that other jobs may be doing, of so many in all, are not done.
fn complete(
    plan: &Plan,
    own: &[Task],
    (others, all): (&[Task], usize),
    stop: &StopFlag,
    jobs: usize,
) -> Result<bool> {
    let numbers: Vec<usize> = (0..own.len()).collect();
    let mut next = |number: usize| next_step(plan, own[number], stop);
    // If a signal came meanwhile, the process ends here.
    let failed = stop.whole(|| run_all(&numbers, jobs, stop, &mut next))?;
    if !failed.is_empty() {
        return Err(report(plan, own, &failed));
    }
    // Another job may be writing their files.
    let left = others.iter().filter(|task| !is_done(plan, **task).unwrap_or(false)).count();
    if let Some(task) = others.first().filter(|_| left > 0) {
        // An ensemble may be being decoded by another job.
        if matches!(task, Task::Run(_)) {
            check_sets(plan, own)?;
        }
        let left = counted(left, kind(*task));
        status(&format!(
            "this job is done; other jobs still have {left} of {all}. The last job to end writes the table, or this command without --shard"
        ));
    }
    Ok(left == 0)
}

/// Writes and prints the table, and writes the page.
fn compare(plan: &Plan, stop: &StopFlag, jobs: usize) -> Result<u8> {
    // Files may have changed since the first run was trained.
    check_runs(plan)?;
    let tasks: Vec<Task> = plan.entries.iter().flat_map(|entry| entry.tasks.iter().copied()).collect();
    check_sets(plan, &tasks)?;
    let results = Results::read(plan)?;
    let pictures = stop.whole(|| attention::draw(plan, &results, jobs, stop))?;
    let text = table::text(plan, &results);
    let page = page::render(plan, &results, &pictures)?;
    for (name, content) in
        [("table.txt", &text), ("table.csv", &table::csv(plan, &results)?), ("index.html", &page)]
    {
        // Two jobs may find at once that all runs are finished.
        write_output(&plan.place.join(name), content.as_bytes())?;
    }
    super::print(&text)?;
    status(&format!("wrote {}", plan.place.join("index.html").display()));
    Ok(0)
}

/// The error that lists the tasks that failed.
fn report(plan: &Plan, own: &[Task], failed: &[(usize, String)]) -> Error {
    let line = |(number, why): &(usize, String)| {
        format!("\n  {}: {}", plan.name_of(own[*number]), why.replace('\n', "\n    "))
    };
    let list: String = failed.iter().map(line).collect();
    let tasks = counted(own.len(), own.first().map_or("task", |task| kind(*task)));
    let message = format!("{} of {tasks} failed:{list}", failed.len());
    Error::failure(message).hint("fix the cause, then run the same command again: it continues from here")
}

fn kind(task: Task) -> &'static str {
    match task {
        Task::Run(_) => "run",
        Task::Ensemble(_) => "ensemble",
    }
}
