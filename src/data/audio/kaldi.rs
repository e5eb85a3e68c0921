//! Kaldi data folders: `wav.scp` (`id path`), `text` (`id words`), and, if it is there, `segments` (`id recording
//! start end`).
//!
//! Other files, such as `utt2spk`, are not read. As in Kaldi, a relative path starts from the folder of the call.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use super::utterance::Utterance;
use crate::error::{Error, Result};

/// A file of lines `id value`.
struct Table {
    path: PathBuf,
    rows: Vec<Row>,
    /// The rows of the ids.
    ids: HashMap<String, usize>,
}

struct Row {
    id: String,
    value: String,
    line: usize,
}

/// The utterances of a Kaldi folder, in the order of `segments`, or else of `wav.scp`.
///
/// # Errors
/// A file is missing or can't be read; a line is malformed; an id is there twice; a recording is a command; an
/// utterance has no text although `need_text`; a text or a segment has no recording.
pub(crate) fn read_kaldi(folder: &Path, need_text: bool) -> Result<Vec<Utterance>> {
    let recordings = Table::read(folder.join("wav.scp"))?;
    recordings.rows.iter().try_for_each(|row| check_path(&recordings, row))?;
    let segments = Table::read_if_there(folder.join("segments"))?;
    let texts = match need_text {
        true => Some(Table::read(folder.join("text"))?),
        false => Table::read_if_there(folder.join("text"))?,
    };
    let list = segments.as_ref().unwrap_or(&recordings);
    let utterance = |row| match segments {
        Some(_) => segment(list, row, &recordings),
        None => Ok(Utterance {
            id: row.id.clone(),
            recording: None,
            path: row.value.clone().into(),
            start: None,
            end: None,
            text: None,
            place: (list.path.clone(), row.line),
        }),
    };
    let mut utterances: Vec<Utterance> = list.rows.iter().map(utterance).collect::<Result<_>>()?;
    if let Some(texts) = texts {
        add_texts(&mut utterances, &texts, list, need_text)?;
    }
    Ok(utterances)
}

fn check_path(recordings: &Table, row: &Row) -> Result<()> {
    if row.value.is_empty() {
        return Err(recordings.malformed(row, "a line must be `id path`", &row.id));
    }
    if row.value.ends_with('|') {
        let error = recordings.malformed(row, "a recording must be a path, not a command", &row.value);
        return Err(error.hint("run the commands once, and list the files that they write"));
    }
    Ok(())
}

fn segment(segments: &Table, row: &Row, recordings: &Table) -> Result<Utterance> {
    let malformed =
        || segments.malformed(row, "a line must be `id recording start end`, in seconds", &row.value);
    let fields: Vec<&str> = row.value.split_whitespace().collect();
    let [recording, start, end] = fields[..] else {
        return Err(malformed());
    };
    let number =
        |text: &str| text.parse().ok().filter(|seconds: &f64| seconds.is_finite()).ok_or_else(malformed);
    let (start, end) = (number(start)?, number(end)?);
    // Kaldi's -1 is the end of the recording.
    let end = Some(end).filter(|end| *end != -1.0);
    if start < 0.0 || end.is_some_and(|end| end <= start) {
        return Err(segments.malformed(
            row,
            "a segment must end after its start, and start at 0 or later",
            &row.value,
        ));
    }
    let Some(found) = recordings.ids.get(recording) else {
        return Err(segments.malformed(
            row,
            &format!("a recording must be one of those in {}", recordings.path.display()),
            recording,
        ));
    };
    Ok(Utterance {
        id: row.id.clone(),
        recording: Some(recording.to_owned()),
        path: recordings.rows[*found].value.clone().into(),
        start: Some(start),
        end,
        text: None,
        place: (segments.path.clone(), row.line),
    })
}

fn add_texts(utterances: &mut [Utterance], texts: &Table, list: &Table, need_text: bool) -> Result<()> {
    for utterance in utterances {
        utterance.text = texts.ids.get(&utterance.id).map(|row| texts.rows[*row].value.clone());
        if need_text && utterance.text.is_none() {
            let (path, line) = &utterance.place;
            let message =
                format!("`{}` must have a text in {}, but it has none", utterance.id, texts.path.display());
            return Err(Error::input(message).at(format!("{}:{line}", path.display())));
        }
    }
    match texts.rows.iter().find(|row| !list.ids.contains_key(&row.id)) {
        Some(row) => Err(texts.malformed(
            row,
            &format!("the id of a text must be one of those in {}", list.path.display()),
            &row.id,
        )),
        None => Ok(()),
    }
}

impl Table {
    fn read_if_there(path: PathBuf) -> Result<Option<Table>> {
        if path.exists() { Table::read(path).map(Some) } else { Ok(None) }
    }

