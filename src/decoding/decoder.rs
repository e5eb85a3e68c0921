//! A model as a search sees it: steps in, plain arrays of scores out.

use super::search::{Scores, Shareable, Stepper};
use crate::error::Result;
use crate::model::Weights;
use crate::model::inference::{DecoderState, Inference};
use crate::model::transformer::Transformer;

/// A model as a search sees it: as it was when this was made. No gradients, no dropout.
#[derive(Clone, Debug)]
pub struct ModelStepper {
    model: Inference,
}

impl ModelStepper {
    /// Takes over what `model` has learned so far, its matrices in the numbers named.
    pub fn new(model: &Transformer, weights: Weights) -> ModelStepper {
        ModelStepper { model: Inference::new(model, weights) }
    }

    fn stepped(&self, tokens: &[i64], state: DecoderState, looking: bool) -> Result<(Scores, DecoderState)> {
        let step = self.model.step(tokens, state, looking)?;
        let scores = Scores { attention: step.attention, ..Scores::new(step.log_p, self.model.vocabulary()) };
        Ok((scores, step.state))
    }
}

impl Stepper for ModelStepper {
    type State = DecoderState;

    fn start(&self, sources: &[&[i64]]) -> Result<DecoderState> {
        Ok(self.model.start(sources))
    }

    fn step(&self, tokens: &[i64], state: DecoderState) -> Result<(Scores, DecoderState)> {
        self.stepped(tokens, state, false)
    }

    fn step_with_attention(&self, tokens: &[i64], state: DecoderState) -> Result<(Scores, DecoderState)> {
        self.stepped(tokens, state, true)
    }

    fn reorder(&self, rows: &[i64], state: DecoderState) -> Result<DecoderState> {
        Ok(state.keep(rows))
    }

    fn join(&self, one: DecoderState, other: DecoderState) -> Result<DecoderState> {
        Ok(one.join(other))
    }

    fn joins(&self) -> bool {
        true
    }

    fn longest(&self) -> Option<usize> {
        self.model.longest()
    }
}

impl Shareable for ModelStepper {
    fn on_cpu(&self) -> bool {
        self.model.on_cpu()
    }
}
