//! Edit distance (Levenshtein 1966) and the error rates made of it: WER, CER, PER.
//!
//! The caller chooses what a symbol is (a word, a character, a phoneme, an id): slices go in, counts come out. It
//! depends on no tokenizer and no tensors.

use std::fmt;

use serde::Serialize;

/// The errors of hypotheses by kind, and the length of their references.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ErrorRate {
    /// Reference symbols that are replaced by another symbol.
    pub substitutions: u64,
    /// Reference symbols that are missing.
    pub deletions: u64,
    /// Additional symbols of the hypothesis.
    pub insertions: u64,
    /// Number of reference symbols.
    pub reference_length: u64,
}

impl ErrorRate {
    /// The errors of one hypothesis: the edit distance.
    ///
    /// Of the best alignments, the one with the fewest substitutions counts, which has the most symbols in common: so
    /// the three counts are unique, and swapping the two sides swaps deletions and insertions. jiwer and others count along
    /// whichever best alignment they find first: their three counts may differ, their sum and so the rate is the same.
    /// Time: the product of the lengths without common ends; memory: the hypothesis's length.
    pub(crate) fn between<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> ErrorRate {
        let reference_length = reference.len() as u64;
        // Some best alignment matches the common beginning and end.
        let (reference, hypothesis) = without_common_ends(reference, hypothesis);
        // Each cell keeps the counts of its best path, so no table is needed for a traceback.
        let mut row: Vec<Cell> = (0..=hypothesis.len() as u32).map(Cell::insertions).collect();
        for (wanted, deleted) in reference.iter().zip(1..) {
            let mut diagonal = std::mem::replace(&mut row[0], Cell::deletions(deleted));
            for (column, written) in hypothesis.iter().enumerate() {
                let (left, above) = (row[column], row[column + 1]);
                let paired = diagonal.paired(wanted == written);
                row[column + 1] = paired.or_better(above.deleted()).or_better(left.inserted());
                diagonal = above;
            }
        }
        let end = row.last().copied().unwrap_or_default();
        ErrorRate {
            substitutions: u64::from(end.substitutions),
            deletions: u64::from(end.deletions),
            insertions: u64::from(end.insertions),
            reference_length,
        }
    }

    /// The errors against the reference with the lowest rate, the first of equal ones.
    pub(crate) fn of_nearest<T: PartialEq>(references: &[Vec<T>], hypothesis: &[T]) -> ErrorRate {
        let all = references.iter().map(|reference| ErrorRate::between(reference, hypothesis));
        let nearest = all.reduce(|best, one| if one.rate() < best.rate() { one } else { best });
        nearest.unwrap_or_default()
    }

    /// Adds the errors of another part of the set.
    pub(crate) fn add(&mut self, other: ErrorRate) {
        self.substitutions += other.substitutions;
        self.deletions += other.deletions;
        self.insertions += other.insertions;
        self.reference_length += other.reference_length;
    }

    /// Substitutions plus deletions plus insertions.
    pub(crate) fn errors(&self) -> u64 {
        self.substitutions + self.deletions + self.insertions
    }

    /// Errors per reference symbol: 0 is perfect, and with insertions it can be more than 1. Without reference symbols,
    /// the number of errors.
    pub(crate) fn rate(&self) -> f64 {
        share_of(&self.statistics())
    }

    /// Errors and reference length: those of rows add up, and [`share_of`] them is the rate.
    pub(crate) fn statistics(&self) -> Vec<f64> {
        vec![self.errors() as f64, self.reference_length as f64]
    }
}

/// The first number for each one of the second.
pub(crate) fn share_of(statistics: &[f64]) -> f64 {
    match *statistics {
        [count, all] => count / all.max(1.0),
        _ => 0.0,
    }
}

/// `1 substitutions, 2 deletions, 0 insertions in 30`: the caller appends the unit.
impl fmt::Display for ErrorRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorRate { substitutions, deletions, insertions, reference_length } = self;
        write!(
            f,
            "{substitutions} substitutions, {deletions} deletions, {insertions} insertions in {reference_length}"
        )
    }
}

/// Both without their common beginning and end.
fn without_common_ends<'a, T: PartialEq>(one: &'a [T], other: &'a [T]) -> (&'a [T], &'a [T]) {
    let start = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let (one, other) = (&one[start..], &other[start..]);
    let end = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
    (&one[..one.len() - end], &other[..other.len() - end])
}

/// The errors on the best path to one cell of the table.
#[derive(Clone, Copy, Default)]
struct Cell {
    substitutions: u32,
    deletions: u32,
    insertions: u32,
}

impl Cell {
    fn insertions(insertions: u32) -> Cell {
        Cell { insertions, ..Cell::default() }
    }

    fn deletions(deletions: u32) -> Cell {
        Cell { deletions, ..Cell::default() }
    }

    fn cost(self) -> u32 {
        self.substitutions + self.deletions + self.insertions
    }

