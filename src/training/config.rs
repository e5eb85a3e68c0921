//! `[training]`: how long, how fast, how often.
//!
//! Only the keys, their defaults and the rules among them. It knows neither model nor data.

use serde::{Deserialize, Serialize};

use crate::error::Problem;

/// `[training]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Stop after this many updates.
    pub steps: u64,
    /// Stop after this many passes over the training pairs; 0 for no such limit.
    pub epochs: u64,
    /// Stop after this many validations in a row that were not better; 0 for never.
    pub patience: u64,
    /// What `best` means.
    pub best_by: BestBy,
    /// The most target positions in a batch, padding counted in, and as many source positions.
    pub tokens_per_batch: usize,
    /// Batches that make one update.
    pub accumulate: usize,
    /// Share of the probability that is spread over the whole vocabulary (e in the loss).
    pub label_smoothing: f64,
    /// Gradients are scaled down to this global norm; 0 for never.
    pub clip_norm: f64,
    /// Updates between two rows of training figures.
    pub log_every: u64,
    /// Updates between two validations.
    pub validate_every: u64,
    /// Updates between two checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept, the newest ones; the best is always kept beside them.
    pub keep_last: usize,
    /// Validation pairs that are really decoded, the first ones; 0 for all.
    pub decode_rows: usize,
    /// Decoded validation pairs that are written to `samples/`.
    pub samples: usize,
    /// The optimizer.
    pub adamw: AdamWConfig,
    /// Learning rate: the same all along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant: Option<WarmupConfig>,
    /// Learning rate: linear warm-up, then falling with one over the square root of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inverse_sqrt: Option<WarmupConfig>,
    /// Learning rate: linear warm-up, then half a cosine down to `final_share` of it at `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<DecayConfig>,
    /// Learning rate: linear warm-up, then a straight line down to `final_share` of it at `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear: Option<DecayConfig>,
    /// Learning rate: `learning_rate` times width^-0.5 * min(step^-0.5, step * warmup^-1.5) (Vaswani et al. 2017).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noam: Option<WarmupConfig>,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        TrainingConfig {
            steps: 10_000,
            epochs: 0,
            patience: 0,
            best_by: BestBy::ErrorRate,
            tokens_per_batch: 4096,
            accumulate: 1,
            label_smoothing: 0.1,
            clip_norm: 1.0,
            log_every: 50,
            validate_every: 500,
            checkpoint_every: 500,
            keep_last: 3,
            decode_rows: 500,
            samples: 10,
            adamw: AdamWConfig::default(),
            constant: None,
            inverse_sqrt: None,
            cosine: None,
            linear: None,
            noam: None,
        }
    }
}

/// What `best` means: the figure of a validation that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BestBy {
    /// Lowest negative log-likelihood per target token.
    Nll,
    /// Highest share of decoded rows that are exactly the reference.
    ExactMatch,
    /// Lowest edit distance over reference length of the decoded rows.
    ErrorRate,
}

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
    /// Decoupled weight decay; none on biases, norms and embeddings.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig { learning_rate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// A schedule with nothing but a warm-up.
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

/// A schedule that ends at `training.steps`.
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

impl TrainingConfig {
    /// Names the schedule where the file names none.
    pub fn fill_in(&mut self) {
        if self.schedules().is_empty() {
            self.inverse_sqrt = Some(WarmupConfig::default());
        }
    }

    /// The schedules that are named; one, in a config that was checked.
    fn schedules(&self) -> Vec<&'static str> {
        let named = [
            ("constant", self.constant.is_some()),
            ("inverse_sqrt", self.inverse_sqrt.is_some()),
            ("cosine", self.cosine.is_some()),
            ("linear", self.linear.is_some()),
            ("noam", self.noam.is_some()),
        ];
        named.into_iter().filter(|(_, is_named)| *is_named).map(|(name, _)| name).collect()
    }

    /// The rules among these keys, once [`TrainingConfig::fill_in`] has run.
    pub fn check(&self) -> Result<(), Problem> {
        let counts = [
            ("steps", self.steps),
            ("tokens_per_batch", self.tokens_per_batch as u64),
            ("accumulate", self.accumulate as u64),
            ("log_every", self.log_every),
            ("validate_every", self.validate_every),
            ("checkpoint_every", self.checkpoint_every),
            ("keep_last", self.keep_last as u64),
        ];
        Problem::check_whole("training", 1, &counts)?;
        let limits = [
            ("epochs", self.epochs),
            ("patience", self.patience),
            ("decode_rows", self.decode_rows as u64),
            ("samples", self.samples as u64),
        ];
        Problem::check_whole("training", 0, &limits)?;
        Problem::check_share("training", &[("label_smoothing", self.label_smoothing)])?;
        Problem::check_real("training", "at least 0", |x| x >= 0.0, &[("clip_norm", self.clip_norm)])?;
        self.adamw.check("training.adamw")?;
        Problem::check_one("training", "schedule", &self.schedules())?;
        self.check_schedule()
    }

    fn check_schedule(&self) -> Result<(), Problem> {
        // Both divide by the warm-up.
        for (table, schedule) in [("inverse_sqrt", &self.inverse_sqrt), ("noam", &self.noam)] {
            if let Some(schedule) = schedule {
                Problem::check_whole(&format!("training.{table}"), 1, &[("warmup", schedule.warmup)])?;
            }
        }
        if let Some(schedule) = &self.constant {
            Problem::check_whole("training.constant", 0, &[("warmup", schedule.warmup)])?;
        }
        for (table, schedule) in [("cosine", &self.cosine), ("linear", &self.linear)] {
            if let Some(DecayConfig { warmup, final_share }) = schedule {
                let table = format!("training.{table}");
                Problem::check_whole(&table, 0, &[("warmup", *warmup)])?;
                let within = |x| (0.0..=1.0).contains(&x);
                Problem::check_real(&table, "from 0 to 1", within, &[("final_share", *final_share)])?;
            }
        }
        Ok(())
    }
}

impl AdamWConfig {
    fn check(&self, table: &str) -> Result<(), Problem> {
        let above_zero = [("learning_rate", self.learning_rate), ("epsilon", self.epsilon)];
        Problem::check_real(table, "above 0", |x| x > 0.0, &above_zero)?;
        Problem::check_share(table, &[("beta1", self.beta1), ("beta2", self.beta2)])?;
        Problem::check_real(table, "at least 0", |x| x >= 0.0, &[("weight_decay", self.weight_decay)])
    }
}
