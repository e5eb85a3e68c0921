//! A model that stops between two steps if a stop is requested: a batch of long outputs may take minutes.
//!
//! It depends on no signals, only on a function that it calls before each step.

use std::sync::Arc;

use super::ctc::log_probs::CtcLogProbs;
use super::incremental_decoder::{DecodeRequest, IncrementalDecoder, Scores, Shareable};
use crate::error::{Error, Result};

/// A model, and the function that decides whether to continue.
#[derive(Clone)]
pub(crate) struct Interruptible<'a, S> {
    model: S,
    stopped: &'a (dyn Fn() -> bool + Sync),
}

impl<'a, S> Interruptible<'a, S> {
    /// Calls `stopped` before each step.
    pub(crate) fn new(model: S, stopped: &'a (dyn Fn() -> bool + Sync)) -> Interruptible<'a, S> {
        Interruptible { model, stopped }
    }

    fn unless_stopped(&self) -> Result<&S> {
        match (self.stopped)() {
            true => Err(Error::failure("the search was stopped")),
            false => Ok(&self.model),
        }
    }
}

impl<S: IncrementalDecoder> IncrementalDecoder for Interruptible<'_, S> {
    type State = S::State;

    fn start(&self, requests: &[&DecodeRequest], member: usize) -> Result<S::State> {
        self.unless_stopped()?.start(requests, member)
    }

    fn step(&self, tokens: &[i64], state: S::State) -> Result<(Scores, S::State)> {
        self.unless_stopped()?.step(tokens, state)
    }

    fn step_with_attention(&self, tokens: &[i64], state: S::State) -> Result<(Scores, S::State)> {
        self.unless_stopped()?.step_with_attention(tokens, state)
    }

    fn reorder(&self, rows: &[i64], state: S::State) -> Result<S::State> {
        self.model.reorder(rows, state)
    }

    fn join(&self, one: S::State, other: S::State) -> Result<S::State> {
        self.model.join(one, other)
    }

    fn score_targets(&self, targets: &[&[i64]], state: S::State) -> Result<Vec<Vec<f32>>> {
        self.unless_stopped()?.score_targets(targets, state)
    }

    fn ctc_log_probs(&self, state: &S::State) -> Result<Option<Vec<Arc<CtcLogProbs>>>> {
        self.unless_stopped()?.ctc_log_probs(state)
    }

    fn supports_continuous_batching(&self) -> bool {
        self.model.supports_continuous_batching()
    }

    fn max_length(&self) -> Option<usize> {
        self.model.max_length()
    }
}

impl<S: Shareable> Shareable for Interruptible<'_, S> {
    fn on_cpu(&self) -> bool {
        self.model.on_cpu()
    }
}
