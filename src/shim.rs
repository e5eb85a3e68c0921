//! Bindings to src/shim/, in C++: functions that tch does not bind. Only this module has `unsafe`.
//!
//! A tch tensor is a pointer to a C++ `at::Tensor`; the functions here lend such pointers to C++ for the duration of a
//! call, and take ownership of those that C++ created. Kernels for decoding on the CPU are in [`decoding`].
#![allow(unsafe_code)]

pub mod decoding;
pub(crate) mod group;
pub(crate) mod optimizer;
pub(crate) mod threads;
pub mod vectors;

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::Path;

// Linked only for its malloc.
#[cfg(all(target_os = "linux", feature = "malloc"))]
use libmimalloc_sys as _;
use tch::Tensor;
use torch_sys::C_tensor;

unsafe extern "C" {
    fn seqloom_libtorch_version() -> *const c_char;
    fn seqloom_last_error() -> *const c_char;
    fn seqloom_load(library: *const c_char) -> c_int;
    fn seqloom_keep_pages();
    fn seqloom_leave(code: c_int);
    fn seqloom_fast_bf16() -> bool;
    fn seqloom_set_gradients(
        tensors: *const *const C_tensor,
        gradients: *const *const C_tensor,
        count: i64,
    ) -> c_int;
    fn seqloom_dropout(
        out: *mut *mut C_tensor,
        x: *const C_tensor,
        residual: *const C_tensor,
        p: f64,
        seed: u64,
    ) -> c_int;
    fn seqloom_linear(
        out: *mut *mut C_tensor,
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        residual: *const C_tensor,
        relu: bool,
        p: f64,
        seed: u64,
    ) -> c_int;
    fn seqloom_gru(
        out: *mut *mut C_tensor,
        input: *const C_tensor,
        first: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
    ) -> c_int;
    fn seqloom_attention(
        out: *mut *mut C_tensor,
        tensors: *const *const C_tensor,
        count: i64,
        heads: i64,
        causal: bool,
        lengths: *const i64,
    ) -> c_int;
    fn seqloom_cast(
        out: *mut *mut C_tensor,
        weights: *const *const C_tensor,
        counts: *const i64,
        groups: i64,
        bf16: bool,
    ) -> c_int;
    fn seqloom_linear_cross_entropy(
        smoothed: *mut *mut C_tensor,
        nll: *mut *mut C_tensor,
        correct: *mut *mut C_tensor,
        hidden: *const C_tensor,
        weight: *const C_tensor,
        labels: *const C_tensor,
        smoothing: f64,
        bf16: bool,
    ) -> c_int;
    fn seqloom_prefer_flash_attention();
    fn seqloom_gpu_forget(device: i64) -> c_int;
    fn seqloom_gpu_memory(device: i64, reserved: *mut i64, free: *mut i64) -> c_int;
}

/// The version of libtorch that the shim was compiled against.
pub(crate) fn libtorch_version() -> String {
    // SAFETY: a NUL-terminated string literal.
    unsafe { CStr::from_ptr(seqloom_libtorch_version()) }.to_string_lossy().into_owned()
}

/// Loads a shared library for the whole process.
///
/// # Errors
/// The message of the loader.
pub(crate) fn load_library(path: &Path) -> std::result::Result<(), String> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: the string is NUL-terminated and lives through the call.
    let status = unsafe { seqloom_load(path.as_ptr()) };
    if status == 0 { Ok(()) } else { Err(last_error()) }
}

/// Tells malloc (mimalloc, with the feature `malloc` on Linux) to keep pages between steps instead of returning them to
/// the kernel, which would cause page faults in each step. No effect elsewhere.
pub(crate) fn keep_pages() {
    // SAFETY: sets an option of malloc, which is atomic.
    unsafe { seqloom_keep_pages() }
}

/// Ends the process without the destructors of libtorch's globals, which take a seventh of a second. Nothing that is written may
/// be waiting in a buffer of its own.
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: the system ends the process.
    unsafe { seqloom_leave(c_int::from(code)) };
    // C has no type for a function that does not return.
    std::process::abort()
}

/// Whether the CPU multiplies matrices of bfloat16 faster than those of f32.
pub(crate) fn has_fast_bf16() -> bool {
    // SAFETY: queries the CPU.
    unsafe { seqloom_fast_bf16() }
}

/// Clears the gradients, so that the next backward pass stores its own instead of adding them to zeros.
pub(crate) fn clear_gradients(tensors: &[&Tensor]) {
    set_gradients(tensors, &[]);
}

/// Sets the gradient of each tensor, which may be undefined; clears all of them if `gradients` is empty.
pub(crate) fn set_gradients(tensors: &[&Tensor], gradients: &[Tensor]) {
    assert!(gradients.is_empty() || gradients.len() == tensors.len(), "a gradient for each tensor");
    let (tensors, gradients) = (pointers(tensors), pointers(&gradients.iter().collect::<Vec<_>>()));
    let from = if gradients.is_empty() { std::ptr::null() } else { gradients.as_ptr() };
    // SAFETY: live tensors, borrowed for the duration of the call; the old gradients are released, views of them stay
    // valid.
    let status = unsafe { seqloom_set_gradients(tensors.as_ptr(), from, tensors.len() as i64) };
    assert!(status == 0, "setting gradients: {}", last_error());
}

