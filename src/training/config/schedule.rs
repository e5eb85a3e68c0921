//! The tables of the learning-rate schedules: `[training.inverse_sqrt]` and the others.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// A schedule whose only key is the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmupConfig {
    /// Updates of linear warm-up.
    pub warmup: u64,
}

impl Default for WarmupConfig {
    fn default() -> Self {
        WarmupConfig { warmup: 1000 }
    }
}

/// A schedule that decays until `training.steps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecayConfig {
    /// Updates of linear warm-up.
    pub warmup: u64,
    /// Share of the learning rate that is left at `training.steps`.
    pub final_share: f64,
}

impl Default for DecayConfig {
    fn default() -> Self {
        DecayConfig { warmup: 1000, final_share: 0.0 }
    }
}

/// A schedule that decays when validations stop improving.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlateauConfig {
    /// Updates of linear warm-up.
    pub warmup: u64,
    /// Factor of each decay.
    pub factor: f64,
    /// Validations in a row without improvement before a decay.
    pub patience: u64,
    /// Lower bound, as a share of the learning rate.
    pub final_share: f64,
}

impl Default for PlateauConfig {
    fn default() -> Self {
        PlateauConfig { warmup: 1000, factor: 0.5, patience: 3, final_share: 0.01 }
    }
}

impl WarmupConfig {
    pub(super) fn check(&self, table: &str, least: u64) -> Result<(), ConfigError> {
        ConfigError::check_integer(table, least, &[("warmup", self.warmup)])
    }
}

impl DecayConfig {
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_integer(table, 0, &[("warmup", self.warmup)])?;
        check_final_share(table, self.final_share)
    }
}

impl PlateauConfig {
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_integer(table, 0, &[("warmup", self.warmup)])?;
        ConfigError::check_integer(table, 1, &[("patience", self.patience)])?;
        ConfigError::check_float(
            table,
            "above 0 and below 1",
            |x| x > 0.0 && x < 1.0,
            &[("factor", self.factor)],
        )?;
        check_final_share(table, self.final_share)
    }
}

fn check_final_share(table: &str, share: f64) -> Result<(), ConfigError> {
    ConfigError::check_float(table, "from 0 to 1", |x| (0.0..=1.0).contains(&x), &[("final_share", share)])
}
