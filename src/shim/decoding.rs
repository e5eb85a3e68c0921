//! Kernels for decoding on the CPU: products with packed weights, paged attention, and activations.

use std::ffi::{c_int, c_void};

use tch::Tensor;
use torch_sys::C_tensor;

use super::last_error;

unsafe extern "C" {
    fn seqloom_pack_weights(
        out: *mut *mut c_void,
        weight: *const C_tensor,
        bias: *const C_tensor,
        kind: c_int,
    ) -> c_int;
    fn seqloom_free_packed_weights(packed: *mut c_void);
    fn seqloom_packed_linear(
        out: *mut *mut C_tensor,
        packed: *const c_void,
        x: *const C_tensor,
        residual: *const C_tensor,
        relu: bool,
    ) -> c_int;
    fn seqloom_log_probabilities(out: *mut f32, packed: *const c_void, x: *const C_tensor) -> c_int;
    fn seqloom_log_softmax(x: *mut f32, count: i64) -> c_int;
    fn seqloom_silu(out: *mut *mut C_tensor, x: *const C_tensor) -> c_int;
    fn seqloom_gelu(out: *mut *mut C_tensor, x: *const C_tensor) -> c_int;
    fn seqloom_tanh(out: *mut *mut C_tensor, x: *const C_tensor) -> c_int;
    fn seqloom_gru_step(
        out: *mut *mut C_tensor,
        input: *const C_tensor,
        hidden: *const C_tensor,
        state: *const C_tensor,
    ) -> c_int;
    fn seqloom_paged_attention(
        out: *mut *mut C_tensor,
        attention_weights: *mut f32,
        most: i64,
        query: *const C_tensor,
        keys_values: *const C_tensor,
        slots: *const i32,
        starts: *const i64,
        lengths: *const i64,
        heads: i64,
    ) -> c_int;
    fn seqloom_packed_sequence_attention(
        out: *mut *mut C_tensor,
        query_key_value: *const C_tensor,
        lengths: *const i64,
        count: i64,
        heads: i64,
    ) -> c_int;
}

/// The number format of packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedKind {
    /// Unchanged.
    F32,
    /// Rounded to bfloat16; inputs and sums stay f32.
    Bf16,
    /// Rounded to 8 bits with a scale per output; each input row is rounded to 8 bits as well.
    Int8,
}

/// The weights of a linear layer, packed for products with few rows on the CPU. A row's result is bit-identical in any
/// batch and with any number of threads.
#[derive(Debug)]
pub struct PackedWeights {
    weights: *mut c_void,
    outputs: i64,
}

// SAFETY: the weights are written once, while they are packed, and then only read, by functions without state.
unsafe impl Send for PackedWeights {}
// SAFETY: as above.
unsafe impl Sync for PackedWeights {}

impl Drop for PackedWeights {
    fn drop(&mut self) {
        // SAFETY: created by `seqloom_pack_weights`, and freed once.
        unsafe { seqloom_free_packed_weights(self.weights) }
    }
}

impl PackedWeights {
    /// Packs a weight, (outputs, inputs) f32, and a bias, (outputs) f32, for the vector instructions of this thread's
    /// kernels.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>, kind: PackedKind) -> PackedWeights {
        let mut weights = std::ptr::null_mut();
        let outputs = weight.size()[0];
        let bias = bias.map_or(std::ptr::null(), Tensor::as_ptr);
        // SAFETY: live tensors, borrowed for the duration of the call; on success we own `weights`.
        let status = unsafe { seqloom_pack_weights(&mut weights, weight.as_ptr(), bias, kind as c_int) };
        assert!(status == 0, "packing weights: {}", last_error());
        PackedWeights { weights, outputs }
    }

    /// `x W' + b`, then ReLU if `relu`, then `+ residual` if there is one.
    ///
    /// # Shapes
    /// x: (R, inputs); the result and `residual`: (R, outputs); all f32 on the CPU
    pub fn linear(&self, x: &Tensor, relu: bool, residual: Option<&Tensor>) -> Tensor {
        let mut out = std::ptr::null_mut();
        let residual = residual.map_or(std::ptr::null(), Tensor::as_ptr);
        // SAFETY: the pointers are live; on success `out` is a new tensor that we own.
        let status = unsafe { seqloom_packed_linear(&mut out, self.weights, x.as_ptr(), residual, relu) };
        assert!(status == 0, "product: {}", last_error());
        // SAFETY: the call succeeded, so we own `out`.
        unsafe { Tensor::from_ptr(out) }
    }

    /// The log-softmax of `x W' + b`: (R * outputs)
    ///
    /// # Shapes
    /// x: (R, inputs) f32 on the CPU
    pub(crate) fn log_probabilities(&self, x: &Tensor) -> Vec<f32> {
        assert_eq!(x.dim(), 2, "log-probabilities are of rows");
        let count = (x.size()[0] * self.outputs) as usize;
        let mut out = Vec::new();
        assert!(
            out.try_reserve_exact(count).is_ok(),
            "out of memory: no memory for {count} log-probabilities"
        );
        // SAFETY: there is room for all numbers of the product, and all of them are written.
        let status = unsafe { seqloom_log_probabilities(out.as_mut_ptr(), self.weights, x.as_ptr()) };
        assert!(status == 0, "log-probabilities: {}", last_error());
        // SAFETY: as above.
        unsafe { out.set_len(count) };
        out
    }
}

