//! Multi-head attention (Vaswani et al. 2017), by the shim's kernels, or by libtorch's on a GPU and for long rows.

use tch::{Device, Kind, Tensor};

use super::TransformerConfig;
use super::layers::{DropoutRng, Epilogue, ForwardContext, Linear, dropout};
use super::params::VarBuilder;
use super::positions::Rotation;
use crate::shim;
use crate::shim::decoding::{self, AttendedSlots};

/// The keys that a query must not attend to.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// No mask.
    Open,
    /// Masks later positions.
    Causal,
    /// Masks padding.
    Padding(&'a Padding),
}

impl<'a> Mask<'a> {
    /// A padding mask, if there is any padding.
    pub fn padding(padding: &'a Option<Padding>) -> Mask<'a> {
        padding.as_ref().map_or(Mask::Open, Mask::Padding)
    }

    fn padding_of(self) -> Option<&'a Padding> {
        match self {
            Mask::Padding(padding) => Some(padding),
            Mask::Open | Mask::Causal => None,
        }
    }
}

/// Which keys of each row are padding.
#[derive(Debug)]
pub struct Padding {
    /// The number of real keys.
    lengths: Vec<i64>,
    /// Zero for real keys, minus infinity for padding, in the precision of attention: (B, 1, 1, S)
    pub(super) mask: Tensor,
}

impl Padding {
    /// The padding of rows with `lengths` keys; `None` if no row is padded. `compute` is the model's precision.
    pub fn of(lengths: &[i64], compute: Kind, device: Device) -> Option<Padding> {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if lengths.iter().all(|&length| length == longest) {
            return None;
        }
        let ends = Tensor::from_slice(lengths).to_device(device).view([-1, 1, 1, 1]);
        // GPU kernels need rows aligned to 8 elements, or else copy the mask in each layer.
        let room = (longest + 7) / 8 * 8;
        let padded = Tensor::arange(room, (Kind::Int64, device)).ge_tensor(&ends); // (B, 1, 1, room)
        let mask = Tensor::zeros(padded.size(), (attention_kind(device, compute), device));
        let mask = mask.masked_fill(&padded, f64::NEG_INFINITY).narrow(3, 0, longest);
        Some(Padding { lengths: lengths.to_vec(), mask })
    }

    /// One at real positions, zero at padding, f32: (B, S, 1)
    pub(super) fn real(&self) -> Tensor {
        let real = self.mask.isfinite().to_kind(Kind::Float); // (B, 1, 1, S)
        real.squeeze_dims([1, 2]).unsqueeze(-1)
    }
}

/// The most keys for which the softmax is kept for the backward pass. Beyond it libtorch's kernel, which recomputes it,
/// is as fast and needs less memory.
const MOST_KEPT: i64 = 256;

/// The precision of the products of queries, keys and values. On the CPU f32: the shim's attention supports only that,
/// and the backward pass of libtorch's is ten times slower in bf16.
pub(super) fn attention_kind(device: Device, compute: Kind) -> Kind {
    if device == Device::Cpu { Kind::Float } else { compute }
}

/// softmax(Q K' / sqrt(K)) V in H heads, with four projections.
#[derive(Debug)]
pub struct Attention {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
    heads: i64,
    dropout: f64,
    /// The precision of the products of queries, keys and values.
    compute: Kind,
}

impl Attention {
    /// Four D x D matrices.
    pub fn new(mut vb: VarBuilder, config: &TransformerConfig) -> Attention {
        let width = config.width as i64;
        let compute = attention_kind(vb.device(), vb.compute());
        let mut matrix = |name| Linear::new(vb.sub(name), width, width, config.bias);
        Attention {
            query: matrix("query"),
            key: matrix("key"),
            value: matrix("value"),
            output: matrix("output"),
            heads: config.heads as i64,
            dropout: config.attention_dropout,
            compute,
        }
    }

    /// Projects to queries, keys and values for self-attention, concatenated in one tensor or as three.
    ///
    /// # Shapes
    /// x: (B, T, D) to (B, T, 3 D), or to three times (B, T, D)
    pub fn project(&self, x: &Tensor, rotation: Option<&Rotation>, ctx: ForwardContext) -> Vec<Tensor> {
        let parts = Linear::side_by_side(&[&self.query, &self.key, &self.value], x, ctx);
        let Some(rotation) = rotation else { return parts };
        let rotated = |x: &Tensor| rotation.rotate(&self.in_heads(x)).flatten(2, 3); // (B, T, D)
        let [query, key, value] = self.apart(&parts);
        vec![rotated(&query), rotated(&key), value]
    }

