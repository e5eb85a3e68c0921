//! The pairs of a set by row, with tokens, lengths and texts, for training and validation.
//!
//! Token ids are in memory, features of recordings in a file. Readers of a row do not depend on that.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::audio::features::Features;
use super::readers::Pair;
use super::source::SourceItem;
use crate::error::Result;

/// A tokenized pair, without BOS and EOS.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// The encoder's input.
    pub source: SourceItem,
    /// Token ids of the target.
    pub target: Vec<i64>,
}

impl Example {
    /// Its positions, including EOS: (source, target).
    pub(crate) fn lengths(&self) -> (usize, usize) {
        (self.source.positions(), self.target.len() + 1)
    }
}

/// Pairs by row.
#[derive(Debug)]
pub struct Corpus {
    pairs: Vec<Pair>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Tokens(Vec<Example>),
    Recordings(Box<Recordings>),
}

#[derive(Debug)]
struct Recordings {
    targets: Vec<Vec<i64>>,
    features: Features,
    /// For each pair the row of its features.
    rows: Vec<usize>,
}

impl Corpus {
    /// Pairs and their examples, in the same order.
    pub(crate) fn new(pairs: Vec<Pair>, examples: Vec<Example>) -> Corpus {
        assert_eq!(pairs.len(), examples.len(), "each pair is an example");
        Corpus { pairs, content: Content::Tokens(examples) }
    }

    /// Recordings and their texts; `rows` are those of the features.
    pub(crate) fn of_recordings(
        pairs: Vec<Pair>,
        targets: Vec<Vec<i64>>,
        features: Features,
        rows: Vec<usize>,
    ) -> Corpus {
        assert!(pairs.len() == targets.len() && pairs.len() == rows.len(), "each pair is an example");
        Corpus { pairs, content: Content::Recordings(Box::new(Recordings { targets, features, rows })) }
    }

    /// Examples with empty texts.
    #[cfg(test)]
    pub(crate) fn of_examples(examples: Vec<Example>) -> Corpus {
        Corpus::new(vec![Pair::default(); examples.len()], examples)
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
        match &self.content {
            Content::Tokens(examples) => examples.iter().map(Example::lengths).collect(),
            Content::Recordings(own) => {
                let lengths = own.rows.iter().zip(&own.targets);
                lengths.map(|(&row, target)| (own.features.positions(row), target.len() + 1)).collect()
            }
        }
    }

    /// Lengths of each row as limits of outputs count them: (source, target), without EOS.
    pub(crate) fn sizes(&self) -> Vec<(usize, usize)> {
        match &self.content {
            Content::Tokens(examples) => {
                examples.iter().map(|example| (example.source.length(), example.target.len())).collect()
            }
            Content::Recordings(own) => {
                let lengths = own.rows.iter().zip(&own.targets);
                lengths.map(|(&row, target)| (own.features.own_positions(row), target.len())).collect()
            }
        }
    }

    /// The example of a row.
    ///
    /// # Errors
    /// The file of the features cannot be read.
    pub(crate) fn example(&self, row: usize) -> Result<Cow<'_, Example>> {
        Ok(match &self.content {
            Content::Tokens(examples) => Cow::Borrowed(&examples[row]),
            Content::Recordings(own) => {
                let source = own.features.item(own.rows[row])?;
                Cow::Owned(Example { source, target: own.targets[row].clone() })
            }
        })
    }

    /// The same as training varies it, by a seed.
    ///
    /// # Errors
    /// The file of the features cannot be read.
    pub(crate) fn augmented(&self, row: usize, seed: impl FnOnce() -> u64) -> Result<Cow<'_, Example>> {
        match &self.content {
            Content::Tokens(_) => self.example(row),
            Content::Recordings(own) => {
                let source = own.features.augmented(own.rows[row], seed())?;
                Ok(Cow::Owned(Example { source, target: own.targets[row].clone() }))
            }
        }
    }

    /// The token ids of a row's target, without EOS.
    pub(crate) fn target(&self, row: usize) -> &[i64] {
        match &self.content {
            Content::Tokens(examples) => &examples[row].target,
            Content::Recordings(own) => &own.targets[row],
        }
    }

    /// The token ids of both sides of each row, without EOS; of recordings the sources have none.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = (&[i64], &[i64])> + Clone {
        (0..self.len()).map(|row| match &self.content {
            Content::Tokens(examples) => (examples[row].source.tokens(), examples[row].target.as_slice()),
            Content::Recordings(own) => (&[][..], own.targets[row].as_slice()),
        })
    }

    /// The texts of a row, with their place.
    pub(crate) fn pair(&self, row: usize) -> &Pair {
        &self.pairs[row]
    }

    /// The texts of all rows, in order.
    pub(crate) fn pairs(&self) -> impl ExactSizeIterator<Item = &Pair> {
        self.pairs.iter()
    }

    /// SHA-256 over all that is read, in hexadecimal: two sets with the same one train the same model.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        if let Content::Recordings(own) = &self.content {
            hash.update(own.features.key());
            own.rows.iter().for_each(|row| hash.update(row.to_le_bytes()));
        }
        for (source, target) in self.tokens() {
            for side in [source, target] {
                hash.update(side.len().to_le_bytes());
                side.iter().for_each(|token| hash.update(token.to_le_bytes()));
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
