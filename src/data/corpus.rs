//! The pairs of a set by row, with tokens, lengths and texts, for training and validation.
//!
//! All of them are in memory, which callers do not depend on.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::readers::Pair;
use super::source::SourceItem;

/// A tokenized pair, without BOS and EOS.
#[derive(Clone, Debug)]
pub struct Example {
    /// The encoder's input.
    pub source: SourceItem,
    /// Token ids of the target.
    pub target: Vec<i64>,
}

impl Example {
    /// Its positions, including EOS: (source, target).
    pub fn lengths(&self) -> (usize, usize) {
        (self.source.positions(), self.target.len() + 1)
    }
}

/// Pairs by row.
#[derive(Debug, Default)]
pub struct Corpus {
    pairs: Vec<Pair>,
    examples: Vec<Example>,
}

impl Corpus {
    /// Pairs and their examples, in the same order.
    pub fn new(pairs: Vec<Pair>, examples: Vec<Example>) -> Corpus {
        assert_eq!(pairs.len(), examples.len(), "each pair is an example");
        Corpus { pairs, examples }
    }

    /// Examples with empty texts.
    #[cfg(test)]
    pub fn of_examples(examples: Vec<Example>) -> Corpus {
        let place = super::readers::Place { file: std::path::Path::new("").into(), line: 0 };
        let pair = Pair { source: String::new(), target: String::new(), place };
        Corpus { pairs: vec![pair; examples.len()], examples }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Positions of each row, including EOS: (source, target).
    pub fn lengths(&self) -> Vec<(usize, usize)> {
        self.examples.iter().map(Example::lengths).collect()
    }

    /// The example of a row.
    pub fn example(&self, row: usize) -> Cow<'_, Example> {
        Cow::Borrowed(&self.examples[row])
    }

    /// The examples of all rows, in order.
    pub fn examples(&self) -> impl Iterator<Item = Cow<'_, Example>> + Clone {
        (0..self.len()).map(|row| self.example(row))
    }

    /// The texts of a row, with their place.
    pub fn pair(&self, row: usize) -> &Pair {
        &self.pairs[row]
    }

    /// The texts of all rows, in order.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = &Pair> {
        self.pairs.iter()
    }

    /// SHA-256 over all examples, in hexadecimal: sets with the same fingerprint train the same model.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for example in self.examples() {
            for side in [example.source.tokens(), &example.target] {
                hash.update(side.len().to_le_bytes());
                side.iter().for_each(|token| hash.update(token.to_le_bytes()));
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
