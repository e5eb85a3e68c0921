//! Rows to decode, and their results.

use super::Row;
use super::summary::DecodeSummary;
use crate::cli::figures::each_with_figures;
use crate::cli::input::{Input, InputRow, OnError, source_of};
use crate::cli::source_args::SourceArgs;
use crate::error::{Error, Result};
use crate::predictor::Output;
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::EncodedRequest;

/// Tokenizes sources and prefixes. If a row has an error and errors stop the command, returns the rows before it and
/// the error.
pub fn encode(
    loaded: &LoadedModel,
    input: &Input,
    rows: Vec<InputRow>,
    args: &SourceArgs,
) -> (Vec<Row<EncodedRequest>>, Option<Error>) {
    let mut encoded = Vec::with_capacity(rows.len());
    for row in rows {
        let row = encode_row(loaded, input, row, args);
        match &row.content {
            Err(error) if args.on_error == OnError::Stop => {
                let error = error.clone();
                return (encoded, Some(error));
            }
            _ => encoded.push(row),
        }
    }
    (encoded, None)
}

fn encode_row(loaded: &LoadedModel, input: &Input, row: InputRow, args: &SourceArgs) -> Row<EncodedRequest> {
    let number = row.number;
    let read = match row.row {
        Ok(read) => read,
        Err(error) => return Row { number, read: None, truncated: false, content: Err(error) },
    };
    let prefix = args.prefix.as_ref().or(read.prefix.as_ref()).map_or("", String::as_str);
    let content = source_of(loaded, input.file(), &read)
        .and_then(|source| loaded.encode_request(source, prefix, args.too_long()));
    let content = content.map_err(|error| error.at(input.place(read.line)));
    let truncated = content.as_ref().is_ok_and(|request| request.length_before.is_some());
    Row { number, read: Some(read), truncated, content }
}

/// Rows with their outputs, the best first.
type Decoded = Vec<Row<Vec<Output>>>;

/// Decodes the rows that are not skipped. If a row's scores are not finite and errors stop the command, returns the
/// rows before it and the error.
pub fn decode(
    loaded: &LoadedModel,
    input: &Input,
    rows: Vec<Row<EncodedRequest>>,
    times: bool,
    on_error: OnError,
    summary: &mut DecodeSummary,
) -> Result<(Decoded, Option<Error>)> {
    let asked: Vec<&EncodedRequest> = rows.iter().filter_map(|row| row.content.as_ref().ok()).collect();
    let decode = |some: &[&EncodedRequest]| {
        let mut outputs = loaded.decode_n_best(some)?;
        if times {
            loaded.add_times(some, &mut outputs)?;
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
