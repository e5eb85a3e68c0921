//! chrF and chrF++: F-score over character n-grams, and over word n-grams as well (Popović 2015, 2017), as sacrebleu 2
//! computes them.
//!
//! n-grams of 1 to 6 characters, without white space, case-sensitive; chrF++ adds those of 1 and 2 words, from which
//! punctuation is split. The score is (1 + b²) P R / (b² P + R) with b = 2, P and R being the means of precision and recall
//! over the orders, with the counts of the whole set; orders without n-grams on either side are excluded (effective order).
//! Of several references the one with the highest score of the row counts. tests/golden/make_metrics.py compares it.

use super::example::{as_it_is, is_space};
use super::ngrams::{common, ngrams};
use super::{Example, Metric};

/// Length of the longest n-grams of characters.
const CHARACTERS: usize = 6;
/// Orders of characters, and the most of words.
const ORDERS: usize = CHARACTERS + 2;
/// The weight of recall relative to precision.
const BETA: f64 = 2.0;

/// `chrf`, and with `WORDS` = 2 `chrf_plus_plus`, from 0 to 1: sacrebleu's score is 100 times as much. 0 without rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chrf<const WORDS: usize>([Matches; ORDERS]);

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

impl<const WORDS: usize> Metric for Chrf<WORDS> {
    const NAME: &'static str = if WORDS == 0 { "chrf" } else { "chrf_plus_plus" };
    const HIGHER_IS_BETTER: bool = true;
    const SHORT_NAME: &'static str = if WORDS == 0 { "chrF" } else { "chrF++" };
    const SETTINGS: Option<&'static str> = Some(match WORDS {
        0 => "case:mixed|eff:yes|nc:6|nw:0|space:no",
        _ => "case:mixed|eff:yes|nc:6|nw:2|space:no",
    });

    fn add(&mut self, example: &Example) {
        let characters = example.characters();
        let cut: fn(&str) -> Vec<&str> = if WORDS == 0 { no_words } else { words_and_punctuation };
        let words = example.symbols(as_it_is, cut);
        let written = all_ngrams::<WORDS>(&characters.output, &words.output);
        let mut best = (-1.0, Chrf::<WORDS>::default());
        for (characters, words) in characters.references.iter().zip(&words.references) {
            let wanted = all_ngrams::<WORDS>(characters, words);
            let mut row = Chrf::<WORDS>::default();
            for (matches, (written, wanted)) in row.0.iter_mut().zip(written.iter().zip(&wanted)) {
                *matches = Matches::between(written, wanted);
            }
            // In percent, as sacrebleu compares them: scores that differ in the last bit may be equal then.
            let score = 100.0 * Metric::value(&row);
            if score > best.0 {
                best = (score, row);
            }
        }
        self.merge(&best.1);
    }

    fn merge(&mut self, other: &Self) {
        for (sums, other) in self.0.iter_mut().zip(&other.0) {
            sums.written += other.written;
            sums.wanted += other.wanted;
            sums.common += other.common;
        }
    }

    fn statistics(&self) -> Vec<f64> {
        let orders = self.0[..CHARACTERS + WORDS].iter();
        orders.flat_map(|one| [one.written, one.wanted, one.common]).map(|count| count as f64).collect()
    }

    fn of_statistics(statistics: &[f64]) -> f64 {
        let orders = statistics.chunks_exact(3).filter(|order| order[0] > 0.0 && order[1] > 0.0);
        let effective = orders.clone().count().max(1) as f64;
        let mean = |side: usize| orders.clone().map(|order| order[2] / order[side]).sum::<f64>() / effective;
        let (precision, recall) = (mean(0), mean(1));
        if precision + recall == 0.0 {
            return 0.0;
        }
        let factor = BETA * BETA;
        (1.0 + factor) * precision * recall / (factor * precision + recall)
    }
}

impl Matches {
    fn between(written: &[u128], wanted: &[u128]) -> Matches {
        Matches {
            // As in sacrebleu: if the reference is too short for this order, the output's n-grams do not count.
            written: if wanted.is_empty() { 0 } else { written.len() as u64 },
            wanted: wanted.len() as u64,
            common: common(written, wanted),
        }
    }
}

/// Those of characters, without white space, and those of words, by order.
fn all_ngrams<const WORDS: usize>(characters: &[u32], words: &[u32]) -> Vec<Vec<u128>> {
    let is_kept = |&point: &u32| char::from_u32(point).is_none_or(|c| !is_space(c));
    let characters: Vec<u32> = characters.iter().copied().filter(is_kept).collect();
    let of_characters = (1..=CHARACTERS).map(|order| ngrams(&characters, order));
    of_characters.chain((1..=WORDS).map(|order| ngrams(words, order))).collect()
}

/// For a score without word n-grams.
fn no_words(_: &str) -> Vec<&str> {
    Vec::new()
}

/// Words, from which sacrebleu splits one punctuation character: at the end, or else at the beginning.
fn words_and_punctuation(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        let mut characters = word.chars();
        let cut = match (characters.next(), characters.next_back()) {
            (Some(_), Some(last)) if last.is_ascii_punctuation() => word.len() - 1,
            (Some(first), Some(_)) if first.is_ascii_punctuation() => 1,
            _ => word.len(),
        };
        let (start, end) = word.split_at(cut);
        found.extend([start, end].into_iter().filter(|part| !part.is_empty()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example::{value_of, value_of_several};

    #[test]
    fn equal_texts_have_1_and_texts_without_a_character_in_common_0() {
        let chrf = value_of::<Chrf<0>>;
        assert_eq!(chrf(&[("abcdefg", &["abcdefg"]), ("x y", &["xy"])]), 1.0);
        assert_eq!(chrf(&[("abc", &["xyz"])]), 0.0);
        assert_eq!([chrf(&[]), chrf(&[("", &[""])]), chrf(&[("abc", &[""])])], [0.0; 3]);
    }

    #[test]
    fn the_counts_for_one_character_follow_the_definition() {
        // a a b against a c: precision 1/3, recall 1/2; no bigram in common, and no longer n-gram in the reference.
        let (precision, recall) = (1.0 / 6.0, 1.0 / 4.0);
        assert_eq!(
            value_of::<Chrf<0>>(&[("ac", &["aab"])]),
            5.0 * precision * recall / (4.0 * precision + recall)
        );
    }

    #[test]
    fn an_unknown_symbol_matches_nothing() {
        assert!(value_of::<Chrf<0>>(&[("abc", &["a", "c"])]) < value_of::<Chrf<0>>(&[("abc", &["ac"])]));
        let (known, unknown) = (&["a b c"][..], &["a b", " c"][..]);
        assert!(value_of::<Chrf<2>>(&[("a b c", unknown)]) < value_of::<Chrf<2>>(&[("a b c", known)]));
    }

    #[test]
    fn words_lose_one_punctuation_character() {
        assert_eq!(
            words_and_punctuation("(hi) 'tis a, ?! . …é"),
            ["(hi", ")", "'", "tis", "a", ",", "?", "!", ".", "…é"]
        );
        let in_words = value_of::<Chrf<2>>(&[("ab cd", &["abcd"])]);
        assert!(in_words < value_of::<Chrf<0>>(&[("ab cd", &["abcd"])]), "white space counts in words alone");
    }

    #[test]
    fn the_reference_with_the_highest_score_counts() {
        let several = value_of_several::<Chrf<2>>;
        assert_eq!(several(&["x", "ab cd", "y"], "ab cd"), 1.0);
    }
}
