//! Results of searches, compared with all possible outputs, and when searches stop.

use super::*;

/// All outputs that end before the limit, the best first.
fn all_outputs(source: i64, limit: usize, config: &DecodingConfig) -> Vec<Hypothesis> {
    let mut all = Vec::new();
    let mut open = vec![Hypothesis::default()];
    for length in 1..=limit {
        for begun in std::mem::take(&mut open) {
            let log_p = random_looking(&[source], &begun.tokens);
            for token in ALLOWED {
                let mut next = begun.clone();
                next.score += f64::from(log_p[token as usize]);
                if token == EOS {
                    next.ranking = options(config).penalty.ranking(next.score, length, &[]);
                    all.push(Hypothesis { finished: true, ..next });
                } else {
                    next.tokens.push(token);
                    open.push(next);
                }
            }
        }
    }
    all.sort_by(|one, other| other.ranking.total_cmp(&one.ranking));
    all
}

fn penalties() -> Vec<DecodingConfig> {
    let of = |length_penalty, length_penalty_alpha| DecodingConfig {
        length_penalty,
        length_penalty_alpha,
        max_length: Some(5),
        ..DecodingConfig::default()
    };
    vec![
        of(LengthPenalty::None, 1.0),
        of(LengthPenalty::Length, 1.0),
        of(LengthPenalty::Length, 0.5),
        of(LengthPenalty::Gnmt, 1.0),
        of(LengthPenalty::Gnmt, 2.0),
    ]
}

#[test]
fn a_wide_beam_finds_the_best_of_all_outputs() {
    for penalty in penalties() {
        for stop in [Stop::Outranked, Stop::Patience, Stop::BestPossible] {
            let config = DecodingConfig { beam: 200, n_best: 4, stop, ..penalty.clone() };
            for source in 4..30 {
                let all = all_outputs(source, 5, &config);
                assert_eq!(all.len(), 1 + 3 + 9 + 27 + 81);
                let found = found_by(&Scripted::new(random_looking), &[[source]], &config).remove(0);
                assert_eq!(found, all[..4], "source {source}, {config:?}");
            }
        }
    }
}

#[test]
fn a_beam_of_one_is_greedy_search() {
    for stop in [Stop::Outranked, Stop::Patience, Stop::First, Stop::BestPossible] {
        let config = DecodingConfig { stop, max_length: Some(6), ..DecodingConfig::default() };
        let all = found_by(&Scripted::new(random_looking), &sources(50), &config);
        assert!(all.iter().any(|list| list[0].finished) && all.iter().any(|list| !list[0].finished));
        for (source, list) in sources(50).iter().zip(all) {
            let mut greedy = Hypothesis::default();
            while !greedy.finished && greedy.tokens.len() < 6 {
                let log_p = random_looking(source, &greedy.tokens);
                let best = ALLOWED.into_iter().reduce(|best, token| {
                    if log_p[token as usize] > log_p[best as usize] { token } else { best }
                });
                match best.unwrap() {
                    EOS => greedy.finished = true,
                    token => greedy.tokens.push(token),
                }
            }
            assert_eq!((list.len(), &list[0].tokens, list[0].finished), (1, &greedy.tokens, greedy.finished));
        }
    }
}

/// 4 looks better than 5, and leads to worse.
fn garden_path(_: &[i64], prefix: &[i64]) -> Vec<f32> {
    let p: [f32; 6] = match prefix {
        [] => [0.0, 0.0, 0.0, 0.01, 0.59, 0.4],
        [4] => [0.0, 0.0, 0.0, 0.4, 0.3, 0.3],
        _ => [0.0, 0.0, 0.0, 0.98, 0.01, 0.01],
    };
    p.map(f32::ln).to_vec()
}

#[test]
fn a_beam_of_two_finds_what_greedy_search_misses() {
    let beam = |beam| DecodingConfig { beam, max_length: Some(5), ..DecodingConfig::default() };
    assert_eq!(found(garden_path, &beam(1))[0].tokens, [4]);
    let best = found(garden_path, &beam(2)).remove(0);
    assert_eq!((best.tokens.as_slice(), best.finished), ([5].as_slice(), true));
    assert!((best.score - (0.4f64 * 0.98).ln()).abs() < 1e-6);
    assert_eq!(best.ranking, best.score / 2.0);
}

