//! `skipped/`: the rows of each skipped update, with their files and lines.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Event, Recorder};
use crate::error::{Error, Result};

/// Writes a file for each skipped update.
#[derive(Debug)]
pub(crate) struct SkippedPairs {
    run: PathBuf,
}

/// The file for an update of the run in `run`.
pub(crate) fn path(run: &Path, step: u64) -> PathBuf {
    run.join("skipped").join(format!("step-{step:08}.csv"))
}

impl SkippedPairs {
    /// For the run in `run`.
    pub(crate) fn of(run: &Path) -> SkippedPairs {
        SkippedPairs { run: run.to_path_buf() }
    }
}

impl Recorder for SkippedPairs {
    fn record(&mut self, event: &Event) -> Result<()> {
        let Event::Skipped { step, pairs } = event else { return Ok(()) };
        let (folder, path) = (self.run.join("skipped"), path(&self.run, *step));
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
        let failed = |error: csv::Error| Error::failure(format!("cannot write {}: {error}", path.display()));
        let mut file = csv::Writer::from_path(&path).map_err(failed)?;
        file.write_record(["place", "source", "target"]).map_err(failed)?;
        for pair in *pairs {
            let place = pair.place.to_string();
            file.write_record([place.as_str(), &pair.source, &pair.target]).map_err(failed)?;
        }
        file.flush().map_err(|error| Error::file("write", &path, &error))
    }
}
