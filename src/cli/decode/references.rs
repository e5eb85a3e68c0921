//! How a model scores the references of rows, by teacher forcing: for `decode --score-references`, and for the metrics of
//! `evaluate` that need it.

use super::Row;
use crate::cli::scored::{score_targets, target_score};
use crate::decoding::incremental_decoder::DecodeRequest;
use crate::error::Result;
use crate::metrics::TargetScore;
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::EncodedRequest;

/// The score of each row's reference, or of the first of several, or why it has none; `None` for a row that is skipped or
/// has no reference.
///
/// # Errors
/// The model fails.
pub(super) fn score(
    loaded: &LoadedModel,
    rows: &[Row<EncodedRequest>],
) -> Result<Vec<Option<Result<TargetScore>>>> {
    let targets: Vec<_> = rows.iter().map(|row| target(loaded, row)).collect();
    let asked = targets.iter().map(|target| target.as_ref()?.as_ref().ok());
    let asked: Vec<Option<(&DecodeRequest, &[i64])>> =
        asked.map(|target| target.map(|(request, ids)| (request, ids.as_slice()))).collect();
    let scores = score_targets(loaded, &asked)?;
    let scored = rows.iter().zip(targets).zip(scores).map(|((row, target), score)| match target? {
        Err(error) => Some(Err(error)),
        Ok(_) => {
            let place = &row.read.as_ref()?.place;
            let score = score?.map(|tokens| target_score(&tokens));
            Some(score.map_err(|error| error.at(place)))
        }
    });
    Ok(scored.collect())
}

/// The request of a row, and the token ids of its reference.
fn target(loaded: &LoadedModel, row: &Row<EncodedRequest>) -> Option<Result<(DecodeRequest, Vec<i64>)>> {
    let (Ok(request), Some(read)) = (&row.content, &row.read) else { return None };
    let (reference, _) = loaded.references(read.target.as_deref()?);
    let target = loaded.tokenizers.target.encode(reference);
    // A shortlist is for outputs alone.
    let request = DecodeRequest { allowed: None, ..request.decode.clone() };
    let checked = loaded.check_target(&request.source, &target);
    let checked = checked.map_err(|error| error.at(&read.place));
    Some(checked.map(|()| (request, target)))
}
