//! The interface between search and model: requests, rows, tokens and plain arrays of scores.
//!
//! So a search can be tested with a scripted fake instead of weights, and a model does not depend on the search.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::constraints::forced_prefix::ForcedPrefix;
use super::ctc::log_probs::CtcLogProbs;
use crate::data::source::SourceItem;
use crate::data::vocabulary::{BOS, EOS, PAD};
use crate::error::{Error, Result};

/// A source to decode, and the restrictions on its output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodeRequest {
    /// The source for the model, or for the first model of an ensemble.
    pub source: SourceItem,
    /// The source for each further model of an ensemble; empty if all tokenize sources alike.
    pub other_sources: Vec<SourceItem>,
    /// The forced prefix of the output. It counts for the limit and the score, and no constraint applies to it.
    pub prefix: Arc<ForcedPrefix>,
    /// The tokens that the output may contain, in ascending order; the softmax is over these. `None` for the whole
    /// vocabulary except PAD and BOS.
    pub allowed: Option<Arc<[i64]>>,
    /// Maximum number of tokens in the output, including EOS; at least 1.
    pub max_length: usize,
}

impl DecodeRequest {
    /// A request with only the length limited.
    pub(crate) fn new(source: impl Into<SourceItem>, max_length: usize) -> DecodeRequest {
        DecodeRequest { source: source.into(), max_length, ..DecodeRequest::default() }
    }

    /// The source for the model with this number, from 0.
    pub(crate) fn source_of(&self, member: usize) -> &SourceItem {
        let other = member.checked_sub(1).and_then(|n| self.other_sources.get(n));
        other.unwrap_or(&self.source)
    }
}

/// A model that takes one step at a time.
pub trait IncrementalDecoder {
    /// The decoder state: a value that the model returns and takes back.
    type State;

    /// Encodes the sources of the requests: one row each, before its first token. `member` is the model's number in an
    /// ensemble, from 0.
    fn start(&self, requests: &[&DecodeRequest], member: usize) -> Result<Self::State>;

    /// Takes one more token per row and scores the next ones. The first token of a row is BOS.
    fn step(&self, tokens: &[i64], state: Self::State) -> Result<(Scores, Self::State)>;

    /// As `step`, with [`Scores::attention`].
    ///
    /// # Errors
    /// The model has no attention.
    fn step_with_attention(&self, _: &[i64], _: Self::State) -> Result<(Scores, Self::State)> {
        Err(Error::failure("this model does not return its attention"))
    }

    /// Selects rows, in this order; a row may occur more than once or not at all.
    fn reorder(&self, rows: &[i64], state: Self::State) -> Result<Self::State>;

    /// The rows of `one`, then those of `other`, which may have different lengths.
    fn join(&self, one: Self::State, other: Self::State) -> Result<Self::State>;

    /// The log-probability of each token of each target, EOS last: a target (token ids without EOS) for each row of a state
    /// before its first token.
    fn score_targets(&self, targets: &[&[i64]], state: Self::State) -> Result<Vec<Vec<f32>>> {
        score_by_steps(self, targets, state)
    }

    /// What the CTC head gives to the source of each row of a state before its first token; `None` for a model without one.
    fn ctc_log_probs(&self, _: &Self::State) -> Result<Option<Vec<Arc<CtcLogProbs>>>> {
        Ok(None)
    }

    /// Whether sources may enter a batch that has started. If not, `join` is never called.
    fn supports_continuous_batching(&self) -> bool {
        false
    }

    /// Maximum number of tokens in an output, including EOS; `None` without such a limit.
    fn max_length(&self) -> Option<usize> {
        None
    }
}

