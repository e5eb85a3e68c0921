//! Rows to be decoded, and what became of them.

use super::DecodeArgs;
use crate::cli::input::{Input, InputRow, OnError};
use crate::data::pairs::SourceRow;
use crate::data::tokenizer::Encoded;
use crate::data::vocabulary::UNK;
use crate::decoder::Output;
use crate::decoder::loaded::LoadedModel;
use crate::error::{Error, Result};

/// A row before it is decoded, and with its output behind it.
pub struct Row<T> {
    /// Its number in the input, from 1.
    pub number: u64,
    /// What was read; nothing where the row cannot be read.
    pub read: Option<SourceRow>,
    /// Whether its source was cut.
    pub truncated: bool,
    /// What goes on with it, or why it is skipped.
    pub content: Result<T>,
}

/// Cuts sources into tokens. Where a row is at fault and none may be, gives the rows before it, and the fault.
pub fn encode(
    loaded: &LoadedModel,
    input: &Input,
    rows: Vec<InputRow>,
    args: &DecodeArgs,
) -> (Vec<Row<Encoded>>, Option<Error>) {
    let mut encoded = Vec::with_capacity(rows.len());
    for row in rows {
        let row = encode_row(loaded, input, row, args.truncate);
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

fn encode_row(loaded: &LoadedModel, input: &Input, row: InputRow, truncate: bool) -> Row<Encoded> {
    let number = row.number;
    let read = match row.row {
        Ok(read) => read,
        Err(error) => return Row { number, read: None, truncated: false, content: Err(error) },
    };
    let mut source = loaded.tokenizers.source.encode(&read.text);
    let limit = loaded.experiment.data.source.max_length;
    let truncated = truncate && source.ids.len() > limit;
    if truncated {
        source.ids.truncate(limit);
        source.ids.shrink_to_fit();
        source.unknown = source.ids.iter().filter(|&&token| token == UNK).count();
    }
    let hint = "cut it with --truncate, or allow more with --set data.source.max_length=N";
    let checked = loaded.check_source(&source);
    let content = checked.map(|()| source).map_err(|error| error.at(input.place(read.line)).hint(hint));
    Row { number, read: Some(read), truncated, content }
}

/// Decodes what is not skipped.
pub fn decode(loaded: &LoadedModel, rows: Vec<Row<Encoded>>) -> Result<Vec<Row<Output>>> {
    let sources: Vec<&[i64]> =
        rows.iter().filter_map(|row| row.content.as_ref().ok()).map(|source| source.ids.as_slice()).collect();
    let mut outputs = loaded.decode(&sources)?.into_iter();
    let decoded = rows.into_iter().filter_map(|row| {
        let Row { number, read, truncated, content } = row;
        let content = match content {
            Ok(_) => Ok(outputs.next()?),
            Err(error) => Err(error),
        };
        Some(Row { number, read, truncated, content })
    });
    Ok(decoded.collect())
}
