//! The checkpoint that training resumes from, and the check that the directory holds the same experiment.

use std::path::PathBuf;

use serde_json::Value;

use super::retention::parse_progress;
use crate::checkpoint::model_file;
use crate::checkpoint::run::{Lock, MODEL, RunDirectory, STATE, TRAINING};
use crate::checkpoint::tensors::{self, NamedTensors, load_into};
use crate::config::Experiment;
use crate::data::dataset::Tokenizers;
use crate::distributed::Group;
use crate::error::{Error, Result};
use crate::model::params::Params;
use crate::predictor::loaded_model::check_weights;
use crate::training::recorders::{Recorder, Recorders};
use crate::training::state::{StopReason, TrainState};
use crate::training::{TokensPerBatch, TrainingConfig};

/// Keys that may change when a run is resumed: when it ends, what it shows, how it handles faults, where its files are,
/// and what it runs on. If another value affects training, [`notes`] reports it, and `introduce_resumed` reports
/// another machine. Fingerprints check that files have the same pairs.
const CHANGEABLE: [&str; 20] = [
    DATA_FILES[0],
    DATA_FILES[1],
    "data.test",
    "data.cache",
    "data.in_memory_limit",
    "training.steps",
    "training.epochs",
    "training.patience",
    "training.log_every",
    "training.validate_every",
    "training.checkpoint_every",
    "training.keep_last",
    "training.keep_best",
    "training.average",
    "training.decode_rows",
    "training.samples",
    "training.memory_limit",
    "training.non_finite.",
    "runtime.",
    "decoding.",
];

/// The keys of data files.
pub(crate) const DATA_FILES: [&str; 2] = ["data.train", "data.valid"];

/// A checkpoint that training resumes from.
pub(crate) struct SavedRun {
    /// The keys with other values than before.
    differing: Vec<String>,
    pub progress: TrainState,
    pub tokenizers: Tokenizers,
    weights: NamedTensors,
    path: PathBuf,
}

impl SavedRun {
    /// Reads the checkpoint of a step, without the optimizer's state.
    pub(crate) fn read(run: &RunDirectory, step: u64) -> Result<SavedRun> {
        SavedRun::parse(run, step, &|name| run.read(step, name))
    }

    /// The same from its files, which `read` reads.
    fn parse(run: &RunDirectory, step: u64, read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<SavedRun> {
        // First the version, from the model's header.
        let path = run.checkpoint(step).join(MODEL);
        let (header, weights) = model_file::parse(&read(MODEL)?, &path)?;
        let progress = parse_progress(run, step, &read(STATE)?)?;
        let tokenizers = Tokenizers::from_json(&header.tokenizers)?;
        Ok(SavedRun { differing: Vec::new(), progress, tokenizers, weights, path })
    }

    /// The checkpoint that rank 0 has read, for all ranks: it sends its files, so that the others need not see its
    /// folder.
    pub(crate) fn shared(
        saved: Option<SavedRun>,
        run: &RunDirectory,
        group: &Group,
    ) -> Result<Option<SavedRun>> {
        if group.ranks() == 1 {
            return Ok(saved);
        }
        let Some(step) = group.lead(|| Ok(saved.as_ref().map(|saved| saved.progress.step)))? else {
            return Ok(None);
        };
        let read = |name: &str| group.lead_bytes(|| run.read(step, name));
        let found = SavedRun::parse(run, step, &read)?;
        Ok(saved.or(Some(found)))
    }

    /// The keys of data files with other names than before.
    pub(crate) fn moved(&self) -> Vec<&'static str> {
        let is_other = |name: &&str| self.differing.iter().any(|key| is_of(key, name));
        DATA_FILES.into_iter().filter(is_other).collect()
    }

    /// A hint how to continue a run that has ended.
    pub(crate) fn how_to_continue(&self, experiment: &Experiment) -> &'static str {
        let (config, there) = (&experiment.training, &self.progress);
        match there.stop_reason(config) {
            Some(StopReason::OutOfPatience) => "To continue, raise `training.patience`.",
            _ if there.step < config.steps => "To continue up to N epochs, use `--set training.epochs=N`.",
            _ => "To continue up to step N, use `--set training.steps=N`.",
        }
    }

    /// Compares the weights with the network of an experiment, without building it.
    pub(crate) fn check_weights(&self, experiment: &Experiment) -> Result<()> {
        check_weights(experiment, &self.tokenizers, &self.weights, &self.path)
    }

    /// Loads the weights; returns the trainer's state, which rank 0 reads for all.
    pub(crate) fn into_model(
        self,
        run: &RunDirectory,
        params: &Params,
        group: &Group,
    ) -> Result<(TrainState, NamedTensors)> {
        load_into(params, &self.weights, &self.path)?;
        if run.checkpoint(self.progress.step) != self.path.with_file_name("") {
            let (place, step) = (self.path.with_file_name(STATE), self.progress.step);
            let message = format!("`step` must be that of its folder, but it is {step}");
            return Err(Error::failure(format!("{} is damaged: {message}", place.display())));
        }
        let bytes = group.lead_bytes(|| run.read(self.progress.step, TRAINING))?;
        let path = run.checkpoint(self.progress.step).join(TRAINING);
        let (training, _) = tensors::from_bytes(&bytes, &path)?;
        Ok((self.progress, training))
    }
}

