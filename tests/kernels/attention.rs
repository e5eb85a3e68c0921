//! Attention for training, with its gradients, compared with the formula in f64 and libtorch's kernel.

use seqloom::runtime::threads;
use seqloom::shim::attention;
use seqloom::shim::decoding::packed_sequence_attention;
use seqloom::shim::vectors::Vectors;
use tch::{Device, Kind, Tensor};

use super::numbers;
use crate::support::{assert_close, assert_same, distance};

/// The layout of queries, keys and values.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// (B, T, 3 D)
    Together,
    /// (B, T, D) and (B, S, 2 D)
    Beside,
    /// Three, cut out of wider rows.
    Apart,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    rows: i64,
    queries: i64,
    keys: i64,
    heads: i64,
    head_width: i64,
    layout: Layout,
    causal: bool,
    padded: bool,
}

impl Case {
    fn inputs(&self) -> Vec<Tensor> {
        let width = self.heads * self.head_width;
        let part = |positions: i64, parts: i64, offset: i64| {
            numbers(&[self.rows, positions, parts * width], offset + self.head_width % 3)
        };
        match self.layout {
            Layout::Together => vec![part(self.queries, 3, 0)],
            Layout::Beside => vec![part(self.queries, 1, 1), part(self.keys, 2, 0)],
            Layout::Apart => {
                let positions = [self.queries, self.keys, self.keys];
                (0..3).map(|n| part(positions[n], 2, n as i64).narrow(2, width / 2, width)).collect()
            }
        }
    }

    /// How many keys each row has; the last row has none.
    fn lengths(&self) -> Option<Vec<i64>> {
        let length = |row| if row + 1 == self.rows { 0 } else { 1 + (row * 5 + self.queries) % self.keys };
        self.padded.then(|| (0..self.rows).map(length).collect())
    }

    fn ours(&self, inputs: &[Tensor]) -> Tensor {
        attention(inputs, self.heads, self.causal, self.lengths().as_deref())
    }

    /// The same by libtorch, in the kind of the inputs.
    fn theirs(&self, inputs: &[Tensor]) -> Tensor {
        let width = self.heads * self.head_width;
        let parts: Vec<Tensor> = inputs.iter().flat_map(|input| input.split(width, -1)).collect();
        let split = |x: &Tensor| x.unflatten(2, [self.heads, self.head_width]).transpose(1, 2); // (B, H, T, K)
        let mask = self.lengths().map(|lengths| {
            let ends = Tensor::from_slice(&lengths).view([-1, 1, 1, 1]);
            let padded = Tensor::arange(self.keys, (Kind::Int64, Device::Cpu)).ge_tensor(&ends); // (B, 1, 1, S)
            Tensor::zeros(padded.size(), (inputs[0].kind(), Device::Cpu))
                .masked_fill(&padded, f64::NEG_INFINITY)
        });
        let (query, key, value) = (split(&parts[0]), split(&parts[1]), split(&parts[2]));
        let out = Tensor::scaled_dot_product_attention(
            &query,
            &key,
            &value,
            mask.as_ref(),
            0.0,
            self.causal,
            None,
            false,
        );
        out.transpose(1, 2).flatten(2, 3)
    }

    /// The result, and the gradient of each input.
    fn passed(&self, kind: Kind, made: impl Fn(&[Tensor]) -> Tensor) -> Vec<Tensor> {
        let leaf = |input: Tensor| input.to_kind(kind).detach().set_requires_grad(true);
        let leaves: Vec<Tensor> = self.inputs().into_iter().map(leaf).collect();
        let out = made(&leaves);
        let loss = (&out * numbers(&out.size(), 2)).sum(kind);
        let mut all = vec![out.detach()];
        all.extend(Tensor::run_backward(&[loss], &leaves, false, false));
        all
    }

    /// As close to the formula in f64 as libtorch in f32, and AVX2 is bit-identical to AVX-512.
    fn holds(&self) {
        let exact = self.passed(Kind::Double, |inputs| self.theirs(inputs));
        let theirs = self.passed(Kind::Float, |inputs| self.theirs(inputs));
        let mut fused: Option<Vec<Tensor>> = None;
        for vectors in Vectors::here() {
            let ours = vectors.run(|| self.passed(Kind::Float, |inputs| self.ours(inputs)));
            for ((ours, theirs), exact) in ours.iter().zip(&theirs).zip(&exact) {
                let largest = exact.abs().max().double_value(&[]);
                let tolerance = 1e-6 * largest.max(1.0) + 2.0 * distance(theirs, exact);
                assert_close(ours, exact, tolerance, &format!("{self:?}, {vectors:?}"));
            }
            if vectors > Vectors::Portable {
                for (ours, first) in ours.iter().zip(fused.as_deref().unwrap_or(&ours)) {
                    assert_same(ours, first, &format!("{self:?}, {vectors:?}"));
                }
                fused = Some(ours);
            }
        }
        // Without gradients nothing is stored, and the result is the same.
        let _guard = tch::no_grad_guard();
        let inputs = self.inputs();
        assert_close(&self.ours(&inputs), &exact[0], 1e-5, &format!("{self:?}, without a graph"));
    }
}

const LAYOUTS: [Layout; 3] = [Layout::Together, Layout::Beside, Layout::Apart];
const LENGTHS: [i64; 12] = [1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 64, 65];

#[test]
fn attention_of_any_head_width_equals_libtorchs_with_gradients() {
    for (n, head_width) in (1..=40).chain([48, 63, 64, 65, 96, 100, 128, 130]).enumerate() {
        let layout = LAYOUTS[n % 3];
        let keys = LENGTHS[n % 12];
        let queries = if matches!(layout, Layout::Together) { keys } else { LENGTHS[n * 5 % 12] };
        for (causal, padded) in [(false, false), (true, false), (false, true)] {
            Case { rows: 2, queries, keys, heads: 1 + head_width % 3, head_width, layout, causal, padded }
                .holds();
        }
    }
}

