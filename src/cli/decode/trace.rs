//! `--trace`: what the model gave at each step of each output, a JSON object a row; docs/trace.md says what is in it.
//!
//! Rows are traced when their outputs are written, some at a time, so that memory does not depend on the input's length.

use std::path::{Path, PathBuf};

use clap::Args;

use super::rows::Row;
use crate::cli::is_same_file;
use crate::cli::output::{OutputFormat, Writer};
use crate::cli::traced::{TracedRow, known};
use crate::data::tokenizer::Encoded;
use crate::decoder::Output;
use crate::decoder::loaded::LoadedModel;
use crate::decoding::trace::{Known, trace};
use crate::error::{Error, Result};

/// Numbers of attention that are held at once, where a row alone has no more.
const MOST_NUMBERS: usize = 1 << 22;

/// How to look inside.
#[derive(Args, Debug)]
pub struct LookArgs {
    /// Writes for each row, a JSON object a line, what the model gave at each step of the output: the likeliest tokens,
    /// the chosen one and its rank, the attention over the source; docs/trace.md has the format
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub trace: Option<PathBuf>,
    /// Likeliest tokens of each step that --trace writes and --interactive shows
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub trace_top: usize,
    /// At a terminal: shows the output of each line that is typed, token by token, with the likeliest alternatives; greedy
    /// search or sampling
    #[arg(long, conflicts_with_all = [
        "trace", "input", "column", "output", "format", "resume", "shard", "on_error", "examples", "summary"
    ])]
    pub interactive: bool,
}

/// Traces rows where that is asked for.
pub struct Tracer<'a> {
    loaded: &'a LoadedModel,
    top: usize,
    writer: Option<Writer>,
    /// Token ids of the sources that are being decoded; none for a row that is skipped.
    sources: Vec<Vec<i64>>,
}

impl Tracer<'_> {
    /// Opens the trace. The output is open already.
    ///
    /// # Errors
    /// The file cannot be written, or is the input or the output.
    pub fn open<'a>(
        args: &LookArgs,
        loaded: &'a LoadedModel,
        input: &Path,
        output: &Path,
    ) -> Result<Tracer<'a>> {
        let open = |path: &PathBuf| {
            if path == output || is_same_file(path, output) {
                return Err(two_roles(path, "output"));
            }
            if is_same_file(path, input) {
                return Err(two_roles(path, "input"));
            }
            // JSON has no line breaks, so that a row is a line of text.
            Writer::open(path, OutputFormat::Text, &[])
        };
        let writer = args.trace.as_ref().map(open).transpose()?;
        Ok(Tracer { loaded, top: args.trace_top, writer, sources: Vec::new() })
    }

    /// Keeps what the model is going to read.
    pub fn keep_sources(&mut self, rows: &[Row<Encoded>]) {
        if self.writer.is_some() {
            let ids =
                |row: &Row<Encoded>| row.content.as_ref().map_or(Vec::new(), |source| source.ids.clone());
            self.sources = rows.iter().map(ids).collect();
        }
    }

    /// Traces the same rows, now that they are decoded, and writes and flushes what comes of it.
    ///
    /// # Errors
    /// The file cannot be written, or nobody reads it any more; the work could not be done.
    pub fn write(&mut self, rows: &[Row<Output>]) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut there = true;
        let (mut rows, mut sources) = (rows, self.sources.as_slice());
        while !rows.is_empty() {
            let count = together(rows, sources, self.loaded.rules.batch_size);
            let (now, later) = (rows.split_at(count), sources.split_at(count));
            for row in traced(self.loaded, now.0, later.0, self.top)? {
                let failed = |error| Error::failure(format!("cannot lay out a trace: {error}"));
                there &= writer.write(&serde_json::to_string(&row).map_err(failed)?, Vec::new())?;
            }
            (rows, sources) = (now.1, later.1);
        }
        match writer.flush()? && there {
            true => Ok(()),
            false => Err(Error::failure("nobody reads the trace any more")),
        }
    }
}

fn two_roles(path: &Path, role: &str) -> Error {
    let path = if path == Path::new("-") { "standard output".into() } else { path.to_string_lossy() };
    Error::input(format!("{path} cannot be the {role} and the trace at once"))
        .hint("name another file with --trace")
}

/// How many of these rows go through the model side by side.
fn together(rows: &[Row<Output>], sources: &[Vec<i64>], most: usize) -> usize {
    let mut numbers = 0;
    let fits = |(row, source): &(&Row<Output>, &Vec<i64>)| {
        let tokens = row.content.as_ref().map_or(0, |output| output.hypothesis.tokens.len() + 1);
        numbers += tokens * (source.len() + 1);
        numbers <= MOST_NUMBERS
    };
    rows.iter().zip(sources).take(most).take_while(fits).count().max(1)
}

/// What is written of these rows.
fn traced(
    loaded: &LoadedModel,
    rows: &[Row<Output>],
    sources: &[Vec<i64>],
    top: usize,
) -> Result<Vec<TracedRow>> {
    let skipped = Known { source: &[], tokens: &[], finished: false };
    let outputs = rows.iter().zip(sources);
    let outputs = outputs.map(|(row, ids)| row.content.as_ref().map_or(skipped, |output| known(ids, output)));
    let steps = trace(loaded.stepper(), &outputs.collect::<Vec<Known>>(), top)?;
    let row = |((row, ids), steps): ((&Row<Output>, &Vec<i64>), _)| {
        let made = match &row.content {
            Ok(output) => TracedRow::new(loaded, ids, output, steps),
            Err(error) => TracedRow { error: Some(error.message().to_owned()), ..TracedRow::default() },
        };
        let source = row.read.as_ref().map(|read| read.text.clone());
        TracedRow { row: row.number, source, truncated: row.truncated, ..made }
    };
    Ok(rows.iter().zip(sources).zip(steps).map(row).collect())
}
