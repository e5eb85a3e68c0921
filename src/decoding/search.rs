//! The seam between a search and a model: a search knows rows, tokens and plain arrays of scores.
//!
//! So a search is tested with a scripted fake and no weights, and a model knows no search.

use crate::data::batch::Source;
use crate::error::Result;

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
