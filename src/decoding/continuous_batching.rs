//! The loop of every search: continuous batching, in which new sources enter the batch as others leave it.
//!
//! All live rows of all sources take a step together. The hypotheses of each source get the scores of their own rows,
//! and finished rows leave at once. It depends on no model and no tensor. The result of a source does not depend on the
//! rest of the batch.

use super::Method;
use super::ctc::n_best::{ctc_of_each, generate_n_best};
use super::incremental_decoder::{DecodeRequest, Hypothesis, IncrementalDecoder, ScoreRows, Scores};
use super::options::SearchOptions;
use super::search::beam::Workspace;
use super::search::hypotheses::Hypotheses;
use crate::error::Result;

/// The size of the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    /// The most sources in it.
    pub size: usize,
    /// New sources enter when this many places are free, since encoding a few costs nearly as much as encoding many.
    /// `None`: only when the batch is empty.
    pub refill: Option<usize>,
}

/// Decodes all requests. Calls `found` with each request's number, from 0, and its hypotheses, the best first, as soon
/// as it is done.
///
/// # Errors
/// Those of the model and of `found`.
pub(crate) fn generate<'r, S: IncrementalDecoder>(
    decoder: &S,
    requests: impl Iterator<Item = &'r DecodeRequest>,
    options: &SearchOptions,
    batching: Batching,
    mut found: impl FnMut(usize, Vec<Hypothesis>) -> Result<()>,
) -> Result<()> {
    if !options.method.has_steps() {
        return generate_n_best(decoder, requests, options, batching.size, found);
    }
    let mut batch = Batch { decoder, options, batching, slots: Vec::new(), workspace: Workspace::default() };
    let mut requests = requests.enumerate().fuse();
    let mut state = None;
    loop {
        state = batch.admit(&mut requests, state)?;
        let Some(held) = state else {
            return Ok(());
        };
        state = batch.step(held)?;
        let done = |slot: &mut Slot| slot.rows == 0;
        for slot in batch.slots.extract_if(.., done) {
            found(slot.number, slot.hypotheses.into_best(options))?;
        }
    }
}

/// A source in the batch.
struct Slot {
    /// The request's number.
    number: usize,
    /// Its number of rows, which follow those of the slots before it.
    rows: usize,
    hypotheses: Hypotheses,
}

struct Batch<'a, S> {
    decoder: &'a S,
    options: &'a SearchOptions,
    batching: Batching,
    slots: Vec<Slot>,
    workspace: Workspace,
}

impl<S: IncrementalDecoder> Batch<'_, S> {
    /// Fills free places if there are enough of them. `state` is that of the rows in the batch, if there are any.
    fn admit<'r>(
        &mut self,
        requests: &mut impl Iterator<Item = (usize, &'r DecodeRequest)>,
        state: Option<S::State>,
    ) -> Result<Option<S::State>> {
        let free = self.batching.size.max(1) - self.slots.len();
        if state.is_some() && self.batching.refill.is_none_or(|least| free < least) {
            return Ok(state);
        }
        let new: Vec<(usize, &DecodeRequest)> = requests.take(free).collect();
        if new.is_empty() {
            return Ok(state);
        }
        let sources: Vec<&DecodeRequest> = new.iter().map(|(_, request)| *request).collect();
        let begun = self.decoder.start(&sources, 0)?;
        let heads = match self.options.method {
            Method::Joint => ctc_of_each(self.decoder, &begun, sources.len(), self.options)?,
            _ => Vec::new(),
        };
        let slots = new.iter().enumerate().map(|(row, (number, request))| Slot {
            number: *number,
            rows: 1,
            hypotheses: Hypotheses::new(request, self.options, heads.get(row)),
        });
        self.slots.extend(slots);
        match state {
            Some(held) => self.decoder.join(held, begun).map(Some),
            None => Ok(Some(begun)),
        }
    }

    /// Runs one step; returns the state of the rows that continue, if there are any.
    fn step(&mut self, state: S::State) -> Result<Option<S::State>> {
        let last: Vec<i64> =
            self.slots.iter().flat_map(|slot| slot.hypotheses.rows()).map(|(_, token)| token).collect();
        let (mut scores, next) = match self.options.penalty.coverage {
            0.0 => self.decoder.step(&last, state)?,
            _ => self.decoder.step_with_attention(&last, state)?,
        };
        scores.check(last.len())?;
        self.advance(&mut scores)?;
        let kept = self.renumber();
        match kept.len() {
            0 => Ok(None),
            _ if kept.iter().copied().eq(0..last.len() as i64) => Ok(Some(next)),
            _ => self.decoder.reorder(&kept, next).map(Some),
        }
    }

    /// Gives each source the scores of its rows.
    fn advance(&mut self, scores: &mut Scores) -> Result<()> {
        let vocabulary = scores.vocabulary;
        let mut attention = scores.attention.as_deref().unwrap_or_default();
        let mut log_p = scores.log_p.as_mut_slice();
        for slot in &mut self.slots {
            let (own, rest) = log_p.split_at_mut(slot.rows * vocabulary);
            let (attended, others) = attention.split_at(slot.rows.min(attention.len()));
            (log_p, attention) = (rest, others);
            let mut rows = ScoreRows { log_p: own, vocabulary, attention: attended };
            rows.forbid_padding_and_bos();
            slot.hypotheses.advance(&mut rows, self.options, &mut self.workspace)?;
        }
        Ok(())
    }

    /// The rows of the batch that continue, in their new order.
    fn renumber(&mut self) -> Vec<i64> {
        let (mut kept, mut first) = (Vec::new(), 0);
        for slot in &mut self.slots {
            let before = kept.len();
            kept.extend(slot.hypotheses.rows().map(|(row, _)| (first + row) as i64));
            first += slot.rows;
            slot.rows = kept.len() - before;
            slot.hypotheses.renumber();
        }
        kept
    }
}
