//! Word error rate: edit distance over words (texts between white space), per word of the references. If the words are
//! phones, it is the phone error rate.

use super::edit::{ErrorRate, share_of};
use super::{Example, Metric};

/// `word_error_rate`: 0 is perfect; with insertions it can be more than 1. Of several references, the one
/// with the lowest rate of the row counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct WordErrorRate(ErrorRate);

impl Metric for WordErrorRate {
    const NAME: &'static str = "word_error_rate";
    const HIGHER_IS_BETTER: bool = false;
    const INSTEAD_OF: Option<&'static str> = Some("character_error_rate");

    fn add(&mut self, example: &Example) {
        let row = example.words();
        self.0.add(ErrorRate::of_nearest(&row.references, &row.output));
    }

    fn merge(&mut self, other: &Self) {
        self.0.add(other.0);
    }

    fn statistics(&self) -> Vec<f64> {
        self.0.statistics()
    }

    fn of_statistics(statistics: &[f64]) -> f64 {
        share_of(statistics)
    }

    fn counts(&self) -> Option<String> {
        Some(format!("{} words", self.0))
    }

    fn errors(&self) -> Option<ErrorRate> {
        Some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example::{value_of, value_of_several};

    #[test]
    fn words_are_separated_by_white_space() {
        let rate = value_of::<WordErrorRate>;
        assert_eq!(rate(&[("the cat sat", &["the  dog sat\tdown"])]), 2.0 / 3.0);
        assert_eq!(rate(&[("a b ", &["a b"])]), 0.0);
        assert_eq!(rate(&[("one two three", &["one t", "o three"])]), 1.0 / 3.0);
        assert_eq!(rate(&[]), 0.0);
    }

    #[test]
    fn the_reference_with_the_lowest_rate_counts() {
        assert_eq!(
            value_of_several::<WordErrorRate>(&["a", "a b c d"], "a b c"),
            0.25,
            "not 2 errors in 1 word"
        );
    }
}
