//! A reference and the output for it, in the forms that metrics count over.
//!
//! Both are texts, as in files, so that models with different vocabularies can be compared, and a correct row has no
//! errors.

use std::collections::HashMap;

/// The unit of the target's tokens, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Unicode characters or pieces of text.
    #[default]
    Characters,
    /// Texts between white space: words, phones, symbols.
    Words,
}

/// An unknown symbol, which equals no symbol of a reference.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// A row: reference and output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Example<'a> {
    /// The reference.
    pub reference: &'a str,
    /// Its tokens, without BOS and EOS.
    pub reference_tokens: &'a [i64],
    /// The output, split at its unknown symbols; without any, one text.
    pub output: &'a [String],
    /// Its tokens, without BOS and EOS.
    pub output_tokens: &'a [i64],
    /// Whether the output reached EOS.
    pub finished: bool,
    /// The unit of the target's tokens.
    pub unit: Unit,
}

impl Example<'_> {
    /// Whether the output equals the reference.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.output, [text] if text == self.reference)
    }

    /// The Unicode characters of the reference and the output, including white space. An unknown symbol is `UNKNOWN`,
    /// which no reference contains.
    pub(crate) fn characters(&self) -> [Vec<u32>; 2] {
        let output = self.output.iter().enumerate().flat_map(|(place, text)| {
            let before = (place > 0).then_some(UNKNOWN);
            before.into_iter().chain(text.chars().map(u32::from))
        });
        [self.reference.chars().map(u32::from).collect(), output.collect()]
    }

    /// The words of the reference and the output (texts between white space), numbered within this row. A word with an
    /// unknown symbol is `UNKNOWN`, which no reference contains.
    pub(crate) fn words(&self) -> [Vec<u32>; 2] {
        let mut numbers = HashMap::new();
        self.characters().map(|text| words(&text, &mut numbers))
    }
}

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

/// For tests of metrics: the value over rows of (reference, parts of the output).
#[cfg(test)]
pub(crate) fn value_of<M: super::Metric>(rows: &[(&str, &[&str])]) -> f64 {
    let mut metric = M::default();
    for (reference, parts) in rows {
        let output: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        metric.add(&Example { reference, output: &output, finished: true, ..Example::default() });
    }
    metric.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_an_unknown_symbol_matches_no_reference() {
        let output = ["one t".to_owned(), "o three".to_owned()];
        let example = Example { reference: "one two  three", output: &output, ..Example::default() };
        assert!(!example.is_exact());
        assert_eq!(example.words(), [vec![0, 1, 2], vec![0, UNKNOWN, 2]]);
        let [wanted, written] = example.characters();
        assert_eq!((wanted.len(), written.len(), written[5]), (14, 13, UNKNOWN));
        let spelled = ["a<unk>b".to_owned()];
        assert!(Example { reference: "a<unk>b", output: &spelled, ..Example::default() }.is_exact());
    }
}
