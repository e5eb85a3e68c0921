//! A model as a search sees it: steps in, plain arrays of scores out.

use std::ops::Range;
use std::sync::Arc;

use tch::{Device, Kind};

use super::DecodingConfig;
use super::ctc::log_probs::CtcLogProbs;
use super::incremental_decoder::{DecodeRequest, IncrementalDecoder, Scores, Shareable};
use crate::data::source::SourceItem;
use crate::data::vocabulary::PAD;
use crate::error::{Error, Result};
use crate::model::Weights;
use crate::model::inference::{DecoderState, Inference, ReadTargets};
use crate::model::network::Network;

/// The number format of a model's matrices on `device`; `compute` is the precision of training.
///
/// # Errors
/// The device does not support the config's `decoding.weights`.
pub(crate) fn weights_for(config: &DecodingConfig, device: Device, compute: Kind) -> Result<Weights> {
    let weights = config.weights.unwrap_or(Weights::of(compute));
    if weights != Weights::Int8 || device == Device::Cpu {
        return Ok(weights);
    }
    let message = format!("`decoding.weights` can be int8 only on a CPU, but the device is {device:?}");
    Err(Error::input(message).hint("use --set decoding.weights=bf16, or --set runtime.device=cpu"))
}

/// A snapshot of a model for decoding, without gradients and dropout.
#[derive(Clone, Debug)]
pub struct NetworkDecoder {
    model: Inference,
}

impl NetworkDecoder {
    /// Takes the current weights of `model`, its matrices in the format `weights`.
    pub fn new(model: &Network, weights: Weights) -> NetworkDecoder {
        NetworkDecoder { model: Inference::new(model, weights) }
    }

    /// Reads whole targets (token ids), each with its source; `member` is as in [`IncrementalDecoder::start`].
    pub(crate) fn read_targets(&self, pairs: &[(&DecodeRequest, &[i64])], member: usize) -> ReadTargets {
        let (requests, targets): (Vec<&DecodeRequest>, Vec<&[i64]>) = pairs.iter().copied().unzip();
        self.model.read_targets(self.start_all(&requests, member), &targets)
    }

    /// The log-probabilities of all tokens at some positions of targets: n * V numbers.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub(crate) fn log_probabilities_at(
        &self,
        read: &ReadTargets,
        positions: Range<usize>,
    ) -> Result<Vec<f32>> {
        Ok(self.model.log_probabilities_at(read, positions)?)
    }

    /// The state before the first token.
    fn start_all(&self, requests: &[&DecodeRequest], member: usize) -> DecoderState {
        let sources: Vec<&SourceItem> = requests.iter().map(|request| request.source_of(member)).collect();
        self.model.start(&sources).restricted_to(requests.iter().map(|request| request.allowed.clone()))
    }

    fn step_all(&self, tokens: &[i64], state: DecoderState, looking: bool) -> Result<(Scores, DecoderState)> {
        let step = self.model.step(tokens, state, looking)?;
        let scores = Scores { attention: step.attention, ..Scores::new(step.log_p, self.model.vocabulary()) };
        Ok((scores, step.state))
    }
}

impl IncrementalDecoder for NetworkDecoder {
    type State = DecoderState;

    fn start(&self, requests: &[&DecodeRequest], member: usize) -> Result<DecoderState> {
        Ok(self.start_all(requests, member))
    }

    fn step(&self, tokens: &[i64], state: DecoderState) -> Result<(Scores, DecoderState)> {
        self.step_all(tokens, state, false)
    }

    fn step_with_attention(&self, tokens: &[i64], state: DecoderState) -> Result<(Scores, DecoderState)> {
        self.step_all(tokens, state, true)
    }

    fn ctc_log_probs(&self, state: &DecoderState) -> Result<Option<Vec<Arc<CtcLogProbs>>>> {
        let Some(rows) = self.model.ctc_log_probabilities(state)? else { return Ok(None) };
        let of_row = |data| CtcLogProbs::new(data, self.model.vocabulary(), PAD).map(Arc::new);
        rows.into_iter().map(of_row).collect::<Result<Vec<_>>>().map(Some)
    }

    fn score_targets(&self, targets: &[&[i64]], state: DecoderState) -> Result<Vec<Vec<f32>>> {
        Ok(self.model.score(state, targets)?)
    }

    fn reorder(&self, rows: &[i64], state: DecoderState) -> Result<DecoderState> {
        Ok(state.keep(rows))
    }

    fn join(&self, one: DecoderState, other: DecoderState) -> Result<DecoderState> {
        Ok(one.join(other))
    }

    fn supports_continuous_batching(&self) -> bool {
        true
    }

    fn max_length(&self) -> Option<usize> {
        self.model.max_length()
    }
}

impl Shareable for NetworkDecoder {
    fn on_cpu(&self) -> bool {
        self.model.on_cpu()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_is_only_for_the_cpu() {
        let asked = |weights, device| {
            let config = DecodingConfig { weights, ..DecodingConfig::default() };
            weights_for(&config, device, Kind::BFloat16)
        };
        for weights in [Weights::F32, Weights::Bf16] {
            assert_eq!(asked(Some(weights), Device::Cuda(0)).unwrap(), weights);
        }
        assert_eq!(asked(None, Device::Cuda(0)).unwrap(), Weights::Bf16);
        assert_eq!(asked(Some(Weights::Int8), Device::Cpu).unwrap(), Weights::Int8);
        let refused = asked(Some(Weights::Int8), Device::Cuda(1)).unwrap_err();
        assert_eq!(
            (refused.message(), refused.exit_code()),
            ("`decoding.weights` can be int8 only on a CPU, but the device is Cuda(1)", 2)
        );
    }
}
