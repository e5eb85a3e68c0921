//! A plain folder of recordings: `x.wav` or `x.flac` (or `x.mp3`, `x.ogg`), each beside its text `x.txt` of one line.
//!
//! Folders inside are not entered. Other files are not read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::utterance::Utterance;
use crate::error::{Error, Result};

/// The endings of recordings.
const RECORDINGS: [&str; 4] = ["wav", "flac", "mp3", "ogg"];

/// The files of one name.
#[derive(Default)]
struct Files {
    recordings: Vec<PathBuf>,
    text: Option<PathBuf>,
}

/// The recordings of a folder, sorted by name.
///
/// # Errors
/// The folder can't be read or has no recording; two recordings share a name; a text has several lines; with
/// `need_text`, a recording has no text or a text no recording.
pub(crate) fn read_folder(folder: &Path, need_text: bool) -> Result<Vec<Utterance>> {
    let names = list(folder)?;
    if names.values().all(|files| files.recordings.is_empty()) {
        let message =
            format!("a folder of recordings must have a file .{}, but it has none", RECORDINGS.join(", ."));
        return Err(Error::input(message).at(folder.display()));
    }
    let utterances = names.into_iter().filter_map(|(id, files)| utterance(id, files, need_text).transpose());
    utterances.collect()
}

fn list(folder: &Path) -> Result<BTreeMap<String, Files>> {
    let failed = |error| Error::file("read", folder, &error);
    let mut names: BTreeMap<String, Files> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
        let recording = RECORDINGS.contains(&ending.as_str());
        if path.is_dir() || !(recording || ending == "txt") {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
            return Err(
                Error::input("the name of a recording must be UTF-8, but this is not").at(path.display())
            );
        };
        let files = names.entry(name.to_owned()).or_default();
        match recording {
            true => files.recordings.push(path),
            false => files.text = Some(path),
        }
    }
    Ok(names)
}

fn utterance(id: String, mut files: Files, need_text: bool) -> Result<Option<Utterance>> {
    files.recordings.sort();
    let text = match (&files.recordings[..], files.text) {
        ([], Some(text)) if need_text => {
            let error =
                Error::input("a text must have a recording beside it, but it has none").at(text.display());
            return Err(error.hint("move it out of the folder"));
        }
        ([], _) => return Ok(None),
        ([_, second, ..], _) => {
            let message =
                format!("a name must have one recording, but `{id}` has {}", files.recordings.len());
            return Err(Error::input(message).at(second.display()));
        }
        ([recording], None) if need_text => {
            let message =
                format!("a recording must have its text in `{id}.txt` beside it, but there is none");
            return Err(Error::input(message).at(recording.display()));
        }
        (_, text) => text.as_deref().map(read_text).transpose()?,
    };
    let path = files.recordings.swap_remove(0);
    Ok(Some(Utterance { id, recording: None, start: None, end: None, text, place: (path.clone(), 1), path }))
}

fn read_text(path: &Path) -> Result<String> {
    let text = std::fs::read(path).map_err(|error| Error::file("read", path, &error))?;
    let text = String::from_utf8(text)
        .map_err(|_| Error::input("a text must be UTF-8, but this is not").at(path.display()))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    match text.lines().count() {
        0 | 1 => Ok(text.to_owned()),
        lines => Err(Error::input(format!("a text must have 1 line, but it has {lines}")).at(path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::audio::synthetic::folder;

    fn refused(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let error = read_folder(folder.path(), true).unwrap_err();
        error.message().replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn recordings_are_sorted_and_have_the_texts_beside_them() {
        let files = [
            ("b.WAV", ""),
            ("b.txt", "\u{feff}two\r\n"),
            ("a.b.flac", ""),
            ("a.b.txt", ""),
            ("README.md", ""),
        ];
        let folder = folder(&files);
        std::fs::create_dir(folder.path().join("c.wav")).unwrap();
        let utterances = read_folder(folder.path(), true).unwrap();
        let shown: Vec<_> =
            utterances.iter().map(|row| (row.id.as_str(), row.text.as_deref().unwrap())).collect();
        assert_eq!(shown, [("a.b", ""), ("b", "two")]);
        assert_eq!(utterances[1].path, folder.path().join("b.WAV"));
    }

    #[test]
    fn decoding_needs_no_text() {
        let folder = folder(&[("a.wav", ""), ("b.wav", ""), ("b.txt", "two"), ("notes.txt", "x\ny")]);
        let texts: Vec<_> =
            read_folder(folder.path(), false).unwrap().into_iter().map(|row| row.text).collect();
        assert_eq!(texts, [None, Some("two".to_owned())]);
    }

    #[test]
    fn mismatches_are_named() {
        let alone = "a.wav: a recording must have its text in `a.txt` beside it, but there is none";
        assert_eq!(refused(&[("a.wav", "")]), alone);
        let text = "b.txt: a text must have a recording beside it, but it has none";
        assert_eq!(refused(&[("a.wav", ""), ("a.txt", ""), ("b.txt", "")]), text);
        let twice = "a.wav: a name must have one recording, but `a` has 2";
        assert_eq!(refused(&[("a.wav", ""), ("a.flac", ""), ("a.txt", "")]), twice);
        let lines = "a.txt: a text must have 1 line, but it has 2";
        assert_eq!(refused(&[("a.wav", ""), ("a.txt", "one\ntwo\n")]), lines);
        let none = "a folder of recordings must have a file .wav, .flac, .mp3, .ogg, but it has none";
        assert!(refused(&[("a.txt", "one")]).ends_with(none));
        assert!(read_folder(Path::new("/no/such/folder"), true).is_err());
    }
}
