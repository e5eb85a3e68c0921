//! The length penalty: what a sum of log-probabilities is divided by, so that an output does not win by being short.
//!
//! Numbers only. `gnmt` is that of Wu et al. 2016 (equation 14); the length counts EOS.

use super::DecodingConfig;
use super::config::LengthPenalty;

/// A kind of penalty and its exponent.
#[derive(Clone, Copy, Debug)]
pub struct Penalty {
    /// The formula.
    pub kind: LengthPenalty,
    /// a in it, at least 0.
    pub alpha: f64,
}

impl Penalty {
    /// The penalty that a config asks for.
    pub fn new(config: &DecodingConfig) -> Penalty {
        Penalty { kind: config.length_penalty, alpha: config.length_penalty_alpha }
    }

    /// By what outputs of different lengths are compared: the sum of the log-probabilities over the penalty.
    pub fn normalised(&self, score: f64, length: usize) -> f64 {
        score / self.divisor(length)
    }

    /// The most that `normalised` can become for an output that grows to at most `limit` tokens: each token more makes
    /// the sum smaller or leaves it, and the penalty never falls, so it is as if all tokens to come were certain.
    pub fn attainable(&self, score: f64, limit: usize) -> f64 {
        self.normalised(score, limit)
    }

    fn divisor(&self, length: usize) -> f64 {
        match self.kind {
            LengthPenalty::None => 1.0,
            LengthPenalty::Length => (length as f64).powf(self.alpha),
            LengthPenalty::Gnmt => ((5.0 + length as f64) / 6.0).powf(self.alpha),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_is_its_formula() {
        let of = |kind, alpha, length| Penalty { kind, alpha }.normalised(-6.0, length);
        assert_eq!(of(LengthPenalty::None, 1.0, 3), -6.0);
        assert_eq!(of(LengthPenalty::Length, 1.0, 3), -2.0);
        assert_eq!(of(LengthPenalty::Length, 2.0, 2), -1.5);
        assert_eq!(of(LengthPenalty::Gnmt, 1.0, 1), -6.0);
        assert_eq!(of(LengthPenalty::Gnmt, 2.0, 7), -1.5);
        for kind in [LengthPenalty::Length, LengthPenalty::Gnmt] {
            assert_eq!(of(kind, 0.0, 9), -6.0, "an exponent of 0 is no penalty");
        }
    }
}
