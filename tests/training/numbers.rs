//! The fused kernels compared with the formulas.

use seqloom::data::vocabulary::{BOS, EOS, PAD, UNK};
use seqloom::model::TransformerConfig;
use seqloom::model::attention::{Attention, Mask, Padding};
use seqloom::model::layers::{AutocastWeights, DropoutRng, Epilogue, ForwardContext, Linear};
use seqloom::model::network::Predictions;
use seqloom::model::params::Params;
use seqloom::runtime::threads;
use seqloom::shim;
use seqloom::training::loss::{cross_entropy, divergence};
use seqloom::training::optimizer::Optimizer;
use seqloom::training::{AdamConfig, AdamWConfig, GroupConfig, SgdConfig, TrainingConfig};
use tch::{Device, Kind, Tensor};

use crate::support::{assert_close, assert_same, distance};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Numbers that look random and are the same each time.
fn noise(shape: &[i64], seed: u64) -> Tensor {
    let count: i64 = shape.iter().product();
    let places = Tensor::arange(count, (Kind::Double, Device::Cpu)) + seed as f64 * 17.0;
    ((places * 12.9898).sin() * 43758.547).frac().to_kind(Kind::Float).view(shape)
}

fn params() -> Params {
    let mut params = Params::new(Device::Cpu, 1);
    let mut root = params.root();
    let _ = root.sub("first").matrix("weight", 6, 4);
    let _ = root.sub("second").matrix("weight", 3, 5);
    let _ = root.sub("second").vector("bias", 3, 0.5);
    params
}

/// A step of the reference optimizer: weight, gradient, state, step from 1, weight decay; returns the new weight.
type Plain = fn(&Tensor, &Tensor, &mut Vec<Tensor>, i32, f64) -> Tensor;

/// Compares ten fused steps with the formula, weight by weight.
fn assert_steps(config: &TrainingConfig, decay: f64, plain: Plain) {
    let params = params();
    let mut optimizer = Optimizer::new(config, &params).unwrap();
    let mut weights: Vec<Tensor> = params.iter().map(|param| param.tensor.detach().copy()).collect();
    let mut states: Vec<Vec<Tensor>> =
        weights.iter().map(|weight| vec![weight.zeros_like(), weight.zeros_like()]).collect();
    for step in 1..=10 {
        params.clear_gradients();
        for (n, param) in params.iter().enumerate() {
            let gradient = noise(&param.tensor.size(), step as u64 * 10 + n as u64);
            (&param.tensor * &gradient).sum(Kind::Float).backward();
            let decay = if param.weight_decay { decay } else { 0.0 };
            weights[n] = plain(&weights[n], &gradient, &mut states[n], step, decay);
        }
        optimizer.step(&params, 0.01).unwrap();
        for (param, plain) in params.iter().zip(&weights) {
            assert_close(&param.tensor, plain, 1e-6, &format!("{} after step {step}", param.name));
        }
    }
}

/// The update of Adam and AdamW, with betas 0.9 and 0.98 and epsilon 1e-8.
fn adam_move(gradient: &Tensor, state: &mut [Tensor], step: i32) -> Tensor {
    state[0] = &state[0] * 0.9 + gradient * 0.1;
    state[1] = &state[1] * 0.98 + gradient * gradient * 0.02;
    let (first, second) = (&state[0] / (1.0 - 0.9f64.powi(step)), &state[1] / (1.0 - 0.98f64.powi(step)));
    first / (second.sqrt() + 1e-8) * 0.01
}

fn predictions<'n>(hidden: &Tensor, output: &'n Linear) -> Predictions<'n> {
    Predictions::Hidden { hidden: hidden.shallow_clone(), output }
}

#[test]
fn fused_adamw_equals_the_formula() {
    let adamw = AdamWConfig { weight_decay: 0.3, ..AdamWConfig::default() };
    let config = TrainingConfig { adamw: Some(adamw), ..TrainingConfig::default() };
    assert_steps(&config, 0.3, |weight, gradient, state, step, decay| {
        weight * (1.0 - 0.01 * decay) - adam_move(gradient, state, step)
    });
}

