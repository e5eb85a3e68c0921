//! `[training.scheduled_sampling]`: the decoder reads some of its own predictions.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// `[training.scheduled_sampling]`: some of the decoder's input tokens are its own predictions (Bengio et al. 2015; in
/// two passes for a Transformer, Mihaylova and Martins 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduledSamplingConfig {
    /// Share of the target tokens that are replaced, after the warm-up.
    pub share: f64,
    /// Updates in which the share rises linearly from 0.
    pub warmup: u64,
}

impl Default for ScheduledSamplingConfig {
    fn default() -> Self {
        ScheduledSamplingConfig { share: 0.25, warmup: 5000 }
    }
}

impl ScheduledSamplingConfig {
    /// The share at `step`.
    pub(crate) fn share_at(&self, step: u64) -> f64 {
        self.share * (step as f64 / self.warmup.max(1) as f64).min(1.0)
    }

    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        let within = |x| (0.0..=1.0).contains(&x);
        ConfigError::check_float(table, "from 0 to 1", within, &[("share", self.share)])?;
        ConfigError::check_integer(table, 0, &[("warmup", self.warmup)])
    }
}
