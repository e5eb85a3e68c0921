//! Connectionist temporal classification (CTC, Graves et al. 2006): what a CTC head gives to label sequences.
//!
//! The head gives each frame of the encoder a distribution over symbols ([`log_probs`]). An alignment names a symbol
//! for each frame; without repeats and then without blanks it is a label sequence. [`prefix_score`] sums over
//! alignments, [`prefix_beam`] finds likely sequences, [`alignment`] finds the frames of each token, and [`joint`] is
//! for a beam that goes by a decoder and CTC together. [`n_best`] decodes requests without a beam. Nothing here knows a
//! tensor, and all but [`n_best`] are numbers alone.
//!
//! The symbols are the ids of the target's vocabulary. The blank has the id of PAD, which no output contains.

pub mod alignment;
pub(crate) mod joint;
pub mod log_probs;
pub(crate) mod n_best;
pub(crate) mod prefix_beam;
pub mod prefix_score;

/// `(1 - weight) * attention + weight * ctc`; with a weight of 0 or 1 what the other one excludes (minus infinity)
/// counts.
///
/// # Shapes
/// weight: 0 to 1; the others and out: log-probabilities
pub(crate) fn combined(weight: f64, attention: f64, ctc: f64) -> f64 {
    match weight {
        0.0 => attention,
        1.0 => ctc,
        _ => (1.0 - weight) * attention + weight * ctc,
    }
}

/// log(exp(a) + exp(b)), which neither overflows nor vanishes.
fn log_add(a: f64, b: f64) -> f64 {
    let (least, most) = if a < b { (a, b) } else { (b, a) };
    if least == f64::NEG_INFINITY { most } else { most + (least - most).exp().ln_1p() }
}

/// The logarithm of the sum of `exp` of these numbers; minus infinity where there are none.
fn log_sum(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + numbers.map(|x| (x - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests;
