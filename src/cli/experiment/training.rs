//! The training of a run: the step that does it, and whether it is done, by the files of the run alone.
//!
//! A record beside its config has the content of the files that a run is trained on. So a finished run counts as long as these
//! files are what they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::children::Step;
use super::plan::{Plan, Run, Task};
use crate::checkpoint::files::{SMALL, read_within, write_file};
use crate::checkpoint::run::RunDirectory;
use crate::console::status;
use crate::error::{Error, Kind, Result, counted};
use crate::experiment::{RunStage, stage};
use crate::runtime::StopFlag;

/// Digits of a checksum that a message shows.
const SHOWN: usize = 12;

/// The content of files, by their names; nothing of one that cannot be read.
type Contents = BTreeMap<String, Option<String>>;

/// Checks all runs that are there.
///
/// # Errors
/// The folder of a run has something else, or a run of another config or other files than those that are asked for.
pub(super) fn check_runs(plan: &Plan) -> Result<()> {
    (0..plan.runs.len()).try_for_each(|run| is_trained(plan, run).map(|_| ()))
}

/// Says which of the runs that are there have no record of their files.
///
/// # Errors
/// A run cannot be read.
pub(super) fn report_unrecorded(plan: &Plan) -> Result<()> {
    let mut unrecorded = Vec::new();
    for run in 0..plan.runs.len() {
        if record_of(plan, run).is_none() && stage_of(plan, run)? != Some(RunStage::New) {
            unrecorded.push(run);
        }
    }
    if let Some(first) = unrecorded.first() {
        let (count, first) = (counted(unrecorded.len(), "run"), &plan.runs[*first].name);
        status(&format!(
            "note: no record of the training files for {count}, such as {first}: changes of these files cannot be detected"
        ));
    }
    Ok(())
}

/// Whether a run has been trained.
///
/// # Errors
/// Those of [`check_runs`].
pub(super) fn is_trained(plan: &Plan, run: usize) -> Result<bool> {
    let stage = stage_of(plan, run)?;
    if stage != Some(RunStage::New) {
        check_contents(plan, run)?;
    }
    Ok(stage == Some(RunStage::Finished))
}

/// How far a run is; `None` if its files are damaged: training mends what a kill has left, or says what it is.
fn stage_of(plan: &Plan, run: usize) -> Result<Option<RunStage>> {
    match stage(&RunDirectory::at(&plan.folder(run)), &plan.runs[run].experiment) {
        Err(error) if error.kind() == Kind::Failure => Ok(None),
        found => found.map(Some),
    }
}

/// Refuses a run that was trained on files with another content.
fn check_contents(plan: &Plan, run: usize) -> Result<()> {
    for (file, then) in record_of(plan, run).unwrap_or_default() {
        let Some(then) = then else { continue };
        let now = plan.contents.of(Path::new(&file))?;
        if now != then {
            let place = plan.folder(run);
            let (place, [then, now]) = (place.display(), [&then, &now].map(|sum| shown(sum)));
            let message = format!(
                "the run in {place} was trained on other data: {file} has changed since then (SHA-256 {then}, now {now})"
            );
            return Err(Error::input(message).hint(format!(
                "restore the file, name another folder with --out, or delete {place} to train that run again"
            )));
        }
    }
    Ok(())
}

fn shown(sum: &str) -> &str {
    sum.get(..SHOWN).unwrap_or(sum)
}

/// The step that trains.
///
/// # Errors
/// A file cannot be written; those of [`check_runs`].
pub(super) fn training(plan: &Plan, run: usize, stop: &StopFlag) -> Result<Step> {
    let (Run { name, experiment }, folder) = (&plan.runs[run], plan.folder(run));
    for folder in ["configs", "runs"].map(|name| plan.place.join(name)) {
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
    }
    let config = plan.place.join("configs").join(format!("{name}.toml"));
    write_file(&config, experiment.to_toml().as_bytes())?;
    let steps = experiment.training.steps;
    match stage_of(plan, run)? {
        Some(RunStage::New) => {
            let contents = json!(contents(plan, run));
            write_file(&place_of_record(plan, run), contents.to_string().as_bytes())?;
        }
        Some(RunStage::Begun { steps: before }) if before != steps => {
            status(&format!("{name}: `training.steps` was {before} and is {steps} now; training continues"));
        }
        _ => {}
    }
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
        log: plan.log(Task::Run(run)),
        then: Box::new(|| Ok(())),
    })
}

/// What the files of a run contain, those of its pairs and of its ready tokenizers.
fn contents(plan: &Plan, run: usize) -> Contents {
    let data = &plan.runs[run].experiment.data;
    let of_valid = data.valid.files().into_iter().flat_map(|files| files.paths());
    let files = data.train.paths().chain(of_valid).chain(data.ready_tokenizers());
    // Training says what is wrong with a file.
    files.map(|file| (file.display().to_string(), plan.contents.of(file).ok())).collect()
}

/// The record of a run's files, unless it is lost or damaged.
fn record_of(plan: &Plan, run: usize) -> Option<Contents> {
    serde_json::from_slice(&read_within(&place_of_record(plan, run), SMALL).ok()?).ok()
}

fn place_of_record(plan: &Plan, run: usize) -> PathBuf {
    plan.place.join("configs").join(format!("{}.data.json", plan.runs[run].name))
}
