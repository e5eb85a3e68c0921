//! Rows to decode, and their results.

use super::Row;
use super::split::Parts;
use super::summary::DecodeSummary;
use crate::cli::figures::each_with_figures;
use crate::cli::input::{Input, InputRow, OnError, source_of};
use crate::cli::source_args::SourceArgs;
use crate::data::audio::Recording;
use crate::data::source::{Frames, SourceItem};
use crate::data::source_processor::SourceRef;
use crate::error::{Error, Result};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::EncodedRequest;

/// Frames of features in memory at once, unless a single row has more: some 130 MB of 80 bins.
const FRAMES_AT_ONCE: usize = 400_000;

/// What turns rows into requests.
pub struct RowEncoder<'a> {
    /// The model.
    pub loaded: &'a LoadedModel,
    /// The input of the rows.
    pub input: &'a Input,
    /// Prefixes, and what to do with errors.
    pub args: &'a SourceArgs,
    /// Whether long recordings are cut at silences.
    pub split: bool,
}

impl RowEncoder<'_> {
    /// Tokenizes sources and prefixes, or makes features, until the rows end or there are enough frames. If a row has an
    /// error and errors stop the command, returns the rows before it and the error.
    pub fn encode(
        &self,
        rows: &mut impl Iterator<Item = InputRow>,
    ) -> (Vec<Row<EncodedRequest>>, Option<Error>) {
        let (mut encoded, mut frames) = (Vec::new(), 0);
        for row in rows.by_ref() {
            for row in self.encode_parts(row) {
                let source = row.content.as_ref().ok().map(|request| &request.decode.source);
                frames += source.and_then(SourceItem::frames).map_or(0, Frames::count);
                match &row.content {
                    Err(error) if self.args.on_error == OnError::Stop => {
                        let error = error.clone();
                        return (encoded, Some(error));
                    }
                    _ => encoded.push(row),
                }
            }
            if frames >= FRAMES_AT_ONCE {
                break;
            }
        }
        (encoded, None)
    }

    /// The row, or the parts of its recording.
    fn encode_parts(&self, row: InputRow) -> Vec<Row<EncodedRequest>> {
        let parts = if self.split { Parts::of(self.loaded, self.input, &row) } else { Ok(None) };
        match parts {
            Ok(Some(parts)) => parts.rows().map(|(row, part)| self.encode_row(row, Some(&part))).collect(),
            Ok(None) => {
                let recording = self.input.recording().ok().flatten();
                vec![self.encode_row(row, recording)]
            }
            Err(error) => {
                let InputRow { number, row } = row;
                vec![Row { number, read: row.ok(), truncated: false, content: Err(error) }]
            }
        }
    }

    fn encode_row(&self, row: InputRow, recording: Option<&Recording>) -> Row<EncodedRequest> {
        let RowEncoder { loaded, input, args, .. } = self;
        let number = row.number;
        let read = match row.row {
            Ok(read) => read,
            Err(error) => return Row { number, read: None, truncated: false, content: Err(error) },
        };
        let prefix = args.prefix.as_ref().or(read.prefix.as_ref()).map_or("", String::as_str);
        let content =
            input.recording().and_then(|_| source_of(loaded, input.file(), &read)).and_then(|source| {
                loaded.encode_request(SourceRef { recording, ..source }, prefix, args.too_long())
            });
        let content = content.map_err(|error| error.at(input.place(read.line)));
        let truncated = content.as_ref().is_ok_and(|request| request.length_before.is_some());
        Row { number, read: Some(read), truncated, content }
    }
}

/// Rows with their outputs, the best first.
type Decoded = Vec<Row<Vec<Output>>>;

/// Decodes the rows that are not skipped, with times and with scores of tokens where they are asked for. If a row's
/// scores are not finite and errors stop the command, returns the rows before it and the error.
pub fn decode(
    loaded: &LoadedModel,
    input: &Input,
    rows: Vec<Row<EncodedRequest>>,
    [times, scores]: [bool; 2],
    on_error: OnError,
    summary: &mut DecodeSummary,
) -> Result<(Decoded, Option<Error>)> {
    let asked: Vec<&EncodedRequest> = rows.iter().filter_map(|row| row.content.as_ref().ok()).collect();
    let decode = |some: &[&EncodedRequest]| {
        let mut outputs = loaded.decode_n_best(some)?;
        if times {
            loaded.add_times(some, &mut outputs)?;
        }
        if scores {
            loaded.add_token_scores(some, &mut outputs)?;
        }
        Ok(outputs)
    };
    let mut outputs = each_with_figures(&asked, &decode)?.into_iter();
    let mut decoded = Vec::with_capacity(rows.len());
    for row in rows {
        let Row { number, read, truncated, content } = row;
        let place = read.as_ref().map(|read| input.place(read.line));
        let content = match (content, place) {
            (Ok(_), Some(place)) => outputs.next().unwrap_or_else(|| Ok(Vec::new())).map_err(|error| {
                let error = error.at(place);
                summary.skip(&error);
                error
            }),
            (Ok(_), None) => continue,
            (Err(error), _) => Err(error),
        };
        match content {
            Err(error) if on_error == OnError::Stop => return Ok((decoded, Some(error))),
            content => decoded.push(Row { number, read, truncated, content }),
        }
    }
    Ok((decoded, None))
}
