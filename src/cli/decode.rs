//! `seqloom decode`: sources in, outputs out, in the same order.
//!
//! Rows that have arrived are decoded and written together; among them they are sorted by length.

mod columns;
mod rows;
mod summary;
mod trace;
mod verify;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;

use self::columns::Columns;
use self::rows::Row;
use self::summary::DecodeSummary;
use self::trace::{TraceArgs, Tracer};
use super::headings::{INPUT, INSIGHT, MODEL, OUTPUT, SEARCH};
use super::input::{Input, InputFormat, OnError, Selection, Shard, guessed, open_sources};
use super::interactive;
use super::output::{CarriedFields, OutputFormat, Record, Writer};
use super::roles::FileRoles;
use crate::checkpoint::run::locate_model;
use crate::console::status;
use crate::data::readers::RowReader;
use crate::error::Result;
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::runtime::StopFlag;

/// Arguments of `seqloom decode`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  echo 'March 5, 2024' | seqloom decode runs/dates
  seqloom decode runs/dates --input data/dates/test.csv --output out.csv --beam 5
  seqloom decode runs/dates --input words.txt --format jsonl --set decoding.max_length=40
  seqloom decode runs/dates --input words.txt --output out.2.txt --shard 2/4 --resume
  seqloom decode runs/dates --input words.txt --format jsonl --n-best 3
  seqloom decode runs/dates --input test.en --targets test.de --output out.csv
  seqloom decode runs/first --with runs/second --with runs/third --input words.txt
  seqloom decode runs/dates --input words.txt --format jsonl --tokens
  seqloom decode runs/dates --input words.txt --verify
  seqloom decode runs/dates --input words.txt --output out.txt --trace steps.jsonl
  seqloom decode runs/dates --interactive

Four jobs with --shard 1/4 to 4/4 share an input; their text outputs are put together again by
  paste -d '\\n' out.[1-4].txt | head -n \"$(grep -c '' words.txt)\"
