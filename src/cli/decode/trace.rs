//! `--trace`: the model's scores and attention at each step of each output, one JSON object per output; docs/trace.md
//! describes the format.
//!
//! Outputs are traced after they are written, a few at a time, so that memory does not depend on the length of the input.

use std::path::PathBuf;

use clap::Args;

use super::Row;
use crate::cli::headings::INSIGHT;
use crate::cli::output::{OutputFormat, Writer};
use crate::cli::trace_record::{TracedRow, known};
use crate::decoding::request::DecodeRequest;
use crate::decoding::trace::{TracedOutput, trace};
use crate::error::{Error, Result};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::EncodedRequest;
use crate::runtime::StopFlag;

/// Numbers of attention that are held at once, where an output alone has no more.
const MOST_NUMBERS: usize = 1 << 22;

/// What is traced.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// Write a trace, one JSON object per output: for each step the most likely tokens, the chosen one and its rank, and
    /// the attention over the source; docs/trace.md describes the format
    #[arg(long, value_name = "FILE", conflicts_with = "resume", help_heading = INSIGHT)]
    pub trace: Option<PathBuf>,
    /// Number of most likely tokens per step in the trace
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = INSIGHT)]
    pub trace_top: usize,
}

/// Traces rows where that is asked for.
pub struct Tracer<'a> {
    loaded: &'a LoadedModel,
    top: usize,
    writer: Option<Writer>,
    /// What is being decoded; nothing for a row that is skipped.
    requests: Vec<DecodeRequest>,
}

impl Tracer<'_> {
    /// Opens the trace.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open<'a>(args: &TraceArgs, loaded: &'a LoadedModel, stop: &StopFlag) -> Result<Tracer<'a>> {
        // JSON has no line breaks, so that a row is a line of text.
        let open = |path: &PathBuf| Writer::open(path, OutputFormat::Text, &[]);
        let writer = args.trace.as_ref().map(open).transpose()?.map(|writer| writer.guarded(stop));
        Ok(Tracer { loaded, top: args.trace_top, writer, requests: Vec::new() })
    }

    /// Keeps what the model is going to be asked for.
    pub fn keep_requests(&mut self, rows: &[Row<EncodedRequest>]) {
        if self.writer.is_some() {
            let request = |row: &Row<EncodedRequest>| {
                row.content.as_ref().map_or(DecodeRequest::default(), |asked| asked.decode.clone())
            };
            self.requests = rows.iter().map(request).collect();
        }
    }

    /// Traces the same rows, now that they are decoded, and writes and flushes what comes of it.
    ///
    /// # Errors
    /// The file cannot be written, or its reader has closed it; the work could not be done.
    pub fn write(&mut self, rows: &[Row<Vec<Output>>]) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut there = true;
        let all: Vec<Entry> =
            rows.iter().zip(&self.requests).flat_map(|(row, request)| entries(row, request)).collect();
        let mut left = all.as_slice();
        while !left.is_empty() {
            let (now, later) = left.split_at(together(left, self.loaded.options.batch_size));
            for row in traced(self.loaded, now, self.top)? {
                let failed = |error| Error::failure(format!("cannot serialize a trace: {error}"));
                there &= writer.write(&serde_json::to_string(&row).map_err(failed)?, &[], Vec::new())?;
            }
            left = later;
        }
        match writer.flush()? && there {
            true => Ok(()),
            false => Err(Error::failure("the reader of the trace has closed it")),
        }
    }
}

/// What is to become a line of the trace.
struct Entry<'a> {
    row: &'a Row<Vec<Output>>,
    request: &'a DecodeRequest,
    /// Its place among the outputs of the row, from 1.
    rank: usize,
    /// Why the row has no output.
    output: std::result::Result<&'a Output, &'a Error>,
}

/// A line for each output of a row, the best first, and one for a row that is skipped.
fn entries<'a>(row: &'a Row<Vec<Output>>, request: &'a DecodeRequest) -> Vec<Entry<'a>> {
    let entry = |(rank, output)| Entry { row, request, rank, output };
    match &row.content {
        Ok(outputs) => (1..).zip(outputs.iter().map(Ok)).map(entry).collect(),
        Err(error) => vec![entry((1, Err(error)))],
    }
}

/// How many of these go through the model side by side.
fn together(entries: &[Entry], most: usize) -> usize {
    let mut numbers = 0;
    let fits = |entry: &&Entry| {
        let tokens = entry.output.map_or(0, |output| output.hypothesis.tokens.len() + 1);
        numbers += tokens * (entry.request.source.length() + 1);
        numbers <= MOST_NUMBERS
    };
    entries.iter().take(most).take_while(fits).count().max(1)
}

/// What is written of these.
fn traced(loaded: &LoadedModel, entries: &[Entry], top: usize) -> Result<Vec<TracedRow>> {
    let nothing = DecodeRequest::default();
    let skipped = TracedOutput { request: &nothing, tokens: &[], finished: false };
    let outputs = entries
        .iter()
        .map(|entry| entry.output.map_or(skipped, |output| known(loaded, entry.request, output)));
    let steps = trace(loaded.decoder(), &outputs.collect::<Vec<TracedOutput>>(), top)?;
    let row = |(entry, steps): (&Entry, _)| {
        let made = match entry.output {
            Ok(output) => TracedRow::new(loaded, &entry.request.source, output, steps),
            Err(error) => TracedRow { error: Some(error.message().to_owned()), ..TracedRow::default() },
        };
        let Row { number, read, truncated, .. } = entry.row;
        let source = read.as_ref().map(|read| read.text.clone());
        TracedRow { row: *number, rank: entry.rank, source, truncated: *truncated, ..made }
    };
    Ok(entries.iter().zip(steps).map(row).collect())
}
