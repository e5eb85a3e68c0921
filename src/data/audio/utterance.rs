//! One row of a corpus: a recording, or a part of one, with its text.

use std::path::{Path, PathBuf};

/// A recording, or a part of one, as a corpus lists it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Utterance {
    /// Its name, unique in the corpus.
    pub id: String,
    /// The name of the recording, if the corpus names it apart from its parts.
    pub recording: Option<String>,
    /// The file of the recording.
    pub path: PathBuf,
    /// Where the part begins, in seconds; the beginning when absent.
    pub start: Option<f64>,
    /// Where the part ends, in seconds; the end when absent.
    pub end: Option<f64>,
    /// The transcript.
    pub text: Option<String>,
    /// The file and its line that list the utterance.
    pub place: (PathBuf, usize),
}

impl Utterance {
    /// A whole recording without a transcript. Its path is relative to the file that lists it.
    pub(crate) fn whole(path: PathBuf, listed_by: &Path) -> Utterance {
        let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Utterance {
            id,
            recording: None,
            path,
            start: None,
            end: None,
            text: None,
            place: (listed_by.to_owned(), 1),
        }
    }
}
