//! Systems as runs: each decodes the same input by its own settings, as `seqloom decode` does.

use std::path::{Path, PathBuf};

use super::{EvaluateArgs, is_stdin};
use crate::checkpoint::model_file::read_header;
use crate::checkpoint::run::locate_model;
use crate::cli::decode::Row;
use crate::cli::decode::rows::{self, Needed, RowEncoder};
use crate::cli::decode::summary::{DecodeSummary, with_example};
use crate::cli::input::{Input, OnError, Selection};
use crate::cli::output::OutputFormat;
use crate::cli::scored::ScoredOutputs;
use crate::cli::source_args::SourceArgs;
use crate::cli::target_tokens::{first_with_another_unit, first_with_others};
use crate::console::status;
use crate::error::{Error, Result};
use crate::metrics::{MetricKind, MetricSet, Unit};
use crate::predictor::Output;
use crate::predictor::loaded_model::{LoadedModel, read_description};
use crate::training::validation::unit_of;

/// The metric whose unit is that of a run's target tokens.
const OF_UNITS: &str = "error_rate";

/// Decodes the input with each run. Without `named` metrics, all systems have those of the first run's validations.
///
/// # Errors
/// A run or the input cannot be read; a row has no reference, or cannot be decoded; metrics over tokens or other units of
/// runs whose tokens or units differ.
pub(super) fn decode(
    args: &EvaluateArgs,
    runs: &[PathBuf],
    input: &Path,
    named: Option<Vec<MetricKind>>,
) -> Result<Vec<ScoredOutputs>> {
    if runs.len() > 1 && is_stdin(input) {
        return Err(Error::input(
            "several runs read the input one after the other, but it is standard input",
        )
        .hint("name a file with --input"));
    }
    let kinds = named.map_or_else(|| metrics_of(&runs[0]), Ok)?;
    check_tokens(runs, &kinds)?;
    check_units(runs, &kinds)?;
    let source = source_args(args, input);
    let mut systems = Vec::new();
    for run in runs {
        let mut loaded = LoadedModel::open(run, &args.overrides)?;
        if args.alternatives.is_some() {
            loaded.experiment.data.target.alternatives.clone_from(&args.alternatives);
        }
        let mut system = ScoredOutputs::new(run.display().to_string(), &kinds);
        if runs.len() > 1 {
            status(&format!("{}:", run.display()));
        }
        decode_run(&loaded, &source, &mut system)?;
        systems.push(system);
    }
    Ok(systems)
}

/// Metrics over tokens are for runs that cut targets into the same ones.
fn check_tokens(runs: &[PathBuf], kinds: &[MetricKind]) -> Result<()> {
    let Some(kind) = kinds.iter().find(|kind| kind.is_teacher_forced()) else { return Ok(()) };
    let Some((number, what)) = first_with_others(runs)? else { return Ok(()) };
    let [first, other] = [0, number].map(|run| runs[run].display());
    let message = format!(
        "`{}` compares only runs with the same target tokens, but those of {first} and {other} differ: {what}",
        kind.name
    );
    Err(Error::input(message).hint("compare them by metrics of their outputs, such as chrf"))
}

/// `error_rate` is over words or over characters, as each run's target tokens are, and two rates are of one kind.
fn check_units(runs: &[PathBuf], kinds: &[MetricKind]) -> Result<()> {
    let Some(kind) = kinds.iter().find(|kind| kind.name == OF_UNITS) else { return Ok(()) };
    let Some((number, units)) = first_with_another_unit(runs)? else { return Ok(()) };
    let [first, other] = [0, number].map(|run| runs[run].display());
    let [one, another] = units.map(|unit| match unit {
        Unit::Characters => "characters",
        Unit::Words => "words",
    });
    let message = format!(
        "runs must count errors over the same unit to be compared by `{}`, but {first} counts {one} and {other} {another}",
        kind.name
    );
    Err(Error::input(message).hint("compare them by character_error_rate or word_error_rate"))
}

fn source_args(args: &EvaluateArgs, input: &Path) -> SourceArgs {
    SourceArgs {
        input: input.to_path_buf(),
        input_format: args.input_format,
        sample_rate: None,
        column: args.column.clone(),
        target_column: args.reference_column.clone(),
        targets: args.targets.clone(),
        header: args.header,
        prefix: None,
        prefix_column: None,
        on_error: OnError::Stop,
        truncate: args.truncate,
    }
}

/// The metrics of a run's validations.
fn metrics_of(run: &Path) -> Result<Vec<MetricKind>> {
    let path = locate_model(run)?;
    let (experiment, tokenizers) = read_description(&read_header(&path)?, &path, &[])?;
    let metrics = experiment.training.metric_set(unit_of(&tokenizers.target));
    Ok(metrics.values().iter().map(|metric| metric.kind).collect())
}

/// Decodes all rows, prints the summary that `decode` prints, and scores the best outputs.
fn decode_run(loaded: &LoadedModel, source: &SourceArgs, system: &mut ScoredOutputs) -> Result<()> {
    let sources = source.open(loaded)?;
    if !sources.rows.has_targets() {
        return Err(without_references(&source.input));
    }
    let guessed = source.guessed(&sources);
    let recordings = loaded.experiment.data.source.audio.is_some();
    let mut input = Input::start(sources.rows, &source.input, Selection::default(), recordings)?;
    (input.guessed, input.recording) = (guessed, sources.recording);
    let reference_scores = system.kinds().any(|kind| kind.is_teacher_forced());
    let needed = Needed { reference_scores, ..Needed::default() };
    // The system counts the metrics.
    let mut summary =
        DecodeSummary::new(loaded, OutputFormat::Jsonl, 0, 0).with_metrics(MetricSet::default());
    loop {
        let mut chunk = input.next_chunk()?.into_iter();
        if chunk.len() == 0 {
            break;
        }
        while chunk.len() > 0 {
            let (encoded, fault) = RowEncoder::new(loaded, &input, source).encode(&mut chunk);
            summary.add_sources(loaded, &encoded);
            let (decoded, not_finite) = rows::decode(loaded, encoded, needed, OnError::Stop)?;
            if let Some(error) = not_finite.or(fault) {
                return Err(error);
            }
            for row in &decoded {
                summary.add(loaded, row);
                score(loaded, row, system)?;
            }
        }
    }
    summary.with_metrics(system.whole.clone()).say(loaded, &input);
    Ok(())
}

/// Scores the best output of a row.
fn score(loaded: &LoadedModel, row: &Row<Vec<Output>>, system: &mut ScoredOutputs) -> Result<()> {
    let (Ok(outputs), Some(read)) = (&row.content, &row.read) else { return Ok(()) };
    let Some(reference) = &read.target else {
        return Err(without_references(&read.place.file).at(&read.place));
    };
    let of_reference = (reference.as_str(), row.reference_score.clone().transpose()?);
    match outputs.first() {
        Some(best) => with_example(loaded, of_reference, &best.hypothesis, |example| system.add(example)),
        None => return Err(Error::failure("a row has no output").at(&read.place)),
    }
    Ok(())
}

fn without_references(input: &Path) -> Error {
    let message =
        format!("each row must have a reference to evaluate a run, but {} lacks them", input.display());
    Error::input(message).hint("name their column with --reference-column, or their text with --targets")
}
