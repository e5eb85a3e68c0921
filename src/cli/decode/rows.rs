//! Rows to decode, and their results.

use super::mbr::Mbr;
use super::split::Parts;
use super::{Row, references};
use crate::cli::input::{Input, InputRow, OnError, source_of};
use crate::cli::not_finite::each_or_error;
use crate::cli::source_args::SourceArgs;
use crate::data::audio::Recording;
use crate::data::source::{Frames, SourceItem};
use crate::data::source_processor::SourceRef;
use crate::error::{Error, Result};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::{EncodedRequest, TooLong};

/// Frames of features after which no more rows are read for now: some 130 MB of 80 bins.
const FRAMES_AT_ONCE: usize = 400_000;

/// What turns rows into requests.
pub(crate) struct RowEncoder<'a> {
    /// The model.
    pub loaded: &'a LoadedModel,
    /// The input of the rows.
    pub input: &'a Input,
    /// The forced prefix of all outputs, unless rows have their own.
    pub prefix: Option<&'a str>,
    /// What to do with a row that is broken.
    pub on_error: OnError,
    /// What to do with a source that is too long.
    pub too_long: TooLong,
    /// Whether long recordings are cut at silences.
    pub split: bool,
}

/// Rows whose features are made together, on all threads.
const LOT: usize = 32;

impl<'a> RowEncoder<'a> {
    /// That of the options of a command; recordings are not cut.
    pub(crate) fn new(loaded: &'a LoadedModel, input: &'a Input, args: &'a SourceArgs) -> RowEncoder<'a> {
        let (prefix, too_long) = (args.prefix.as_deref(), args.too_long());
        RowEncoder { loaded, input, prefix, on_error: args.on_error, too_long, split: false }
    }

    /// Tokenizes sources and prefixes, or makes features, until the rows end or there are enough frames. If a row has an
    /// error and errors stop the command, returns the rows before it and the error.
    pub(crate) fn encode(
        &self,
        rows: &mut impl Iterator<Item = InputRow>,
    ) -> (Vec<Row<EncodedRequest>>, Option<Error>) {
        let (mut encoded, mut frames) = (Vec::new(), 0);
        while frames < FRAMES_AT_ONCE {
            let lot: Vec<InputRow> = rows.by_ref().take(LOT).collect();
            if lot.is_empty() {
                break;
            }
            for row in self.encode_lot(lot) {
                let source = row.content.as_ref().ok().map(|request| &request.decode.source);
                frames += source.and_then(SourceItem::frames).map_or(0, Frames::count);
                match &row.content {
                    Err(error) if self.on_error == OnError::Stop => {
                        let error = error.clone();
                        return (encoded, Some(error));
                    }
                    _ => encoded.push(row),
                }
            }
        }
        (encoded, None)
    }

    /// The rows, in place of a long recording its parts.
    fn encode_lot(&self, lot: Vec<InputRow>) -> Vec<Row<EncodedRequest>> {
        let recording = self.input.recording().ok().flatten();
        let (mut encoded, mut whole) = (Vec::new(), Vec::new());
        for row in lot {
            match self.encode_parts(&row) {
                None => whole.push((row, recording)),
                Some(parts) => {
                    encoded.extend(self.encode_rows(std::mem::take(&mut whole)));
                    encoded.extend(parts);
                }
            }
        }
        encoded.extend(self.encode_rows(whole));
        encoded
    }

    /// The parts of a long recording; `None` of another row.
    fn encode_parts(&self, row: &InputRow) -> Option<Vec<Row<EncodedRequest>>> {
        let parts = if self.split { Parts::of(self.loaded, self.input, row) } else { Ok(None) };
        match parts {
            Ok(parts) => parts.map(|parts| {
                let (mut rows, mut encoded) = (parts.rows().peekable(), Vec::new());
                while rows.peek().is_some() {
                    let (lot, samples): (Vec<_>, Vec<_>) = rows.by_ref().take(LOT).unzip();
                    encoded.extend(self.encode_rows(lot.into_iter().zip(samples.iter().map(Some)).collect()));
                }
                encoded
            }),
            Err(error) => {
                let read = row.row.as_ref().ok().cloned();
                Some(vec![Row::skipped(row.number, read, error)])
            }
        }
    }

    /// Rows, and their recordings if they are in memory.
    fn encode_rows(&self, rows: Vec<(InputRow, Option<&Recording>)>) -> Vec<Row<EncodedRequest>> {
        let sources = rows.iter().map(|(row, recording)| self.source(row, *recording)).collect();
        let requests = self.loaded.encode_sources(sources, self.too_long);
        rows.into_iter().zip(requests).map(|((row, _), request)| self.with_prefix(row, request)).collect()
    }

    fn source<'r>(&'r self, row: &'r InputRow, recording: Option<&'r Recording>) -> Result<SourceRef<'r>> {
        let read = row.row.as_ref().map_err(Error::clone)?;
        self.input.recording()?;
        Ok(SourceRef { recording, ..source_of(self.loaded, read)? })
    }

    fn with_prefix(&self, row: InputRow, request: Result<EncodedRequest>) -> Row<EncodedRequest> {
        let number = row.number;
        let read = match row.row {
            Ok(read) => read,
            Err(error) => return Row::skipped(number, None, error),
        };
        let prefix = self.prefix.or(read.prefix.as_deref()).unwrap_or_default();
        let content = request.and_then(|request| self.loaded.with_prefix(request, prefix));
        let references = read.target.as_deref().map_or(Ok(()), |field| self.loaded.check_references(field));
        let content = content.and_then(|request| references.map(|()| request));
        let content = content.map_err(|error| error.at(&read.place));
        let truncated = content.as_ref().is_ok_and(|request| request.length_before.is_some());
        Row { number, read: Some(read), truncated, content, reference_score: None }
    }
}

