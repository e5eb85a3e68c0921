//! `[training.adamw]`, `[training.adam]`, `[training.sgd]`, `[[training.groups]]` and `[training.ema]`: how weights are
//! updated.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// `[training.adamw]`: Adam with decoupled weight decay (Loshchilov and Hutter 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// The schedule's highest learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay; not for biases, norms and embeddings.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig { learning_rate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// `[training.adam]`: Adam (Kingma and Ba 2015).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// The schedule's highest learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// L2 penalty: this times the weight is added to its gradient; not for biases, norms and embeddings.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        AdamConfig { learning_rate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// `[training.sgd]`: stochastic gradient descent with momentum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgdConfig {
    /// The schedule's highest learning rate.
    pub learning_rate: f64,
    /// Momentum factor; 0 for none.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// L2 penalty: this times the weight is added to its gradient; not for biases, norms and embeddings.
    pub weight_decay: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        SgdConfig { learning_rate: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.0 }
    }
}

/// One of `[[training.groups]]`: weights with their own learning rate or weight decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Which weights, by name; `*` matches any text.
    pub weights: String,
    /// Multiplier of the learning rate.
    #[serde(default = "one")]
    pub learning_rate_factor: f64,
    /// Weight decay of the whole group, including biases, norms and embeddings; when absent, as without the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// `[training.ema]`: an exponential moving average of the weights, used for validation, checkpoints and decoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmaConfig {
    /// Decay per update; in the first updates at most (1 + step) / (10 + step).
    pub decay: f64,
}

impl Default for EmaConfig {
    fn default() -> Self {
        EmaConfig { decay: 0.999 }
    }
}

/// Both kinds of Adam have the same rules.
fn check_adam(
    table: &str,
    learning_rate: f64,
    betas: [f64; 2],
    epsilon: f64,
    weight_decay: f64,
) -> Result<(), ConfigError> {
    let above_zero = [("learning_rate", learning_rate), ("epsilon", epsilon)];
    ConfigError::check_float(table, "above 0", |x| x > 0.0, &above_zero)?;
    ConfigError::check_share(table, &[("beta1", betas[0]), ("beta2", betas[1])])?;
    ConfigError::check_float(table, "at least 0", |x| x >= 0.0, &[("weight_decay", weight_decay)])
}

impl AdamWConfig {
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        check_adam(table, self.learning_rate, [self.beta1, self.beta2], self.epsilon, self.weight_decay)
    }
}

impl AdamConfig {
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        check_adam(table, self.learning_rate, [self.beta1, self.beta2], self.epsilon, self.weight_decay)
    }
}

impl SgdConfig {
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_float(table, "above 0", |x| x > 0.0, &[("learning_rate", self.learning_rate)])?;
        ConfigError::check_share(table, &[("momentum", self.momentum)])?;
        ConfigError::check_float(table, "at least 0", |x| x >= 0.0, &[("weight_decay", self.weight_decay)])?;
        if self.nesterov && self.momentum == 0.0 {
            let message = "`nesterov` needs a `momentum` above 0, but it is 0";
            return Err(ConfigError::new(table, &["nesterov", "momentum"], message));
        }
        Ok(())
    }
}

impl GroupConfig {
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        let mut values = vec![("learning_rate_factor", self.learning_rate_factor)];
        values.extend(self.weight_decay.map(|decay| ("weight_decay", decay)));
        // The rule names the list: its items have no path.
        ConfigError::check_float(table, "at least 0", |x| x >= 0.0, &values)
            .map_err(|problem| ConfigError { keys: vec![table.to_owned()], ..problem })
    }
}

impl EmaConfig {
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_share(table, &[("decay", self.decay)])
    }
}
