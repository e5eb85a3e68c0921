//! `[training]`: how long, how fast, how often.
//!
//! Only the keys, their defaults and the rules among them. It depends on neither model nor data.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

mod budget;
mod metrics;
mod non_finite;
mod optimizer;
mod schedule;
mod scheduled_sampling;

pub use budget::TokensPerBatch;
pub use metrics::{BestBy, MetricName};
pub use non_finite::{NonFiniteConfig, Then};
pub use optimizer::{AdamConfig, AdamWConfig, EmaConfig, GroupConfig, SgdConfig};
pub use schedule::{DecayConfig, PlateauConfig, WarmupConfig};
pub use scheduled_sampling::ScheduledSamplingConfig;

/// The most batches of an update; all of them are in memory together.
const MOST_BATCHES: u64 = 1 << 16;

/// The most positions of a batch.
const MOST_POSITIONS: u64 = 1 << 28;

/// `[training]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Stop after this many updates.
    pub steps: u64,
    /// Stop after this many passes over the training pairs; 0 for no such limit.
    pub epochs: u64,
    /// Stop after this many validations in a row without improvement, counted from the first that is better than no
    /// model; 0 for never.
    pub patience: u64,
    /// What `best` means.
    pub best_by: BestBy,
    /// What validations and `decode --summary` count over outputs; when absent, exact match and error rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<MetricName>>,
    /// The most target positions in a batch, including padding, and as many source positions.
    pub tokens_per_batch: TokensPerBatch,
    /// GiB that training may take, for `tokens_per_batch = "auto"`; 0 for four fifths of what is free.
    pub memory_limit: f64,
    /// Batches that make one update.
    pub accumulate: usize,
    /// Parts that the rows of an update are cut into, a power of two; 0: by `tokens_per_batch`.
    pub shards: usize,
    /// Share of the probability that is spread over the whole vocabulary (e in the loss).
    pub label_smoothing: f64,
    /// Gradients are scaled down to this global norm; 0 for never.
    pub clip_norm: f64,
    /// Weights that do not train, by name; `*` matches any text.
    pub freeze: Vec<String>,
    /// Share of the tokens on either side that the network sees as `<unk>`.
    pub word_dropout: f64,
    /// Weight of the R-drop loss (Liang et al. 2021); 0 for none.
    pub r_drop: f64,
    /// Share of the CTC loss, where the network has a CTC head; the rest is that of attention.
    pub ctc_weight: f64,
    /// Updates between two rows of training metrics.
    pub log_every: u64,
    /// Updates between two validations.
    pub validate_every: u64,
    /// Updates between two checkpoints.
    pub checkpoint_every: u64,
    /// The newest checkpoints: how many are kept.
    pub keep_last: usize,
    /// Checkpoints with the best validations: how many are kept in addition.
    pub keep_best: usize,
    /// Checkpoints whose mean is taken at the end; 0 for none.
    pub average: usize,
    /// Which ones.
    pub average_of: AverageOf,
    /// Validation pairs that are decoded, the first ones; 0 for all.
    pub decode_rows: usize,
    /// Decoded validation pairs that are written to `samples/`.
    pub samples: usize,
    /// What happens when the loss or a gradient is NaN or infinite.
    pub non_finite: NonFiniteConfig,
    /// Feeds the decoder some of its own predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_sampling: Option<ScheduledSamplingConfig>,
    /// A moving average of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaConfig>,
    /// Weights with their own learning rate or weight decay; a weight belongs to the first group that matches it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
    /// Optimizer: Adam with decoupled weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adamw: Option<AdamWConfig>,
    /// Optimizer: Adam.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adam: Option<AdamConfig>,
    /// Optimizer: stochastic gradient descent with momentum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sgd: Option<SgdConfig>,
    /// Learning rate: constant after a linear warm-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constant: Option<WarmupConfig>,
    /// Learning rate: linear warm-up, then proportional to 1 / sqrt(step).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inverse_sqrt: Option<WarmupConfig>,
    /// Learning rate: linear warm-up, then half a cosine down to `final_share` of it at `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<DecayConfig>,
    /// Learning rate: linear warm-up, then linear decay to `final_share` of it at `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear: Option<DecayConfig>,
    /// Learning rate: `learning_rate` times width^-0.5 * min(step^-0.5, step * warmup^-1.5) (Vaswani et al. 2017).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noam: Option<WarmupConfig>,
    /// Learning rate: linear warm-up, then a step down whenever validations stop improving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plateau: Option<PlateauConfig>,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        TrainingConfig {
            steps: 10_000,
            epochs: 0,
            patience: 0,
            best_by: BestBy::default(),
            metrics: None,
            tokens_per_batch: TokensPerBatch::Tokens(4096),
            memory_limit: 0.0,
            accumulate: 1,
            shards: 0,
            label_smoothing: 0.1,
            clip_norm: 1.0,
            freeze: Vec::new(),
            word_dropout: 0.0,
            r_drop: 0.0,
            ctc_weight: 0.3,
            log_every: 50,
            validate_every: 500,
            checkpoint_every: 500,
            keep_last: 3,
            keep_best: 1,
            average: 0,
            average_of: AverageOf::Last,
            decode_rows: 500,
            samples: 10,
            non_finite: NonFiniteConfig::default(),
            scheduled_sampling: None,
            ema: None,
            groups: Vec::new(),
            adamw: None,
            adam: None,
            sgd: None,
            constant: None,
            inverse_sqrt: None,
            cosine: None,
            linear: None,
            noam: None,
            plateau: None,
        }
    }
}

