//! Metrics that an option names.

use crate::config::nearest::nearest;
use crate::error::{Error, Result};
use crate::metrics::{METRICS, MetricKind};

/// The metric that an option names.
///
/// # Errors
/// There is none.
pub(crate) fn metric_named(option: &str, name: &str) -> Result<MetricKind> {
    MetricKind::named(name).ok_or_else(|| {
        let known: Vec<&str> = METRICS.iter().map(|kind| kind.name).collect();
        let there = known.join(", ");
        let error =
            Error::input(format!("{option} must name a metric, but `{name}` is none; there are {there}"));
        match nearest(name, &known) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        }
    })
}
