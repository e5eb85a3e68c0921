//! The split into training, validation and test.
//!
//! Pairs with the same source stay together, so that no held-out source is in the training set. The split of a source
//! depends on the source and the seed, not on the order of the rows.

use std::collections::BTreeMap;

use crate::data::tokenizer::TextForm;
use crate::runtime::seed_for;

/// Validation gets 1 / 20 of the pairs, at most this many, and so does the test.
const MOST: usize = 1000;

/// The rows of each part, in the order of the input.
#[derive(Debug, PartialEq)]
pub(crate) struct Split {
    /// Rows for training.
    pub train: Vec<usize>,
    /// Rows for validation.
    pub valid: Vec<usize>,
    /// Rows for the final test.
    pub test: Vec<usize>,
}

impl Split {
    /// Training, validation and test.
    pub(crate) fn all(&self) -> [&[usize]; 3] {
        [&self.train, &self.valid, &self.test]
    }
}

/// Splits the rows; `None` with fewer than three different sources.
pub(crate) fn split(sources: &[&str], seed: u64) -> Option<Split> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (row, source) in sources.iter().enumerate() {
        groups.entry(TextForm::default().apply(source).into_owned()).or_default().push(row);
    }
    if groups.len() < 3 {
        return None;
    }
    let mut groups: Vec<(u64, Vec<usize>)> =
        groups.into_iter().map(|(source, rows)| (seed_for(seed, 0, &source), rows)).collect();
    groups.sort();
    // The largest group stays in the training set, which must not be empty.
    let largest = (0..groups.len()).max_by_key(|&group| groups[group].1.len())?;
    let (_, mut train) = groups.remove(largest);
    let held_out = (sources.len() / 20).clamp(1, MOST);
    let (valid, test) = (take(&mut groups, held_out, 1), take(&mut groups, held_out, 0));
    train.extend(groups.into_iter().flat_map(|(_, rows)| rows));
    train.sort_unstable();
    Some(Split { train, valid, test })
}

/// Takes the first groups with at most `most` rows together, and leaves `leave` groups; if none is small enough, the
/// smallest.
fn take(groups: &mut Vec<(u64, Vec<usize>)>, most: usize, leave: usize) -> Vec<usize> {
    let mut taken = Vec::new();
    let mut left = Vec::new();
    let mut may_go = groups.len().saturating_sub(leave);
    for (hash, rows) in std::mem::take(groups) {
        match may_go > 0 && taken.len() + rows.len() <= most {
            true => {
                taken.extend(rows);
                may_go -= 1;
            }
            false => left.push((hash, rows)),
        }
    }
    if taken.is_empty()
        && let Some(smallest) = (0..left.len()).min_by_key(|&group| left[group].1.len())
    {
        taken = left.remove(smallest).1;
    }
    *groups = left;
    taken.sort_unstable();
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_in_one_split_and_so_is_each_source() {
        let words: Vec<String> = (0..1000).map(|n| format!("word {}", n % 700)).collect();
        let sources: Vec<&str> = words.iter().map(String::as_str).collect();
        let parts = split(&sources, 1).unwrap();
        let mut all: Vec<usize> = parts.all().concat();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        assert_eq!((parts.valid.len(), parts.test.len()), (50, 50));
        let texts = |rows: &[usize]| -> Vec<&str> { rows.iter().map(|&row| sources[row]).collect() };
        let train = texts(&parts.train);
        assert!(texts(&parts.valid).iter().chain(&texts(&parts.test)).all(|source| !train.contains(source)));
        assert!(texts(&parts.valid).iter().all(|source| !texts(&parts.test).contains(source)));
        assert_eq!(split(&sources, 1).unwrap(), parts);
        assert_ne!(split(&sources, 2).unwrap(), parts);
        // The order of the rows does not matter.
        let backwards: Vec<&str> = sources.iter().rev().copied().collect();
        let mut other: Vec<&str> =
            split(&backwards, 1).unwrap().valid.iter().map(|&row| backwards[row]).collect();
        let mut same = texts(&parts.valid);
        other.sort_unstable();
        same.sort_unstable();
        assert_eq!(other, same);
    }

    #[test]
    fn few_pairs_are_split_too_if_there_are_three_sources() {
        let parts = split(&["a", "b", "c"], 1).unwrap();
        assert_eq!(parts.all().map(<[usize]>::len), [1, 1, 1]);
        assert_eq!(split(&["a", "b", "a", " b "], 1), None);
        let many: Vec<&str> = ["a", "b", "c"].repeat(50);
        assert_eq!(split(&many, 1).unwrap().all().map(<[usize]>::len), [50, 50, 50]);
    }

    #[test]
    fn a_source_of_most_pairs_is_in_the_training_split() {
        let mut sources = vec!["a"; 100];
        sources.extend(["c", "e"]);
        assert_eq!(split(&sources, 1).unwrap().all().map(<[usize]>::len), [100, 1, 1]);
    }
}
