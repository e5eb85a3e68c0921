//! Outputs obey the constraints, and are the best of those that do.

use std::collections::HashSet;

use super::super::constraints::token_texts::{TokenText, TokenTexts};
use super::*;
use crate::data::text_form::TextForm;
use crate::data::{Normalize, Whitespace};

/// All outputs of at most `limit` tokens with EOS, and the sums that rank them under a repetition penalty.
fn all_outputs(limit: usize, repetition: f32) -> Vec<(Vec<i64>, f64)> {
    let (mut all, mut open) = (Vec::new(), vec![(Vec::new(), 0.0)]);
    for _ in 0..limit {
        for (prefix, sum) in std::mem::take(&mut open) {
            let log_p = random_looking(&[4], &prefix);
            for token in ALLOWED {
                let again = if prefix.contains(&token) { repetition } else { 1.0 };
                let sum = sum + f64::from(log_p[token as usize] * again);
                match token {
                    EOS => all.push((prefix.clone(), sum)),
                    _ => open.push(([&prefix[..], &[token]].concat(), sum)),
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
fn a_constrained_beam_finds_the_best_allowed_output() {
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
            let has_banned = tokens.windows(banned.len()).any(|window| window == banned);
            tokens.len() + 1 >= 4 && !tokens.contains(&UNK) && !has_banned
        });
    }
}

#[test]
fn greedy_search_and_samples_respect_the_constraints_too() {
    let options = DecodingConfig {
        min_length: 3,
        max_length: Some(4),
        no_repeat_ngram: 1,
        suppress_unknown: true,
        banned: vec!["4 5".into()],
        ..DecodingConfig::default()
    };
    let sampled = DecodingConfig { sampling: Some(SamplingConfig::default()), n_best: 20, ..options.clone() };
    for config in [options, sampled] {
        for one in found_by(&Scripted::new(random_looking), &sources(30), &config).concat() {
            let ends = one.tokens == [5, 4] && one.finished;
            // After 4 no token is allowed, and it is too early for EOS.
            let stuck = one.tokens == [4] && !one.finished;
            assert!(ends || stuck, "{one:?}");
        }
    }
}

#[test]
fn an_output_without_an_allowed_next_token_is_unfinished() {
    let config = DecodingConfig { min_length: 9, no_repeat_ngram: 1, ..DecodingConfig::default() };
    for beam in [1, 2, 8] {
        let best = found(random_looking, &DecodingConfig { beam, ..config.clone() }).remove(0);
        assert_eq!((best.tokens.len(), best.finished), (3, false), "the unknown symbol, 4 and 5");
        assert!((best.score - forced(random_looking, &[4], &best)).abs() < 1e-9);
    }
    let banned = ["1", "4", "5"].map(String::from).to_vec();
    let unknown = found(random_looking, &DecodingConfig { banned: banned.clone(), ..config.clone() });
    // The unknown symbol is in none of these texts.
    assert_eq!((unknown[0].tokens.as_slice(), unknown[0].finished), ([UNK].as_slice(), false));
    let config = DecodingConfig { banned, suppress_unknown: true, ..config };
    assert_eq!(found(random_looking, &config), [Hypothesis::default()]);
    // If another hypothesis can continue, it does.
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
fn a_forced_prefix_is_kept_at_any_score_and_counts_in_the_score() {
    for config in all_kinds() {
        let config = DecodingConfig { max_length: Some(7), ..config };
        for prefix in [&[5][..], &[UNK, 4], &[4, 4, 4]] {
            let opening = begins_with(prefix);
            let request = request(&[9], Some(&opening), &options(&config));
            let all = decode_n_best(&Scripted::new(random_looking), &[&request], &options(&config)).unwrap();
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
            let opening = begins_with(&free.tokens[..length]);
            let request = request(&source[..], Some(&opening), &options(&config));
            let all = decode_n_best(&Scripted::new(random_looking), &[&request], &options(&config)).unwrap();
            assert_eq!(all[0][0], free);
        }
    }
}

#[test]
fn an_impossible_prefix_leaves_an_empty_hypothesis() {
    for beam in [1, 2] {
        let config = DecodingConfig { beam, max_length: Some(3), ..DecodingConfig::default() };
        let of = |prefix: &[i64]| {
            let opening = begins_with(prefix);
            let request = request(&[4], Some(&opening), &options(&config));
            decode_n_best(&Scripted::new(random_looking), &[&request], &options(&config))
                .unwrap()
                .remove(0)
                .remove(0)
        };
        assert_eq!(of(&[4, 5, 4]).tokens, [4, 5, 4], "as long as the output");
        for prefix in [&[4, 5, 4, 5][..], &[BOS], &[6]] {
            assert_eq!(of(prefix), Hypothesis::default(), "{prefix:?}");
        }
    }
}

/// Ids 4 and on; their texts have several tokenizations.
const PIECES: [&str; 6] = ["a", "b", "c", "ab", "abc", "bc"];

/// All of these tokens, EOS too, with probabilities that look random.
fn ways(source: &[i64], prefix: &[i64]) -> Vec<f32> {
    let some = |v: i64| {
        let state = source.iter().chain(prefix).chain([&v]).fold(7u64, |state, &token| {
            (state ^ token as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
        });
        (state % 3001) as f32 / 1000.0
    };
    let weights: Vec<f32> = (0..10).map(some).collect();
    let sum: f32 = weights.iter().map(|weight| weight.exp()).sum();
    weights.iter().map(|weight| weight - sum.ln()).collect()
}

fn in_bytes(texts: [&str; 2]) -> TokenText {
    texts.map(|text| text.as_bytes().into())
}

fn with_pieces(config: &DecodingConfig) -> SearchOptions {
    let special = ["", "<unk>", "", ""].map(|text| in_bytes([text; 2]));
    let pieces = PIECES.map(|text| in_bytes([text; 2]));
    SearchOptions::new(config, || special.into_iter().chain(pieces).collect()).unwrap()
}

/// Every output of at most `limit` tokens with EOS, the best first, and its text.
fn all_ways(source: i64, limit: usize) -> Vec<(f64, String, Vec<i64>)> {
    let (mut all, mut open) = (Vec::new(), vec![(Vec::new(), 0.0)]);
    let options = with_pieces(&DecodingConfig::default());
    for length in 1..=limit {
        for (prefix, sum) in std::mem::take(&mut open) {
            let log_p = ways(&[source], &prefix);
            for token in [UNK, EOS].into_iter().chain(4..10) {
                let sum = sum + f64::from(log_p[token as usize]);
                match token {
                    EOS => all.push((sum / length as f64, options.texts.of(&prefix), prefix.clone())),
                    _ => open.push(([&prefix[..], &[token]].concat(), sum)),
                }
            }
        }
    }
    all.sort_by(|one, other| other.0.total_cmp(&one.0));
    all
}

#[test]
fn a_forced_text_may_have_any_tokenization_and_a_token_may_extend_beyond_it() {
    let config = DecodingConfig { beam: 3000, max_length: Some(4), ..DecodingConfig::default() };
    let options = with_pieces(&config);
    let (mut beyond, mut other_cut) = (0, 0);
    for source in 4..24 {
        let all = all_ways(source, 4);
        for text in ["a", "ab", "abc", "abab", "bca", "cc"] {
            let opening = Arc::new(options.texts.forced_prefix(text).unwrap());
            let read = [source];
            let request = request(&read, Some(&opening), &options);
            let found =
                decode_n_best(&Scripted::new(ways), &[&request], &options).unwrap().remove(0).remove(0);
            // UNK never occurs within a forced text.
            let best =
                all.iter().find(|(_, output, tokens)| output.starts_with(text) && tokens[0] != UNK).unwrap();
            assert_eq!((&found.tokens, found.finished), (&best.2, true), "{source} {text}");
            assert!((found.ranking - best.0).abs() < 1e-9);
            let ends = |n: usize| options.texts.of(&found.tokens[..n]).len();
            beyond += usize::from((1..=found.tokens.len()).all(|n| ends(n) != text.len()));
            other_cut +=
                usize::from(options.texts.of(&found.tokens[..1]).len() == 1 && text.starts_with("ab"));
        }
    }
    assert!(beyond > 5 && other_cut > 5, "{beyond} {other_cut}");
}

#[test]
fn every_search_respects_a_forced_text() {
    for config in all_kinds() {
        let config = DecodingConfig { max_length: Some(5), banned: vec!["cc".into()], ..config };
        let options = with_pieces(&config);
        for text in ["ab", "abcab", "cc", "ccabcc"] {
            let opening = Arc::new(options.texts.forced_prefix(text).unwrap());
            for source in sources(9) {
                let request = request(&source, Some(&opening), &options);
                for one in &decode_n_best(&Scripted::new(ways), &[&request], &options).unwrap()[0] {
                    let output = options.texts.of(&one.tokens);
                    assert!(output.starts_with(text), "{output} does not begin with {text}");
                    assert!(
                        !output[text.len() - 1..].contains("cc"),
                        "{output}: only a forced prefix may contain it"
                    );
                    assert!((forced(ways, &source, one) - one.score).abs() < 1e-9);
                }
            }
        }
    }
    let options = with_pieces(&DecodingConfig::default());
    assert!(options.texts.forced_prefix("abd").is_none() && options.texts.forced_prefix("d").is_none());
    assert_eq!(options.texts.forced_prefix("abcabc").unwrap().min_tokens(), 2);
    assert_eq!(options.texts.forced_prefix("").unwrap(), ForcedPrefix::default());
}

/// Words: those that continue the text may follow, and no dead ends.
#[test]
fn a_forced_text_may_end_within_a_word() {
    let words = ["", "<unk>", "", "", "a", "ab", "new", "york", "yorkshire"];
    let pieces =
        words.map(|word| in_bytes([word, &if word.is_empty() { String::new() } else { format!(" {word}") }]));
    let texts = TokenTexts::new(pieces.into());
    let tokens = |text: &str| -> Vec<Vec<i64>> {
        let opening = texts.forced_prefix(text).unwrap();
        let (mut open, mut all) = (vec![(ForcedPrefix::START, Vec::new())], Vec::new());
        while let Some((place, prefix)) = open.pop() {
            match opening.at(place) {
                None => all.push(prefix),
                Some(place) => open.extend(place.choices.iter().map(|choice| {
                    (choice.next, prefix.iter().copied().chain([choice.token]).collect::<Vec<i64>>())
                })),
            }
        }
        all.sort_unstable();
        all
    };
    assert_eq!(tokens("new yo"), [[6, 7], [6, 8]]);
    assert_eq!(tokens("new york"), [[6, 7], [6, 8]]);
    assert_eq!(tokens("a"), [[4], [5]]);
    assert_eq!(tokens("ab new"), [[5, 6]], "not `a` and then a `b`");
    assert!(texts.forced_prefix("a b").is_none() && texts.forced_prefix("nev").is_none());
}

#[test]
fn an_n_best_list_has_a_text_once_with_its_best_tokenization() {
    for stop in [Stop::Outranked, Stop::BestPossible] {
        let config =
            DecodingConfig { beam: 3000, n_best: 12, max_length: Some(4), stop, ..DecodingConfig::default() };
        for source in sources(12) {
            let request = request(&source, None, &with_pieces(&config));
            let found =
                decode_n_best(&Scripted::new(ways), &[&request], &with_pieces(&config)).unwrap().remove(0);
            let mut expected: Vec<(f64, String, Vec<i64>)> = Vec::new();
            for one in all_ways(source[0], 4) {
                if expected.iter().all(|other| other.1 != one.1) {
                    expected.push(one);
                }
            }
            let tokens: Vec<&[i64]> = found.iter().map(|one| one.tokens.as_slice()).collect();
            let wanted: Vec<&[i64]> = expected[..12].iter().map(|one| one.2.as_slice()).collect();
            assert_eq!(tokens, wanted);
        }
    }
    // Narrow beams and groups: no duplicates, and as many outputs as requested.
    for config in all_kinds().into_iter().filter(|config| config.sampling.is_none() && config.n_best > 1) {
        let options = with_pieces(&DecodingConfig { max_length: Some(6), ..config.clone() });
        for source in sources(30) {
            let request = request(&source, None, &options);
            let found = decode_n_best(&Scripted::new(ways), &[&request], &options).unwrap().remove(0);
            let texts: HashSet<String> = found.iter().map(|one| options.texts.of(&one.tokens)).collect();
            assert_eq!((texts.len(), found.len()), (config.n_best, config.n_best), "{config:?}");
        }
    }
}

/// `e`, an accent, `é` and a space, in outputs of this form.
fn with_accents(config: &DecodingConfig, normalize: Normalize, whitespace: Whitespace) -> SearchOptions {
    let pieces = ["", "<unk>", "", "", "e", "\u{301}", "\u{e9}", " ", "e\u{301}", "ex"];
    let pieces = pieces.map(|text| in_bytes([text; 2]));
    let form = TextForm { normalize, whitespace, ..TextForm::default() };
    SearchOptions::with_texts(config, TokenTexts::in_form(pieces.into(), form)).unwrap()
}

#[test]
fn texts_are_compared_in_the_form_of_outputs() {
    let config = DecodingConfig { beam: 900, n_best: 900, max_length: Some(3), ..DecodingConfig::default() };
    let all = |normalize, whitespace| {
        let options = with_accents(&config, normalize, whitespace);
        let request = request(&[4], None, &options);
        let found = decode_n_best(&Scripted::new(ways), &[&request], &options).unwrap().remove(0);
        let texts: Vec<String> = found.iter().map(|one| options.texts.of(&one.tokens)).collect();
        assert_eq!(texts.iter().collect::<HashSet<_>>().len(), texts.len(), "{texts:?}");
        texts
    };
    let holds =
        |texts: &[String], wanted: &[&str]| wanted.iter().all(|one| texts.iter().any(|text| text == one));
    assert!(holds(&all(Normalize::None, Whitespace::Keep), &["e\u{301}", "\u{e9}", "e", "e ", " e"]));
    let nfc = all(Normalize::Nfc, Whitespace::Keep);
    assert!(holds(&nfc, &["\u{e9}", "\u{e9} "]) && !holds(&nfc, &["e\u{301}"]));
    let nfd = all(Normalize::Nfd, Whitespace::Trim);
    assert!(holds(&nfd, &["e\u{301}"]) && nfd.iter().all(|text| text.trim() == text));
}

#[test]
fn no_continuation_changes_a_forced_text() {
    for normalize in [Normalize::Nfc, Normalize::Nfkc, Normalize::Nfd, Normalize::None] {
        for config in all_kinds() {
            let config = DecodingConfig { max_length: Some(5), ..config };
            let options = with_accents(&config, normalize, Whitespace::Trim);
            let opening = Arc::new(options.texts.forced_prefix("e").unwrap());
            let beyond = |place: &PrefixState| place.choices.iter().any(|choice| choice.token == 8);
            let is_free = matches!(normalize, Normalize::Nfd | Normalize::None);
            assert_eq!(opening.at(ForcedPrefix::START).map(beyond), Some(is_free));
            for source in sources(20) {
                let request = request(&source, Some(&opening), &options);
                for one in decode_n_best(&Scripted::new(ways), &[&request], &options).unwrap().remove(0) {
                    let text = options.texts.of(&one.tokens);
                    assert!(text.starts_with('e'), "{text:?} in {normalize:?}");
                }
            }
        }
    }
}
