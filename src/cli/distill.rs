//! `seqloom distill`: the outputs of a teacher as training pairs for a student, sequence-level knowledge distillation (Kim and Rush
//! 2016).
//!
//! Sources are read and decoded as `decode` does it. Rows of the input have any number of pairs in the table, so a record
//! beside it, not its rows, tells how far it is.

mod choice;
mod progress;
mod sources;
mod table;
mod tally;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use self::choice::Choice;
use self::progress::Progress;
use self::sources::{InputArgs, Sources};
use self::table::Table;
use self::tally::{Omission, Tally};
use super::decode::Row;
use super::decode::mbr::{Mbr, MbrArgs};
use super::decode::rows::{self, Needed, RowEncoder};
use super::headings::{INPUT, MODEL, OUTPUT, SEARCH};
use super::input::{Input, InputRow, OnError, Selection};
use super::metric_names::metric_named;
use super::model_args::ModelArgs;
use super::output::{Record, Writer};
use super::roles::FileRoles;
use super::shard::Shard;
use crate::console::status;
use crate::data::{self, DataConfig};
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

A student's config then has data.train = [\"train.csv\", \"pairs.csv\"], or data.train = \"pairs.csv\". Outputs that are \
unfinished, empty or have <unk>, that are longer than data.target.max_length, or that the policies of [data] would not use are \
left out and counted.")]
pub(crate) struct DistillArgs {
    /// The teacher: a run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    run: PathBuf,
    /// Add a model to the teacher, which is then an ensemble, combined as decoding.ensemble sets; may be given more than
    /// once. The target vocabulary must be the same; the search settings are those of RUN
    #[arg(long, value_name = "RUN", help_heading = MODEL)]
    with: Vec<PathBuf>,
    /// Restrict each output to the tokens that this shortlist allows for its source. Make one with `seqloom shortlist`
    #[arg(long, value_name = "FILE", help_heading = MODEL)]
    shortlist: Option<PathBuf>,
    #[command(flatten)]
    sources: InputArgs,
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
    /// Resume an output that a stopped command left, with the same model, input and options, which are recorded in
    /// OUTPUT.resume.json; a complete output is left alone
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
        let roles = self.models().roles(self.sources.roles(FileRoles::default()), loaded)?;
        let record = Record::place(&self.output);
        let roles = roles.writes("output", &self.output, "--output");
        Ok(roles.may_write("record of the output", record.as_deref(), "--output"))
    }

    /// The settings on which the pairs depend, for the record of the output.
    fn settings(&self, loaded: &LoadedModel) -> Result<Map<String, Value>> {
        let mut all = self.models().settings(loaded)?;
        all.extend(self.sources.settings(&loaded.experiment.data)?);
        all.extend([
            ("data.target.max_length".to_owned(), json!(loaded.experiment.data.target.max_length)),
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
    let progress = match args.resume {
        true => Progress::of_earlier(&args.output, &record)?,
        false => Progress::default(),
    };
    if progress.complete {
        status(&format!("{} is complete, by the same model, input and options", args.output.display()));
        return report(args, &table, data, &progress.tally);
    }
    let stop = StopFlag::on_signals(loaded.experiment.runtime.on_usr1)?;
    let wanted = Selection { shard: args.shard, answered: progress.kept() };
    let mut sources = Sources::open(&args.sources, closest.is_some(), data, wanted)?;
    // What cannot be read must not empty an old output.
    let first = sources.input.next_chunk()?;
    // Before the output: the record of an earlier one must not pass for that of the new one.
    progress.write(&record)?;
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
        self.progress.write(&self.record)
    }

    /// Ends the output, and reports what is in it and what is not.
    ///
    /// # Errors
    /// It cannot be written; it has no pair.
    fn finish(&mut self, sources: &Sources) -> Result<()> {
        self.progress.complete = true;
        self.keep_progress()?;
        let Progress { tally, .. } = &self.progress;
        sources.say(tally.sources);
        report(self.args, &self.table, &self.choice.loaded.experiment.data, tally)
    }
}

/// Reports what is in a complete output and what is not, and how the config of a student names it.
///
/// # Errors
/// It has no pair.
fn report(args: &DistillArgs, table: &Table, data: &DataConfig, tally: &Tally) -> Result<()> {
    tally.say(&args.output);
    match (tally.pairs, tally.sources) {
        // Such as a shard of a few sources.
        (0, 0) => return Ok(()),
        (0, sources) => {
            let message = format!("no output of {} can be a pair", counted(sources, "source"));
            return Err(Error::input(message).hint("look at the outputs with `seqloom decode`"));
        }
        _ => {}
    }
    if data.valid.share().is_some() {
        status(
            "note: the run validates on a share of its training pairs (`data.valid`). With these pairs added, outputs of the \
             model would become references: set the student's `data.valid` to a file",
        );
    }
    let name = table.in_config(&args.output);
    status(&format!("to train a student: data.train = {name}, or add this file to those of data.train"));
    Ok(())
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
