//! Decoding without a beam of a decoder: the likeliest sequences of the CTC head, which a decoder may rank anew
//! (attention rescoring, as in WeNet). It knows no tensor.
//!
//! The score of an output does not depend on the search that found it: it is the sum over all of its alignments.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::combined;
use super::log_probs::CtcLogProbs;
use super::prefix_beam::{best_path, prefix_beam_search};
use super::prefix_score::CtcPrefix;
use crate::data::vocabulary::{BOS, EOS, PAD, UNK};
use crate::decoding::Method;
use crate::decoding::constraints::forced_prefix::ForcedPrefix;
use crate::decoding::incremental_decoder::{
    DecodeRequest, Hypothesis, IncrementalDecoder, scores_not_finite,
};
use crate::decoding::options::SearchOptions;
use crate::error::{Error, Result};

/// What the CTC head gives to the source of each row of a state before its first token.
///
/// # Errors
/// The model has no such head; its own errors.
pub(crate) fn ctc_of_each<S: IncrementalDecoder>(
    decoder: &S,
    state: &S::State,
    rows: usize,
    options: &SearchOptions,
) -> Result<Vec<Arc<CtcLogProbs>>> {
    match decoder.ctc_log_probs(state)? {
        Some(heads) if heads.len() == rows => Ok(heads),
        Some(heads) => {
            Err(Error::failure(format!("the CTC head read {} sources in place of {rows}", heads.len())))
        }
        None => {
            let method = options.method.name();
            let message = format!(
                "`decoding.method` \"{method}\" needs a model with a CTC head, but this model has none"
            );
            let hint = "train with `model.transformer.ctc` = true, or use --set decoding.method=attention";
            Err(Error::input(message).hint(hint))
        }
    }
}

/// Decodes all requests, `size` together, by the methods `ctc` and `rescore`. `found` is that of
/// [`crate::decoding::continuous_batching::generate`].
///
/// # Errors
/// Those of the model and of `found`; an output is to begin with a forced prefix.
pub(crate) fn generate_n_best<'r, S: IncrementalDecoder>(
    decoder: &S,
    requests: impl Iterator<Item = &'r DecodeRequest>,
    options: &SearchOptions,
    size: usize,
    mut found: impl FnMut(usize, Vec<Hypothesis>) -> Result<()>,
) -> Result<()> {
    let mut requests = requests.enumerate().fuse();
    loop {
        let (numbers, batch): (Vec<usize>, Vec<&DecodeRequest>) = requests.by_ref().take(size.max(1)).unzip();
        if batch.is_empty() {
            return Ok(());
        }
        let state = decoder.start(&batch, 0)?;
        let heads = ctc_of_each(decoder, &state, batch.len(), options)?;
        let outputs = batch.iter().zip(&heads).map(|(request, head)| outputs(head, request, options));
        let mut lists = outputs.collect::<Result<Vec<_>>>()?;
        if options.method == Method::Rescore {
            rescore(decoder, state, &mut lists, options)?;
        }
        for (number, list) in numbers.into_iter().zip(lists) {
            found(number, ranked(list, options))?;
        }
    }
}

/// The sequences that the CTC head finds for a source: of a beam of 1 the best path, of others the best path too, so
/// that none of them ranks below it.
fn outputs(
    head: &Arc<CtcLogProbs>,
    request: &DecodeRequest,
    options: &SearchOptions,
) -> Result<Vec<Hypothesis>> {
    if request.prefix.at(ForcedPrefix::START).is_some() {
        let method = options.method.name();
        let message = format!(
            "`decoding.method` must be \"attention\" or \"joint\" with a forced prefix, but it is \"{method}\""
        );
        return Err(Error::input(message));
    }
    let allowed = allowed_tokens(head, request, options);
    let mut sequences = match options.width {
        1 => Vec::new(),
        width => prefix_beam_search(head, &allowed, width).into_iter().map(|(tokens, _)| tokens).collect(),
    };
    let best = best_path(head, &allowed);
    if !sequences.contains(&best) {
        sequences.push(best);
    }
    let empty = CtcPrefix::new(Arc::clone(head));
    Ok(sequences.into_iter().map(|tokens| hypothesis(&empty, tokens, request.max_length)).collect())
}

/// A sequence, which is cut off where EOS would be behind the limit.
fn hypothesis(empty: &CtcPrefix, mut tokens: Vec<i64>, max_length: usize) -> Hypothesis {
    let finished = tokens.len() < max_length;
    tokens.truncate(max_length.saturating_sub(1));
    let prefix = empty.extend_all(&tokens);
    let score = if finished { prefix.score_of_end() } else { prefix.score() };
    Hypothesis { tokens, score, ranking: score, finished }
}

/// The tokens that an output may have, EOS not among them.
fn allowed_tokens(head: &CtcLogProbs, request: &DecodeRequest, options: &SearchOptions) -> Vec<i64> {
    let is_allowed = |token: &i64| {
        let is_suppressed = options.constraints.suppress_unknown && *token == UNK;
        !is_suppressed && ![PAD, BOS, EOS, head.blank()].contains(token)
    };
    match &request.allowed {
        Some(list) => list.iter().copied().filter(is_allowed).collect(),
        None => (0..head.symbols() as i64).filter(is_allowed).collect(),
    }
}

/// Ranks all lists by the decoder and CTC together. The score becomes the decoder's, which reads all tokens of an
/// output at once.
fn rescore<S: IncrementalDecoder>(
    decoder: &S,
    state: S::State,
    lists: &mut [Vec<Hypothesis>],
    options: &SearchOptions,
) -> Result<()> {
    let rows: Vec<i64> =
        (0..).zip(&*lists).flat_map(|(row, list)| std::iter::repeat_n(row, list.len())).collect();
    let targets: Vec<&[i64]> = lists.iter().flatten().map(|one| one.tokens.as_slice()).collect();
    let scores = decoder.score_targets(&targets, decoder.reorder(&rows, state)?)?;
    for (one, of_tokens) in lists.iter_mut().flatten().zip(scores) {
        let length = one.tokens.len() + usize::from(one.finished);
        let attention: f64 = of_tokens.into_iter().take(length).map(f64::from).sum();
        if attention.is_nan() || attention == f64::INFINITY {
            return Err(scores_not_finite());
        }
        one.ranking = combined(options.ctc_weight, attention, one.score);
        one.score = attention;
    }
    Ok(())
}

/// The best hypotheses, at most `n_best`, the best first: finished ones, then unfinished ones. Of several with the same
/// text the best counts.
fn ranked(mut list: Vec<Hypothesis>, options: &SearchOptions) -> Vec<Hypothesis> {
    let better = |one: &Hypothesis, other: &Hypothesis| -> Ordering {
        other.finished.cmp(&one.finished).then(other.ranking.total_cmp(&one.ranking))
    };
    list.sort_by(better);
    if options.removes_duplicates() {
        let mut texts = HashSet::new();
        list.retain(|one| texts.insert(options.texts.of(&one.tokens)));
    }
    list.truncate(options.n_best);
    list
}
