//! The subcommands, one file each. Only this folder and console.rs print.
//!
//! stdout carries data, stderr carries messages. Exit codes: 0 done, 1 failed, 2 wrong user input, 128 plus the number
//! of a signal that stopped it, after saving if there was anything to save.

mod aligned;
mod attention;
mod average;
mod check;
mod child_processes;
mod data;
mod decode;
mod decoded;
mod distill;
mod doctor;
mod evaluate;
mod experiment;
mod headings;
mod html;
mod init;
mod input;
mod inspect;
mod interactive;
mod keys;
mod merge;
mod metric_names;
mod model_args;
mod not_finite;
mod output;
mod roles;
mod score;
mod scored;
mod shard;
mod shortlist;
mod source_args;
mod target_tokens;
mod tokenize;
mod trace_record;
mod train;
mod verify;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use serde_json::Value;

use self::roles::is_stdout;
use crate::checkpoint::files::write_output;
use crate::config::page::entries;
use crate::error::{Error, Result, caught, lacks_memory, printable, reason};
use crate::shim;

/// Train encoder-decoder models on paired sequences, and decode with them.
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
    /// Train the model that a config describes
    Train(train::TrainArgs),
    /// Write a config for your pairs, and split them into training, validation and test
    Init(init::InitArgs),
    /// List all problems of a config and its files, or what training will cost; trains nothing
    Check(check::CheckArgs),
    /// Show what the pairs of a config are made of, and what its policies do with them
    Data(data::DataArgs),
    /// Train configs with several seeds, decode test sets with them, and compare them
    Experiment(experiment::ExperimentArgs),
    /// Average the last or the best checkpoints of a run
    Average(average::AverageArgs),
    /// Decode sources with a trained model
    Decode(decode::DecodeArgs),
    /// Write a teacher's outputs as training pairs for a student: knowledge distillation
    Distill(distill::DistillArgs),
    /// Join the outputs of several jobs, each of which decoded a shard of an input
    Merge(merge::MergeArgs),
    /// Decode lines as they are typed, and show each step
    Interactive(interactive::InteractiveArgs),
    /// Check on your own rows that a model's outputs can be trusted
    Verify(verify::VerifyArgs),
    /// Draw the attention of an output over its source, as SVG
    Attention(attention::AttentionArgs),
    /// Score given pairs with a trained model: log-probabilities and perplexity
    Score(score::ScoreArgs),
    /// Score outputs against references, with intervals, and compare systems
    Evaluate(evaluate::EvaluateArgs),
    /// Learn which target tokens each source allows, for faster decoding with large vocabularies
    Shortlist(shortlist::ShortlistArgs),
    /// Write lines as a model's tokens, or as token ids
    Tokenize(tokenize::TokenizeArgs),
    /// Write lines of tokens as text
    Detokenize(tokenize::DetokenizeArgs),
    /// Show a checkpoint: config, vocabularies, weights, training state
    Inspect(inspect::InspectArgs),
    /// Show every key of a config with its default and its meaning
    Keys(keys::KeysArgs),
    /// Show what seqloom runs on, and what to do if no GPU is found
    Doctor(doctor::DoctorArgs),
}

/// Runs the command line of this process, and ends it.
pub fn main() -> ! {
    let code = run_with(std::env::args_os());
    // As at the usual end, a closed standard output is no error any more.
    let _ = std::io::stdout().flush();
    shim::leave(code)
}

/// Parses a command line, which begins with the name of the program, runs its command, and prints its error; returns the exit
/// code.
pub fn run_with(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli.command,
        Err(error) => {
            return refused(&error, arguments.get(1).and_then(|name| name.to_str()).unwrap_or_default());
        }
    };
    experiment::end_with_parent();
    guarded(|| run(&command)).unwrap_or_else(|error| {
        print_error(&error.to_string());
        error.exit_code()
    })
}

/// Prints clap's help, version or error about a command; returns the exit code. If an unknown option is the name of a key, adds a
/// hint how to set it.
fn refused(error: &clap::Error, command: &str) -> u8 {
    // Help has colours; errors are printed as plain text.
    if !error.use_stderr() {
        drop(error.print());
        return error.exit_code() as u8;
    }
    let rendered = error.render().to_string();
    let unknown = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) => Some(option.as_str()),
        _ => None,
    };
    if let Some(moved) = unknown.and_then(|option| moved_to(command, option)) {
        print_error(&format!("error: `{command}` no longer has this option\nhint: {moved}"));
        return 2;
    }
    let key = unknown.and_then(|option| key_of(option, settable(command)));
    // Drops clap's tips to pass the option as a value, and those for similar options if a key is meant.
    let off_track =
        |line: &&str| line.starts_with("  tip: ") && (key.is_some() || line.contains("as a value"));
    let kept: Vec<&str> = rendered.lines().filter(|line| !off_track(line)).collect();
    print_error(kept.join("\n").replace("\n\n\n", "\n\n").trim_end());
    if let Some(path) = key {
        print_error(&format!("\nhint: set the key of that name with `--set {path}=…`"));
    }
    error.exit_code() as u8
}

