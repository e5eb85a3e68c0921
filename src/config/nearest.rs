//! The nearest known name of a misspelt one.

/// The nearest known name, if one is near.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |candidate: &&str| strsim::damerau_levenshtein(name, candidate);
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
            ("depth", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), meant, "{typed}");
        }
    }
}