/// Which checkpoints are averaged at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AverageOf {
    /// The newest ones.
    Last,
    /// Those with the best validations.
    Best,
}

impl TrainingConfig {
    /// Shards that an update may have.
    const MOST_SHARDS: usize = 1024;
    /// The optimizers' tables; a config has one of them.
    pub(crate) const OPTIMIZERS: [&'static str; 3] = ["adamw", "adam", "sgd"];
    /// The tables of the learning-rate schedules; a config has one of them.
    pub(crate) const SCHEDULES: [&'static str; 6] =
        ["inverse_sqrt", "constant", "cosine", "linear", "noam", "plateau"];

    /// Fills in the default optimizer and schedule if the file has none.
    pub(crate) fn fill_in(&mut self) {
        if self.optimizers().is_empty() {
            self.adamw = Some(AdamWConfig::default());
        }
        if self.schedules().is_empty() {
            self.inverse_sqrt = Some(WarmupConfig::default());
        }
    }

    /// The schedule's highest learning rate, which is in the optimizer's table.
    pub(crate) fn learning_rate(&self) -> f64 {
        match (&self.adam, &self.sgd) {
            (Some(adam), _) => adam.learning_rate,
            (_, Some(sgd)) => sgd.learning_rate,
            (None, None) => self.adamw.clone().unwrap_or_default().learning_rate,
        }
    }

    /// Updates in which the learning rate rises.
    pub(crate) fn warmup(&self) -> u64 {
        let plain = [&self.constant, &self.inverse_sqrt, &self.noam].into_iter().flatten();
        let falling = [&self.cosine, &self.linear].into_iter().flatten();
        let warmups = plain.map(|schedule| schedule.warmup).chain(falling.map(|schedule| schedule.warmup));
        warmups.chain(self.plateau.iter().map(|schedule| schedule.warmup)).max().unwrap_or(0)
    }

    /// Whether the learning rate of a step depends on `steps`.
    pub(crate) fn decays_until_steps(&self) -> bool {
        self.linear.is_some() || self.cosine.is_some()
    }

    /// Whether a checkpoint is due at that step.
    pub(crate) fn saves_at(&self, step: u64) -> bool {
        [self.checkpoint_every, self.validate_every].iter().any(|&every| step.is_multiple_of(every))
    }

    /// The optimizers that the config names; exactly one in a checked config.
    fn optimizers(&self) -> Vec<&'static str> {
        named(Self::OPTIMIZERS, [self.adamw.is_some(), self.adam.is_some(), self.sgd.is_some()])
    }

    /// The schedules that the config names; exactly one in a checked config.
    fn schedules(&self) -> Vec<&'static str> {
        let are_there = [
            self.inverse_sqrt.is_some(),
            self.constant.is_some(),
            self.cosine.is_some(),
            self.linear.is_some(),
            self.noam.is_some(),
            self.plateau.is_some(),
        ];
        named(Self::SCHEDULES, are_there)
    }

