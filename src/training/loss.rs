//! Cross-entropy with label smoothing (Szegedy et al. 2016), as PyTorch's `cross_entropy(label_smoothing=e)`.

use tch::{Kind, Reduction, Tensor};

/// Sums over the target positions of a batch; who divides them knows how many there are in the whole update.
#[derive(Debug)]
pub struct Loss {
    /// (1 - e) * nll + e / V * sum(-log p), with a graph behind it: scalar
    pub smoothed: Tensor,
    /// Negative log-likelihood of the labels: scalar
    pub nll: Tensor,
}

/// The loss of a batch, summed.
///
/// # Shapes
/// logits: (N, V); labels: (N) i64, no padding among them
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Loss {
    let vocabulary = logits.size()[1] as f64;
    let log_p = logits.log_softmax(-1, Kind::Float); // (N, V)
    let nll = log_p.g_nll_loss::<&Tensor>(labels, None, Reduction::Sum, -100);
    let smoothed = if smoothing > 0.0 {
        &nll * (1.0 - smoothing) - log_p.sum(Kind::Float) * (smoothing / vocabulary)
    } else {
        nll.shallow_clone()
    };
    Loss { smoothed, nll: nll.detach() }
}

/// Number of positions whose likeliest token is the label.
///
/// # Shapes
/// logits: (N, V); labels: (N) i64
pub fn correct(logits: &Tensor, labels: &Tensor) -> i64 {
    logits.argmax(-1, false).eq_tensor(labels).sum(Kind::Int64).int64_value(&[])
}
