//! `seqloom distill`: the outputs of a teacher as training pairs for a student, sequence-level knowledge distillation (Kim and Rush
//! 2016).
//!
//! Sources are read and decoded as `decode` does it. Rows of the input have any number of pairs in the table, so a record
//! beside it, not its rows, tells how far an unfinished one is.

mod choice;
mod sources;
mod table;
mod tally;

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::choice::Choice;
use self::sources::Sources;
use self::table::Table;
use self::tally::{Omission, Tally};
use super::decode::Row;
use super::decode::mbr::{Mbr, MbrArgs};
use super::decode::rows::{self, Needed, RowEncoder};
use super::headings::{INPUT, MODEL, OUTPUT, SEARCH};
use super::input::{Input, InputFormat, InputRow, OnError, Selection};
use super::metric_names::metric_named;
use super::model_args::ModelArgs;
use super::output::{Kept, Record, Writer};
use super::roles::FileRoles;
use super::shard::Shard;
use crate::console::status;
use crate::data;
use crate::error::{Error, Result, counted};
use crate::metrics::METRICS;
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::{EncodedRequest, TooLong};
use crate::runtime::StopFlag;

/// The beam width, unless an option or the run's config names one.
const BEAM: usize = 5;

/// Sources that are too long.
const TOO_LONG: TooLong =
    TooLong::Refuse("leave it out with --on-error skip, or allow more with --set data.source.max_length=N");

/// Arguments of `seqloom distill`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom distill runs/big --output pairs.csv
  seqloom distill runs/big --with runs/other --output both.csv --resume
  seqloom distill runs/big --input news.txt --input web.txt.gz --output more.csv
  seqloom distill runs/big --output pairs.csv --n-best 3
  seqloom distill runs/big --output pairs.csv --closest chrf
  seqloom distill runs/big --output pairs.2.csv --shard 2/4

A student's config then has data.train = [\"train.csv\", \"pairs.csv\"], or data.train = \"pairs.csv\". Left out and counted are \
outputs that are unfinished, empty or have <unk>, that are longer than data.target.max_length, or that the policies of [data] \
would not use.")]
pub(crate) struct DistillArgs {
    /// The teacher: a run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    run: PathBuf,
    /// Add a model to the teacher, an ensemble then, combined as decoding.ensemble sets; may be given more than once. The
    /// target vocabulary must be the same; the search settings are those of RUN
    #[arg(long, value_name = "RUN", help_heading = MODEL)]
    with: Vec<PathBuf>,
    /// Restrict each output to the tokens that this shortlist allows for its source. Make one with `seqloom shortlist`
    #[arg(long, value_name = "FILE", help_heading = MODEL)]
    shortlist: Option<PathBuf>,
    /// Decode these sources instead of RUN's training pairs, also without references: text with one source per line, .csv,
    /// .tsv, .jsonl, .json, also as .gz or .zst, or .parquet; may be given more than once
    #[arg(long, short, value_name = "FILE", help_heading = INPUT)]
    input: Vec<PathBuf>,
    /// Format of --input [default: by its extension]
    #[arg(long, value_enum, requires = "input", help_heading = INPUT)]
    input_format: Option<InputFormat>,
    /// Column of the sources in --input; of sources with several columns all of them, with commas between [default: as in
    /// training]
    #[arg(long, alias = "source-column", requires = "input", help_heading = INPUT)]
    column: Option<String>,
    /// What to do with a source that is broken or too long [default: skip if RUN's data.too_long is skip, else stop]
    #[arg(long, value_enum, help_heading = INPUT)]
    on_error: Option<OnError>,
    /// Decode every N-th source, from the I-th: job I of N; auto: by the job array (Slurm, Grid Engine) or the rank. The
    /// student's data.train names the outputs of all jobs
    #[arg(long, value_name = "I/N", help_heading = INPUT)]
    shard: Option<Shard>,
    /// Write the pairs to this .csv or .jsonl file, with the columns of RUN's [data]
    #[arg(long, short, value_name = "FILE", help_heading = OUTPUT)]
    output: PathBuf,
    /// Resume an output that a stopped command left, with the same model, input and options; until the output is complete,
    /// they are recorded in OUTPUT.resume.json
    #[arg(long, help_heading = OUTPUT)]
    resume: bool,
    /// Write one pair for each source: of its N best outputs (--n-best, else all of the beam) the one that is closest to the
    /// reference by this metric of training.metrics, such as chrf
    #[arg(long, value_name = "METRIC", conflicts_with = "metric", help_heading = OUTPUT)]
    closest: Option<String>,
    /// Write N pairs for each source, with its N best outputs; short for --set decoding.n_best=N; a narrower beam is widened
    /// to N
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    n_best: Option<usize>,
    /// Beam width; short for --set decoding.beam=N [default: 5, or RUN's own if it is wider than 1]
    #[arg(long, value_name = "N", help_heading = SEARCH)]
    beam: Option<usize>,
    #[command(flatten)]
    mbr: MbrArgs,
    /// Replace a key of decoding.*, runtime.* or data.*.max_length; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", help_heading = SEARCH)]
    overrides: Vec<String>,
}

