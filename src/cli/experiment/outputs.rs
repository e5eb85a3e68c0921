//! The steps of a task, each known to be done by its files; and the outputs of its models.
//!
//! Outputs have a record of the models and the input that they were made from, and of what they are. So they are made again if
//! one of these changes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::children::Step;
use super::ensembles::members;
use super::plan::{Plan, Task, TestSet};
use super::training::{is_trained, training};
use crate::checkpoint::files::{SMALL, read_within, remove_if_there, try_lock, write_file};
use crate::checkpoint::model_file::read_header;
use crate::checkpoint::run::locate_model;
use crate::cli::decoded::DecodedRows;
use crate::console::status;
use crate::data::readers::{Columns, Format, RowReader};
use crate::error::{Error, Result, counted};
use crate::runtime::StopFlag;

/// What is known of outputs.
#[derive(Serialize, Deserialize)]
struct Record {
    /// What they depend on.
    made_from: Value,
    /// The checksum of their file.
    sha256: String,
    /// Rows of their file.
    rows: u64,
}

/// A test set without outputs of some models.
struct Undecoded<'a> {
    set: &'a TestSet,
    /// What its outputs will be made from.
    made_from: Value,
    /// What is wrong with outputs that are there and were made from the same.
    altered: Option<String>,
}

/// The next step of a task; `None` once all test sets are decoded, or while another process decodes with the ensemble.
///
/// # Errors
/// The folder of a run has something else; a file cannot be read; another process decodes with the run's model.
pub(super) fn next_step(plan: &Plan, task: Task, stop: &StopFlag) -> Result<Option<Step>> {
    match task {
        Task::Run(run) if !is_trained(plan, run)? => training(plan, run, stop).map(Some),
        _ => next_decoding(plan, task),
    }
}

/// Whether nothing is left to do for a task.
///
/// # Errors
/// The folder of a run has something else; a file cannot be read.
pub(super) fn is_done(plan: &Plan, task: Task) -> Result<bool> {
    match task {
        Task::Run(run) if !is_trained(plan, run)? => Ok(false),
        _ => Ok(undecoded(plan, task, &models(plan, task)?)?.is_none()),
    }
}

/// What a task decodes with.
fn models(plan: &Plan, task: Task) -> Result<Vec<PathBuf>> {
    match task {
        Task::Run(run) => Ok(vec![plan.model(run)]),
        Task::Ensemble(system) => {
            members(plan, system).map(|runs| runs.into_iter().map(|run| plan.model(run)).collect())
        }
    }
}

/// The first test set without outputs of these models.
fn undecoded<'a>(plan: &'a Plan, task: Task, models: &[PathBuf]) -> Result<Option<Undecoded<'a>>> {
    let sums = models.iter().map(|model| sum_of(model)).collect::<Result<Vec<_>>>()?;
    for set in &plan.sets {
        let made_from = made_from(plan, task, &sums, set)?;
        let record = read_within(&record_of(plan, task, set), SMALL).unwrap_or_default();
        let record =
            serde_json::from_slice::<Record>(&record).ok().filter(|record| record.made_from == made_from);
        let altered = match &record {
            Some(record) => alteration(plan, record, &output_of(plan, task, set))?,
            None => None,
        };
        if record.is_none() || altered.is_some() {
            return Ok(Some(Undecoded { set, made_from, altered }));
        }
    }
    Ok(None)
}

/// How an output is no longer what its record says, if it is not.
fn alteration(plan: &Plan, record: &Record, output: &Path) -> Result<Option<String>> {
    let place = output.display();
    if !output.is_file() {
        return Ok(Some(format!("{place} is missing")));
    }
    if plan.contents.of(output)? == record.sha256 {
        return Ok(None);
    }
    let there = rows_in(output)?;
    Ok(Some(match there == record.rows {
        true => format!("{place} has changed since it was written"),
        false => format!("{place} has {}, but {} were written", counted(there, "row"), record.rows),
    }))
}

/// The step that decodes the next test set. Its lock keeps jobs that find the same ensemble from writing the same file.
fn next_decoding(plan: &Plan, task: Task) -> Result<Option<Step>> {
    let (name, folder) = (plan.name_of(task), folder_of(plan, task));
    fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
    let Some(lock) = try_lock(&folder.join("lock"))? else {
        return match task {
            Task::Run(_) => Err(Error::input(format!("another seqloom is decoding with {name}"))),
            Task::Ensemble(_) => Ok(None),
        };
    };
    let models = models(plan, task)?;
    let Some(Undecoded { set, made_from, altered }) = undecoded(plan, task, &models)? else {
        return Ok(None);
    };
    if let Some(altered) = altered {
        status(&format!("{altered}: decoding it again"));
    }
    let (output, record) = (output_of(plan, task, set), record_of(plan, task, set));
    let partial = output.with_extension("partial");
    // Without its record, the old output cannot pass for the new one.
    [&record, &partial].into_iter().try_for_each(|old| remove_if_there(old))?;
    let arguments = decode_arguments(plan, task, &models, (set, &partial));
    let contents = Arc::clone(&plan.contents);
    let then = move || {
        let _held_until_here = lock;
        fs::rename(&partial, &output).map_err(|error| Error::file("write", &output, &error))?;
        let rows = rows_in(&output)?;
        let made = Record { made_from, sha256: contents.of(&output)?, rows };
        write_file(&record, json!(made).to_string().as_bytes())
    };
    Ok(Some(Step {
        what: format!("decoding {} with {name}", set.name),
        arguments,
        log: plan.log(task),
        then: Box::new(then),
    }))
}

