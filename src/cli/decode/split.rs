//! `--split`: long recordings are cut at silences, and each part is a row of its own.

use crate::cli::input::{Input, InputRow, source_of};
use crate::data::audio::processor::is_npy;
use crate::data::audio::vad::split_at_silences;
use crate::data::readers::{ExtraField, FieldValue, SourceRow};
use crate::error::Result;
use crate::predictor::loaded_model::LoadedModel;

/// The rows, each part of a recording longer than the model's `max_seconds` as a row: with its start and its end, and without a
/// reference.
pub fn split_long(loaded: &LoadedModel, input: &Input, rows: Vec<InputRow>) -> Vec<InputRow> {
    let parts = |InputRow { number, row }: InputRow| -> Vec<InputRow> {
        let parts = row.and_then(|row| {
            let parts = parts_of(loaded, input, &row).map_err(|error| error.at(input.place(row.line)))?;
            Ok(if parts.is_empty() { vec![row] } else { parts })
        });
        match parts {
            Ok(rows) => rows.into_iter().map(|row| InputRow { number, row: Ok(row) }).collect(),
            Err(error) => vec![InputRow { number, row: Err(error) }],
        }
    };
    rows.into_iter().flat_map(parts).collect()
}

/// The parts of a long recording; none of one that is short enough.
fn parts_of(loaded: &LoadedModel, input: &Input, row: &SourceRow) -> Result<Vec<SourceRow>> {
    let (Some(processor), Some(audio)) =
        (loaded.tokenizers.source.audio(), &loaded.experiment.data.source.audio)
    else {
        return Ok(Vec::new());
    };
    let source = source_of(loaded, input.file(), row)?;
    if is_npy(&source.path()) {
        return Ok(Vec::new());
    }
    let recording = processor.read(&source.path(), source.segment)?;
    if recording.seconds() <= processor.max_seconds() {
        return Ok(Vec::new());
    }
    let (rate, offset) = (f64::from(recording.sample_rate), source.segment[0].unwrap_or(0.0));
    let names = [&audio.start_column, &audio.end_column];
    let part = |range: std::ops::Range<usize>| {
        let times = [range.start, range.end].map(|sample| offset + sample as f64 / rate);
        let mut others = row.others.clone();
        others.retain(|field| names.iter().all(|name| field.name[..] != name[..]));
        others.extend(names.iter().zip(times).map(|(name, seconds)| ExtraField {
            name: name.as_str().into(),
            value: FieldValue::Json(format!("{seconds}")),
        }));
        SourceRow { target: None, others, ..row.clone() }
    };
    let ranges = split_at_silences(&recording.samples, recording.sample_rate, processor.max_seconds());
    Ok(ranges.into_iter().map(part).collect())
}
