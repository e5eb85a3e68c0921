//! The trait of a metric, and its row in the table that the rest of the program uses.

use std::any::Any;
use std::fmt::Debug;

use super::{ErrorRate, Example, METRICS, TEACHER_FORCED};

/// A corpus-level metric: it counts over the rows, and its value is computed from the counts, never from values of
/// rows.
///
/// Values are shares or rates, and lines and pictures show 100 times the value, as percent; see [`Metric::IN_PERCENT`].
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
    /// Whether lines and tables show the value in percent.
    const IN_PERCENT: bool = true;
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

    /// The errors behind the value by kind, if it is their number for each symbol of the references.
    fn errors(&self) -> Option<ErrorRate> {
        None
    }
}

/// A row of [`METRICS`] or [`TEACHER_FORCED`]: the constants of a metric, and how to create it.
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
    /// [`Metric::IN_PERCENT`]
    pub in_percent: bool,
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
            in_percent: M::IN_PERCENT,
            settings: M::SETTINGS,
            of_statistics: M::of_statistics,
            of_row: M::of_row,
            short_name: M::SHORT_NAME,
            start: || Box::new(M::default()),
        }
    }

    /// The metric of outputs ([`METRICS`]) of that name.
    pub fn named(name: &str) -> Option<MetricKind> {
        METRICS.iter().copied().find(|kind| kind.name == name)
    }

    /// Whether it is over references that a model scores, and not over outputs.
    pub fn is_teacher_forced(&self) -> bool {
        TEACHER_FORCED.contains(self)
    }

    /// A value as tables show it: `83.33` of a share, which is in percent; `1.234` of another number.
    pub(crate) fn shown(&self, value: f64) -> String {
        if self.in_percent { format!("{:.2}", 100.0 * value) } else { format!("{value:.3}") }
    }

    /// A value as lines show it, with its unit.
    pub(crate) fn shown_with_unit(&self, value: f64) -> String {
        self.shown(value) + if self.in_percent { " %" } else { "" }
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
    fn errors(&self) -> Option<ErrorRate>;
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

    fn errors(&self) -> Option<ErrorRate> {
        Metric::errors(self)
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
        let all = [METRICS, TEACHER_FORCED].concat();
        for (n, kind) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other != kind), "{}", kind.name);
            assert!(kind.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", kind.name);
            assert!(kind.instead_of.is_none_or(|other| MetricKind::named(other).is_some()), "{}", kind.name);
            assert!(kind.start().value().is_finite(), "{} without a row", kind.name);
            assert_eq!(kind.is_teacher_forced(), MetricKind::named(kind.name).is_none(), "{}", kind.name);
        }
    }

    #[test]
    fn shares_are_shown_in_percent_and_other_numbers_as_they_are() {
        let shown = |kind: &MetricKind| [kind.shown(1.23456), kind.shown_with_unit(1.23456)];
        assert_eq!(shown(&METRICS[0]), ["123.46", "123.46 %"]);
        let all = TEACHER_FORCED.iter().map(shown).collect::<Vec<_>>();
        assert_eq!(all, [["123.46", "123.46 %"], ["1.235", "1.235"]]);
    }
}