/// Rows with their outputs, the best first.
type Decoded = Vec<Row<Vec<Output>>>;

/// What outputs need besides a search.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needed<'a> {
    /// What chooses them among candidates.
    pub mbr: Option<&'a Mbr>,
    /// The times of their tokens.
    pub times: bool,
    /// The scores of their tokens.
    pub scores: bool,
    /// The scores of the references.
    pub reference_scores: bool,
}

/// Decodes the rows that are not skipped, with what is needed. If a row's scores are not finite and errors stop the
/// command, returns the rows before it and the error.
pub(crate) fn decode(
    loaded: &LoadedModel,
    rows: Vec<Row<EncodedRequest>>,
    needed: Needed,
    on_error: OnError,
) -> Result<(Decoded, Option<Error>)> {
    let asked: Vec<&EncodedRequest> = rows.iter().filter_map(|row| row.content.as_ref().ok()).collect();
    let decode = |some: &[&EncodedRequest]| {
        let mut outputs = loaded.decode_n_best(some)?;
        if let Some(mbr) = needed.mbr {
            outputs = mbr.choose(loaded, outputs);
        }
        if needed.times {
            loaded.add_times(some, &mut outputs)?;
        }
        if needed.scores {
            loaded.add_token_scores(some, &mut outputs)?;
        }
        Ok(outputs)
    };
    let mut outputs = each_or_error(&asked, &decode)?.into_iter();
    let scores = if needed.reference_scores { references::score(loaded, &rows)? } else { Vec::new() };
    let mut scores = scores.into_iter();
    let mut decoded = Vec::with_capacity(rows.len());
    for row in rows {
        let Row { number, read, truncated, content, .. } = row;
        let reference_score = scores.next().flatten();
        let content = match (content, &read) {
            (Ok(_), Some(read)) => {
                outputs.next().unwrap_or_else(|| Ok(Vec::new())).map_err(|error| error.at(&read.place))
            }
            (Ok(_), None) => continue,
            (Err(error), _) => Err(error),
        };
        match content {
            Err(error) if on_error == OnError::Stop => return Ok((decoded, Some(error))),
            content => decoded.push(Row { number, read, truncated, content, reference_score }),
        }
    }
    Ok((decoded, None))
}