/// The replacement for an option of an earlier version.
fn moved_to(command: &str, option: &str) -> Option<&'static str> {
    match (command, option) {
        ("decode", "--verify") => Some("use `seqloom verify RUN`, with `--rows N`"),
        ("decode", "--interactive") => Some("use `seqloom interactive RUN`"),
        _ => None,
    }
}

/// The prefixes of the keys that `--set` of a command accepts, the most likely first.
fn settable(command: &str) -> &'static [&'static str] {
    match command {
        "train" | "check" | "experiment" => &["training.", "model.", "decoding.", "runtime.", "data.", ""],
        "decode" | "distill" | "interactive" | "verify" | "attention" | "evaluate" => {
            &["decoding.", "runtime."]
        }
        "score" => &["runtime."],
        "shortlist" | "data" => &["data."],
        _ => &[],
    }
}

/// The key that is meant by an option, by its full path or its last part: `--training.steps`, `--learning-rate`,
/// `--lr`, `--step`.
fn key_of(option: &str, beginnings: &[&str]) -> Option<String> {
    let name = option.trim_start_matches('-').split('=').next()?.replace('-', "_");
    let names = [if name == "lr" { "learning_rate".to_owned() } else { name.clone() }, name + "s"];
    let paths: Vec<String> =
        entries().into_iter().filter(|entry| !entry.key.is_empty()).map(|entry| entry.path()).collect();
    let is_named = |path: &&String, name: &str| *path == name || path.ends_with(&format!(".{name}"));
    let found = |beginning: &&str, name: &str| {
        paths.iter().find(|path| path.starts_with(*beginning) && is_named(path, name)).cloned()
    };
    names.iter().find_map(|name| beginnings.iter().find_map(|beginning| found(beginning, name)))
}

fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Train(args) => train::run(args),
        Command::Init(args) => init::run(args).map(|()| 0),
        Command::Check(args) => check::run(args),
        Command::Data(args) => data::run(args).map(|()| 0),
        Command::Experiment(args) => experiment::run(args),
        Command::Average(args) => average::run(args).map(|()| 0),
        Command::Decode(args) => decode::run(args).map(|()| 0),
        Command::Distill(args) => distill::run(args).map(|()| 0),
        Command::Merge(args) => merge::run(args).map(|()| 0),
        Command::Interactive(args) => interactive::run(args).map(|()| 0),
        Command::Verify(args) => verify::run(args).map(|()| 0),
        Command::Attention(args) => attention::run(args).map(|()| 0),
        Command::Score(args) => score::run(args).map(|()| 0),
        Command::Evaluate(args) => evaluate::run(args).map(|()| 0),
        Command::Shortlist(args) => shortlist::run(args).map(|()| 0),
        Command::Tokenize(args) => tokenize::tokenize(args).map(|()| 0),
        Command::Detokenize(args) => tokenize::detokenize(args).map(|()| 0),
        Command::Inspect(args) => inspect::run(args).map(|()| 0),
        Command::Keys(args) => keys::run(args).map(|()| 0),
        Command::Doctor(args) => doctor::run(args).map(|()| 0),
    }
}

/// Turns a panic into an error message. RUST_BACKTRACE=1 shows the backtrace, except when out of memory: a backtrace
/// needs memory itself, and std, which holds a lock meanwhile, would deadlock without it.
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

/// Whether this is a terminal and NO_COLOR is not set.
fn may_colour(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints an error to stderr, with colours for `error:` and `hint:` and all other control characters escaped.
fn print_error(text: &str) {
    let text = printable(text);
    let coloured = match may_colour(&std::io::stderr()) {
        true => text.replacen("error:", "\x1b[1;31merror:\x1b[0m", 1).replacen(
            "\nhint:",
            "\n\x1b[1;36mhint:\x1b[0m",
            1,
        ),
        false => text.into_owned(),
    };
    // A closed stderr is ignored.
    let _ = writeln!(std::io::stderr(), "{coloured}");
}

/// Standard output. For a terminal, control characters except line breaks and tabs are escaped, since files and models
/// may contain any.
fn standard_output() -> Box<dyn Write> {
    let to = std::io::stdout();
    if to.is_terminal() { Box::new(Printable(to)) } else { Box::new(to) }
}

struct Printable<W>(W);

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let parts: Vec<Cow<str>> = text.split('\t').map(printable).collect();
        self.0.write_all(parts.join("\t").as_bytes()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Writes to stdout. A closed pipe is no error; the rest is dropped.
fn print(text: &str) -> Result<()> {
    let mut to = standard_output();
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failure(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes the JSON of `--summary`, to standard output for `-`.
fn write_summary(path: &Path, summary: &Value) -> Result<()> {
    let text = format!("{summary}\n");
    if is_stdout(path) {
        return print(&text);
    }
    write_output(path, text.as_bytes())
}
