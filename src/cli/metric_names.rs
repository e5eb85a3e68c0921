//! Metrics that an option names.

use crate::config::nearest::nearest;
use crate::error::{Error, Result};
use crate::metrics::MetricKind;

/// The metric of `known` that an option names.
///
/// # Errors
/// There is none of that name.
pub(crate) fn metric_named(option: &str, name: &str, known: &[MetricKind]) -> Result<MetricKind> {
    known.iter().copied().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|kind| kind.name).collect();
        let there = names.join(", ");
        let error =
            Error::input(format!("{option} must name a metric, but `{name}` is not one; there are {there}"));
        match nearest(name, &names) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        }
    })
}