impl DistillArgs {
    fn models(&self) -> ModelArgs {
        ModelArgs {
            run: self.run.clone(),
            with: self.with.clone(),
            shortlist: self.shortlist.clone(),
            beam: self.beam,
            n_best: self.n_best,
            replace_unknown: false,
            overrides: self.overrides.clone(),
        }
    }

    /// Opens the teacher. To choose among outputs, it has those of its whole beam.
    ///
    /// # Errors
    /// Those of [`ModelArgs::open`]; there is one output for each source, and nothing to choose.
    fn teacher(&self) -> Result<LoadedModel> {
        let mut loaded = self.models().open_with_beam(BEAM)?;
        if self.closest.is_none() {
            return Ok(loaded);
        }
        let beam = loaded.experiment.decoding.beam;
        if self.n_best.is_none() && loaded.options.n_best == 1 {
            loaded.require_n_best(beam)?;
        }
        match loaded.options.n_best {
            1 => Err(Error::input(
                "--closest chooses among several outputs of a source, but `decoding.n_best` is 1",
            )
            .hint("add --n-best 5")),
            _ => Ok(loaded),
        }
    }

    /// The files of the command.
    fn roles(&self, loaded: &LoadedModel) -> Result<FileRoles> {
        let roles = self.input.iter().fold(FileRoles::default(), |roles, path| roles.reads("input", path));
        let record = Record::place(&self.output);
        let roles = self.models().roles(roles, loaded)?.writes("output", &self.output, "--output");
        Ok(roles.may_write("record of the output", record.as_deref(), "--output"))
    }

    /// The settings on which the pairs depend, for the record of an unfinished output.
    fn settings(&self, loaded: &LoadedModel) -> Result<Map<String, Value>> {
        let mut all = self.models().settings(loaded)?;
        let inputs: Vec<String> = self.input.iter().map(|path| path.display().to_string()).collect();
        let format = self.input_format.map(|format| format!("{format:?}"));
        all.extend([
            ("data.target.max_length".to_owned(), json!(loaded.experiment.data.target.max_length)),
            ("--input".to_owned(), json!(inputs)),
            ("--input-format".to_owned(), json!(format)),
            ("--column".to_owned(), json!(self.column)),
            ("--closest".to_owned(), json!(self.closest)),
            ("--mbr".to_owned(), json!(self.mbr.metric)),
            ("--candidates".to_owned(), json!(self.mbr.metric.as_ref().map(|_| self.mbr.candidates))),
            ("--shard".to_owned(), json!(self.shard.map(|shard| shard.to_string()))),
            ("--on-error skip".to_owned(), json!(self.on_error(loaded) == OnError::Skip)),
        ]);
        Ok(all)
    }

    fn on_error(&self, loaded: &LoadedModel) -> OnError {
        self.on_error.unwrap_or(match loaded.experiment.data.too_long {
            data::TooLong::Skip => OnError::Skip,
            data::TooLong::Error => OnError::Stop,
        })
    }

    /// What an earlier command has done, for `--resume`; `None` if the output is complete.
    ///
    /// # Errors
    /// It had other settings; its record is damaged.
    fn progress(&self, record: &Record) -> Result<Option<Progress>> {
        if !self.resume {
            return Ok(Some(Progress::default()));
        }
        let Some(known) = record.check()? else {
            let is_there = self.output.metadata().is_ok_and(|metadata| metadata.len() > 0);
            return Ok((!is_there).then(Progress::default));
        };
        let progress = serde_json::from_value::<Progress>(known.progress).map_err(|error| {
            let output = self.output.display();
            let message =
                format!("the record beside {output} must tell how far it is, but it is damaged: {error}");
            Error::failure(message).hint("leave out --resume to write the pairs anew")
        });
        progress.map(|progress| Some(Progress { first_source: known.first_source, ..progress }))
    }
}

