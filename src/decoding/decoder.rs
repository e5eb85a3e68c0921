//! A model as a search sees it: steps in, plain arrays of scores out.

use tch::{Kind, Tensor};

use super::search::{Scores, Stepper};
use crate::data::batch::Source;
use crate::error::{Error, Result};
use crate::model::transformer::{DecoderState, Transformer};

/// A model as a search sees it. No gradients, no dropout.
#[derive(Debug)]
pub struct ModelStepper<'a> {
    /// The network.
    pub model: &'a Transformer,
    /// Where it lies.
    pub device: tch::Device,
}

impl Stepper for ModelStepper<'_> {
    type State = DecoderState;

    fn start(&self, sources: &[&[i64]]) -> Result<DecoderState> {
        let _guard = tch::no_grad_guard();
        let memory = self.model.encode(&Source::new(sources).to_device(self.device), None);
        Ok(self.model.start(memory))
    }

    fn step(&self, tokens: &[i64], state: DecoderState) -> Result<(Scores, DecoderState)> {
        let _guard = tch::no_grad_guard();
        let tokens = Tensor::from_slice(tokens).to_device(self.device);
        let (logits, state) = self.model.step(&tokens, state); // (B, V)
        let vocabulary = logits.size()[1] as usize;
        let log_p = Vec::try_from(logits.log_softmax(-1, Kind::Float).flatten(0, 1))?;
        Ok((Scores::new(log_p, vocabulary), state))
    }

    fn reorder(&self, rows: &[i64], state: DecoderState) -> Result<DecoderState> {
        let _guard = tch::no_grad_guard();
        Ok(state.keep(&Tensor::from_slice(rows).to_device(self.device)))
    }

    fn join(&self, _: DecoderState, _: DecoderState) -> Result<DecoderState> {
        Err(Error::failure("this model does not take in sources beside others that are further"))
    }

    fn longest(&self) -> Option<usize> {
        self.model.longest()
    }
}
