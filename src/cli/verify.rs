//! `seqloom verify`: verifies the outputs of a model on the user's own rows.

use clap::Args;

use super::decode::rows::RowEncoder;
use super::headings::INPUT;
use super::model_args::ModelArgs;
use super::source_args::SourceArgs;
use crate::cli::input::{Input, Selection};
use crate::cli::print;
use crate::decoding::incremental_decoder::DecodeRequest;
use crate::error::{Error, Result, counted};
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::EncodedRequest;
use crate::predictor::verify::{Check, TOLERANCE, TOLERANCE_UNCACHED, verify};

/// Arguments of `seqloom verify`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom verify runs/dates --input words.txt
  seqloom verify runs/dates --input data/dates/test.csv --rows 20 --beam 10")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// Check the first N rows
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000),
        help_heading = INPUT
    )]
    rows: u64,
}

/// Runs the checks on the first rows and prints each.
///
/// # Errors
/// There is no row to check; a check fails.
pub(crate) fn run(args: &VerifyArgs) -> Result<()> {
    let loaded = &args.model.open()?;
    let (read, asked) = first_rows(&args.source, loaded, args.rows as usize)?;
    if asked.is_empty() {
        return Err(Error::input("there must be a row to check, but all are empty or skipped")
            .hint("name other rows with --input"));
    }
    let requests: Vec<&DecodeRequest> = asked.iter().map(|asked| &asked.decode).collect();
    let omitted = match read - asked.len() {
        0 => String::new(),
        count => format!(", of which {count} empty or skipped"),
    };
    print(&format!("{} on {}{omitted}\n", counted(read, "row"), loaded.runtime.place()))?;
    let (mut all, mut idle, mut off) = (0, 0, Vec::new());
    verify(loaded, &requests, |check| {
        let is_idle = check.outputs == 0 && check.holds();
        (all, idle) = (all + usize::from(!is_idle), idle + usize::from(is_idle));
        print(&line(&check))?;
        if !check.holds() {
            off.push(format!("{} ({:.1e}, tolerance {:e})", check.what, check.largest, check.tolerance));
        }
        Ok(())
    })?;
    if off.is_empty() {
        let bounds = format!("within {TOLERANCE:e}, and within {TOLERANCE_UNCACHED:e} without a cache");
        let nothing = match idle {
            0 => String::new(),
            idle => {
                format!("; {idle} more had nothing to compare: outputs of the maximum length are excluded")
            }
        };
        return print(&format!("all {all} checks passed, {bounds}{nothing}\n"));
    }
    Err(Error::failure(format!("{} of {all} checks failed: {}", off.len(), off.join("; "))))
}

/// The number of rows read, and the requests of those that can be decoded.
fn first_rows(args: &SourceArgs, loaded: &LoadedModel, count: usize) -> Result<(usize, Vec<EncodedRequest>)> {
    args.prompt();
    let sources = args.open(loaded)?;
    let recordings = loaded.experiment.data.source.audio.is_some();
    let mut input = Input::start(sources.rows, &args.input, Selection::default(), recordings)?;
    input.recording = sources.recording;
    let (mut read, mut asked) = (0, Vec::new());
    while read < count {
        let mut chunk = input.next_chunk()?;
        if chunk.is_empty() {
            break;
        }
        chunk.truncate(count - read);
        read += chunk.len();
        let encoder = RowEncoder::new(loaded, &input, args);
        let mut chunk = chunk.into_iter();
        while chunk.len() > 0 {
            let (encoded, fault) = encoder.encode(&mut chunk);
            if let Some(error) = fault {
                return Err(error);
            }
            asked.extend(encoded.into_iter().filter_map(|row| row.content.ok()));
        }
    }
    asked.retain(|asked| loaded.is_requested(&asked.decode.source));
    Ok((read, asked))
}

/// A check as a line.
fn line(check: &Check) -> String {
    let verdict = match (check.holds(), check.binding) {
        (false, _) => "FAILED  ",
        (true, _) if check.outputs == 0 => "nothing ",
        (true, true) => "ok      ",
        (true, false) => "reported",
    };
    let Check { what, outputs, largest, .. } = check;
    let result = match check.differ {
        Some(differ) => {
            format!("{differ} of {} {} by at most {largest:.1e}", counted(*outputs, "output"), check.fault)
        }
        None => format!("{}, at most {largest:.1e} apart", counted(*outputs, "output")),
    };
    format!("{verdict}  {what}: {result}\n")
}
