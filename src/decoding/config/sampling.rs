//! `[decoding.sampling]`: outputs are sampled, not searched for.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// `[decoding.sampling]`: each token is drawn from the model's distribution. `top_k`, `top_p` and `min_p` exclude
/// unlikely tokens, in this order, each from the distribution that the one before it left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Divisor of the log-probabilities: below 1, likely tokens become more likely.
    pub temperature: f64,
    /// Sample only from this many most likely tokens (Fan et al. 2018); 0 is all.
    pub top_k: usize,
    /// Sample only from the fewest most likely tokens with at least this total probability (Holtzman et al. 2020).
    pub top_p: f64,
    /// Sample only tokens with at least this share of the highest probability (Nguyen et al. 2024).
    pub min_p: f64,
    /// Seed: every random number follows from it, the source, the sample's number and the step.
    pub seed: u64,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        SamplingConfig { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 1 }
    }
}

impl SamplingConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let table = "decoding.sampling";
        ConfigError::check_float(table, "above 0", |x| x > 0.0, &[("temperature", self.temperature)])?;
        let is_share = |x| x > 0.0 && x <= 1.0;
        ConfigError::check_float(table, "above 0 and at most 1", is_share, &[("top_p", self.top_p)])?;
        ConfigError::check_float(
            table,
            "from 0 to 1",
            |x| (0.0..=1.0).contains(&x),
            &[("min_p", self.min_p)],
        )?;
        ConfigError::check_integer(table, 0, &[("top_k", self.top_k as u64)])
    }
}
