//! The model's scores for known outputs: each passes through the model once more, token by token.
//!
//! So tracing costs a search nothing. The scores of a row do not depend on the rest of the batch, so they equal those
//! of the search before any constraint changed them. It depends on no model and no tensor.

use super::incremental_decoder::{DecodeRequest, IncrementalDecoder, Scores, scores_not_finite};
use super::search::top_k::TopK;
use crate::data::vocabulary::{BOS, EOS};
use crate::error::Result;

/// An output and its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TracedOutput<'a> {
    /// The request.
    pub request: &'a DecodeRequest,
    /// Token ids without BOS and EOS.
    pub tokens: &'a [i64],
    /// Whether EOS follows; false for a source that was not decoded.
    pub finished: bool,
}

impl TracedOutput<'_> {
    fn tokens_with_eos(&self) -> Vec<i64> {
        self.tokens.iter().copied().chain(self.finished.then_some(EOS)).collect()
    }
}

/// The chosen token of one step, and its alternatives. Log-probabilities are those of the full softmax, over all tokens
/// that an output may contain.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TraceStep {
    /// The chosen token.
    pub token: i64,
    /// Its log-probability.
    pub log_p: f32,
    /// Its rank among all allowed tokens: 1 for the most likely. Of equal ones the lower id comes first.
    pub rank: usize,
    /// The most likely tokens and their log-probabilities, the most likely first.
    pub top: Vec<(i64, f32)>,
    /// The attention to each position of the source, EOS last; empty if it is not requested.
    pub attention: Vec<f32>,
}

impl TraceStep {
    /// Reads a row of scores (V) from which `token` was chosen, and keeps the `top` best.
    ///
    /// # Errors
    /// The token's score is NaN or infinite.
    pub(super) fn new(row: &[f32], token: i64, top: usize, best: &mut TopK) -> Result<TraceStep> {
        let score = usize::try_from(token).ok().and_then(|place| row.get(place)).copied();
        let log_p = score.filter(|score| score.is_finite()).ok_or_else(scores_not_finite)?;
        let earlier = |(other, score): &(i64, &f32)| **score > log_p || (**score == log_p && *other < token);
        let rank = 1 + (0..).zip(row).filter(earlier).count();
        best.begin(top.max(1));
        best.scan(0, 0.0, row);
        let possible = best.candidates().iter().filter(|one| one.total.is_finite());
        let top = possible.take(top).map(|one| (one.token, one.total as f32)).collect();
        Ok(TraceStep { token, log_p, rank, top, attention: Vec::new() })
    }
}

/// The steps of each output, including EOS if it is finished, with the `top` most likely tokens each. All outputs run
/// as one batch.
///
/// # Errors
/// Errors of the model, which must return its attention.
pub(crate) fn trace<S: IncrementalDecoder>(
    decoder: &S,
    outputs: &[TracedOutput],
    top: usize,
) -> Result<Vec<Vec<TraceStep>>> {
    let targets: Vec<Vec<i64>> = outputs.iter().map(TracedOutput::tokens_with_eos).collect();
    let mut steps = vec![Vec::new(); outputs.len()];
    let mut live: Vec<usize> = (0..targets.len()).filter(|&row| !targets[row].is_empty()).collect();
    if live.is_empty() {
        return Ok(steps);
    }
    let requests: Vec<&DecodeRequest> = live.iter().map(|&row| outputs[row].request).collect();
    let (mut state, mut last, mut best) =
        (decoder.start(&requests, 0)?, vec![BOS; live.len()], TopK::default());
    loop {
        let (scores, next) = decoder.step_with_attention(&last, state)?;
        scores.check(live.len())?;
        record(scores, &live, &targets, top, &mut best, &mut steps)?;
        let is_unfinished = |n: &usize| steps[live[*n]].len() < targets[live[*n]].len();
        let kept: Vec<usize> = (0..live.len()).filter(is_unfinished).collect();
        if kept.is_empty() {
            return Ok(steps);
        }
        let rows: Vec<i64> = kept.iter().map(|&n| n as i64).collect();
        state = if kept.len() < live.len() { decoder.reorder(&rows, next)? } else { next };
        live = kept.into_iter().map(|n| live[n]).collect();
        last = live.iter().map(|&row| targets[row][steps[row].len() - 1]).collect();
    }
}

/// Adds a step to each of the outputs that are `live`.
fn record(
    mut scores: Scores,
    live: &[usize],
    targets: &[Vec<i64>],
    top: usize,
    best: &mut TopK,
    steps: &mut [Vec<TraceStep>],
) -> Result<()> {
    let mut attention = scores.attention.take().unwrap_or_default();
    attention.resize(live.len(), Vec::new());
    for ((&row, log_p), attention) in live.iter().zip(scores.rows()).zip(attention) {
        let step = TraceStep::new(log_p, targets[row][steps[row].len()], top, best)?;
        steps[row].push(TraceStep { attention, ..step });
    }
    Ok(())
}
