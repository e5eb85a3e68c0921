//! Minimum Bayes risk decoding: of the candidates for a source, the one with the best expected value of a metric (Kumar and
//! Byrne 2004; Eikema and Aziz 2020; Freitag et al. 2022).
//!
//! The candidates stand for what the model expects: they are also the references (pseudo-references), each with its weight,
//! and a candidate is a reference for itself, too. Each text is compared with each other one once, so the time grows with
//! the square of the number of different texts.

use std::collections::HashMap;

use super::example::UNKNOWN_IN_TEXT;
use super::{Example, MetricKind, Unit};

/// Values no further apart are equal: the order of a sum changes its last digits.
const EQUAL: f64 = 1e-12;

/// A text that a model proposes for a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The text, split at its unknown symbols, which match nothing; without any, one text.
    pub text: Vec<String>,
    /// The model's log-probability of the whole text.
    pub log_probability: f64,
    /// Whether it reached EOS.
    pub finished: bool,
}

/// How much each candidate counts as a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateWeights {
    /// All alike: samples, among which a likely text is there more often.
    Uniform,
    /// Their probabilities, normalised over the candidates: an n-best list.
    Probabilities,
}

/// The expected value of a metric if a candidate is the output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpectedValue {
    /// The number of the candidate, from 0.
    pub candidate: usize,
    /// The weighted mean of its values with each candidate as the reference ([`MetricKind::of_row`]).
    pub value: f64,
}

/// The candidates by the expected value of a metric, the best first; of equal ones, the more probable first.
///
/// Candidates with the same text are one: their weights add up, and the most probable of them stands for all, a finished
/// one before an unfinished one. `unit` is that of the target's tokens.
pub fn rank_by_expected_value(
    candidates: &[Candidate],
    weights: CandidateWeights,
    metric: MetricKind,
    unit: Unit,
) -> Vec<ExpectedValue> {
    let texts = different_texts(candidates, weights);
    let references: Vec<String> =
        texts.iter().map(|text| candidates[text.candidate].text.join(UNKNOWN_IN_TEXT)).collect();
    let total: f64 = texts.iter().map(|text| text.weight).sum();
    let expected = |text: &Text| {
        let output = &candidates[text.candidate];
        let all = texts.iter().zip(&references);
        let sum: f64 =
            all.map(|(text, reference)| text.weight * value(metric, output, reference, unit)).sum();
        ExpectedValue { candidate: text.candidate, value: sum / total }
    };
    let mut ranked: Vec<ExpectedValue> = texts.iter().map(expected).collect();
    let cost = |one: &ExpectedValue| (metric.cost(one.value) / EQUAL).round();
    let log_probability = |one: &ExpectedValue| candidates[one.candidate].log_probability;
    ranked.sort_by(|one, other| {
        let by_cost = cost(one).total_cmp(&cost(other));
        by_cost.then(log_probability(other).total_cmp(&log_probability(one)))
    });
    ranked
}

/// A text among the candidates.
struct Text {
    /// The candidate that stands for all with this text.
    candidate: usize,
    /// The sum of their weights.
    weight: f64,
}

/// The different texts, in the order of the candidates.
fn different_texts(candidates: &[Candidate], weights: CandidateWeights) -> Vec<Text> {
    let most = candidates.iter().map(|one| one.log_probability).fold(f64::NEG_INFINITY, f64::max);
    let weight = |one: &Candidate| match weights {
        CandidateWeights::Uniform => 1.0,
        // Also if all of them are impossible.
        CandidateWeights::Probabilities if one.log_probability == most => 1.0,
        CandidateWeights::Probabilities => (one.log_probability - most).exp(),
    };
    let order = |number: usize| (candidates[number].finished, candidates[number].log_probability);
    let (mut texts, mut places) = (Vec::<Text>::new(), HashMap::new());
    for (number, candidate) in candidates.iter().enumerate() {
        let place = *places.entry(candidate.text.as_slice()).or_insert(texts.len());
        match texts.get_mut(place) {
            Some(text) => {
                text.weight += weight(candidate);
                if order(number) > order(text.candidate) {
                    text.candidate = number;
                }
            }
            None => texts.push(Text { candidate: number, weight: weight(candidate) }),
        }
    }
    texts
}

