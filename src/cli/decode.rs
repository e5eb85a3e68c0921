//! `seqloom decode`: sources in, outputs out, in the same order.
//!
//! Rows that have arrived are decoded together, sorted by length, and written together.

mod columns;
mod format;
pub(crate) mod mbr;
mod references;
pub(crate) mod rows;
mod split;
pub(crate) mod summary;
mod timed;
mod trace;

use std::path::PathBuf;

use clap::Args;

use self::columns::Columns;
use self::format::DecodeFormat;
use self::mbr::{Mbr, MbrArgs};
use self::rows::{Needed, RowEncoder};
use self::summary::DecodeSummary;
use self::timed::TimedLines;
use self::trace::{TraceArgs, Tracer};
use super::headings::{INPUT, OUTPUT};
use super::input::{Input, InputRow, OnError, Selection};
use super::model_args::ModelArgs;
use super::output::{CarriedFields, Record, Writer};
use super::roles::FileRoles;
use super::shard::{Shard, ShardRecord};
use super::source_args::SourceArgs;
use crate::data::readers::SourceRow;
use crate::error::{Error, Result};
use crate::metrics::TargetScore;
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::runtime::StopFlag;

/// A row, before decoding or with its outputs.
pub(crate) struct Row<T> {
    /// Its number in the input, from 1.
    pub number: u64,
    /// The row of the input; `None` if it cannot be read.
    pub read: Option<SourceRow>,
    /// Whether its source was truncated.
    pub truncated: bool,
    /// Its content, or the reason why it is skipped.
    pub content: Result<T>,
    /// How the model scores its reference, or why it cannot; `None` if it has none, or was not asked to.
    pub reference_score: Option<Result<TargetScore>>,
}

impl<T> Row<T> {
    /// A row that is skipped.
    fn skipped(number: u64, read: Option<SourceRow>, error: Error) -> Row<T> {
        Row { number, read, truncated: false, content: Err(error), reference_score: None }
    }
}

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
  seqloom decode runs/dates --input words.txt --mbr chrf --set decoding.sampling.temperature=1.0
  seqloom decode runs/dates --input words.txt --format jsonl --tokens
  seqloom decode runs/dates --input words.txt --output out.txt --trace steps.jsonl
  seqloom decode runs/speech --input talk.wav --split --output talk.srt
  ffmpeg -i talk.mp4 -f s16le -ac 1 -ar 16000 - | seqloom decode runs/speech --input-format raw --sample-rate 16000

Four jobs with --shard 1/4 to 4/4 share an input; `seqloom merge` joins their outputs:
  seqloom merge out.[1-4].txt --output out.txt
CSV and JSON Lines have the row's number in the input in a column `row`, which `merge` removes.")]
pub(crate) struct DecodeArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    mbr: MbrArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// Decode every N-th row, from row I: job I of N; auto: by the job array (Slurm, Grid Engine) or the rank. A finished
    /// OUTPUT has a record for `seqloom merge` beside it, OUTPUT.shard.json
    #[arg(long, value_name = "I/N", help_heading = INPUT)]
    shard: Option<Shard>,
    /// Write outputs to this file; - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-", help_heading = OUTPUT)]
    output: PathBuf,
    /// Format of the output [default: by its extension, else text]; csv and jsonl have all other columns or fields of
    /// the input, then source, reference (if there is one), output, score and finished; with decoding.n_best above 1
    /// there is one row per output, with its rank (from 1) and its ranking; with --mbr the expected value of METRIC
    #[arg(long, value_enum, help_heading = OUTPUT)]
    format: Option<DecodeFormat>,
    /// Add each output's tokens, with EOS at the end if it is finished; for csv and jsonl. `score --tokens-column`
    /// reads them
    #[arg(long, help_heading = OUTPUT)]
    tokens: bool,
    /// Add when each token is spoken, as a list of [start, end] in seconds by the CTC head; for csv and jsonl
    #[arg(long, help_heading = OUTPUT)]
    times: bool,
    /// Also score references by teacher forcing, of several in a row the first: token accuracy and perplexity at the end and
    /// in --summary; csv and jsonl get reference_score (the sum of log-probabilities), reference_length (number of tokens,
    /// including EOS) and reference_correct (tokens that are the most likely ones)
    #[arg(long, help_heading = OUTPUT)]
    score_references: bool,
    /// Cut recordings that are longer than the model's data.source.audio.max_seconds at silences; each part is a row, with its
    /// start and end in seconds in csv and jsonl
    #[arg(long, conflicts_with = "resume", help_heading = INPUT)]
    split: bool,
    /// Resume after the complete rows of an output file that a stopped command left, with the same model, input and
    /// options; until the output is complete, they are recorded in OUTPUT.resume.json
    #[arg(long, help_heading = OUTPUT)]
    resume: bool,
    /// Print the first N rows with their references to standard error
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = OUTPUT)]
    examples: usize,
    /// Write a JSON summary: rows, metrics with their signatures and counts of errors, and counts of skipped, truncated and
    /// unfinished rows; - for standard output
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    summary: Option<PathBuf>,
    #[command(flatten)]
    trace: TraceArgs,
}

