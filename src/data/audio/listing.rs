//! Pairs of a recording and its text: from tables with a column of paths, and from folders.

use std::path::{Path, PathBuf};

use super::config::AudioConfig;
use super::folder::read_folder;
use super::kaldi::read_kaldi;
use super::processor::Segment;
use super::utterance::Utterance;
use crate::data::readers::{ExtraField, FieldValue, Pair, Place};
use crate::error::{Error, Result};

/// The pairs of a folder: Kaldi's, where it has a `wav.scp`, or recordings each beside its text.
///
/// # Errors
/// Those of [`read_kaldi`] and [`read_folder`].
pub fn read_pairs(folder: &Path, need_text: bool) -> Result<Vec<Pair>> {
    let utterances = match folder.join("wav.scp").is_file() {
        true => read_kaldi(folder, need_text)?,
        false => read_folder(folder, need_text)?,
    };
    Ok(utterances.into_iter().map(pair).collect())
}

fn pair(utterance: Utterance) -> Pair {
    let Utterance { path, start, end, text, place: (file, line), .. } = utterance;
    Pair {
        source: path.to_string_lossy().into_owned(),
        target: text.unwrap_or_default(),
        segment: [start, end],
        place: Place { file: file.as_path().into(), line: line as u64 },
    }
}

/// A path as a table names it: relative to the table's folder.
pub fn path_in(table: &Path, path: &str) -> PathBuf {
    table.parent().unwrap_or(Path::new("")).join(path)
}

/// The part of a recording that the other columns of a row name.
///
/// # Errors
/// A value that is no number of seconds.
pub fn segment_of(fields: &[ExtraField], config: &AudioConfig) -> Result<Segment> {
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
    fn a_relative_path_starts_at_its_table() {
        assert_eq!(path_in(Path::new("data/train.csv"), "clips/a.wav"), Path::new("data/clips/a.wav"));
        assert_eq!(path_in(Path::new("train.csv"), "/a.wav"), Path::new("/a.wav"));
    }
}