    fn read(path: PathBuf) -> Result<Table> {
        let bytes = std::fs::read(&path).map_err(|error| Error::file("read", &path, &error))?;
        let mut table = Table { path, rows: Vec::new(), ids: HashMap::new() };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(Error::input("the file must have lines, but it is empty").at(table.path.display()));
        }
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            table.add(number + 1, line)?;
        }
        Ok(table)
    }

    fn add(&mut self, line: usize, bytes: &[u8]) -> Result<()> {
        let place = format!("{}:{line}", self.path.display());
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::input("a line must be UTF-8, but this is not").at(&place))?
            .trim();
        let (id, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if id.is_empty() {
            return Err(Error::input("a line must begin with an id, but this is empty").at(place));
        }
        match self.ids.entry(id.to_owned()) {
            Entry::Occupied(first) => {
                let first = self.rows[*first.get()].line;
                Err(Error::input(format!("an id must be there once, but `{id}` is in line {first}, too"))
                    .at(place))
            }
            Entry::Vacant(entry) => {
                entry.insert(self.rows.len());
                self.rows.push(Row { id: id.to_owned(), value: value.trim_start().to_owned(), line });
                Ok(())
            }
        }
    }

    fn malformed(&self, row: &Row, must: &str, is: &str) -> Error {
        Error::input(format!("{must}, but it is `{is}`")).at(format!("{}:{}", self.path.display(), row.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::audio::synthetic::folder;

    /// The error without the folder's name.
    fn refused(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let error = read_kaldi(folder.path(), true).unwrap_err();
        error.message().replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn recordings_have_their_texts_in_the_order_of_the_list() {
        let folder = folder(&[
            ("wav.scp", "\u{feff}b wav/b c.wav\r\na\t/wav/a.flac\r\n"),
            ("text", "a  機器 學習\nb"),
            ("utt2spk", "a s\n"),
        ]);
        let utterances = read_kaldi(folder.path(), true).unwrap();
        let shown: Vec<_> = utterances
            .iter()
            .map(|row| {
                (row.id.as_str(), row.path.to_str().unwrap(), row.text.as_deref().unwrap(), row.place.1)
            })
            .collect();
        assert_eq!(shown, [("b", "wav/b c.wav", "", 1), ("a", "/wav/a.flac", "機器 學習", 2)]);
        assert_eq!((utterances[0].start, utterances[0].end), (None, None));
    }

    #[test]
    fn segments_are_parts_of_recordings() {
        let segments = "u2 a 1.5 2.25\nu1 a 0 1.5\nu3 a 2.5 -1\n";
        let folder = folder(&[("wav.scp", "a a.wav\nb b.wav\n"), ("segments", segments)]);
        let utterances = read_kaldi(folder.path(), false).unwrap();
        let shown: Vec<_> =
            utterances.iter().map(|row| (row.id.as_str(), row.start.unwrap(), row.end)).collect();
        assert_eq!(shown, [("u2", 1.5, Some(2.25)), ("u1", 0.0, Some(1.5)), ("u3", 2.5, None)]);
        assert!(utterances.iter().all(|row| row.path == Path::new("a.wav") && row.text.is_none()));
        assert_eq!(utterances[1].place, (folder.path().join("segments"), 2));
    }

    #[test]
    fn mismatches_are_named_with_their_line() {
        let wav = ("wav.scp", "a a.wav\nb b.wav\n");
        let text = ("text", "a one\nb two\n");
        assert_eq!(
            refused(&[("wav.scp", "a a.wav\nb sph2pipe b.sph |\n"), text]),
            "wav.scp:2: a recording must be a path, not a command, but it is `sph2pipe b.sph |`"
        );
        assert_eq!(
            refused(&[("wav.scp", "a\n"), text]),
            "wav.scp:1: a line must be `id path`, but it is `a`"
        );
        assert_eq!(
            refused(&[wav, ("text", "a one\n")]),
            "wav.scp:2: `b` must have a text in text, but it has none"
        );
        let twice = "text:3: an id must be there once, but `a` is in line 1, too";
        assert_eq!(refused(&[wav, ("text", "a one\nb two\na three\n")]), twice);
        let alone = "text:3: the id of a text must be one of those in wav.scp, but it is `c`";
        assert_eq!(refused(&[wav, ("text", "a one\nb two\nc three\n")]), alone);
        assert_eq!(refused(&[("wav.scp", ""), text]), "wav.scp: the file must have lines, but it is empty");
        assert_eq!(
            refused(&[wav, ("text", "a one\n\nb two")]),
            "text:2: a line must begin with an id, but this is empty"
        );
        assert!(refused(&[text]).starts_with("cannot read wav.scp: "));
        assert!(refused(&[wav]).starts_with("cannot read text: "));
    }

    #[test]
    fn invalid_segments_are_named_with_their_line() {
        let refused =
            |line: &str| refused(&[("wav.scp", "a a.wav\n"), ("segments", line), ("text", "u one\n")]);
        let must = "segments:1: a line must be `id recording start end`, in seconds, but it is";
        for fields in ["a 0", "a 0 x", "a nan 1", "a 0 inf", "a 0 1 2"] {
            assert_eq!(refused(&format!("u {fields}")), format!("{must} `{fields}`"));
        }
        let must = "segments:1: a segment must end after its start, and start at 0 or later, but it is";
        for fields in ["a 1 1", "a -1 1", "a 2 1"] {
            assert_eq!(refused(&format!("u {fields}")), format!("{must} `{fields}`"));
        }
        assert_eq!(
            refused("u c 0 1"),
            "segments:1: a recording must be one of those in wav.scp, but it is `c`"
        );
    }

    #[test]
    fn a_line_that_is_not_utf8_is_named() {
        let folder = folder(&[("text", "a one\n")]);
        std::fs::write(folder.path().join("wav.scp"), b"a a.wav\nb \xff.wav\n").unwrap();
        let error = read_kaldi(folder.path(), true).unwrap_err();
        assert!(error.message().ends_with("wav.scp:2: a line must be UTF-8, but this is not"), "{error}");
    }
}
