//! One network per thread over the same weights, and the sum of their gradients.
//!
//! libtorch's tensors can move between threads, but cannot be shared by several at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Tensor};

use super::metrics::RunningStats;
use super::partition::partition_by_size;
use crate::model::network::Network;
use crate::model::params::Params;
use crate::runtime::threads;

/// The network of one thread.
#[derive(Debug)]
pub(crate) struct Replica {
    /// The network.
    pub model: Network,
    params: Params,
}

impl Replica {
    fn new(model: &Network, params: &Params) -> Replica {
        let mut params = params.sharing();
        Replica { model: model.sharing(&mut params), params }
    }

    /// The device of the weights.
    pub(crate) fn device(&self) -> Device {
        self.params.device()
    }

    /// The gradients of a loss: one tensor per weight, in their order, undefined if the loss does not depend on it.
    /// They are not stored in the weights, which other threads share.
    ///
    /// # Errors
    /// What libtorch refuses.
    pub(crate) fn backward(&self, loss: &Tensor) -> Result<Vec<Tensor>, tch::TchError> {
        let weights = || self.params.iter().map(|param| &param.tensor);
        let moving: Vec<&Tensor> = weights().filter(|weight| weight.requires_grad()).collect();
        let mut found = Tensor::f_run_backward(&[loss], &moving, false, false)?.into_iter();
        let mut gradient = |weight: &Tensor| match weight.requires_grad() {
            // The fused optimizers need contiguous memory.
            true => {
                found.next().filter(Tensor::defined).map_or(Tensor::default(), |found| found.contiguous())
            }
            false => Tensor::default(),
        };
        Ok(weights().map(&mut gradient).collect())
    }
}

/// A pool of replicas, one for each thread that asks.
#[derive(Debug)]
pub(crate) struct Replicas {
    on_cpu: bool,
    first: Mutex<Replica>,
    idle: Mutex<Vec<Replica>>,
}

impl Replicas {
    /// Over the weights of `params`.
    pub(crate) fn new(model: &Network, params: &Params) -> Replicas {
        Replicas {
            on_cpu: params.device() == Device::Cpu,
            first: Mutex::new(Replica::new(model, params)),
            idle: Mutex::default(),
        }
    }

    /// Runs `work`, whose parts may use all threads; on this thread alone with a GPU, which does one thing at a time.
    pub(crate) fn on_all<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        if self.on_cpu { threads::on_all(work) } else { work() }
    }

    /// Maps `work` over the items, in order, as [`threads::each`]; one after the other with a GPU.
    pub(crate) fn each<I: Send, T: Send>(
        &self,
        items: Vec<I>,
        work: impl Fn(&Replica, I) -> T + Sync + Send,
    ) -> Vec<T> {
        let work = |item| self.with(|replica| work(replica, item));
        if self.on_cpu { threads::each(items, work) } else { items.into_iter().map(work).collect() }
    }

    /// Runs `work` with a replica that no other thread uses meanwhile.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Replica) -> T) -> T {
        let idle = locked(&self.idle).pop();
        let replica = idle.unwrap_or_else(|| {
            let first = locked(&self.first);
            Replica::new(&first.model, &first.params)
        });
        let out = work(&replica);
        // A replica whose work panics is not returned to the pool: a new one costs nothing.
        locked(&self.idle).push(replica);
        out
    }
}

/// The sum of the gradients of one or more shards.
pub(crate) struct GradientSum {
    /// Their counts; its sums are zero.
    pub counts: RunningStats,
    /// Loss and negative log-likelihood: (2) f64
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
