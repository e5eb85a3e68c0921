//! The default error rate to compare checkpoints: over words if the target's tokens are words, else over characters,
//! with the errors of each row capped.
//!
//! During training a few outputs may not end, and must not decide which checkpoint is the best. So a row has at most as
//! many errors as its reference has symbols, and exactly as many if its output is unfinished.

use super::edit::{ErrorRate, share_of};
use super::{Example, Metric, Unit};

/// `error_rate`, from 0 to about 1. Of several references, the one with the lowest rate of the row counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct CappedErrorRate {
    errors: u64,
    reference_length: u64,
}

impl Metric for CappedErrorRate {
    const NAME: &'static str = "error_rate";
    const HIGHER_IS_BETTER: bool = false;

    fn add(&mut self, example: &Example) {
        let row = match example.unit {
            Unit::Characters => example.characters(),
            Unit::Words => example.words(),
        };
        // A row is capped only after the nearest reference is found: the cap keeps the order of rates below 1.
        let nearest = ErrorRate::of_nearest(&row.references, &row.output);
        let all_wrong = nearest.reference_length.max(1);
        self.reference_length += nearest.reference_length;
        self.errors += if example.finished { all_wrong.min(nearest.errors()) } else { all_wrong };
    }

    fn merge(&mut self, other: &Self) {
        self.errors += other.errors;
        self.reference_length += other.reference_length;
    }

    fn statistics(&self) -> Vec<f64> {
        vec![self.errors as f64, self.reference_length as f64]
    }

    fn of_statistics(statistics: &[f64]) -> f64 {
        share_of(statistics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(reference: &str, output: &str, finished: bool, unit: Unit) -> u64 {
        let mut metric = CappedErrorRate { errors: 1, reference_length: 3 };
        let output = [output.to_owned()];
        metric.add(&Example { reference, output: &output, finished, unit, ..Example::default() });
        metric.errors - 1
    }

    #[test]
    fn the_rate_of_a_row_is_at_most_1_and_is_1_if_unfinished() {
        let cost = |reference, output, finished| errors(reference, output, finished, Unit::Characters);
        assert_eq!([cost("abcd", "abcd", true), cost("abcd", "abxd", true)], [0, 1]);
        assert_eq!(cost("abcd", "abcdabcdabcdabcdabcd", true), 4, "16 errors, in 4 symbols");
        assert_eq!(cost("abcd", "abc", false), 4, "near, and cut off");
        assert_eq!([cost("", "abc", true), cost("", "", true)], [1, 0]);
    }

    #[test]
    fn it_counts_the_units_of_the_target_tokens() {
        assert_eq!(errors("the cat", "the dog", true, Unit::Words), 1);
        assert_eq!(errors("the cat", "the dog", true, Unit::Characters), 3);
        assert_eq!(errors("the cat", "the", false, Unit::Words), 2);
    }
}