and CSV and JSON Lines have the row's number in the input in a column `row`.")]
pub struct DecodeArgs {
    /// A run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    run: PathBuf,
    /// Another model that chooses each token together with it, as decoding.ensemble says; may be given more than once. The
    /// target's vocabulary must be the same; the search is that of RUN
    #[arg(long, value_name = "RUN", help_heading = MODEL)]
    with: Vec<PathBuf>,
    /// Outputs say nothing but what this file lists for their sources, which is faster with a large vocabulary; scores are
    /// then over the lists. `seqloom shortlist` makes it
    #[arg(long, value_name = "FILE", help_heading = MODEL)]
    shortlist: Option<PathBuf>,
    /// Text with a source a line, or .csv, .tsv, .jsonl; - for standard input, decoded as it comes
    #[arg(long, short, value_name = "FILE", default_value = "-", help_heading = INPUT)]
    input: PathBuf,
    /// How the input is written [default: by its extension; standard input is text]
    #[arg(long, value_enum, help_heading = INPUT)]
    input_format: Option<InputFormat>,
    /// The sources' column in .csv, .tsv and .jsonl [default: as in training]
    #[arg(long, alias = "source-column", help_heading = INPUT)]
    column: Option<String>,
    /// The references' column in .csv, .tsv and .jsonl [default: as in training, where there is one]
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    target_column: Option<String>,
    /// Text with a reference for each line of --input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["input_format", "header", "column", "target_column", "prefix_column"],
        help_heading = INPUT
    )]
    targets: Option<PathBuf>,
    /// Whether the first row of .csv and .tsv names the columns; without such a row they go by their numbers, from 1
    /// [default: as in training]
    #[arg(long, value_name = "BOOL", help_heading = INPUT)]
    header: Option<bool>,
    /// What the text of every output begins with (that of an empty source is empty all the same), also in the middle of a word;
    /// white space around it counts where data.target.whitespace is keep
    #[arg(long, value_name = "TEXT", conflicts_with = "prefix_column", help_heading = SEARCH)]
    prefix: Option<String>,
    /// The column of .csv, .tsv and .jsonl that has what each row's output begins with
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    prefix_column: Option<String>,
    /// Where outputs go; - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-", help_heading = OUTPUT)]
    output: PathBuf,
    /// How outputs are written [default: by the output's extension, else text]; csv and jsonl have source, reference
    /// (where there is one), output, score and finished, and before them all other columns or fields of the input; with decoding.n_best above 1 a row for each output, with its rank
    /// from 1 and what ranks it
    #[arg(long, value_enum, help_heading = OUTPUT)]
    format: Option<OutputFormat>,
    /// Adds each output's tokens, EOS behind them where it is finished, for csv and jsonl; `score --tokens-column` takes
    /// them
    #[arg(long, help_heading = OUTPUT)]
    tokens: bool,
    /// Goes on behind the complete rows of an output file that a stopped command left, with the same model, input and options;
    /// a file OUTPUT.resume.json says what they were, as long as the output is not complete
    #[arg(long, help_heading = OUTPUT)]
    resume: bool,
    /// Decodes every N-th row from the I-th on: one job of N
    #[arg(long, value_name = "I/N", help_heading = INPUT)]
    shard: Option<Shard>,
    /// What happens to a row that is broken (not UTF-8, say) or too long
    #[arg(long, value_enum, default_value = "stop", help_heading = INPUT)]
    on_error: OnError,
    /// Cuts sources that are longer than data.source.max_length, and counts them
    #[arg(long, help_heading = INPUT)]
    truncate: bool,
    /// Prints this many rows with their references to standard error
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = OUTPUT)]
    examples: usize,
    /// Writes rows, exact match, error rates, and what was skipped, cut or unfinished, as JSON; - for standard output
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    summary: Option<PathBuf>,
    #[command(flatten)]
    look: TraceArgs,
    /// Hypotheses that go on side by side for each source; short for --set decoding.beam=N [default: as in training]
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    beam: Option<usize>,
    /// Puts in the place of each unknown symbol in an output's text the symbol of the source that the model looked at most; short for
    /// --set decoding.replace_unknown=true
    #[arg(long, help_heading = SEARCH)]
    replace_unknown: bool,
    /// Outputs of each source, the best first, for csv and jsonl; short for --set decoding.n_best=N. A narrower beam is widened
    /// to it
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    n_best: Option<usize>,
    /// Writes no outputs, but tries whether outputs can be trusted, on the first N rows: rows alone, together and shuffled,
    /// step by step and at once, searched and scored, a beam against greedy search [default N: 100]
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        default_missing_value = "100",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000),
        conflicts_with_all = ["output", "format", "tokens", "resume", "shard", "examples", "summary", "trace"],
        help_heading = INSIGHT
    )]
    verify: Option<u64>,
    /// Replaces a key of decoding.*, runtime.* or data.*.max_length; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = SEARCH)]
    overrides: Vec<String>,
}

impl DecodeArgs {
    /// The files that it reads and writes.
    fn roles(&self, loaded: &LoadedModel) -> Result<FileRoles> {
        let mut roles = FileRoles::default().reads("input", &self.input);
        roles = roles.may_read("targets", self.targets.as_deref());
        roles = roles.may_read("shortlist", self.shortlist.as_deref());
        for path in std::iter::once(&self.run).chain(&self.with) {
            roles = roles.reads_model(&locate_model(path)?);
        }
        roles = loaded.members().fold(roles, |roles, one| roles.reads_data(&one.experiment.data));
        let record = Record::place(&self.output);
        Ok(roles
            .writes("output", &self.output, "--output")
            .may_write("record of the output", record.as_deref(), "--output")
            .may_write("trace", self.look.trace.as_deref(), "--trace")
            .may_write("summary", self.summary.as_deref(), "--summary"))
    }
}

