//! The steps of a run, each known to be done by its files; and the outputs of its model.
//!
//! Outputs have a record of the model and the input that they were made from, so they are made again if either changes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::children::Step;
use super::plan::{Plan, TestSet};
use crate::checkpoint::files::{read_within, write_file};
use crate::checkpoint::run::{RunDirectory, locate_model};
use crate::checkpoint::tensors::sha256;
use crate::data::readers::Format;
use crate::error::{Error, Kind, Result};
use crate::experiment::is_finished;

/// A row of an output.
#[derive(Deserialize)]
pub(super) struct Row {
    pub source: Option<String>,
    pub reference: Option<String>,
    pub output: String,
    pub finished: bool,
}

/// What a run needs next.
enum Need<'a> {
    Training,
    /// This test set must be decoded, from what the value says.
    Decoding(&'a TestSet, Value),
    Nothing,
}

/// The next step of a run; `None` once its model is trained and has decoded all test sets.
///
/// # Errors
/// Its folder has something else; a file cannot be read.
pub(super) fn next_step(plan: &Plan, run: usize) -> Result<Option<Step>> {
    match need(plan, run)? {
        Need::Training => training(plan, run).map(Some),
        Need::Decoding(set, made_from) => decoding(plan, run, set, made_from).map(Some),
        Need::Nothing => Ok(None),
    }
}

/// Whether nothing is left to do for a run.
///
/// # Errors
/// As [`next_step`].
pub(super) fn is_done(plan: &Plan, run: usize) -> Result<bool> {
    need(plan, run).map(|need| matches!(need, Need::Nothing))
}

fn need(plan: &Plan, run: usize) -> Result<Need<'_>> {
    let finished = match is_finished(&RunDirectory::at(&plan.folder(run)), &plan.runs[run].experiment) {
        // Training mends what a kill has left, or says what is damaged.
        Err(error) if error.kind() == Kind::Failure => false,
        finished => finished?,
    };
    if !finished {
        return Ok(Need::Training);
    }
    for set in &plan.sets {
        let made_from = made_from(&plan.model(run), set)?;
        if !is_made_from(plan, run, set, &made_from) {
            return Ok(Need::Decoding(set, made_from));
        }
    }
    Ok(Need::Nothing)
}

/// The step that trains.
fn training(plan: &Plan, run: usize) -> Result<Step> {
    let (name, folder) = (&plan.runs[run].name, plan.folder(run));
    let config = plan.place.join("configs").join(format!("{name}.toml"));
    for folder in ["configs", "runs"].map(|name| plan.place.join(name)) {
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
    }
    write_file(&config, plan.runs[run].experiment.to_toml().as_bytes())?;
    // The system may take a moment to end a training whose experiment was killed.
    for _ in 0..100 {
        if !folder.is_dir() || RunDirectory::at(&folder).lock().is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Step {
        what: format!("training {name}"),
        arguments: vec!["train".into(), config.into(), "--resume".into(), "--out".into(), folder.into()],
        log: log_of(plan, run),
        then: Box::new(|| Ok(())),
    })
}

/// The step that decodes a test set.
fn decoding(plan: &Plan, run: usize, set: &TestSet, made_from: Value) -> Result<Step> {
    let (output, record) = (place_of(plan, run, set), record_of(plan, run, set));
    let partial = output.with_extension("partial");
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder).map_err(|error| Error::file("make", folder, &error))?;
    }
    // Without its record, the old output cannot pass for the new one.
    for old in [&record, &partial] {
        match fs::remove_file(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", old, &error));
            }
            _ => {}
        }
    }
    let mut arguments: Vec<OsString> = vec!["decode".into(), plan.model(run).into()];
    arguments.extend(input_arguments(set));
    if let Some(targets) = &set.targets {
        arguments.extend([OsString::from("--targets"), targets.clone().into()]);
    }
    arguments.extend(["--format", "jsonl", "--output"].map(OsString::from));
    arguments.push(partial.clone().into());
    let then = move || {
        fs::rename(&partial, &output).map_err(|error| Error::file("write", &output, &error))?;
        write_file(&record, made_from.to_string().as_bytes())
    };
    Ok(Step {
        what: format!("decoding {} with {}", set.name, plan.runs[run].name),
        arguments,
        log: log_of(plan, run),
        then: Box::new(then),
    })
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

fn log_of(plan: &Plan, run: usize) -> PathBuf {
    plan.place.join("logs").join(format!("{}.log", plan.runs[run].name))
}

fn place_of(plan: &Plan, run: usize, set: &TestSet) -> PathBuf {
    plan.place.join("outputs").join(&plan.runs[run].name).join(format!("{}.jsonl", set.name))
}

fn record_of(plan: &Plan, run: usize, set: &TestSet) -> PathBuf {
    plan.place.join("outputs").join(&plan.runs[run].name).join(format!("{}.record.json", set.name))
}

/// What outputs depend on.
fn made_from(model: &Path, set: &TestSet) -> Result<Value> {
    let targets = set.targets.as_deref().map(content).transpose()?;
    Ok(json!({
        "model": content(&locate_model(model)?)?,
        "input": content(&set.input)?,
        "targets": targets,
        "format": set.format.map(format_name),
        "header": set.header,
    }))
}

/// The checksum of a file; the name of anything else.
fn content(path: &Path) -> Result<String> {
    match path.is_dir() {
        true => Ok(path.display().to_string()),
        false => read_within(path, u64::MAX).map(|bytes| sha256(&bytes)),
    }
}

fn is_made_from(plan: &Plan, run: usize, set: &TestSet, made_from: &Value) -> bool {
    let record = read_within(&record_of(plan, run, set), 1 << 20).unwrap_or_default();
    let is_same = serde_json::from_slice::<Value>(&record).is_ok_and(|record| record == *made_from);
    is_same && place_of(plan, run, set).is_file()
}

/// The checksum of a run's model.
pub(super) fn model_sum(plan: &Plan, run: usize) -> Result<String> {
    content(&locate_model(&plan.model(run))?)
}

/// The outputs of a run's model for a test set.
pub(super) fn read_rows(plan: &Plan, run: usize, set: &TestSet) -> Result<Vec<Row>> {
    let path = place_of(plan, run, set);
    let bytes = read_within(&path, u64::MAX)?;
    let row = |(number, line): (usize, &[u8])| -> Result<Row> {
        serde_json::from_slice(line).map_err(|error| {
            Error::failure(format!("{}:{number}: this must be a row of an output: {error}", path.display()))
        })
    };
    (1..).zip(bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())).map(row).collect()
}