    /// The rules among these keys, once [`TrainingConfig::fill_in`] has run.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_counts()?;
        self.check_metrics()?;
        let shares = [("label_smoothing", self.label_smoothing), ("word_dropout", self.word_dropout)];
        ConfigError::check_share("training", &shares)?;
        let amounts =
            [("clip_norm", self.clip_norm), ("r_drop", self.r_drop), ("memory_limit", self.memory_limit)];
        ConfigError::check_float("training", "at least 0", |x| x >= 0.0, &amounts)?;
        self.check_average()?;
        self.check_optimizer()?;
        self.check_schedule()?;
        self.non_finite.check("training.non_finite")?;
        if let Some(sampling) = &self.scheduled_sampling {
            sampling.check("training.scheduled_sampling")?;
            if self.r_drop > 0.0 {
                let message = "`r_drop` and `scheduled_sampling` must not both be on: each runs the decoder twice in its own \
                               way";
                return Err(ConfigError::new("training", &["scheduled_sampling", "r_drop"], message));
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), ConfigError> {
        let tokens = match self.tokens_per_batch {
            TokensPerBatch::Tokens(tokens) => tokens as u64,
            TokensPerBatch::Auto => 1,
        };
        let counts = [
            ("steps", self.steps),
            ("tokens_per_batch", tokens),
            ("accumulate", self.accumulate as u64),
            ("log_every", self.log_every),
            ("validate_every", self.validate_every),
            ("checkpoint_every", self.checkpoint_every),
            ("keep_last", self.keep_last as u64),
            ("keep_best", self.keep_best as u64),
        ];
        ConfigError::check_integer("training", 1, &counts)?;
        ConfigError::check_most("training", MOST_BATCHES, &[("accumulate", self.accumulate as u64)])?;
        ConfigError::check_most("training", MOST_POSITIONS, &[("tokens_per_batch", tokens)])?;
        let limits = [
            ("epochs", self.epochs),
            ("patience", self.patience),
            ("average", self.average as u64),
            ("decode_rows", self.decode_rows as u64),
            ("samples", self.samples as u64),
        ];
        ConfigError::check_integer("training", 0, &limits)?;
        if self.shards > 0 && (!self.shards.is_power_of_two() || self.shards > Self::MOST_SHARDS) {
            let (most, shards) = (Self::MOST_SHARDS, self.shards);
            let message =
                format!("`shards` must be 0 or a power of two of at most {most}, but it is {shards}");
            return Err(ConfigError::new("training", &["shards"], message));
        }
        Ok(())
    }

    /// The checkpoints to average at the end must be kept until then.
    fn check_average(&self) -> Result<(), ConfigError> {
        let (key, kept) = match self.average_of {
            AverageOf::Last => ("keep_last", self.keep_last),
            AverageOf::Best => ("keep_best", self.keep_best),
        };
        if self.average <= kept {
            return Ok(());
        }
        let average = self.average;
        let message = format!("`{key}` must be at least `average`, but they are {kept} and {average}");
        Err(ConfigError::new("training", &["average", key, "average_of"], message))
    }

    fn check_optimizer(&self) -> Result<(), ConfigError> {
        ConfigError::check_one("training", "optimizer", &self.optimizers())?;
        self.adamw.as_ref().map_or(Ok(()), |adamw| adamw.check("training.adamw"))?;
        self.adam.as_ref().map_or(Ok(()), |adam| adam.check("training.adam"))?;
        self.sgd.as_ref().map_or(Ok(()), |sgd| sgd.check("training.sgd"))?;
        self.ema.as_ref().map_or(Ok(()), |ema| ema.check("training.ema"))?;
        self.groups.iter().try_for_each(|group| group.check("training.groups"))
    }

    fn check_schedule(&self) -> Result<(), ConfigError> {
        ConfigError::check_one("training", "schedule", &self.schedules())?;
        let checked = |schedule: &Option<WarmupConfig>, table, least| {
            schedule.as_ref().map_or(Ok(()), |schedule| schedule.check(table, least))
        };
        checked(&self.constant, "training.constant", 0)?;
        // Both divide by the warm-up.
        checked(&self.inverse_sqrt, "training.inverse_sqrt", 1)?;
        checked(&self.noam, "training.noam", 1)?;
        self.cosine.as_ref().map_or(Ok(()), |schedule| schedule.check("training.cosine"))?;
        self.linear.as_ref().map_or(Ok(()), |schedule| schedule.check("training.linear"))?;
        self.plateau.as_ref().map_or(Ok(()), |schedule| schedule.check("training.plateau"))
    }
}

/// The names whose tables are present.
fn named<const N: usize>(names: [&'static str; N], are_there: [bool; N]) -> Vec<&'static str> {
    names.into_iter().zip(are_there).filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
}
