//! `--split`: long recordings are cut at silences, and each part is a separate row.

use std::borrow::Cow;
use std::ops::Range;

use crate::cli::input::{Input, InputRow, source_of};
use crate::data::audio::Recording;
use crate::data::audio::config::AudioConfig;
use crate::data::audio::processor::{AudioProcessor, is_npy};
use crate::data::audio::vad::split_at_silences;
use crate::data::readers::{ExtraField, FieldValue, SourceRow};
use crate::data::source_processor::SourceRef;
use crate::error::Result;
use crate::predictor::loaded_model::LoadedModel;

/// A long recording, read once, and its parts.
pub(crate) struct Parts<'a> {
    row: &'a InputRow,
    read: &'a SourceRow,
    audio: &'a AudioConfig,
    recording: Cow<'a, Recording>,
    /// The samples of each part.
    ranges: Vec<Range<usize>>,
    /// Where the recording starts, in seconds.
    offset: f64,
}

impl<'a> Parts<'a> {
    /// The parts of a recording longer than the model's `max_seconds`; `None` of one that is short enough.
    ///
    /// # Errors
    /// The recording cannot be read.
    pub(crate) fn of(
        loaded: &'a LoadedModel,
        input: &'a Input,
        row: &'a InputRow,
    ) -> Result<Option<Parts<'a>>> {
        let audio = loaded.tokenizers.source.audio().zip(loaded.experiment.data.source.audio.as_deref());
        let (Some((processor, audio)), Ok(read)) = (audio, &row.row) else { return Ok(None) };
        let source = SourceRef { recording: input.recording()?, ..source_of(loaded, read)? };
        let recording = long_recording(processor, &source).map_err(|error| error.at(&read.place))?;
        let Some(recording) = recording else { return Ok(None) };
        let ranges = split_at_silences(&recording.samples, recording.sample_rate, processor.max_seconds());
        let offset = source.segment[0].unwrap_or(0.0);
        Ok(Some(Parts { row, read, audio, recording, ranges, offset }))
    }

    /// Each part as a row, with its start and its end and without a reference, and its samples.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (InputRow, Recording)> {
        self.ranges.iter().map(|range| {
            let row = InputRow { number: self.row.number, row: Ok(self.part(range)) };
            (row, self.recording.part(range.clone()))
        })
    }

    fn part(&self, range: &Range<usize>) -> SourceRow {
        let rate = f64::from(self.recording.sample_rate);
        let times = [range.start, range.end].map(|sample| self.offset + sample as f64 / rate);
        let names = [&self.audio.start_column, &self.audio.end_column];
        let mut others = self.read.others.clone();
        others.retain(|field| names.iter().all(|name| field.name[..] != name[..]));
        others.extend(names.iter().zip(times).map(|(name, seconds)| ExtraField {
            name: name.as_str().into(),
            value: FieldValue::Json(format!("{seconds}")),
        }));
        SourceRow { target: None, others, ..self.read.clone() }
    }
}

/// The samples of a recording that is longer than the model reads.
fn long_recording<'a>(
    processor: &AudioProcessor,
    source: &SourceRef<'a>,
) -> Result<Option<Cow<'a, Recording>>> {
    let is_long = processor.seconds(source.extent(processor)?) > processor.max_seconds();
    match source.recording {
        _ if !is_long || is_npy(&source.path()) => Ok(None),
        Some(recording) => Ok(Some(Cow::Borrowed(recording))),
        None => processor.read(&source.path(), source.segment).map(|recording| Some(Cow::Owned(recording))),
    }
}