/// The states of a gated recurrent unit after each step, differentiable, on the CPU in f32. `input` is the output of a
/// linear layer for each step: the gates reset, update and candidate, concatenated. `weight` and `bias` compute the
/// same from the state.
///
/// # Shapes
/// input: (T, B, 3 H), contiguous; first: (B, H); weight: (3 H, H); bias: (3 H); out: (T, B, H)
pub(crate) fn gru(input: &Tensor, first: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let mut out = std::ptr::null_mut();
    let (input, first, weight, bias) = (input.as_ptr(), first.as_ptr(), weight.as_ptr(), bias.as_ptr());
    // SAFETY: the pointers are live tensors; on success `out` is a new tensor that we own.
    let status = unsafe { seqloom_gru(&mut out, input, first, weight, bias) };
    assert!(status == 0, "GRU: {}", last_error());
    // SAFETY: the call succeeded, so we own `out`.
    unsafe { Tensor::from_ptr(out) }
}

/// `residual + dropout(x)`, or `dropout(x)`, differentiable, on the CPU in f32.
///
/// The mask is a function of (`seed`, index) alone: the same for any number of threads.
///
/// # Shapes
/// `x` and `residual`: the same, any.
pub fn dropout(x: &Tensor, residual: Option<&Tensor>, p: f64, seed: u64) -> Tensor {
    let mut out = std::ptr::null_mut();
    let residual = residual.map_or(std::ptr::null(), Tensor::as_ptr);
    // SAFETY: the pointers are live tensors; on success `out` is a new tensor that we own.
    let status = unsafe { seqloom_dropout(&mut out, x.as_ptr(), residual, p, seed) };
    assert!(status == 0, "dropout: {}", last_error());
    // SAFETY: the call succeeded, so we own `out`.
    unsafe { Tensor::from_ptr(out) }
}

/// The epilogue of a product, fused with it: `dropout(relu(x))`, or `residual + dropout(x)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Whether to apply ReLU.
    pub relu: bool,
    /// The dropout rate, and the seed of its mask, as in [`dropout`].
    pub dropout: Option<(f64, u64)>,
    /// Added at the end.
    pub residual: Option<&'a Tensor>,
}

/// x W' + b and its epilogue, differentiable, on the CPU in f32.
///
/// # Panics
/// ReLU together with a residual: the gradient of ReLU is computed from the result.
///
/// # Shapes
/// x: (..., inputs); weight: (outputs, inputs); bias: (outputs); `residual` and the result: (..., outputs)
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, epilogue: Epilogue) -> Tensor {
    let mut out = std::ptr::null_mut();
    let pointer = |tensor: Option<&Tensor>| tensor.map_or(std::ptr::null(), Tensor::as_ptr);
    let (p, seed) = epilogue.dropout.unwrap_or_default();
    // SAFETY: the pointers are live tensors, or null where there is none; on success `out` is a new tensor that we own.
    let status = unsafe {
        seqloom_linear(
            &mut out,
            x.as_ptr(),
            weight.as_ptr(),
            pointer(bias),
            pointer(epilogue.residual),
            epilogue.relu,
            p,
            seed,
        )
    };
    assert!(status == 0, "a linear layer: {}", last_error());
    // SAFETY: the call succeeded, so we own `out`.
    unsafe { Tensor::from_ptr(out) }
}

/// softmax(Q K' / sqrt(K)) V in heads, differentiable, on the CPU in f32; keeps the softmax for the backward pass. With
/// `causal` a query attends to no later key; with `lengths` to at most that many keys of its row.
///
/// # Shapes
/// tensors: queries, keys and values, concatenated as (B, T, 3 D), or as (B, T, D) and (B, S, 2 D), or as three
/// tensors. lengths: B; out: (B, T, D)
pub fn attention(tensors: &[Tensor], heads: i64, causal: bool, lengths: Option<&[i64]>) -> Tensor {
    let rows = tensors.first().map_or(0, |tensor| tensor.size()[0]);
    assert!(lengths.is_none_or(|lengths| lengths.len() as i64 == rows), "a length for each row");
    let (mut out, all) = (std::ptr::null_mut(), pointers(&tensors.iter().collect::<Vec<_>>()));
    let lengths = lengths.map_or(std::ptr::null(), <[i64]>::as_ptr);
    // SAFETY: live tensors, and as many lengths as the first of them has rows, borrowed for the duration of the call; on
    // success `out` is a new tensor that we own.
    let status =
        unsafe { seqloom_attention(&mut out, all.as_ptr(), all.len() as i64, heads, causal, lengths) };
    assert!(status == 0, "attention: {}", last_error());
    // SAFETY: the call succeeded, so we own `out`.
    unsafe { Tensor::from_ptr(out) }
}

