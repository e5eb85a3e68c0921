//! `training.metrics` and `training.best_by`: the metrics of a validation, and the one that decides.

use std::fmt;

use serde::de::{self, EnumAccess, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::TrainingConfig;
use crate::error::ConfigError;
use crate::metrics::{METRICS, MetricKind, MetricSet, Unit};

/// The columns of `metrics.csv` if `metrics` is not given. This default must never change: old runs resume with it.
const USUAL: [&str; 3] = ["exact_match", "character_error_rate", "word_error_rate"];

/// This one stays empty if the target's tokens are not words and it does not decide.
const OF_WORDS: &str = "word_error_rate";

/// Metrics that may decide even without a column.
const ALWAYS_DECIDE: [&str; 2] = ["exact_match", "error_rate"];

/// The scores that need no outputs. They always have a column.
const OF_LIKELIHOOD: [BestBy; 3] = [BestBy::Nll, BestBy::Perplexity, BestBy::TokenAccuracy];

/// The names of [`BestBy`]: those of [`OF_LIKELIHOOD`], then all metrics.
const CHOICES: [&str; OF_LIKELIHOOD.len() + METRICS.len()] = {
    let mut choices = [""; OF_LIKELIHOOD.len() + METRICS.len()];
    let mut n = 0;
    while n < choices.len() {
        choices[n] = match n < OF_LIKELIHOOD.len() {
            true => OF_LIKELIHOOD[n].name(),
            false => METRICS[n - OF_LIKELIHOOD.len()].name,
        };
        n += 1;
    }
    choices
};

/// What `best` means: the score of a validation that decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BestBy {
    /// The negative log-likelihood per target token.
    Nll,
    /// exp of it, which has the same order.
    Perplexity,
    /// The share of target tokens that are the most likely ones.
    TokenAccuracy,
    /// A metric of outputs, over references in the text form of outputs.
    Metric(MetricKind),
}

impl BestBy {
    /// The score, negated if needed so that lower is better.
    pub(crate) fn cost(&self, score: f64) -> f64 {
        match self {
            BestBy::Nll | BestBy::Perplexity => score,
            BestBy::TokenAccuracy => -score,
            BestBy::Metric(kind) => kind.cost(score),
        }
    }

    /// The cost without a model: of no likelihood, of no right token, of empty outputs.
    pub(crate) fn cost_of_none(&self) -> f64 {
        match self {
            BestBy::Nll | BestBy::Perplexity => f64::MAX,
            BestBy::TokenAccuracy => 0.0,
            BestBy::Metric(kind) => kind.cost(kind.of_empty_outputs),
        }
    }

    /// The score of a validation with this likelihood; `None` if outputs decide.
    pub(crate) fn of_likelihood(&self, nll: f64, token_accuracy: f64) -> Option<f64> {
        match self {
            BestBy::Nll => Some(nll),
            BestBy::Perplexity => Some(nll.exp()),
            BestBy::TokenAccuracy => Some(token_accuracy),
            BestBy::Metric(_) => None,
        }
    }

    /// Its metric as a set.
    pub(crate) fn metric_set(&self) -> MetricSet {
        MetricSet::new(match self {
            BestBy::Metric(kind) => Some(*kind),
            _ => None,
        })
    }

    const fn name(&self) -> &'static str {
        match self {
            BestBy::Metric(kind) => kind.name,
            BestBy::Nll => "nll",
            BestBy::Perplexity => "perplexity",
            BestBy::TokenAccuracy => "token_accuracy",
        }
    }

    fn named(name: &str) -> Option<BestBy> {
        let of_likelihood = OF_LIKELIHOOD.into_iter().find(|by| by.name() == name);
        of_likelihood.or_else(|| MetricKind::named(name).map(BestBy::Metric))
    }
}

/// `error_rate`
impl Default for BestBy {
    fn default() -> Self {
        MetricKind::named("error_rate").map_or(BestBy::Nll, BestBy::Metric)
    }
}

impl Serialize for BestBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for BestBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = deserializer.deserialize_enum("BestBy", &CHOICES, OneOf(&CHOICES))?;
        BestBy::named(name).ok_or_else(|| de::Error::unknown_variant(name, &CHOICES))
    }
}

/// A metric by its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricName(pub MetricKind);

impl Serialize for MetricName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name)
    }
}

impl<'de> Deserialize<'de> for MetricName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let known = &CHOICES[OF_LIKELIHOOD.len()..];
        let name = deserializer.deserialize_enum("MetricName", known, OneOf(known))?;
        let unknown = || de::Error::unknown_variant(name, known);
        MetricKind::named(name).map(MetricName).ok_or_else(unknown)
    }
}

/// Deserializes one of these names as an enum does a variant, so that an unknown name gets the message of all choices.
struct OneOf(&'static [&'static str]);

impl<'de> Visitor<'de> for OneOf {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of `{}`", self.0.join("`, `"))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<&'static str, A::Error> {
        let (name, variant): (String, A::Variant) = access.variant()?;
        variant.unit_variant()?;
        let known = self.0.iter().find(|known| **known == name).copied();
        known.ok_or_else(|| de::Error::unknown_variant(&name, self.0))
    }
}

impl TrainingConfig {
    /// The columns of `metrics.csv` for metrics.
    pub(crate) fn metric_columns(&self) -> Vec<&'static str> {
        match &self.metrics {
            Some(metrics) => metrics.iter().map(|MetricName(kind)| kind.name).collect(),
            None => USUAL.to_vec(),
        }
    }

    /// The metrics computed over outputs, in the order of the columns. A column without its metric stays empty.
    pub(crate) fn metric_set(&self, unit: Unit) -> MetricSet {
        let columns = self.metric_columns().into_iter();
        let is_counted = |name: &&str| {
            self.metrics.is_some()
                || unit == Unit::Words
                || *name != OF_WORDS
                || self.best_by.name() == OF_WORDS
        };
        MetricSet::new(columns.filter(is_counted).filter_map(MetricKind::named))
    }

    /// Each metric has one column, and the deciding metric is computed.
    pub(super) fn check_metrics(&self) -> Result<(), ConfigError> {
        let columns = self.metric_columns();
        if let Some(twice) = (1..columns.len()).find(|&n| columns[..n].contains(&columns[n])) {
            let message =
                format!("`metrics` must name each metric once, but `{}` occurs twice", columns[twice]);
            return Err(ConfigError::new("training", &["metrics"], message));
        }
        let name = self.best_by.name();
        if !matches!(self.best_by, BestBy::Metric(_))
            || ALWAYS_DECIDE.contains(&name)
            || columns.contains(&name)
        {
            return Ok(());
        }
        let counted = columns.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let message = format!(
            "`best_by` must be `nll`, `perplexity`, `token_accuracy`, `exact_match`, `error_rate` or a metric of \
             `training.metrics` ({counted}), but it is \"{name}\""
        );
        let hint = format!("add \"{name}\" to `training.metrics`");
        Err(ConfigError::new("training", &["best_by", "metrics"], message).hint(hint))
    }
}
