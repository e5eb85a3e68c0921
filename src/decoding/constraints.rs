//! Constraints on outputs: they change a row of scores before a search chooses from it.
//!
//! The changes are undone after the choice, so that a row can be shared, and reported scores are the model's own.

pub(crate) mod banned_texts;
pub(crate) mod forced_prefix;
pub(crate) mod token_texts;

use std::sync::Arc;

use self::banned_texts::{BannedTexts, OutputPrefix};
use super::DecodingConfig;
use crate::data::vocabulary::{EOS, UNK};

/// The constraints on every output.
#[derive(Clone, Debug)]
pub struct Constraints {
    /// Minimum number of tokens in an output, including EOS.
    pub min_length: usize,
    /// Factor on the log-probability of a token that the output already has (Keskar et al. 2019); 1 is off.
    pub repetition_penalty: f64,
    /// No sequence of this many tokens occurs twice in an output; 0 is off.
    pub no_repeat_ngram: usize,
    /// Texts that must not occur in an output.
    pub banned: Option<Arc<BannedTexts>>,
    /// Whether UNK is forbidden.
    pub suppress_unknown: bool,
}

/// The changed scores of a row, with their previous values.
#[derive(Debug, Default)]
pub(crate) struct ScoreEdits {
    changed: Vec<(usize, f32)>,
}

impl ScoreEdits {
    /// Changes the score of a token; no change if the token is outside the row.
    pub(crate) fn change(&mut self, row: &mut [f32], token: i64, to: impl FnOnce(f32) -> f32) {
        if let Some(score) = row.get_mut(token as usize) {
            self.changed.push((token as usize, *score));
            *score = to(*score);
        }
    }

    /// Makes a token impossible.
    pub(crate) fn forbid(&mut self, row: &mut [f32], token: i64) {
        self.change(row, token, |_| f32::NEG_INFINITY);
    }

    /// Restores the row.
    pub(crate) fn undo(&mut self, row: &mut [f32]) {
        while let Some((token, score)) = self.changed.pop() {
            row[token] = score;
        }
    }
}

impl Constraints {
    /// The constraints of a config, with its banned texts.
    pub(crate) fn new(config: &DecodingConfig, banned: Option<Arc<BannedTexts>>) -> Constraints {
        Constraints {
            min_length: config.min_length,
            repetition_penalty: config.repetition_penalty,
            no_repeat_ngram: config.no_repeat_ngram,
            banned,
            suppress_unknown: config.suppress_unknown,
        }
    }

    /// Whether [`Constraints::apply`] depends on the tokens so far.
    pub(crate) fn need_prefix(&self) -> bool {
        self.repetition_penalty != 1.0 || self.no_repeat_ngram > 0 || self.banned.is_some()
    }

    /// Changes the scores of the tokens that may follow `prefix`; the next token is number `length` of the output,
    /// counted from 1.
    pub(crate) fn apply(&self, prefix: OutputPrefix, length: usize, row: &mut [f32], edits: &mut ScoreEdits) {
        if self.repetition_penalty != 1.0 {
            self.penalize_repetition(prefix.tokens, row, edits);
        }
        if length < self.min_length {
            edits.forbid(row, EOS);
        }
        if self.suppress_unknown {
            edits.forbid(row, UNK);
        }
        if self.no_repeat_ngram > 0 {
            self.forbid_repeated_ngrams(prefix.tokens, row, edits);
        }
        if let Some(banned) = &self.banned {
            banned.forbidden(prefix).iter().for_each(|&token| edits.forbid(row, token));
        }
    }

    /// Penalises each token once, however often it occurs.
    fn penalize_repetition(&self, prefix: &[i64], row: &mut [f32], edits: &mut ScoreEdits) {
        let mut tokens = prefix.to_vec();
        tokens.sort_unstable();
        tokens.dedup();
        for token in tokens {
            edits.change(row, token, |log_p| log_p * self.repetition_penalty as f32);
        }
    }

    /// Forbids the tokens that followed earlier occurrences of the last n - 1 tokens.
    fn forbid_repeated_ngrams(&self, prefix: &[i64], row: &mut [f32], edits: &mut ScoreEdits) {
        let Some(start) = (prefix.len() + 1).checked_sub(self.no_repeat_ngram) else {
            return;
        };
        let before = &prefix[start..];
        for window in prefix.windows(self.no_repeat_ngram) {
            if let Some((&next, same)) = window.split_last()
                && same == before
            {
                edits.forbid(row, next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Constraints = Constraints {
        min_length: 0,
        repetition_penalty: 1.0,
        no_repeat_ngram: 0,
        banned: None,
        suppress_unknown: false,
    };

    /// A row of eight scores of -1, constrained after `prefix`. Checks that undoing restores it.
    fn after(constraints: &Constraints, prefix: &[i64]) -> Vec<f32> {
        let (mut row, mut edits) = (vec![-1.0; 8], ScoreEdits::default());
        let so_far = OutputPrefix { tokens: prefix, ..OutputPrefix::default() };
        constraints.apply(so_far, prefix.len() + 1, &mut row, &mut edits);
        let changed = row.clone();
        edits.undo(&mut row);
        assert_eq!(row, [-1.0; 8]);
        changed
    }

    fn forbidden(constraints: &Constraints, prefix: &[i64]) -> Vec<i64> {
        let row = after(constraints, prefix);
        (0..8).filter(|&token| row[token as usize] == f32::NEG_INFINITY).collect()
    }

    #[test]
    fn eos_and_unk_can_be_forbidden() {
        let constraints = Constraints { min_length: 3, ..NONE };
        assert_eq!(forbidden(&constraints, &[]), [EOS]);
        assert_eq!(forbidden(&constraints, &[4]), [EOS]);
        assert!(forbidden(&constraints, &[4, 4]).is_empty(), "EOS is the third");
        assert_eq!(forbidden(&Constraints { suppress_unknown: true, ..NONE }, &[]), [UNK]);
        assert!(forbidden(&NONE, &[4, 4, 4]).is_empty());
    }

    #[test]
    fn a_repeated_token_is_penalised_once() {
        let row = after(&Constraints { repetition_penalty: 1.5, ..NONE }, &[6, 4, 6, 6]);
        assert_eq!(row, [-1.0, -1.0, -1.0, -1.0, -1.5, -1.0, -1.5, -1.0]);
    }

    #[test]
    fn no_ngram_is_repeated() {
        let of = |n, prefix: &[i64]| forbidden(&Constraints { no_repeat_ngram: n, ..NONE }, prefix);
        assert_eq!(of(1, &[4, 6, 4]), [4, 6]);
        assert_eq!(of(2, &[4, 6, 5, 4]), [6]);
        assert_eq!(of(2, &[4, 4]), [4]);
        assert_eq!(of(3, &[4, 5, 6, 4, 5, 7, 4, 5]), [6, 7]);
        assert!(of(3, &[4, 5]).is_empty() && of(3, &[4]).is_empty() && of(3, &[]).is_empty());
    }
}
