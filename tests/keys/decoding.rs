//! The keys of decoding, with `seqloom decode`. Unit tests compare each search with all outputs of a small language;
//! here a model with little training decodes.

use std::sync::OnceLock;

use serde_json::Value;

use super::{UNSURE, train};
use crate::support::run::Scene;

/// A model with little training; all tests only read it.
fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let scene = Scene::new(60, 12);
        train(&scene, "runs/copy", &UNSURE);
        scene
    })
}

/// Output, score and whether it is finished, of each validation row: of its best output.
fn decode(settings: &[&str]) -> Vec<(String, f64, bool)> {
    let settings: Vec<String> = settings.iter().map(|setting| format!("decoding.{setting}")).collect();
    let mut arguments = vec!["--input", "valid.csv", "--format", "jsonl"];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let rows = scene().decode(&arguments, "").succeeded().stdout;
    let rows = rows.lines().map(|line| serde_json::from_str(line).unwrap());
    let best = rows.filter(|row: &Value| row.get("rank").is_none_or(|rank| *rank == 1));
    let row = |row: Value| {
        let output = row["output"].as_str().unwrap().to_string();
        (output, row["score"].as_f64().unwrap(), row["finished"].as_bool().unwrap())
    };
    best.map(row).collect()
}

fn outputs(settings: &[&str]) -> Vec<String> {
    decode(settings).into_iter().map(|(output, ..)| output).collect()
}

/// The default ranking of finished outputs: each token of the output is a character.
fn rankings(settings: &[&str]) -> Vec<f64> {
    let ranking = |(output, score, finished): (String, f64, bool)| {
        if finished { score / (output.chars().count() + 1) as f64 } else { f64::NEG_INFINITY }
    };
    decode(settings).into_iter().map(ranking).collect()
}

#[test]
fn a_later_stopping_rule_finds_no_worse_outputs_and_often_better_ones() {
    let stops = [
        &["stop=first"][..],
        &["stop=patience"],
        &["stop=patience", "patience=3.0"],
        &["stop=best_possible"],
    ];
    let all = stops.map(|settings| rankings(&[settings, &["beam=6"]].concat()));
    for pair in all.windows(2) {
        assert!(pair[0].iter().zip(&pair[1]).all(|(sooner, later)| sooner <= later), "{all:?}");
    }
    assert_ne!(all[0], all[1]);
    assert_ne!(all[1], all[3]);
    assert_eq!(
        rankings(&["beam=6", "stop=patience", "patience=1.0"]),
        all[1],
        "patience of 1 is the default"
    );
    let (compared, greedy) = (rankings(&["beam=6"]), rankings(&[]));
    assert_eq!(rankings(&["beam=6", "stop=outranked"]), compared, "the default");
    assert!(
        compared.iter().zip(&greedy).all(|(compared, greedy)| compared >= greedy),
        "{compared:?} {greedy:?}"
    );
}

#[test]
fn groups_of_one_are_greedy_search_unless_they_avoid_each_other() {
    let greedy = outputs(&[]);
    assert_eq!(outputs(&["beam=4", "beam_groups=4", "diversity_strength=0.0"]), greedy);
    let diverse = ["beam=4", "beam_groups=4", "diversity_strength=1.0"];
    assert_ne!(outputs(&diverse), greedy);
    assert_ne!(outputs(&diverse), outputs(&["beam=4"]));
    let better = rankings(&diverse).into_iter().zip(rankings(&[])).all(|(one, other)| one >= other);
    assert!(better, "greedy search is what the first group does");
}