    /// The same for cross-attention: queries of `x`, keys and values of `encoded`.
    ///
    /// # Shapes
    /// x: (B, T, D), encoded: (B, S, D) to (B, T, D) and (B, S, 2 D), or twice (B, S, D)
    pub(crate) fn project_across(&self, x: &Tensor, encoded: &Tensor, ctx: ForwardContext) -> Vec<Tensor> {
        let mut parts = vec![self.query.forward_in(x, ctx)];
        parts.extend(Linear::side_by_side(&[&self.key, &self.value], encoded, ctx));
        parts
    }

    /// Attention over projected queries, keys and values, and the output projection.
    ///
    /// # Shapes
    /// as returned by one of the two projections, to (B, T, D)
    pub fn forward(&self, parts: &[Tensor], mask: Mask, epilogue: Epilogue, ctx: ForwardContext) -> Tensor {
        let parts: Vec<Tensor> = parts.iter().map(|part| part.to_kind(self.compute)).collect();
        let rng = ctx.dropout_rng.filter(|_| self.dropout > 0.0);
        let (keys, device) = (parts[parts.len() - 1].size()[1], parts[0].device());
        let heads = if rng.is_none() && device == Device::Cpu && keys <= MOST_KEPT {
            let lengths = mask.padding_of().map(|padding| padding.lengths.as_slice());
            shim::attention(&parts, self.heads, matches!(mask, Mask::Causal), lengths)
        } else {
            self.by_libtorch(&parts, mask, rng)
        };
        self.output.forward_with_epilogue(&heads, epilogue, ctx) // (B, T, D)
    }

    /// Its layers, grouped by input: in self-attention all but the last share it.
    pub(super) fn groups(&self, own: bool) -> Vec<Vec<&Linear>> {
        let (query, key, value) = (&self.query, &self.key, &self.value);
        let mut groups =
            if own { vec![vec![query, key, value]] } else { vec![vec![query], vec![key, value]] };
        groups.push(vec![&self.output]);
        groups
    }

    /// Attention by libtorch, without the output projection.
    fn by_libtorch(&self, parts: &[Tensor], mask: Mask, rng: Option<&DropoutRng>) -> Tensor {
        let [query, keys, values] = self.apart(parts).map(|part| self.in_heads(&part).transpose(1, 2)); // (B, H, T, K)
        let heads = match rng {
            Some(rng) => self.with_dropout(&query, &keys, &values, mask, rng),
            None => {
                let (padding, causal) =
                    (mask.padding_of().map(|padding| &padding.mask), matches!(mask, Mask::Causal));
                Tensor::scaled_dot_product_attention(
                    &query, &keys, &values, padding, 0.0, causal, None, false,
                )
            }
        };
        heads.transpose(1, 2).flatten(2, 3) // (B, T, D)
    }

    /// The same written out, with dropout on the attention weights: libtorch's own dropout uses a process-wide
    /// generator.
    fn with_dropout(
        &self,
        query: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: Mask,
        rng: &DropoutRng,
    ) -> Tensor {
        let scale = (query.size()[3] as f64).sqrt();
        let scores = (query / scale).matmul(&keys.transpose(2, 3)).to_kind(Kind::Float); // (B, H, T, S)
        let scores = match mask {
            Mask::Open => scores,
            Mask::Padding(padding) => scores + &padding.mask,
            Mask::Causal => {
                let (t, s) = (query.size()[2], keys.size()[2]);
                let later = Tensor::ones([t, s], (Kind::Bool, scores.device())).triu(1); // (T, S)
                scores.masked_fill(&later, f64::NEG_INFINITY)
            }
        };
        let weights = dropout(scores.softmax(-1, Kind::Float), None, self.dropout, Some(rng));
        weights.to_kind(values.kind()).matmul(values) // (B, H, T, K)
    }

    /// Splits concatenated columns into queries, keys and values: (B, T, D) each.
    fn apart(&self, parts: &[Tensor]) -> [Tensor; 3] {
        let width = parts.iter().map(|part| part.size()[2]).sum::<i64>() / 3;
        let apart: Vec<Tensor> = parts.iter().flat_map(|part| part.split(width, -1)).collect();
        apart.try_into().expect("queries, keys and values")
    }

    /// (B, T, D) to (B, T, H, K)
    fn in_heads(&self, x: &Tensor) -> Tensor {
        let (b, t, d) = x.size3().expect("attention needs three dimensions");
        x.view([b, t, self.heads, d / self.heads])
    }
}