#[test]
fn attention_between_any_lengths_equals_libtorchs_with_gradients() {
    for (n, queries) in LENGTHS.into_iter().enumerate() {
        for keys in LENGTHS {
            let (layout, head_width) = (LAYOUTS[1 + n % 2], [8, 20][n % 2]);
            let (causal, padded) = ([false, true, false][n % 3], [false, false, true][n % 3]);
            Case { rows: 3, queries, keys, heads: 2, head_width, layout, causal, padded }.holds();
        }
        let together = Case {
            rows: 3,
            queries,
            keys: queries,
            heads: 2,
            head_width: 24,
            layout: Layout::Together,
            causal: n % 2 == 0,
            padded: n % 2 == 1,
        };
        together.holds();
    }
}

/// Small ones, and some that are split among threads.
#[test]
fn attention_is_bit_identical_for_any_number_of_threads() {
    let (layout, causal, padded) = (Layout::Together, true, false);
    for (rows, queries) in [(2, 5), (40, 70)] {
        let case = Case { rows, queries, keys: queries, heads: 4, head_width: 32, layout, causal, padded };
        let [one, two] = [1, 2].map(|count| {
            threads::set(count).unwrap();
            threads::on_all(|| case.passed(Kind::Float, |inputs| case.ours(inputs)))
        });
        threads::set(1).unwrap();
        for (one, two) in one.iter().zip(&two) {
            assert_same(one, two, "one and two threads");
        }
    }
}

#[test]
fn attention_to_nan_is_nan_and_affects_no_other_row() {
    let (layout, causal, padded) = (Layout::Beside, false, false);
    let case = Case { rows: 2, queries: 5, keys: 20, heads: 2, head_width: 4, layout, causal, padded };
    for vectors in Vectors::here() {
        for part in 0..3 {
            let inputs: Vec<Tensor> = case.inputs().iter().map(Tensor::copy).collect();
            let _ = inputs[part.min(1)].get(0).get(3).get([0, 0, 8][part]).fill_(f64::NAN);
            let inputs: Vec<Tensor> = inputs.into_iter().map(|input| input.set_requires_grad(true)).collect();
            let out = vectors.run(|| case.ours(&inputs));
            let gradients =
                vectors.run(|| Tensor::run_backward(&[out.square().sum(Kind::Float)], &inputs, false, false));
            for tensor in gradients.iter().chain([&out]) {
                let any = |row| tensor.get(row).isnan().any().int64_value(&[]) == 1;
                assert!(any(0) && !any(1), "part {part}, {vectors:?}");
            }
        }
    }
}

#[test]
fn mismatched_shapes_are_refused() {
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let made = |inputs: &[&[i64]], heads: i64, lengths: Option<&[i64]>| {
        let inputs: Vec<Tensor> = inputs.iter().map(|shape| zeros(shape)).collect();
        std::panic::catch_unwind(|| attention(&inputs, heads, false, lengths).size()).ok()
    };
    assert_eq!(made(&[&[2, 3, 12]], 2, Some(&[3, 0])), Some(vec![2, 3, 4]));
    assert_eq!(made(&[&[2, 3, 4], &[2, 5, 8]], 2, None), Some(vec![2, 3, 4]));
    type Asked<'a> = (&'a [&'a [i64]], i64, Option<&'a [i64]>);
    let refused: [Asked; 9] = [
        (&[&[2, 3, 12]], 3, None),
        (&[&[2, 3, 12]], 0, None),
        (&[&[2, 3, 11]], 1, None),
        (&[&[2, 3, 0]], 1, None),
        (&[&[2, 3]], 1, None),
        (&[&[2, 3, 12]], 2, Some(&[3, 4])),
        (&[&[2, 3, 12]], 2, Some(&[3, -1])),
        (&[&[2, 3, 12]], 2, Some(&[3])),
        (&[&[2, 3, 4], &[1, 5, 8]], 2, None),
    ];
    for (inputs, heads, lengths) in refused {
        assert_eq!(made(inputs, heads, lengths), None, "{inputs:?}, {heads} heads, {lengths:?}");
    }
    assert_eq!(made(&[], 1, None), None);
}

/// A sequence is bit-identical for any blocks of queries and beside any other sequences.
fn sequences_are_what_each_is_alone(head_width: i64, heads: i64, lengths: &[i64]) {
    let parts = numbers(&[lengths.iter().sum(), 3 * heads * head_width], head_width % 5);
    for vectors in Vectors::here() {
        let what = format!("head width {head_width}, {heads} heads, {lengths:?}, {vectors:?}");
        let all = vectors.run(|| packed_sequence_attention(&parts, lengths, heads));
        let mut start = 0;
        for &length in lengths {
            let own = parts.narrow(0, start, length);
            let alone = vectors.run(|| attention(&[own.unsqueeze(0)], heads, false, None)).squeeze_dim(0);
            assert_same(&all.narrow(0, start, length), &alone, &what);
            start += length;
        }
    }
}

#[test]
fn attention_within_sequences_equals_that_of_each_alone() {
    for head_width in 1..=130 {
        sequences_are_what_each_is_alone(head_width, 1 + head_width % 3, &[1 + head_width * 5 % 23, 3]);
    }
    for length in 1..=70 {
        sequences_are_what_each_is_alone(36, 2, &[length, 130 - length, 1]);
    }
    // More than a thread takes.
    sequences_are_what_each_is_alone(40, 4, &[300, 17, 129, 64, 0, 65]);
}
