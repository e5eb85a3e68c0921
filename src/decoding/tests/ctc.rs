//! Searches that go by a CTC head, alone or with the decoder.

use super::super::ctc::combined;
use super::super::ctc::prefix_beam::best_path;
use super::super::ctc::prefix_score::CtcPrefix;
use super::super::ensemble::Ensemble;
use super::super::incremental_decoder::score_by_steps;
use super::super::stream::check_streamable;
use super::*;

fn of(method: Method, beam: usize, n_best: usize) -> DecodingConfig {
    DecodingConfig { method, beam, n_best, ..DecodingConfig::default() }
}

/// The log-probability of a sequence by the head of a source.
fn by_ctc(head: Head, source: &[i64], tokens: &[i64]) -> f64 {
    CtcPrefix::new(Arc::new(head(source))).extend_all(tokens).score_of_end()
}

/// All sequences of that language with at most this many tokens.
fn all_sequences(longest: usize) -> Vec<Vec<i64>> {
    let (mut all, mut last) = (Vec::new(), vec![Vec::new()]);
    for _ in 0..=longest {
        let longer = |tokens: &Vec<i64>| [UNK, 4, 5].map(|token| [tokens.as_slice(), &[token]].concat());
        let next = last.iter().flat_map(longer).collect();
        all.extend(std::mem::replace(&mut last, next));
    }
    all
}

fn tokens(list: &[Hypothesis]) -> Vec<Vec<i64>> {
    list.iter().map(|one| one.tokens.clone()).collect()
}

/// A head for this many frames, few enough to try all sequences.
fn short_head(source: &[i64]) -> CtcLogProbs {
    let data = (0..4).flat_map(|frame| random_looking(&[source, &[92]].concat(), &[frame]));
    CtcLogProbs::new(data.collect(), 6, PAD).unwrap()
}

fn with_short_head() -> Scripted {
    Scripted { ctc: Some(short_head), ..Scripted::new(random_looking) }
}

#[test]
fn a_joint_beam_without_ctc_weight_is_the_decoders_beam() {
    for config in all_kinds() {
        if config.sampling.is_some() || config.beam_groups > 1 {
            continue;
        }
        let [alone, joint] = [Method::Attention, Method::Joint].map(|method| {
            let config = DecodingConfig { method, ctc_weight: 0.0, max_length: Some(8), ..config.clone() };
            found_by(&Scripted::new(random_looking), &sources(30), &config)
        });
        assert_eq!(joint, alone, "{config:?}");
    }
}

