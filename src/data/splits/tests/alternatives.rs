//! Rows with several right targets: training learns the first one, and metrics get all.

use super::*;

fn data(train: &[(&str, &str)]) -> Data {
    let mut data = Data::new(train);
    data.config.target.alternatives = Some("|".to_owned());
    data
}

/// The targets of each pair.
fn targets(set: &Dataset) -> Vec<Vec<&str>> {
    set.corpus.pairs().iter().map(|pair| pair.targets().collect()).collect()
}

const TRAIN: [(&str, &str); 3] = [("ab", "xy|q"), ("ba", "yx"), ("aa", "x|q|y")];

#[test]
fn training_learns_the_first_target_and_the_validation_set_has_all() {
    let data = data(&TRAIN);
    data.write("valid.jsonl", &[("ab", "yx|xy"), ("b", "x")]);
    let splits = data.load().unwrap();
    assert_eq!(targets(&splits.train), [["xy"], ["yx"], ["x"]]);
    assert_eq!(targets(&splits.valid), [vec!["yx", "xy"], vec!["x"]]);
    let mut known = splits.tokenizers.target.vocabulary().tokens()[4..].to_vec();
    known.sort();
    assert_eq!(known, ["x", "y"]);
    let note = |rows: usize| {
        format!(
            "rows with several targets (`data.target.alternatives`): {rows}; the loss is that of the first, and metrics compare \
             with all"
        )
    };
    assert_eq!(data.notes(), [note(2), note(1)]);
    // Without the key a field is one target.
    let mut data = data;
    data.config.target.alternatives = None;
    assert_eq!(targets(&data.load().unwrap().train)[0], ["xy|q"]);
}

#[test]
fn a_validation_set_with_other_targets_is_another_one_and_a_training_set_is_not() {
    let data = data(&TRAIN);
    let fingerprints = || {
        let splits = data.load().unwrap();
        [&splits.train, &splits.valid].map(|set| set.corpus.fingerprint().to_owned())
    };
    data.write("valid.jsonl", &[("ab", "yx|xy"), ("b", "x")]);
    let [train, valid] = fingerprints();
    data.write("valid.jsonl", &[("ab", "yx|yy"), ("b", "x")]);
    data.write("train.jsonl", &[("ab", "xy"), ("ba", "yx|z"), ("aa", "x|q|y")]);
    let [same_train, other_valid] = fingerprints();
    assert_eq!(same_train, train);
    assert_ne!(other_valid, valid);
    // One target for two rows, or two for one.
    data.write("valid.jsonl", &[("ab", "yx"), ("b", "x|xy")]);
    assert_ne!(fingerprints()[1], valid);
}

#[test]
fn policies_look_at_the_first_target() {
    let rows = [("ab", "ab|x"), ("cd", "x|cd"), ("cd", "x|y"), ("e", "x|xxxxxxxxx"), ("f", ""), ("g", "x|g")];
    let mut data = data(&rows);
    data.write("valid.jsonl", &[("ab", "x")]);
    let policies = &mut data.config;
    (policies.copy, policies.duplicate, policies.empty) = (Policy::Skip, Policy::Skip, Policy::Skip);
    (policies.too_unequal, policies.max_ratio, policies.target.max_length) = (Policy::Skip, 4.0, 3);
    let train = data.load().unwrap().train;
    assert_eq!(train.corpus.pairs().iter().map(|pair| pair.place.line).collect::<Vec<_>>(), [2, 4, 6]);
    let reasons = [Reason::Copy, Reason::Duplicate, Reason::Empty, Reason::TooUnequal, Reason::TooLong];
    assert_eq!(reasons.map(|reason| train.left_out.count(reason)), [1, 1, 1, 0, 0]);
}

#[test]
fn a_set_in_a_file_and_the_pairs_held_out_of_it_are_those_in_memory() {
    let rows: Vec<(String, String)> =
        (0..60).map(|n| (format!("{n}"), format!("{n}|q{n}{}", "|z".repeat(n % 3)))).collect();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
    let mut data = data(&rows);
    data.config.valid = ValidPairs::Share(0.2);
    let in_memory = data.load().unwrap();
    assert!(targets(&in_memory.valid).iter().all(|targets| targets.len() > 1));
    (data.config.cache, data.config.in_memory_limit) = (Some(data.folder.path().join("cache")), 0.0);
    for what in ["made", "opened"] {
        let in_file = data.load().unwrap();
        assert_eq!(content(&in_file.train), content(&in_memory.train), "{what}");
        assert_eq!(in_file.valid.corpus.pairs(), in_memory.valid.corpus.pairs(), "{what}");
        assert_eq!(in_file.valid.corpus.fingerprint(), in_memory.valid.corpus.fingerprint(), "{what}");
        let rows = [7, 0];
        assert_eq!(in_file.train.corpus.pairs_of(&rows), in_memory.train.corpus.pairs_of(&rows), "{what}");
    }
}
