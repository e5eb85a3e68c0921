//! Outputs keep to what was asked, and are the best of those that do.

use std::collections::HashSet;

use super::*;

/// All outputs of at most `limit` tokens with EOS, and the sums that rank them under a repetition penalty.
fn all_outputs(limit: usize, repetition: f32) -> Vec<(Vec<i64>, f64)> {
    let (mut all, mut open) = (Vec::new(), vec![(Vec::new(), 0.0)]);
    for _ in 0..limit {
        for (said, sum) in std::mem::take(&mut open) {
            let log_p = random_looking(&[4], &said);
            for token in SAYABLE {
                let again = if said.contains(&token) { repetition } else { 1.0 };
                let sum = sum + f64::from(log_p[token as usize] * again);
                match token {
                    EOS => all.push((said.clone(), sum)),
                    _ => open.push(([&said[..], &[token]].concat(), sum)),
                }
            }
        }
    }
    all
}

/// A wide beam with these constraints finds the best of the outputs that `keeps_to` them.
#[track_caller]
fn check(config: DecodingConfig, keeps_to: impl Fn(&[i64]) -> bool) {
    let config = DecodingConfig { beam: 300, max_length: Some(5), ..config };
    let mut all = all_outputs(5, config.repetition_penalty as f32);
    let before = all.len();
    all.retain(|(tokens, _)| keeps_to(tokens));
    assert!(!all.is_empty() && (all.len() < before || config.repetition_penalty != 1.0));
    let ranking = |(tokens, sum): &(Vec<i64>, f64)| sum / (tokens.len() + 1) as f64;
    let best = all.into_iter().max_by(|one, other| ranking(one).total_cmp(&ranking(other))).unwrap();
    let found = found(random_looking, &config).remove(0);
    assert_eq!((&found.tokens, found.finished), (&best.0, true), "{config:?}");
    assert!((found.ranking - ranking(&best)).abs() < 1e-9);
    assert!((found.score - forced(random_looking, &[4], &found)).abs() < 1e-9);
}

fn has_ngram_twice(tokens: &[i64], n: usize) -> bool {
    let mut seen = HashSet::new();
    tokens.windows(n).any(|window| !seen.insert(window))
}

#[test]
fn a_constrained_beam_finds_the_best_output_that_keeps_to_the_rules() {
    let plain = DecodingConfig::default;
    for min_length in 2..=5 {
        check(DecodingConfig { min_length, ..plain() }, |tokens| tokens.len() + 1 >= min_length);
    }
    for n in 1..=3 {
        let config = DecodingConfig { no_repeat_ngram: n, min_length: 4, ..plain() };
        check(config, |tokens| tokens.len() + 1 >= 4 && !has_ngram_twice(tokens, n));
    }
    check(DecodingConfig { suppress_unknown: true, ..plain() }, |tokens| !tokens.contains(&UNK));
    for repetition_penalty in [0.3, 1.5, 4.0] {
        check(DecodingConfig { repetition_penalty, ..plain() }, |_| true);
    }
    let known = DecodingConfig { min_length: 4, suppress_unknown: true, ..plain() };
    let wide = DecodingConfig { beam: 300, max_length: Some(5), ..known.clone() };
    let best = found(random_looking, &wide).remove(0).tokens;
    let text = |tokens: &[i64]| tokens.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    for banned in [&best[..1], &best[1..3], &best] {
        check(DecodingConfig { banned: vec![text(banned)], ..known.clone() }, |tokens| {
            let says = tokens.windows(banned.len()).any(|window| window == banned);
            tokens.len() + 1 >= 4 && !tokens.contains(&UNK) && !says
        });
    }
}

#[test]
fn greedy_search_and_samples_keep_to_the_rules_too() {
    let rules = DecodingConfig {
        min_length: 3,
        max_length: Some(4),
        no_repeat_ngram: 1,
        suppress_unknown: true,
        banned: vec!["4 5".into()],
        ..DecodingConfig::default()
    };
    let sampled = DecodingConfig { sampling: Some(SamplingConfig::default()), n_best: 20, ..rules.clone() };
    for config in [rules, sampled] {
        for one in found_by(&Scripted::new(random_looking), &sources(30), &config).concat() {
            let ends = one.tokens == [5, 4] && one.finished;
            // After 4 there is nothing left to say, and it is too early for EOS.
            let stuck = one.tokens == [4] && !one.finished;
            assert!(ends || stuck, "{one:?}");
        }
    }
}

