//! The kernels of src/shim/ with each set of vector instructions of this machine, over many shapes, compared with
//! libtorch. Data is unaligned, as in rows of odd width.
//!
//! `scripts/sanitize.py` runs the same under sanitizers, without Rust (tests/shim/).

mod attention;

use seqloom::data::vocabulary::{BOS, PAD};
use seqloom::shim::decoding::{
    AttendedSlots, PackedKind, PackedWeights, gelu, log_softmax, paged_attention, silu, tanh,
};
use seqloom::shim::vectors::Vectors;
use seqloom::shim::{Epilogue, dropout, linear, linear_cross_entropy};
use tch::{Device, Kind, Tensor};

use crate::support::run::{Finished, Scene, binary, listened_to};
use crate::support::{assert_close, assert_same};

/// Numbers in (-2, 2), from a hash of their positions, so that tests in parallel do not share a random generator.
/// They begin `offset` numbers into their memory.
fn numbers(shape: &[i64], offset: i64) -> Tensor {
    let count: i64 = shape.iter().product();
    let x = (Tensor::arange(offset + count, (Kind::Double, Device::Cpu)) * 12.9898 + count as f64).sin()
        * 43758.5453;
    ((&x - x.floor()) * 4.0 - 2.0).to_kind(Kind::Float).narrow(0, offset, count).view(shape)
}

/// Rows quantized to 8 bits with their largest number as scale, in f64.
fn in_bytes(rows: &Tensor) -> Tensor {
    let largest = rows.abs().amax([1], true);
    let scale = Tensor::from(127f32) / &largest;
    let whole = (rows * scale).round().to_kind(Kind::Double);
    whole * (largest.to_kind(Kind::Double) / 127.0)
}

fn expected(x: &Tensor, weight: &Tensor, bias: &Tensor, kind: PackedKind) -> Tensor {
    let double = |tensor: &Tensor| tensor.to_kind(Kind::Double);
    let (x, weight) = match kind {
        PackedKind::F32 => (double(x), double(weight)),
        PackedKind::Bf16 => (double(x), double(&weight.to_kind(Kind::BFloat16))),
        PackedKind::Int8 => (in_bytes(x), in_bytes(weight)),
    };
    x.linear(&weight, Some(&double(bias)))
}

#[test]
fn products_of_any_shape_equal_libtorchs() {
    let shapes =
        (1..=70).flat_map(|n| [(n, 71 - n, 1 + n % 14), (n, 1 + n * 7 % 10, 5), (1 + n * 3 % 8, n, 3)]);
    let large = [(70, 70, 6), (130, 300, 300), (64, 64, 253), (129, 512, 2)];
    for (outputs, inputs, rows) in shapes.chain(large) {
        let (weight, bias) = (numbers(&[outputs, inputs], inputs % 5), numbers(&[outputs], outputs % 3));
        let (x, residual) = (numbers(&[rows, inputs], rows % 7), numbers(&[rows, outputs], 1));
        for kind in [PackedKind::F32, PackedKind::Bf16, PackedKind::Int8] {
            let theirs = expected(&x, &weight, &bias, kind);
            let finished = theirs.relu() + &residual;
            for vectors in Vectors::here() {
                let what = format!("{outputs} outputs, {inputs} inputs, {rows} rows, {kind:?}, {vectors:?}");
                let packed = vectors.run(|| PackedWeights::new(&weight, Some(&bias), kind));
                assert_close(&packed.linear(&x, false, None), &theirs, 5e-4, &what);
                assert_close(&packed.linear(&x, true, Some(&residual)), &finished, 5e-4, &what);
            }
        }
    }
}

