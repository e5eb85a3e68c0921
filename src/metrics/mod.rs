//! Metrics: scores of decoded outputs against their references.
//!
//! A metric is one file of this folder and its line in [`METRICS`]. The config's `training.metrics`, `metrics.csv`,
//! lines, curves, TensorBoard, summaries and `training.best_by` use that list. Those of [`TEACHER_FORCED`] are over scores of
//! references instead of outputs. `bootstrap` and `significance` tell how far a
//! value can be trusted; `minimum_bayes_risk` chooses outputs by a metric. Numbers and strings only: nothing in this folder
//! depends on a tensor, a model or a file.

pub(crate) mod bleu;
mod bootstrap;
pub(crate) mod character_error_rate;
pub(crate) mod chrf;
pub(crate) mod edit;
pub(crate) mod error_rate;
pub(crate) mod exact_match;
mod example;
mod metric;
mod minimum_bayes_risk;
mod ngrams;
pub(crate) mod perplexity;
pub(crate) mod row_statistics;
mod set;
mod significance;
pub(crate) mod ter;
pub(crate) mod token_accuracy;
pub(crate) mod word_error_rate;

use bleu::Bleu;
use bleu::tokenizers::{Characters, Chinese, International, Unsplit, Western};
pub use bootstrap::{percentile_interval, resampled_values};
pub use edit::ErrorRate;
pub use example::{Example, TargetScore, Unit};
pub use metric::{Metric, MetricKind};
pub use minimum_bayes_risk::{Candidate, CandidateWeights, ExpectedValue, rank_by_expected_value};
pub use row_statistics::RowStatistics;
pub use set::{MetricSet, MetricValue};
pub use significance::{SIGNIFICANT, approximate_randomization, differing_rows, paired_bootstrap};

/// All metrics of outputs.
pub const METRICS: &[MetricKind] = &[
    MetricKind::of::<exact_match::ExactMatch>(),
    MetricKind::of::<character_error_rate::CharacterErrorRate>(),
    MetricKind::of::<word_error_rate::WordErrorRate>(),
    MetricKind::of::<error_rate::CappedErrorRate>(),
    MetricKind::of::<chrf::Chrf<0>>(),
    MetricKind::of::<chrf::Chrf<2>>(),
    MetricKind::of::<Bleu<Western>>(),
    MetricKind::of::<Bleu<International>>(),
    MetricKind::of::<Bleu<Characters>>(),
    MetricKind::of::<Bleu<Chinese>>(),
    MetricKind::of::<Bleu<Unsplit>>(),
    MetricKind::of::<ter::Ter>(),
];

/// The metrics of how a model scores references ([`Example::reference_score`]). Texts alone have none of them.
pub const TEACHER_FORCED: &[MetricKind] =
    &[MetricKind::of::<token_accuracy::TokenAccuracy>(), MetricKind::of::<perplexity::Perplexity>()];
