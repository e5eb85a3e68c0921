//! Word error rate: edit distance over words (texts between white space), per word of the references. If the words are
//! phones, it is the phone error rate.

use super::edit::ErrorRate;
use super::{Example, Metric};

/// `word_error_rate`: 0 is perfect; with insertions it can be more than 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct WordErrorRate(ErrorRate);

impl Metric for WordErrorRate {
    const NAME: &'static str = "word_error_rate";
    const HIGHER_IS_BETTER: bool = false;
    const INSTEAD_OF: Option<&'static str> = Some("character_error_rate");

    fn add(&mut self, example: &Example) {
        let [wanted, written] = example.words();
        self.0.add(ErrorRate::between(&wanted, &written));
    }

    fn merge(&mut self, other: &Self) {
        self.0.add(other.0);
    }

    fn value(&self) -> f64 {
        self.0.rate()
    }

    fn counts(&self) -> Option<String> {
        Some(format!("{} words", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example::value_of;

    #[test]
    fn words_are_separated_by_white_space() {
        let rate = value_of::<WordErrorRate>;
        assert_eq!(rate(&[("the cat sat", &["the  dog sat\tdown"])]), 2.0 / 3.0);
        assert_eq!(rate(&[("a b ", &["a b"])]), 0.0);
        assert_eq!(rate(&[("one two three", &["one t", "o three"])]), 1.0 / 3.0);
        assert_eq!(rate(&[]), 0.0);
    }
}