#[test]
fn fused_adam_equals_the_formula() {
    let adam = AdamConfig { weight_decay: 0.3, ..AdamConfig::default() };
    let config = TrainingConfig { adam: Some(adam), ..TrainingConfig::default() };
    assert_steps(&config, 0.3, |weight, gradient, state, step, decay| {
        weight - adam_move(&(gradient + weight * decay), state, step)
    });
}

#[test]
fn fused_sgd_equals_the_formula_with_and_without_nesterov() {
    let sgd = SgdConfig { weight_decay: 0.3, ..SgdConfig::default() };
    let config = TrainingConfig { sgd: Some(sgd.clone()), ..TrainingConfig::default() };
    assert_steps(&config, 0.3, |weight, gradient, state, _, decay| {
        state[0] = &state[0] * 0.9 + (gradient + weight * decay);
        weight - &state[0] * 0.01
    });
    let config =
        TrainingConfig { sgd: Some(SgdConfig { nesterov: true, ..sgd }), ..TrainingConfig::default() };
    assert_steps(&config, 0.3, |weight, gradient, state, _, decay| {
        let gradient = gradient + weight * decay;
        state[0] = &state[0] * 0.9 + &gradient;
        weight - (gradient + &state[0] * 0.9) * 0.01
    });
}

#[test]
fn a_group_has_its_own_learning_rate_and_weight_decay() {
    let group = |weights: &str, learning_rate_factor, weight_decay| GroupConfig {
        weights: weights.into(),
        learning_rate_factor,
        weight_decay,
    };
    let sgd = SgdConfig { momentum: 0.0, weight_decay: 0.5, ..SgdConfig::default() };
    let groups = vec![group("second.b*", 1.0, Some(0.25)), group("second.*", 0.1, None)];
    let config = TrainingConfig { sgd: Some(sgd), groups, ..TrainingConfig::default() };
    let params = params();
    let before: Vec<Tensor> = params.iter().map(|param| param.tensor.detach().copy()).collect();
    for param in params.iter() {
        param.tensor.sum(Kind::Float).backward(); // a gradient of ones
    }
    Optimizer::new(&config, &params).unwrap().step(&params, 0.01).unwrap();
    for ((param, before), (rate, decay)) in
        params.iter().zip(&before).zip([(0.01, 0.5), (0.001, 0.5), (0.01, 0.25)])
    {
        let expected = before - (before * decay + 1.0) * rate;
        assert_close(&param.tensor, &expected, 1e-7, &param.name);
    }
    let config = TrainingConfig { groups: vec![group("third.*", 1.0, None)], ..TrainingConfig::default() };
    let error = Optimizer::new(&config, &params).unwrap_err();
    assert!(error.message().contains("`training.groups[0].weights` must match"), "{error}");
}