/// Decodes.
pub fn run(args: &DecodeArgs) -> Result<()> {
    let beam = args.beam.map(|width| format!("decoding.beam={width}"));
    let replaces = args.replace_unknown.then(|| "decoding.replace_unknown=true".to_owned());
    let overrides: Vec<String> = args.overrides.iter().cloned().chain(beam).chain(replaces).collect();
    let mut loaded = LoadedModel::open_together(&args.run, &args.with, &overrides)?;
    args.n_best.map_or(Ok(()), |n_best| want(&mut loaded, n_best))?;
    args.shortlist.as_ref().map_or(Ok(()), |path| loaded.use_shortlist(path))?;
    if args.look.interactive {
        return interactive::run(&loaded, args.look.trace_top, args.truncate, args.prefix.as_deref());
    }
    let sources = open(args, &loaded)?;
    if let Some(rows) = args.verify {
        return verify::run(args, &loaded, sources, rows as usize);
    }
    args.roles(&loaded)?.check()?;
    if args.input == Path::new("-") && std::io::stdin().is_terminal() {
        status("reading sources from standard input; Ctrl-D ends them");
    }
    let columns = Columns::new(args, &sources, &loaded);
    let format = columns.format(args)?;
    // What is there is written already; a signal ends the command at once, but not within a row.
    let stop = StopFlag::on_signals(loaded.experiment.runtime.on_usr1)?;
    let mut tracer = Tracer::open(&args.look, &loaded, &stop)?;
    let record = Record::new(&args.output, columns::settings(args, &loaded)?);
    let (sources, carried) = columns.carried(sources, format);
    let (writer, answered) = columns.writer(args, format, &carried.header(), &record)?;
    let writer = writer.recorded(record, answered.rows > 0).guarded(&stop);
    let mut summary = DecodeSummary::new(&loaded, format, args.examples, answered.rows);
    let mut input = Input::start(sources, &args.input, Selection { shard: args.shard, answered })?;
    input.guessed = guessed(&args.input, args.input_format);
    let mut out = Out { writer, columns, carried };
    if !decode_all(args, &loaded, &mut input, &mut out, &mut summary, &mut tracer)? {
        return Ok(());
    }
    summary.say(&loaded, &input);
    out.carried.say();
    args.summary.as_ref().map_or(Ok(()), |path| summary.write(path))
}

/// So many outputs of each source are asked for by name: a narrower beam follows, and that is said.
fn want(loaded: &mut LoadedModel, n_best: usize) -> Result<()> {
    if let Some(beam) = loaded.require_n_best(n_best)? {
        status(&format!("note: --n-best {n_best} needs a beam as wide: it is {beam}"));
    }
    Ok(())
}

fn open(args: &DecodeArgs, loaded: &LoadedModel) -> Result<RowReader> {
    if let Some(targets) = &args.targets {
        return RowReader::parallel(&args.input, targets);
    }
    let columns = [&args.column, &args.target_column, &args.prefix_column].map(Option::as_deref);
    open_sources(&args.input, args.input_format, columns, args.header, &loaded.experiment.data)
}

/// Decodes until the input ends; false when nobody reads the output any more.
fn decode_all(
    args: &DecodeArgs,
    loaded: &LoadedModel,
    input: &mut Input,
    out: &mut Out,
    summary: &mut DecodeSummary,
    tracer: &mut Tracer,
) -> Result<bool> {
    loop {
        let read = input.next_chunk()?;
        let Some(first) = read.first() else { return out.writer.finish() };
        out.writer.begin(first.row.as_ref().ok().map(|row| row.text.as_str()))?;
        let (rows, fault) = rows::encode(loaded, input, read, args);
        summary.add_sources(loaded, input, &rows);
        tracer.keep_sources(&rows);
        let (rows, without_figures) = rows::decode(loaded, input, rows, args.on_error, summary)?;
        let fault = without_figures.or(fault);
        for row in &rows {
            summary.add(loaded, row);
            if !out.write(row)? {
                return Ok(false);
            }
        }
        if !out.writer.flush()? {
            return Ok(false);
        }
        tracer.write(&rows)?;
        if let Some(error) = fault {
            return Err(error);
        }
    }
}

/// Where outputs go, and what goes with them.
struct Out {
    writer: Writer,
    columns: Columns,
    carried: CarriedFields,
}

impl Out {
    /// Writes the outputs of a row, the best first; false when nobody reads them any more.
    fn write(&mut self, row: &Row<Vec<Output>>) -> Result<bool> {
        let others = row.read.as_ref().map_or(&[][..], |read| &read.others);
        let carried = self.carried.of_row(others);
        for rank in 1..=row.content.as_ref().map_or(1, Vec::len) {
            let line = row.content.as_ref().map_or("", |outputs| outputs[rank - 1].text.as_str());
            if !self.writer.write(line, &carried, self.columns.fields(row, rank))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