impl DecodeArgs {
    /// Checks the options that need sources or rows of some kind.
    fn check(&self, loaded: &LoadedModel, has_references: bool) -> Result<()> {
        if self.split && loaded.tokenizers.source.audio().is_none() {
            return Err(Error::input("--split cuts recordings, but the sources of the model are texts"));
        }
        if self.score_references && !has_references {
            return Err(Error::input("--score-references needs references, but the input has none")
                .hint("name their column with --target-column, or their text with --targets"));
        }
        Ok(())
    }

    /// The files of the command.
    fn roles(&self, loaded: &LoadedModel) -> Result<FileRoles> {
        let record = Record::place(&self.output);
        let shard = record.as_ref().and(self.shard).map(|_| ShardRecord::place(&self.output));
        let roles = self.model.roles(FileRoles::default().reads("input", &self.source.input), loaded)?;
        Ok(roles
            .may_read("targets", self.source.targets.as_deref())
            .writes("output", &self.output, "--output")
            .may_write("record of the output", record.as_deref(), "--output")
            .may_write("record of the shard", shard.as_deref(), "--output")
            .may_write("trace", self.trace.trace.as_deref(), "--trace")
            .may_write("summary", self.summary.as_deref(), "--summary"))
    }
}

/// Runs the command.
pub(crate) fn run(args: &DecodeArgs) -> Result<()> {
    let mut loaded = args.model.open()?;
    let mbr = args.mbr.prepare(&mut loaded)?;
    args.source.prompt();
    let sources = args.source.open(&loaded)?;
    args.roles(&loaded)?.check()?;
    args.check(&loaded, sources.rows.has_targets())?;
    let columns = Columns::new(args, &sources.rows, &loaded);
    let format = columns.format(args)?;
    let without_times = format.timed().map(|name| format!("choose another --format than {name}"));
    if let Some(hint) = without_times.or_else(|| args.times.then(|| "leave out --times".into())) {
        loaded.check_times().map_err(|error| error.hint(hint))?;
    }
    // All outputs so far are written, so a signal may end the command at once, but not within a row.
    let stop = StopFlag::on_signals(loaded.experiment.runtime.on_usr1)?;
    let tracer = Tracer::open(&args.trace, &loaded, &stop)?;
    let record = Record::new(&args.output, columns::settings(args, &loaded)?);
    let (guessed, audio) = (args.source.guessed(&sources), &loaded.experiment.data.source.audio);
    let timed = TimedLines::new(format, audio.as_deref(), sources.listed);
    let (rows, carried) = columns.carried(sources.rows, format.rows());
    let (writer, answered) = columns.writer(args, format.rows(), &carried.header(), &record)?;
    let writer = writer.recorded(record, answered.rows > 0).guarded(&stop);
    let summary = DecodeSummary::new(&loaded, format.rows(), args.examples, answered.rows)
        .with_reference_scores(args.score_references);
    let wanted = Selection { shard: args.shard, answered };
    let mut input = Input::start(rows, &args.source.input, wanted, audio.is_some())?;
    (input.guessed, input.recording) = (guessed, sources.recording);
    let out = Out { writer, columns, carried, timed };
    let mut decoding = Decoding { args, loaded: &loaded, mbr, input, out, summary, tracer };
    if !decoding.decode_all()? {
        return Ok(());
    }
    let Decoding { input, out, summary, .. } = decoding;
    summary.say(&loaded, &input);
    out.carried.say();
    args.summary.as_ref().map_or(Ok(()), |path| summary.write(path))
}

