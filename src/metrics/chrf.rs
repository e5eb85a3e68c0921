//! chrF: F-score over character n-grams (Popović 2015), as sacrebleu 2 computes it.
//!
//! chrF2: n-grams of 1 to 6 characters, without white space, case-sensitive. The counts are those of the whole set, and
//! orders without n-grams on either side are excluded from the mean (effective order). sacrebleu's signature for this
//! is `nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no`. tests/golden/make_chrf.py compares it with sacrebleu.

use std::collections::HashMap;

use super::{Example, Metric};

/// Length of the longest n-grams.
const ORDERS: usize = 6;
/// The weight of recall relative to precision.
const BETA: f64 = 2.0;

/// `chrf`, from 0 to 1: sacrebleu's score is 100 times as much. 0 without rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chrf([Matches; ORDERS]);

/// The n-grams of one order.
#[derive(Clone, Copy, Debug, Default)]
struct Matches {
    /// In outputs.
    written: u64,
    /// In references.
    wanted: u64,
    /// In both: the smaller count of each n-gram.
    common: u64,
}

impl Metric for Chrf {
    const NAME: &'static str = "chrf";
    const HIGHER_IS_BETTER: bool = true;
    const SHORT_NAME: &'static str = "chrF";

    fn add(&mut self, example: &Example) {
        let [wanted, written] = example.characters().map(without_space);
        for (order, sums) in (1..).zip(&mut self.0) {
            sums.add(Matches::between(&wanted, &written, order));
        }
    }

    fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sums, other)| sums.add(*other));
    }

    fn value(&self) -> f64 {
        let orders = self.0.iter().filter(|sums| sums.written > 0 && sums.wanted > 0);
        let effective = orders.clone().count().max(1) as f64;
        let mean = |share: fn(&Matches) -> f64| orders.clone().map(share).sum::<f64>() / effective;
        let precision = mean(|sums| sums.common as f64 / sums.written as f64);
        let recall = mean(|sums| sums.common as f64 / sums.wanted as f64);
        if precision + recall == 0.0 {
            return 0.0;
        }
        let factor = BETA * BETA;
        (1.0 + factor) * precision * recall / (factor * precision + recall)
    }
}

impl Matches {
    fn between(wanted: &[u32], written: &[u32], order: usize) -> Matches {
        let mut left: HashMap<&[u32], u64> = HashMap::new();
        wanted.windows(order).for_each(|gram| *left.entry(gram).or_default() += 1);
        let wanted = wanted.windows(order).len() as u64;
        // As in sacrebleu: if the reference is too short for this order, the output's n-grams do not count.
        let written_there = if wanted == 0 { 0 } else { written.windows(order).len() as u64 };
        let mut common = 0;
        for gram in written.windows(order) {
            if let Some(count) = left.get_mut(gram).filter(|count| **count > 0) {
                *count -= 1;
                common += 1;
            }
        }
        Matches { written: written_there, wanted, common }
    }

    fn add(&mut self, other: Matches) {
        self.written += other.written;
        self.wanted += other.wanted;
        self.common += other.common;
    }
}

/// Removes white space as Python's `str.split` does, with four separators that Unicode's property lacks.
fn without_space(mut text: Vec<u32>) -> Vec<u32> {
    let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    text.retain(|&point| !char::from_u32(point).is_some_and(is_space));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example::value_of;

    #[test]
    fn equal_texts_have_1_and_texts_without_a_character_in_common_0() {
        let chrf = value_of::<Chrf>;
        assert_eq!(chrf(&[("abcdefg", &["abcdefg"]), ("x y", &["xy"])]), 1.0);
        assert_eq!(chrf(&[("abc", &["xyz"])]), 0.0);
        assert_eq!([chrf(&[]), chrf(&[("", &[""])]), chrf(&[("abc", &[""])])], [0.0; 3]);
    }

    #[test]
    fn the_counts_for_one_character_follow_the_definition() {
        // a a b against a c: precision 1/3, recall 1/2; no bigram in common, and no longer n-gram in the reference.
        let (precision, recall) = (1.0 / 6.0, 1.0 / 4.0);
        assert_eq!(
            value_of::<Chrf>(&[("ac", &["aab"])]),
            5.0 * precision * recall / (4.0 * precision + recall)
        );
    }

    #[test]
    fn an_unknown_symbol_matches_nothing() {
        assert!(value_of::<Chrf>(&[("abc", &["a", "c"])]) < value_of::<Chrf>(&[("abc", &["ac"])]));
    }
}
