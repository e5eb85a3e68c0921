//! When each token of an output is spoken, the most likely alignment of the output to the recording by the CTC head; and how
//! likely each token is.

use std::sync::Arc;

use super::Output;
use super::loaded_model::LoadedModel;
use super::request::EncodedRequest;
use crate::decoding::ctc::alignment::align;
use crate::decoding::ctc::log_probs::CtcLogProbs;
use crate::decoding::incremental_decoder::{DecodeRequest, IncrementalDecoder};
use crate::error::{Error, Result};

/// Recordings whose encoder outputs are in memory at once.
const AT_ONCE: usize = 32;

impl LoadedModel {
    /// Checks that times can be computed: the sources are recordings, and the model has a CTC head.
    ///
    /// # Errors
    /// They cannot.
    pub(crate) fn check_times(&self) -> Result<()> {
        match self.tokenizers.source.audio() {
            None => Err(Error::input("times need recordings, but the sources of the model are texts")),
            Some(_) if !self.experiment.model.network().has_ctc() => {
                let message = "times need a CTC head (`model.transformer.ctc`), but the model has none";
                Err(Error::input(message))
            }
            Some(_) => Ok(()),
        }
    }

    /// Adds to each output the start and the end of each of its tokens in seconds, EOS left out. An output with more tokens than
    /// its recording has room for has no times.
    ///
    /// # Errors
    /// Errors of [`LoadedModel::check_times`]; the model fails.
    pub(crate) fn add_times(&self, requests: &[&EncodedRequest], outputs: &mut [Vec<Output>]) -> Result<()> {
        self.check_times()?;
        let Some(processor) = self.tokenizers.source.audio() else { return Ok(()) };
        let step = processor.seconds_per_position();
        for (requests, outputs) in requests.chunks(AT_ONCE).zip(outputs.chunks_mut(AT_ONCE)) {
            let decoded: Vec<&DecodeRequest> = requests.iter().map(|request| &request.decode).collect();
            for (head, outputs) in self.ctc_log_probs(&decoded)?.iter().zip(outputs) {
                for output in outputs {
                    let Ok(found) = align(head, &output.hypothesis.tokens) else { continue };
                    let seconds = |frame: usize| frame as f64 * step;
                    let spans = found.spans.iter();
                    output.times =
                        spans.map(|span| [seconds(span.first_frame), seconds(span.last_frame + 1)]).collect();
                }
            }
        }
        Ok(())
    }

    /// Adds to each output the log-probability of each of its tokens, by the decoder.
    ///
    /// # Errors
    /// The model fails.
    pub(crate) fn add_token_scores(
        &self,
        requests: &[&EncodedRequest],
        outputs: &mut [Vec<Output>],
    ) -> Result<()> {
        let pairs = requests.iter().zip(outputs.iter()).flat_map(|(request, outputs)| {
            outputs.iter().map(|output| (&request.decode, output.hypothesis.tokens.as_slice()))
        });
        let scores = self.score(&pairs.collect::<Vec<_>>())?;
        outputs.iter_mut().flatten().zip(scores).for_each(|(output, scores)| output.token_scores = scores);
        Ok(())
    }

    /// What the CTC head gives to each request, all of them in one batch; nothing without a CTC head.
    ///
    /// # Errors
    /// The model fails.
    pub(crate) fn ctc_log_probs(&self, requests: &[&DecodeRequest]) -> Result<Vec<Arc<CtcLogProbs>>> {
        let decoder = &self.decoder().members()[0];
        Ok(decoder.ctc_log_probs(&decoder.start(requests, 0)?)?.unwrap_or_default())
    }
}
