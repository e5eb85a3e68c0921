//! What a checkpoint has of a training: the identity of its pairs, and tensors, which are copied and restored.

use tch::{Device, Tensor};

use super::context::NamedTensors;
use super::ema::Ema;
use super::optimizer::Optimizer;
use crate::data::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::params::Params;

/// The identity of training pairs, and of how their files are mixed.
pub(super) fn identity(train: &Dataset) -> String {
    let fingerprint = train.corpus.fingerprint();
    match &train.passes.mixture {
        Some(mixture) => format!("{fingerprint} {}", mixture.name()),
        None => fingerprint.to_owned(),
    }
}

/// A copy in the CPU's memory, of which there is more.
pub(super) fn copied((name, tensor): (String, Tensor)) -> (String, Tensor) {
    let _guard = tch::no_grad_guard();
    let copy = if tensor.device() == Device::Cpu { tensor.copy() } else { tensor.to_device(Device::Cpu) };
    (name, copy)
}

/// The error for other training pairs than at the start of a run, or other weights of their files.
pub(super) fn other_pairs(before: &str, now: &str) -> Error {
    let pairs = |data: &str| data.split(' ').next().map(str::to_owned);
    let message = match pairs(before) == pairs(now) {
        true => {
            "the files of training pairs must be mixed as at the run's start, but `weight` or `data.temperature` differs"
        }
        false => "the training pairs must be those that the run started with, but they differ",
    };
    Error::input(message).hint("restore them, or start a new run with --out DIR")
}

/// Restores a snapshot's `training` tensors.
pub(super) fn restore(
    optimizer: &mut Optimizer,
    ema: &mut Option<Ema>,
    params: &Params,
    mut training: NamedTensors,
) -> Result<()> {
    optimizer.restore(params, &mut training)?;
    ema.iter_mut().try_for_each(|ema| ema.restore(params, &mut training))?;
    match training.first() {
        Some((name, _)) => {
            Err(Error::failure(format!("the saved training state has an unknown tensor `{name}`")))
        }
        None => Ok(()),
    }
}
