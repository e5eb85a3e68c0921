//! `seqloom attention`: the attention of one row's output over its source, as a picture; of a recording also its
//! spectrogram and what the CTC head found.

mod labels;
mod picture;
mod recording;

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::headings::{INPUT, OUTPUT, SEARCH};
use super::input::{InputFormat, source_of};
use super::print;
use super::roles::{FileRoles, is_stdout};
use super::source_args::open_sources;
use super::trace_record::{TracedRow, known};
use crate::checkpoint::files::write_output;
use crate::checkpoint::run::locate_model;
use crate::data::readers::{RowReader, SourceRow};
use crate::data::source_processor::SourceRef;
use crate::decoding::trace::trace;
use crate::error::{Error, Result, counted};
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::{EncodedRequest, TooLong};
use recording::{Posteriors, Recording, Spectrogram};

/// Arguments of `seqloom attention`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom attention runs/dates --text 'March 5, 2024' --output attention.svg
  seqloom attention runs/dates --input data/dates/test.csv --row 7 --beam 5 --output attention.svg
  seqloom attention runs/speech --text clips/7.wav --output attention.svg
  seqloom attention --trace steps.jsonl --row 7 --output attention.svg

Rows are the output's tokens, columns the source's. The darker a cell, the larger the attention to that source token when \
the output token was chosen: the decoder's last layer, averaged over its heads. Each row sums to 1. More: docs/trace.md

For a recording, the columns are seconds; the spectrogram is above, and the CTC posteriors and the tokens at their times are \
below. More: docs/speech.md")]
pub(crate) struct AttentionArgs {
    /// A run directory (its best checkpoint), a checkpoint folder or a model.safetensors; not with --trace
    #[arg(required_unless_present = "trace", conflicts_with = "trace")]
    run: Option<PathBuf>,
    /// Draw this source: a text, or the path of a recording
    #[arg(long, conflicts_with_all = ["input", "row", "trace"], help_heading = INPUT)]
    text: Option<String>,
    /// Text with one source per line, or .csv, .tsv, .jsonl, .json, also as .gz or .zst, or .parquet; for a speech model
    /// also one recording, or a folder of recordings; - for standard input
    #[arg(long, short, value_name = "FILE", default_value = "-", conflicts_with = "trace", help_heading = INPUT)]
    input: PathBuf,
    /// Format of the input [default: by its extension; standard input is text]
    #[arg(long, value_enum, conflicts_with_all = ["text", "trace"], help_heading = INPUT)]
    input_format: Option<InputFormat>,
    /// Column of the sources in tables [default: as in training]
    #[arg(long, conflicts_with_all = ["text", "trace"], help_heading = INPUT)]
    column: Option<String>,
    /// Whether the first row of .csv and .tsv names the columns; if not, columns are numbers from 1 [default: as in
    /// training]
    #[arg(long, value_name = "BOOL", conflicts_with_all = ["text", "trace"], help_heading = INPUT)]
    header: Option<bool>,
    /// Draw this row of the input, from 1
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = INPUT)]
    row: u64,
    /// Draw a row of a trace that `decode --trace` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["beam", "overrides"], help_heading = INPUT)]
    trace: Option<PathBuf>,
    /// Write the picture to this file; - for standard output [default: -, unless that is a terminal]
    #[arg(long, short, value_name = "FILE", help_heading = OUTPUT)]
    output: Option<PathBuf>,
    /// Beam width; short for --set decoding.beam=N [default: as in training]
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    beam: Option<usize>,
    /// Replace a key of decoding.*, runtime.* or data.*.max_length; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = SEARCH)]
    overrides: Vec<String>,
}

/// Draws the picture.
pub(crate) fn run(args: &AttentionArgs) -> Result<()> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Error::input("the picture must be written to a file, but standard output is a terminal")
            .hint("name a file with --output attention.svg, or use --output -"));
    }
    let output = args.output.as_deref().unwrap_or(Path::new("-"));
    let (row, recording) = match (&args.trace, &args.run) {
        (Some(trace), _) => {
            FileRoles::default().reads("trace", trace).writes("output", output, "--output").check()?;
            (read_traced(trace, args.row)?, Recording::default())
        }
        (None, Some(run)) => traced(args, run, output)?,
        (None, None) => return Err(Error::input("a picture needs a run, or a trace with --trace")),
    };
    check(&row)?;
    let svg = match row.seconds_per_position {
        Some(step) => recording::svg(&row, step, &recording),
        None => picture::svg(&row),
    };
    match is_stdout(output) {
        true => print(&svg),
        false => write_output(output, svg.as_bytes()),
    }
}

