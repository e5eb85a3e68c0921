//! The pairs of a set by row, with tokens, lengths and texts, for training and validation.
//!
//! Token ids are in memory or in a file, features of recordings in a file, texts in memory or where they were read. Readers
//! of a row do not depend on that.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::audio::features::Features;
use super::batch_sampler::Positions;
use super::left_behind::LeftBehind;
use super::readers::{Pair, Place};
use super::source::SourceItem;
use super::token_store::{TokenStore, hash_side, hexadecimal};
use crate::error::Result;

/// A tokenized pair, without BOS and EOS.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// The encoder's input.
    pub source: SourceItem,
    /// Token ids of the target.
    pub target: Vec<i64>,
}

/// Pairs by row.
#[derive(Debug)]
pub struct Corpus {
    texts: Texts,
    tokens: TokenStore,
    recordings: Option<Box<Recordings>>,
    /// Positions of each row, including EOS.
    lengths: Arc<[Positions]>,
    /// The rows of each file.
    rows_of_files: Vec<u64>,
    fingerprint: String,
}

/// The texts of a set's pairs.
#[derive(Debug)]
enum Texts {
    InMemory(Vec<Pair>),
    InFiles(Box<LeftBehind>),
}

#[derive(Debug)]
struct Recordings {
    features: Features,
    /// For each pair the row of its features.
    rows: Vec<usize>,
}

impl Corpus {
    /// Pairs and their tokens, in the same order; `hash` is that of the tokens.
    pub(crate) fn new(pairs: Vec<Pair>, (tokens, mut hash): (TokenStore, Sha256)) -> Corpus {
        let lengths = tokens.lengths().clone();
        assert_eq!(pairs.len(), lengths.len(), "each pair has tokens");
        hash_other_targets(&pairs, &mut hash);
        let (rows_of_files, texts) = (rows_of_files(&pairs), Texts::InMemory(pairs));
        let fingerprint = hexadecimal(hash.finalize());
        Corpus { texts, tokens, recordings: None, lengths, rows_of_files, fingerprint }
    }

    /// Tokens of pairs whose texts stay in their files.
    pub(crate) fn in_files(
        texts: LeftBehind,
        tokens: TokenStore,
        rows_of_files: Vec<u64>,
        fingerprint: String,
    ) -> Corpus {
        let (lengths, texts) = (tokens.lengths().clone(), Texts::InFiles(Box::new(texts)));
        Corpus { texts, tokens, recordings: None, lengths, rows_of_files, fingerprint }
    }

    /// Recordings and the tokens of their texts, as targets; `rows` are those of the features.
    ///
    /// # Errors
    /// The tokens cannot be read.
    pub(crate) fn of_recordings(
        pairs: Vec<Pair>,
        tokens: TokenStore,
        features: Features,
        rows: Vec<usize>,
    ) -> Result<Corpus> {
        let of_row = |(&row, &(_, target)): (&usize, &Positions)| (features.positions(row) as u32, target);
        let lengths: Arc<[Positions]> = rows.iter().zip(tokens.lengths().iter()).map(of_row).collect();
        assert!(pairs.len() == lengths.len(), "each pair is an example");
        let mut hash = Sha256::new();
        hash.update(features.key());
        rows.iter().for_each(|row| hash.update(row.to_le_bytes()));
        for row in 0..rows.len() {
            let mut hashed = Vec::new();
            tokens.row(row)?.iter().for_each(|side| hash_side(side, &mut hashed));
            hash.update(hashed);
        }
        hash_other_targets(&pairs, &mut hash);
        let recordings = Some(Box::new(Recordings { features, rows }));
        let (rows_of_files, texts) = (rows_of_files(&pairs), Texts::InMemory(pairs));
        let fingerprint = hexadecimal(hash.finalize());
        Ok(Corpus { texts, tokens, recordings, lengths, rows_of_files, fingerprint })
    }

