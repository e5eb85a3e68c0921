//! Step-by-step decoding has the same numbers as whole targets, for any rows in a batch, and is bit-identical in any
//! batch.

use std::sync::Arc;

use seqloom::data::source::{PartShape, SourceItem, SourceShape};
use seqloom::data::vocabulary::{BOS, EOS, PAD, UNK};
use seqloom::model::inference::{DecoderState, Inference};
use seqloom::model::{
    Activation, NetworkConfig, Norm, Positions, RecurrentConfig, TransformerConfig, Weights,
};
use seqloom::shim::vectors::Vectors;
use tch::{Kind, Tensor};

use super::{CASES, Model, batch, pairs, small};
use crate::support::{Golden, devices, distance};

const TOLERANCE: f64 = 1e-5;

/// Log-probabilities of each step of each row.
type Steps = Vec<Vec<Vec<f32>>>;

fn items(rows: &[Vec<i64>]) -> Vec<SourceItem> {
    rows.iter().cloned().map(SourceItem::from).collect()
}

fn slices(rows: &[Vec<i64>]) -> Vec<&[i64]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// Takes a step with these tokens; appends the results to the rows `numbers` of `all`.
fn step(
    model: &Inference,
    state: DecoderState,
    tokens: &[i64],
    numbers: &[usize],
    all: &mut Steps,
) -> DecoderState {
    let step = model.step(tokens, state, false).unwrap();
    for (row, &number) in step.log_p.chunks(model.vocabulary()).zip(numbers) {
        all[number].push(row.to_vec());
    }
    step.state
}

/// Runs rows in a batch, each with its own target after BOS; a row leaves when its target ends.
fn side_by_side(model: &Inference, sources: &[Vec<i64>], targets: &[Vec<i64>]) -> Steps {
    let mut all = vec![Vec::new(); sources.len()];
    let mut numbers: Vec<usize> = (0..sources.len()).collect();
    let mut state = model.start(&items(sources));
    for t in 0.. {
        let here: Vec<usize> = (0..numbers.len()).filter(|&row| t <= targets[numbers[row]].len()).collect();
        if here.len() < numbers.len() {
            state = state.keep(&here.iter().map(|&row| row as i64).collect::<Vec<_>>());
            numbers = here.iter().map(|&row| numbers[row]).collect();
        }
        if numbers.is_empty() {
            return all;
        }
        let token = |&row: &usize| if t == 0 { BOS } else { targets[row][t - 1] };
        let tokens: Vec<i64> = numbers.iter().map(token).collect();
        state = step(model, state, &tokens, &numbers, &mut all);
    }
    all
}

/// The columns of the tokens that an output may contain: (..., V) to (..., V - 2)
fn allowed(log_p: &Tensor) -> Tensor {
    let columns: Vec<i64> = [UNK].into_iter().chain(EOS..*log_p.size().last().unwrap()).collect();
    log_p.index_select(-1, &Tensor::from_slice(&columns).to_device(log_p.device()))
}

/// The same numbers by teacher forcing, over the tokens that an output may contain.
fn forced(model: &Model, sources: &[Vec<i64>], targets: &[Vec<i64>]) -> Vec<Tensor> {
    let batch = batch(sources, targets).to_device(model.params.device());
    let logits = model.logits(&batch.source, &batch.target_in, None);
    let log_p = allowed(&logits).log_softmax(-1, Kind::Float); // (B, T, V - 2)
    let rows = (0..).zip(targets);
    rows.map(|(row, target)| log_p.get(row).narrow(0, 0, target.len() as i64 + 1)).collect()
}

/// The steps of a row, over the tokens that an output may contain: (T, V - 2)
fn table(steps: &[Vec<f32>]) -> Tensor {
    allowed(&Tensor::from_slice(&steps.concat()).view([steps.len() as i64, -1]))
}

fn assert_forced(steps: &Steps, forced: &[Tensor], tolerance: f64, what: &str) {
    for (row, (steps, forced)) in steps.iter().zip(forced).enumerate() {
        assert!(
            steps.iter().all(|log_p| [PAD, BOS].iter().all(|&id| log_p[id as usize] == f32::NEG_INFINITY))
        );
        let apart = distance(&table(steps), forced);
        assert!(apart <= tolerance, "{what}: row {row} is {apart} away");
    }
}

#[test]
fn a_step_equals_the_full_forward() {
    let _guard = tch::no_grad_guard();
    for (device, case) in devices().into_iter().flat_map(|device| CASES.map(|case| (device, case))) {
        let golden = Golden::read(case);
        let (model, (sources, targets)) = (Model::golden_on(device, &golden), pairs(&golden));
        let stepped = side_by_side(&Inference::new(&model.network, Weights::F32), &sources, &targets);
        let what = format!("{case} on {device:?}");
        assert_forced(&stepped, &forced(&model, &sources, &targets), TOLERANCE, &what);
    }
}

