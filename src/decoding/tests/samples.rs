//! Samples have the frequencies of the model's probabilities, and are the same for the same seed.

use std::collections::HashMap;

use super::*;

fn samples(count: usize, sampling: SamplingConfig) -> DecodingConfig {
    DecodingConfig {
        n_best: count,
        sampling: Some(sampling),
        max_length: Some(3),
        ..DecodingConfig::default()
    }
}

/// The outputs of at most three tokens and their probabilities, when only some tokens are possible.
fn outputs() -> Vec<(Vec<i64>, bool, f64)> {
    let (mut all, mut open) = (Vec::new(), vec![(Vec::new(), 1.0)]);
    for _ in 0..3 {
        for (prefix, p) in std::mem::take(&mut open) {
            let weights = random_looking(&[4], &prefix);
            let of = |token: i64| f64::from(weights[token as usize]).exp();
            let sum: f64 = ALLOWED.into_iter().map(of).sum();
            for token in ALLOWED {
                let p = p * of(token) / sum;
                match token {
                    EOS => all.push((prefix.clone(), true, p)),
                    _ => open.push(([&prefix[..], &[token]].concat(), p)),
                }
            }
        }
    }
    all.extend(open.into_iter().map(|(prefix, p)| (prefix, false, p)));
    all
}

#[test]
fn outputs_are_sampled_as_often_as_they_are_likely() {
    const COUNT: usize = 10_000;
    let mut times: HashMap<(Vec<i64>, bool), f64> = HashMap::new();
    for one in found(random_looking, &samples(COUNT, SamplingConfig::default())) {
        *times.entry((one.tokens, one.finished)).or_default() += 1.0;
    }
    assert_eq!(times.values().sum::<f64>(), COUNT as f64);
    let outputs = outputs();
    assert!((outputs.iter().map(|(_, _, p)| p).sum::<f64>() - 1.0).abs() < 1e-9);
    let mut chi_square = 0.0;
    for (tokens, finished, p) in &outputs {
        let expected = p * COUNT as f64;
        let seen = times.remove(&(tokens.clone(), *finished)).unwrap_or(0.0);
        chi_square += (seen - expected).powi(2) / expected;
    }
    assert!(times.is_empty(), "outputs that cannot be: {times:?}");
    // 39 degrees of freedom; one seed of ten thousand exceeds 80.
    assert!(outputs.len() == 40 && chi_square < 80.0, "{chi_square}");
}

#[test]
fn a_sample_depends_only_on_seed_source_and_number() {
    let draw = |seed, count| {
        let config = samples(count, SamplingConfig { seed, ..SamplingConfig::default() });
        let mut all = found(random_looking, &config);
        all.sort_by(|one, other| one.tokens.cmp(&other.tokens));
        all
    };
    assert_eq!(draw(1, 30), draw(1, 30));
    assert_ne!(draw(1, 30), draw(2, 30));
    // The first of many samples equal those of few.
    let mut more = draw(1, 30);
    for one in draw(1, 10) {
        let place = more.iter().position(|other| *other == one);
        more.remove(place.expect("a sample of ten is among thirty"));
    }
}

#[test]
fn a_low_temperature_and_narrow_limits_are_greedy_search() {
    let plain = SamplingConfig::default;
    let greedy: Vec<_> = found_by(
        &Scripted::new(random_looking),
        &sources(40),
        &DecodingConfig { max_length: Some(3), ..DecodingConfig::default() },
    );
    let narrow = [
        SamplingConfig { temperature: 1e-9, ..plain() },
        SamplingConfig { temperature: 1e-300, ..plain() },
        SamplingConfig { top_k: 1, ..plain() },
        SamplingConfig { top_p: 1e-9, ..plain() },
        SamplingConfig { min_p: 1.0, ..plain() },
    ];
    for sampling in narrow {
        assert_eq!(found_by(&Scripted::new(random_looking), &sources(40), &samples(1, sampling)), greedy);
    }
    assert_ne!(found_by(&Scripted::new(random_looking), &sources(40), &samples(1, plain())), greedy);
}

#[test]
fn samples_are_sorted_by_score() {
    let all = found(random_looking, &samples(50, SamplingConfig::default()));
    let finished = all.iter().filter(|one| one.finished).count();
    assert!(all.len() == 50 && (1..50).contains(&finished));
    for part in [&all[..finished], &all[finished..]] {
        assert!(
            part.is_sorted_by(|one, other| one.ranking >= other.ranking && one.finished == other.finished)
        );
    }
}
