//! The loss of a batch under teacher forcing: cross-entropy with label smoothing (Szegedy et al. 2016), and what CTC, R-drop
//! and scheduled sampling make of it if they are on.
//!
//! Cross-entropy is PyTorch's `cross_entropy(label_smoothing=e)` over the tokens that an output may contain, fused with the
//! output layer before it.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tch::{Kind, Tensor};

use super::TrainingConfig;
use crate::data::batch::Batch;
use crate::data::vocabulary::{EOS, PAD, UNK};
use crate::model::encoder_output::EncoderOutput;
use crate::model::layers::DropoutRng;
use crate::model::network::{Network, Predictions};
use crate::runtime::seed_for;
use crate::shim::linear_cross_entropy;

/// Sums over the target positions of a batch; the caller divides by their number in the whole update.
#[derive(Debug)]
pub struct Loss {
    /// What training minimises, differentiable: scalar
    pub total: Tensor,
    /// Negative log-likelihood of the labels: scalar
    pub nll: Tensor,
    /// Positions whose most likely token is the label: scalar
    pub correct: Tensor,
}

/// The loss of a batch at `step`. All its random numbers follow from `seed`.
pub fn objective(model: &Network, config: &TrainingConfig, batch: &Batch, step: u64, seed: u64) -> Loss {
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
    let loss = cross_entropy(&predictions, &batch.labels, config.label_smoothing);
    with_ctc(model, config, batch, &encoded, loss)
}

/// (1 - w) * attention + w * CTC (Kim et al. 2017), where the network has a CTC head.
fn with_ctc(
    model: &Network,
    config: &TrainingConfig,
    batch: &Batch,
    encoded: &EncoderOutput,
    attention: Loss,
) -> Loss {
    let Some(logits) = model.ctc_logits(encoded) else { return attention };
    let ctc = ctc(&logits, &encoded.lengths, batch);
    let total = attention.total * (1.0 - config.ctc_weight) + ctc * config.ctc_weight;
    Loss { total, ..attention }
}

/// R-drop: two passes with different dropout, and the divergence of their distributions (Liang et al. 2021). Half of
/// the paper's loss, so that without a divergence it is the usual one: the mean of both cross-entropies plus a quarter
/// of `r_drop` times KL(p || q) + KL(q || p).
fn with_r_drop(model: &Network, config: &TrainingConfig, batch: &Batch, seed: u64) -> Loss {
    let pass = |n: u64| {
        let noise = DropoutRng::new(if n == 0 { seed } else { seed_for(seed, n, "another pass") });
        let encoded = model.encode(&batch.source, Some(&noise));
        let predictions = model.decode(&batch.target_in, &encoded, Some(&noise)).at(&batch.label_positions); // (N)
        let loss = cross_entropy(&predictions, &batch.labels, config.label_smoothing);
        (with_ctc(model, config, batch, &encoded, loss), predictions.logits()) // (N, V)
    };
    let ((one, one_logits), (other, other_logits)) = (pass(0), pass(1));
    let apart = divergence(&one_logits, &other_logits);
    Loss {
        total: (one.total + other.total) * 0.5 + apart * (config.r_drop / 4.0),
        nll: (one.nll + other.nll) * 0.5,
        correct: (one.correct + other.correct) * 0.5,
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

/// The cross-entropy of a batch, from the decoder's hidden states. The logits are never in memory all at once. The total is
/// (1 - e) * nll + e / V' * sum(-log p) over the V' tokens that an output may contain, all but PAD and BOS.
///
/// # Shapes
/// predictions: (N); labels: (N) i64, no padding among them
pub fn cross_entropy(predictions: &Predictions, labels: &Tensor, smoothing: f64) -> Loss {
    let Predictions::Hidden { hidden, output } = predictions;
    let bf16 = output.compute() == Kind::BFloat16;
    let [total, nll, correct] = linear_cross_entropy(hidden, output.weight(), labels, smoothing, bf16);
    Loss { total, nll, correct }
}

/// The negative log-likelihood of targets over all their alignments to the encoder's positions (Graves et al. 2006), summed
/// over the rows: scalar. The blank is PAD. A row that has no alignment counts for nothing.
///
/// # Shapes
/// logits: (B, S, V); `lengths` are the real positions of each row
pub fn ctc(logits: &Tensor, lengths: &[i64], batch: &Batch) -> Tensor {
    let log_p = logits.log_softmax(-1, Kind::Float).transpose(0, 1); // (S, B, V)
    let targets = batch.labels.masked_select(&batch.labels.ne(EOS)); // (N - B)
    let target_lengths: Vec<i64> = batch.target_lengths.iter().map(|length| length - 1).collect();
    Tensor::ctc_loss(&log_p, &targets, lengths, target_lengths, PAD, tch::Reduction::Sum, true)
}

/// The divergence of R-drop (Liang et al. 2021): KL(p || q) + KL(q || p) of two passes over the same batch, summed over the
/// rows: scalar
///
/// # Shapes
/// one, other: logits (N, V)
pub fn divergence(one: &Tensor, other: &Tensor) -> Tensor {
    let [log_p, log_q] = [one, other].map(log_probabilities); // (N, V - 2)
    ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(Kind::Float)
}

/// Log-probabilities of the tokens that an output may contain: of UNK, and of all from EOS on.
///
/// # Shapes
/// (N, V) to (N, V - 2)
fn log_probabilities(logits: &Tensor) -> Tensor {
    let behind = logits.size()[1] - EOS;
    Tensor::cat(&[logits.narrow(1, UNK, 1), logits.narrow(1, EOS, behind)], 1).log_softmax(-1, Kind::Float)
}