/// The output layer fused with the label-smoothed cross-entropy, summed over the rows, a few rows at a time: the logits
/// of the whole batch are never in memory.
///
/// Returns the smoothed loss, differentiable; the plain negative log-likelihood; and the number of labels that are the
/// most likely token. All three are scalars.
///
/// # Shapes
/// hidden: (N, D); weight: (V, D); labels: (N) i64. With `bf16` the matrix products are in bf16, the rest is in f32.
pub fn linear_cross_entropy(
    hidden: &Tensor,
    weight: &Tensor,
    labels: &Tensor,
    smoothing: f64,
    bf16: bool,
) -> [Tensor; 3] {
    let mut out = [std::ptr::null_mut(); 3];
    let [smoothed, nll, correct] = &mut out;
    // SAFETY: the pointers are live tensors; on success all of `out` are new tensors that we own.
    let status = unsafe {
        seqloom_linear_cross_entropy(
            smoothed,
            nll,
            correct,
            hidden.as_ptr(),
            weight.as_ptr(),
            labels.as_ptr(),
            smoothing,
            bf16,
        )
    };
    assert!(status == 0, "loss: {}", last_error());
    // SAFETY: the call succeeded, so we own these tensors.
    out.map(|tensor| unsafe { Tensor::from_ptr(tensor) })
}

/// Casts weights in one node of the graph; those of a group, which may differ in their number of rows only, are
/// concatenated.
pub(crate) fn cast(groups: &[Vec<&Tensor>], bf16: bool) -> Vec<Tensor> {
    let counts: Vec<i64> = groups.iter().map(|group| group.len() as i64).collect();
    let weights = pointers(&groups.concat());
    let mut out = vec![std::ptr::null_mut(); groups.len()];
    // SAFETY: as many live tensors as the counts, and room for one tensor per group, borrowed for the duration of the call;
    // on success `out` holds new tensors that we own.
    let status = unsafe {
        seqloom_cast(out.as_mut_ptr(), weights.as_ptr(), counts.as_ptr(), counts.len() as i64, bf16)
    };
    assert!(status == 0, "cast: {}", last_error());
    // SAFETY: the call succeeded, so we own these tensors.
    out.into_iter().map(|tensor| unsafe { Tensor::from_ptr(tensor) }).collect()
}

/// Tells libtorch not to use cuDNN's attention, which builds a plan for each new shape: tens of milliseconds for each
/// batch of another length. libtorch's flash kernels take any shape.
pub(crate) fn prefer_flash_attention() {
    // SAFETY: sets a switch of libtorch.
    unsafe { seqloom_prefer_flash_attention() }
}

/// The memory of a GPU, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GpuMemory {
    /// The most that libtorch has reserved so far.
    pub peak: u64,
    /// Free memory.
    pub free: u64,
}

/// The memory of a GPU; `None` without libtorch's CUDA half.
pub(crate) fn gpu_memory(number: usize) -> Option<GpuMemory> {
    let (mut peak, mut free) = (0, 0);
    // SAFETY: two pointers to numbers, borrowed for the duration of the call.
    let status = unsafe { seqloom_gpu_memory(number as i64, &mut peak, &mut free) };
    let bytes = |count: i64| count.max(0) as u64;
    (status == 0).then(|| GpuMemory { peak: bytes(peak), free: bytes(free) })
}

/// Returns unused memory of libtorch to the GPU and resets the peak. No effect without libtorch's CUDA half.
pub(crate) fn forget_gpu_memory(number: usize) {
    // SAFETY: calls libtorch's allocator, which locks itself; no tensor's memory is touched.
    let _ = unsafe { seqloom_gpu_forget(number as i64) };
}

fn pointers(tensors: &[&Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(|tensor| tensor.as_ptr()).collect()
}

/// The first line of the last C++ exception on this thread.
fn last_error() -> String {
    // SAFETY: C++ returns a NUL-terminated string that lives until its next error on this thread.
    let text = unsafe { CStr::from_ptr(seqloom_last_error()) }.to_string_lossy().into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn labels_must_be_in_the_vocabulary_and_residuals_of_the_same_shape() {
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let loss = |labels: &[i64]| {
            let labels = Tensor::from_slice(labels);
            catch_unwind(|| linear_cross_entropy(&zeros(&[2, 4]), &zeros(&[5, 4]), &labels, 0.1, false))
        };
        assert!(loss(&[1, 3]).is_ok() && loss(&[4, 4]).is_ok());
        for labels in [[1, 5].as_slice(), &[-1, 1], &[1], &[1, 3, 4], &[0, 1], &[2, 1]] {
            assert!(loss(labels).is_err(), "{labels:?}");
        }
        let added = |shape: &[i64]| catch_unwind(|| dropout(&zeros(&[2, 4]), Some(&zeros(shape)), 0.1, 1));
        assert!(added(&[2, 4]).is_ok() && added(&[4]).is_err());
    }
}