/// All of these tasks have decoded the test sets as they are now.
///
/// # Errors
/// A test set or outputs were changed after a task had decoded it; a file cannot be read.
pub(super) fn check_sets(plan: &Plan, tasks: &[Task]) -> Result<()> {
    for &task in tasks {
        if let Some(Undecoded { set, altered, .. }) = undecoded(plan, task, &models(plan, task)?)? {
            let (name, file) = (plan.name_of(task), set.input.display());
            return Err(Error::input(match altered {
                Some(altered) => format!("outputs must stay as they are until they are compared, but {altered}"),
                None => format!(
                    "all models must decode the same test set, but {} ({file}) has changed since {name} decoded it",
                    set.name
                ),
            })
            .hint("run the same command again: what was decoded before is decoded again"));
        }
    }
    Ok(())
}

/// The arguments of `seqloom decode`. A row that a model cannot take must not stop the experiment after its trainings.
fn decode_arguments(
    plan: &Plan,
    task: Task,
    models: &[PathBuf],
    (set, output): (&TestSet, &Path),
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["decode".into()];
    for (number, model) in models.iter().enumerate() {
        arguments.extend((number > 0).then(|| OsString::from("--with")));
        arguments.push(model.into());
    }
    arguments.extend(input_arguments(plan, task, set));
    if let Some(targets) = &set.targets {
        arguments.extend([OsString::from("--targets"), targets.into()]);
    }
    arguments.extend(
        ["--score-references", "--on-error", "skip", "--format", "jsonl", "--output"].map(OsString::from),
    );
    arguments.push(output.into());
    arguments
}

/// The options by which a command reads the sources of a test set as the configs of a task do.
pub(super) fn input_arguments(plan: &Plan, task: Task, set: &TestSet) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("--input"), set.input.clone().into()];
    if let Some(format) = set.format(&plan.experiment_of(task).data) {
        arguments.extend(["--input-format", format_name(format)].map(OsString::from));
    }
    if let Some(header) = set.header {
        arguments.extend([OsString::from("--header"), header.to_string().into()]);
    }
    arguments
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Text => "text",
        Format::Csv => "csv",
        Format::Tsv => "tsv",
        Format::Jsonl => "jsonl",
        Format::Json => "json",
        Format::Parquet => "parquet",
    }
}

fn folder_of(plan: &Plan, task: Task) -> PathBuf {
    plan.place.join("outputs").join(plan.name_of(task))
}

fn output_of(plan: &Plan, task: Task, set: &TestSet) -> PathBuf {
    folder_of(plan, task).join(format!("{}.jsonl", set.name))
}

fn record_of(plan: &Plan, task: Task, set: &TestSet) -> PathBuf {
    folder_of(plan, task).join(format!("{}.record.json", set.name))
}

/// What outputs depend on, by the checksums of the models.
fn made_from(plan: &Plan, task: Task, models: &[String], set: &TestSet) -> Result<Value> {
    let targets = set.targets.as_deref().map(|targets| plan.contents.of(targets)).transpose()?;
    Ok(json!({
        "models": models,
        "input": plan.contents.of(&set.input)?,
        "targets": targets,
        "format": set.format(&plan.experiment_of(task).data).map(format_name),
        "header": set.header,
    }))
}

/// The checksum of a model, as its file has it.
fn sum_of(model: &Path) -> Result<String> {
    read_header(&locate_model(model)?).map(|header| header.sha256)
}

/// The checksum of a run's model.
pub(super) fn model_sum(plan: &Plan, run: usize) -> Result<String> {
    sum_of(&plan.model(run))
}

/// The rows of a file of JSON Lines.
fn rows_in(path: &Path) -> Result<u64> {
    let failed = |error: std::io::Error| Error::file("read", path, &error);
    let mut lines = BufReader::new(File::open(path).map_err(failed)?).split(b'\n');
    lines.try_fold(0, |rows, line| line.map(|_| rows + 1)).map_err(failed)
}

/// The outputs of a task for a test set.
///
/// # Errors
/// The file cannot be read.
pub(super) fn decoded_rows(plan: &Plan, task: Task, set: &TestSet) -> Result<DecodedRows> {
    let columns = Columns::new(&["output"], "reference");
    let rows = RowReader::open(&output_of(plan, task, set), Some(Format::Jsonl), columns)?;
    // All configs have the same.
    let alternatives = plan.systems[0].experiment.data.target.alternatives.as_deref();
    let rows = DecodedRows::of(rows, alternatives);
    Ok(if plan.experiment_of(task).decoding.n_best > 1 { rows } else { rows.one_each() })
}
