//! `samples/`: the first decoded rows of each validation, as source | reference | output. Between several references of a
//! row is a slash.

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
    for Sample { source, reference, other_references, output, finished } in samples {
        let mark = if *finished { "" } else { " [unfinished]" };
        let references = std::iter::once(*reference).chain(other_references.iter().map(String::as_str));
        let references = references.collect::<Vec<_>>().join(" / ");
        let [source, reference, output] = [*source, references.as_str(), output.as_str()].map(on_one_line);
        let _ = writeln!(text, "{source} | {reference} | {output}{mark}");
    }
    text
}

/// A text with its line breaks escaped.
fn on_one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r")
}