#[test]
fn the_score_of_an_output_is_the_sum_of_its_log_probabilities_in_every_search() {
    for config in all_kinds() {
        let config = DecodingConfig { max_length: Some(7), ..config };
        let all = found_by(&Scripted::new(random_looking), &sources(40), &config);
        for (source, list) in sources(40).iter().zip(all) {
            assert!(!list.is_empty() && list.len() <= config.n_best);
            for one in list {
                assert!((forced(random_looking, source, &one) - one.score).abs() < 1e-9, "{config:?}");
                assert!(one.finished || one.tokens.len() <= 7);
            }
        }
    }
}

#[test]
fn an_output_at_the_length_limit_is_unfinished() {
    // A source of 4 repeats 5 forever, one of 5 may end at once.
    let endless = |source: &[i64], _: &[i64]| match source {
        [4] => vec![-9.0, -9.0, -9.0, -8.0, -2.0, -0.2],
        _ => vec![-9.0, -9.0, -9.0, -0.5, -2.0, -1.5],
    };
    for beam in [1, 2] {
        let config = DecodingConfig { beam, max_length: Some(3), ..DecodingConfig::default() };
        let all = found_by(&Scripted::new(endless), &[[4], [5]], &config);
        let (long, short) = (&all[0][0], &all[1][0]);
        assert_eq!((long.tokens.as_slice(), long.finished), ([5, 5, 5].as_slice(), false));
        assert!((long.score + 0.6).abs() < 1e-6);
        assert_eq!((short.tokens.as_slice(), short.finished), ([].as_slice(), true));
    }
}

#[test]
fn unfinished_outputs_fill_the_n_best_list_after_finished_ones() {
    let config = DecodingConfig { beam: 3, n_best: 3, max_length: Some(1), ..DecodingConfig::default() };
    let all = found(|_, _| vec![-9.0, -9.0, -9.0, -3.0, -0.2, -2.5], &config);
    let shown: Vec<_> = all.iter().map(|one| (one.tokens.as_slice(), one.finished)).collect();
    assert_eq!(shown, [([].as_slice(), true), ([4].as_slice(), false), ([5].as_slice(), false)]);
}

#[test]
fn a_source_is_done_when_no_active_hypothesis_can_win() {
    let sure = |_: &[i64], _: &[i64]| vec![-9.0, -9.0, -9.0, -0.1, -4.0, -5.0];
    for stop in [Stop::Patience, Stop::First, Stop::BestPossible] {
        let decoder = Scripted::new(sure);
        let config = DecodingConfig { beam: 3, stop, max_length: Some(8), ..DecodingConfig::default() };
        // Eight tokens for -4.0 would be -0.5 each, and there is one token for -0.1.
        assert!(found_by(&decoder, &[[4]], &config)[0][0].finished);
        assert_eq!(decoder.steps.get(), 1);
    }
}

#[test]
fn each_stopping_rule_stops_as_defined() {
    // Ranked by mean log-probability, every longer output is better.
    let ever_better = |_: &[i64], _: &[i64]| {
        let p: [f32; 5] = [0.0, 0.0, 0.0, 0.3, 0.7];
        p.map(f32::ln).to_vec()
    };
    let length = |stop, patience| {
        let config = DecodingConfig { beam: 2, stop, patience, max_length: Some(10), ..Default::default() };
        let best = found(ever_better, &config).remove(0);
        (best.tokens.len(), best.finished)
    };
    // The empty output and that of one token have finished when those of two tokens have -0.36 each.
    assert_eq!(length(Stop::Outranked, 1.0), (9, true), "what is live is better all the time");
    assert_eq!(length(Stop::First, 1.0), (0, true));
    assert_eq!(length(Stop::Patience, 1.0), (1, true));
    assert_eq!(length(Stop::Patience, 1.5), (2, true));
    assert_eq!(length(Stop::Patience, 2.0), (3, true));
    assert_eq!(length(Stop::BestPossible, 1.0), (9, true));
}

/// EOS is always among the most likely few, as with a small vocabulary and label smoothing, but almost never likely.
fn small_and_smooth(source: &[i64], prefix: &[i64]) -> Vec<f32> {
    let wanted = 4 + (source[0] + prefix.iter().sum::<i64>() * 5 + prefix.len() as i64) % 3;
    let ends = prefix.len() as i64 >= 4 + source[0] % 5;
    let p = |token: i64| match token {
        0 | 2 => 0.0,
        EOS if ends => 0.9,
        _ if token == wanted && !ends => 0.9,
        EOS => 0.04,
        _ => 0.02,
    };
    (0..7).map(|token| (p(token) as f32).ln()).collect()
}

