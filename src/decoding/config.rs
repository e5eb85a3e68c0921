//! `[decoding]`: how far an output may go, and how many sources go together.
//!
//! Only the keys, their defaults and the rules among them. It knows no model.

use serde::{Deserialize, Serialize};

use crate::error::Problem;

/// `[decoding]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecodingConfig {
    /// Sources that are decoded together.
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
        DecodingConfig { batch_size: 64, max_length: None, max_length_factor: 2.0, max_length_offset: 50 }
    }
}

impl DecodingConfig {
    /// The rules among these keys.
    pub fn check(&self) -> Result<(), Problem> {
        let table = "decoding";
        Problem::check_whole(table, 1, &[("batch_size", self.batch_size as u64)])?;
        if let Some(max_length) = self.max_length {
            Problem::check_whole(table, 1, &[("max_length", max_length as u64)])?;
        }
        Problem::check_whole(table, 0, &[("max_length_offset", self.max_length_offset as u64)])?;
        Problem::check_real(
            table,
            "at least 0",
            |x| x >= 0.0,
            &[("max_length_factor", self.max_length_factor)],
        )?;
        if self.max_length_factor == 0.0 && self.max_length_offset == 0 {
            let keys = ["max_length_factor", "max_length_offset"];
            let message = "`max_length_factor` and `max_length_offset` must not both be 0: no output would have a token";
            return Err(Problem::new(table, &keys, message));
        }
        Ok(())
    }
}