#[test]
fn an_output_that_nothing_may_follow_ends_unfinished() {
    let config = DecodingConfig { min_length: 9, no_repeat_ngram: 1, ..DecodingConfig::default() };
    for beam in [1, 2, 8] {
        let best = found(random_looking, &DecodingConfig { beam, ..config.clone() }).remove(0);
        assert_eq!((best.tokens.len(), best.finished), (3, false), "the unknown symbol, 4 and 5");
        assert!((best.score - forced(random_looking, &[4], &best)).abs() < 1e-9);
    }
    let banned = ["1", "4", "5"].map(String::from).to_vec();
    let unknown = found(random_looking, &DecodingConfig { banned: banned.clone(), ..config.clone() });
    // The unknown symbol is none of these texts.
    assert_eq!((unknown[0].tokens.as_slice(), unknown[0].finished), ([UNK].as_slice(), false));
    let config = DecodingConfig { banned, suppress_unknown: true, ..config };
    assert_eq!(found(random_looking, &config), [Hypothesis::default()]);
    // Where another hypothesis can go on, it does.
    let config = DecodingConfig {
        beam: 2,
        min_length: 3,
        banned: vec!["4 4".into(), "4 5".into()],
        suppress_unknown: true,
        ..Default::default()
    };
    let best = found(|_, _| vec![-9.0, -9.0, -9.0, -1.0, -0.1, -3.0], &config).remove(0);
    assert_eq!(
        (best.tokens, best.finished),
        (vec![5, 4], true),
        "4 is likelier, and then nothing may follow"
    );
}

#[test]
fn a_prefix_is_said_whatever_it_costs_and_counts() {
    for config in all_kinds() {
        let config = DecodingConfig { max_length: Some(7), ..config };
        for prefix in [&[5][..], &[UNK, 4], &[4, 4, 4]] {
            let request = Request { source: (&[9]).into(), prefix };
            let all = decode_n_best(&Scripted::new(random_looking), &[request], &rules(&config)).unwrap();
            for one in &all[0] {
                assert!(one.tokens.starts_with(prefix) && one.tokens.len() <= 7, "{one:?}");
                assert!((one.score - forced(random_looking, &[9], one)).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn a_prefix_that_an_unbounded_search_finds_anyway_changes_nothing() {
    let config = DecodingConfig { beam: 300, max_length: Some(5), ..DecodingConfig::default() };
    for source in sources(20) {
        let free = found_by(&Scripted::new(random_looking), &[source], &config).remove(0).remove(0);
        for length in 0..=free.tokens.len() {
            let request = Request { source: source[..].into(), prefix: &free.tokens[..length] };
            let all = decode_n_best(&Scripted::new(random_looking), &[request], &rules(&config)).unwrap();
            assert_eq!(all[0][0], free);
        }
    }
}

#[test]
fn a_prefix_beyond_the_limit_is_cut_and_one_that_is_no_output_is_refused() {
    let of = |prefix: &[i64]| {
        let config = DecodingConfig { beam: 2, max_length: Some(3), ..DecodingConfig::default() };
        let stepper = Scripted::new(random_looking);
        decode_n_best(&stepper, &[Request { source: (&[4]).into(), prefix }], &rules(&config))
    };
    let cut = &of(&[4, 5, 4, 5, 4]).unwrap()[0][0];
    assert_eq!((cut.tokens.as_slice(), cut.finished), ([4, 5, 4].as_slice(), false));
    for token in [-1, 0, BOS, EOS, 6, i64::MAX] {
        let error = of(&[4, token]).unwrap_err();
        let message = format!("an output cannot begin with token {token} in its prefix");
        assert_eq!((error.message(), error.exit_code()), (message.as_str(), 2));
    }
}
