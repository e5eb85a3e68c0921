//! The ranking of outputs: the sum of log-probabilities divided by a length penalty, so that short outputs have no
//! advantage, plus a coverage penalty for outputs that ignore parts of the source.
//!
//! `gnmt` and coverage are equation 14 of Wu et al. 2016; the length includes EOS. Numbers only.

use super::DecodingConfig;
use super::config::LengthPenalty;

/// The length penalty with its exponent, and the weight of the coverage penalty.
#[derive(Clone, Copy, Debug)]
pub struct Penalty {
    /// The formula.
    pub kind: LengthPenalty,
    /// Its exponent a, at least 0.
    pub alpha: f64,
    /// b in the coverage penalty, at least 0: b * sum over source positions of log(min(attention, 1)).
    pub coverage: f64,
}

impl Penalty {
    /// The penalties of a config.
    pub(crate) fn new(config: &DecodingConfig) -> Penalty {
        Penalty {
            kind: config.length_penalty,
            alpha: config.length_penalty_alpha,
            coverage: config.coverage_penalty,
        }
    }

    /// The ranking of an output of `length` tokens; `attended` is the attention to each source position, summed over
    /// the steps. A position without attention counts as the smallest positive number.
    pub(crate) fn ranking(&self, sum: f64, length: usize, attended: &[f32]) -> f64 {
        let covered = |&got: &f32| f64::from(got.clamp(f32::MIN_POSITIVE, 1.0)).ln();
        match self.coverage {
            0.0 => sum / self.divisor(length),
            weight => sum / self.divisor(length) + weight * attended.iter().map(covered).sum::<f64>(),
        }
    }

    /// An upper bound of `ranking` for an output that grows to at most `limit` tokens: as if all further tokens had
    /// probability 1 and full coverage. The sum never grows, the length penalty never falls, and the coverage penalty
    /// is at most 0.
    pub(crate) fn best_attainable(&self, sum: f64, limit: usize) -> f64 {
        sum / self.divisor(limit)
    }

    fn divisor(&self, length: usize) -> f64 {
        // An output without tokens, when constraints forbid every first token, counts as one token.
        let length = length.max(1) as f64;
        match self.kind {
            LengthPenalty::None => 1.0,
            LengthPenalty::Length => length.powf(self.alpha),
            LengthPenalty::Gnmt => ((5.0 + length) / 6.0).powf(self.alpha),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_penalty_follows_its_formula() {
        let of = |kind, alpha, length| Penalty { kind, alpha, coverage: 0.0 }.ranking(-6.0, length, &[]);
        assert_eq!(of(LengthPenalty::None, 1.0, 3), -6.0);
        assert_eq!(of(LengthPenalty::Length, 1.0, 3), -2.0);
        assert_eq!(of(LengthPenalty::Length, 2.0, 2), -1.5);
        assert_eq!(of(LengthPenalty::Gnmt, 1.0, 1), -6.0);
        assert_eq!(of(LengthPenalty::Gnmt, 2.0, 7), -1.5);
        for kind in [LengthPenalty::Length, LengthPenalty::Gnmt] {
            assert_eq!(of(kind, 0.0, 9), -6.0, "an exponent of 0 is no penalty");
        }
    }

    #[test]
    fn the_coverage_penalty_is_the_missing_attention_to_the_source() {
        let penalty = Penalty { kind: LengthPenalty::Length, alpha: 1.0, coverage: 0.5 };
        let expected = -2.0 + 0.5 * (0.25f64.ln() + 0.5f64.ln());
        assert!((penalty.ranking(-6.0, 3, &[0.25, 1.0, 1.75, 0.5]) - expected).abs() < 1e-12);
        assert!(penalty.ranking(-6.0, 3, &[0.0, 3.0]).is_finite(), "nothing at all is no logarithm of 0");
        assert_eq!(penalty.best_attainable(-6.0, 3), -2.0);
    }
}