/// The layout of concatenated sequences without padding, as attention needs it on their device.
#[derive(Debug)]
pub(crate) struct PackedSequences {
    count: i64,
    longest: i64,
    kind: PackedSequencesKind,
}

#[derive(Debug)]
enum PackedSequencesKind {
    /// On the CPU: the length of each sequence.
    Packed(Vec<i64>),
    /// On other devices they are padded: the index of each position in the padded batch, (N), and the mask of real
    /// positions, (B, 1, 1, S).
    Padded { places: Tensor, real: Tensor },
}

impl PackedSequences {
    /// Sequences of these lengths.
    pub(crate) fn new(lengths: &[i64], device: Device) -> PackedSequences {
        let (count, longest) = (lengths.len() as i64, lengths.iter().copied().max().unwrap_or(0));
        let kind = if device == Device::Cpu {
            PackedSequencesKind::Packed(lengths.to_vec())
        } else {
            PackedSequences::padded(lengths, longest, device)
        };
        PackedSequences { count, longest, kind }
    }

    fn padded(lengths: &[i64], longest: i64, device: Device) -> PackedSequencesKind {
        let rows = (0..).zip(lengths);
        let places: Vec<i64> =
            rows.flat_map(|(row, &length)| (0..length).map(move |t| row * longest + t)).collect();
        let lengths = Tensor::from_slice(lengths).to_device(device).view([-1, 1, 1, 1]);
        let real = Tensor::arange(longest, (Kind::Int64, device)).lt_tensor(&lengths); // (B, 1, 1, S)
        PackedSequencesKind::Padded { places: Tensor::from_slice(&places).to_device(device), real }
    }
}

/// Self-attention within each of several concatenated sequences.
///
/// # Shapes
/// query_key_value: (N, 3 D); out: (N, D)
pub(crate) fn packed_sequence_attention(
    query_key_value: &Tensor,
    sequences: &PackedSequences,
    heads: i64,
) -> Tensor {
    let width = query_key_value.size()[1] / 3;
    let PackedSequences { count, longest, .. } = *sequences;
    let (places, real) = match &sequences.kind {
        PackedSequencesKind::Packed(lengths) => {
            return decoding::packed_sequence_attention(query_key_value, lengths, heads);
        }
        PackedSequencesKind::Padded { places, real } => (places, real),
    };
    let padded = Tensor::zeros([count * longest, 3 * width], (Kind::Float, query_key_value.device()));
    let padded = padded.index_copy(0, places, query_key_value);
    let parts = padded.view([count, longest, 3, heads, width / heads]).permute([2, 0, 3, 1, 4]); // (3, B, H, S, K)
    let (query, keys, values) = (parts.get(0), parts.get(1), parts.get(2));
    let out =
        Tensor::scaled_dot_product_attention(&query, &keys, &values, Some(real), 0.0, false, None, false);
    out.transpose(1, 2).reshape([count * longest, width]).index_select(0, places) // (N, D)
}

/// The slots that each row attends to, as attention needs them on their device.
#[derive(Debug)]
pub(crate) struct BlockTable {
    attended: AttendedSlots,
    /// Only off the CPU: the slots of all rows, padded, (R * L), and the mask of the padding, (R, 1, 1, L).
    padded: Option<(Tensor, Tensor)>,
}

impl BlockTable {
    /// Each row attends to its own list of slots.
    pub(crate) fn new<'a>(rows: impl Iterator<Item = &'a [i32]>, device: Device) -> BlockTable {
        let attended = AttendedSlots::lists(rows);
        let padded = (device != Device::Cpu).then(|| padded(&attended, device));
        BlockTable { attended, padded }
    }

    /// The number of slots per row.
    pub(crate) fn lengths(&self) -> &[i64] {
        &self.attended.lengths
    }
}

fn padded(attended: &AttendedSlots, device: Device) -> (Tensor, Tensor) {
    let longest = attended.lengths.iter().copied().max().unwrap_or(0);
    let mut index = vec![0; attended.lengths.len() * longest as usize];
    for ((to, &start), &length) in
        index.chunks_mut(longest.max(1) as usize).zip(&attended.starts).zip(&attended.lengths)
    {
        for (at, slot) in to[..length as usize].iter_mut().enumerate() {
            *slot = i64::from(attended.slots[start as usize + at]);
        }
    }
    let lengths = Tensor::from_slice(&attended.lengths).to_device(device).view([-1, 1, 1, 1]);
    let beyond = Tensor::arange(longest, (Kind::Int64, device)).ge_tensor(&lengths); // (R, 1, 1, L)
    (Tensor::from_slice(&index).to_device(device), beyond)
}

