//! `[training.non_finite]`: what happens when a loss or a gradient is not finite.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// `[training.non_finite]`: an update whose loss or gradient is not a finite number is skipped; and then?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NonFiniteConfig {
    /// So many in a row are too many.
    pub limit: u64,
    /// What happens then.
    pub then: Then,
}

/// What happens when too many updates in a row were skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Training ends with an error.
    Stop,
    /// Weights and optimizer return to the last checkpoint, and training continues with the next pairs. Where that helps
    /// nothing, training ends with an error.
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
