//! `--trace`: the model's scores and attention at each step of each output, one JSON object per output; docs/trace.md
//! describes the format.
//!
//! Outputs are traced after they are written, a few at a time, so that memory does not depend on the length of the
//! input.

use std::path::PathBuf;

use clap::Args;

use super::Row;
use crate::cli::headings::INSIGHT;
use crate::cli::output::{OutputFormat, Writer};
use crate::cli::trace_record::{TracedRow, known};
use crate::decoding::incremental_decoder::DecodeRequest;
use crate::decoding::trace::{TracedOutput, trace};
use crate::error::{Error, Result};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::EncodedRequest;
use crate::runtime::StopFlag;

/// The most attention weights in memory, unless a single output has more.
const MOST_NUMBERS: usize = 1 << 22;

/// Options of the trace.
#[derive(Args, Debug)]
pub(crate) struct TraceArgs {
    /// Write a trace, one JSON object per output: for each step the most likely tokens, the chosen one and its rank,
    /// and the attention over the source; docs/trace.md describes the format
    #[arg(long, value_name = "FILE", conflicts_with = "resume", help_heading = INSIGHT)]
    pub trace: Option<PathBuf>,
    /// Number of most likely tokens per step in the trace
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = INSIGHT)]
    pub trace_top: usize,
}

/// Traces rows, if requested.
pub(crate) struct Tracer<'a> {
    loaded: &'a LoadedModel,
    top: usize,
    writer: Option<Writer>,
    /// The requests being decoded; none for skipped rows.
    requests: Vec<DecodeRequest>,
}

impl Tracer<'_> {
    /// Opens the trace.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn open<'a>(args: &TraceArgs, loaded: &'a LoadedModel, stop: &StopFlag) -> Result<Tracer<'a>> {
        // JSON has no line breaks, so each object is one line of text.
        let open = |path: &PathBuf| Writer::open(path, OutputFormat::Text, &[]);
        let writer = args.trace.as_ref().map(open).transpose()?.map(|writer| writer.guarded(stop));
        Ok(Tracer { loaded, top: args.trace_top, writer, requests: Vec::new() })
    }

    /// Keeps the requests of rows before they are decoded.
    pub(crate) fn keep_requests(&mut self, rows: &[Row<EncodedRequest>]) {
        if self.writer.is_some() {
            let request = |row: &Row<EncodedRequest>| {
                row.content.as_ref().map_or(DecodeRequest::default(), |asked| asked.decode.clone())
            };
            self.requests = rows.iter().map(request).collect();
        }
    }

    /// Traces the same rows after decoding, then writes and flushes the trace.
    ///
    /// # Errors
    /// The file cannot be written, or its reader has closed it; the model fails.
    pub(crate) fn write(&mut self, rows: &[Row<Vec<Output>>]) -> Result<()> {
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

/// A line of the trace before it is traced.
struct Entry<'a> {
    row: &'a Row<Vec<Output>>,
    request: &'a DecodeRequest,
    /// Its rank among the outputs of the row, from 1.
    rank: usize,
    /// The output, or why the row has none.
    output: std::result::Result<&'a Output, &'a Error>,
}

/// One entry per output of a row, the best first; one for a skipped row.
fn entries<'a>(row: &'a Row<Vec<Output>>, request: &'a DecodeRequest) -> Vec<Entry<'a>> {
    let entry = |(rank, output)| Entry { row, request, rank, output };
    match &row.content {
        Ok(outputs) => (1..).zip(outputs.iter().map(Ok)).map(entry).collect(),
        Err(error) => vec![entry((1, Err(error)))],
    }
}

/// How many entries to trace as one batch.
fn together(entries: &[Entry], most: usize) -> usize {
    let mut numbers = 0;
    let fits = |entry: &&Entry| {
        let tokens = entry.output.map_or(0, |output| output.hypothesis.tokens.len() + 1);
        numbers += tokens * (entry.request.source.length() + 1);
        numbers <= MOST_NUMBERS
    };
    entries.iter().take(most).take_while(fits).count().max(1)
}

/// The traced rows of these entries.
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