#[test]
fn a_beam_never_ranks_below_greedy_search() {
    let scripts: [Script; 2] = [small_and_smooth, random_looking];
    for script in scripts {
        for length_penalty in [LengthPenalty::None, LengthPenalty::Length, LengthPenalty::Gnmt] {
            for (beam, beam_groups) in [(2, 1), (3, 1), (5, 1), (10, 1), (6, 3), (4, 4)] {
                let greedy =
                    DecodingConfig { length_penalty, max_length: Some(16), ..DecodingConfig::default() };
                let wide = DecodingConfig { beam, beam_groups, n_best: 2, ..greedy.clone() };
                let [greedy, wide] =
                    [greedy, wide].map(|config| found_by(&Scripted::new(script), &sources(60), &config));
                for (greedy, wide) in greedy.iter().zip(&wide) {
                    let (one, best) = (&greedy[0], &wide[0]);
                    let below = (best.finished, best.ranking) < (one.finished, one.ranking);
                    assert!(!below, "a beam of {beam}: {best:?} and not {one:?}");
                    let is_in_order = |pair: &[Hypothesis]| {
                        (pair[0].finished, pair[0].ranking) >= (pair[1].finished, pair[1].ranking)
                    };
                    assert!(wide.windows(2).all(is_in_order), "{wide:?}");
                }
            }
        }
    }
}

/// The rules that count finished hypotheses also count unlikely ends.
#[test]
fn with_a_small_vocabulary_patience_stops_too_early() {
    let config = |stop| DecodingConfig { beam: 5, stop, max_length: Some(16), ..DecodingConfig::default() };
    let of = |config: &DecodingConfig| found_by(&Scripted::new(small_and_smooth), &sources(20), config);
    let greedy = of(&DecodingConfig { beam: 1, ..config(Stop::Outranked) });
    assert_eq!(of(&config(Stop::Outranked)), greedy);
    assert_eq!(of(&config(Stop::BestPossible)), greedy);
    let patient = of(&config(Stop::Patience));
    let below = patient.iter().zip(&greedy).filter(|(one, greedy)| one[0].ranking < greedy[0].ranking);
    assert!(below.count() > 10);
}

#[test]
fn coverage_prefers_outputs_that_attended_to_the_whole_source() {
    // 4 is more likely and attends to one position only, 5 to both.
    let script = |_: &[i64], prefix: &[i64]| {
        let p: [f32; 6] =
            if prefix.is_empty() { [0.0, 0.0, 0.0, 0.0, 0.6, 0.4] } else { [0.0, 0.0, 0.0, 1.0, 0.0, 0.0] };
        p.map(f32::ln).to_vec()
    };
    let mut decoder = Scripted::new(script);
    let config =
        |coverage_penalty| DecodingConfig { beam: 2, n_best: 2, coverage_penalty, ..Default::default() };
    assert_eq!(found_by(&decoder, &[[4]], &config(0.0))[0][0].tokens, [4]);
    decoder.attention = Some(|_, prefix| if prefix == [5] { vec![0.1, 0.9] } else { vec![0.75, 0.25] });
    let all = found_by(&decoder, &[[4]], &config(0.5)).remove(0);
    assert_eq!((&all[0].tokens, &all[1].tokens), (&vec![5], &vec![4]));
    let ranking = [0.4f64.ln() / 2.0 + 0.5 * 0.85f64.ln(), 0.6f64.ln() / 2.0 + 0.5 * 0.5f64.ln()];
    assert!(all.iter().zip(ranking).all(|(one, ranking)| (one.ranking - ranking).abs() < 1e-6), "{all:?}");
    assert!((all[0].score - 0.4f64.ln()).abs() < 1e-6, "no penalty is in the score");
}

/// Active hypotheses have no more coverage than finished ones.
#[test]
fn coverage_does_not_prolong_a_search_that_is_outranked() {
    let script = |_: &[i64], _: &[i64]| [0.0, 0.0, 0.0, 0.9, 0.06, 0.04f32].map(f32::ln).to_vec();
    let steps = |coverage_penalty| {
        let mut decoder = Scripted::new(script);
        decoder.attention = Some(|_, _| vec![1.0, 0.0]);
        let config = DecodingConfig { beam: 3, coverage_penalty, max_length: Some(60), ..Default::default() };
        assert!(found_by(&decoder, &[[4]], &config)[0][0].tokens.is_empty());
        decoder.steps.get()
    };
    assert_eq!(steps(0.2), steps(0.0));
    assert!(steps(0.2) < 20);
}

