//! The subcommands, one file each; the only place besides training/report.rs that prints.
//!
//! stdout carries data, stderr carries talk. Exit codes: 0 done, 1 failed, 2 the user's input is wrong,
//! 130 and 143 stopped by a signal after saving.

mod decode;
mod doctor;
mod inspect;
mod loaded;
mod train;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Result;

/// Trains encoder-decoder models on paired sequences, and decodes with them.
#[derive(Debug, Parser)]
#[command(name = "seqloom", version, max_term_width = 110, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "A first run:
  seqloom train configs/dates.toml
  echo 'March 5, 2024' | seqloom decode runs/dates";

#[derive(Debug, Subcommand)]
enum Command {
    /// Trains the model that an experiment file describes
    Train(train::TrainArgs),
    /// Decodes sources with a trained model
    Decode(decode::DecodeArgs),
    /// Shows what a checkpoint holds: config, vocabularies, weights, where it stood
    Inspect(inspect::InspectArgs),
    /// Shows what seqloom runs on, and what to do when a GPU is not seen
    Doctor,
}

/// Parses the command line, runs what it names, and says what went wrong.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Train(args) => train::run(&args),
        Command::Decode(args) => decode::run(&args).map(|()| 0),
        Command::Inspect(args) => inspect::run(&args).map(|()| 0),
        Command::Doctor => doctor::run().map(|()| 0),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        eprintln!("{}", coloured(&error.to_string()));
        error.exit_code()
    }))
}

/// Colours `error:` and `hint:` where a person looks on and NO_COLOR is not set.
fn coloured(text: &str) -> String {
    if !std::io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
    {
        return text.to_owned();
    }
    text.replacen("error:", "\x1b[1;31merror:\x1b[0m", 1).replacen("\nhint:", "\n\x1b[1;36mhint:\x1b[0m", 1)
}

/// Writes to stdout; a reader that has gone away is no error, and the rest is not written.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(crate::error::Error::failure(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