/// How far the command is, for its record.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// The first source, which the record has apart.
    #[serde(skip)]
    first_source: Option<String>,
    /// The last source that is done.
    last_source: Option<String>,
    /// Bytes of the output with the pairs of these sources.
    bytes: u64,
    tally: Tally,
}

impl Progress {
    fn to_json(&self) -> Result<Value> {
        serde_json::to_value(self)
            .map_err(|error| Error::failure(format!("cannot serialize the progress: {error}")))
    }

    /// The sources that are done.
    fn kept(&self) -> Kept {
        Kept {
            rows: self.tally.sources,
            first_source: self.first_source.clone(),
            last_source: self.last_source.clone(),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &DistillArgs) -> Result<()> {
    let closest = args.closest.as_deref().map(|name| metric_named("--closest", name, METRICS)).transpose()?;
    let mut loaded = args.teacher()?;
    let mbr = args.mbr.prepare(&mut loaded)?;
    let data = &loaded.experiment.data;
    let table = Table::new(data, &args.output)?;
    args.roles(&loaded)?.check()?;
    let record = Record::new(&args.output, args.settings(&loaded)?);
    let output = args.output.display();
    let Some(progress) = args.progress(&record)? else {
        status(&format!("{output} is complete: there is no record of an unfinished one beside it"));
        return Ok(());
    };
    let stop = StopFlag::on_signals(loaded.experiment.runtime.on_usr1)?;
    let wanted = Selection { shard: args.shard, answered: progress.kept() };
    let mut sources = Sources::open(args, data, wanted)?;
    // What cannot be read must not empty an old output.
    let first = sources.input.next_chunk()?;
    // Before the output: one without a record counts as complete.
    record.write(progress.first_source.as_deref(), progress.to_json()?)?;
    let writer = open(args, &table, &progress)?.guarded(&stop);
    let choice = Choice { loaded: &loaded, closest };
    let mut distilling = Distilling { args, choice, mbr, table, writer, record, progress };
    distilling.distill_all(first, &mut sources)?;
    distilling.finish(&sources)
}

/// Opens the output, behind the pairs that an earlier command wrote.
fn open(args: &DistillArgs, table: &Table, Progress { bytes, tally, .. }: &Progress) -> Result<Writer> {
    let writer = match *bytes {
        0 => Writer::open(&args.output, table.format, &table.header())?,
        bytes => Writer::resume_after(&args.output, table.format, bytes)?,
    };
    if tally.sources > 0 {
        let (output, pairs) = (args.output.display(), counted(tally.pairs, "pair"));
        let sources = counted(tally.sources, "source");
        status(&format!("{output} already has {pairs} from {sources}: resuming after them"));
    }
    Ok(writer)
}

/// A command at work.
struct Distilling<'a> {
    args: &'a DistillArgs,
    choice: Choice<'a>,
    mbr: Option<Mbr>,
    table: Table<'a>,
    writer: Writer,
    record: Record,
    progress: Progress,
}

impl Distilling<'_> {
    /// Decodes until the sources end; `chunk` are the first ones.
    fn distill_all(&mut self, mut chunk: Vec<InputRow>, sources: &mut Sources) -> Result<()> {
        if self.progress.tally.sources == 0 {
            let first = chunk.first().and_then(|first| first.row.as_ref().ok());
            self.progress.first_source = first.map(|row| row.text.clone());
        }
        while !chunk.is_empty() {
            let mut rows = chunk.into_iter();
            while rows.len() > 0 {
                self.distill_some(&mut rows, &sources.input, sources.are_of_training())?;
            }
            chunk = sources.input.next_chunk()?;
        }
        Ok(())
    }

