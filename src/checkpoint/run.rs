//! A run's directory: what is in it, and how a checkpoint gets there whole or not at all.
//!
//! A checkpoint is written into a temporary folder beside its place, every file and the folder flushed to the disk,
//! and then renamed. What is half-written never has a checkpoint's name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::tensors::sha256;
use crate::error::{Error, Result};

/// The file with the weights.
pub const MODEL: &str = "model.safetensors";
/// The file with the optimizer's moments.
pub const TRAINING: &str = "training.safetensors";
/// The file that says where training stood.
pub const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";
const CONFIG: &str = "config.toml";
const CHECKPOINTS: &str = "checkpoints";
/// What the name of a checkpoint begins with until it is whole.
const PARTIAL: &str = ".partial-";
/// Names the newest checkpoint.
const LATEST: &str = "latest";
/// Names the checkpoint with the best validation.
const BEST: &str = "best";

/// A folder with a config, figures and checkpoints.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// The run at `path`, which may not be there yet.
    pub fn at(path: &Path) -> RunDirectory {
        RunDirectory { path: path.to_path_buf() }
    }

    /// Makes the folders and writes the resolved experiment.
    pub fn create(&self, config: &str) -> Result<()> {
        let folder = self.path.join(CHECKPOINTS);
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
        self.write_config(config)
    }

    /// Writes the resolved experiment.
    pub fn write_config(&self, config: &str) -> Result<()> {
        replace(&self.path.join(CONFIG), config.as_bytes())
    }

    /// The resolved experiment of a run that was started, or nothing.
    pub fn config(&self) -> Result<Option<String>> {
        let path = self.path.join(CONFIG);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", &path, &error)),
        }
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True when there is something else than a run there.
    pub fn holds_something_else(&self) -> bool {
        let empty = fs::read_dir(&self.path).map_or(true, |mut entries| entries.next().is_none());
        let run = self.path.join(CONFIG).is_file() && self.path.join(CHECKPOINTS).is_dir();
        !empty && !run
    }

    /// The step of the newest checkpoint: the one that `latest` names, or without that file the highest there is.
    ///
    /// # Errors
    /// `latest` names a checkpoint that is not there.
    pub fn latest(&self) -> Result<Option<u64>> {
        let steps = if self.path.join(CHECKPOINTS).exists() { self.steps()? } else { Vec::new() };
        match self.pointer(LATEST)? {
            Some(step) if !steps.contains(&step) => {
                let there: Vec<String> = steps.iter().copied().map(folder_name).collect();
                let (pointer, name) = (self.path.join(LATEST), folder_name(step));
                let message = format!("{} names {name}, which is not there", pointer.display());
                Err(Error::failure(message).hint(format!("name one of these in it: {}", there.join(", "))))
            }
            Some(step) => Ok(Some(step)),
            None => Ok(steps.into_iter().max()),
        }
    }

    /// The step of the best checkpoint.
    pub fn best(&self) -> Result<Option<u64>> {
        self.pointer(BEST)
    }

    /// The folder of a step's checkpoint.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.path.join(CHECKPOINTS).join(folder_name(step))
    }

    /// Writes a checkpoint and names it the latest. The files come as (name, bytes).
    pub fn save(&self, step: u64, files: &[(&str, Vec<u8>)]) -> Result<()> {
        let place = self.checkpoint(step);
        let parent = self.path.join(CHECKPOINTS);
        let partial = parent.join(format!("{PARTIAL}{}", folder_name(step)));
        remove_if_there(&partial)?;
        fs::create_dir_all(&partial).map_err(|error| Error::file("make", &partial, &error))?;
        let sums: BTreeMap<&str, String> = files.iter().map(|(name, bytes)| (*name, sha256(bytes))).collect();
        for (name, bytes) in files {
            write_through(&partial.join(name), bytes)?;
        }
        let manifest = serde_json::to_string_pretty(&sums).map_err(|e| Error::failure(e.to_string()))?;
        write_through(&partial.join(MANIFEST), manifest.as_bytes())?;
        flush_folder(&partial)?;
        // The same step again, after `latest` was set back: the old one goes when the new one is in its place.
        let old = parent.join(format!("{PARTIAL}old-{}", folder_name(step)));
        if place.exists() {
            remove_if_there(&old)?;
            fs::rename(&place, &old).map_err(|error| Error::file("write", &old, &error))?;
        }
        fs::rename(&partial, &place).map_err(|error| Error::file("write", &place, &error))?;
        flush_folder(&parent)?;
        self.point(LATEST, step)
    }

    /// Names a step the best one.
    pub fn name_best(&self, step: u64) -> Result<()> {
        self.point(BEST, step)
    }

    /// Removes what a kill left half-written, and all checkpoints but the newest `keep_last`, the latest, the best and
    /// `kept`, which a run that goes on from here holds for its best.
    pub fn prune(&self, keep_last: usize, kept: Option<u64>) -> Result<()> {
        let mut steps = self.steps()?;
        steps.sort_unstable();
        steps.truncate(steps.len().saturating_sub(keep_last));
        // The latest is not among the newest when somebody has set it back.
        let named = [self.best()?, self.latest()?, kept];
        for step in steps.into_iter().filter(|step| !named.contains(&Some(*step))) {
            remove_if_there(&self.checkpoint(step))?;
        }
        for name in self.checkpoint_names()?.iter().filter(|name| name.starts_with(PARTIAL)) {
            remove_if_there(&self.path.join(CHECKPOINTS).join(name))?;
        }
        Ok(())
    }

    /// The bytes of one file of a checkpoint, held against its manifest.
    ///
    /// # Errors
    /// A file that is missing, cut short or changed.
    pub fn read(&self, step: u64, name: &str) -> Result<Vec<u8>> {
        let folder = self.checkpoint(step);
        let path = folder.join(name);
        let load = |path: &Path| fs::read(path).map_err(|error| Error::file("read", path, &error));
        let damaged = || {
            Error::failure(format!("{} is damaged: it does not match {MANIFEST}", path.display()))
                .hint(format!("name another step in {}", self.path.join(LATEST).display()))
        };
        let manifest: BTreeMap<String, String> =
            serde_json::from_slice(&load(&folder.join(MANIFEST))?).map_err(|_| damaged())?;
        let bytes = load(&path)?;
        if manifest.get(name).is_some_and(|sum| *sum == sha256(&bytes)) { Ok(bytes) } else { Err(damaged()) }
    }

    fn steps(&self) -> Result<Vec<u64>> {
        let names = self.checkpoint_names()?;
        Ok(names.iter().filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect())
    }

    fn checkpoint_names(&self) -> Result<Vec<String>> {
        let folder = self.path.join(CHECKPOINTS);
        let entries = fs::read_dir(&folder).map_err(|error| Error::file("read", &folder, &error))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn pointer(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path, &error)),
        };
        let step = text.trim().strip_prefix("step-").and_then(|digits| digits.parse().ok());
        step.map(Some).ok_or_else(|| {
            let message = format!("{} must name a step, such as {}", path.display(), folder_name(1000));
            Error::failure(format!("{message}, but it says `{}`", text.trim()))
        })
    }

    fn point(&self, name: &str, step: u64) -> Result<()> {
        replace(&self.path.join(name), format!("{}\n", folder_name(step)).as_bytes())
    }
}

