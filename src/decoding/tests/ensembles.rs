//! Ensembles of several models.

use super::super::ensemble::Ensemble;
use super::*;

/// Another language of the same six tokens.
fn another(source: &[i64], prefix: &[i64]) -> Vec<f32> {
    random_looking(&[source, &[77]].concat(), prefix)
}

#[test]
fn an_ensemble_of_a_model_with_itself_equals_the_model() {
    let sources = sources(20);
    for config in all_kinds() {
        let config = DecodingConfig { max_length: Some(6), ..config };
        let alone = found_by(&Scripted::new(random_looking), &sources, &config);
        for combination in [Combination::LogProbabilities, Combination::Probabilities] {
            let member = || Scripted { joins: true, ..Scripted::new(random_looking) };
            let ensemble = Ensemble::new(member(), [member()], combination);
            let together =
                decode_n_best(&ensemble, &borrowed(&requests(&sources, &config)), &options(&config)).unwrap();
            for (one, other) in together.iter().flatten().zip(alone.iter().flatten()) {
                assert_eq!((&one.tokens, one.finished), (&other.tokens, other.finished));
                assert!((one.score - other.score).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn the_score_of_an_ensemble_is_the_mean_of_its_members() {
    let sources = sources(20);
    let config = DecodingConfig { beam: 3, max_length: Some(6), ..DecodingConfig::default() };
    let together = |combination| {
        let ensemble = Ensemble::new(Scripted::new(random_looking), [Scripted::new(another)], combination);
        decode_n_best(&ensemble, &borrowed(&requests(&sources, &config)), &options(&config)).unwrap().concat()
    };
    for (source, one) in sources.iter().zip(together(Combination::LogProbabilities)) {
        let mean = (forced(random_looking, source, &one) + forced(another, source, &one)) / 2.0;
        assert!((one.score - mean).abs() < 1e-5);
    }
    let both = |source: &[i64], prefix: &[i64]| -> Vec<f32> {
        let pairs = random_looking(source, prefix).into_iter().zip(another(source, prefix));
        pairs.map(|(one, other)| ((one.exp() + other.exp()) / 2.0).ln()).collect()
    };
    for (source, one) in sources.iter().zip(together(Combination::Probabilities)) {
        assert!((one.score - forced(both, source, &one)).abs() < 1e-5);
    }
}

#[test]
fn a_token_impossible_for_one_member_is_half_as_likely_or_impossible() {
    let sure: Script = |_, _| [0.0f32, 0.0, 0.0, 1.0, 0.0].map(f32::ln).to_vec();
    let unsure: Script = |_, _| [0.0f32, 0.0, 0.0, 0.25, 0.75].map(f32::ln).to_vec();
    let scores = |combination| {
        let ensemble = Ensemble::new(Scripted::new(sure), [Scripted::new(unsure)], combination);
        let state = ensemble.start(&[&DecodeRequest::new(&[4], 9)], 0).unwrap();
        ensemble.step(&[BOS], state).unwrap().0.log_p
    };
    let mean = scores(Combination::LogProbabilities);
    assert!((mean[3] - 0.5f32.ln()).abs() < 1e-6 && mean[4] == f32::NEG_INFINITY);
    let mean = scores(Combination::Probabilities);
    assert!((mean[3].exp() - 0.625).abs() < 1e-6 && (mean[4].exp() - 0.375).abs() < 1e-6, "{mean:?}");
    assert_eq!(mean[0], f32::NEG_INFINITY);
}

#[test]
fn attention_is_the_mean_of_the_members() {
    let attention: [Script; 2] = [|_, _| vec![0.2, 0.8], |_, _| vec![0.6, 0.4]];
    let [one, other] =
        attention.map(|look| Scripted { attention: Some(look), ..Scripted::new(random_looking) });
    let ensemble = Ensemble::new(one, [other], Combination::Probabilities);
    let state = ensemble.start(&[&DecodeRequest::new(&[4], 9)], 0).unwrap();
    let seen = ensemble.step_with_attention(&[BOS], state).unwrap().0.attention.unwrap();
    assert!((seen[0][0] - 0.4).abs() < 1e-6 && (seen[0][1] - 0.6).abs() < 1e-6, "{seen:?}");
}

#[test]
fn members_that_do_not_match_are_refused() {
    let small: Script = |_, _| vec![-1.0; 5];
    let [one, other] = [random_looking, small].map(|script: Script| Scripted::new(script));
    let ensemble = Ensemble::new(one, [other], Combination::LogProbabilities);
    let options = options(&DecodingConfig::default());
    let error = decode_n_best(&ensemble, &borrowed(&requests(&[[4]], &DecodingConfig::default())), &options)
        .unwrap_err();
    let expected =
        "the models of an ensemble must have the same target vocabulary, but theirs have 6 and 5 tokens";
    assert_eq!((error.message(), error.exit_code()), (expected, 2));
}

#[test]
fn an_ensemble_of_one_is_bit_identical_to_its_model() {
    let sources = sources(20);
    let config = DecodingConfig { beam: 3, max_length: Some(6), ..DecodingConfig::default() };
    let alone = found_by(&Scripted::new(random_looking), &sources, &config);
    for combination in [Combination::LogProbabilities, Combination::Probabilities] {
        let ensemble = Ensemble::new(Scripted::new(random_looking), [], combination);
        assert_eq!(
            decode_n_best(&ensemble, &borrowed(&requests(&sources, &config)), &options(&config)).unwrap(),
            alone
        );
    }
}