    /// Examples with empty texts.
    #[cfg(test)]
    pub(crate) fn of_examples(examples: Vec<Example>) -> Corpus {
        use super::token_store::{TokenWriter, Width};
        let mut writer = TokenWriter::new(Vec::new(), Width::Two);
        for example in &examples {
            writer.push([example.source.tokens(), &example.target]).unwrap();
        }
        Corpus::new(vec![Pair::default(); examples.len()], writer.into_store())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Positions of each row, including EOS: (source, target).
    pub fn lengths(&self) -> &Arc<[Positions]> {
        &self.lengths
    }

    /// The rows of each file of the config, in order.
    pub(crate) fn rows_of_files(&self) -> &[u64] {
        &self.rows_of_files
    }

    /// Lengths of each row as limits of outputs count them: (source, target), without EOS.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (usize, usize)> + Clone {
        (0..self.len()).map(|row| {
            let (source, target) = self.lengths[row];
            let source = match &self.recordings {
                Some(own) => own.features.own_positions(own.rows[row]),
                None => source as usize - 1,
            };
            (source, target as usize - 1)
        })
    }

    /// The example of a row.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn example(&self, row: usize) -> Result<Example> {
        self.example_of(row, |own| own.features.item(own.rows[row]))
    }

    /// The same as training varies it, by a seed.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn augmented(&self, row: usize, seed: impl FnOnce() -> u64) -> Result<Example> {
        self.example_of(row, |own| own.features.augmented(own.rows[row], seed()))
    }

    fn example_of(
        &self,
        row: usize,
        recording: impl FnOnce(&Recordings) -> Result<SourceItem>,
    ) -> Result<Example> {
        let [source, target] = self.tokens.row(row)?;
        let source = match &self.recordings {
            Some(own) => recording(own)?,
            None => source.into(),
        };
        Ok(Example { source, target })
    }

    /// The token ids of both sides of a row, without EOS; a recording has none.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn tokens(&self, row: usize) -> Result<[Vec<i64>; 2]> {
        self.tokens.row(row)
    }

    /// The place of a row.
    pub(crate) fn place(&self, row: usize) -> Place {
        match &self.texts {
            Texts::InMemory(pairs) => pairs[row].place.clone(),
            Texts::InFiles(texts) => texts.place(row),
        }
    }

    /// The texts of rows, with their places. If they are no longer in their files, they are empty.
    pub(crate) fn pairs_of(&self, rows: &[usize]) -> Vec<Cow<'_, Pair>> {
        match &self.texts {
            Texts::InMemory(pairs) => rows.iter().map(|&row| Cow::Borrowed(&pairs[row])).collect(),
            Texts::InFiles(texts) => texts.pairs_of(rows).into_iter().map(Cow::Owned).collect(),
        }
    }

    /// The texts of all rows, in order; none of a set whose texts are in files alone, which no validation set is.
    pub(crate) fn pairs(&self) -> &[Pair] {
        match &self.texts {
            Texts::InMemory(pairs) => pairs,
            Texts::InFiles(_) => &[],
        }
    }

    /// SHA-256 over all that is read, in hexadecimal: two sets with the same one train the same model, and give it the same
    /// scores.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Adds what only metrics read: the rows with several right targets, and their texts beside the first one.
fn hash_other_targets(pairs: &[Pair], hash: &mut Sha256) {
    for (row, pair) in pairs.iter().enumerate().filter(|(_, pair)| !pair.other_targets.is_empty()) {
        hash.update(row.to_le_bytes());
        hash.update(pair.other_targets.len().to_le_bytes());
        for text in &pair.other_targets {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
    }
}

fn rows_of_files(pairs: &[Pair]) -> Vec<u64> {
    let mut rows = Vec::new();
    for pair in pairs {
        let file = pair.file as usize;
        rows.resize(rows.len().max(file + 1), 0);
        rows[file] += 1;
    }
    rows
}
