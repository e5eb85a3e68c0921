//! `seqloom decode --verify`: whether the outputs of a model can be trusted, tried on its user's own rows.

use super::DecodeArgs;
use super::rows;
use crate::cli::input::{Input, Selection};
use crate::cli::print;
use crate::data::readers::RowReader;
use crate::decoding::request::DecodeRequest;
use crate::error::{Error, Result, counted};
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::EncodedRequest;
use crate::predictor::verify::{Check, TOLERANCE, TOLERANCE_UNCACHED, verify};

/// Tries the first rows, and says what it tried.
///
/// # Errors
/// There is no row to try; two ways to the same outputs are too far apart.
pub fn run(args: &DecodeArgs, loaded: &LoadedModel, sources: RowReader, count: usize) -> Result<()> {
    let (read, asked) = first_rows(args, loaded, sources, count)?;
    if asked.is_empty() {
        return Err(Error::input("there must be a row to try, but all are empty or skipped")
            .hint("name other rows with --input"));
    }
    let requests: Vec<&DecodeRequest> = asked.iter().map(|asked| &asked.decode).collect();
    let left_out = match read - asked.len() {
        0 => String::new(),
        count => format!(", of which {count} are empty or skipped"),
    };
    print(&format!("{} on {}{left_out}\n", counted(read, "row"), loaded.runtime.place()))?;
    let (mut all, mut idle, mut off) = (0, 0, Vec::new());
    verify(loaded, &requests, |check| {
        let is_idle = check.outputs == 0 && check.holds();
        (all, idle) = (all + usize::from(!is_idle), idle + usize::from(is_idle));
        print(&line(&check))?;
        if !check.holds() {
            off.push(format!("{} ({:.1e}, but it may be {:e})", check.what, check.largest, check.tolerance));
        }
        Ok(())
    })?;
    if off.is_empty() {
        let bounds = format!("to {TOLERANCE:e}, and to {TOLERANCE_UNCACHED:e} without a cache");
        let nothing = match idle {
            0 => String::new(),
            idle => format!(
                "; {idle} more had nothing to compare, since scores of outputs as long as the model can write are left out"
            ),
        };
        return print(&format!("all {all} checks hold, {bounds}{nothing}\n"));
    }
    Err(Error::failure(format!("{} of {all} checks are off: {}", off.len(), off.join("; "))))
}

/// How many rows were read, and those that the model can be asked for.
fn first_rows(
    args: &DecodeArgs,
    loaded: &LoadedModel,
    sources: RowReader,
    count: usize,
) -> Result<(usize, Vec<EncodedRequest>)> {
    let mut input = Input::start(sources, &args.input, Selection::default())?;
    let (mut read, mut asked) = (0, Vec::new());
    while read < count {
        let mut chunk = input.next_chunk()?;
        if chunk.is_empty() {
            break;
        }
        chunk.truncate(count - read);
        read += chunk.len();
        let (encoded, fault) = rows::encode(loaded, &input, chunk, args);
        if let Some(error) = fault {
            return Err(error);
        }
        asked.extend(encoded.into_iter().filter_map(|row| row.content.ok()));
    }
    asked.retain(|asked| loaded.is_requested(&asked.decode.source));
    Ok((read, asked))
}

/// A check as a line.
fn line(check: &Check) -> String {
    let verdict = match (check.holds(), check.binding) {
        (false, _) => "OFF     ",
        (true, _) if check.outputs == 0 => "nothing ",
        (true, true) => "ok      ",
        (true, false) => "reported",
    };
    let Check { what, outputs, largest, .. } = check;
    let said = match check.differ {
        Some(differ) => {
            format!("{differ} of {outputs} outputs {} by at most {largest:.1e}", check.fault)
        }
        None => format!("{outputs} outputs, at most {largest:.1e} apart"),
    };
    format!("{verdict}  {what}: {said}\n")
}