/// More rows than one block.
#[test]
fn the_loss_in_pieces_equals_the_loss_in_one() {
    let (rows, width, vocabulary) = (1300, 8, 37);
    let leaf = |tensor: Tensor| tensor.set_requires_grad(true);
    let hidden = leaf(noise(&[rows, width], 1) * 3.0);
    let weight = leaf(noise(&[vocabulary, width], 2));
    let columns: Vec<i64> = (0..vocabulary).filter(|id| ![PAD, BOS].contains(id)).collect();
    let columns = Tensor::from_slice(&columns);
    let places = (noise(&[rows], 3).abs() * (vocabulary - 2) as f64).to_kind(Kind::Int64);
    let labels = columns.index_select(0, &places);
    for smoothing in [0.0, 0.1] {
        let logits = hidden.linear::<&Tensor>(&weight, None).to_kind(Kind::Double);
        let log_p = logits.index_select(1, &columns).log_softmax(-1, Kind::Double); // the tokens that an output may contain
        let nll = -log_p.gather(1, &places.unsqueeze(1), false).sum(Kind::Double);
        let uniform = -log_p.sum(Kind::Double) / (vocabulary - 2) as f64;
        let plain = &nll * (1.0 - smoothing) + uniform * smoothing;
        let [to_hidden, to_weight] = [&hidden, &weight]
            .map(|leaf| Tensor::run_backward(&[&plain * 0.5], &[leaf], true, false).remove(0));
        let output = Linear::over(weight.shallow_clone(), Kind::Float);
        let loss = cross_entropy(&predictions(&hidden, &output), &labels, smoothing);
        assert_close(&(&loss.total / &plain), &Tensor::ones([], FLOAT), 1e-6, "smoothed loss");
        assert_close(&(&loss.nll / &nll), &Tensor::ones([], FLOAT), 1e-6, "nll");
        assert_same(&loss.correct, &log_p.argmax(-1, false).eq_tensor(&places).sum(Kind::Double), "correct");
        let ours = Tensor::run_backward(&[&loss.total * 0.5], &[&hidden, &weight], false, false);
        assert_close(&ours[0], &to_hidden, 1e-6, "gradient of hidden");
        assert_close(&(&ours[1] / rows), &(to_weight / rows), 1e-7, "gradient of the weight");
    }
}

#[test]
fn a_loss_in_bf16_is_close_to_that_in_f32_and_its_gradients_are_f32() {
    let hidden = noise(&[40, 16], 1).set_requires_grad(true);
    let weight = noise(&[30, 16], 2).set_requires_grad(true);
    let labels = (noise(&[40], 3).abs() * 27.0).to_kind(Kind::Int64) + EOS;
    let run = |compute| {
        let output = Linear::over(weight.shallow_clone(), compute);
        let loss = cross_entropy(&predictions(&hidden, &output), &labels, 0.1);
        let gradients = Tensor::run_backward(&[&loss.total], &[&hidden, &weight], false, false);
        (loss.total.double_value(&[]), gradients)
    };
    let ((exact, exact_gradients), (rough, rough_gradients)) = (run(Kind::Float), run(Kind::BFloat16));
    assert!(exact != rough && (rough / exact - 1.0).abs() < 1e-2, "{exact} and {rough}");
    for (exact, rough) in exact_gradients.iter().zip(&rough_gradients) {
        assert_eq!(rough.kind(), Kind::Float);
        assert_close(rough, exact, 0.1, "gradient");
    }
}

#[test]
fn dropout_drops_its_share_scales_the_rest_and_has_the_gradient_of_its_mask() {
    let x = (noise(&[300, 70], 1) + 2.0).set_requires_grad(true);
    for p in [0.1, 0.5] {
        let y = shim::dropout(&x, None, p, 7);
        let kept = y.ne(0.0).to_kind(Kind::Float);
        let share = 1.0 - kept.mean(Kind::Double).double_value(&[]);
        assert!((share - p).abs() < 0.01, "{share} of {p}");
        assert_close(&y, &(&x * &kept / (1.0 - p)), 1e-4, "what is kept");
        let gradient = Tensor::run_backward(&[y.sum(Kind::Float)], &[&x], false, false).remove(0);
        assert_close(&gradient, &(&kept / (1.0 - p)), 1e-4, "gradient");
        let with_residual = shim::dropout(&x, Some(&x), p, 7);
        assert_close(&with_residual, &(&x + &y), 1e-6, "residual");
        let half = shim::dropout(&x.to_kind(Kind::BFloat16), Some(&x), p, 7);
        assert_close(&half, &with_residual, 0.05, "bf16");
        let other = shim::dropout(&x, None, p, 8).ne(0.0).to_kind(Kind::Float);
        assert!(distance(&other, &kept) > 0.5, "another seed is another mask");
    }
}

