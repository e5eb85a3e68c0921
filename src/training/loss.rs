//! Cross-entropy with label smoothing (Szegedy et al. 2016), as PyTorch's `cross_entropy(label_smoothing=e)`, together
//! with the output layer before it; and the divergence of R-drop (Liang et al. 2021).

use tch::{Kind, Tensor};

use crate::model::layers::Linear;
use crate::shim::vocabulary_loss;

/// Sums over the target positions of a batch; who divides them knows how many there are in the whole update.
#[derive(Debug)]
pub struct Loss {
    /// (1 - e) * nll + e / V * sum(-log p), with a graph behind it: scalar
    pub smoothed: Tensor,
    /// Negative log-likelihood of the labels: scalar
    pub nll: Tensor,
    /// Positions whose likeliest token is the label: scalar
    pub correct: Tensor,
}

/// The loss of a batch, summed, from what the decoder gives. The logits never stand in memory all at once.
///
/// # Shapes
/// hidden: (N, D); labels: (N) i64, no padding among them
pub fn cross_entropy(hidden: &Tensor, output: &Linear, labels: &Tensor, smoothing: f64) -> Loss {
    let bf16 = output.compute() == Kind::BFloat16;
    let [smoothed, nll, correct] = vocabulary_loss(hidden, output.weight(), labels, smoothing, bf16);
    Loss { smoothed, nll, correct }
}

/// KL(p || q) + KL(q || p), summed over the rows, of two passes over the same batch: scalar
///
/// # Shapes
/// one, other: logits (N, V)
pub fn divergence(one: &Tensor, other: &Tensor) -> Tensor {
    let (log_p, log_q) = (one.log_softmax(-1, Kind::Float), other.log_softmax(-1, Kind::Float)); // (N, V)
    ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(Kind::Float)
}
