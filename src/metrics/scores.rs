//! What decoded texts score against their references: exact match, and error rates over characters and words.
//!
//! Both are texts, as they stand in files, so that models with other vocabularies can be compared, and a row that is right
//! has no errors. Knows no tokenizer and no tensors.

use std::collections::HashMap;

use super::edit::ErrorRate;

/// What an error rate counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Unicode characters, the space too.
    #[default]
    Characters,
    /// What stands between white space: words, phones, symbols.
    Words,
}

impl Unit {
    /// Its error rate's name, in messages: `character error rate`.
    pub fn rate(self) -> &'static str {
        match self {
            Unit::Characters => "character error rate",
            Unit::Words => "word error rate",
        }
    }

    /// What it counts: `characters`.
    pub fn plural(self) -> &'static str {
        match self {
            Unit::Characters => "characters",
            Unit::Words => "words",
        }
    }
}

/// Equals no symbol of a reference.
const UNKNOWN: u32 = u32::MAX;

/// What a decoded set scores, a row at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scores {
    /// Number of rows.
    pub rows: u64,
    /// Rows whose output is the reference.
    pub exact: u64,
    unit: Unit,
    characters: ErrorRate,
    /// Counted where the unit is words.
    words: ErrorRate,
}

impl Scores {
    /// Of a set whose outputs are made of `unit`s. Characters are counted in any case.
    pub fn over(unit: Unit) -> Scores {
        Scores { unit, ..Scores::default() }
    }

    /// Adds a row, and says whether it is right. The output comes as the texts between its unknown symbols: without any, one
    /// text. An unknown symbol is a character that no reference has, and so is the word that it stands in.
    pub fn add<S: AsRef<str>>(&mut self, reference: &str, output: &[S]) -> bool {
        let right = matches!(output, [text] if text.as_ref() == reference);
        self.rows += 1;
        self.exact += u64::from(right);
        let written: Vec<u32> = code_points(output).collect();
        let wanted: Vec<u32> = reference.chars().map(u32::from).collect();
        self.characters.add(ErrorRate::between(&wanted, &written));
        if self.unit == Unit::Words {
            let mut numbers = HashMap::new();
            let [wanted, written] = [wanted, written].map(|text| words(&text, &mut numbers));
            self.words.add(ErrorRate::between(&wanted, &written));
        }
        right
    }

    /// The unit that its outputs are made of.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The errors of all rows over that unit.
    pub fn errors(&self) -> ErrorRate {
        match self.unit {
            Unit::Characters => self.characters,
            Unit::Words => self.words,
        }
    }

    /// Errors for each character of all references (not a mean over rows), as [`ErrorRate::rate`] has it.
    pub fn character_error_rate(&self) -> f64 {
        self.characters.rate()
    }

    /// The same over words, where outputs are made of them.
    pub fn word_error_rate(&self) -> Option<f64> {
        (self.unit == Unit::Words).then(|| self.words.rate())
    }

    /// The part of the rows that equal their reference, from 0 to 1; 0 without rows.
    pub fn exact_match(&self) -> f64 {
        self.exact as f64 / self.rows.max(1) as f64
    }
}

fn code_points<S: AsRef<str>>(output: &[S]) -> impl Iterator<Item = u32> {
    output.iter().enumerate().flat_map(|(place, text)| {
        let before = (place > 0).then_some(UNKNOWN);
        before.into_iter().chain(text.as_ref().chars().map(u32::from))
    })
}

/// The words of a text, each as the number that it has among those that came before.
fn words(text: &[u32], numbers: &mut HashMap<Vec<u32>, u32>) -> Vec<u32> {
    let is_space = |&point: &u32| char::from_u32(point).is_some_and(char::is_whitespace);
    let words = text.split(is_space).filter(|word| !word.is_empty());
    words
        .map(|word| match word.contains(&UNKNOWN) {
            true => UNKNOWN,
            false => {
                let next = numbers.len() as u32;
                *numbers.entry(word.to_vec()).or_insert(next)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Substitutions, deletions, insertions and the reference's length.
    fn counts(errors: ErrorRate) -> [u64; 4] {
        [errors.substitutions, errors.deletions, errors.insertions, errors.reference_length]
    }

    #[test]
    fn a_set_adds_up_errors_and_lengths_and_not_rates() {
        let mut scores = Scores::default();
        assert!(scores.add("abcdefghi", &["abcdefghi"]));
        assert!(!scores.add("a", &["b"]));
        assert_eq!((scores.rows, scores.exact), (2, 1));
        assert_eq!((scores.character_error_rate(), scores.exact_match()), (0.1, 0.5));
        assert_eq!(scores.word_error_rate(), None);
    }

    #[test]
    fn words_are_what_stands_between_white_space_and_characters_are_counted_beside_them() {
        let mut scores = Scores::over(Unit::Words);
        scores.add("the cat sat", &["the  dog sat\tdown"]);
        assert_eq!(counts(scores.errors()), [1, 0, 1, 3]);
        assert_eq!(scores.word_error_rate(), Some(2.0 / 3.0));
        // c -> d, a -> o, t -> g; one more space, a tab, and d o w n.
        assert_eq!(scores.character_error_rate(), 9.0 / 11.0);
    }

    #[test]
    fn text_that_differs_in_nothing_but_white_space_is_not_right_though_its_words_are() {
        let mut scores = Scores::over(Unit::Words);
        assert!(!scores.add("a b ", &["a b"]));
        assert_eq!((scores.word_error_rate(), scores.character_error_rate()), (Some(0.0), 0.25));
    }

    #[test]
    fn an_unknown_symbol_is_one_error_whatever_the_reference_has() {
        let mut scores = Scores::default();
        assert!(!scores.add("a<unk>b", &["a", "b"]));
        assert!(!scores.add("axb", &["a", "b"]));
        assert_eq!(counts(scores.errors()), [2, 4, 0, 10]);
        let mut scores = Scores::over(Unit::Words);
        scores.add("one two three", &["one t", "o three"]);
        assert_eq!(counts(scores.errors()), [1, 0, 0, 3]);
    }

    #[test]
    fn nothing_to_compare_has_a_rate_all_the_same() {
        assert_eq!((Scores::default().character_error_rate(), Scores::default().exact_match()), (0.0, 0.0));
        let mut scores = Scores::default();
        scores.add("", &["ab"]);
        assert_eq!((scores.character_error_rate(), scores.exact_match()), (2.0, 0.0));
        assert!(scores.add("", &[""]));
        assert_eq!(scores.exact_match(), 0.5);
    }
}
