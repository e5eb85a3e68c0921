//! `seqloom evaluate`: metrics of outputs against references, with intervals, and whether systems differ by more than
//! chance.
//!
//! A system is a text, a table that `decode` wrote, or a run that decodes an input. Only the counts of each row are kept.

mod json;
mod latex;
mod results;
mod row_values;
mod runs;
mod tables;
mod text;
mod texts;

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use self::results::{Results, StatisticsArgs};
use super::headings::{INPUT, OUTPUT, SEARCH};
use super::metric_names::metric_named;
use super::output::OutputFormat;
use super::roles::FileRoles;
use super::scored::ScoredOutputs;
use super::source_args::SourceFormat;
use crate::checkpoint::run::locate_model;
use crate::error::{Error, Result};
use crate::metrics::{METRICS, MetricKind, TEACHER_FORCED};

/// The metrics of texts and tables, if none are named.
const USUAL: [&str; 4] = ["exact_match", "bleu", "chrf", "ter"];

/// Arguments of `seqloom evaluate`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom evaluate --references ref.de --outputs base.de new.de
  seqloom evaluate --references ref1.de ref2.de --outputs new.de --metrics bleu,chrf_plus_plus
  seqloom evaluate --input base.csv --input new.csv --test randomization
  seqloom evaluate --input pronounced.csv --alternatives \"|\"
  seqloom evaluate runs/base runs/new --input test.csv --rows rows.csv --format json

Texts have one row per line. Tables are those of `decode`, with a reference and an output in each row. Runs decode the \
input by their own settings. Of several systems the first is the baseline: p is the probability of a difference at least \
this large if the system and the baseline differ only by chance.")]
pub(crate) struct EvaluateArgs {
    /// Run directories (their best checkpoints), checkpoint folders or files model.safetensors: each is a system
    #[arg(value_name = "RUN", conflicts_with_all = ["references", "outputs"])]
    runs: Vec<PathBuf>,
    /// Texts with one reference per line; if there are several, each has a line for each row, which may be empty
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "outputs", help_heading = INPUT)]
    references: Vec<PathBuf>,
    /// Texts with one output per line: each is a system; - for standard input
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "references", help_heading = INPUT)]
    outputs: Vec<PathBuf>,
    /// Without RUN: tables with references and outputs, as `decode` writes them: each is a system, may be given more than
    /// once. With RUN: the sources to decode, and their references
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["references", "outputs"], help_heading = INPUT)]
    input: Vec<PathBuf>,
    /// Format of --input [default: by its extension]
    #[arg(long, value_enum, requires = "input", help_heading = INPUT)]
    input_format: Option<SourceFormat>,
    /// Column of the references in --input [default: reference; with RUN as in training]
    #[arg(long, alias = "target-column", value_name = "COLUMN", requires = "input", help_heading = INPUT)]
    reference_column: Option<String>,
    /// Separator of several references in one field or line, such as | [default: each is one reference; with RUN as in
    /// training]
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), help_heading = INPUT)]
    alternatives: Option<String>,
    /// Column of the outputs in tables [default: output]
    #[arg(long, value_name = "COLUMN", requires = "input", conflicts_with = "runs", help_heading = INPUT)]
    output_column: Option<String>,
    /// With RUN: column of the sources [default: as in training]
    #[arg(long, alias = "source-column", value_name = "COLUMN", requires = "runs", help_heading = INPUT)]
    column: Option<String>,
    /// With RUN: text with one reference for each line of --input
    #[arg(
        long,
        value_name = "FILE",
        requires = "runs",
        conflicts_with_all = ["input_format", "header", "column", "reference_column"],
        help_heading = INPUT
    )]
    targets: Option<PathBuf>,
    /// Whether the first row of .csv and .tsv names the columns; if not, columns are numbers from 1 [default: true; with
    /// RUN as in training]
    #[arg(long, value_name = "BOOL", requires = "input", help_heading = INPUT)]
    header: Option<bool>,
    /// With RUN: cut sources that are longer than data.source.max_length (recordings: data.source.audio.max_seconds), and
    /// count them
    #[arg(long, requires = "runs", help_heading = INPUT)]
    truncate: bool,
    /// With RUN: replace a key of decoding.*, runtime.* or data.*.max_length; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", requires = "runs", help_heading = SEARCH)]
    overrides: Vec<String>,
    /// The metrics, with commas between; with RUN also token_accuracy and perplexity, for which it scores the references
    /// [default: exact_match,bleu,chrf,ter; with RUN its training.metrics]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = OUTPUT)]
    metrics: Vec<String>,
    /// Format of the result, which is written to standard output
    #[arg(long, value_enum, default_value = "text", help_heading = OUTPUT)]
    format: ReportFormat,
    /// Also write the values of each row and system to this .csv or .jsonl file
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    rows: Option<PathBuf>,
    #[command(flatten)]
    statistics: StatisticsArgs,
}

