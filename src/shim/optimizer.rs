//! Operations over all weights at once: optimizer steps, norms, scaling, averages.

use std::ffi::c_int;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{last_error, pointers};
use crate::error::{Error, Result};

unsafe extern "C" {
    fn seqloom_fused_adam(
        weights: *const *const C_tensor,
        gradients: *const *const C_tensor,
        first: *const *const C_tensor,
        second: *const *const C_tensor,
        steps: *const *const C_tensor,
        count: i64,
        decoupled: bool,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
    ) -> c_int;
    fn seqloom_fused_sgd(
        weights: *const *const C_tensor,
        gradients: *const *const C_tensor,
        momenta: *const *const C_tensor,
        count: i64,
        momentum_count: i64,
        learning_rate: f64,
        momentum: f64,
        nesterov: bool,
        weight_decay: f64,
    ) -> c_int;
    fn seqloom_norms(out: *mut *mut C_tensor, tensors: *const *const C_tensor, count: i64) -> c_int;
    fn seqloom_scale(tensors: *const *const C_tensor, count: i64, factor: f64) -> c_int;
    fn seqloom_lerp(
        averages: *const *const C_tensor,
        tensors: *const *const C_tensor,
        count: i64,
        share: f64,
    ) -> c_int;
}

/// The tensors of one step of Adam or AdamW, in the same order in each list.
#[derive(Default)]
pub(crate) struct AdamTensors<'a> {
    /// The weights, changed in place.
    pub weights: Vec<&'a Tensor>,
    /// Their gradients.
    pub gradients: Vec<&'a Tensor>,
    /// First moments, changed in place.
    pub first: Vec<&'a Tensor>,
    /// Second moments, changed in place.
    pub second: Vec<&'a Tensor>,
    /// Number of steps including this one, one f32 scalar each.
    pub steps: Vec<&'a Tensor>,
}

/// Hyper-parameters of one step of Adam or AdamW.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamStep {
    /// Whether weight decay is decoupled (AdamW) or added to the gradients (Adam).
    pub decoupled: bool,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// One step of Adam or AdamW over all tensors at once (`at::_fused_adam_`, `at::_fused_adamw_`), on any device.
pub(crate) fn fused_adam(tensors: &AdamTensors, step: AdamStep) -> Result<()> {
    let count = tensors.weights.len();
    let lists = [&tensors.gradients, &tensors.first, &tensors.second, &tensors.steps];
    assert!(lists.iter().all(|list| list.len() == count), "Adam needs lists of the same length");
    // SAFETY: five lists of `count` live tensors each, borrowed for the duration of the call.
    let status = unsafe {
        seqloom_fused_adam(
            pointers(&tensors.weights).as_ptr(),
            pointers(&tensors.gradients).as_ptr(),
            pointers(&tensors.first).as_ptr(),
            pointers(&tensors.second).as_ptr(),
            pointers(&tensors.steps).as_ptr(),
            count as i64,
            step.decoupled,
            step.learning_rate,
            step.beta1,
            step.beta2,
            step.weight_decay,
            step.epsilon,
        )
    };
    if status == 0 { Ok(()) } else { Err(Error::failure(format!("Adam: {}", last_error()))) }
}

/// The tensors of one step of SGD, in the same order in each list.
#[derive(Default)]
pub(crate) struct SgdTensors<'a> {
    /// The weights, changed in place.
    pub weights: Vec<&'a Tensor>,
    /// Their gradients.
    pub gradients: Vec<&'a Tensor>,
    /// Momentum buffers, changed in place; zeros before the first step. Empty if the momentum is 0.
    pub momenta: Vec<&'a Tensor>,
}

/// Hyper-parameters of one step of SGD.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SgdStep {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Momentum factor.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// L2 penalty: this times the weights is added to the gradients.
    pub weight_decay: f64,
}

/// One step of SGD with momentum over all tensors at once (`at::_fused_sgd_`), on any device.
pub(crate) fn fused_sgd(tensors: &SgdTensors, step: SgdStep) -> Result<()> {
    let count = tensors.weights.len();
    let momenta = if step.momentum > 0.0 { count } else { 0 };
    assert!(
        tensors.gradients.len() == count && tensors.momenta.len() == momenta,
        "SGD needs lists of the same length"
    );
    // SAFETY: three lists of `count` live tensors each, borrowed for the duration of the call.
    let status = unsafe {
        seqloom_fused_sgd(
            pointers(&tensors.weights).as_ptr(),
            pointers(&tensors.gradients).as_ptr(),
            pointers(&tensors.momenta).as_ptr(),
            count as i64,
            momenta as i64,
            step.learning_rate,
            step.momentum,
            step.nesterov,
            step.weight_decay,
        )
    };
    if status == 0 { Ok(()) } else { Err(Error::failure(format!("SGD: {}", last_error()))) }
}

/// The norm of each tensor, one after the other: (tensors) f32, on their device.
pub(crate) fn norms(tensors: &[&Tensor]) -> Tensor {
    let (pointers, mut out) = (pointers(tensors), std::ptr::null_mut());
    // SAFETY: live tensors, borrowed for the duration of the call; on success `out` is a new tensor that we own.
    let status = unsafe { seqloom_norms(&mut out, pointers.as_ptr(), pointers.len() as i64) };
    assert!(status == 0, "norms: {}", last_error());
    // SAFETY: the call succeeded, so we own `out`.
    unsafe { Tensor::from_ptr(out) }
}

/// Multiplies all tensors, in place.
pub(crate) fn scale(tensors: &[&Tensor], factor: f64) {
    let pointers = pointers(tensors);
    // SAFETY: live tensors, borrowed for the duration of the call.
    let status = unsafe { seqloom_scale(pointers.as_ptr(), pointers.len() as i64, factor) };
    assert!(status == 0, "scale: {}", last_error());
}

/// Moves each of `averages` by `share` of the way to its tensor, in place.
pub(crate) fn lerp(averages: &[&Tensor], tensors: &[&Tensor], share: f64) {
    assert_eq!(averages.len(), tensors.len(), "a tensor for each average");
    let (averages, tensors) = (pointers(averages), pointers(tensors));
    // SAFETY: two lists of live tensors of the same length, borrowed for the duration of the call.
    let status = unsafe { seqloom_lerp(averages.as_ptr(), tensors.as_ptr(), tensors.len() as i64, share) };
    assert!(status == 0, "lerp: {}", last_error());
}
