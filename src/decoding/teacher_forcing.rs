//! Teacher forcing without training: the likelihood of given targets, in batches of similar length.
//!
//! No dropout, and no gradient.

use tch::{Device, Tensor};

use crate::data::batch::Batch;
use crate::data::batch_sampler::{Batches, Positions};
use crate::data::source::SourceItem;
use crate::error::{Error, Result};
use crate::model::network::{Network, Predictions};

/// The most positions of either side in a batch; without gradients they need little memory.
pub(crate) const READ_AT_ONCE: usize = 4096;

/// Positions whose scores of the whole vocabulary are in memory at the same time.
const SCORED_AT_ONCE: i64 = 512;

/// The rows of each batch: at most `budget` positions on either side, rows of similar length together.
/// `lengths` are the positions of each row, including EOS: (source, target).
pub(crate) fn batches(lengths: &[Positions], budget: usize) -> Vec<Vec<usize>> {
    let rows = (0..lengths.len() as u32).collect();
    Batches::by_length(rows, lengths, budget).iter().collect()
}

/// The network's predictions at the labels of a batch. No row depends on the other rows.
///
/// # Shapes
/// out: (N), one per label
pub(crate) fn teacher_forced<'n>(model: &'n Network, batch: &Batch) -> Predictions<'n> {
    let _guard = tch::no_grad_guard();
    let encoded = model.encode(&batch.source, None);
    model.decode(&batch.target_in, &encoded, None).at(&batch.label_positions) // (N)
}

/// The log-probability of each token of each target, EOS last, given its source and the tokens before it.
///
/// # Errors
/// A score is NaN or infinite.
pub(crate) fn log_probabilities(
    model: &Network,
    device: Device,
    pairs: &[(&SourceItem, &[i64])],
) -> Result<Vec<Vec<f32>>> {
    let mut found = vec![Vec::new(); pairs.len()];
    let lengths: Vec<_> =
        pairs.iter().map(|(source, target)| (source.positions() as u32, target.len() as u32 + 1)).collect();
    for rows in batches(&lengths, READ_AT_ONCE) {
        let (sources, targets): (Vec<_>, Vec<_>) = rows.iter().map(|&row| pairs[row]).unzip();
        let batch = Batch::new(&sources, &targets).to_device(device);
        let flat = of_labels(&teacher_forced(model, &batch), &batch.labels)?;
        if flat.iter().any(|log_p| !log_p.is_finite()) {
            return Err(Error::failure("the model's scores are NaN or infinite"));
        }
        let mut rest = flat.as_slice();
        for (&row, &length) in rows.iter().zip(&batch.target_lengths) {
            let (own, behind) = rest.split_at(length as usize);
            found[row] = own.to_vec();
            rest = behind;
        }
    }
    Ok(found)
}

/// Log-probabilities of the labels, a few positions at a time.
///
/// # Shapes
/// predictions: (N); labels: (N) i64; out: N numbers
fn of_labels(predictions: &Predictions, labels: &Tensor) -> Result<Vec<f32>> {
    let _guard = tch::no_grad_guard();
    let mut found = Vec::with_capacity(labels.numel());
    for (predictions, labels) in predictions.split(SCORED_AT_ONCE).zip(labels.split(SCORED_AT_ONCE, 0)) {
        let log_p = predictions.log_probabilities(); // (n, V)
        let of_label = log_p.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1); // (n)
        found.extend(Vec::<f32>::try_from(of_label)?);
    }
    Ok(found)
}
