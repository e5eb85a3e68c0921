//! The known name that a wrong one stands for: what others call the same, or the nearest in spelling.

/// What papers and other tools call some choices, and their names here.
const OTHER_NAMES: [(&str, &str); 12] = [
    ("acc", "exact_match"),
    ("accuracy", "exact_match"),
    ("cer", "character_error_rate"),
    ("chrf++", "chrf_plus_plus"),
    ("chrfpp", "chrf_plus_plus"),
    ("em", "exact_match"),
    ("loss", "nll"),
    // Phones have spaces between them, as words do.
    ("per", "word_error_rate"),
    ("ppl", "perplexity"),
    ("sacrebleu", "bleu"),
    ("token_acc", "token_accuracy"),
    ("wer", "word_error_rate"),
];

/// The known name that is meant, if one is near.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let name = name.to_lowercase();
    let ours = OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, ours)| *ours);
    if let Some(ours) = ours.filter(|ours| known.contains(ours)) {
        return Some(ours);
    }
    let distance = |candidate: &&str| strsim::damerau_levenshtein(&name, candidate);
    // Up to one typo per three letters.
    let near = |candidate: &&str| distance(candidate) * 3 <= candidate.chars().count().max(3);
    known.iter().copied().filter(near).min_by_key(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_typo_away_and_not_another_word() {
        let known = ["heads", "width", "norm", "norm_place", "feed_forward"];
        for (typed, meant) in [
            ("hedas", Some("heads")),
            ("head", Some("heads")),
            ("widht", Some("width")),
            ("norm-place", Some("norm_place")),
            ("feedforward", Some("feed_forward")),
            ("Width", Some("width")),
            ("depth", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), meant, "{typed}");
        }
    }

    #[test]
    fn what_papers_call_a_metric_is_not_taken_for_another_one() {
        let known = [
            "exact_match",
            "character_error_rate",
            "word_error_rate",
            "chrf",
            "chrf_plus_plus",
            "bleu",
            "ter",
        ];
        for (typed, meant) in [
            ("wer", "word_error_rate"),
            ("WER", "word_error_rate"),
            ("per", "word_error_rate"),
            ("cer", "character_error_rate"),
            ("accuracy", "exact_match"),
            ("chrF++", "chrf_plus_plus"),
            ("BLEU", "bleu"),
            ("TER", "ter"),
        ] {
            assert_eq!(nearest(typed, &known), Some(meant), "{typed}");
        }
        assert_eq!(nearest("wer", &["ter"]), Some("ter"), "a choice that has no word error rate");
    }
}
