//! `[decoding]`: how many hypotheses a source has and how they are compared, how far an output may go, and how many
//! sources go together.
//!
//! Only the keys, their defaults and the rules among them. It knows no model.

use serde::{Deserialize, Serialize};

use crate::error::Problem;

/// `[decoding]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodingConfig {
    /// Live hypotheses of a source; 1 is greedy search.
    pub beam: usize,
    /// What the sum of log-probabilities is divided by, to compare outputs of different lengths. Greedy search compares
    /// none.
    pub length_penalty: LengthPenalty,
    /// a in the length penalty.
    pub length_penalty_alpha: f64,
    /// Sources that are decoded together; the batch has up to `beam` rows for each.
    pub batch_size: usize,
    /// The most tokens an output may have, EOS counted in. When absent: `max_length_factor` * source tokens + `max_length_offset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// a in the limit a * source tokens + b.
    pub max_length_factor: f64,
    /// b in the limit a * source tokens + b.
    pub max_length_offset: usize,
}

impl Default for DecodingConfig {
    fn default() -> Self {
        DecodingConfig {
            beam: 1,
            length_penalty: LengthPenalty::Length,
            length_penalty_alpha: 1.0,
            batch_size: 64,
            max_length: None,
            max_length_factor: 2.0,
            max_length_offset: 50,
        }
    }
}

/// What the sum of log-probabilities of an output with len tokens, EOS counted in, is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthPenalty {
    /// 1
    None,
    /// len^a
    Length,
    /// ((5 + len) / 6)^a (Wu et al. 2016).
    Gnmt,
}

impl DecodingConfig {
    /// The rules among these keys.
    pub fn check(&self) -> Result<(), Problem> {
        let table = "decoding";
        let counts = [("beam", self.beam as u64), ("batch_size", self.batch_size as u64)];
        Problem::check_whole(table, 1, &counts)?;
        if let Some(max_length) = self.max_length {
            Problem::check_whole(table, 1, &[("max_length", max_length as u64)])?;
        }
        Problem::check_whole(table, 0, &[("max_length_offset", self.max_length_offset as u64)])?;
        let reals = [
            ("length_penalty_alpha", self.length_penalty_alpha),
            ("max_length_factor", self.max_length_factor),
        ];
        Problem::check_real(table, "at least 0", |x| x >= 0.0, &reals)?;
        if self.max_length_factor == 0.0 && self.max_length_offset == 0 {
            let keys = ["max_length_factor", "max_length_offset"];
            let message = "`max_length_factor` and `max_length_offset` must not both be 0: no output would have a token";
            return Err(Problem::new(table, &keys, message));
        }
        Ok(())
    }
}
