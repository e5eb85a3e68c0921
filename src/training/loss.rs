//! Cross-entropy with label smoothing (Szegedy et al. 2016), as PyTorch's `cross_entropy(label_smoothing=e)` over the
//! tokens that an output may contain, fused with the output layer before it; and the divergence of R-drop (Liang et al.
//! 2021).

use tch::{Kind, Tensor};

use crate::data::batch::Batch;
use crate::data::vocabulary::{EOS, PAD, UNK};
use crate::model::network::Predictions;
use crate::shim::linear_cross_entropy;

/// Sums over the target positions of a batch; the caller divides by their number in the whole update.
#[derive(Debug)]
pub struct Loss {
    /// (1 - e) * nll + e / V' * sum(-log p) over the V' tokens that an output may contain, all but PAD and BOS;
    /// differentiable: scalar
    pub smoothed: Tensor,
    /// Negative log-likelihood of the labels: scalar
    pub nll: Tensor,
    /// Positions whose most likely token is the label: scalar
    pub correct: Tensor,
}

/// The summed loss of a batch, from the decoder's hidden states. The logits are never in memory all at once.
///
/// # Shapes
/// predictions: (N); labels: (N) i64, no padding among them
pub fn cross_entropy(predictions: &Predictions, labels: &Tensor, smoothing: f64) -> Loss {
    let Predictions::Hidden { hidden, output } = predictions;
    let bf16 = output.compute() == Kind::BFloat16;
    let [smoothed, nll, correct] = linear_cross_entropy(hidden, output.weight(), labels, smoothing, bf16);
    Loss { smoothed, nll, correct }
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

/// KL(p || q) + KL(q || p) of two passes over the same batch, summed over the rows: scalar
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
