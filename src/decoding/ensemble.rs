//! An ensemble: several models that choose each token together. To a search they are one model.

use std::sync::Arc;

use super::config::Combination;
use super::ctc::log_probs::CtcLogProbs;
use super::incremental_decoder::{DecodeRequest, IncrementalDecoder, Scores, Shareable};
use crate::error::{Error, Result};

/// Models with the same target vocabulary, which read the same source ids or each its own.
#[derive(Clone, Debug)]
pub(crate) struct Ensemble<S> {
    members: Vec<S>,
    combination: Combination,
}

/// The states of the models of an ensemble.
#[derive(Debug)]
pub(crate) struct EnsembleState<T> {
    states: Vec<T>,
    /// Whether all of them tokenize the sources alike.
    alike: bool,
}

impl<S: IncrementalDecoder> Ensemble<S> {
    /// An ensemble of one model or more. With one, its scores are bit-identical to those of the model.
    pub(crate) fn new(
        first: S,
        others: impl IntoIterator<Item = S>,
        combination: Combination,
    ) -> Ensemble<S> {
        Ensemble { members: std::iter::once(first).chain(others).collect(), combination }
    }

    /// The models, in the given order.
    pub(crate) fn members(&self) -> &[S] {
        &self.members
    }

    fn step_each(
        &self,
        EnsembleState { states, alike }: EnsembleState<S::State>,
        step: impl Fn(&S, S::State) -> Result<(Scores, S::State)>,
    ) -> Result<(Scores, EnsembleState<S::State>)> {
        let (mut all, mut next) = (Vec::new(), Vec::new());
        for (member, state) in self.members.iter().zip(states) {
            let (scores, state) = step(member, state)?;
            all.push(scores);
            next.push(state);
        }
        Ok((combined(all, self.combination, alike)?, EnsembleState { states: next, alike }))
    }
}

impl<S: IncrementalDecoder> IncrementalDecoder for Ensemble<S> {
    type State = EnsembleState<S::State>;

    fn start(&self, requests: &[&DecodeRequest], first: usize) -> Result<Self::State> {
        let start = |(n, member): (usize, &S)| member.start(requests, first + n);
        let states = self.members.iter().enumerate().map(start).collect::<Result<_>>()?;
        Ok(EnsembleState { states, alike: requests.iter().all(|request| request.other_sources.is_empty()) })
    }

    fn step(&self, tokens: &[i64], state: Self::State) -> Result<(Scores, Self::State)> {
        self.step_each(state, |member, state| member.step(tokens, state))
    }

    fn step_with_attention(&self, tokens: &[i64], state: Self::State) -> Result<(Scores, Self::State)> {
        self.step_each(state, |member, state| member.step_with_attention(tokens, state))
    }

    fn score_targets(&self, targets: &[&[i64]], state: Self::State) -> Result<Vec<Vec<f32>>> {
        let members = self.members.iter().zip(state.states);
        let scores = members.map(|(member, state)| member.score_targets(targets, state));
        let mut scores = scores.collect::<Result<Vec<_>>>()?;
        let row =
            |row| mean(scores.iter_mut().map(|of_one| std::mem::take(&mut of_one[row])), self.combination);
        Ok((0..targets.len()).map(row).collect())
    }

    fn ctc_log_probs(&self, state: &Self::State) -> Result<Option<Vec<Arc<CtcLogProbs>>>> {
        let members = self.members.iter().zip(&state.states);
        let heads = members.map(|(member, state)| member.ctc_log_probs(state));
        let Some(heads) = heads.collect::<Result<Option<Vec<_>>>>()? else {
            return Ok(None);
        };
        let rows = heads.first().map_or(0, Vec::len);
        let of_row = |row: usize| heads.iter().map(|of_one| Arc::clone(&of_one[row])).collect::<Vec<_>>();
        (0..rows).map(|row| ctc_together(&of_row(row), self.combination)).collect::<Result<_>>().map(Some)
    }

    fn reorder(&self, rows: &[i64], state: Self::State) -> Result<Self::State> {
        let EnsembleState { states, alike } = state;
        let kept = self.members.iter().zip(states).map(|(member, state)| member.reorder(rows, state));
        Ok(EnsembleState { states: kept.collect::<Result<_>>()?, alike })
    }