/// The log-softmax of a row of logits, in place, as in [`PackedWeights::log_probabilities`]. An empty row stays empty.
pub fn log_softmax(row: &mut [f32]) {
    // SAFETY: a live slice, borrowed for the duration of the call.
    let status = unsafe { seqloom_log_softmax(row.as_mut_ptr(), row.len() as i64) };
    assert!(status == 0, "log-softmax: {}", last_error());
}

/// `x * sigmoid(x)`. Each result depends on its input alone, bit for bit; in libtorch's loops also on its position.
///
/// # Shapes
/// any; f32 on the CPU
pub fn silu(x: &Tensor) -> Tensor {
    activated(x, seqloom_silu)
}

/// `x * Phi(x)`, the exact GELU to 3e-7; each result depends on its input alone.
///
/// # Shapes
/// any; f32 on the CPU
pub fn gelu(x: &Tensor) -> Tensor {
    activated(x, seqloom_gelu)
}

/// The hyperbolic tangent, to 3e-7; each result depends on its input alone.
///
/// # Shapes
/// any; f32 on the CPU
pub fn tanh(x: &Tensor) -> Tensor {
    activated(x, seqloom_tanh)
}

/// The next state of a gated recurrent unit, from the gates (reset, update, candidate) of the input and of the state,
/// computed by linear layers. Each row depends on itself alone, bit for bit. Without gradient.
///
/// # Shapes
/// input, hidden: (R, 3 H); state and out: (R, H); f32 on the CPU
pub(crate) fn gru_step(input: &Tensor, hidden: &Tensor, state: &Tensor) -> Tensor {
    let mut out = std::ptr::null_mut();
    // SAFETY: live tensors; on success `out` is a new tensor that we own.
    let status = unsafe { seqloom_gru_step(&mut out, input.as_ptr(), hidden.as_ptr(), state.as_ptr()) };
    assert!(status == 0, "GRU: {}", last_error());
    // SAFETY: the call succeeded, so we own `out`.
    unsafe { Tensor::from_ptr(out) }
}

fn activated(
    x: &Tensor,
    activation: unsafe extern "C" fn(*mut *mut C_tensor, *const C_tensor) -> c_int,
) -> Tensor {
    let mut out = std::ptr::null_mut();
    // SAFETY: a live tensor; on success `out` is a new tensor that we own.
    let status = unsafe { activation(&mut out, x.as_ptr()) };
    assert!(status == 0, "activation: {}", last_error());
    // SAFETY: the call succeeded, so we own `out`.
    unsafe { Tensor::from_ptr(out) }
}

/// The slots that each row attends to.
#[derive(Clone, Debug, Default)]
pub struct AttendedSlots {
    /// The slots of all rows, concatenated.
    pub slots: Vec<i32>,
    /// The start of each row in `slots`.
    pub starts: Vec<i64>,
    /// The number of slots of each row.
    pub lengths: Vec<i64>,
}

impl AttendedSlots {
    /// Each row attends to its own list of slots.
    pub fn lists<'a>(rows: impl Iterator<Item = &'a [i32]>) -> AttendedSlots {
        let mut attended = AttendedSlots::default();
        for row in rows {
            attended.starts.push(attended.slots.len() as i64);
            attended.lengths.push(row.len() as i64);
            attended.slots.extend_from_slice(row);
        }
        attended
    }

    /// Whether it has `rows` rows with at least one slot each, all among the first `room` slots.
    fn within(&self, rows: usize, room: i64) -> bool {
        let listed = self.slots.len() as i64;
        let inside = |(&start, &length): (&i64, &i64)| {
            start >= 0 && length > 0 && start.checked_add(length).is_some_and(|end| end <= listed)
        };
        self.starts.len() == rows
            && self.lengths.len() == rows
            && self.starts.iter().zip(&self.lengths).all(inside)
            && self.slots.iter().all(|&slot| (0..room).contains(&i64::from(slot)))
    }
}

/// softmax(q K' / sqrt(head width)) V of each row over its slots, in f32 on the CPU. With `weights` also the softmax,
/// summed over the heads: (R, the most slots of a row).
///
/// # Shapes
/// query: (R, D); keys_values: (slots, 2 D), keys before values; out: (R, D)
pub fn paged_attention(
    query: &Tensor,
    keys_values: &Tensor,
    attended: &AttendedSlots,
    heads: i64,
    weights: Option<&mut Vec<f32>>,
) -> Tensor {
    let (rows, room) = (query.size()[0] as usize, keys_values.size()[0]);
    assert!(attended.within(rows, room), "attention to a slot that does not exist");
    let most = attended.lengths.iter().copied().max().unwrap_or(0);
    let mut out = std::ptr::null_mut();
    let to = weights.map_or(std::ptr::null_mut(), |weights| {
        *weights = vec![0.0; rows * most as usize];
        weights.as_mut_ptr()
    });
    let (starts, lengths) = (attended.starts.as_ptr(), attended.lengths.as_ptr());
    // SAFETY: live tensors and lists, borrowed for the duration of the call; all slots were checked.
    let status = unsafe {
        seqloom_paged_attention(
            &mut out,
            to,
            most,
            query.as_ptr(),
            keys_values.as_ptr(),
            attended.slots.as_ptr(),
            starts,
            lengths,
            heads,
        )
    };
    assert!(status == 0, "attention: {}", last_error());
    // SAFETY: the call succeeded, so we own `out`.
    unsafe { Tensor::from_ptr(out) }
}