/// With each set of vector instructions, in each number format: head widths that are a multiple of the vector length,
/// and others.
#[test]
fn steps_of_every_head_width_equal_the_full_forward() {
    let _guard = tch::no_grad_guard();
    let (sources, targets) = (vec![vec![4, 5, 6, 7, 8], vec![9]], vec![vec![4, 9, 5], vec![6, 7]]);
    for head_width in 1..=130 {
        let heads = 1 + head_width % 2; // positions want an even width
        let config = TransformerConfig {
            width: head_width * heads,
            heads,
            feed_forward: 5 + head_width % 40,
            encoder_layers: 1,
            decoder_layers: 1,
            ..small()
        };
        let model = Model::new(config, 11, 13, 3);
        let exact = forced(&model, &sources, &targets);
        for vectors in Vectors::here() {
            for (weights, tolerance) in [(Weights::F32, 2e-5), (Weights::Bf16, 0.05), (Weights::Int8, 0.2)] {
                let stepped = vectors
                    .run(|| side_by_side(&Inference::new(&model.network, weights), &sources, &targets));
                let what = format!("head width {head_width}, {weights:?}, {vectors:?}");
                assert_forced(&stepped, &exact, tolerance, &what);
            }
        }
    }
}

#[test]
fn scoring_whole_targets_is_bit_identical_to_the_steps() {
    let _guard = tch::no_grad_guard();
    for case in CASES {
        let golden = Golden::read(case);
        let (model, (sources, targets)) = (Model::golden(&golden), pairs(&golden));
        for weights in [Weights::F32, Weights::Bf16, Weights::Int8] {
            let inference = Inference::new(&model.network, weights);
            let at_once = inference.score(inference.start(&items(&sources)), &slices(&targets)).unwrap();
            let steps = side_by_side(&inference, &sources, &targets);
            for ((at_once, steps), target) in at_once.iter().zip(steps).zip(&targets) {
                let labels = target.iter().copied().chain([EOS]);
                let of_labels: Vec<f32> =
                    steps.iter().zip(labels).map(|(log_p, label)| log_p[label as usize]).collect();
                assert_eq!(*at_once, of_labels, "{case} {weights:?}");
            }
        }
    }
}

/// States of every width, so that gates need not be a multiple of the vector length.
#[test]
fn steps_of_a_recurrent_network_of_every_width_equal_the_full_forward() {
    let _guard = tch::no_grad_guard();
    let (sources, targets) = (vec![vec![4, 5, 6, 7, 8], vec![9]], vec![vec![4, 9, 5], vec![6, 7]]);
    for width in (2..=70).step_by(2) {
        let config = RecurrentConfig { width, ..RecurrentConfig::default() };
        let model = Model::new(config, 11, 13, 3);
        let exact = forced(&model, &sources, &targets);
        for vectors in Vectors::here() {
            for (weights, tolerance) in [(Weights::F32, 2e-5), (Weights::Bf16, 0.1), (Weights::Int8, 0.3)] {
                let stepped = vectors
                    .run(|| side_by_side(&Inference::new(&model.network, weights), &sources, &targets));
                let what = format!("width {width}, {weights:?}, {vectors:?}");
                assert_forced(&stepped, &exact, tolerance, &what);
            }
        }
    }
}

/// Long rows, so that slots are cleared away and grow; the rows that leave make holes in them.
#[test]
fn long_outputs_equal_the_full_forward_for_each_kind_of_positions() {
    let _guard = tch::no_grad_guard();
    for positions in [Positions::Sinusoidal, Positions::Learned, Positions::Rotary, Positions::None] {
        let config = TransformerConfig { positions, max_positions: 700, ..small() };
        let model = Model::new(config, 11, 13, 3);
        let sources: Vec<Vec<i64>> =
            [30, 3, 1, 0].map(|length| (0..length).map(|n| 4 + n % 7).collect()).to_vec();
        let targets: Vec<Vec<i64>> =
            [600, 20, 139, 5].map(|length| (0..length).map(|n| 4 + n * n % 9).collect()).to_vec();
        let stepped = side_by_side(&Inference::new(&model.network, Weights::F32), &sources, &targets);
        assert_forced(&stepped, &forced(&model, &sources, &targets), 2e-5, &format!("{positions:?}"));
    }
}

