//! A set of metrics over the same rows.

use super::metric::Counter;
use super::{Example, MetricKind};

/// Metrics by name, and the number of rows so far.
#[derive(Debug, Default)]
pub struct MetricSet {
    rows: u64,
    members: Vec<(MetricKind, Box<dyn Counter>)>,
}

/// The value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricValue {
    /// Which metric.
    pub kind: MetricKind,
    /// Its value.
    pub value: f64,
}

impl MetricSet {
    /// A set of these metrics, in this order.
    pub fn new(kinds: impl IntoIterator<Item = MetricKind>) -> MetricSet {
        let members = kinds.into_iter().map(|kind| (kind, kind.start())).collect();
        MetricSet { rows: 0, members }
    }

    /// Counts a row.
    pub fn add(&mut self, example: &Example) {
        self.rows += 1;
        self.members.iter_mut().for_each(|(_, counter)| counter.add(example));
    }

    /// Adds the counts of another set; metrics that are not in both sets are ignored.
    pub fn merge(&mut self, other: &MetricSet) {
        self.rows += other.rows;
        for (kind, counter) in &mut self.members {
            let same = other.members.iter().find(|(other, _)| other == kind);
            same.into_iter().for_each(|(_, other)| counter.merge(other.as_ref()));
        }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// All values, in the order of the set.
    pub fn values(&self) -> Vec<MetricValue> {
        let value = |(kind, counter): &(MetricKind, Box<dyn Counter>)| MetricValue {
            kind: *kind,
            value: counter.value(),
        };
        self.members.iter().map(value).collect()
    }

    /// The counts behind a metric's value, if it reports them.
    pub(crate) fn counts(&self, kind: &MetricKind) -> Option<String> {
        let (_, counter) = self.members.iter().find(|(member, _)| member == kind)?;
        counter.counts()
    }
}

impl Clone for MetricSet {
    fn clone(&self) -> Self {
        let members = self.members.iter().map(|(kind, counter)| (*kind, counter.boxed())).collect();
        MetricSet { rows: self.rows, members }
    }
}

impl MetricValue {
    /// The values to show in a line: of two metrics that count the same, only the more informative one.
    pub(crate) fn in_lines(values: &[MetricValue]) -> impl Iterator<Item = &MetricValue> {
        let replaced = |name: &str| {
            values.iter().any(|other| !other.value.is_nan() && other.kind.instead_of == Some(name))
        };
        values.iter().filter(move |one| !replaced(one.kind.name))
    }

    /// `word error rate 12.34 %`
    pub(crate) fn in_words(&self) -> String {
        format!("{} {:.2} %", self.kind.label(), 100.0 * self.value)
    }

    /// The same with its short name.
    pub(crate) fn in_short(&self) -> String {
        format!("{} {:.2} %", self.kind.short_label(), 100.0 * self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::METRICS;

    const ROWS: [(&str, &str); 4] =
        [("the cat sat", "the cat sat"), ("abc", "abd"), ("", "x"), ("a b c", "a c")];

    fn counted(rows: &[(&str, &str)]) -> MetricSet {
        let mut set = MetricSet::new(METRICS.iter().copied());
        for (reference, output) in rows {
            let output = [(*output).to_owned()];
            set.add(&Example { reference, output: &output, finished: true, ..Example::default() });
        }
        set
    }

    #[test]
    fn merged_parts_equal_the_whole_set() {
        for cut in 0..=ROWS.len() {
            let (mut one, other) = (counted(&ROWS[..cut]), counted(&ROWS[cut..]));
            one.merge(&other);
            assert_eq!((one.rows(), one.values()), (4, counted(&ROWS).values()), "{cut}");
        }
        let mut without = MetricSet::new(METRICS.iter().copied());
        without.merge(&MetricSet::new([]));
        assert_eq!(without.values(), counted(&[]).values());
    }

    #[test]
    fn a_line_has_the_word_error_rate_instead_of_the_character_error_rate() {
        let names = |values: &[MetricValue]| -> Vec<&str> {
            MetricValue::in_lines(values).map(|one| one.kind.name).collect()
        };
        let mut values = counted(&ROWS).values();
        let some = ["exact_match", "character_error_rate", "word_error_rate", "chrf"];
        values.retain(|one| some.contains(&one.kind.name));
        assert_eq!(names(&values), ["exact_match", "word_error_rate", "chrf"]);
        values.retain(|one| one.kind.name != "word_error_rate");
        assert_eq!(names(&values), ["exact_match", "character_error_rate", "chrf"]);
        assert_eq!(
            (values[0].in_words(), values[0].in_short()),
            ("exact match 25.00 %".into(), "exact 25.00 %".into())
        );
    }
}