/// Decodes a row and traces it.
fn traced(args: &AttentionArgs, run: &Path, output: &Path) -> Result<(TracedRow, Recording)> {
    let beam = args.beam.map(|width| format!("decoding.beam={width}"));
    let overrides: Vec<String> = args.overrides.iter().cloned().chain(beam).collect();
    let loaded = LoadedModel::open(run, &overrides)?;
    let roles = FileRoles::default().reads_model(&locate_model(run)?).reads_data(&loaded.experiment.data);
    let input = args.text.is_none().then_some(args.input.as_path());
    roles.may_read("input", input).writes("output", output, "--output").check()?;
    let Asked { text, request, mut recording } = Asked::named_by(args, &loaded)?;
    let outputs = loaded.decode_n_best(&[&request])?;
    let best = outputs.first().and_then(|list| list.first());
    let known: Vec<_> = best.iter().map(|output| known(&loaded, &request.decode, output)).collect();
    let mut steps = trace(loaded.decoder(), &known, 0)?;
    if let (Some(output), Some(_)) = (best, &recording.spectrogram) {
        recording.posteriors = Posteriors::of(&loaded, &request.decode, &output.hypothesis.tokens)?;
    }
    let made = best.zip(steps.pop());
    let row = made.map(|(output, steps)| TracedRow::new(&loaded, &request.decode.source, output, steps));
    Ok((TracedRow { row: args.row, rank: 1, source: Some(text), ..row.unwrap_or_default() }, recording))
}

/// The row that is drawn, before it is decoded.
struct Asked {
    /// The source as it is named.
    text: String,
    request: EncodedRequest,
    recording: Recording,
}

impl Asked {
    fn named_by(args: &AttentionArgs, loaded: &LoadedModel) -> Result<Asked> {
        if let Some(text) = &args.text {
            return Asked::of(loaded, text.as_str().into()).map_err(|error| error.at("--text"));
        }
        let columns = [args.column.as_deref(), None, None];
        let mut sources =
            open_sources(&args.input, args.input_format, columns, args.header, &loaded.experiment.data)?.rows;
        let row = read_row(&mut sources, args.row)?;
        let asked = source_of(loaded, &row).and_then(|source| Asked::of(loaded, source));
        asked.map_err(|error| error.at(&row.place))
    }

    fn of(loaded: &LoadedModel, source: SourceRef) -> Result<Asked> {
        let too_long = TooLong::Refuse("allow more with --set data.source.max_length=N");
        let request = loaded.encode_request(source, "", too_long)?;
        let spectrogram = Spectrogram::of(loaded, source)?;
        let recording = Recording { part: source.segment, spectrogram, posteriors: None };
        Ok(Asked { text: source.text.to_owned(), request, recording })
    }
}

fn read_row(sources: &mut RowReader, number: u64) -> Result<SourceRow> {
    let mut there = 0;
    while let Some(row) = sources.next_row()? {
        there += 1;
        if there == number {
            return row;
        }
    }
    Err(no_row(number, "the input", there))
}

fn no_row(number: u64, of: &str, there: u64) -> Error {
    Error::input(format!("--row must be a row of {of}, from 1, but there is no row {number}"))
        .hint(format!("it ends after {}", counted(there, "row")))
}

/// The most bytes of a line of a trace.
const LONGEST_LINE: u64 = 1 << 30;

/// Finds a row in a trace.
fn read_traced(path: &Path, number: u64) -> Result<TracedRow> {
    #[derive(Deserialize)]
    struct Numbered {
        row: u64,
    }
    let failed = |error: std::io::Error| Error::file("read", path, &error);
    let (mut there, mut reader) = (0, BufReader::new(File::open(path).map_err(failed)?));
    loop {
        let mut line = String::new();
        // A file without line breaks may be endless.
        if reader.by_ref().take(LONGEST_LINE).read_line(&mut line).map_err(failed)? == 0 {
            break;
        }
        there += 1;
        let unreadable = |error: serde_json::Error| {
            let must = "a trace must have one JSON object per line, as `decode --trace` writes it";
            Error::input(format!("{}:{there}: {must}, but: {error}", path.display()))
        };
        if serde_json::from_str::<Numbered>(&line).map_err(unreadable)?.row == number {
            return serde_json::from_str(&line).map_err(unreadable);
        }
    }
    Err(no_row(number, &path.display().to_string(), there))
}

/// Checks that the row has tokens and consistent attention.
fn check(row: &TracedRow) -> Result<()> {
    if let Some(error) = &row.error {
        return Err(Error::input(format!("row {} was skipped and has no attention: {error}", row.row)));
    }
    if row.steps.is_empty() {
        return Err(Error::input(
            "an output must have a token to be drawn, but the output of this row has none",
        )
        .hint("an empty source is not decoded"));
    }
    // The frames of a model may be a second apart, and four of them are a position.
    if let Some(step) = row.seconds_per_position.filter(|step| !(1e-3..=1e2).contains(step)) {
        return Err(Error::input(format!(
            "`seconds_per_position` must be from 0.001 to 100, but it is {step}"
        )));
    }
    let positions = row.source_tokens.len();
    match row.steps.iter().find(|step| step.attention.len() != positions) {
        Some(step) => Err(Error::input(format!(
            "each step must attend to {positions} tokens of the source, but one attends to {}",
            step.attention.len()
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
