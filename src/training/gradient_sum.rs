//! The sum of the gradients of some shards.

use tch::Tensor;

use super::metrics::RunningStats;
use super::partition::partition_by_size;
use crate::runtime::threads;

/// The sum over one or more shards.
pub(crate) struct GradientSum {
    /// Their counts; its sums are zero.
    pub counts: RunningStats,
    /// Smoothed loss and negative log-likelihood: (2) f64
    pub losses: Tensor,
    /// One per weight; undefined if the loss does not depend on it.
    pub gradients: Vec<Tensor>,
}

impl GradientSum {
    /// Adds each weight's gradients on whichever thread is free.
    pub(crate) fn plus(mut self, other: GradientSum) -> GradientSum {
        self.counts.add(&other.counts);
        let pairs = self.gradients.into_iter().zip(other.gradients).collect();
        let context = partition_by_size(pairs, self.losses.device(), |(sum, _)| sum);
        let added = |part: Vec<(Tensor, Tensor)>| -> Vec<Tensor> {
            let _guard = tch::no_grad_guard();
            part.into_iter().map(|(sum, more)| add(sum, more)).collect()
        };
        let gradients = threads::each(context, added).into_iter().flatten().collect();
        GradientSum { counts: self.counts, losses: self.losses + other.losses, gradients }
    }
}

/// The sum of two gradients, either of which may be undefined.
fn add(mut sum: Tensor, more: Tensor) -> Tensor {
    match (sum.defined(), more.defined()) {
        (true, true) => sum.g_add_(&more),
        (false, _) => more,
        (true, false) => sum,
    }
}
