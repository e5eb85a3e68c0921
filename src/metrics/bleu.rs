//! BLEU: precision of word n-grams with a brevity penalty (Papineni et al. 2002), as sacrebleu 2 computes it.
//!
//! exp(min(0, 1 - r/c)) * (p1 p2 p3 p4)^(1/4), where c is the length of all outputs, r that of the references, and pn the
//! share of the outputs' n-grams that occur in a reference, each at most as often as in one of them. Of several
//! references, r counts the one with the nearest length, the shorter of two. A precision of 0 is smoothed (`exp`): the
//! k-th one without a match gets half of the last one's numerator, 1/2^k. tests/golden/make_metrics.py compares it. Of a
//! sentence by itself only the orders count that the output is long enough for (sacrebleu's `effective_order`).

mod categories;
pub(crate) mod tokenizers;

use std::marker::PhantomData;

use self::tokenizers::{Tokenizer, tokens};
use super::ngrams::{common, ngrams, union};
use super::{Example, Metric};

/// Length of the longest n-grams.
const ORDERS: usize = 4;

/// `bleu` and its variants, from 0 to 1: sacrebleu's score is 100 times as much. 0 without rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bleu<T> {
    counts: Counts,
    tokenizer: PhantomData<T>,
}

/// Sums over the rows.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Tokens of the outputs.
    written: u64,
    /// Tokens of the references.
    wanted: u64,
    /// The outputs' n-grams that occur in a reference, for each order.
    right: [u64; ORDERS],
    /// The outputs' n-grams.
    all: [u64; ORDERS],
}

impl<T: Tokenizer> Metric for Bleu<T> {
    const NAME: &'static str = T::METRIC;
    const HIGHER_IS_BETTER: bool = true;
    const SHORT_NAME: &'static str = T::SHORT_NAME;
    const SETTINGS: Option<&'static str> = Some(T::SETTINGS);

    fn add(&mut self, example: &Example) {
        let row = example.symbols(T::prepared, tokens::<T>);
        let counts = &mut self.counts;
        let written = row.output.len();
        let lengths = row.references.iter().map(Vec::len);
        let nearest = lengths.min_by_key(|&wanted| (wanted.abs_diff(written), wanted)).unwrap_or_default();
        counts.written += written as u64;
        counts.wanted += nearest as u64;
        for (at, order) in (1..=ORDERS).enumerate() {
            let output = ngrams(&row.output, order);
            let references = row.references.iter().map(|reference| ngrams(reference, order));
            let wanted = references.reduce(|one, other| union(&one, &other)).unwrap_or_default();
            counts.right[at] += common(&output, &wanted);
            counts.all[at] += output.len() as u64;
        }
    }

    fn merge(&mut self, other: &Self) {
        let (counts, other) = (&mut self.counts, &other.counts);
        counts.written += other.written;
        counts.wanted += other.wanted;
        for order in 0..ORDERS {
            counts.right[order] += other.right[order];
            counts.all[order] += other.all[order];
        }
    }

    fn statistics(&self) -> Vec<f64> {
        let Counts { written, wanted, right, all } = self.counts;
        [written, wanted].into_iter().chain(right).chain(all).map(|count| count as f64).collect()
    }

    fn of_statistics(statistics: &[f64]) -> f64 {
        bleu(statistics, |_| ORDERS)
    }

    fn of_row(statistics: &[f64]) -> f64 {
        bleu(statistics, |all| all.iter().take_while(|&&count| count > 0.0).count())
    }

    /// As sacrebleu shows them: precisions in percent, brevity penalty, and the number of tokens in outputs and references.
    fn counts(&self) -> Option<String> {
        let Counts { written, wanted, .. } = self.counts;
        let statistics = Metric::statistics(self);
        let precisions = precisions(&statistics[2..]).map(|share| format!("{:.1}", 100.0 * share));
        let ratio = if wanted == 0 { 0.0 } else { written as f64 / wanted as f64 };
        let penalty = log_brevity_penalty(written as f64, wanted as f64).exp();
        let lengths = format!("hyp_len = {written} ref_len = {wanted}");
        Some(format!("{} (BP = {penalty:.3} ratio = {ratio:.3} {lengths})", precisions.join("/")))
    }
}

/// BLEU of the counts of [`Metric::statistics`], with the n-grams up to the order that `highest` finds in the numbers of the
/// outputs' n-grams.
fn bleu(statistics: &[f64], highest: impl FnOnce(&[f64]) -> usize) -> f64 {
    let &[written, wanted, ref counts @ ..] = statistics else { return 0.0 };
    let orders = highest(&counts[ORDERS..]);
    let precisions = &precisions(counts)[..orders];
    if orders == 0 || precisions.contains(&0.0) {
        return 0.0;
    }
    let mean = precisions.iter().map(|share| share.ln()).sum::<f64>() / orders as f64;
    (mean + log_brevity_penalty(written, wanted)).exp()
}

