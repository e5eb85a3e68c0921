//! `seqloom check`: everything that is wrong with a config and its files, or what training will cost. Trains nothing.

mod place;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::headings::{CONFIG, RUN};
use super::train::bar::bar;
use crate::config::{self, Experiment};
use crate::error::{Error, Result, counted};
use crate::experiment::trial::{Checked, Costs, check, problems_of_data};
use crate::training::clock::in_words;
use crate::training::recorders::console::Console;

/// Arguments of `seqloom check`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom check pairs.toml
  seqloom check pairs.toml --set training.steps=500 --out runs/short

All files are read, and all problems are listed at once, with exit code 2. Without problems the model is built, trained and decoded \
with for some seconds. Nothing is written.")]
pub(crate) struct CheckArgs {
    /// The config
    config: PathBuf,
    /// Replace one key of the config; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = CONFIG)]
    overrides: Vec<String>,
    /// The run directory of the training [default: runs/NAME]
    #[arg(long, value_name = "DIR", help_heading = RUN)]
    out: Option<PathBuf>,
}

/// Checks; returns the exit code.
pub(crate) fn run(args: &CheckArgs) -> Result<u8> {
    let config::Checked { experiment, mut problems } =
        Experiment::load_checked(&args.config, &args.overrides)?;
    let Some(experiment) = experiment else { return list(&problems) };
    let folder = args.out.clone().unwrap_or_else(|| Path::new("runs").join(&experiment.name));
    let mut console = Console::new(&folder, bar, false);
    if !problems.is_empty() {
        problems.extend(problems_of_data(&experiment, &mut console));
        return list(&problems);
    }
    let place = (place::problem(&folder).into_iter().collect(), place::free(&folder));
    let Checked { problems, costs } = check(&experiment, &folder, place, &mut console)?;
    match costs {
        Some(costs) if problems.is_empty() => {
            super::print(&format!("{}\nready: {}\n", report(&costs), command(args)))?;
            Ok(0)
        }
        _ => list(&problems),
    }
}

/// Prints problems, with their hints.
fn list(problems: &[Error]) -> Result<u8> {
    let mut text = String::new();
    for (number, problem) in (1..).zip(problems) {
        let shown = problem.to_string();
        let shown = shown.strip_prefix("error: ").unwrap_or(&shown).replace('\n', "\n   ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{number}. {shown}");
    }
    let _ = writeln!(text, "\n{}", counted(problems.len(), "problem"));
    super::print(&text)?;
    Ok(2)
}

fn report(costs: &Costs) -> String {
    let mut text = String::new();
    for line in &costs.lines {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
    let [train, valid] = costs.pairs.map(|pairs| counted(pairs, "pair"));
    let [peak, total] = costs.memory.map(in_bytes);
    let updates = [costs.updates, costs.updates_per_epoch].map(|updates| counted(updates, "update"));
    let ([updates, of_epoch], validations) = (updates, counted(costs.validations, "validation"));
    let rows = [
        ("memory", format!("peak {peak} in this check, of {total}")),
        ("an update", seconds(costs.update)),
        ("an epoch", format!("about {of_epoch} for {train}: {}", seconds(costs.epoch()))),
        (
            "decoding",
            format!("{:.1} outputs per second; a trained model may be faster", costs.outputs_per_second),
        ),
        (
            "a validation",
            format!("{valid}, {} of them decoded: {}", costs.decoded, seconds(costs.validation)),
        ),
        ("training", format!("{updates} and {validations}: {}", seconds(costs.run()))),
        (
            "a checkpoint",
            format!(
                "{}; up to {} are kept: {} in total, including one that is being written",
                in_bytes(costs.checkpoint),
                costs.kept,
                in_bytes(costs.on_disk)
            ),
        ),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "{name:14} {value}");
    }
    text
}

/// The command that trains.
fn command(args: &CheckArgs) -> String {
    let mut command = format!("seqloom train {}", args.config.display());
    for setting in &args.overrides {
        let _ = write!(command, " --set '{setting}'");
    }
    if let Some(out) = &args.out {
        let _ = write!(command, " --out {}", out.display());
    }
    command
}

/// Short durations to the millisecond.
fn seconds(seconds: f64) -> String {
    match seconds {
        short if short < 10.0 => format!("{short:.3} s"),
        long => in_words(long),
    }
}

fn in_bytes(bytes: u64) -> String {
    let mib = bytes as f64 / (1u64 << 20) as f64;
    if mib < 1024.0 { format!("{mib:.2} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_short() {
        assert_eq!([0.0123, 9.5, 75.0].map(seconds), ["0.012 s", "9.500 s", "1 min"]);
        assert_eq!([1 << 19, 3 << 30].map(in_bytes), ["0.50 MiB", "3.00 GiB"]);
    }
}