    fn paired(self, equal: bool) -> Cell {
        Cell { substitutions: self.substitutions + u32::from(!equal), ..self }
    }

    fn deleted(self) -> Cell {
        Cell { deletions: self.deletions + 1, ..self }
    }

    fn inserted(self) -> Cell {
        Cell { insertions: self.insertions + 1, ..self }
    }

    /// The cell with fewer errors; of equal ones, that with fewer substitutions.
    fn or_better(self, other: Cell) -> Cell {
        let order = |cell: Cell| (cell.cost(), cell.substitutions);
        if order(other) < order(self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn characters(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    /// Substitutions, deletions, insertions.
    fn counts(reference: &str, hypothesis: &str) -> (u64, u64, u64) {
        let errors = ErrorRate::between(&characters(reference), &characters(hypothesis));
        assert_eq!(errors.reference_length, reference.chars().count() as u64);
        (errors.substitutions, errors.deletions, errors.insertions)
    }

    /// A small generator (Knuth's MMIX numbers), so that the sequences are the same on every run.
    fn random(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }

    /// The definition, without a table: all alignments, the best by errors and then by substitutions. Returns errors,
    /// substitutions, deletions, insertions.
    fn by_definition(reference: &[u64], hypothesis: &[u64]) -> [u64; 4] {
        let plus = |a: [u64; 4], b: [u64; 4]| std::array::from_fn(|i| a[i] + b[i]);
        let (deletion, insertion) = ([1, 0, 1, 0], [1, 0, 0, 1]);
        match (reference.split_last(), hypothesis.split_last()) {
            (None, None) => [0; 4],
            (Some((_, rest)), None) => plus(by_definition(rest, hypothesis), deletion),
            (None, Some((_, rest))) => plus(by_definition(reference, rest), insertion),
            (Some((a, reference_rest)), Some((b, hypothesis_rest))) => {
                let pairing = if a == b { [0; 4] } else { [1, 1, 0, 0] };
                let paired = plus(by_definition(reference_rest, hypothesis_rest), pairing);
                let deleted = plus(by_definition(reference_rest, hypothesis), deletion);
                paired.min(deleted).min(plus(by_definition(reference, hypothesis_rest), insertion))
            }
        }
    }

    #[test]
    fn textbook_pairs_have_the_known_counts() {
        assert_eq!(counts("kitten", "sitting"), (2, 0, 1));
        assert_eq!(counts("sitting", "kitten"), (2, 1, 0));
        assert_eq!(counts("saturday", "sunday"), (1, 2, 0));
        assert_eq!(counts("flaw", "lawn"), (0, 1, 1));
        assert_eq!(counts("intention", "execution"), (3, 1, 1));
        assert_eq!(counts("", "abc"), (0, 0, 3));
        assert_eq!(counts("abc", ""), (0, 3, 0));
        assert_eq!(counts("ab", "ba"), (0, 1, 1));
        assert_eq!(counts("", ""), (0, 0, 0));
        assert_eq!(counts("北京大学", "北大学生"), (0, 1, 1));
    }

    #[test]
    fn words_are_symbols_too() {
        let (reference, hypothesis) = (["the", "cat", "sat"], ["the", "dog", "sat", "down"]);
        let errors = ErrorRate::between(&reference, &hypothesis);
        assert_eq!((errors.substitutions, errors.deletions, errors.insertions), (1, 0, 1));
        assert!((errors.rate() - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn random_sequences_agree_with_the_definition() {
        let mut state = 1;
        for _ in 0..200 {
            let mut sequence = || -> Vec<u64> {
                let length = random(&mut state, 7);
                (0..length).map(|_| random(&mut state, 3)).collect()
            };
            let (reference, hypothesis) = (sequence(), sequence());
            let errors = ErrorRate::between(&reference, &hypothesis);
            let counts = [errors.errors(), errors.substitutions, errors.deletions, errors.insertions];
            assert_eq!(counts, by_definition(&reference, &hypothesis), "{reference:?} {hypothesis:?}");
            let swapped = ErrorRate::between(&hypothesis, &reference);
            assert_eq!([swapped.substitutions, swapped.insertions], [errors.substitutions, errors.deletions]);
        }
    }

    #[test]
    fn long_sequences_keep_the_laws_of_a_distance() {
        let mut state = 7;
        let one: Vec<u64> = (0..2000).map(|_| random(&mut state, 5)).collect();
        let other: Vec<u64> = (0..1500).map(|_| random(&mut state, 5)).collect();
        let errors = ErrorRate::between(&one, &other);
        assert_eq!(errors.errors(), ErrorRate::between(&other, &one).errors());
        assert_eq!(errors.deletions - errors.insertions, 500);
        assert_eq!(ErrorRate::between(&one, &one).errors(), 0);
    }

    #[test]
    fn a_rate_without_reference_symbols_is_finite() {
        assert_eq!(ErrorRate::default().rate(), 0.0);
        assert_eq!(ErrorRate::between(&[], &characters("ab")).rate(), 2.0);
    }
}