/// [`IncrementalDecoder::score_targets`], a token of each target at a time.
///
/// # Errors
/// Those of the model.
pub(crate) fn score_by_steps<S: IncrementalDecoder + ?Sized>(
    decoder: &S,
    targets: &[&[i64]],
    mut state: S::State,
) -> Result<Vec<Vec<f32>>> {
    let mut found = vec![Vec::new(); targets.len()];
    let mut rows: Vec<usize> = (0..targets.len()).collect();
    for length in 0.. {
        let token = |row: usize| if length == 0 { BOS } else { targets[row][length - 1] };
        let last: Vec<i64> = rows.iter().map(|&row| token(row)).collect();
        let (scores, next) = decoder.step(&last, state)?;
        scores.check(rows.len())?;
        for (&row, log_p) in rows.iter().zip(scores.rows()) {
            let token = targets[row].get(length).copied().unwrap_or(EOS);
            found[row].push(log_p[token as usize]);
        }
        let kept: Vec<usize> = (0..rows.len()).filter(|&n| length < targets[rows[n]].len()).collect();
        if kept.is_empty() {
            break;
        }
        let places: Vec<i64> = kept.iter().map(|&n| n as i64).collect();
        state = decoder.reorder(&places, next)?;
        rows = kept.into_iter().map(|n| rows[n]).collect();
    }
    Ok(found)
}

/// A model that several threads can run at the same time, each with its own clone. Clones share the weights.
pub trait Shareable: IncrementalDecoder + Clone + Send {
    /// Whether it runs on the CPU, where more threads are faster.
    fn on_cpu(&self) -> bool;
}

/// Log-probabilities of the next token, row after row.
#[derive(Clone, Debug)]
pub struct Scores {
    /// (B * V), each row sums to one after `exp`.
    pub log_p: Vec<f32>,
    /// V
    pub vocabulary: usize,
    /// For each row the attention to each position of its source: the decoder's last layer, averaged over its heads.
    /// Only [`IncrementalDecoder::step_with_attention`] fills it.
    pub attention: Option<Vec<Vec<f32>>>,
}

impl Scores {
    /// Scores without attention.
    pub(crate) fn new(log_p: Vec<f32>, vocabulary: usize) -> Scores {
        Scores { log_p, vocabulary, attention: None }
    }

    /// A model that returns a wrong number of scores has a bug, which must not become wrong outputs.
    pub(super) fn check(&self, rows: usize) -> Result<()> {
        let of_attention = self.attention.as_ref().map_or(rows, Vec::len);
        if self.vocabulary <= EOS as usize
            || self.log_p.len() != rows * self.vocabulary
            || of_attention != rows
        {
            let (numbers, vocabulary) = (self.log_p.len(), self.vocabulary);
            let message = format!(
                "the model returned {numbers} scores for {rows} rows and a vocabulary of {vocabulary}"
            );
            return Err(Error::failure(message));
        }
        Ok(())
    }

    /// The rows, V numbers each.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.log_p.chunks_exact(self.vocabulary.max(1))
    }
}

/// The rows of a source in the scores of a step.
#[derive(Debug)]
pub(crate) struct ScoreRows<'a> {
    /// (rows * V)
    pub log_p: &'a mut [f32],
    /// V
    pub vocabulary: usize,
    /// The attention of each row; empty if it is not requested.
    pub attention: &'a [Vec<f32>],
}

impl ScoreRows<'_> {
    /// Forbids PAD and BOS, which are never part of an output.
    pub(crate) fn forbid_padding_and_bos(&mut self) {
        for row in self.log_p.chunks_exact_mut(self.vocabulary) {
            row[PAD as usize] = f32::NEG_INFINITY;
            row[BOS as usize] = f32::NEG_INFINITY;
        }
    }

    pub(in crate::decoding) fn row(&mut self, number: usize) -> &mut [f32] {
        &mut self.log_p[number * self.vocabulary..][..self.vocabulary]
    }
}

/// The error for scores that are NaN or infinite, as those of a diverged model.
pub(crate) fn scores_not_finite() -> Error {
    Error::not_finite("the model's scores are NaN or infinite")
}

/// An output that a search found for a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// Token ids without BOS and EOS.
    pub tokens: Vec<i64>,
    /// Sum of the model's log-probabilities of its tokens, including EOS when it is finished; constraints, penalties
    /// and sampling do not change it.
    pub score: f64,
    /// The ranking of a source's hypotheses: the sum with the repetition penalty, divided by the length penalty, plus
    /// the coverage penalty.
    pub ranking: f64,
    /// False if it is unfinished, without EOS: it reached the length limit, or the constraints allowed no further
    /// token.
    pub finished: bool,
}
