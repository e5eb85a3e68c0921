//! The sources that a teacher decodes: those of its training pairs, read as training reads them, or those of other files.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use clap::Args;
use serde_json::{Map, Value, json};

use super::choice::without_reference;
use super::table::absolute;
use crate::cli::headings::INPUT;
use crate::cli::input::{Input, InputFormat, RowSink, Selection, guessed};
use crate::cli::roles::FileRoles;
use crate::cli::source_args::open_sources;
use crate::console::status;
use crate::data::DataConfig;
use crate::data::audio::cache::content_hash;
use crate::data::held_out::{HeldOut, source_hash};
use crate::data::left_out::Tally;
use crate::data::readers::{ExtraField, FieldValue, Pair, RowReader, SourceRow};
use crate::data::selection::{Selected, each_used};
use crate::data::token_store::hexadecimal;
use crate::error::{Error, Result};

/// Bytes of a file's hash that a record has.
const HASH_BYTES: usize = 8;

/// Other sources than the training pairs, and how they are read.
#[derive(Args, Debug)]
pub(super) struct InputArgs {
    /// Decode these sources instead of RUN's training pairs, also without references: text with one source per line, .csv,
    /// .tsv, .jsonl, .json, also as .gz or .zst, or .parquet; may be given more than once
    #[arg(long, short, value_name = "FILE", help_heading = INPUT)]
    input: Vec<PathBuf>,
    /// Format of --input [default: by its extension]
    #[arg(long, value_enum, requires = "input", help_heading = INPUT)]
    input_format: Option<InputFormat>,
    /// Column of the sources in --input; if a source has several columns, name all of them, separated by commas [default:
    /// as in training]
    #[arg(long, alias = "source-column", requires = "input", help_heading = INPUT)]
    column: Option<String>,
    /// Column of the references in --input [default: as in training, if there is one]
    #[arg(long, value_name = "COLUMN", requires = "input", help_heading = INPUT)]
    target_column: Option<String>,
    /// Text with one reference for each line of --input; of several inputs, one for each, in their order
    #[arg(
        long,
        value_name = "FILE",
        requires = "input",
        conflicts_with_all = ["input_format", "header", "column", "target_column"],
        help_heading = INPUT
    )]
    targets: Vec<PathBuf>,
    /// Whether the first row of .csv and .tsv names the columns; if not, columns are numbers from 1 [default: as in
    /// training]
    #[arg(long, value_name = "BOOL", requires = "input", help_heading = INPUT)]
    header: Option<bool>,
}

impl InputArgs {
    /// Adds the files that are read.
    pub(super) fn roles(&self, roles: FileRoles) -> FileRoles {
        let roles = self.input.iter().fold(roles, |roles, path| roles.reads("input", path));
        self.targets.iter().fold(roles, |roles, path| roles.reads("targets", path))
    }

    /// What the pairs depend on of the sources, for the record of the output: the options, and hashes of the files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn settings(&self, data: &DataConfig) -> Result<Map<String, Value>> {
        let names = |paths: &[PathBuf]| -> Value {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<String>>().into()
        };
        let mut all = Map::from_iter([
            ("--input".to_owned(), names(&self.input)),
            ("--input-format".to_owned(), json!(self.input_format.map(|format| format!("{format:?}")))),
            ("--column".to_owned(), json!(self.column)),
            ("--target-column".to_owned(), json!(self.target_column)),
            ("--targets".to_owned(), names(&self.targets)),
            ("--header".to_owned(), json!(self.header)),
        ]);
        let files: Vec<&Path> = match self.input.is_empty() {
            true => data.train.paths().collect(),
            false => self.input.iter().chain(&self.targets).map(PathBuf::as_path).collect(),
        };
        // A pipe can be read only once, and a folder is known by its name.
        for path in files.into_iter().filter(|path| path.is_file()) {
            let hash = hexadecimal(content_hash(path)?.into_iter().take(HASH_BYTES));
            all.insert(format!("content of {}", path.display()), hash.into());
        }
        Ok(all)
    }

    /// Checks that the references of all inputs are named, or of none.
    fn check(&self) -> Result<()> {
        let [inputs, targets] = [self.input.len(), self.targets.len()];
        if targets == 0 || targets == inputs {
            return Ok(());
        }
        Err(Error::input(format!(
            "--targets must be given as often as --input, but there are {targets} --targets and {inputs} --input"
        )))
    }

    /// Opens the file of this number, and returns a note if its format was guessed.
    fn open(&self, number: usize, data: &DataConfig) -> Result<(RowReader, Option<String>)> {
        let path = &self.input[number];
        if let Some(targets) = self.targets.get(number) {
            return Ok((RowReader::parallel(path, targets)?, None));
        }
        let columns = [self.column.as_deref(), self.target_column.as_deref(), None];
        let opened = open_sources(path, self.input_format, columns, self.header, data)?;
        let note = guessed(path).filter(|_| self.input_format.is_none() && !opened.listed);
        Ok((opened.rows, note))
    }
}

