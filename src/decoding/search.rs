//! The seam between a search and a model: a search knows rows, tokens and plain arrays of scores.
//!
//! So a search is tested with a scripted fake and no weights, and a model knows no search.

use crate::data::batch::Source;
use crate::data::vocabulary::{BOS, PAD};
use crate::error::{Error, Result};

/// A model that is asked one step at a time.
pub trait Stepper {
    /// Where a decode stands; a value that the model hands out and takes back.
    type State;

    /// Reads the sources.
    fn start(&self, source: &Source) -> Result<Self::State>;

    /// Takes one more token of each row, and scores what may follow.
    fn step(&self, tokens: &[i64], state: Self::State) -> Result<(Scores, Self::State)>;

    /// Goes on with the rows named, in that order; a row may be named more than once or not at all.
    fn reorder(&self, rows: &[i64], state: Self::State) -> Result<Self::State>;
}

/// Log-probabilities of the next token, row after row.
#[derive(Clone, Debug)]
pub struct Scores {
    /// (B * V), each row sums to one after `exp`.
    pub log_p: Vec<f32>,
    /// V
    pub vocabulary: usize,
}

impl Scores {
    /// The rows, V numbers each.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.log_p.chunks_exact(self.vocabulary)
    }
}

/// What an output may go on with, of one row: tokens and their log-probabilities. PAD and BOS are no output, and what
/// is not finite is impossible.
pub fn sayable(log_p: &[f32]) -> impl Iterator<Item = (i64, f32)> {
    let tokens = (0..).zip(log_p.iter().copied());
    tokens.filter(|&(token, log_p)| token != PAD && token != BOS && log_p.is_finite())
}

/// Nothing is sayable: the model's weights are not finite numbers either.
pub fn scores_not_finite() -> Error {
    Error::failure("the model's scores are not finite numbers")
}

/// What a search found for one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Token ids without BOS and EOS.
    pub tokens: Vec<i64>,
    /// Sum of the log-probabilities of its tokens, EOS counted in when it is finished.
    pub score: f64,
    /// False when the length limit cut it off before EOS.
    pub finished: bool,
}
