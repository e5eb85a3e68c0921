//! Label-synchronous CTC prefix scores (Watanabe et al. 2017, algorithm 2).
//!
//! The score of a prefix is the log-probability of all sequences that begin with it. It needs, for every number of
//! frames read, how likely these frames give exactly the prefix: with a blank as the last symbol, and in any way. In
//! natural logarithms of f64.

use std::sync::Arc;

use super::log_probs::CtcLogProbs;
use super::{log_add, log_sum};

/// A prefix with its CTC state. A clone shares the state, so hypotheses of a beam fork at no cost.
#[derive(Clone, Debug)]
pub struct CtcPrefix {
    log_probs: Arc<CtcLogProbs>,
    /// The last token.
    last: Option<i64>,
    /// (T' + 1) log-probability that the first t frames give the prefix and end with a blank; before the first frame
    /// the empty prefix counts as such.
    blank: Arc<[f64]>,
    /// (T' + 1) the same with any ending.
    total: Arc<[f64]>,
    score: f64,
}

impl CtcPrefix {
    /// The empty prefix.
    pub fn new(log_probs: Arc<CtcLogProbs>) -> CtcPrefix {
        let blank = log_probs.blank();
        let blanks = (0..log_probs.frames()).scan(0.0, |sum, frame| {
            *sum += log_probs.at(frame, blank);
            Some(*sum)
        });
        let blanks: Arc<[f64]> = std::iter::once(0.0).chain(blanks).collect();
        CtcPrefix { log_probs, last: None, total: Arc::clone(&blanks), blank: blanks, score: 0.0 }
    }

    /// The log-probability of all sequences that begin with the prefix.
    pub(crate) fn score(&self) -> f64 {
        self.score
    }

    /// The log-probability of the sequence that is the prefix and nothing more.
    pub fn score_of_end(&self) -> f64 {
        self.total[self.log_probs.frames()]
    }

    /// The score of the prefix with one more token, in O(T'). It is never above the score of the prefix.
    pub(crate) fn score_with(&self, token: i64) -> f64 {
        if token == self.log_probs.blank() {
            return f64::NEG_INFINITY;
        }
        let begins = self.before(token).iter().enumerate().take(self.log_probs.frames());
        log_sum(begins.map(|(frame, before)| before + self.log_probs.at(frame, token)))
    }

    /// The prefix with one more token, in O(T').
    pub(crate) fn extend(&self, token: i64) -> CtcPrefix {
        let frames = self.log_probs.frames();
        let (mut non_blank, mut blank, mut total) = (f64::NEG_INFINITY, vec![f64::NEG_INFINITY], Vec::new());
        total.push(f64::NEG_INFINITY);
        for (frame, before) in self.before(token)[..frames].iter().enumerate() {
            blank.push(total[frame] + self.log_probs.at(frame, self.log_probs.blank()));
            non_blank = log_add(non_blank, *before) + self.log_probs.at(frame, token);
            total.push(log_add(blank[frame + 1], non_blank));
        }
        CtcPrefix {
            log_probs: Arc::clone(&self.log_probs),
            last: Some(token),
            blank: blank.into(),
            total: total.into(),
            score: self.score_with(token),
        }
    }

    /// The prefix with these tokens behind it.
    pub fn extend_all(&self, tokens: &[i64]) -> CtcPrefix {
        tokens.iter().fold(self.clone(), |prefix, &token| prefix.extend(token))
    }

    /// For each number of frames read, how likely they give the prefix and leave room for the token: between two equal
    /// tokens there must be a blank.
    fn before(&self, token: i64) -> &[f64] {
        if self.last == Some(token) { &self.blank } else { &self.total }
    }
}