/// softmax(Q K' / sqrt(head width)) V within each of several concatenated sequences, in f32 on the CPU. A sequence's
/// result is bit-identical alone and beside others.
///
/// # Shapes
/// query_key_value: (N, 3 D), contiguous, where N is the sum of `lengths`; out: (N, D)
pub fn packed_sequence_attention(query_key_value: &Tensor, lengths: &[i64], heads: i64) -> Tensor {
    let mut out = std::ptr::null_mut();
    let (of_each, count) = (lengths.as_ptr(), lengths.len() as i64);
    // SAFETY: a live tensor and list, borrowed for the duration of the call; the lengths are checked there.
    let status = unsafe {
        seqloom_packed_sequence_attention(&mut out, query_key_value.as_ptr(), of_each, count, heads)
    };
    assert!(status == 0, "attention: {}", last_error());
    // SAFETY: the call succeeded, so we own `out`.
    unsafe { Tensor::from_ptr(out) }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tch::{Device, Kind};

    use super::*;

    fn zeros(shape: &[i64]) -> Tensor {
        Tensor::zeros(shape, (Kind::Float, Device::Cpu))
    }

    #[track_caller]
    fn refused<T>(call: impl FnOnce() -> T) {
        assert!(catch_unwind(AssertUnwindSafe(|| drop(call()))).is_err());
    }

    #[test]
    fn attention_reads_nothing_out_of_bounds() {
        let (query, keys_values) = (zeros(&[2, 6]), zeros(&[5, 12]));
        let attended = |starts: [i64; 2], lengths: [i64; 2]| AttendedSlots {
            slots: (0..5).collect(),
            starts: starts.to_vec(),
            lengths: lengths.to_vec(),
        };
        let good = attended([0, 3], [3, 2]);
        assert_eq!(paged_attention(&query, &keys_values, &good, 2, None).size(), [2, 6]);
        for heads in [-1, 0, 4] {
            refused(|| paged_attention(&query, &keys_values, &good, heads, None));
        }
        for (starts, lengths) in
            [([-1, 0], [1, 1]), ([0, 3], [3, 3]), ([0, 1], [1, i64::MAX]), ([0, 0], [1, 0])]
        {
            refused(|| paged_attention(&query, &keys_values, &attended(starts, lengths), 2, None));
        }
        let listed = AttendedSlots { slots: vec![0, 1, 5], ..attended([0, 1], [1, 2]) };
        refused(|| paged_attention(&query, &keys_values, &listed, 2, None));
        refused(|| paged_attention(&query, &zeros(&[5, 14]), &good, 2, None));
        refused(|| paged_attention(&query.view([2, 3, 2]), &keys_values, &good, 2, None));
    }

    #[test]
    fn attention_within_sequences_needs_their_lengths() {
        let parts = zeros(&[5, 18]);
        assert_eq!(packed_sequence_attention(&parts, &[3, 2], 2).size(), [5, 6]);
        assert_eq!(packed_sequence_attention(&zeros(&[0, 18]), &[], 2).size(), [0, 6]);
        for lengths in [&[3, 1][..], &[6], &[6, -1], &[], &[i64::MAX, i64::MAX, 7]] {
            refused(|| packed_sequence_attention(&parts, lengths, 2));
        }
        for heads in [-1, 0, 4] {
            refused(|| packed_sequence_attention(&parts, &[3, 2], heads));
        }
        refused(|| packed_sequence_attention(&zeros(&[5, 17]), &[5], 1));
        refused(|| packed_sequence_attention(&zeros(&[18, 5]).tr(), &[5], 2));
    }

    #[test]
    fn products_and_activations_refuse_mismatched_shapes() {
        let packed = PackedWeights::new(&zeros(&[3, 4]), None, PackedKind::F32);
        assert_eq!(packed.log_probabilities(&zeros(&[2, 4])).len(), 6);
        refused(|| packed.log_probabilities(&zeros(&[2, 5, 4])));
        refused(|| packed.linear(&zeros(&[4]), false, None));
        refused(|| packed.linear(&zeros(&[2, 5]), false, None));
        refused(|| packed.linear(&zeros(&[2, 4]), false, Some(&zeros(&[2, 4]))));
        refused(|| PackedWeights::new(&zeros(&[3, 4]), Some(&zeros(&[2])), PackedKind::F32));
        refused(|| PackedWeights::new(&zeros(&[3, 0]), None, PackedKind::F32));
        refused(|| silu(&zeros(&[3]).to_kind(Kind::Double)));
    }
}
