//! A search whose steps are shown: each step is reported as soon as its token is chosen.
//!
//! The search is the usual one, over a wrapped model. The chosen token is known when the next step of the model is
//! requested. It depends on no model and no tensor.

use std::cell::RefCell;
use std::sync::Arc;

use super::continuous_batching::{Batching, generate};
use super::ctc::log_probs::CtcLogProbs;
use super::incremental_decoder::{DecodeRequest, Hypothesis, IncrementalDecoder, Scores};
use super::options::SearchOptions;
use super::search::top_k::TopK;
use super::trace::TraceStep;
use crate::data::vocabulary::EOS;
use crate::error::{Error, Result};

/// Checks that these options search for a single output with a single hypothesis.
///
/// # Errors
/// There are several, or it does not grow by steps.
pub(crate) fn check_streamable(options: &SearchOptions) -> Result<()> {
    if !options.method.has_steps() {
        let method = options.method.name();
        let message =
            format!("interactive decoding needs a method with steps, but `decoding.method` is \"{method}\"");
        return Err(Error::input(message).hint("use --set decoding.method=attention, or joint"));
    }
    match (options.width, options.groups) {
        (1, 1) => Ok(()),
        (1, groups) if options.sampling.is_some() => {
            let message = format!("interactive decoding needs `decoding.n_best` = 1, but it is {groups}");
            Err(Error::input(message).hint("use --set decoding.n_best=1 for one sample"))
        }
        (width, groups) => {
            let message =
                format!("interactive decoding needs `decoding.beam` = 1, but it is {}", width * groups);
            Err(Error::input(message).hint(
                "use --beam 1 for greedy search, or --set decoding.sampling.temperature=1 for a sample",
            ))
        }
    }
}

/// The output of the search for a request. Calls `shown` with each step as soon as its token is chosen, with the `top`
/// most likely tokens and without attention.
///
/// # Errors
/// Those of [`check_streamable`], of the model and of `shown`.
pub(crate) fn stream<S: IncrementalDecoder>(
    decoder: &S,
    request: &DecodeRequest,
    options: &SearchOptions,
    top: usize,
    shown: impl FnMut(&TraceStep) -> Result<()>,
) -> Result<Hypothesis> {
    check_streamable(options)?;
    let watcher = StreamObserver { row: None, steps: 0, top, best: TopK::default(), shown };
    let watched = StreamingDecoder { decoder, watcher: RefCell::new(watcher) };
    let mut output = Hypothesis::default();
    generate(&watched, std::iter::once(request), options, Batching { size: 1, refill: None }, |_, list| {
        output = list.into_iter().next().unwrap_or_default();
        Ok(())
    })?;
    let mut watcher = watched.watcher.into_inner();
    let last = output.tokens.get(watcher.steps).copied().or(output.finished.then_some(EOS));
    last.map_or(Ok(()), |token| watcher.chosen(token))?;
    Ok(output)
}

/// A model that records the scores of its steps.
struct StreamingDecoder<'a, S, F> {
    decoder: &'a S,
    watcher: RefCell<StreamObserver<F>>,
}

struct StreamObserver<F> {
    /// The scores of the step whose token is not known yet.
    row: Option<Vec<f32>>,
    /// Number of steps shown.
    steps: usize,
    top: usize,
    best: TopK,
    shown: F,
}

impl<F: FnMut(&TraceStep) -> Result<()>> StreamObserver<F> {
    /// Reports the last step, whose token is now known.
    fn chosen(&mut self, token: i64) -> Result<()> {
        let Some(row) = self.row.take() else { return Ok(()) };
        self.steps += 1;
        (self.shown)(&TraceStep::new(&row, token, self.top, &mut self.best)?)
    }
}

impl<S: IncrementalDecoder, F: FnMut(&TraceStep) -> Result<()>> StreamingDecoder<'_, S, F> {
    fn observe(&self, tokens: &[i64], step: Result<(Scores, S::State)>) -> Result<(Scores, S::State)> {
        let (scores, state) = step?;
        let mut watcher = self.watcher.borrow_mut();
        tokens.iter().try_for_each(|&token| watcher.chosen(token))?;
        watcher.row = scores.rows().next().map(<[f32]>::to_vec);
        Ok((scores, state))
    }
}

impl<S: IncrementalDecoder, F: FnMut(&TraceStep) -> Result<()>> IncrementalDecoder
    for StreamingDecoder<'_, S, F>
{
    type State = S::State;

    fn start(&self, requests: &[&DecodeRequest], member: usize) -> Result<S::State> {
        self.decoder.start(requests, member)
    }

    fn step(&self, tokens: &[i64], state: S::State) -> Result<(Scores, S::State)> {
        self.observe(tokens, self.decoder.step(tokens, state))
    }

    fn step_with_attention(&self, tokens: &[i64], state: S::State) -> Result<(Scores, S::State)> {
        self.observe(tokens, self.decoder.step_with_attention(tokens, state))
    }

    fn reorder(&self, rows: &[i64], state: S::State) -> Result<S::State> {
        self.decoder.reorder(rows, state)
    }

    fn join(&self, one: S::State, other: S::State) -> Result<S::State> {
        self.decoder.join(one, other)
    }

    fn ctc_log_probs(&self, state: &S::State) -> Result<Option<Vec<Arc<CtcLogProbs>>>> {
        self.decoder.ctc_log_probs(state)
    }

    fn max_length(&self) -> Option<usize> {
        self.decoder.max_length()
    }
}