/// softmax(q K' / sqrt(width)) V of one row, and the softmax summed over the heads.
fn attended(query: &Tensor, keys_values: &Tensor, slots: &[i64], heads: i64) -> (Tensor, Tensor) {
    let (length, width) = (slots.len() as i64, query.size()[0] / heads);
    let parts = keys_values.index_select(0, &Tensor::from_slice(slots)).view([length, 2, heads, width]);
    let parts = parts.permute([1, 2, 0, 3]); // (2, H, L, K)
    let scores = query.view([heads, 1, width]).matmul(&parts.get(0).transpose(1, 2)) / (width as f64).sqrt();
    let softmax = scores.softmax(-1, Kind::Float); // (H, 1, L)
    let out = softmax.matmul(&parts.get(1)).view([heads * width]);
    (out, softmax.sum_dim_intlist([0, 1].as_slice(), false, Kind::Float))
}

fn attention_is_libtorchs(head_width: i64, heads: i64, rows: i64, room: i64) {
    let width = heads * head_width;
    // Queries lie between keys and values, in rows that are not a multiple of the vector length.
    let query = numbers(&[rows, 3 * width + 1], head_width % 3).narrow(1, width + 1, width);
    let keys_values = numbers(&[room, 2 * width], head_width % 5);
    let length = |row: i64| if row == 0 { room } else { 1 + row * 7 % room };
    let own = |row: i64| -> Vec<i64> { (0..length(row)).map(|n| (row + n * 3) % room).collect() };
    let all: Vec<Vec<i64>> = (0..rows).map(own).collect();
    let lists: Vec<Vec<i32>> = all.iter().map(|own| own.iter().map(|&slot| slot as i32).collect()).collect();
    let seen = AttendedSlots::lists(lists.iter().map(Vec::as_slice));
    for vectors in Vectors::here() {
        let what = format!("head width {head_width}, {heads} heads, {rows} rows, {room} slots, {vectors:?}");
        let mut weights = Vec::new();
        let ours = vectors.run(|| paged_attention(&query, &keys_values, &seen, heads, Some(&mut weights)));
        for (row, own) in (0..).zip(&all) {
            let (out, softmax) = attended(&query.get(row), &keys_values, own, heads);
            assert_close(&ours.get(row), &out, 1e-5, &what);
            let first = row as usize * room as usize;
            assert_close(&Tensor::from_slice(&weights[first..first + own.len()]), &softmax, 1e-5, &what);
        }
    }
}

#[test]
fn attention_of_every_head_width_equals_libtorchs() {
    for head_width in 1..=130 {
        attention_is_libtorchs(head_width, 1 + head_width % 3, 1 + head_width % 4, 1 + head_width * 5 % 23);
    }
    // More rows than a thread takes, and every number of slots around whole vectors.
    attention_is_libtorchs(40, 2, 37, 20);
    for room in 1..=50 {
        attention_is_libtorchs(24, 1, 2, room);
    }
}

#[test]
fn softmax_and_activations_of_every_length_equal_libtorchs() {
    for length in 1..=100 {
        let x = numbers(&[length], length % 11);
        let same: Vec<[Tensor; 3]> = Vectors::here()
            .map(|vectors| {
                let what = format!("{length} numbers, {vectors:?}");
                let mut row = Vec::<f32>::try_from(&(&x * 4.0)).unwrap();
                vectors.run(|| log_softmax(&mut row));
                let theirs = (&x * 4.0).log_softmax(-1, Kind::Float);
                assert_close(&Tensor::from_slice(&row), &theirs, 1e-5, &what);
                let [silu, gelu, tanh] = vectors.run(|| [silu(&x), gelu(&x), tanh(&x)]);
                assert_close(&silu, &x.silu(), 1e-6, &what);
                assert_close(&gelu, &x.gelu("none"), 1e-6, &what);
                assert_close(&tanh, &x.tanh(), 3e-7, &what);
                [silu, gelu, tanh]
            })
            .collect();
        for [silu, gelu, tanh] in &same {
            assert_same(silu, &same[0][0], "SiLU");
            assert_same(gelu, &same[0][1], "GELU");
            assert_same(tanh, &same[0][2], "tanh");
        }
    }
}

