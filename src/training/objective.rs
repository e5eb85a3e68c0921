//! The objective: the loss of one batch under teacher forcing, with R-drop and scheduled sampling if they are on.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tch::Tensor;

use super::TrainingConfig;
use super::loss::{Loss, cross_entropy, ctc, divergence};
use crate::data::batch::Batch;
use crate::model::encoder_output::EncoderOutput;
use crate::model::layers::DropoutRng;
use crate::model::network::Network;
use crate::runtime::seed_for;

/// One batch's loss, summed over its labels.
#[derive(Debug)]
pub struct Objective {
    /// The loss to minimise, differentiable: scalar
    pub loss: Tensor,
    /// Plain negative log-likelihood of the labels: scalar
    pub nll: Tensor,
}

/// The loss of a batch at `step`. All its random numbers follow from `seed`.
pub fn objective(model: &Network, config: &TrainingConfig, batch: &Batch, step: u64, seed: u64) -> Objective {
    let noise = DropoutRng::new(seed);
    if config.r_drop > 0.0 {
        return with_r_drop(model, config, batch, seed);
    }
    let encoded = model.encode(&batch.source, Some(&noise));
    let guessed = config.scheduled_sampling.as_ref().map(|sampling| {
        with_guesses(model, batch, &encoded, sampling.share_at(step), seed_for(seed, 0, "guesses"))
    });
    let input = guessed.as_ref().unwrap_or(&batch.target_in);
    let predictions = model.decode(input, &encoded, Some(&noise)).at(&batch.label_positions); // (N)
    let Loss { smoothed, nll, .. } = cross_entropy(&predictions, &batch.labels, config.label_smoothing);
    Objective { loss: with_ctc(model, config, batch, &encoded, smoothed), nll }
}

/// (1 - w) * attention + w * CTC (Kim et al. 2017), where the network has a CTC head.
fn with_ctc(
    model: &Network,
    config: &TrainingConfig,
    batch: &Batch,
    encoded: &EncoderOutput,
    attention: Tensor,
) -> Tensor {
    match model.ctc_logits(encoded) {
        None => attention,
        Some(logits) => {
            let ctc = ctc(&logits, &encoded.lengths, batch);
            attention * (1.0 - config.ctc_weight) + ctc * config.ctc_weight
        }
    }
}

/// R-drop: two passes with different dropout, and the divergence of their distributions (Liang et al. 2021). Half of
/// the paper's loss, so that without a divergence it is the usual one: the mean of both cross-entropies plus a quarter
/// of `r_drop` times KL(p || q) + KL(q || p).
fn with_r_drop(model: &Network, config: &TrainingConfig, batch: &Batch, seed: u64) -> Objective {
    let pass = |n: u64| {
        let noise = DropoutRng::new(if n == 0 { seed } else { seed_for(seed, n, "another pass") });
        let encoded = model.encode(&batch.source, Some(&noise));
        let predictions = model.decode(&batch.target_in, &encoded, Some(&noise)).at(&batch.label_positions); // (N)
        let mut loss = cross_entropy(&predictions, &batch.labels, config.label_smoothing);
        loss.smoothed = with_ctc(model, config, batch, &encoded, loss.smoothed);
        (loss, predictions.logits()) // (N, V)
    };
    let ((one, one_logits), (other, other_logits)) = (pass(0), pass(1));
    let apart = divergence(&one_logits, &other_logits);
    Objective {
        loss: (one.smoothed + other.smoothed) * 0.5 + apart * (config.r_drop / 4.0),
        nll: (one.nll + other.nll) * 0.5,
    }
}

/// Scheduled sampling: the decoder's input with a share of its tokens replaced by the decoder's own predictions, from a
/// first pass without gradients (Mihaylova and Martins 2019).
///
/// # Shapes
/// (B, T) i64
fn with_guesses(model: &Network, batch: &Batch, encoded: &EncoderOutput, share: f64, seed: u64) -> Tensor {
    let _guard = tch::no_grad_guard();
    let longest = batch.target_in.size()[1];
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Never BOS at the start of a row: nothing predicts it.
    let inner = batch
        .target_lengths
        .iter()
        .enumerate()
        .flat_map(|(row, &length)| (1..length).map(move |t| row as i64 * longest + t));
    let places: Vec<i64> = inner.filter(|_| random.random_bool(share)).collect();
    if places.is_empty() {
        return batch.target_in.shallow_clone();
    }
    let places = Tensor::from_slice(&places).to_device(batch.target_in.device()); // (M)
    let predictions = model.decode(&batch.target_in, encoded, None).at(&(&places - 1)); // (M)
    let guesses = predictions.log_probabilities().argmax(-1, false); // (M)
    batch.target_in.flatten(0, 1).index_copy(0, &places, &guesses).view_as(&batch.target_in)
}