/// The precision of each order, smoothed, of the n-grams that are right and of all. 0 without n-grams, or without any match.
fn precisions(counts: &[f64]) -> [f64; ORDERS] {
    let (right, all) = counts.split_at(ORDERS);
    let has_match = right.iter().any(|&count| count > 0.0);
    let mut smoothed = 1.0;
    std::array::from_fn(|order| match (right[order], all[order]) {
        (_, 0.0) => 0.0,
        _ if !has_match => 0.0,
        (0.0, all) => {
            smoothed /= 2.0;
            smoothed / all
        }
        (right, all) => right / all,
    })
}

/// The logarithm of the factor for outputs that are shorter than the references: minus infinity without any token, 0 if the
/// references have none either.
fn log_brevity_penalty(written: f64, wanted: f64) -> f64 {
    (1.0 - wanted / written).min(0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::tokenizers::{Unsplit, Western};
    use super::*;
    use crate::metrics::example::{value_of, value_of_several};

    #[test]
    fn counts_are_clipped_by_the_reference_with_most() {
        // The example of the paper: 2 of 7 words.
        let references = ["the cat is on the mat", "there is a cat on the mat"];
        let mut metric = Bleu::<Unsplit>::default();
        let output = ["the the the the the the the".to_owned()];
        metric.add(&Example {
            reference: references[0],
            other_references: &references[1..],
            output: &output,
            ..Example::default()
        });
        assert_eq!((metric.counts.right, metric.counts.all), ([2, 0, 0, 0], [7, 6, 5, 4]));
        assert_eq!((metric.counts.written, metric.counts.wanted), (7, 7));
        // Smoothed: 2/7, 1/(2 * 6), 1/(4 * 5), 1/(8 * 4).
        let product: f64 = 2.0 / 7.0 / 12.0 / 20.0 / 32.0;
        assert!((Metric::value(&metric) - product.powf(0.25)).abs() < 1e-12);
    }

    #[test]
    fn a_short_output_is_penalized_and_the_nearest_reference_counts() {
        let bleu = value_of::<Bleu<Western>>;
        assert_eq!(bleu(&[("a b c d e f g h", &["a b c d e f g h"])]), 1.0);
        assert!((bleu(&[("a b c d e f g h", &["a b c d"])]) - (-1.0_f64).exp()).abs() < 1e-12);
        assert_eq!(bleu(&[("a b c", &["a b c"])]), 0.0, "no n-gram of order 4");
        assert_eq!([bleu(&[]), bleu(&[("", &[""])]), bleu(&[("a", &[""])])], [0.0; 3]);
        let several = value_of_several::<Bleu<Western>>;
        assert_eq!(several(&["a b c d e", "a b c d", "x"], "a b c d"), 1.0);
    }

    /// The values are those of sacrebleu 2.6.0: `BLEU(effective_order=True).sentence_score(output, [reference])`.
    #[test]
    fn a_sentence_has_the_orders_that_it_is_long_enough_for() {
        for (reference, output, theirs) in [
            ("a b c", "a b c", 1.0),
            ("a b d", "a b c", 0.550_321_208_149_104_2),
            ("the cat is on the mat", "the cat sat on the mat", 0.379_917_842_825_796_3),
            ("a b c d e", "a b", 0.223_130_160_148_429_9),
            ("a b c d", "x y a b c d", 0.508_132_748_154_615),
            ("b", "a", 0.0),
            ("a", "", 0.0),
        ] {
            let mut metric = Bleu::<Western>::default();
            metric.add(&Example { reference, output: &[output.to_owned()], ..Example::default() });
            let ours = Bleu::<Western>::of_row(&Metric::statistics(&metric));
            assert!((ours - theirs).abs() < 1e-12, "{output}, not {reference}: {ours}, not {theirs}");
        }
    }

    /// Made by tests/golden/make_metrics.py, with sacrebleu.
    #[test]
    fn its_counts_are_shown_as_sacrebleu_shows_them() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/golden/metrics.json")).unwrap();
        for corpus in golden["corpora"].as_array().unwrap() {
            let mut metric = Bleu::<Western>::default();
            for row in corpus["rows"].as_array().unwrap() {
                let references: Vec<&str> =
                    row[0].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
                metric.add(&Example {
                    reference: references[0],
                    other_references: &references[1..],
                    output: &[row[1].as_str().unwrap().to_owned()],
                    ..Example::default()
                });
            }
            assert_eq!(metric.counts().as_deref(), corpus["bleu"].as_str(), "{}", corpus["rows"]);
        }
    }

    #[test]
    fn a_token_with_an_unknown_symbol_matches_nothing() {
        let bleu = value_of::<Bleu<Unsplit>>;
        let reference = "a b c d e\u{10ffff}f";
        assert_eq!(bleu(&[(reference, &[reference])]), 1.0);
        assert!(bleu(&[(reference, &["a b c d e", "f"])]) < 1.0);
    }
}
