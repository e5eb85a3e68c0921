//! The steps of a task, each known to be done by its files; and the outputs of its models.
//!
//! Outputs have a record of the models and the input that they were made from, so they are made again if one changes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::children::Step;
use super::ensembles::members;
use super::plan::{Plan, Task, TestSet};
use crate::checkpoint::files::{read_within, try_lock, write_file};
use crate::checkpoint::run::{RunDirectory, locate_model};
use crate::cli::decoded::DecodedRows;
use crate::cli::input::InputFormat;
use crate::cli::source_args::open_sources;
use crate::data::audio::cache::content_hash;
use crate::data::readers::{Columns, Format, RowReader};
use crate::data::token_store::hexadecimal;
use crate::error::{Error, Kind, Result};
use crate::experiment::is_finished;
use crate::runtime::StopFlag;

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

/// Whether a run has been trained.
///
/// # Errors
/// Its folder has something else, or a finished run with other results than those of its config.
pub(super) fn is_trained(plan: &Plan, run: usize) -> Result<bool> {
    match is_finished(&RunDirectory::at(&plan.folder(run)), &plan.runs[run].experiment) {
        // Training mends what a kill has left, or says what is damaged.
        Err(error) if error.kind() == Kind::Failure => Ok(false),
        finished => finished,
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

/// The first test set without outputs of these models, and what its outputs will be made from.
fn undecoded<'a>(plan: &'a Plan, task: Task, models: &[PathBuf]) -> Result<Option<(&'a TestSet, Value)>> {
    let sums = models.iter().map(|model| content(&locate_model(model)?)).collect::<Result<Vec<_>>>()?;
    for set in &plan.sets {
        let made_from = made_from(&sums, set)?;
        if !is_made_from(plan, task, set, &made_from) {
            return Ok(Some((set, made_from)));
        }
    }
    Ok(None)
}

/// The step that trains.
fn training(plan: &Plan, run: usize, stop: &StopFlag) -> Result<Step> {
    let (name, folder) = (&plan.runs[run].name, plan.folder(run));
    let config = plan.place.join("configs").join(format!("{name}.toml"));
    for folder in ["configs", "runs"].map(|name| plan.place.join(name)) {
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
    }
    write_file(&config, plan.runs[run].experiment.to_toml().as_bytes())?;
    // The system may take a moment to end a training whose experiment was killed.
    for _ in 0..100 {
        if stop.raised().is_some() || !folder.is_dir() || RunDirectory::at(&folder).lock().is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Step {
        what: format!("training {name}"),
        arguments: vec!["train".into(), config.into(), "--resume".into(), "--out".into(), folder.into()],
        log: log_of(plan, Task::Run(run)),
        then: Box::new(|| Ok(())),
    })
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
    let Some((set, made_from)) = undecoded(plan, task, &models)? else { return Ok(None) };
    let (output, record) = (output_of(plan, task, set), record_of(plan, task, set));
    let partial = output.with_extension("partial");
    // Without its record, the old output cannot pass for the new one.
    for old in [&record, &partial] {
        match fs::remove_file(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", old, &error));
            }
            _ => {}
        }
    }
    let arguments = decode_arguments(&models, set, &partial);
    let then = move || {
        let _held_until_here = lock;
        fs::rename(&partial, &output).map_err(|error| Error::file("write", &output, &error))?;
        write_file(&record, made_from.to_string().as_bytes())
    };
    Ok(Some(Step {
        what: format!("decoding {} with {name}", set.name),
        arguments,
        log: log_of(plan, task),
        then: Box::new(then),
    }))
}

/// The arguments of `seqloom decode`.
fn decode_arguments(models: &[PathBuf], set: &TestSet, output: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["decode".into()];
    for (number, model) in models.iter().enumerate() {
        arguments.extend((number > 0).then(|| OsString::from("--with")));
        arguments.push(model.into());
    }
    arguments.extend(input_arguments(set));
    if let Some(targets) = &set.targets {
        arguments.extend([OsString::from("--targets"), targets.into()]);
    }
    arguments.extend(["--score-references", "--format", "jsonl", "--output"].map(OsString::from));
    arguments.push(output.into());
    arguments
}

/// The arguments that name the sources of a test set.
fn input_arguments(set: &TestSet) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--input".into(), set.input.clone().into()];
    // Parallel text has neither of the others.
    if let Some(format) = set.format.filter(|_| set.targets.is_none()) {
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

fn log_of(plan: &Plan, task: Task) -> PathBuf {
    plan.place.join("logs").join(format!("{}.log", plan.name_of(task)))
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
fn made_from(models: &[String], set: &TestSet) -> Result<Value> {
    let targets = set.targets.as_deref().map(content).transpose()?;
    Ok(json!({
        "models": models,
        "input": content(&set.input)?,
        "targets": targets,
        "format": set.format.map(format_name),
        "header": set.header,
        // Outputs of an earlier version have none.
        "reference_scores": true,
    }))
}

/// The checksum of a file; the name of anything else.
fn content(path: &Path) -> Result<String> {
    match path.is_dir() {
        true => Ok(path.display().to_string()),
        false => content_hash(path).map(hexadecimal),
    }
}

fn is_made_from(plan: &Plan, task: Task, set: &TestSet, made_from: &Value) -> bool {
    let record = read_within(&record_of(plan, task, set), 1 << 20).unwrap_or_default();
    let is_same = serde_json::from_slice::<Value>(&record).is_ok_and(|record| record == *made_from);
    is_same && output_of(plan, task, set).is_file()
}

/// The checksum of a run's model.
pub(super) fn model_sum(plan: &Plan, run: usize) -> Result<String> {
    content(&locate_model(&plan.model(run))?)
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
    Ok(DecodedRows::of(rows, alternatives))
}

/// The number of rows of a test set, as `seqloom decode` reads it; one that cannot be read counts, too.
///
/// # Errors
/// The file cannot be read.
pub(super) fn rows_of(plan: &Plan, set: &TestSet) -> Result<u64> {
    let data = &plan.systems[0].experiment.data;
    let mut rows = match &set.targets {
        Some(targets) => RowReader::parallel(&set.input, targets)?,
        None => {
            let format = set.format.or(data.format).map(InputFormat::from);
            open_sources(&set.input, format, [None; 3], set.header, data)?.rows
        }
    };
    let mut count = 0;
    while rows.next_row()?.is_some() {
        count += 1;
    }
    Ok(count)
}
