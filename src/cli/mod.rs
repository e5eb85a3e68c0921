//! The subcommands, one file each; the only place besides training/report.rs that prints.
//!
//! stdout carries data, stderr carries talk. Exit codes: 0 done, 1 failed, 2 the user's input is wrong,
//! 129, 130 and 143 stopped by a signal after saving.

mod attention;
mod average;
mod decode;
mod doctor;
mod headings;
mod init;
mod input;
mod inspect;
mod interactive;
mod keys;
mod output;
mod regular;
mod score;
mod shortlist;
mod traced;
mod train;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::config::page::entries;
use crate::error::{Error, Result, caught, lacks_memory, reason};
use crate::training::report::talk;

/// Trains encoder-decoder models on paired sequences, and decodes with them.
#[derive(Debug, Parser)]
#[command(name = "seqloom", version, max_term_width = 110, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "A first run:
  seqloom init pairs.csv
  seqloom train pairs.toml
  echo 'a source' | seqloom decode runs/pairs";

#[derive(Debug, Subcommand)]
enum Command {
    /// Trains the model that an experiment file describes
    Train(train::TrainArgs),
    /// Writes a config for pairs of yours, and parts them into training, validation and test
    Init(init::InitArgs),
    /// Averages the last or the best checkpoints of a run
    Average(average::AverageArgs),
    /// Decodes sources with a trained model
    Decode(decode::DecodeArgs),
    /// Draws where a model looks while it says an output: source against output, as SVG
    Attention(attention::AttentionArgs),
    /// Scores given pairs with a trained model: log-probabilities and perplexity
    Score(score::ScoreArgs),
    /// Learns what outputs may say, by their sources, for faster decoding with large vocabularies
    Shortlist(shortlist::ShortlistArgs),
    /// Shows what a checkpoint holds: config, vocabularies, weights, where it stood
    Inspect(inspect::InspectArgs),
    /// Shows every key of a config with its default and its meaning
    Keys(keys::KeysArgs),
    /// Shows what seqloom runs on, and what to do when a GPU is not seen
    Doctor(doctor::DoctorArgs),
}

/// Parses the command line, runs what it names, and says what went wrong.
pub fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return refused(&error),
    };
    ExitCode::from(guarded(|| run(&command)).unwrap_or_else(|error| {
        talk(&coloured(&error.to_string()));
        error.exit_code()
    }))
}

/// What clap says: help, the version, or what is wrong with the command line. Who takes a key for an option hears how it is set.
fn refused(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg)
        && error.kind() == ErrorKind::UnknownArgument
        && let Some(path) = key_of(option)
    {
        talk(&coloured(&format!("\nhint: `--set {path}=…` sets the key of that name")));
    }
    ExitCode::from(error.exit_code() as u8)
}

/// The key whose last part, or all of it, is written like an option: `--training.steps`, `--learning-rate`.
fn key_of(option: &str) -> Option<String> {
    let name = option.trim_start_matches('-').split('=').next()?.replace('-', "_");
    let paths = entries().into_iter().filter(|entry| !entry.key.is_empty()).map(|entry| entry.path());
    paths.into_iter().find(|path| *path == name || path.ends_with(&format!(".{name}")))
}

fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Train(args) => train::run(args),
        Command::Init(args) => init::run(args).map(|()| 0),
        Command::Average(args) => average::run(args).map(|()| 0),
        Command::Decode(args) => decode::run(args).map(|()| 0),
        Command::Attention(args) => attention::run(args).map(|()| 0),
        Command::Score(args) => score::run(args).map(|()| 0),
        Command::Shortlist(args) => shortlist::run(args).map(|()| 0),
        Command::Inspect(args) => inspect::run(args).map(|()| 0),
        Command::Keys(args) => keys::run(args).map(|()| 0),
        Command::Doctor(args) => doctor::run(args).map(|()| 0),
    }
}

/// Of a panic too people get a sentence. RUST_BACKTRACE=1 shows the whole of it, except where memory has ended: a trace
/// takes some itself, and std, which holds a lock while it makes one, waits for that lock for ever if there is none.
fn guarded(work: impl FnOnce() -> Result<u8>) -> Result<u8> {
    let traced = std::env::var_os("RUST_BACKTRACE").map(|_| std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(trace) = &traced
            && !lacks_memory(reason(panic.payload()))
        {
            trace(panic);
        }
    }));
    caught(work)
}

/// Whether a person looks on and NO_COLOR is not set.
fn may_colour(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Colours `error:` and `hint:`.
fn coloured(text: &str) -> String {
    if !may_colour(&std::io::stderr()) {
        return text.to_owned();
    }
    text.replacen("error:", "\x1b[1;31merror:\x1b[0m", 1).replacen("\nhint:", "\n\x1b[1;36mhint:\x1b[0m", 1)
}

/// Writes to stdout; a reader that has gone away is no error, and the rest is not written.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failure(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes what `--summary` asks for, to standard output for `-`.
fn write_summary(path: &Path, summary: &Value) -> Result<()> {
    let text = format!("{summary}\n");
    if path == Path::new("-") {
        return print(&text);
    }
    std::fs::write(path, text).map_err(|error| Error::file("write", path, &error))
}

/// A file on the command line: what it is, as the option that names it says, and where.
type Role<'a> = (&'static str, &'a Path);

/// Refuses a file that is to be written and has another role besides: one would destroy the other. Before anything is opened.
fn refuse_two_roles(read: &[Role], written: &[Role]) -> Result<()> {
    let read = read.iter().filter(|(_, path)| *path != Path::new("-"));
    let mut others: Vec<&Role> = read.collect();
    for role in written {
        if let Some((other, path)) = others.iter().find(|other| is_same_file(other.1, role.1)) {
            let role = role.0;
            let path =
                if *path == Path::new("-") { "standard output".into() } else { path.to_string_lossy() };
            return Err(Error::input(format!("{path} cannot be the {other} and the {role} at once"))
                .hint(format!("name another file with --{role}")));
        }
        others.push(role);
    }
    Ok(())
}

/// Whether both paths name one file, which is there or would be made.
fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((place(one), place(other)), (Some(one), Some(other)) if one == other)
}

/// Where a file is or would be; of pipes and devices there is none, since they may have several roles.
fn place(path: &Path) -> Option<PathBuf> {
    if path == Path::new("-") {
        return Some(path.to_owned());
    }
    match path.canonicalize() {
        Ok(there) => Some(there).filter(|there| there.is_file()),
        Err(_) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Some(folder.unwrap_or(Path::new(".")).canonicalize().ok()?.join(path.file_name()?))
        }
    }
}
