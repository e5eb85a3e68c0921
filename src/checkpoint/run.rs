//! The run directory: its files, and atomic checkpoints.
//!
//! A checkpoint is written to a temporary folder, every file and the folder are flushed to the disk, and then the
//! folder is renamed. A half-written folder never has a checkpoint's name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{
    SMALL, flush_folder, read_text_within, read_within, remove_if_there, try_lock, write_file, write_through,
};
use super::tensors::sha256;
use crate::error::{Error, Result, sought_from};

/// The file with the weights.
pub(crate) const MODEL: &str = "model.safetensors";
/// The file with the optimizer's moments.
pub(crate) const TRAINING: &str = "training.safetensors";
/// The file with the state of training.
pub(crate) const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";
const CONFIG: &str = "config.toml";
const CHECKPOINTS: &str = "checkpoints";
/// The folder with the features of recordings.
pub(crate) const FEATURES: &str = "features";
/// The folder with a training set that is too large for the memory.
pub(crate) const PREPARED: &str = "prepared";
/// Prefix of a checkpoint's name until it is complete.
const PARTIAL: &str = ".partial-";
/// Prefix of a checkpoint that is being replaced.
const OLD: &str = ".partial-old-";
/// The lock file, held during training.
const LOCK: &str = "lock";
/// The folder of the averaged checkpoint.
const AVERAGE: &str = "average";
/// The file that names the initial model.
const FROM: &str = "from.json";
/// The file of the test set's scores.
pub(crate) const TEST: &str = "test.json";
/// The file that names the newest checkpoint.
const LATEST: &str = "latest";
/// The file that names the checkpoint with the best validation.
const BEST: &str = "best";

/// The files of a run directory.
pub(crate) const OWN_FILES: [&str; 10] = [
    CONFIG,
    "metrics.csv",
    "train.log",
    "curves.svg",
    TEST,
    LATEST,
    BEST,
    LOCK,
    FROM,
    "average/model.safetensors",
];
/// The folders of a run directory.
pub(crate) const OWN_FOLDERS: [&str; 4] = [CHECKPOINTS, "samples", "skipped", "tensorboard"];

/// The exclusive right to train in a folder.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// The model that a run started from (`--from`): its path and checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Its path, as given.
    pub path: PathBuf,
    /// SHA-256.
    pub sha256: String,
}

