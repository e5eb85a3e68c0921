//! Sources in, hypotheses out: sorts by length, cuts into batches, searches, and puts back in order.

use tch::{Kind, Tensor};

use super::DecodingConfig;
use super::beam::beam_search;
use super::greedy::greedy;
use super::penalty::Penalty;
use super::search::{Hypothesis, Scores, Stepper};
use crate::data::batch::Source;
use crate::error::Result;
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

    fn start(&self, source: &Source) -> Result<DecoderState> {
        let _guard = tch::no_grad_guard();
        let memory = self.model.encode(&source.to_device(self.device), None);
        Ok(self.model.start(memory))
    }

    fn step(&self, tokens: &[i64], state: DecoderState) -> Result<(Scores, DecoderState)> {
        let _guard = tch::no_grad_guard();
        let tokens = Tensor::from_slice(tokens).to_device(self.device);
        let (logits, state) = self.model.step(&tokens, state); // (B, V)
        let vocabulary = logits.size()[1] as usize;
        let log_p = Vec::try_from(logits.log_softmax(-1, Kind::Float).flatten(0, 1))?;
        Ok((Scores { log_p, vocabulary }, state))
    }

    fn reorder(&self, rows: &[i64], state: DecoderState) -> Result<DecoderState> {
        let _guard = tch::no_grad_guard();
        Ok(state.keep(&Tensor::from_slice(rows).to_device(self.device)))
    }
}

/// Decodes sources (token ids without EOS) in batches of similar length; the result is in the sources' order.
pub fn decode(
    stepper: &ModelStepper,
    sources: &[&[i64]],
    config: &DecodingConfig,
) -> Result<Vec<Hypothesis>> {
    let mut order: Vec<usize> = (0..sources.len()).collect();
    order.sort_by_key(|&row| sources[row].len());
    let mut found: Vec<Option<Hypothesis>> = vec![None; sources.len()];
    for rows in order.chunks(config.batch_size) {
        let batch: Vec<&[i64]> = rows.iter().map(|&row| sources[row]).collect();
        let limits: Vec<usize> = batch.iter().map(|row| limit(row.len(), config, stepper.model)).collect();
        let source = Source::new(&batch);
        let hypotheses = match config.beam {
            1 => greedy(stepper, &source, &limits)?,
            width => beam_search(stepper, &source, &limits, width, Penalty::new(config))?,
        };
        for (&row, hypothesis) in rows.iter().zip(hypotheses) {
            found[row] = Some(hypothesis);
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// The most tokens that an output may have, EOS counted in, and never more than the positions know.
fn limit(source_tokens: usize, config: &DecodingConfig, model: &Transformer) -> usize {
    let by_source = config.max_length_factor * source_tokens as f64;
    let limit = config.max_length.unwrap_or((by_source as usize).saturating_add(config.max_length_offset));
    limit.min(model.longest().unwrap_or(usize::MAX)).max(1)
}
