//! How far a command is. The record beside its output has it, also when the output is complete, so that `--resume` knows what
//! is there and what it was made from.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tally::Tally;
use crate::cli::output::{Kept, Record};
use crate::console::status;
use crate::error::{Error, Result};

/// How far a command is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The first source, which the record has apart.
    #[serde(skip)]
    pub first_source: Option<String>,
    /// The last source that is done.
    pub last_source: Option<String>,
    /// Bytes of the output with the pairs of these sources.
    pub bytes: u64,
    /// What became of these sources.
    pub tally: Tally,
    /// Whether they are all.
    pub complete: bool,
}

impl Progress {
    /// What an earlier command has done. Without its output that is nothing, and a note says so if there is a record.
    ///
    /// # Errors
    /// It had other settings; an output without a record, or a complete one that is no longer what it was; a damaged record.
    pub(super) fn of_earlier(output: &Path, record: &Record) -> Result<Progress> {
        let place = Record::place(output);
        let Ok(there) = output.metadata() else {
            if place.is_some_and(|place| place.exists()) {
                let output = output.display();
                status(&format!("note: {output} is gone, and only its record is left: all is decoded again"));
            }
            return Ok(Progress::default());
        };
        let Some(known) = record.check()? else {
            return match place.filter(|_| there.len() > 0) {
                None => Ok(Progress::default()),
                Some(place) => Err(without_record(output, &place)),
            };
        };
        let progress: Progress =
            serde_json::from_value(known.progress).map_err(|error| damaged(output, &error))?;
        match progress.complete && there.len() != progress.bytes {
            true => Err(changed(output, [progress.bytes, there.len()])),
            false => Ok(Progress { first_source: known.first_source, ..progress }),
        }
    }

    /// The sources that are done.
    pub(super) fn kept(&self) -> Kept {
        Kept {
            rows: self.tally.sources,
            first_source: self.first_source.clone(),
            last_source: self.last_source.clone(),
        }
    }

    /// Writes the record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, record: &Record) -> Result<()> {
        let progress = serde_json::to_value(self);
        let progress: Value =
            progress.map_err(|error| Error::failure(format!("cannot serialize the progress: {error}")))?;
        record.write(self.first_source.as_deref(), progress)
    }
}

const ANEW: &str = "leave out --resume to write the pairs anew";

fn without_record(output: &Path, place: &Path) -> Error {
    let (output, place) = (output.display(), place.display());
    Error::input(format!(
        "{output} must have its record beside it to be resumed, but {place} is missing or damaged"
    ))
    .hint(ANEW)
}

fn damaged(output: &Path, error: &serde_json::Error) -> Error {
    let output = output.display();
    Error::failure(format!("the record beside {output} is damaged: {error}")).hint(ANEW)
}

fn changed(output: &Path, [recorded, there]: [u64; 2]) -> Error {
    let output = output.display();
    Error::input(format!(
        "a complete output must be as it was written, but {output} had {recorded} bytes by its record, and has {there}"
    ))
    .hint(ANEW)
}