/// The value of a candidate with this text as the only reference.
fn value(metric: MetricKind, output: &Candidate, reference: &str, unit: Unit) -> f64 {
    let mut counter = metric.start();
    let Candidate { text, finished, .. } = output;
    counter.add(&Example { reference, output: text, finished: *finished, unit, ..Example::default() });
    (metric.of_row)(&counter.statistics())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::metrics::METRICS;

    fn candidate(text: &str, probability: f64) -> Candidate {
        Candidate { text: vec![text.to_owned()], log_probability: probability.ln(), finished: true }
    }

    fn ranked(candidates: &[Candidate], weights: CandidateWeights, metric: &str) -> Vec<(usize, f64)> {
        let metric = MetricKind::named(metric).unwrap();
        let ranked = rank_by_expected_value(candidates, weights, metric, Unit::Characters);
        ranked.into_iter().map(|one| (one.candidate, one.value)).collect()
    }

    #[track_caller]
    fn assert_ranked(found: &[(usize, f64)], expected: &[(usize, f64)]) {
        let is_equal = |((number, value), (other, wanted)): (&(usize, f64), &(usize, f64))| {
            number == other && (value - wanted).abs() < 1e-12
        };
        let equal = found.len() == expected.len() && found.iter().zip(expected).all(is_equal);
        assert!(equal, "{found:?}, not {expected:?}");
    }

    #[test]
    fn the_text_in_the_middle_wins_though_another_one_is_more_probable() {
        // As references they weigh 0.4, 0.35 and 0.25; the probabilities of a list need not have the sum 1.
        let list = [candidate("abcd", 0.04), candidate("abxd", 0.035), candidate("abxy", 0.025)];
        let expected =
            [(1, 0.4 * 0.25 + 0.25 * 0.25), (0, 0.35 * 0.25 + 0.25 * 0.5), (2, 0.4 * 0.5 + 0.35 * 0.25)];
        assert_ranked(&ranked(&list, CandidateWeights::Probabilities, "character_error_rate"), &expected);
        let most_probable = [(0, 0.4), (1, 0.35), (2, 0.25)];
        assert_ranked(&ranked(&list, CandidateWeights::Probabilities, "exact_match"), &most_probable);
        // Samples weigh alike, so the two ends are equal, and the more probable one is first.
        let thirds = [(1, 0.5 / 3.0), (0, 0.75 / 3.0), (2, 0.75 / 3.0)];
        assert_ranked(&ranked(&list, CandidateWeights::Uniform, "character_error_rate"), &thirds);
    }

    #[test]
    fn a_text_counts_as_often_as_it_was_drawn_and_is_listed_once() {
        let mut samples = ["b", "a", "c", "b", "a", "b"].map(|text| candidate(text, 0.1));
        // Of the tokenizations of a text the most probable one is the output, and a finished one before others.
        samples[3].log_probability = -1.0;
        samples[1].finished = false;
        samples[1].log_probability = -0.5;
        let shares = [(3, 0.5), (4, 2.0 / 6.0), (2, 1.0 / 6.0)];
        assert_ranked(&ranked(&samples, CandidateWeights::Uniform, "exact_match"), &shares);
    }

    #[test]
    fn of_equal_values_the_more_probable_candidate_is_first() {
        let list = ["a", "b", "c"].map(|text| candidate(text, 0.1));
        assert_ranked(
            &ranked(&list, CandidateWeights::Uniform, "exact_match"),
            &[0, 1, 2].map(|number| (number, 1.0 / 3.0)),
        );
        let mut list = list;
        list[2].log_probability = -0.1;
        assert_eq!(ranked(&list, CandidateWeights::Uniform, "exact_match")[0].0, 2);
    }

    #[test]
    fn an_unknown_symbol_matches_nothing_and_an_unfinished_output_is_an_error() {
        let unknown = Candidate { text: vec!["a".to_owned(), "c".to_owned()], ..candidate("", 0.5) };
        let list = [unknown, candidate("abc", 0.5)];
        let found = ranked(&list, CandidateWeights::Uniform, "exact_match");
        assert_ranked(&found, &[(1, 0.5), (0, 0.0)]);
        let found = ranked(&list, CandidateWeights::Uniform, "character_error_rate");
        assert_ranked(&found, &[(1, 0.5 / 3.0), (0, 1.0 / 3.0)]);
        let unfinished = Candidate { finished: false, ..candidate("abc", 0.9) };
        let list = [unfinished, candidate("abx", 0.1)];
        let found = ranked(&list, CandidateWeights::Uniform, "error_rate");
        assert_ranked(&found, &[(1, 0.5 / 3.0), (0, 1.0)]);
    }

    #[test]
    fn no_candidates_and_impossible_ones_have_a_ranking() {
        assert!(ranked(&[], CandidateWeights::Probabilities, "chrf").is_empty());
        let list = ["abcdef", "abcdef", "xyz"].map(|text| candidate(text, 0.0));
        let found = ranked(&list, CandidateWeights::Probabilities, "chrf");
        assert_ranked(&found, &[(0, 2.0 / 3.0), (2, 1.0 / 3.0)]);
    }

    /// By the definition: a sum over all candidates, without joining equal ones.
    fn by_definition(candidates: &[Candidate], probabilities: &[f64], metric: MetricKind) -> Vec<f64> {
        let total: f64 = probabilities.iter().sum();
        let expected = |output: &Candidate| {
            let all = candidates.iter().zip(probabilities);
            let terms = all.map(|(other, p)| p / total * value(metric, output, &other.text[0], Unit::Words));
            terms.sum::<f64>()
        };
        candidates.iter().map(expected).collect()
    }

    #[test]
    fn every_metric_ranks_random_candidates_as_its_definition_does() {
        let mut state = 1_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for metric in METRICS {
            for _ in 0..10 {
                let mut text = || {
                    (0..=draw(4)).map(|_| ["ab", "ba", "a"][draw(3) as usize]).collect::<Vec<_>>().join(" ")
                };
                let texts: Vec<String> = (0..8).map(|_| text()).collect();
                let probabilities: Vec<f64> = (0..8).map(|_| 1e-3 * (1 + draw(9)) as f64).collect();
                let pairs = texts.iter().zip(&probabilities);
                let list: Vec<Candidate> = pairs.map(|(text, &p)| candidate(text, p)).collect();
                for (weights, p) in [
                    (CandidateWeights::Probabilities, &probabilities[..]),
                    (CandidateWeights::Uniform, &[1.0; 8][..]),
                ] {
                    let slow = by_definition(&list, p, *metric);
                    let fast = rank_by_expected_value(&list, weights, *metric, Unit::Words);
                    assert!(fast.iter().all(|one| (one.value - slow[one.candidate]).abs() < 1e-9));
                    let best = slow.iter().map(|&value| metric.cost(value)).fold(f64::INFINITY, f64::min);
                    assert!((metric.cost(fast[0].value) - best).abs() < 1e-9, "{}", metric.name);
                    let costs: Vec<f64> = fast.iter().map(|one| metric.cost(one.value)).collect();
                    assert!(costs.windows(2).all(|two| two[0] <= two[1] + 1e-9), "{}", metric.name);
                    let different: HashSet<&String> = texts.iter().collect();
                    assert_eq!(fast.len(), different.len());
                }
            }
        }
    }
}