#[test]
fn a_wide_joint_beam_finds_the_best_output_by_both_scores() {
    for (ctc_weight, length_penalty) in [
        (0.3, LengthPenalty::None),
        (0.3, LengthPenalty::Length),
        (1.0, LengthPenalty::None),
        (0.7, LengthPenalty::Gnmt),
    ] {
        let config =
            DecodingConfig { ctc_weight, length_penalty, max_length: Some(5), ..of(Method::Joint, 200, 4) };
        for source in 4..20 {
            let mut all: Vec<Hypothesis> = all_sequences(4)
                .into_iter()
                .map(|tokens| {
                    let one = Hypothesis { tokens, finished: true, ..Hypothesis::default() };
                    let score = forced(random_looking, &[source], &one);
                    let sum = combined(ctc_weight, score, by_ctc(short_head, &[source], &one.tokens));
                    let ranking = options(&config).penalty.ranking(sum, one.tokens.len() + 1, &[]);
                    Hypothesis { score, ranking, ..one }
                })
                .collect();
            all.sort_by(|one, other| other.ranking.total_cmp(&one.ranking));
            let found = found_by(&with_short_head(), &[[source]], &config).remove(0);
            assert_eq!(tokens(&found), tokens(&all[..4]), "source {source}, {config:?}");
            for (one, other) in found.iter().zip(&all) {
                assert!((one.score - other.score).abs() < 1e-9 && (one.ranking - other.ranking).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn a_joint_beam_never_ranks_below_joint_greedy_search() {
    for ctc_weight in [0.2, 0.6, 1.0] {
        let best = |beam| {
            let config = DecodingConfig { ctc_weight, max_length: Some(12), ..of(Method::Joint, beam, 1) };
            found_by(&Scripted::new(random_looking), &sources(100), &config)
        };
        let greedy = best(1);
        assert!(greedy.iter().any(|list| list[0].tokens.len() > 2));
        for beam in [2, 3, 5, 8] {
            for (one, other) in best(beam).iter().zip(&greedy) {
                assert!(!other[0].finished || one[0].ranking >= other[0].ranking, "{one:?} {other:?}");
            }
        }
    }
}

/// The likeliest symbols of each frame, and that each has nearly all of the probability.
fn head_of(path: &[i64]) -> CtcLogProbs {
    let p = |symbol: i64, likely: i64| if symbol == likely { 0.95f32 } else { 0.01 };
    let data = path.iter().flat_map(|&likely| (0..6).map(move |symbol| p(symbol, likely).ln()));
    CtcLogProbs::new(data.collect(), 6, PAD).unwrap()
}

#[test]
fn ctc_ends_what_a_decoder_repeats_forever() {
    let repeats = |_: &[i64], _: &[i64]| [0.0, 0.01, 0.0, 0.0002, 0.0398, 0.95f32].map(f32::ln).to_vec();
    let decoder = Scripted { ctc: Some(|_| head_of(&[0, 5, 5, 0, 5, 0, 4, 0])), ..Scripted::new(repeats) };
    for beam in [1, 4] {
        let best = |method| {
            let config = DecodingConfig { ctc_weight: 0.8, max_length: Some(20), ..of(method, beam, 1) };
            found_by(&decoder, &[[4]], &config)[0][0].clone()
        };
        assert_ne!(best(Method::Attention).tokens, [5, 5, 4]);
        assert_eq!((best(Method::Joint).tokens, best(Method::Joint).finished), (vec![5, 5, 4], true));
    }
}

#[test]
fn a_forced_prefix_and_constraints_hold_in_a_joint_beam() {
    let decoder =
        Scripted { ctc: Some(|_| head_of(&[0, 5, 5, 0, 4, 0, 0])), ..Scripted::new(random_looking) };
    let config = DecodingConfig { no_repeat_ngram: 1, max_length: Some(9), ..of(Method::Joint, 4, 4) };
    let opening = begins_with(&[UNK]);
    let request = request(&[4], Some(&opening), &options(&config));
    for one in decode_n_best(&decoder, &[&request], &options(&config)).unwrap().remove(0) {
        assert_eq!((one.tokens[0], one.finished), (UNK, true));
        assert!((1..one.tokens.len()).all(|n| !one.tokens[..n].contains(&one.tokens[n])), "{one:?}");
    }
    // Six frames have room for six tokens; the constraints ask for more.
    let short = Scripted { ctc: Some(|_| head_of(&[4, 5, 4, 5, 4, 5])), ..Scripted::new(random_looking) };
    let longer = DecodingConfig { min_length: 10, no_repeat_ngram: 0, max_length: Some(12), ..config };
    let opening = begins_with(&[UNK; 4]);
    let request = DecodeRequest { prefix: opening, ..DecodeRequest::new(&[4], 12) };
    for one in decode_n_best(&short, &[&request], &options(&longer)).unwrap().remove(0) {
        assert!(one.tokens.starts_with(&[UNK; 4]) && one.tokens.len() >= 9, "{one:?}");
    }
}

#[test]
fn a_ctc_beam_finds_the_likeliest_sequences_without_decoder_steps() {
    let decoder = with_short_head();
    let config = of(Method::Ctc, 200, 5);
    for (source, list) in sources(20).iter().zip(found_by(&decoder, &sources(20), &config)) {
        let mut all: Vec<(Vec<i64>, f64)> = all_sequences(4)
            .into_iter()
            .map(|tokens| (tokens.clone(), by_ctc(short_head, source, &tokens)))
            .collect();
        all.sort_by(|one, other| other.1.total_cmp(&one.1));
        let expected = all.into_iter().take(5).map(|(tokens, score)| Hypothesis {
            tokens,
            score,
            ranking: score,
            finished: true,
        });
        assert_eq!(list, expected.collect::<Vec<_>>());
    }
    assert_eq!(decoder.steps.get(), 0);
}

#[test]
fn a_ctc_beam_of_one_is_the_best_path_and_no_beam_ranks_below_it() {
    let best = |beam| found_by(&Scripted::new(random_looking), &sources(60), &of(Method::Ctc, beam, 1));
    let greedy = best(1);
    for (source, list) in sources(60).iter().zip(&greedy) {
        assert_eq!(list[0].tokens, best_path(&random_looking_head(source), &[UNK, 4, 5]));
        assert_eq!(list[0].score, by_ctc(random_looking_head, source, &list[0].tokens));
    }
    for beam in [2, 6] {
        assert!(best(beam).iter().zip(&greedy).all(|(one, other)| one[0].score >= other[0].score));
    }
}

#[test]
fn rescoring_ranks_the_ctc_outputs_by_both_scores() {
    let found = |method, ctc_weight| {
        let config = DecodingConfig { ctc_weight, ..of(method, 6, 6) };
        found_by(&Scripted::new(random_looking), &sources(20), &config)
    };
    let by_head = found(Method::Ctc, 0.0);
    for weight in [0.0, 0.4, 1.0] {
        for ((source, list), of_head) in sources(20).iter().zip(found(Method::Rescore, weight)).zip(&by_head)
        {
            for one in &list {
                let score = forced(random_looking, source, one);
                let ranking = combined(weight, score, by_ctc(random_looking_head, source, &one.tokens));
                assert!((one.score - score).abs() < 1e-9 && (one.ranking - ranking).abs() < 1e-9);
            }
            assert!(list.is_sorted_by(|one, other| one.ranking >= other.ranking));
            if weight == 1.0 {
                assert_eq!(tokens(&list), tokens(of_head));
            }
        }
    }
    assert_ne!(found(Method::Rescore, 0.0).concat()[0].tokens, Vec::<i64>::new());
}

#[test]
fn ctc_decoding_does_not_depend_on_the_batch_and_the_order() {
    for method in [Method::Ctc, Method::Rescore] {
        let decode = |batch_size, sources: &[[i64; 1]]| {
            let config = DecodingConfig { batch_size, ..of(method, 3, 3) };
            found_by(&Scripted::new(random_looking), sources, &config)
        };
        let alone = decode(1, &sources(23));
        assert_eq!(decode(5, &sources(23)), alone);
        let mut backwards = decode(64, &sources(23).into_iter().rev().collect::<Vec<_>>());
        backwards.reverse();
        assert_eq!(backwards, alone);
    }
}

#[test]
fn ctc_decoding_respects_allowed_tokens_the_limit_and_forced_texts() {
    let decoder =
        Scripted { ctc: Some(|_| head_of(&[2, 5, 1, 4, 0, 4, 3])), ..Scripted::new(random_looking) };
    let first = |config: &DecodingConfig| found_by(&decoder, &[[4]], config)[0][0].clone();
    // BOS and EOS are no tokens of a head; 4 and 4 have room between them.
    for beam in [1, 5] {
        let config = of(Method::Ctc, beam, 1);
        assert_eq!(first(&config).tokens, [5, UNK, 4, 4]);
        assert_eq!(first(&DecodingConfig { suppress_unknown: true, ..config.clone() }).tokens, [5, 4, 4]);
        let fits = first(&DecodingConfig { max_length: Some(5), ..config.clone() });
        assert_eq!((fits.tokens.len(), fits.finished), (4, true));
        let cut = first(&DecodingConfig { max_length: Some(4), ..config.clone() });
        assert_eq!((cut.tokens.as_slice(), cut.finished), ([5, UNK, 4].as_slice(), false));
        assert!(cut.score > fits.score, "any continuation is possible");
        let request = DecodeRequest { allowed: Some([EOS, 4].into()), ..DecodeRequest::new(&[4], 9) };
        let kept = decode_n_best(&decoder, &[&request], &options(&config)).unwrap().remove(0);
        assert_eq!(kept[0].tokens, [4, 4]);
    }
    let same = |_: &DecodingConfig| (0..6).map(|_| [b"x"[..].into(), b"x"[..].into()]).collect::<Vec<_>>();
    let config = of(Method::Ctc, 5, 5);
    let rules = SearchOptions::new(&config, || same(&config)).unwrap();
    let list = decode_n_best(&decoder, &[&request(&[4], None, &rules)], &rules).unwrap().remove(0);
    let mut lengths: Vec<usize> = list.iter().map(|one| one.tokens.len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    assert_eq!(lengths.len(), list.len(), "a text is there once");
}

#[test]
fn the_ctc_heads_of_an_ensemble_are_averaged() {
    let sharp: Head = |_| head_of(&[5, 0, 4]);
    let other: Head = |_| head_of(&[5, 0, 5]);
    let member = |ctc| Scripted { ctc, ..Scripted::new(random_looking) };
    let heads = |second: Option<Head>, combination| {
        let ensemble = Ensemble::new(member(Some(sharp)), [member(second)], combination);
        let state = ensemble.start(&[&DecodeRequest::new(&[4], 9)], 0).unwrap();
        ensemble.ctc_log_probs(&state).map(|heads| heads.map(|mut heads| heads.remove(0)))
    };
    let mean = heads(Some(other), Combination::Probabilities).unwrap().unwrap();
    assert!((mean.at(2, 4) - 0.48f64.ln()).abs() < 1e-6 && (mean.at(0, 5) - 0.95f64.ln()).abs() < 1e-6);
    let mean = heads(Some(other), Combination::LogProbabilities).unwrap().unwrap();
    assert!((mean.at(2, 4) - (0.95f64 * 0.01).ln() / 2.0).abs() < 1e-6);
    assert!(heads(None, Combination::Probabilities).unwrap().is_none());
    let refused = heads(Some(|_| head_of(&[5, 0])), Combination::Probabilities).unwrap_err();
    assert!(refused.message().ends_with("theirs are 3 by 6 and 2 by 6"), "{refused}");
}

#[test]
fn an_ensemble_scores_targets_as_in_its_steps() {
    let another: Script = |source, prefix| random_looking(&[source, &[77]].concat(), prefix);
    for combination in [Combination::LogProbabilities, Combination::Probabilities] {
        let ensemble = Ensemble::new(Scripted::new(random_looking), [Scripted::new(another)], combination);
        let requests =
            [DecodeRequest::new(&[4], 9), DecodeRequest::new(&[5], 9), DecodeRequest::new(&[6], 9)];
        let start = || ensemble.start(&requests.each_ref(), 0).unwrap();
        let targets: [&[i64]; 3] = [&[4, 5, 5], &[], &[UNK]];
        let at_once = ensemble.score_targets(&targets, start()).unwrap();
        assert_eq!(at_once.iter().map(Vec::len).collect::<Vec<_>>(), [4, 1, 2]);
        let by_steps = score_by_steps(&ensemble, &targets, start()).unwrap();
        for (one, other) in at_once.iter().flatten().zip(by_steps.iter().flatten()) {
            assert!((one - other).abs() < 1e-6, "{one} {other}");
        }
    }
}

#[test]
fn unsupported_combinations_with_a_method_are_refused() {
    let decode = |decoder: &Scripted, config: &DecodingConfig, opening: Option<&Arc<ForcedPrefix>>| {
        let error = decode_n_best(decoder, &[&request(&[4], opening, &options(config))], &options(config));
        let error = error.unwrap_err();
        (error.message().to_owned(), error.exit_code())
    };
    let headless = Scripted { ctc: None, ..Scripted::new(random_looking) };
    for method in [Method::Ctc, Method::Joint, Method::Rescore] {
        let (message, code) = decode(&headless, &of(method, 2, 1), None);
        let name = method.name();
        assert_eq!(code, 2);
        assert_eq!(
            message,
            format!("`decoding.method` \"{name}\" needs a model with a CTC head, but this model has none")
        );
    }
    assert!(found_by(&headless, &[[4]], &of(Method::Attention, 2, 1))[0][0].finished);
    let (message, code) =
        decode(&Scripted::new(random_looking), &of(Method::Rescore, 2, 1), Some(&begins_with(&[4])));
    let expected =
        "`decoding.method` must be \"attention\" or \"joint\" with a forced prefix, but it is \"rescore\"";
    assert_eq!((message.as_str(), code), (expected, 2));
    let shown = |method| check_streamable(&options(&of(method, 1, 1)));
    assert!(shown(Method::Joint).is_ok());
    let error = shown(Method::Ctc).unwrap_err();
    assert_eq!(
        error.message(),
        "interactive decoding needs a method with steps, but `decoding.method` is \"ctc\""
    );
    let nan: Script = |_, _| vec![f32::NAN; 6];
    let (message, _) = decode(&Scripted::new(nan), &of(Method::Rescore, 2, 1), None);
    assert_eq!(message, "the model's scores are NaN or infinite");
}

#[test]
fn settings_unknown_to_a_method_are_refused_together() {
    let refused = |config: DecodingConfig| config.check().unwrap_err().message;
    let joint = of(Method::Joint, 4, 1);
    let sampling = Some(SamplingConfig::default());
    let expected = "`method` must be \"attention\" with `sampling`, but it is \"joint\"";
    assert_eq!(refused(DecodingConfig { beam: 1, sampling, ..joint.clone() }), expected);
    let expected = "`method` must be \"attention\" with `beam_groups`, but it is \"joint\"";
    assert_eq!(refused(DecodingConfig { beam_groups: 2, ..joint.clone() }), expected);
    let set = |method| {
        let plain = of(method, 4, 1);
        [
            ("coverage_penalty", DecodingConfig { coverage_penalty: 0.1, ..plain.clone() }),
            ("min_length", DecodingConfig { min_length: 2, ..plain.clone() }),
            ("repetition_penalty", DecodingConfig { repetition_penalty: 1.1, ..plain.clone() }),
            ("no_repeat_ngram", DecodingConfig { no_repeat_ngram: 2, ..plain.clone() }),
            ("banned", DecodingConfig { banned: vec!["a".into()], ..plain }),
        ]
    };
    for (key, config) in set(Method::Rescore) {
        let expected =
            format!("`method` must be \"attention\" or \"joint\" with `{key}`, but it is \"rescore\"");
        assert_eq!(refused(config), expected);
    }
    assert!(set(Method::Joint).iter().all(|(_, config)| config.check().is_ok()));
    for ctc_weight in [-0.1, 1.1, f64::NAN] {
        let config = DecodingConfig { ctc_weight, ..DecodingConfig::default() };
        assert!(refused(config).starts_with("`ctc_weight` must be from 0 to 1, but it is"));
    }
}