/// The rows to decode.
pub(super) struct Sources {
    /// The rows.
    pub input: Input,
    /// What becomes of the other training pairs, once all are read; `None` for other files.
    others: Option<Receiver<Others>>,
    /// Notes about the formats of other files.
    guessed: Vec<String>,
}

/// The training pairs that are not decoded.
struct Others {
    selected: Selected,
    held_out: usize,
}

impl Sources {
    /// Opens the sources of a command: other files, which must have references if those are needed, or else the training
    /// pairs.
    ///
    /// # Errors
    /// A file cannot be read, or lacks a column or references.
    pub(super) fn open(
        args: &InputArgs,
        needs_references: bool,
        data: &DataConfig,
        wanted: Selection,
    ) -> Result<Sources> {
        match args.input.is_empty() {
            true => Sources::of_training(data, wanted),
            false => Sources::of_files(args, needs_references, data, wanted),
        }
    }

    /// Whether they are those of the training pairs.
    pub(super) fn are_of_training(&self) -> bool {
        self.others.is_some()
    }

    /// The training pairs that the policies use, and that are not held out for validation.
    fn of_training(data: &DataConfig, wanted: Selection) -> Result<Sources> {
        let held_out = data.valid.share().map(|share| HeldOut::of_training(share, data)).transpose()?;
        let (tell, others) = channel();
        let config = data.clone();
        let read = move |sink: &mut RowSink| -> Result<()> {
            let mut count = 0;
            let selected = each_used(&config.train, &config, &mut |pair| {
                if held_out.is_some_and(|held_out| held_out.has(source_hash(&config, &pair))) {
                    count += 1;
                    return Ok(());
                }
                sink.take(Ok(row_of(pair, &config)?), true)
            })?;
            // Nobody hears of it if the command has ended.
            let _ = tell.send(Others { selected, held_out: count });
            Ok(())
        };
        let file = data.train.paths().next().unwrap_or(Path::new("")).into();
        let input = Input::produced(file, wanted, data.source.audio.is_some(), read)?;
        Ok(Sources { input, others: Some(others), guessed: Vec::new() })
    }

    fn of_files(
        args: &InputArgs,
        needs_references: bool,
        data: &DataConfig,
        wanted: Selection,
    ) -> Result<Sources> {
        args.check()?;
        let (mut all, mut notes) = (Vec::new(), Vec::new());
        for (number, path) in args.input.iter().enumerate() {
            let (rows, note) = args.open(number, data)?;
            if needs_references && !rows.has_targets() {
                return Err(without_reference().at(path.display()));
            }
            notes.extend(note);
            all.push(rows);
        }
        let input = Input::start_all(all, wanted, data.source.audio.is_some())?;
        Ok(Sources { input, others: None, guessed: notes })
    }

    /// Reports what reading has found, of `rows` rows.
    pub(super) fn say(&self, rows: u64) {
        let note = |note: &String| status(&format!("note: {note}"));
        let Some(others) = &self.others else {
            self.guessed.iter().chain(&self.input.notes(rows)).for_each(note);
            return;
        };
        let Ok(Others { selected: Selected { left_out, notes }, held_out }) = others.try_recv() else {
            return;
        };
        for (reason, Tally { count, first }) in left_out.iter() {
            let first = first.first().map_or(String::new(), |first| format!(", the first at {first}"));
            status(&format!("note: training pairs skipped because {}: {count}{first}", reason.why()));
        }
        if held_out > 0 {
            status(&format!(
                "note: training pairs held out for validation (`data.valid`), and not decoded: {held_out}"
            ));
        }
        notes.iter().for_each(note);
    }
}

/// A training pair as a row of an input. Its recording is named from the working directory, and that of a row from the folder
/// of its file.
fn row_of(pair: Pair, data: &DataConfig) -> Result<SourceRow> {
    let between = data.target.alternatives.as_deref().unwrap_or_default();
    let (field, segment) = (pair.targets().collect::<Vec<&str>>().join(between), pair.segment());
    let Pair { source: text, place, .. } = pair;
    let row = SourceRow { text, target: Some(field), prefix: None, others: Vec::new(), place };
    let Some(audio) = &data.source.audio else { return Ok(row) };
    let text = absolute(Path::new(&row.text))?.to_string_lossy().into_owned();
    let seconds = [&audio.start_column, &audio.end_column].into_iter().zip(segment);
    let field = |(name, seconds): (&String, Option<f64>)| {
        let value = FieldValue::Json(seconds?.to_string());
        Some(ExtraField { name: name.as_str().into(), value })
    };
    Ok(SourceRow { text, others: seconds.filter_map(field).collect(), ..row })
}
