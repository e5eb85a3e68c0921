//! A set of metrics over the same rows.

use std::collections::BTreeMap;

use super::metric::Counter;
use super::{ErrorRate, Example, MetricKind};

/// Metrics by name, and the number of rows so far.
#[derive(Debug, Default)]
pub struct MetricSet {
    rows: u64,
    references: References,
    members: Vec<(MetricKind, Box<dyn Counter>)>,
}

/// How many references each row has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum References {
    /// There is no row.
    #[default]
    Unknown,
    Always(usize),
    Varying,
}

impl References {
    fn and(self, other: References) -> References {
        match (self, other) {
            (one, References::Unknown) | (References::Unknown, one) => one,
            (one, other) if one == other => one,
            _ => References::Varying,
        }
    }
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
        MetricSet { members, ..MetricSet::default() }
    }

    /// Counts a row.
    pub fn add(&mut self, example: &Example) {
        self.rows += 1;
        self.references = self.references.and(References::Always(1 + example.other_references.len()));
        self.members.iter_mut().for_each(|(_, counter)| counter.add(example));
    }

    /// Adds the counts of another set; metrics that are not in both sets are ignored.
    pub fn merge(&mut self, other: &MetricSet) {
        self.rows += other.rows;
        self.references = self.references.and(other.references);
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

    /// The counts behind the values, in the order of the set: see [`Metric::statistics`](super::Metric::statistics).
    /// [`MetricKind::of_statistics`] makes a value of them.
    pub fn statistics(&self) -> Vec<Vec<f64>> {
        self.members.iter().map(|(_, counter)| counter.statistics()).collect()
    }

    /// The signature of a metric that sacrebleu has as well, in sacrebleu's form: `nrefs:1|case:mixed|…|version:…`, where
    /// the version is seqloom's. `None` without rows.
    pub fn signature(&self, kind: &MetricKind) -> Option<String> {
        let references = match self.references {
            References::Unknown => return None,
            References::Always(count) => count.to_string(),
            References::Varying => "var".to_owned(),
        };
        let version = env!("CARGO_PKG_VERSION");
        kind.settings.map(|settings| format!("nrefs:{references}|{settings}|version:seqloom-{version}"))
    }

    /// The signatures of the metrics that have one, by their names.
    pub fn signatures(&self) -> BTreeMap<&'static str, String> {
        self.members.iter().filter_map(|(kind, _)| Some((kind.name, self.signature(kind)?))).collect()
    }

    /// The errors by kind of the metrics that count them ([`Metric::errors`](super::Metric::errors)), by their names.
    pub fn errors(&self) -> BTreeMap<&'static str, ErrorRate> {
        self.members.iter().filter_map(|(kind, counter)| Some((kind.name, counter.errors()?))).collect()
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
        MetricSet { members, ..*self }
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
        format!("{} {}", self.kind.label(), self.kind.shown_with_unit(self.value))
    }

    /// The same with its short name.
    pub(crate) fn in_short(&self) -> String {
        format!("{} {}", self.kind.short_label(), self.kind.shown_with_unit(self.value))
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
    fn statistics_of_rows_add_up_to_those_of_the_set() {
        let whole = counted(&ROWS);
        let mut sums = counted(&[]).statistics();
        for row in ROWS {
            for (sums, numbers) in sums.iter_mut().zip(counted(&[row]).statistics()) {
                assert_eq!(sums.len(), numbers.len());
                sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
            }
        }
        assert_eq!(sums, whole.statistics());
        for (one, sums) in whole.values().iter().zip(&sums) {
            assert_eq!((one.kind.of_statistics)(sums), one.value, "{}", one.kind.name);
        }
    }

    #[test]
    fn a_signature_names_the_number_of_references() {
        let signed = |set: &MetricSet, name: &str| set.signature(&MetricKind::named(name).unwrap());
        let version = concat!("version:seqloom-", env!("CARGO_PKG_VERSION"));
        let mut set = counted(&ROWS);
        let settings = "case:mixed|eff:no|tok:13a|smooth:exp";
        assert_eq!(signed(&set, "bleu"), Some(format!("nrefs:1|{settings}|{version}")));
        assert_eq!([signed(&set, "exact_match"), signed(&counted(&[]), "bleu")], [None, None]);
        set.add(&Example { other_references: &["a"], ..Example::default() });
        assert_eq!(signed(&set, "bleu"), Some(format!("nrefs:var|{settings}|{version}")));
    }

    #[test]
    fn signatures_and_errors_are_those_of_the_metrics_that_have_them() {
        let set = counted(&ROWS);
        let signed: Vec<&str> = set.signatures().into_keys().collect();
        let theirs =
            ["bleu", "bleu_char", "bleu_intl", "bleu_none", "bleu_zh", "chrf", "chrf_plus_plus", "ter"];
        assert_eq!(signed, theirs);
        let errors = set.errors();
        assert_eq!(errors.keys().copied().collect::<Vec<_>>(), ["character_error_rate", "word_error_rate"]);
        // abd for abc; x for nothing; b is missing.
        let of_words = ErrorRate { substitutions: 1, deletions: 1, insertions: 1, reference_length: 7 };
        assert_eq!(errors["word_error_rate"], of_words);
        let value = set.values().into_iter().find(|one| one.kind.name == "word_error_rate").unwrap().value;
        assert_eq!(errors["word_error_rate"].rate(), value);
        let object = "{\"substitutions\":1,\"deletions\":1,\"insertions\":1,\"reference_length\":7}";
        assert_eq!(serde_json::to_string(&of_words).unwrap(), object);
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
