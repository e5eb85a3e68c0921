//! References and the output for them, in the forms that metrics count over; and how a model scores a reference.
//!
//! References and outputs are texts, as in files, so that models with different vocabularies can be compared, and a correct row has no
//! errors.

use std::borrow::Cow;
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

/// Stands for an unknown symbol where a text is cut: a code point that is no character.
pub(super) const UNKNOWN_IN_TEXT: &str = "\u{10ffff}";

/// A row: references and output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Example<'a> {
    /// The reference, or the first one.
    pub reference: &'a str,
    /// More references. Each metric documents which of them count.
    pub other_references: &'a [&'a str],
    /// The output, split at its unknown symbols; without any, one text.
    pub output: &'a [String],
    /// Whether the output reached EOS.
    pub finished: bool,
    /// The unit of the target's tokens.
    pub unit: Unit,
    /// How a model scores the reference, or the first one; `None` if it was not asked to.
    pub reference_score: Option<TargetScore>,
}

/// A target by teacher forcing, each of its tokens given those before it: sums over the tokens, EOS among them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TargetScore {
    /// Of their log-probabilities (natural logarithm).
    pub log_probability: f64,
    /// How many there are.
    pub tokens: u64,
    /// How many of them are the most likely ones at their places.
    pub correct: u64,
}

impl TargetScore {
    /// Adds another target.
    pub(crate) fn add(&mut self, other: TargetScore) {
        self.log_probability += other.log_probability;
        self.tokens += other.tokens;
        self.correct += other.correct;
    }
}

/// A row in symbols: equal ones have equal numbers within the row. An unknown symbol is `UNKNOWN`, which no reference
/// contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Symbols {
    pub references: Vec<Vec<u32>>,
    pub output: Vec<u32>,
}

impl<'a> Example<'a> {
    /// All references.
    pub(crate) fn references(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        std::iter::once(self.reference).chain(self.other_references.iter().copied())
    }

    /// Whether the output equals a reference.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.output, [text] if self.references().any(|reference| reference == text.as_str()))
    }

    /// The Unicode characters, including white space.
    pub(crate) fn characters(&self) -> Symbols {
        let output = self.output.iter().enumerate().flat_map(|(place, text)| {
            let before = (place > 0).then_some(UNKNOWN);
            before.into_iter().chain(text.chars().map(u32::from))
        });
        let references = self.references().map(|reference| reference.chars().map(u32::from).collect());
        Symbols { references: references.collect(), output: output.collect() }
    }

    /// The words: texts between white space.
    pub(crate) fn words(&self) -> Symbols {
        self.symbols(as_it_is, |text| text.split_whitespace().collect())
    }

    /// The tokens of the texts in another form. A token of the output with an unknown symbol is `UNKNOWN`.
    pub(crate) fn symbols(&self, form: fn(&str) -> Cow<'_, str>, cut: fn(&str) -> Vec<&str>) -> Symbols {
        let joined = match self.output {
            [text] => Cow::Borrowed(text.as_str()),
            parts => Cow::Owned(parts.join(UNKNOWN_IN_TEXT)),
        };
        let is_unknown = |token: &str| self.output.len() > 1 && token.contains(UNKNOWN_IN_TEXT);
        let texts: Vec<Cow<'_, str>> = self.references().map(form).collect();
        let text = form(&joined);
        // Room for a row of usual length, so that it seldom grows.
        let mut numbers = HashMap::with_capacity(48);
        let mut references = Vec::with_capacity(texts.len());
        for text in &texts {
            let tokens = cut(text).into_iter();
            references.push(tokens.map(|token| number(&mut numbers, token)).collect());
        }
        let mut output = Vec::new();
        for token in cut(&text) {
            output.push(if is_unknown(token) { UNKNOWN } else { number(&mut numbers, token) });
        }
        Symbols { references, output }
    }
}

fn number<'t>(numbers: &mut HashMap<&'t str, u32>, token: &'t str) -> u32 {
    let next = numbers.len() as u32;
    *numbers.entry(token).or_insert(next)
}

/// For [`Example::symbols`].
pub(crate) fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// White space as Python's `str.split` has it, with four separators that Unicode's property lacks.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
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

/// For tests of metrics: the value of one row with several references.
#[cfg(test)]
pub(crate) fn value_of_several<M: super::Metric>(references: &[&str], output: &str) -> f64 {
    let (mut metric, output) = (M::default(), [output.to_owned()]);
    metric.add(&Example {
        reference: references[0],
        other_references: &references[1..],
        output: &output,
        finished: true,
        ..Example::default()
    });
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
        let words = Symbols { references: vec![vec![0, 1, 2]], output: vec![0, UNKNOWN, 2] };
        assert_eq!(example.words(), words);
        let Symbols { references, output } = example.characters();
        assert_eq!((references[0].len(), output.len(), output[5]), (14, 13, UNKNOWN));
        let spelled = ["a<unk>b".to_owned()];
        assert!(Example { reference: "a<unk>b", output: &spelled, ..Example::default() }.is_exact());
    }
}
