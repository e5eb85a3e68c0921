//! Character error rate: edit distance over Unicode characters, including spaces, per character of the references.

use super::edit::{ErrorRate, share_of};
use super::{Example, Metric};

/// `character_error_rate`: 0 is perfect; with insertions it can be more than 1. Of several references, the one
/// with the lowest rate of the row counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct CharacterErrorRate(ErrorRate);

impl Metric for CharacterErrorRate {
    const NAME: &'static str = "character_error_rate";
    const HIGHER_IS_BETTER: bool = false;

    fn add(&mut self, example: &Example) {
        let row = example.characters();
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
        Some(format!("{} characters", self.0))
    }

    fn errors(&self) -> Option<ErrorRate> {
        Some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example::value_of;

    #[test]
    fn a_set_sums_errors_and_lengths_and_not_rates() {
        let rate = value_of::<CharacterErrorRate>;
        assert_eq!(rate(&[("abcdefghi", &["abcdefghi"]), ("a", &["b"])]), 0.1);
        // c -> d, a -> o, t -> g; one more space, a tab, and d o w n.
        assert_eq!(rate(&[("the cat sat", &["the  dog sat\tdown"])]), 9.0 / 11.0);
        assert_eq!(rate(&[("a b ", &["a b"])]), 0.25);
    }

    #[test]
    fn an_unknown_symbol_is_one_error_with_any_reference() {
        // One substitution and four deletions, and one substitution.
        assert_eq!(value_of::<CharacterErrorRate>(&[("a<unk>b", &["a", "b"]), ("axb", &["a", "b"])]), 0.6);
    }

    #[test]
    fn a_rate_without_reference_symbols_is_finite() {
        assert_eq!(value_of::<CharacterErrorRate>(&[]), 0.0);
        assert_eq!(value_of::<CharacterErrorRate>(&[("", &["ab"])]), 2.0);
    }
}