/// The result of a layer with all fused operations, and the gradients of `x`, weight, bias and residual.
fn layer(inputs: &[Tensor; 4], made: impl Fn(&[Tensor; 4]) -> Tensor) -> [Tensor; 5] {
    let leaves = inputs.each_ref().map(|tensor| tensor.detach().set_requires_grad(true));
    let out = made(&leaves);
    // Different for all elements.
    let loss = (&out * numbers(&out.size(), 2)).sum(Kind::Float);
    let [x, weight, bias, residual] = leaves.each_ref().map(|leaf| {
        let found = Tensor::run_backward(&[&loss], &[leaf], true, false).remove(0);
        if found.defined() { found } else { leaf.zeros_like() }
    });
    [out.detach(), x, weight, bias, residual]
}

#[test]
fn fused_layers_equal_libtorchs_and_are_bit_identical_on_all_vectors() {
    for (outputs, rows) in (1..=70).map(|n| (n, 1 + n * 5 % 23)).chain([(96, 9), (130, 70), (64, 200)]) {
        let inputs = 1 + outputs * 7 % 11;
        let shapes: [&[i64]; 4] = [&[1, rows, inputs], &[outputs, inputs], &[outputs], &[1, rows, outputs]];
        let inputs = [0, 1, 2, 3].map(|n| numbers(shapes[n], (outputs + n as i64) % 6));
        for (relu, p, with) in
            [(false, 0.0, false), (true, 0.0, false), (true, 0.3, false), (false, 0.3, true)]
        {
            let what = format!("{outputs} outputs, {rows} rows, ReLU {relu}, dropout {p}, residual {with}");
            let theirs = layer(&inputs, |[x, weight, bias, residual]| {
                let product = x.linear(weight, Some(bias));
                let active = if relu { product.relu() } else { product };
                // Applied to ones, dropout gives its factors.
                let factors =
                    if p > 0.0 { dropout(&active.ones_like(), None, p, 7) } else { active.ones_like() };
                if with { active * factors + residual } else { active * factors }
            });
            let ours = |vectors: Vectors| {
                let dropout = (p > 0.0).then_some((p, 7));
                let made = |[x, weight, bias, residual]: &[Tensor; 4]| {
                    let epilogue = Epilogue { relu, dropout, residual: with.then_some(residual) };
                    linear(x, weight, Some(bias), epilogue)
                };
                vectors.run(|| layer(&inputs, made))
            };
            let first = ours(Vectors::Portable);
            for (ours, theirs) in first.iter().zip(&theirs) {
                assert_close(ours, theirs, 2e-4, &what);
            }
            for vectors in Vectors::here() {
                for (ours, first) in ours(vectors).iter().zip(&first) {
                    assert_same(ours, first, &format!("{what}, {vectors:?}"));
                }
            }
        }
    }
}