/// The format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// A table to read, with shares and rates in percent
    Text,
    /// One JSON object with everything
    Json,
    /// A table for LaTeX with the package booktabs
    Latex,
}

/// Runs the command.
pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    let named = named_metrics(args)?;
    let rows = args.rows.as_deref();
    let rows =
        rows.map(|path| OutputFormat::of_table(path, "--rows").map(|format| (path, format))).transpose()?;
    roles(args)?.check()?;
    let usual = || USUAL.iter().filter_map(|name| MetricKind::named(name)).collect();
    let systems = match (args.runs.as_slice(), args.outputs.as_slice(), args.input.as_slice()) {
        ([], [], []) => return Err(nothing()),
        ([], [], tables) => tables::read(args, tables, &named.unwrap_or_else(usual))?,
        ([], outputs, _) => texts::read(args, outputs, &named.unwrap_or_else(usual))?,
        (runs, _, [input]) => runs::decode(args, runs, input, named)?,
        (_, _, inputs) => return Err(not_one_input(inputs.len())),
    };
    check_same(&systems)?;
    if let Some((path, format)) = rows {
        row_values::write(path, format, &systems)?;
    }
    let results = Results::new(&systems, &args.statistics);
    super::print(&match args.format {
        ReportFormat::Text => text::render(&results, &args.statistics),
        ReportFormat::Json => json::render(&results, &args.statistics),
        ReportFormat::Latex => latex::render(&results, &args.statistics),
    })
}

fn nothing() -> Error {
    Error::input("there must be outputs to evaluate, but none are named")
        .hint("name texts with --references and --outputs, tables with --input, or a RUN and its --input")
}

fn not_one_input(inputs: usize) -> Error {
    let message = format!("runs are evaluated on one --input, but there are {inputs}");
    Error::input(message).hint(match inputs {
        0 => {
            "name the sources with --input; their references are in a column of it (--reference-column), or in a file \
             (--targets)"
        }
        _ => "run the command once for each --input",
    })
}

/// The metrics of `--metrics`, each once; none if the option is not given.
///
/// # Errors
/// An unknown metric; one for which texts are not enough, without a run.
fn named_metrics(args: &EvaluateArgs) -> Result<Option<Vec<MetricKind>>> {
    let known = [METRICS, TEACHER_FORCED].concat();
    let mut kinds: Vec<MetricKind> = Vec::new();
    for name in args.metrics.iter().map(|name| name.trim()) {
        let kind = metric_named("--metrics", name, &known)?;
        if kind.is_teacher_forced() && args.runs.is_empty() {
            let message = format!("`{name}` needs a model that scores the references, but no RUN is named");
            return Err(Error::input(message)
                .hint("evaluate a RUN on an --input; for given pairs, `seqloom score` computes it"));
        }
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(Some(kinds).filter(|kinds| !kinds.is_empty()))
}

/// The files of the command.
fn roles(args: &EvaluateArgs) -> Result<FileRoles> {
    let mut roles = FileRoles::default();
    for (what, paths) in
        [("references", &args.references), ("outputs", &args.outputs), ("input", &args.input)]
    {
        roles = paths.iter().fold(roles, |roles, path| roles.reads(what, path));
    }
    for run in &args.runs {
        roles = roles.reads_model(&locate_model(run)?);
    }
    let roles = roles.may_read("targets", args.targets.as_deref());
    Ok(roles.may_write("values of rows", args.rows.as_deref(), "--rows"))
}

/// There is a row, and all systems have the same references.
fn check_same(systems: &[ScoredOutputs]) -> Result<()> {
    let Some(first) = systems.first() else { return Err(nothing()) };
    for system in systems {
        let [one, other] = [first, system].map(|system| (&system.name, system.rows()));
        if other.1 == 0 {
            let message = format!("there must be at least one row to evaluate, but {} has none", other.0);
            return Err(Error::input(message));
        }
        if one.1 != other.1 {
            return Err(Error::input(format!(
                "all systems must have the same number of rows, but {} has {} and {} has {}",
                one.0, one.1, other.0, other.1
            )));
        }
        if !first.has_references_of(system) {
            return Err(Error::input(format!(
                "all systems must have the same references, but those of {} and {} differ",
                one.0, other.0
            )));
        }
    }
    Ok(())
}

/// Whether a path is standard input.
fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}