/// The model file behind what a user names: a run directory (its best, else its latest), a checkpoint folder, or the
/// file itself.
pub fn locate_model(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_path_buf());
    }
    if path.join(MODEL).is_file() {
        return Ok(path.join(MODEL));
    }
    if !path.exists() {
        return Err(Error::input(format!("there is no run, checkpoint or model file at {}", path.display())));
    }
    let run = RunDirectory::at(path);
    let best = run.best()?;
    let step = if best.is_some() { best } else { run.latest()? };
    match step {
        Some(step) => Ok(run.checkpoint(step).join(MODEL)),
        None if run.config()?.is_some() => {
            Err(Error::input(format!("the run {} has no checkpoint yet", path.display()))
                .hint("let it train until its first checkpoint (`training.checkpoint_every`)"))
        }
        None => Err(Error::input(format!(
            "{} is no run directory: it holds no `best`, `latest` or {MODEL}",
            path.display()
        ))
        .hint("a run directory is what `seqloom train CONFIG` makes, by default runs/NAME")),
    }
}

fn folder_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Writes a file beside its place and renames it over what was there.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    write_through(&partial, bytes)?;
    fs::rename(&partial, path).map_err(|error| Error::file("write", path, &error))?;
    path.parent().map_or(Ok(()), flush_folder)
}

/// Writes a file and waits until the disk has it.
fn write_through(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| Error::file("write", path, &error))
}

/// A rename is on the disk only when its folder is.
fn flush_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Error::file("write", path, &error))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", path, &error))
        }
        _ => Ok(()),
    }
}