#[test]
fn dropout_is_the_same_for_any_number_of_threads() {
    let x = noise(&[2000, 100], 1);
    let [one, two] = [1, 2].map(|count| {
        threads::set(count).unwrap();
        let x = x.shallow_clone();
        threads::on_all(move || shim::dropout(&x, None, 0.3, 5))
    });
    threads::set(1).unwrap();
    assert_same(&one, &two, "one and two threads");
}

/// A share so small that nothing is dropped: explicit attention equals the fused one.
#[test]
fn attention_with_dropout_is_the_fused_one_when_nothing_is_dropped() {
    let mut params = Params::new(Device::Cpu, 1);
    let config =
        TransformerConfig { width: 16, heads: 2, attention_dropout: 1e-9, ..TransformerConfig::default() };
    let attention = Attention::new(params.root(), &config);
    let cast = AutocastWeights::default();
    let exact = ForwardContext { dropout_rng: None, weights: &cast };
    // The softmax of longer rows is not stored.
    for positions in [5, 300] {
        let parts = attention.project(&noise(&[3, positions, 16], 1), None, exact);
        let padding = Padding::of(&[positions, 2, 3], Kind::Float, Device::Cpu);
        for mask in [Mask::Open, Mask::Causal, Mask::padding(&padding)] {
            let passed = |pass| attention.forward(&parts, mask, Epilogue::default(), pass);
            let fused = passed(exact);
            let written_out =
                passed(ForwardContext { dropout_rng: Some(&DropoutRng::new(3)), weights: &cast });
            assert_close(&written_out, &fused, 1e-6, &format!("{positions} positions, {mask:?}"));
        }
    }
}

#[test]
fn parallel_layers_equal_each_layer_alone_with_gradients() {
    for (kind, tolerance) in [(Kind::Float, 1e-6), (Kind::BFloat16, 0.0)] {
        let mut params = Params::new(Device::Cpu, 1).with_compute_kind(kind);
        let mut root = params.root();
        let one = Linear::new(root.sub("one"), 8, 6, true);
        let two = Linear::new(root.sub("two"), 8, 4, true);
        let cast = AutocastWeights::new(&[vec![&one, &two]]);
        let pass = ForwardContext { dropout_rng: None, weights: &cast };
        let loss = |y: &Tensor| (y.to_kind(Kind::Float) * noise(&y.size(), 2)).sum(Kind::Float);
        let gradients = |y: Tensor| {
            params.clear_gradients();
            loss(&y).backward();
            params.iter().map(|param| param.tensor.grad()).collect::<Vec<_>>()
        };
        for rows in [3, 400] {
            let x = noise(&[rows, 2, 8], 1);
            let together = || Tensor::cat(&Linear::side_by_side(&[&one, &two], &x, pass), -1);
            let apart = || Tensor::cat(&[one.forward(&x), two.forward(&x)], -1);
            assert_close(&together(), &apart(), tolerance, "what they give");
            for (ours, theirs) in gradients(together()).iter().zip(&gradients(apart())) {
                assert_eq!(ours.kind(), Kind::Float);
                assert_close(ours, theirs, tolerance * 100.0, "a gradient");
            }
        }
    }
}

#[test]
fn the_divergence_of_two_passes_is_that_of_both_directions() {
    let (one, other) = (noise(&[7, 6], 1), noise(&[7, 6], 2));
    let allowed = Tensor::from_slice(&[UNK, EOS, 4, 5]);
    let [p, q] = [&one, &other].map(|logits| logits.index_select(1, &allowed).softmax(-1, Kind::Double));
    let plain = (&p * (&p / &q).log()).sum(Kind::Double) + (&q * (&q / &p).log()).sum(Kind::Double);
    assert_close(&divergence(&one, &other), &plain, 1e-6, "divergence");
    assert_close(&divergence(&one, &one), &Tensor::zeros([], FLOAT), 0.0, "of itself");
}
