//! The trait of a metric, and its row in the table that the rest of the program uses.

use std::any::Any;
use std::fmt::Debug;

use super::{Example, METRICS};

/// A corpus-level metric: it counts over the rows, and its value is computed from the counts, never from values of
/// rows.
///
/// Values are shares or rates: lines and pictures show 100 times the value, as percent.
pub trait Metric: Clone + Debug + Default + Send + Sync + 'static {
    /// Its name in a config, in `metrics.csv` and in summaries: `word_error_rate`.
    const NAME: &'static str;
    /// Whether a higher value is better.
    const HIGHER_IS_BETTER: bool;
    /// The value of empty outputs. A model is better than no model if its value is better than this.
    const OF_EMPTY_OUTPUTS: f64 = if Self::HIGHER_IS_BETTER { 0.0 } else { 1.0 };
    /// The name for lines of 80 columns; if empty, [`Metric::NAME`] with spaces.
    const SHORT_NAME: &'static str = "";
    /// The metric that it replaces in lines and pictures if both have a value: the more informative of two that count
    /// the same.
    const INSTEAD_OF: Option<&'static str> = None;
    /// Its settings as sacrebleu's signatures name them, if it computes what sacrebleu does: `case:mixed|eff:no|…`.
    const SETTINGS: Option<&'static str> = None;

    /// Counts a row.
    fn add(&mut self, example: &Example);

    /// Adds the counts of other rows.
    fn merge(&mut self, other: &Self);

    /// The counts as numbers that add up: those of two sets of rows together are the sums, place by place. So one can
    /// count each row once and then get the value of any choice of rows.
    fn statistics(&self) -> Vec<f64>;

    /// The value that these counts, or sums of them, give. Without rows it must be a finite number, too.
    fn of_statistics(statistics: &[f64]) -> f64;

    /// The value of a single row, from its counts, to compare outputs for it. It differs where the formula for a set
    /// says little about one row, as that of BLEU about a short sentence.
    fn of_row(statistics: &[f64]) -> f64 {
        Self::of_statistics(statistics)
    }

    /// The value over all rows so far.
    fn value(&self) -> f64 {
        Self::of_statistics(&Metric::statistics(self))
    }

    /// The counts behind the value, for the final report: `1 substitutions, 0 deletions, …`.
    fn counts(&self) -> Option<String> {
        None
    }
}

/// A row of [`METRICS`]: the constants of a metric, and how to create it.
#[derive(Clone, Copy, Debug)]
pub struct MetricKind {
    /// [`Metric::NAME`]
    pub name: &'static str,
    /// [`Metric::HIGHER_IS_BETTER`]
    pub higher_is_better: bool,
    /// [`Metric::OF_EMPTY_OUTPUTS`]
    pub of_empty_outputs: f64,
    /// [`Metric::INSTEAD_OF`]
    pub instead_of: Option<&'static str>,
    /// [`Metric::SETTINGS`]
    pub settings: Option<&'static str>,
    /// [`Metric::of_statistics`]
    pub of_statistics: fn(&[f64]) -> f64,
    /// [`Metric::of_row`]
    pub of_row: fn(&[f64]) -> f64,
    short_name: &'static str,
    start: fn() -> Box<dyn Counter>,
}

impl MetricKind {
    /// The row of a metric.
    pub(crate) const fn of<M: Metric>() -> MetricKind {
        MetricKind {
            name: M::NAME,
            higher_is_better: M::HIGHER_IS_BETTER,
            of_empty_outputs: M::OF_EMPTY_OUTPUTS,
            instead_of: M::INSTEAD_OF,
            settings: M::SETTINGS,
            of_statistics: M::of_statistics,
            of_row: M::of_row,
            short_name: M::SHORT_NAME,
            start: || Box::new(M::default()),
        }
    }

    /// The metric of that name.
    pub fn named(name: &str) -> Option<MetricKind> {
        METRICS.iter().copied().find(|kind| kind.name == name)
    }

    /// The name in words: `word error rate`.
    pub(crate) fn label(&self) -> String {
        self.name.replace('_', " ")
    }

    /// The name for a line of 80 columns.
    pub(crate) fn short_label(&self) -> String {
        if self.short_name.is_empty() { self.label() } else { self.short_name.to_owned() }
    }

    /// The value, negated if needed so that lower is better.
    pub(crate) fn cost(&self, value: f64) -> f64 {
        if self.higher_is_better { -value } else { value }
    }

    pub(super) fn start(&self) -> Box<dyn Counter> {
        (self.start)()
    }
}

/// Names are unique.
impl PartialEq for MetricKind {
    fn eq(&self, other: &MetricKind) -> bool {
        self.name == other.name
    }
}

/// A metric as a trait object, the element of a set.
pub(super) trait Counter: Debug + Send + Sync {
    fn add(&mut self, example: &Example);
    /// Adds the counts of other rows of the same metric.
    fn merge(&mut self, other: &dyn Counter);
    fn value(&self) -> f64;
    fn statistics(&self) -> Vec<f64>;
    fn counts(&self) -> Option<String>;
    fn boxed(&self) -> Box<dyn Counter>;
    fn as_any(&self) -> &dyn Any;
}

impl<M: Metric> Counter for M {
    fn add(&mut self, example: &Example) {
        Metric::add(self, example);
    }

    fn merge(&mut self, other: &dyn Counter) {
        // A set pairs metrics by name, so the types are equal.
        if let Some(other) = other.as_any().downcast_ref::<M>() {
            Metric::merge(self, other);
        }
    }

    fn value(&self) -> f64 {
        Metric::value(self)
    }

    fn statistics(&self) -> Vec<f64> {
        Metric::statistics(self)
    }

    fn counts(&self) -> Option<String> {
        Metric::counts(self)
    }

    fn boxed(&self) -> Box<dyn Counter> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_are_unique_and_valid_as_column_names() {
        for (n, kind) in METRICS.iter().enumerate() {
            assert!(METRICS[..n].iter().all(|other| other != kind), "{}", kind.name);
            assert!(kind.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", kind.name);
            assert!(kind.instead_of.is_none_or(|other| MetricKind::named(other).is_some()), "{}", kind.name);
            assert!(kind.start().value().is_finite(), "{} without a row", kind.name);
        }
    }
}