/// Ids below 7 are letters, in order; ids from 7 are tags: a set.
#[test]
fn sources_of_several_columns_equal_the_full_forward_for_each_kind_of_positions() {
    let _guard = tch::no_grad_guard();
    let parts = |set| SourceShape::Parts([false, set].map(|set| PartShape { size: 6, set }).to_vec().into());
    let sources = vec![vec![8, 7, 4, 5, 4], vec![4, 4], vec![9], vec![4, 7, 5]];
    let targets = vec![vec![4, 9, 5], vec![6, 7], vec![], vec![5]];
    for positions in [Positions::Sinusoidal, Positions::Learned, Positions::Rotary, Positions::None] {
        for set in [false, true] {
            let model =
                Model::new(TransformerConfig { positions, max_positions: 10, ..small() }, parts(set), 13, 3);
            let inference = Inference::new(&model.network, Weights::F32);
            let stepped = side_by_side(&inference, &sources, &targets);
            assert_forced(&stepped, &forced(&model, &sources, &targets), 2e-5, &format!("{positions:?}"));
            // Tags in another order, and between the letters.
            let mixed = vec![vec![7, 4, 5, 8, 4], vec![4, 4], vec![9], vec![7, 4, 5]];
            let again = side_by_side(&inference, &mixed, &targets);
            let apart: Vec<f64> =
                stepped.iter().zip(&again).map(|(one, other)| distance(&table(one), &table(other))).collect();
            let is_same = apart.iter().all(|&apart| apart < 2e-5);
            assert_eq!(is_same, set || positions == Positions::None, "{positions:?}, {set}: {apart:?}");
        }
    }
}

#[test]
fn rows_continue_after_duplication_reordering_and_admission_of_new_rows() {
    let _guard = tch::no_grad_guard();
    for case in ["two_layers", "rotary", "learned", "post_norm", "recurrent"] {
        let golden = Golden::read(case);
        let (model, (sources, targets)) = (Model::golden(&golden), pairs(&golden));
        let inference = Inference::new(&model.network, Weights::F32);
        let alone = side_by_side(&inference, &sources, &targets);
        let mut all = vec![Vec::new(); 5];
        let token = |row: usize, t: usize| if t == 0 { BOS } else { targets[row][t - 1] };
        // Rows 0 and 1 start; row 0 continues twice, as in a beam, before row 1; then row 1 starts once more beside
        // them.
        let state = inference.start(&items(&sources[..2]));
        let state = step(&inference, state, &[token(0, 0), token(1, 0)], &[0, 1], &mut all);
        let state = state.keep(&[0, 1, 0]);
        let tokens = [token(0, 1), token(1, 1), token(0, 1)];
        let state = step(&inference, state, &tokens, &[0, 1, 2], &mut all);
        let state = state.join(inference.start(&items(&sources[1..2])));
        let tokens = [token(0, 2), token(1, 2), token(0, 2), token(1, 0)];
        let state = step(&inference, state, &tokens, &[0, 1, 2, 3], &mut all);
        let state = state.keep(&[3, 2]);
        step(&inference, state, &[token(1, 1), token(0, 3)], &[3, 2], &mut all);
        // All results are bit-identical to those of the rows without all that.
        assert_eq!(all[0], alone[0][..3], "{case}");
        assert_eq!(all[1], alone[1][..3], "{case}");
        assert_eq!(all[2], [alone[0][1].clone(), alone[0][2].clone(), alone[0][3].clone()], "{case}");
        assert_eq!(all[3], alone[1][..2], "{case}");
    }
}

#[test]
fn a_row_is_bit_identical_in_any_batch() {
    let _guard = tch::no_grad_guard();
    let sources: Vec<Vec<i64>> =
        (0..40).map(|row| (0..row % 9).map(|n| 4 + (n * 7 + row) % 46).collect()).collect();
    let targets: Vec<Vec<i64>> =
        (0..40).map(|row| (0..row % 11).map(|n| 4 + (n * 5 + row) % 66).collect()).collect();
    // No row is a multiple of the vector length, so its alignment depends on the rows before it.
    let plain = TransformerConfig { width: 42, heads: 3, feed_forward: 83, ..small() };
    let modern = TransformerConfig { norm: Norm::RmsNorm, positions: Positions::Rotary, ..plain.clone() };
    let transformers = [
        (Activation::Relu, &plain),
        (Activation::Gelu, &plain),
        (Activation::Silu, &plain),
        (Activation::Swiglu, &modern),
    ]
    .map(|(activation, config)| TransformerConfig { activation, ..config.clone() }.into());
    let recurrent =
        RecurrentConfig { width: 42, encoder_layers: 2, decoder_layers: 2, ..RecurrentConfig::default() };
    for config in transformers.into_iter().chain([NetworkConfig::from(recurrent)]) {
        let model = Model::new(config.clone(), 50, 70, 5);
        for weights in [Weights::F32, Weights::Bf16, Weights::Int8] {
            let inference = Inference::new(&model.network, weights);
            let together = side_by_side(&inference, &sources, &targets);
            let shared = side_by_side(&inference.clone(), &sources, &targets);
            assert!(together == shared, "{config:?}, {weights:?}: another handle");
            for size in [1, 2, 7, 33] {
                let apart = sources.chunks(size).zip(targets.chunks(size));
                let apart: Steps = apart.flat_map(|(s, t)| side_by_side(&inference, s, t)).collect();
                assert!(together == apart, "{config:?}, {weights:?}: {size} rows side by side");
            }
        }
    }
}

