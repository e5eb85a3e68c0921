//! Outputs as metrics count them: over all rows, and for each.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::metrics::{Example, MetricKind, MetricSet, RowStatistics};

/// The outputs of one file or one run, as metrics count them.
pub(super) struct ScoredOutputs {
    /// The file or the run, as the user names it.
    pub name: String,
    /// Over all rows.
    pub whole: MetricSet,
    /// The statistics of the rows for each metric, in the order of `whole`.
    pub statistics: Vec<RowStatistics>,
    /// Of all references so far, to compare them with those of other outputs.
    references: DefaultHasher,
}

impl ScoredOutputs {
    /// No rows yet.
    pub(super) fn new(name: String, kinds: &[MetricKind]) -> ScoredOutputs {
        let whole = MetricSet::new(kinds.iter().copied());
        let statistics = kinds.iter().copied().map(RowStatistics::new).collect();
        ScoredOutputs { name, whole, statistics, references: DefaultHasher::new() }
    }

    /// Counts a row.
    pub(super) fn add(&mut self, example: &Example) {
        let mut row = MetricSet::new(self.kinds());
        row.add(example);
        for (rows, statistics) in self.statistics.iter_mut().zip(row.statistics()) {
            rows.push(&statistics);
        }
        self.whole.merge(&row);
        example.reference.hash(&mut self.references);
        example.other_references.hash(&mut self.references);
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.whole.rows()
    }

    /// The metrics.
    pub(super) fn kinds(&self) -> impl Iterator<Item = MetricKind> {
        self.statistics.iter().map(RowStatistics::kind)
    }

    /// Whether both have the same references in the same order.
    pub(super) fn has_references_of(&self, other: &ScoredOutputs) -> bool {
        self.references.finish() == other.references.finish()
    }
}
