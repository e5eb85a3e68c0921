//! `seqloom decode`: sources in, outputs out, in the same order.
//!
//! Rows that have arrived are decoded and written together; among them they are sorted by length.

mod rows;
mod tally;
mod trace;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use self::rows::Row;
use self::tally::Tally;
use self::trace::{LookArgs, Tracer};
use super::input::{Input, OnError, Shard, Wanted, open_sources};
use super::output::{Field, Kept, OutputFormat, Writer};
use super::{interactive, refuse_same_file};
use crate::data::pairs::Sources;
use crate::decoder::Output;
use crate::decoder::loaded::LoadedModel;
use crate::error::{Error, Result};
use crate::training::report::talk;

/// Arguments of `seqloom decode`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  echo 'March 5, 2024' | seqloom decode runs/dates
  seqloom decode runs/dates --input data/dates/test.csv --output out.csv --beam 5
  seqloom decode runs/dates --input words.txt --format jsonl --set decoding.max_length=40
  seqloom decode runs/dates --input words.txt --output out.2.txt --shard 2/4 --resume
  seqloom decode runs/dates --input words.txt --output out.txt --trace steps.jsonl
  seqloom decode runs/dates --interactive

Four jobs with --shard 1/4 to 4/4 share an input; their text outputs are put together again by
  paste -d '\\n' out.1.txt out.2.txt out.3.txt out.4.txt | head -n \"$(wc -l < words.txt)\"
and CSV and JSON Lines have the row's number in the input in a column `row`.")]
pub struct DecodeArgs {
    /// A run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    run: PathBuf,
    /// Text with a source a line, or .csv, .tsv, .jsonl; - for standard input, decoded as it comes
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// The sources' column in .csv, .tsv and .jsonl [default: as in training]
    #[arg(long)]
    column: Option<String>,
    /// Where outputs go; - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How outputs are written [default: by the output's extension, else text]; csv and jsonl have source, reference
    /// (where there is one), output, score and finished
    #[arg(long, value_enum)]
    format: Option<OutputFormat>,
    /// Goes on behind the complete rows of an output file that a stopped command left, with the same input
    #[arg(long)]
    resume: bool,
    /// Decodes every N-th row from the I-th on: one job of N
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// What happens to a row that is broken (not UTF-8, say) or too long
    #[arg(long, value_enum, default_value = "stop")]
    on_error: OnError,
    /// Cuts sources that are longer than data.source.max_length, and counts them
    #[arg(long)]
    truncate: bool,
    /// Prints this many rows with their references to standard error
    #[arg(long, value_name = "N", default_value_t = 0)]
    examples: usize,
    /// Writes rows, exact match, error rate, and what was skipped, cut or unfinished, to a JSON file
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    #[command(flatten)]
    look: LookArgs,
    /// Hypotheses that go on side by side for each source; short for --set decoding.beam=N [default: as in training]
    #[arg(long, value_name = "N")]
    beam: Option<usize>,
    /// Replaces a key of decoding.*, runtime.* or data.*.max_length; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
}

/// Decodes.
pub fn run(args: &DecodeArgs) -> Result<()> {
    let beam = args.beam.map(|width| format!("decoding.beam={width}"));
    let overrides: Vec<String> = args.overrides.iter().cloned().chain(beam).collect();
    let loaded = LoadedModel::open(&args.run, &overrides)?;
    if args.look.interactive {
        return interactive::run(&loaded, args.look.trace_top, args.truncate);
    }
    let sources = open_sources(&args.input, args.column.as_deref(), &loaded.experiment.data)?;
    refuse_same_file(&args.input, &args.output)?;
    if args.input == Path::new("-") && std::io::stdin().is_terminal() {
        talk("reading sources from standard input, one a line; Ctrl-D ends them");
    }
    let columns = Columns::new(args, &sources);
    let (writer, answered) = columns.writer(args)?;
    let mut tracer = Tracer::open(&args.look, &loaded, &args.input, &args.output)?;
    let mut tally = Tally::new(args.examples, answered.rows);
    let input = Input::start(sources, &args.input, Wanted { shard: args.shard, answered })?;
    if !decode_all(args, &loaded, input, writer, &columns, &mut tally, &mut tracer)? {
        return Ok(());
    }
    tally.say();
    args.summary.as_ref().map_or(Ok(()), |path| tally.write(path))
}

/// Decodes until the input ends; false when nobody reads the output any more.
fn decode_all(
    args: &DecodeArgs,
    loaded: &LoadedModel,
    mut input: Input,
    mut writer: Writer,
    columns: &Columns,
    tally: &mut Tally,
    tracer: &mut Tracer,
) -> Result<bool> {
    loop {
        let read = input.next_chunk()?;
        if read.is_empty() {
            return writer.flush();
        }
        let (rows, fault) = rows::encode(loaded, &input, read, args);
        tally.add_sources(&input, &rows);
        tracer.keep_sources(&rows);
        let rows = rows::decode(loaded, rows)?;
        for row in &rows {
            tally.add(loaded, row);
            let line = row.content.as_ref().map_or("", |output| output.text.as_str());
            if !writer.write(line, columns.fields(row))? {
                return Ok(false);
            }
        }
        if !writer.flush()? {
            return Ok(false);
        }
        tracer.write(&rows)?;
        if let Some(error) = fault {
            return Err(error);
        }
    }
}

/// Which columns a table has besides source, output, score and finished.
struct Columns {
    number: bool,
    reference: bool,
    truncated: bool,
    error: bool,
}

impl Columns {
    fn new(args: &DecodeArgs, sources: &Sources) -> Columns {
        Columns {
            number: args.shard.is_some(),
            reference: sources.has_references(),
            truncated: args.truncate,
            error: args.on_error == OnError::Skip,
        }
    }

    /// Opens the output, and says what it has already.
    fn writer(&self, args: &DecodeArgs) -> Result<(Writer, Kept)> {
        let format = OutputFormat::choose(args.format, &args.output)?;
        let blank = Row { number: 0, read: None, truncated: false, content: Err(Error::input("")) };
        let names: Vec<&str> = self.fields(&blank).into_iter().map(|(name, _)| name).collect();
        if !args.resume {
            return Ok((Writer::open(&args.output, format, &names)?, Kept::default()));
        }
        let (writer, answered) = Writer::resume(&args.output, format, &names)?;
        if answered.rows > 0 {
            let (output, rows) = (args.output.display(), answered.rows);
            talk(&format!(
                "{output} has {rows} rows already; going on behind them, and what is said here is of the rest"
            ));
        }
        Ok((writer, answered))
    }

    /// The fields of a row, in the order of the columns. A row that is skipped has an empty output and no score.
    fn fields(&self, row: &Row<Output>) -> Vec<Field<'static>> {
        let read = row.read.as_ref();
        let output = row.content.as_ref().ok();
        let all = [
            (self.number, "row", json!(row.number)),
            (true, "source", json!(read.map(|read| &read.text))),
            (self.reference, "reference", json!(read.and_then(|read| read.reference.as_ref()))),
            (true, "output", json!(output.map_or("", |output| &output.text))),
            (true, "score", json!(output.map(|output| output.hypothesis.score))),
            (true, "finished", json!(output.is_some_and(|output| output.hypothesis.finished))),
            (self.truncated, "truncated", json!(row.truncated)),
            (
                self.error,
                "error",
                row.content.as_ref().err().map_or(Value::Null, |error| json!(error.message())),
            ),
        ];
        all.into_iter().filter(|(there, _, _)| *there).map(|(_, name, value)| (name, value)).collect()
    }
}
