//! `[training.non_finite]`: what happens when the loss or a gradient is NaN or infinite.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// `[training.non_finite]`: updates whose loss or gradient is NaN or infinite are skipped, up to a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NonFiniteConfig {
    /// The number of skipped updates in a row that is too many.
    pub limit: u64,
    /// What happens then.
    pub then: Then,
}

/// What happens at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Training ends with an error.
    Stop,
    /// Weights and optimizer are rolled back to the last checkpoint, and training continues with the next pairs. If
    /// that does not help, training ends with an error.
    Rollback,
}

impl Default for NonFiniteConfig {
    fn default() -> Self {
        NonFiniteConfig { limit: 10, then: Then::Stop }
    }
}

impl NonFiniteConfig {
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_integer(table, 1, &[("limit", self.limit)])
    }
}
