//! Exact match: the share of rows whose output equals the reference, or one of several.

use super::edit::share_of;
use super::{Example, Metric};

/// `exact_match`, from 0 to 1; 0 without rows. Its complement is the sentence error rate; in grapheme-to-phoneme
/// conversion, where rows are words, the word error rate.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExactMatch {
    rows: u64,
    exact: u64,
}

impl Metric for ExactMatch {
    const NAME: &'static str = "exact_match";
    const HIGHER_IS_BETTER: bool = true;
    const SHORT_NAME: &'static str = "exact";

    fn add(&mut self, example: &Example) {
        self.rows += 1;
        self.exact += u64::from(example.is_exact());
    }

    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.exact += other.exact;
    }

    fn statistics(&self) -> Vec<f64> {
        vec![self.exact as f64, self.rows as f64]
    }

    fn of_statistics(statistics: &[f64]) -> f64 {
        share_of(statistics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example::{value_of, value_of_several};

    #[test]
    fn a_row_is_right_or_wrong_and_without_rows_the_value_is_0() {
        assert_eq!(value_of::<ExactMatch>(&[]), 0.0);
        assert_eq!(
            value_of::<ExactMatch>(&[("ab", &["ab"]), ("", &["x"]), ("", &[""]), ("ab", &["a", ""])]),
            0.5
        );
        assert_eq!(value_of::<ExactMatch>(&[("a b ", &["a b"])]), 0.0, "white space counts");
        let several = value_of_several::<ExactMatch>;
        assert_eq!([several(&["a", "b"], "b"), several(&["a", "b"], "c")], [1.0, 0.0]);
    }
}
