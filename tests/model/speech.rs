//! Networks that read frames: PyTorch's numbers (tests/golden/make_speech.py), rows that do not depend on each other,
//! and the packed form that decoding runs.

use seqloom::data::batch::Batch;
use seqloom::data::source::{Frames, SourceItem, SourceShape};
use seqloom::data::vocabulary::{BOS, EOS, PAD};
use seqloom::model::inference::Inference;
use seqloom::model::{EncoderKind, Norm, Positions, TransformerConfig, Weights};
use seqloom::shim::vectors::Vectors;
use seqloom::training::TrainingConfig;
use seqloom::training::loss::{cross_entropy, ctc, objective};
use tch::{Device, IndexOp, Kind, Tensor};

use super::{Model, rows};
use crate::support::{Golden, assert_close, devices, distance};

/// float32 itself differs from float64 by 6.8e-6 in the golden file, in a gradient of a sum; make_speech.py prints it.
const TOLERANCE: f64 = 3e-5;

/// The default number of bins: odd after each halving.
const BINS: usize = 10;

/// The same frames on every call: (count, bins) in ±1
fn frames(count: usize, bins: usize, seed: u64) -> SourceItem {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    SourceItem::Frames(Frames::new((0..count * bins).map(|_| next()).collect(), bins))
}

/// The golden file's rows, collated again by seqloom.
fn golden_rows(golden: &Golden) -> (Vec<SourceItem>, Vec<Vec<i64>>) {
    let lengths = Vec::<i64>::try_from(golden.get("lengths")).unwrap();
    let sources = lengths.iter().enumerate().map(|(row, &length)| {
        let own = golden.get("source").i(row as i64).narrow(0, 0, length).contiguous();
        SourceItem::Frames(Frames::new(Vec::try_from(own.flatten(0, 1)).unwrap(), BINS))
    });
    (sources.collect(), rows(golden.get("target_in"), &[PAD, BOS]))
}