    fn join(&self, one: Self::State, other: Self::State) -> Result<Self::State> {
        let pairs = self.members.iter().zip(one.states.into_iter().zip(other.states));
        let states = pairs.map(|(member, (one, other))| member.join(one, other)).collect::<Result<_>>()?;
        Ok(EnsembleState { states, alike: one.alike && other.alike })
    }

    fn supports_continuous_batching(&self) -> bool {
        self.members.iter().all(IncrementalDecoder::supports_continuous_batching)
    }

    fn max_length(&self) -> Option<usize> {
        self.members.iter().filter_map(IncrementalDecoder::max_length).min()
    }
}

impl<S: Shareable> Shareable for Ensemble<S> {
    fn on_cpu(&self) -> bool {
        self.members.iter().all(S::on_cpu)
    }
}

/// The combined scores of all members, in place of the first one's scores. Attention is their mean; if they do not
/// tokenize sources `alike`, it is the first one's.
fn combined(mut all: Vec<Scores>, combination: Combination, alike: bool) -> Result<Scores> {
    let looking = if alike { all.len() } else { 1 };
    let vocabularies = all.iter().map(|scores| scores.vocabulary);
    if let Some((one, other)) =
        vocabularies.clone().zip(vocabularies.skip(1)).find(|(one, other)| one != other)
    {
        let message = format!(
            "the models of an ensemble must have the same target vocabulary, but theirs have {one} and {other} tokens"
        );
        return Err(Error::input(message));
    }
    let log_p = mean(all.iter_mut().map(|scores| std::mem::take(&mut scores.log_p)), combination);
    let mut all = all.into_iter();
    let mut first = all.next().ok_or_else(|| Error::failure("an ensemble without a model"))?;
    first.log_p = log_p;
    for scores in all.take(looking - 1) {
        let attention = first.attention.iter_mut().flatten().zip(scores.attention.into_iter().flatten());
        for (sum, of_one) in attention {
            sum.iter_mut().zip(of_one).for_each(|(sum, of_one)| *sum += of_one);
        }
    }
    first.attention.iter_mut().flatten().flatten().for_each(|of_all| *of_all /= looking as f32);
    Ok(first)
}

/// What the CTC heads of all members give to a source, combined as their scores are.
fn ctc_together(all: &[Arc<CtcLogProbs>], combination: Combination) -> Result<Arc<CtcLogProbs>> {
    let first = &all[0];
    if all.len() == 1 {
        return Ok(Arc::clone(first));
    }
    let sizes = |one: &CtcLogProbs| (one.frames(), one.symbols(), one.blank());
    if let Some(other) = all.iter().find(|other| sizes(other) != sizes(first)) {
        let message = format!(
            "the CTC heads of an ensemble must have the same frames and symbols, but theirs are {} by {} and {} by {}",
            first.frames(),
            first.symbols(),
            other.frames(),
            other.symbols()
        );
        return Err(Error::input(message));
    }
    let log_p = mean(all.iter().map(|one| one.data().to_vec()), combination);
    CtcLogProbs::new(log_p, first.symbols(), first.blank()).map(Arc::new)
}

/// Combines the log-probabilities of several models elementwise: each list has those of one model for the same tokens.
/// A single list is returned unchanged.
pub(crate) fn mean(all: impl IntoIterator<Item = Vec<f32>>, combination: Combination) -> Vec<f32> {
    let mut all = all.into_iter();
    let mut sum = all.next().unwrap_or_default();
    let mut members = 1.0;
    for log_p in all {
        members += 1.0;
        let pairs = sum.iter_mut().zip(log_p);
        match combination {
            Combination::LogProbabilities => pairs.for_each(|(sum, log_p)| *sum += log_p),
            Combination::Probabilities => pairs.for_each(|(sum, log_p)| *sum = log_of_sum(*sum, log_p)),
        }
    }
    match combination {
        _ if members == 1.0 => {}
        Combination::LogProbabilities => sum.iter_mut().for_each(|log_p| *log_p /= members),
        Combination::Probabilities => sum.iter_mut().for_each(|log_p| *log_p -= members.ln()),
    }
    sum
}

/// log(exp(a) + exp(b)), without overflow or underflow.
fn log_of_sum(a: f32, b: f32) -> f32 {
    let (least, most) = if a < b { (a, b) } else { (b, a) };
    if least == f32::NEG_INFINITY { most } else { most + (least - most).exp().ln_1p() }
}