/// All kernels of training except products are bit-identical on each of them.
#[test]
fn dropout_and_loss_are_bit_identical_on_all_vectors() {
    for count in (1..=200).step_by(3) {
        for kind in [Kind::Float, Kind::BFloat16] {
            let (x, residual) = (numbers(&[count], count % 9).to_kind(kind), numbers(&[count], count % 4));
            let drawn = |vectors: Vectors| {
                vectors.run(|| [dropout(&x, None, 0.3, 7), dropout(&x, Some(&residual), 0.3, 7)])
            };
            let first = drawn(Vectors::Portable);
            for vectors in Vectors::here() {
                for (ours, first) in drawn(vectors).iter().zip(&first) {
                    assert_same(ours, first, &format!("dropout of {count} {kind:?}, {vectors:?}"));
                }
            }
            let kept = first[0].ne(0.0).to_kind(kind) * &x / 0.7;
            assert_close(&first[0], &kept, 0.05, &format!("dropout of {count} {kind:?}"));
        }
    }
    for vocabulary in (4..=70).chain([4099]) {
        let (rows, what) = (1 + vocabulary % 6, format!("a vocabulary of {vocabulary}"));
        // No label is a special token.
        let labels = (Tensor::arange(rows, (Kind::Int64, Device::Cpu)) * 3).remainder(vocabulary - 3) + 3;
        let passed = |vectors: Vectors, smoothing: f64| {
            let hidden = numbers(&[rows, 9], vocabulary % 3).set_requires_grad(true);
            let weight = numbers(&[vocabulary, 9], rows % 5).set_requires_grad(true);
            let loss = vectors.run(|| {
                let [smoothed, nll, correct] =
                    linear_cross_entropy(&hidden, &weight, &labels, smoothing, false);
                smoothed.backward();
                Tensor::stack(&[smoothed.detach(), nll, correct], 0)
            });
            [loss, hidden.grad(), weight.grad()]
        };
        for smoothing in [0.0, 0.1] {
            let first = passed(Vectors::Portable, smoothing);
            for vectors in Vectors::here() {
                for (ours, first) in passed(vectors, smoothing).iter().zip(&first) {
                    assert_same(ours, first, &format!("{what}, smoothing {smoothing}, {vectors:?}"));
                }
            }
        }
        let [loss, to_hidden, _] = passed(Vectors::Portable, 0.0);
        let hidden = numbers(&[rows, 9], vocabulary % 3).set_requires_grad(true);
        let logits = hidden.linear::<&Tensor>(&numbers(&[vocabulary, 9], rows % 5), None);
        // No output contains <pad> or <bos>.
        let logits = logits.index_fill(1, &Tensor::from_slice(&[PAD, BOS]), f64::NEG_INFINITY);
        let theirs = logits.cross_entropy_loss::<&Tensor>(&labels, None, tch::Reduction::Sum, -100, 0.0);
        theirs.backward();
        assert_close(&loss.get(0), &theirs.to_kind(Kind::Double), 1e-4, &what);
        assert_close(&to_hidden, &hidden.grad(), 1e-5, &what);
    }
}

/// Head widths that are not a multiple of the vector length: from training to decoding, in each number format.
#[test]
fn models_of_unusual_head_widths_train_validate_and_decode() {
    let scene = Scene::new(20, 4);
    for (n, head_width) in [1, 3, 17, 24, 33, 65, 100, 130].into_iter().enumerate() {
        let run = format!("runs/{head_width}");
        let (width, precision) =
            (format!("model.transformer.width={}", 2 * head_width), ["f32", "bf16"][n % 2]);
        let precision = format!("runtime.precision={precision}");
        let settings = ["training.steps=2", "training.validate_every=1", &width, &precision];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> =
            ["train", "copy.toml", "--out", &run].into_iter().chain(settings).collect();
        scene.seqloom(&arguments).succeeded();
        assert_eq!(scene.metrics(&run, "valid").len(), 2, "{head_width}");
        let weights = format!("decoding.weights={}", ["int8", "f32", "bf16"][n % 3]);
        let finished = scene.fed(&["decode", &run, "--set", &weights], b"abc\nfed\n").succeeded();
        assert_eq!(finished.stdout.lines().count(), 2, "{head_width}");
    }
}

#[test]
fn unknown_or_unsupported_vectors_are_refused_with_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = |vectors: &str| {
        Finished::of(listened_to(binary(folder.path()).arg("doctor").env("SEQLOOM_VECTORS", vectors)))
    };
    for vectors in Vectors::here() {
        let told = doctor(vectors.name()).succeeded().stdout;
        assert!(told.contains(&format!("vectors        {}", vectors.name())), "{told}");
    }
    doctor("sse").refused(
        2,
        "error: `SEQLOOM_VECTORS` must be portable, avx2 or avx512, but it is `sse`\n\
         hint: without it the best that this machine has is used",
    );
    if Vectors::of_machine() < Vectors::Avx512 {
        doctor("avx512").refused_naming(2, &["is avx512, but the best that this machine has is "]);
    }
}