fn batch(sources: &[SourceItem], targets: &[Vec<i64>]) -> Batch {
    Batch::new(sources, &targets.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// The outputs for a batch, at the real positions of each row: log-probabilities of the decoder and of the CTC
/// head, each (positions, V).
fn forward(model: &Model, sources: &[SourceItem], targets: &[Vec<i64>]) -> Vec<[Tensor; 2]> {
    let _guard = tch::no_grad_guard();
    let batch = batch(sources, targets);
    let encoded = model.network.encode(&batch.source, None);
    let of_decoder = model.network.decode(&batch.target_in, &encoded, None).log_probabilities();
    let of_ctc = model.network.ctc_logits(&encoded).unwrap().log_softmax(-1, Kind::Float);
    let rows = encoded.lengths.iter().zip(&batch.target_lengths).zip(0..);
    rows.map(|((&positions, &length), row)| {
        [of_decoder.i(row).narrow(0, 0, length), of_ctc.i(row).narrow(0, 0, positions)]
    })
    .collect()
}

/// The same by the packed network, step by step; the decoder omits PAD and BOS, which no output contains.
fn stepped(inference: &Inference, sources: &[SourceItem], targets: &[Vec<i64>]) -> Vec<[Tensor; 2]> {
    let vocabulary = inference.vocabulary() as i64;
    let table = |flat: &[f32]| Tensor::from_slice(flat).view([-1, vocabulary]);
    let mut state = inference.start(sources);
    let of_ctc = inference.ctc_log_probabilities(&state).unwrap().unwrap();
    let mut steps = vec![Vec::new(); sources.len()];
    let longest = targets.iter().map(Vec::len).max().unwrap();
    for t in 0..=longest {
        // A row that has ended is fed EOS; its results are ignored.
        let token = |target: &Vec<i64>| if t == 0 { BOS } else { target.get(t - 1).copied().unwrap_or(EOS) };
        let step = inference.step(&targets.iter().map(token).collect::<Vec<_>>(), state, false).unwrap();
        for ((row, log_p), target) in
            steps.iter_mut().zip(step.log_p.chunks(vocabulary as usize)).zip(targets)
        {
            if t <= target.len() {
                row.extend_from_slice(log_p);
            }
        }
        state = step.state;
    }
    steps.iter().zip(&of_ctc).map(|(steps, ctc)| [table(steps), table(ctc)]).collect()
}

/// The columns of finite numbers: minus infinity minus minus infinity is NaN.
fn finite(x: &Tensor) -> Tensor {
    x.clamp(-1e4, 0.0)
}

#[track_caller]
fn assert_rows_close(one: &[[Tensor; 2]], other: &[[Tensor; 2]], tolerance: f64, what: &str) {
    assert_eq!(one.len(), other.len());
    for (row, (one, other)) in one.iter().zip(other).enumerate() {
        for ((one, other), name) in one.iter().zip(other).zip(["decoder", "CTC"]) {
            assert_close(&finite(one), &finite(other), tolerance, &format!("{what}, row {row}, {name}"));
        }
    }
}

/// Rows and targets of each length from 1 frame, the longest in the middle.
fn rows_of(lengths: &[usize], bins: usize) -> (Vec<SourceItem>, Vec<Vec<i64>>) {
    let sources = lengths.iter().zip(1..).map(|(&length, seed)| frames(length, bins, seed)).collect();
    let targets = (0..lengths.len()).map(|row| (0..row % 4).map(|n| 4 + (n + row) as i64 % 5).collect());
    (sources, targets.collect())
}

fn config(encoder: EncoderKind) -> TransformerConfig {
    TransformerConfig {
        width: 16,
        heads: 2,
        feed_forward: 24,
        encoder,
        convolution_kernel: 3,
        front_channels: 3,
        ctc: Some(true),
        encoder_layers: 2,
        decoder_layers: 1,
        dropout: 0.0,
        ..TransformerConfig::default()
    }
}

/// A network over frames of `bins` numbers with 9 target tokens.
fn network(config: TransformerConfig, bins: usize) -> Model {
    Model::on(Device::Cpu, config.into(), SourceShape::Frames(bins), 9, 5)
}

const ENCODERS: [EncoderKind; 2] = [EncoderKind::Transformer, EncoderKind::Conformer];

#[test]
fn a_batch_of_recordings_equals_pytorchs_input() {
    let golden = Golden::read("speech");
    let (sources, targets) = golden_rows(&golden);
    let batch = batch(&sources, &targets);
    assert!(batch.source.values.equal(golden.get("source")));
    assert!(batch.target_in.equal(golden.get("target_in")));
    assert_eq!(batch.source.positions(), Vec::<i64>::try_from(golden.get("positions")).unwrap());
}

#[test]
fn logits_of_the_decoder_and_of_the_ctc_head_equal_pytorchs() {
    let golden = Golden::read("speech");
    let (sources, targets) = golden_rows(&golden);
    for device in devices() {
        let (model, batch) = (Model::golden_on(device, &golden), batch(&sources, &targets).to_device(device));
        let encoded = model.network.encode(&batch.source, None);
        let logits = model.network.decode(&batch.target_in, &encoded, None).logits();
        let what = format!("on {device:?}");
        assert_close(&logits, golden.get("logits"), 1e-5, &what);
        let ctc = model.network.ctc_logits(&encoded).unwrap();
        for (row, &positions) in encoded.lengths.iter().enumerate() {
            let real = |x: &Tensor| x.i(row as i64).narrow(0, 0, positions);
            assert_close(
                &real(&ctc),
                &real(golden.get("ctc_logits")),
                1e-5,
                &format!("CTC, row {row} {what}"),
            );
        }
    }
}

/// One row has no alignment: it contributes nothing to the loss and to the gradients of the CTC head.
#[test]
fn both_losses_and_all_gradients_of_their_sum_equal_pytorchs() {
    let golden = Golden::read("speech");
    let (sources, targets) = golden_rows(&golden);
    let config = TrainingConfig { label_smoothing: 0.1, ctc_weight: 0.3, ..TrainingConfig::default() };
    for device in devices() {
        let (model, batch) = (Model::golden_on(device, &golden), batch(&sources, &targets).to_device(device));
        let what = format!("on {device:?}");
        let encoded = model.network.encode(&batch.source, None);
        let predictions = model.network.decode(&batch.target_in, &encoded, None).at(&batch.label_positions);
        let attention = cross_entropy(&predictions, &batch.labels, 0.1).total;
        assert_close(&attention, golden.get("attention_loss"), TOLERANCE, &what);
        let logits = model.network.ctc_logits(&encoded).unwrap();
        assert_close(&ctc(&logits, &encoded.lengths, &batch), golden.get("ctc_loss"), TOLERANCE, &what);
        let loss = objective(&model.network, &config, &batch, 1, 1).total;
        assert_close(&loss, golden.get("loss"), TOLERANCE, &what);
        loss.backward();
        for (name, gradient) in golden.under("gradients/") {
            let ours = model.params.get(name).unwrap().grad();
            assert!(ours.defined(), "{name} has no gradient");
            assert_close(&ours, gradient, TOLERANCE, &format!("gradient of {name} {what}"));
        }
    }
}

#[test]
fn a_recording_alone_has_the_logits_that_it_has_in_a_batch() {
    let golden = Golden::read("speech");
    let (sources, targets) = golden_rows(&golden);
    let mut models = vec![(Model::golden(&golden), sources, targets)];
    for encoder in ENCODERS {
        let (sources, targets) = rows_of(&[9, 1, 40, 2, 3, 23, 4, 5], BINS);
        models.push((network(config(encoder), BINS), sources, targets));
    }
    for (n, (model, sources, targets)) in models.iter().enumerate() {
        let together = forward(model, sources, targets);
        for row in 0..sources.len() {
            let alone = forward(model, &sources[row..=row], &targets[row..=row]);
            assert_rows_close(&together[row..=row], &alone, 3e-6, &format!("model {n}, row {row} alone"));
        }
    }
}

#[test]
fn the_packed_network_equals_training_for_recordings_of_any_length() {
    let lengths: Vec<usize> = (1..=40).collect();
    for encoder in ENCODERS {
        let model = network(config(encoder), BINS);
        let (sources, targets) = rows_of(&lengths, BINS);
        let exact = forward(&model, &sources, &targets);
        for vectors in Vectors::here() {
            let ours =
                vectors.run(|| stepped(&Inference::new(&model.network, Weights::F32), &sources, &targets));
            assert_rows_close(&ours, &exact, 1e-5, &format!("{encoder:?} {vectors:?}"));
        }
    }
    let golden = Golden::read("speech");
    let (model, (sources, targets)) = (Model::golden(&golden), golden_rows(&golden));
    let ours = stepped(&Inference::new(&model.network, Weights::F32), &sources, &targets);
    assert_rows_close(&ours, &forward(&model, &sources, &targets), 1e-5, "golden");
}

/// Kernels longer than any of the sequences among them.
#[test]
fn the_packed_network_equals_training_for_networks_of_many_shapes() {
    let plain = config(EncoderKind::Conformer);
    let mut configs = Vec::new();
    for (width, heads) in [(2, 1), (6, 3), (16, 4), (40, 2)] {
        for convolution_kernel in [1, 3, 15, 31] {
            configs.push((TransformerConfig { width, heads, convolution_kernel, ..plain.clone() }, BINS));
        }
    }
    for bins in [1, 2, 3, 5, 40] {
        for front_channels in [1, 4] {
            configs.push((TransformerConfig { front_channels, ..plain.clone() }, bins));
        }
    }
    configs.push((TransformerConfig { norm: Norm::RmsNorm, bias: false, ..plain.clone() }, BINS));
    for positions in [Positions::Rotary, Positions::Learned, Positions::None] {
        configs.push((TransformerConfig { positions, ..plain.clone() }, BINS));
    }
    for (config, bins) in configs {
        let model = network(config.clone(), bins);
        let (sources, targets) = rows_of(&[1, 5, 40, 4, 9, 2, 31], bins);
        let ours = stepped(&Inference::new(&model.network, Weights::F32), &sources, &targets);
        let what = format!("{bins} bins, {config:?}");
        assert_rows_close(&ours, &forward(&model, &sources, &targets), 2e-5, &what);
    }
}

#[test]
fn a_recording_is_bit_identical_in_any_batch() {
    let (sources, targets) = rows_of(&[9, 1, 40, 2, 17, 23, 4, 5, 39], BINS);
    for encoder in ENCODERS {
        for width in [16, 42] {
            let config = TransformerConfig { width, feed_forward: 83, front_channels: 5, ..config(encoder) };
            let model = network(config, BINS);
            for weights in [Weights::F32, Weights::Bf16, Weights::Int8] {
                let inference = Inference::new(&model.network, weights);
                let together = stepped(&inference, &sources, &targets);
                let orders: [&[usize]; 5] =
                    [&[2], &[0, 1, 2], &[2, 1, 0], &[8, 2, 5, 3], &[4, 5, 6, 7, 8, 0, 1, 2, 3]];
                for order in orders {
                    let some: Vec<SourceItem> = order.iter().map(|&row| sources[row].clone()).collect();
                    let their: Vec<Vec<i64>> = order.iter().map(|&row| targets[row].clone()).collect();
                    for (found, &row) in stepped(&inference, &some, &their).iter().zip(order) {
                        for (found, expected) in found.iter().zip(&together[row]) {
                            let what = format!("{encoder:?} {width} {weights:?}, row {row} among {order:?}");
                            assert!(found.equal(expected), "{what}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn lower_precision_weights_are_close_for_recordings() {
    let (sources, targets) = rows_of(&[9, 1, 40, 17], BINS);
    for encoder in ENCODERS {
        let model = network(config(encoder), BINS);
        let exact = forward(&model, &sources, &targets);
        for (weights, tolerance) in [(Weights::Bf16, 0.1), (Weights::Int8, 0.3)] {
            let ours = stepped(&Inference::new(&model.network, weights), &sources, &targets);
            assert_rows_close(&ours, &exact, tolerance, &format!("{encoder:?} {weights:?}"));
            assert!(distance(&ours[2][1], &exact[2][1]) > 0.0, "{weights:?} are not those of f32");
        }
    }
}