    /// Decodes sources, as many as memory takes, and writes their pairs.
    fn distill_some(
        &mut self,
        read: &mut std::vec::IntoIter<InputRow>,
        input: &Input,
        of_training: bool,
    ) -> Result<()> {
        let loaded = self.choice.loaded;
        let on_error = self.args.on_error(loaded);
        let encoder = RowEncoder { loaded, input, prefix: None, on_error, too_long: TOO_LONG, split: false };
        let (mut rows, fault) = encoder.encode(read);
        if of_training {
            rows.iter_mut().for_each(|row| check_target(loaded, row));
        }
        let length =
            |row: &Row<EncodedRequest>| row.content.as_ref().map_or(0, |one| one.decode.source.length());
        let lengths: Vec<usize> = rows.iter().map(length).collect();
        let needed = Needed { mbr: self.mbr.as_ref(), ..Needed::default() };
        let (rows, not_finite) = rows::decode(loaded, rows, needed, on_error)?;
        for (row, length) in rows.iter().zip(lengths) {
            self.add(row, length)?;
        }
        if let Some(last) = rows.last() {
            self.progress.last_source = last.read.as_ref().map(|row| row.text.clone());
        }
        self.keep_progress()?;
        not_finite.or(fault).map_or(Ok(()), Err)
    }

    /// Writes the pairs of a source of this length, and counts what is left out.
    fn add(&mut self, row: &Row<Vec<Output>>, length: usize) -> Result<()> {
        let Distilling { choice, table, writer, progress: Progress { tally, .. }, .. } = self;
        let (outputs, read) = match (&row.content, &row.read) {
            (Ok(outputs), Some(read)) => (outputs, read),
            (Ok(_), None) => return Ok(()),
            (Err(error), _) => {
                tally.add_source(0);
                tally.skip(error);
                return Ok(());
            }
        };
        tally.add_source(outputs.first().map_or(0, |output| output.unknown));
        let (chosen, omitted) = choice.choose(read, length, outputs)?;
        omitted.into_iter().for_each(|why| tally.omit(why));
        let target = &choice.loaded.tokenizers.target;
        let references = read.target.as_ref().map(|field| {
            let (first, others) = choice.loaded.references(field);
            std::iter::once(first).chain(others).map(|text| target.as_output(text)).collect::<Vec<String>>()
        });
        for output in chosen {
            let fields = table.fields(read, &output.text)?;
            if !table.keeps(&fields) {
                tally.omit(Omission::LineBreak);
                continue;
            }
            writer.write("", &[], fields)?;
            tally.add_pair(references.as_ref().map(|references| references.contains(&output.text)));
        }
        Ok(())
    }

    /// Flushes all pairs, and then records that they are there.
    fn keep_progress(&mut self) -> Result<()> {
        if !self.writer.flush()? {
            let output = self.args.output.display();
            return Err(Error::failure(format!("cannot write {output}: its reader has closed it")));
        }
        self.progress.bytes = self.writer.written();
        self.record.write(self.progress.first_source.as_deref(), self.progress.to_json()?)
    }

    /// Ends the output, and reports what is in it and what is not.
    ///
    /// # Errors
    /// It has no pair.
    fn finish(&self, sources: &Sources) -> Result<()> {
        self.record.remove();
        let Progress { tally, .. } = &self.progress;
        let output = &self.args.output;
        sources.say(tally.sources);
        tally.say(output);
        match (tally.pairs, tally.sources) {
            // Such as a shard of a few sources.
            (0, 0) => return Ok(()),
            (0, sources) => {
                let message = format!("no output of {} can be a pair", counted(sources, "source"));
                return Err(Error::input(message).hint("look at the outputs with `seqloom decode`"));
            }
            _ => {}
        }
        if self.choice.loaded.experiment.data.valid.share().is_some() {
            status(
                "note: the run validates on a share of its training pairs (`data.valid`); with these pairs another share would \
                 be taken, and outputs would be references: name a file of validation pairs for the student",
            );
        }
        let name = self.table.in_config(output);
        status(&format!("to train a student: data.train = {name}, or add this file to those of data.train"));
        Ok(())
    }
}

/// Training uses a pair only if its target is short enough as well.
fn check_target(loaded: &LoadedModel, row: &mut Row<EncodedRequest>) {
    let (Ok(request), Some(read)) = (&row.content, &row.read) else { return };
    let Some(field) = &read.target else { return };
    let target = loaded.tokenizers.target.encode(loaded.references(field).0);
    if let Err(error) = loaded.check_target(&request.decode.source, &target) {
        row.content = Err(error.at(&read.place));
    }
}