/// Lists of allowed tokens: bit-identical to the full softmax if all are listed, else a softmax over its own list
/// for each row, whatever tokens the other rows allow.
#[test]
fn a_row_is_restricted_to_its_own_shortlist() {
    let _guard = tch::no_grad_guard();
    let (sources, vocabulary) = (vec![vec![4, 5], vec![6], vec![7, 8, 9], vec![5]], 23);
    let model = Model::new(small(), 11, vocabulary, 5);
    let everything: Arc<[i64]> = (0..vocabulary as i64).collect();
    let lists: Vec<Arc<[i64]>> =
        [&[1, 3, 7, 22][..], &[1, 3], &[1, 3, 4, 5, 6, 8, 20], &[1, 3, 7]].map(Arc::from).to_vec();
    for weights in [Weights::F32, Weights::Bf16, Weights::Int8] {
        let inference = Inference::new(&model.network, weights);
        let within = |rows: &[usize], lists: &[Arc<[i64]>]| {
            let sources: Vec<SourceItem> = rows.iter().map(|&row| sources[row].clone().into()).collect();
            inference.start(&sources).restricted_to(rows.iter().map(|&row| Some(lists[row].clone())))
        };
        let first_step = |state| {
            let mut all = vec![Vec::new(); 4];
            step(&inference, state, &[BOS; 4], &[0, 1, 2, 3], &mut all);
            all.concat()
        };
        let whole = first_step(inference.start(&items(&sources)));
        assert!(whole == first_step(within(&[0, 1, 2, 3], &vec![everything.clone(); 4])), "{weights:?}");
        let together = first_step(within(&[0, 1, 2, 3], &lists));
        let joined = within(&[0, 1], &lists).join(within(&[2, 3], &lists));
        assert!(together == first_step(joined), "{weights:?}: rows that came later");
        for (row, list) in lists.iter().enumerate() {
            let mut alone = vec![Vec::new(); 1];
            step(&inference, within(&[row], &lists), &[BOS], &[0], &mut alone);
            assert!(alone[0][0] == together[row], "{weights:?}: row {row} alone");
            let sum: f32 = list.iter().map(|&token| whole[row][token as usize].exp()).sum();
            for (token, &log_p) in (0..).zip(&together[row]) {
                let expected = whole[row][token as usize] - sum.ln();
                match list.contains(&token) {
                    true => assert!((log_p - expected).abs() < 1e-5, "{weights:?}: row {row}, token {token}"),
                    false => assert_eq!(log_p, f32::NEG_INFINITY),
                }
            }
        }
        let ended = inference.score(within(&[0, 2], &lists), &[&[7, 22], &[4]]).unwrap();
        assert_eq!(ended[0][0], together[0][7]);
        assert_eq!(ended[1][0], together[2][4]);
    }
}

#[test]
fn lower_precision_weights_are_close() {
    let _guard = tch::no_grad_guard();
    let golden = Golden::read("two_layers");
    let (model, (sources, targets)) = (Model::golden(&golden), pairs(&golden));
    let exact = forced(&model, &sources, &targets);
    for (weights, tolerance) in [(Weights::Bf16, 0.05), (Weights::Int8, 0.1)] {
        let stepped = side_by_side(&Inference::new(&model.network, weights), &sources, &targets);
        assert_forced(&stepped, &exact, tolerance, &format!("{weights:?}"));
        assert!(distance(&table(&stepped[0]), &exact[0]) > 0.0, "{weights:?} are not those of f32");
    }
}

#[test]
fn attention_sums_to_one_over_the_rows_source() {
    let _guard = tch::no_grad_guard();
    for case in ["two_layers", "recurrent"] {
        let golden = Golden::read(case);
        let (model, (sources, _)) = (Model::golden(&golden), pairs(&golden));
        sums_to_one(&Inference::new(&model.network, Weights::F32), &sources);
    }
}

fn sums_to_one(inference: &Inference, sources: &[Vec<i64>]) {
    let state = inference.start(&items(sources));
    let plain = inference.step(&vec![BOS; sources.len()], inference.start(&items(sources)), false).unwrap();
    let looked = inference.step(&vec![BOS; sources.len()], state, true).unwrap();
    assert!(plain.attention.is_none() && plain.log_p == looked.log_p);
    let attention = looked.attention.unwrap();
    assert_eq!(attention.len(), sources.len());
    for (row, source) in attention.iter().zip(sources) {
        assert_eq!(row.len(), source.len() + 1, "a share for each position, EOS counted in");
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5 && row.iter().all(|&share| share >= 0.0));
    }
}