/// Attention of one query per row over the row's slots. With `weights` also the softmax, summed over the heads: (R, the
/// most slots of a row).
///
/// # Shapes
/// query: (R, D); keys_values: (slots, 2 D), keys before values; out: (R, D)
pub(crate) fn paged_attention(
    query: &Tensor,
    keys_values: &Tensor,
    table: &BlockTable,
    heads: i64,
    weights: Option<&mut Vec<f32>>,
) -> Tensor {
    let Some((index, beyond)) = &table.padded else {
        return decoding::paged_attention(query, keys_values, &table.attended, heads, weights);
    };
    let (out, softmax) = gathered_attention(query, keys_values, index, beyond, heads);
    if let Some(weights) = weights {
        let sums = softmax.sum_dim_intlist([1, 2].as_slice(), false, Kind::Float); // (R, L)
        *weights = Vec::try_from(sums.flatten(0, 1)).expect("the sums are f32");
    }
    out
}

/// Each row's attention averaged over the heads, without padding, from the sums of [`paged_attention`].
pub(crate) fn mean_over_heads(sums: &[f32], lengths: &[i64], heads: i64) -> Vec<Vec<f32>> {
    let most = lengths.iter().copied().max().unwrap_or(0).max(1) as usize;
    let mean = |sum: &f32| sum / heads as f32;
    let rows = sums.chunks(most).zip(lengths);
    rows.map(|(row, &length)| row[..length as usize].iter().map(mean).collect()).collect()
}

/// The same by libtorch's functions, on any device: the slots of each row are gathered and padded. Also returns the
/// softmax of each head: (R, H, 1, L)
fn gathered_attention(
    query: &Tensor,
    keys_values: &Tensor,
    index: &Tensor,
    beyond: &Tensor,
    heads: i64,
) -> (Tensor, Tensor) {
    let (rows, width) = query.size2().expect("queries have two dimensions");
    let parts = keys_values.index_select(0, index).view([rows, -1, 2, heads, width / heads]);
    let parts = parts.permute([2, 0, 3, 1, 4]); // (2, R, H, L, K)
    let query = query.reshape([rows, heads, 1, width / heads]); // (R, H, 1, K)
    let scores = query.matmul(&parts.get(0).transpose(2, 3)) / ((width / heads) as f64).sqrt(); // (R, H, 1, L)
    let softmax = scores.masked_fill(beyond, f64::NEG_INFINITY).softmax(-1, Kind::Float);
    (softmax.matmul(&parts.get(1)).reshape([rows, width]), softmax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_within_sequences_equal_libtorchs() {
        let parts = (Tensor::arange(11 * 3 * 12, (Kind::Float, Device::Cpu)) * 0.37).sin().view([11, 36]);
        for lengths in [vec![11], vec![1, 7, 3], vec![2, 2, 2, 5]] {
            let ours = PackedSequences::new(&lengths, Device::Cpu);
            let kind = PackedSequences::padded(&lengths, ours.longest, Device::Cpu);
            let theirs = packed_sequence_attention(&parts, &PackedSequences { kind, ..ours }, 2);
            let ours = packed_sequence_attention(&parts, &PackedSequences::new(&lengths, Device::Cpu), 2);
            assert!((ours - theirs).abs().max().double_value(&[]) < 1e-6, "{lengths:?}");
        }
    }

    #[test]
    fn paged_attention_equals_libtorchs() {
        let numbers = |count: i64, shape: [i64; 2]| {
            (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.73).sin().view(shape)
        };
        for heads in [1, 3] {
            let width = 24;
            let (query, keys_values) = (numbers(5 * width, [5, width]), numbers(18 * width, [9, 2 * width]));
            let slots = vec![8, 0, 3, 3, 5, 1, 2, 7, 6, 4, 4];
            let (starts, lengths) = (vec![0, 1, 4, 0, 10], vec![4, 1, 6, 11, 1]);
            let attended = AttendedSlots { slots, starts, lengths };
            let (index, beyond) = padded(&attended, Device::Cpu);
            let (plain, softmax) = gathered_attention(&query, &keys_values, &index, &beyond, heads);
            let (mut weights, table) = (Vec::new(), BlockTable { attended, padded: None });
            let ours = paged_attention(&query, &keys_values, &table, heads, Some(&mut weights));
            assert!((ours - plain).abs().max().double_value(&[]) < 1e-6);
            let sums = softmax.sum_dim_intlist([1, 2].as_slice(), false, Kind::Float);
            let difference = Tensor::from_slice(&weights).view_as(&sums) - sums;
            assert!(difference.abs().max().double_value(&[]) < 1e-6);
        }
    }
}
