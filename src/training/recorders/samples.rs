//! `samples/`: the first decoded rows of each validation, as source | reference | output.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Event, Recorder, Sample};
use crate::error::{Error, Result};

/// Writes a file for each validation.
#[derive(Debug)]
pub(crate) struct Samples {
    folder: PathBuf,
}

impl Samples {
    /// Opens `samples/` of the run in `run`.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub(crate) fn open(run: &Path) -> Result<Samples> {
        let folder = run.join("samples");
        fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
        Ok(Samples { folder })
    }
}

impl Recorder for Samples {
    fn record(&mut self, event: &Event) -> Result<()> {
        let Event::Validation { step, samples, .. } = event else { return Ok(()) };
        if samples.is_empty() {
            return Ok(());
        }
        let path = self.folder.join(format!("step-{step:08}.txt"));
        fs::write(&path, page(samples)).map_err(|error| Error::file("write", &path, &error))
    }
}

fn page(samples: &[Sample]) -> String {
    let mut text = String::from("source | reference | output\n");
    for Sample { source, reference, output, finished } in samples {
        let mark = if *finished { "" } else { " [unfinished]" };
        let [source, reference, output] = [source, reference, &output.as_str()].map(|text| on_one_line(text));
        let _ = writeln!(text, "{source} | {reference} | {output}{mark}");
    }
    text
}

/// A text with its line breaks escaped.
fn on_one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r")
}
