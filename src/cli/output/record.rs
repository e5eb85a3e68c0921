//! The record of an unfinished output file, with its settings, so that it is not resumed with another model, other
//! settings or another input. It is removed when the output is complete. Where the rows of the output do not tell how far the
//! command was, the record does, and stays.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::OutputFormat;
use crate::checkpoint::files::{read_within, write_output};
use crate::cli::roles::is_stdout;
use crate::cli::shard::ShardRecord;
use crate::data::readers::shorten;
use crate::error::{Error, Result};

/// The key of the first source; null if it could not be read.
const FIRST: &str = "first source";

/// The key of how far the command was; only there if the command wrote it.
const PROGRESS: &str = "progress";

/// The most bytes of a record: a source may have 16 MiB, and JSON may need six bytes for each.
const LARGEST: u64 = 1 << 27;

/// The settings on which outputs depend, by name.
#[derive(Debug)]
pub(crate) struct Record {
    /// `None` if the output is no file.
    path: Option<PathBuf>,
    output: PathBuf,
    settings: Map<String, Value>,
}

/// What a record has besides the settings.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// The first source, if it could be read.
    pub first_source: Option<String>,
    /// How far the command was, in its own form; null if the rows of the output tell.
    pub progress: Value,
}

impl Record {
    /// The record of an output with these settings; nothing is written yet.
    pub(crate) fn new(output: &Path, settings: Map<String, Value>) -> Record {
        Record { path: Record::place(output), output: output.to_path_buf(), settings }
    }

    /// The path of an output's record; `None` if the output is no file.
    pub(crate) fn place(output: &Path) -> Option<PathBuf> {
        let is_file = !is_stdout(output) && (output.is_file() || !output.exists());
        let mut path = output.as_os_str().to_owned();
        path.push(".resume.json");
        is_file.then(|| path.into())
    }

    /// Compares the existing record with these settings, and returns what else it has. `None` without a complete record.
    ///
    /// # Errors
    /// The output was started with other settings.
    pub(crate) fn check(&self) -> Result<Option<Recorded>> {
        let there = self.path.as_ref().and_then(|path| read_within(path, LARGEST).ok());
        let there = there.and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok());
        let Some(mut there) = there else { return Ok(None) };
        let first_source = there.remove(FIRST).and_then(|first| first.as_str().map(str::to_owned));
        let progress = there.remove(PROGRESS).unwrap_or_default();
        let names = self.settings.keys().chain(there.keys());
        for name in names {
            let [was, is] = [&there, &self.settings].map(|side| side.get(name).unwrap_or(&Value::Null));
            if was != is {
                let [was, is] = [was, is].map(|value| shorten(&value.to_string()).into_owned());
                let message = format!(
                    "an output must be resumed with the same settings, but `{name}` was {was} and is now {is}"
                );
                return Err(Error::input(message).hint(super::SAME_AS_BEFORE));
            }
        }
        Ok(Some(Recorded { first_source, progress }))
    }

    /// Writes the record, with the first source, and with how far the command is, unless that is null.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, first_source: Option<&str>, progress: Value) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut all = self.settings.clone();
        all.insert(FIRST.to_owned(), first_source.into());
        if !progress.is_null() {
            all.insert(PROGRESS.to_owned(), progress);
        }
        write_output(path, format!("{}\n", Value::Object(all)).as_bytes())
    }

    /// Removes the record of a complete output. A shard leaves another one, for `seqloom merge`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn finish(&self, rows: u64, format: OutputFormat) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(shard) = self.shard() {
            let (shard, settings) = (shard.to_owned(), self.settings.clone());
            let record = ShardRecord { shard, rows, format, settings };
            let json = serde_json::to_string(&record).map_err(|error| Error::failure(error.to_string()))?;
            write_output(&ShardRecord::place(&self.output), format!("{json}\n").as_bytes())?;
        }
        // A record that stays, or that another command removed, does no harm.
        let _ = std::fs::remove_file(path);
        Ok(())
    }

    /// The output is written anew: what an earlier one left does not belong to it.
    pub(crate) fn start(&self) {
        if self.path.is_some() && self.shard().is_some() {
            let _ = std::fs::remove_file(ShardRecord::place(&self.output));
        }
    }

    fn shard(&self) -> Option<&str> {
        self.settings.get("--shard").and_then(Value::as_str)
    }
}
