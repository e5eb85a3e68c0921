//! Pairs of a recording and its text: from tables with a column of paths, and from folders.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::AudioConfig;
use super::folder::read_folder;
use super::is_sound;
use super::kaldi::read_kaldi;
use super::processor::Segment;
use super::utterance::Utterance;
use crate::data::readers::{Columns, ExtraField, FieldValue, Format, Pair, Place, Recordings, RowReader};
use crate::error::{Error, Result};

impl Recordings for AudioConfig {
    /// A Kaldi folder, if it has a `wav.scp`, or recordings, each beside its text.
    fn folder(&self, folder: &Path) -> Result<Vec<Pair>> {
        Ok(utterances(folder, true)?.into_iter().map(pair).collect())
    }

    fn complete(&self, pair: &mut Pair, others: &[ExtraField]) -> Result<()> {
        pair.source = path_in(&pair.place.file, &pair.source).to_string_lossy().into_owned();
        pair.set_segment(segment_of(others, self)?);
        Ok(())
    }
}

/// Opens what to decode where it is a recording itself, or a folder of recordings; `None` for a table or a text of paths.
///
/// # Errors
/// Those of [`read_kaldi`] and [`read_folder`].
pub(crate) fn open(input: &Path, audio: &AudioConfig) -> Result<Option<RowReader>> {
    let (name, utterances) = if input.is_dir() {
        (input.join("recordings"), utterances(input, false)?)
    } else if is_sound(input) {
        let name = input.file_name().unwrap_or_default();
        (input.to_owned(), vec![Utterance::whole(name.into(), input)])
    } else {
        return Ok(None);
    };
    let rows: String = utterances.iter().map(|one| format!("{}\n", row(one, input, audio))).collect();
    listed(rows, &name).map(Some)
}

/// One row for an input that is a recording itself, read by the caller; `-` is standard input.
///
/// # Errors
/// The row cannot be read.
pub(crate) fn alone(input: &Path) -> Result<RowReader> {
    let (name, id) = match input == Path::new("-") {
        true => (Path::new("<stdin>"), "stdin".into()),
        false => (input, input.file_stem().unwrap_or_default().to_string_lossy()),
    };
    listed(format!("{}\n", json!({ "id": id, "source": input.to_string_lossy() })), name)
}

fn listed(rows: String, name: &Path) -> Result<RowReader> {
    let rows = Box::new(Cursor::new(rows.into_bytes()));
    RowReader::read(rows, name, Format::Jsonl, Columns::new(&["source"], "target"))
}

/// A recording as a row of JSON Lines; its path is relative to `input`, if it is a folder.
fn row(utterance: &Utterance, input: &Path, audio: &AudioConfig) -> Value {
    let Utterance { id, recording, path, start, end, text, .. } = utterance;
    let path = match path.strip_prefix(input) {
        // A single recording is named relative to its own folder.
        _ if !input.is_dir() => path.clone(),
        Ok(inside) => inside.to_owned(),
        Err(_) if path.is_relative() => std::path::absolute(path).unwrap_or(path.clone()),
        Err(_) => path.clone(),
    };
    let mut row = json!({ "id": id, "source": path.to_string_lossy() });
    // A segment has its own id.
    recording.iter().for_each(|recording| row["recording"] = json!(recording));
    let others =
        [(audio.start_column.as_str(), start.map(Value::from)), (&audio.end_column, end.map(Value::from))];
    let others = others.into_iter().chain([("target", text.clone().map(Value::from))]);
    others.for_each(|(key, value)| value.into_iter().for_each(|value| row[key] = value));
    row
}

fn utterances(folder: &Path, need_text: bool) -> Result<Vec<Utterance>> {
    match folder.join("wav.scp").is_file() {
        true => read_kaldi(folder, need_text),
        false => read_folder(folder, need_text),
    }
}

fn pair(utterance: Utterance) -> Pair {
    let Utterance { path, start, end, text, place: (file, line), .. } = utterance;
    let mut pair = Pair {
        source: path.to_string_lossy().into_owned(),
        target: text.unwrap_or_default(),
        place: Place { file: file.as_path().into(), line: line as u64 },
        ..Pair::default()
    };
    pair.set_segment([start, end]);
    pair
}

/// A path as a table names it: relative to the table's folder.
pub(crate) fn path_in(table: &Path, path: &str) -> PathBuf {
    table.parent().unwrap_or(Path::new("")).join(path)
}

/// The part of a recording that the other columns of a row name.
///
/// # Errors
/// A value that is not a number of seconds.
pub(crate) fn segment_of(fields: &[ExtraField], config: &AudioConfig) -> Result<Segment> {
    let seconds = |column: &str| -> Result<Option<f64>> {
        let Some(field) = fields.iter().find(|field| *field.name == *column) else { return Ok(None) };
        let (FieldValue::Text(text) | FieldValue::Json(text)) = &field.value;
        let text = text.trim().trim_matches('"');
        if text.is_empty() || text == "null" {
            return Ok(None);
        }
        match text.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(Some(seconds)),
            _ => Err(Error::input(format!(
                "`{column}` must be a number of seconds from 0, but it is `{text}`"
            ))),
        }
    };
    Ok([seconds(&config.start_column)?, seconds(&config.end_column)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_in_the_columns_that_are_named() {
        let field = |name: &str, value: FieldValue| ExtraField { name: name.into(), value };
        let fields = [
            field("start", FieldValue::Text(" 0.5 ".to_owned())),
            field("end", FieldValue::Json("2".to_owned())),
            field("speaker", FieldValue::Text("7".to_owned())),
        ];
        let config = AudioConfig::default();
        assert_eq!(segment_of(&fields, &config).unwrap(), [Some(0.5), Some(2.0)]);
        assert_eq!(segment_of(&fields[2..], &config).unwrap(), [None, None]);
        let empty =
            [field("start", FieldValue::Text(String::new())), field("end", FieldValue::Json("null".into()))];
        assert_eq!(segment_of(&empty, &config).unwrap(), [None, None]);
        let error = segment_of(&[field("start", FieldValue::Text("-1".to_owned()))], &config).unwrap_err();
        assert_eq!(error.message(), "`start` must be a number of seconds from 0, but it is `-1`");
    }

    #[test]
    fn a_relative_path_is_relative_to_its_table() {
        assert_eq!(path_in(Path::new("data/train.csv"), "clips/a.wav"), Path::new("data/clips/a.wav"));
        assert_eq!(path_in(Path::new("train.csv"), "/a.wav"), Path::new("/a.wav"));
    }
}
