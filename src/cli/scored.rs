//! Outputs and scored references as metrics count them: over all rows, and for each.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::not_finite::each_or_error;
use crate::decoding::incremental_decoder::DecodeRequest;
use crate::decoding::token_scores::TokenScore;
use crate::error::Result;
use crate::metrics::{Example, MetricKind, MetricSet, RowStatistics, TargetScore};
use crate::predictor::loaded_model::LoadedModel;

/// The sums over the tokens of a target.
pub(super) fn target_score(tokens: &[TokenScore]) -> TargetScore {
    let log_p = tokens.iter().map(|token| f64::from(token.log_probability));
    TargetScore {
        // An empty sum would be -0.
        log_probability: log_p.fold(0.0, |sum, log_p| sum + log_p),
        tokens: tokens.len() as u64,
        correct: tokens.iter().filter(|token| token.is_most_likely).count() as u64,
    }
}

/// The scores of targets, each with its request, by teacher forcing; those that are `None` have none. An error that concerns one
/// target is that target's.
///
/// # Errors
/// The model fails.
pub(super) fn score_targets(
    loaded: &LoadedModel,
    targets: &[Option<(&DecodeRequest, &[i64])>],
) -> Result<Vec<Option<Result<Vec<TokenScore>>>>> {
    let there: Vec<_> = targets.iter().flatten().copied().collect();
    let mut scores = each_or_error(&there, &|some| loaded.score_tokens(some))?.into_iter();
    Ok(targets.iter().map(|target| target.and_then(|_| scores.next())).collect())
}

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