/// This many groups of one hypothesis, and as many outputs.
fn groups_of_one(groups: usize, diversity_strength: f64, max_length: usize) -> DecodingConfig {
    DecodingConfig {
        beam: groups,
        beam_groups: groups,
        n_best: groups,
        diversity_strength,
        max_length: Some(max_length),
        ..DecodingConfig::default()
    }
}

#[test]
fn later_groups_avoid_the_tokens_of_earlier_ones() {
    let config = |strength| groups_of_one(4, strength, 4);
    let language = |_: &[i64], prefix: &[i64]| match prefix.len() {
        0 => vec![-9.0, -9.0, -9.0, -9.0, -0.4, -1.3, -3.0, -4.0],
        _ => vec![-9.0, -9.0, -9.0, -0.01, -6.0, -6.0, -6.0, -6.0],
    };
    let outputs = |strength| -> Vec<Vec<i64>> {
        found(language, &config(strength)).into_iter().map(|one| one.tokens).collect()
    };
    // Equal groups find the same outputs, which count once, and continue until there are enough.
    assert_eq!(outputs(0.0), [&[4][..], &[4, 4], &[4, 4, 4], &[4, 4, 4, 4]]);
    // The second group has 4 for 1.4 and takes 5; the third 4 for 1.4; the fourth 5 for 2.3.
    assert_eq!(outputs(1.0)[..2], [[4], [5]]);
    let mut firsts: Vec<i64> = outputs(10.0).iter().map(|tokens| tokens[0]).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, [4, 5, 6, 7]);
    for one in found(language, &config(10.0)) {
        assert!((forced(language, &[4], &one) - one.score).abs() < 1e-9);
        let length = one.tokens.len() + usize::from(one.finished);
        assert!(
            (one.ranking - one.score / length as f64).abs() < 1e-5,
            "the diversity penalty is in no score"
        );
    }
}

#[test]
fn later_groups_avoid_ending_where_earlier_ones_end() {
    let config = |strength| groups_of_one(3, strength, 3);
    let language = |_: &[i64], prefix: &[i64]| match prefix.len() {
        0 => vec![-99.0, -99.0, -99.0, -0.1, -3.0, -4.0, -5.0],
        _ => vec![-99.0, -99.0, -99.0, -0.1, -12.0, -12.0, -12.0],
    };
    let outputs = |strength| -> Vec<Vec<i64>> {
        found(language, &config(strength)).into_iter().map(|one| one.tokens).collect()
    };
    // The first group ends and continues with 4, since several outputs are requested; the second has EOS for 3.6, which
    // is a duplicate, and continues with 5; the third has EOS for 7.1 and takes 6 for 5.
    assert_eq!(outputs(3.5), [&[][..], &[4], &[6]]);
    // No group chooses EOS where another one does.
    assert_eq!(outputs(30.0), [&[][..], &[5, 5, 5], &[6, 6, 6]]);
}

#[test]
fn nan_scores_are_an_error_and_impossible_tokens_are_not() {
    let failing: [Script; 3] = [
        |_, _| vec![f32::NAN; 6],
        |_, _| vec![-1.0, -1.0, -1.0, -1.0, f32::INFINITY, -1.0],
        |_, prefix| if prefix == [5] { vec![f32::NAN; 6] } else { vec![-1.0; 6] },
    ];
    for script in failing {
        for config in all_kinds() {
            let opening = begins_with(&[5]);
            let request = request(&[4], Some(&opening), &options(&config));
            let error = decode_n_best(&Scripted::new(script), &[&request], &options(&config)).unwrap_err();
            assert_eq!((error.message(), error.exit_code()), ("the model's scores are NaN or infinite", 1));
        }
    }
    // Only EOS is possible, so that the beam is never full.
    let config = DecodingConfig { beam: 4, n_best: 4, max_length: Some(3), ..DecodingConfig::default() };
    let all = found(|_, _| vec![0.0, f32::NEG_INFINITY, 0.0, -0.1, f32::NEG_INFINITY], &config);
    assert_eq!(all.iter().map(|one| (one.tokens.len(), one.finished)).collect::<Vec<_>>(), [(0, true)]);
}

#[test]
fn scores_of_the_wrong_shape_are_an_error() {
    let error = decode_n_best(
        &Scripted::new(|_, _| vec![-1.0; 3]),
        &[&request(&[4], None, &options(&DecodingConfig::default()))],
        &options(&DecodingConfig::default()),
    );
    let expected = "the model returned 3 scores for 1 rows and a vocabulary of 3";
    assert_eq!(error.unwrap_err().message(), expected);
}