#[test]
fn outputs_respect_length_limits_and_bans() {
    for beam in ["beam=1", "beam=4"] {
        let plain = outputs(&[beam]);
        assert!(plain.iter().any(|output| output.chars().count() + 1 < 7));
        for (output, _, finished) in decode(&[beam, "min_length=7"]) {
            assert!(!finished || output.chars().count() + 1 >= 7, "{output}");
        }
        let most = plain.iter().flat_map(|output| output.chars()).max().unwrap().to_string();
        assert!(
            outputs(&[beam, &format!("banned=[\"{most}\"]")]).iter().all(|output| !output.contains(&most))
        );
        let pair: String = plain.iter().find(|output| output.len() > 1).unwrap().chars().take(2).collect();
        let without = outputs(&[beam, &format!("banned=[\"{pair}\"]")]);
        assert!(plain.iter().any(|output| output.contains(&pair)));
        assert!(without.iter().all(|output| !output.contains(&pair)), "{pair}: {without:?}");
        for output in outputs(&[beam, "no_repeat_ngram=1", "suppress_unknown=true"]) {
            let letters: std::collections::HashSet<char> = output.chars().collect();
            assert_eq!(letters.len(), output.chars().count(), "{output}");
        }
        let repeats = |settings: &[&str]| -> usize {
            let again = |output: &String| {
                let letters: std::collections::HashSet<char> = output.chars().collect();
                output.chars().count() - letters.len()
            };
            outputs(settings).iter().map(again).sum()
        };
        assert!(repeats(&[beam, "repetition_penalty=4.0"]) < repeats(&[beam]), "{beam}");
    }
}

#[test]
fn samples_depend_on_their_seed_and_are_greedy_if_one_token_is_left() {
    let sample = |more: &[&str]| outputs(&[&["sampling.seed=7"], more].concat());
    let drawn = sample(&[]);
    let greedy = outputs(&[]);
    assert_ne!(drawn, greedy);
    assert_ne!(drawn, outputs(&["sampling={}"]), "another seed");
    for batch_size in ["batch_size=1", "batch_size=5"] {
        assert_eq!(sample(&[batch_size]), drawn);
    }
    for narrow in ["temperature=1e-6", "top_k=1", "top_p=1e-6", "min_p=1.0"] {
        assert_eq!(sample(&[&format!("sampling.{narrow}")]), greedy, "{narrow}");
    }
    let best = rankings(&["sampling={}", "n_best=20"]);
    assert!(best.iter().zip(rankings(&["sampling={}"])).all(|(best, one)| *best >= one), "the best of many");
}

#[test]
fn lower_precision_weights_give_nearly_the_same_outputs() {
    let plain = decode(&[]);
    assert_eq!(decode(&["weights=f32"]), plain, "what training computed in is the default");
    for (weights, most) in [("bf16", 0.2), ("int8", 0.5)] {
        let rounded = decode(&[&format!("weights={weights}")]);
        let apart = |n: usize| (rounded[n].1 - plain[n].1).abs();
        let same: Vec<usize> = (0..plain.len()).filter(|&n| rounded[n].0 == plain[n].0).collect();
        assert!(same.len() * 2 > plain.len(), "{weights}: {rounded:?}, not {plain:?}");
        assert!(same.iter().all(|&n| apart(n) < most), "{weights}: {rounded:?}, not {plain:?}");
        assert!(same.iter().any(|&n| apart(n) > 0.0), "{weights} rounds nothing");
    }
}

#[test]
fn an_ensemble_is_a_mean_of_scores_or_of_probabilities() {
    // An ensemble of a model with itself equals the model, with either combination.
    let decode = |more: &[&str]| {
        let arguments = [&["--input", "valid.csv", "--format", "csv"], more].concat();
        scene().decode(&arguments, "").succeeded().stdout
    };
    assert_eq!(decode(&["--with", "runs/copy"]), decode(&[]));
    let outputs = |text: &str| -> Vec<String> {
        csv::Reader::from_reader(text.as_bytes()).records().map(|row| row.unwrap()[2].to_owned()).collect()
    };
    let probabilities = decode(&["--with", "runs/copy", "--set", "decoding.ensemble=probabilities"]);
    assert_eq!(outputs(&probabilities), outputs(&decode(&[])));
}