/// Checks that the directory is free or has this experiment, and locks it if it exists. Returns the checkpoint to
/// resume from.
pub(crate) fn claim(
    run: &RunDirectory,
    experiment: &Experiment,
    resume: bool,
    recorder: &mut dyn Recorder,
) -> Result<(Option<Lock>, Option<SavedRun>)> {
    check_place(run)?;
    let lock = run.path().is_dir().then(|| run.lock()).transpose()?;
    if lock.is_some() && run.config()?.is_some() {
        run.recover()?;
    }
    Ok((lock, held(run, experiment, resume, recorder)?))
}

/// Checks that a new run of the experiment can begin in the directory, without a change to it.
///
/// # Errors
/// The directory has something else, or a run.
pub(crate) fn check_free(run: &RunDirectory, experiment: &Experiment) -> Result<()> {
    check_place(run)?;
    held(run, experiment, false, &mut Recorders::default()).map(|_| ())
}

/// The checkpoint to resume from, if the directory has this experiment.
fn held(
    run: &RunDirectory,
    experiment: &Experiment,
    resume: bool,
    recorder: &mut dyn Recorder,
) -> Result<Option<SavedRun>> {
    let (place, latest) = (run.path().display(), run.latest()?);
    // A run that ended before its first checkpoint may start again with another config.
    let (Some(text), Some(step)) = (run.config()?, latest) else { return Ok(None) };
    // Before the config: a newer version may have written both.
    let saved = resume.then(|| SavedRun::read(run, step)).transpose()?;
    let there = Experiment::parse(&text, &run.file("config.toml").display().to_string(), &[])?;
    let differing = differing_keys(&there.to_json(), &experiment.to_json());
    let fixed: Vec<&String> =
        differing.iter().filter(|key| !CHANGEABLE.iter().any(|free| is_of(key, free))).collect();
    if !fixed.is_empty() {
        let keys: Vec<&str> = fixed.iter().map(|key| key.as_str()).collect();
        return Err(Error::input(format!("{place} holds another experiment: {} differ", keys.join(", ")))
            .hint(format!(
                "name another folder with --out; add --from {place} to start from the weights of that run"
            )));
    }
    let Some(saved) = saved else {
        return Err(Error::input(format!("{place} already holds this run"))
            .hint("continue it with --resume, or start another run with --out DIR"));
    };
    notes(&experiment.training, &differing).for_each(|note| recorder.say(note));
    Ok(Some(SavedRun { differing, ..saved }))
}

/// Whether a key has this name, or is in the table of this name, which may end with a dot.
pub(super) fn is_of(key: &str, name: &str) -> bool {
    key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || name.ends_with('.') || rest.starts_with('.'))
}

/// The folder must be new, empty, or that of a run.
pub(super) fn check_place(run: &RunDirectory) -> Result<()> {
    let place = run.path().display();
    let message = match (run.path().is_file(), run.holds_something_else()) {
        (true, _) => format!("a run needs a folder, but {place} is a file"),
        (false, true) => format!("{place} is not empty and holds no run"),
        (false, false) => return Ok(()),
    };
    Err(Error::input(message).hint("name another folder with --out"))
}

/// Notes on changed keys that affect training.
fn notes<'a>(config: &TrainingConfig, differing: &'a [String]) -> impl Iterator<Item = &'static str> + 'a {
    let notes = [
        (
            config.decays_until_steps(),
            &["training.steps"][..],
            "note: the learning rate decays until `training.steps`, so the new value changes it from here on",
        ),
        (
            config.plateau.is_some(),
            &["training.validate_every", "training.decode_rows", "decoding."],
            "note: the learning rate depends on the validations, so changed validations may change it",
        ),
        (
            config.tokens_per_batch == TokensPerBatch::Auto,
            &["training.memory_limit"],
            "note: a run keeps the `tokens_per_batch` found at its start: the new `training.memory_limit` has no effect on \
             it",
        ),
    ];
    let concerned =
        move |keys: &[&str]| differing.iter().any(|key| keys.iter().any(|of| key.starts_with(of)));
    notes.into_iter().filter(move |(holds, keys, _)| *holds && concerned(keys)).map(|(.., note)| note)
}

/// Paths of the keys in which two configs differ.
pub(crate) fn differing_keys(one: &Value, other: &Value) -> Vec<String> {
    fn walk(prefix: &str, one: Option<&Value>, other: Option<&Value>, out: &mut Vec<String>) {
        if one == other {
            return;
        }
        let (Some(Value::Object(a)), Some(Value::Object(b))) = (one, other) else {
            out.push(prefix.trim_start_matches('.').to_owned());
            return;
        };
        for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
            walk(&format!("{prefix}.{key}"), a.get(key), b.get(key), out);
        }
    }
    let mut out = Vec::new();
    walk("", Some(one), Some(other), &mut out);
    out
}