/// A command at work.
struct Decoding<'a> {
    args: &'a DecodeArgs,
    loaded: &'a LoadedModel,
    mbr: Option<Mbr>,
    input: Input,
    out: Out,
    summary: DecodeSummary,
    tracer: Tracer<'a>,
}

impl Decoding<'_> {
    /// Decodes until the input ends; false if the reader of the output has closed it.
    fn decode_all(&mut self) -> Result<bool> {
        loop {
            let mut read = self.input.next_chunk()?.into_iter();
            let Some(first) = read.as_slice().first() else {
                return self.out.writer.finish(self.input.all_rows());
            };
            self.out.writer.begin(first.row.as_ref().ok().map(|row| row.text.as_str()))?;
            while read.len() > 0 {
                if !self.decode_some(&mut read)? {
                    return Ok(false);
                }
            }
        }
    }

    /// Decodes rows, as many as memory takes; false if the reader of the output has closed it.
    fn decode_some(&mut self, read: &mut std::vec::IntoIter<InputRow>) -> Result<bool> {
        let Decoding { args, loaded, mbr, input, out, summary, tracer } = self;
        let encoder = RowEncoder { split: args.split, ..RowEncoder::new(loaded, input, &args.source) };
        let (rows, fault) = encoder.encode(read);
        summary.add_sources(loaded, &rows);
        tracer.keep_requests(&rows);
        let timed = out.timed.as_ref();
        let needed = Needed {
            mbr: mbr.as_ref(),
            times: args.times || timed.is_some(),
            scores: timed.is_some_and(TimedLines::has_scores),
            reference_scores: args.score_references,
        };
        let (mut rows, not_finite) = rows::decode(loaded, rows, needed, args.source.on_error)?;
        let mut fault = not_finite.or(fault);
        for row in 0..rows.len() {
            if let Some(error) = out.admit(&mut rows[row])
                && args.source.on_error == OnError::Stop
            {
                rows.truncate(row);
                fault = Some(error);
                break;
            }
            summary.add(loaded, &rows[row]);
            if !out.write(&rows[row], loaded, summary)? {
                return Ok(false);
            }
        }
        if !out.writer.flush()? {
            return Ok(false);
        }
        tracer.write(&rows)?;
        fault.map_or(Ok(true), Err)
    }
}

/// The destination of outputs, with their columns, or the form of their lines.
struct Out {
    writer: Writer,
    columns: Columns,
    carried: CarriedFields,
    timed: Option<TimedLines>,
}

impl Out {
    /// The error of a row that does not fit those before it; from then on it is the row's content.
    fn admit(&mut self, row: &mut Row<Vec<Output>>) -> Option<Error> {
        let (Some(timed), Some(read), Ok(_)) = (&mut self.timed, &row.read, &row.content) else {
            return None;
        };
        let error = timed.admit(read).err()?.at(&read.place);
        row.content = Err(error.clone());
        Some(error)
    }

    /// Writes the outputs of a row, the best first; false if the reader has closed the output.
    fn write(
        &mut self,
        row: &Row<Vec<Output>>,
        loaded: &LoadedModel,
        summary: &mut DecodeSummary,
    ) -> Result<bool> {
        if self.timed.is_some() {
            return self.write_timed(row, loaded, summary);
        }
        let others = row.read.as_ref().map_or(&[][..], |read| &read.others);
        let carried = self.carried.of_row(others);
        for rank in 1..=row.content.as_ref().map_or(1, Vec::len) {
            let line = row.content.as_ref().map_or("", |outputs| outputs[rank - 1].text.as_str());
            let fields = if self.writer.is_text() { Vec::new() } else { self.columns.fields(row, rank) };
            if !self.writer.write(line, &carried, fields)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the lines of a row's output, if it has times.
    fn write_timed(
        &mut self,
        row: &Row<Vec<Output>>,
        loaded: &LoadedModel,
        summary: &mut DecodeSummary,
    ) -> Result<bool> {
        let (Some(timed), Some(read), Ok([output])) = (&mut self.timed, &row.read, row.content.as_deref())
        else {
            return Ok(true);
        };
        if output.times.is_empty() && !output.hypothesis.tokens.is_empty() {
            summary.leave_out(&read.place);
        }
        for line in timed.lines(read, output, &loaded.tokenizers.target)? {
            if !self.writer.write(&line, &[], Vec::new())? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