/// A folder with a config, metrics and checkpoints.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// The run at `path`, which may not exist yet.
    pub fn at(path: &Path) -> RunDirectory {
        RunDirectory { path: path.to_path_buf() }
    }

    /// Creates the folders.
    pub fn create(&self) -> Result<()> {
        let folder = self.path.join(CHECKPOINTS);
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))
    }

    /// Locks the folder against other trainers while the value exists; the system releases the lock when the process
    /// ends.
    ///
    /// # Errors
    /// Another training holds the lock.
    pub(crate) fn lock(&self) -> Result<Lock> {
        match try_lock(&self.path.join(LOCK))? {
            Some(file) => Ok(Lock { _file: file }),
            None => {
                let message = format!("another seqloom is training in {}", self.path.display());
                Err(Error::input(message).hint("wait until it ends, or name another folder with --out"))
            }
        }
    }

    /// Writes the resolved experiment.
    pub(crate) fn write_config(&self, config: &str) -> Result<()> {
        write_file(&self.path.join(CONFIG), config.as_bytes())
    }

    /// The resolved experiment; `None` before the run was started.
    pub(crate) fn config(&self) -> Result<Option<String>> {
        read_text_within(&self.path.join(CONFIG), SMALL)
    }

    /// Records the initial model; removes the record if there is none.
    pub(crate) fn write_from(&self, origin: Option<&Origin>) -> Result<()> {
        let path = self.path.join(FROM);
        let Some(origin) = origin else {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::file("write", &path, &error))
                }
                _ => Ok(()),
            };
        };
        let json = serde_json::to_vec_pretty(origin).map_err(|error| Error::failure(error.to_string()))?;
        write_file(&path, &json)
    }

    /// The initial model, if there was one.
    pub(crate) fn from(&self) -> Option<Origin> {
        serde_json::from_slice(&read_within(&self.path.join(FROM), SMALL).ok()?).ok()
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder contains something other than a run.
    pub(crate) fn holds_something_else(&self) -> bool {
        // Files that are written before the config, in case a kill came in between.
        let is_beginning = |entry: &fs::DirEntry| {
            let is_empty = || fs::read_dir(entry.path()).is_ok_and(|mut entries| entries.next().is_none());
            match entry.file_name().to_str() {
                Some(LOCK | FROM | "config.partial" | "from.partial") => true,
                Some(CHECKPOINTS) => is_empty(),
                Some(FEATURES | PREPARED) => true,
                _ => false,
            }
        };
        let entries = fs::read_dir(&self.path);
        let empty = entries.map_or(true, |entries| entries.flatten().all(|entry| is_beginning(&entry)));
        let run = self.path.join(CONFIG).is_file() && self.path.join(CHECKPOINTS).is_dir();
        !empty && !run
    }

    /// The step of the newest checkpoint: the one in `latest`, or without that file the highest.
    ///
    /// # Errors
    /// `latest` names a checkpoint that does not exist.
    pub fn latest(&self) -> Result<Option<u64>> {
        let steps = if self.path.join(CHECKPOINTS).exists() { self.steps()? } else { Vec::new() };
        match self.pointer(LATEST)? {
            Some(step) if !steps.contains(&step) => {
                let there: Vec<String> = steps.iter().copied().map(folder_name).collect();
                let (pointer, name) = (self.path.join(LATEST), folder_name(step));
                let message = format!("{} names {name}, which does not exist", pointer.display());
                Err(Error::failure(message).hint(format!("write one of these into it: {}", there.join(", "))))
            }
            Some(step) => Ok(Some(step)),
            None => Ok(steps.into_iter().max()),
        }
    }

    /// The step of the best checkpoint.
    pub(crate) fn best(&self) -> Result<Option<u64>> {
        self.pointer(BEST)
    }

    /// The folder of a step's checkpoint.
    pub(crate) fn checkpoint(&self, step: u64) -> PathBuf {
        self.path.join(CHECKPOINTS).join(folder_name(step))
    }

    /// Writes a checkpoint from files (name, bytes), and updates `best` and `latest`.
    ///
    /// # Errors
    /// A write fails, such as on a full disk. Earlier checkpoints stay, and the half-written one is removed.
    pub fn save_checkpoint(&self, step: u64, best: Option<u64>, files: &[(&str, Vec<u8>)]) -> Result<()> {
        let parent = self.path.join(CHECKPOINTS);
        let partial = parent.join(format!("{PARTIAL}{}", folder_name(step)));
        let written = write_folder(&partial, files).and_then(|()| self.put_in_place(&partial, step));
        if written.is_err() {
            // The first error is reported.
            let _ = fs::remove_dir_all(&partial);
        }
        written?;
        // In this order: after a kill between the two, the steps and both names are written again. The best checkpoint
        // may not exist after a kill before it was written.
        if let Some(best) = best.filter(|&best| self.checkpoint(best).is_dir()) {
            self.name_best(best)?;
        }
        self.point(LATEST, step)
    }

    fn put_in_place(&self, partial: &Path, step: u64) -> Result<()> {
        let (parent, place) = (self.path.join(CHECKPOINTS), self.checkpoint(step));
        // The same step again, after `latest` was set back: the old checkpoint is removed when the new one is in place.
        let old = parent.join(format!("{OLD}{}", folder_name(step)));
        if !place.is_dir() && fs::symlink_metadata(&place).is_ok() {
            // Some other file with a checkpoint's name: it is renamed and kept.
            let aside = parent.join(format!("not-a-checkpoint-{}", folder_name(step)));
            fs::rename(&place, &aside).map_err(|error| Error::file("write", &aside, &error))?;
        }
        if place.exists() {
            remove_if_there(&old)?;
            fs::rename(&place, &old).map_err(|error| Error::file("write", &old, &error))?;
        }
        if let Err(error) = fs::rename(partial, &place) {
            self.recover()?;
            return Err(Error::file("write", &place, &error));
        }
        flush_folder(&parent)
    }

    /// Restores a checkpoint that was moved aside for a new one of its step, if that was never completed.
    pub(crate) fn recover(&self) -> Result<()> {
        for name in self.checkpoint_names()? {
            let Some(step) = name.strip_prefix(OLD) else { continue };
            let (from, place) =
                (self.path.join(CHECKPOINTS).join(&name), self.path.join(CHECKPOINTS).join(step));
            if !place.exists() && is_whole(&from) {
                fs::rename(&from, &place).map_err(|error| Error::file("write", &place, &error))?;
            }
        }
        Ok(())
    }

    /// Writes the averaged checkpoint, which is for decoding only; returns its path.
    pub(crate) fn save_average(&self, model: &[u8]) -> Result<PathBuf> {
        let path = self.average();
        let folder = self.path.join(AVERAGE);
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
        write_file(&path, model)?;
        Ok(path)
    }

    /// The path of the averaged checkpoint.
    pub(crate) fn average(&self) -> PathBuf {
        self.path.join(AVERAGE).join(MODEL)
    }

    /// Sets the best step.
    pub fn name_best(&self, step: u64) -> Result<()> {
        self.point(BEST, step)
    }

    /// Removes half-written leftovers, and all checkpoints except the newest `keep_last` regular ones, those in `kept`,
    /// and those in `latest` and `best`. A checkpoint that is not regular was saved because training was stopped.
    pub fn prune(&self, keep_last: usize, kept: &[u64], regular: impl Fn(u64) -> bool) -> Result<()> {
        let steps = self.steps()?;
        let newest: Vec<u64> =
            steps.iter().copied().rev().filter(|&step| regular(step)).take(keep_last).collect();
        // The latest one may not be among the newest if a user set it back.
        let named = [self.best()?, self.latest()?];
        let stays = |step: &u64| newest.contains(step) || kept.contains(step) || named.contains(&Some(*step));
        for step in steps.into_iter().filter(|step| !stays(step)) {
            // Renamed first: a half-removed folder must not have a checkpoint's name.
            let (place, name) = (self.checkpoint(step), format!("{PARTIAL}gone-{}", folder_name(step)));
            let gone = self.path.join(CHECKPOINTS).join(name);
            remove_if_there(&gone)?;
            fs::rename(&place, &gone).map_err(|error| Error::file("remove", &place, &error))?;
        }
        for name in self.checkpoint_names()?.iter().filter(|name| name.starts_with(PARTIAL)) {
            remove_if_there(&self.path.join(CHECKPOINTS).join(name))?;
        }
        Ok(())
    }

    /// The bytes of one file of a checkpoint, verified against its manifest.
    ///
    /// # Errors
    /// The file is missing, truncated or changed.
    pub(crate) fn read(&self, step: u64, name: &str) -> Result<Vec<u8>> {
        let folder = self.checkpoint(step);
        let path = folder.join(name);
        let damaged = || {
            Error::failure(format!("{} is damaged: it does not match {MANIFEST}", path.display()))
                .hint(write_another_into(&self.path.join(LATEST)))
        };
        let manifest: BTreeMap<String, String> =
            serde_json::from_slice(&read_within(&folder.join(MANIFEST), SMALL)?).map_err(|_| damaged())?;
        let bytes = read_within(&path, if name == STATE { SMALL } else { u64::MAX })?;
        if manifest.get(name).is_some_and(|sum| *sum == sha256(&bytes)) { Ok(bytes) } else { Err(damaged()) }
    }

    /// The steps of all checkpoints, in order.
    pub(crate) fn steps(&self) -> Result<Vec<u64>> {
        let names = self.checkpoint_names()?;
        // A plain file, or a folder with a similar name, is no checkpoint.
        let step = |name: &String| -> Option<u64> {
            let step = name.strip_prefix("step-")?.parse().ok()?;
            (*name == folder_name(step) && self.checkpoint(step).is_dir()).then_some(step)
        };
        let mut steps: Vec<u64> = names.iter().filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn checkpoint_names(&self) -> Result<Vec<String>> {
        let folder = self.path.join(CHECKPOINTS);
        let entries = fs::read_dir(&folder).map_err(|error| Error::file("read", &folder, &error))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn pointer(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path.join(name);
        let Some(text) = read_text_within(&path, SMALL)? else { return Ok(None) };
        let step = text.trim().strip_prefix("step-").and_then(|digits| digits.parse().ok());
        step.map(Some).ok_or_else(|| {
            let message = format!("{} must name a step, such as {}", path.display(), folder_name(1000));
            let content: String = text.trim().chars().take(80).collect();
            Error::failure(format!("{message}, but it contains `{content}`"))
        })
    }

    fn point(&self, name: &str, step: u64) -> Result<()> {
        write_file(&self.path.join(name), format!("{}\n", folder_name(step)).as_bytes())
    }
}

/// The model file for a user's path: of a run directory (its best, else its latest checkpoint), a checkpoint folder, or
/// the file itself.
pub(crate) fn locate_model(path: &Path) -> Result<PathBuf> {
    if let Some(run) = run_of_pointer(path).map(RunDirectory::at) {
        let step = if path.ends_with(BEST) { run.best()? } else { run.latest()? };
        if let Some(step) = step {
            return Ok(run.checkpoint(step).join(MODEL));
        }
    }
    if path.is_file() {
        return Ok(path.to_path_buf());
    }
    if path.join(MODEL).is_file() {
        return Ok(path.join(MODEL));
    }
    if !path.exists() {
        let sought = sought_from(path);
        let message = format!("there is no run, checkpoint or model file at {}{sought}", path.display());
        return Err(Error::input(message));
    }
    let run = RunDirectory::at(path);
    let best = run.best()?;
    let step = if best.is_some() { best } else { run.latest()? };
    match step {
        Some(step) => Ok(run.checkpoint(step).join(MODEL)),
        None if run.config()?.is_some() => Err(without_checkpoint(path)),
        None => Err(Error::input(format!(
            "{} is not a run directory: it has no `best`, `latest` or {MODEL}",
            path.display()
        ))
        .hint("`seqloom train CONFIG` creates a run directory, by default runs/NAME")),
    }
}

/// The error that a run has not saved a checkpoint yet.
pub(crate) fn without_checkpoint(run: &Path) -> Error {
    Error::input(format!("the run {} has no checkpoint yet", run.display()))
        .hint("let it train until its first checkpoint (`training.checkpoint_every`)")
}

/// The hint that another checkpoint may be used, by its name in the file `latest`.
pub(crate) fn write_another_into(latest: &Path) -> String {
    format!("write the name of another checkpoint, such as step-00001000, into {}", latest.display())
}

/// The run directory that contains a model file, with links resolved.
pub(crate) fn run_of_model(model: &Path) -> Option<PathBuf> {
    let model = model.canonicalize().ok()?;
    let folder = model.parent()?;
    match folder.ends_with(AVERAGE) {
        true => folder.parent().filter(|run| run.join(CONFIG).is_file()).map(Path::to_path_buf),
        false => {
            folder.parent().filter(|above| above.ends_with(CHECKPOINTS))?.parent().map(Path::to_path_buf)
        }
    }
}

/// The run directory, if the path is its file `latest` or `best`.
pub(crate) fn run_of_pointer(path: &Path) -> Option<&Path> {
    let is_pointer = path.is_file() && (path.ends_with(LATEST) || path.ends_with(BEST));
    path.parent().filter(|_| is_pointer)
}

fn folder_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Whether a folder has all files of its manifest, unchanged.
fn is_whole(folder: &Path) -> bool {
    let Ok(manifest) = read_within(&folder.join(MANIFEST), SMALL) else { return false };
    let sums: BTreeMap<String, String> = serde_json::from_slice(&manifest).unwrap_or_default();
    // Only these names: a damaged manifest may name any file on the disk.
    let same = |name: &str| {
        let bytes = read_within(&folder.join(name), u64::MAX);
        bytes.is_ok_and(|bytes| sums.get(name).is_some_and(|sum| *sum == sha256(&bytes)))
    };
    [MODEL, TRAINING, STATE].into_iter().all(same)
}

/// Writes files and their manifest to a new folder, and flushes them to the disk.
fn write_folder(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    remove_if_there(folder)?;
    fs::create_dir_all(folder).map_err(|error| Error::file("make", folder, &error))?;
    let sums: BTreeMap<&str, String> = files.iter().map(|(name, bytes)| (*name, sha256(bytes))).collect();
    for (name, bytes) in files {
        write_through(&folder.join(name), bytes)?;
    }
    let manifest = serde_json::to_string_pretty(&sums).map_err(|e| Error::failure(e.to_string()))?;
    write_through(&folder.join(MANIFEST), manifest.as_bytes())?;
    flush_folder(folder)
}
