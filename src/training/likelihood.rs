//! Teacher forcing without learning: the likelihood of given targets, in batches of similar length.
//!
//! No dropout, and no gradient.

use tch::{Device, Tensor};

use super::objective::labelled;
use crate::data::batch::Batch;
use crate::data::batch_sampler::{batches_within_budget, sort_by_length};
use crate::error::{Error, Result};
use crate::model::transformer::Transformer;

/// The most positions of either side that are read together; without gradients they need little memory.
pub const READ_AT_ONCE: usize = 4096;

/// Positions whose scores of the whole vocabulary stand in memory at once.
const SCORED_AT_ONCE: i64 = 512;

/// The rows of each batch: at most `budget` positions on either side, rows of similar length together.
pub fn batches(pairs: &[(&[i64], &[i64])], budget: usize) -> Vec<Vec<usize>> {
    let lengths: Vec<_> = pairs.iter().map(|(source, target)| (source.len() + 1, target.len() + 1)).collect();
    let mut rows: Vec<usize> = (0..pairs.len()).collect();
    sort_by_length(&mut rows, &lengths);
    batches_within_budget(&rows, &lengths, budget, budget)
}

/// Some pairs of token ids (source, target), without BOS and EOS, padded to a batch.
pub fn batch_of(pairs: &[(&[i64], &[i64])], rows: &[usize]) -> Batch {
    let (sources, targets): (Vec<&[i64]>, Vec<&[i64]>) = rows.iter().map(|&row| pairs[row]).unzip();
    Batch::new(&sources, &targets)
}

/// What the decoder makes of a batch, for the output layer. No row depends on those beside it.
///
/// # Shapes
/// out: (N, D), a row for each label
pub fn teacher_forced_hidden(model: &Transformer, batch: &Batch) -> Tensor {
    let _guard = tch::no_grad_guard();
    let encoded = model.encode(&batch.source, None);
    labelled(&model.decode(&batch.target_in, &encoded, None), batch) // (N, D)
}

/// The log-probability of each token of each target, EOS last, given its source and the tokens before it.
///
/// # Errors
/// A number of the model is not finite.
pub fn log_probabilities(
    model: &Transformer,
    device: Device,
    pairs: &[(&[i64], &[i64])],
) -> Result<Vec<Vec<f32>>> {
    let mut found = vec![Vec::new(); pairs.len()];
    for rows in batches(pairs, READ_AT_ONCE) {
        let batch = batch_of(pairs, &rows).to_device(device);
        let flat = of_labels(model, &teacher_forced_hidden(model, &batch), &batch.labels)?;
        if flat.iter().any(|log_p| !log_p.is_finite()) {
            return Err(Error::failure("the model's scores are not finite numbers"));
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
/// hidden: (N, D); labels: (N) i64; out: N numbers
fn of_labels(model: &Transformer, hidden: &Tensor, labels: &Tensor) -> Result<Vec<f32>> {
    let _guard = tch::no_grad_guard();
    let mut found = Vec::with_capacity(labels.numel());
    for (hidden, labels) in hidden.split(SCORED_AT_ONCE, 0).iter().zip(labels.split(SCORED_AT_ONCE, 0)) {
        let log_p = model.log_probabilities(hidden); // (n, V)
        let of_label = log_p.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1); // (n)
        found.extend(Vec::<f32>::try_from(of_label)?);
    }
    Ok(found)
}
