//! The same numbers as PyTorch 2.11: tests/golden/make_golden.py names the modules that computed them.

use seqloom::data::batch::Batch;
use seqloom::data::vocabulary::{BOS, EOS, PAD};
use seqloom::model::layers::Linear;
use seqloom::model::network::Predictions;
use seqloom::model::params::Params;
use seqloom::training::loss::cross_entropy;
use seqloom::training::optimizer::Optimizer;
use seqloom::training::{AdamWConfig, TrainingConfig};
use tch::{Device, IndexOp, Kind, Tensor};

use super::{CASES, Model, batch, rows, set};
use crate::support::{Golden, assert_close, assert_same, devices};

/// float32 itself differs from float64 by up to 3.5e-6 in these files; make_golden.py prints by how much.
const TOLERANCE: f64 = 1e-5;

/// A golden file's three rows of tokens, collated again by seqloom.
fn golden_batch(golden: &Golden) -> Batch {
    let sources = rows(golden.get("source"), &[PAD, EOS]);
    batch(&sources, &rows(golden.get("target_in"), &[PAD, BOS]))
}

#[test]
fn a_batch_equals_pytorchs_input() {
    for case in CASES {
        let golden = Golden::read(case);
        let batch = golden_batch(&golden);
        assert_same(&batch.source.values, golden.get("source"), case);
        assert_same(&batch.target_in, golden.get("target_in"), case);
        let labels = golden.get("labels").flatten(0, 1); // (B * T)
        assert_same(&batch.labels, &labels.masked_select(&labels.ne(PAD)), case);
        assert_same(&batch.labels, &labels.index_select(0, &batch.label_positions), case);
    }
}

#[test]
fn logits_equal_pytorchs() {
    for (device, case) in everywhere() {
        let golden = Golden::read(case);
        let batch = golden_batch(&golden).to_device(device);
        let logits = Model::golden_on(device, &golden).logits(&batch.source, &batch.target_in, None);
        assert_close(&logits, golden.get("logits"), TOLERANCE, &format!("{case} on {device:?}"));
    }
}

/// Every case on every device.
fn everywhere() -> impl Iterator<Item = (Device, &'static str)> {
    devices().into_iter().flat_map(|device| CASES.map(|case| (device, case)))
}

#[test]
fn losses_and_all_gradients_equal_pytorchs() {
    for (device, case) in everywhere() {
        let golden = Golden::read(case);
        let (model, batch) = (Model::golden_on(device, &golden), golden_batch(&golden).to_device(device));
        let case = &format!("{case} on {device:?}");
        let memory = model.network.encode(&batch.source, None);
        let predictions = model.network.decode(&batch.target_in, &memory, None).at(&batch.label_positions);
        let loss = cross_entropy(&predictions, &batch.labels, 0.1);
        let tokens = batch.target_tokens() as f64;
        assert_close(&(&loss.total / tokens), golden.get("loss"), 1e-6, case);
        assert_close(&(&loss.nll / tokens), golden.get("nll"), 1e-6, case);
        (loss.total / tokens).backward();
        for (name, gradient) in golden.under("gradients/") {
            let ours = model.params.get(name).unwrap().grad();
            assert!(ours.defined(), "{case}: {name} has no gradient");
            assert_close(&ours, gradient, TOLERANCE, &format!("{case}: gradient of {name}"));
        }
    }
}

#[test]
fn cross_entropy_equals_pytorchs_for_every_smoothing() {
    let golden = Golden::read("loss");
    let labels = golden.get("loss/labels").flatten(0, 1); // (B * T)
    let places = labels.ne(PAD).nonzero().squeeze_dim(1); // (N)
    for smoothing in ["0.0", "0.1", "0.3"] {
        let logits = golden.get("loss/logits").copy().set_requires_grad(true);
        let real = logits.flatten(0, 1).index_select(0, &places); // (N, V)
        let labels = labels.index_select(0, &places);
        // An output layer that changes nothing, so that its input are the logits.
        let output = Linear::over(Tensor::eye(real.size()[1], (Kind::Float, Device::Cpu)), Kind::Float);
        let predictions = Predictions::Hidden { hidden: real, output: &output };
        let loss = cross_entropy(&predictions, &labels, smoothing.parse().unwrap());
        let mean = loss.total / places.size()[0] as f64;
        assert_close(&mean, golden.get(&format!("loss/value_{smoothing}")), 1e-6, smoothing);
        mean.backward();
        let gradient = golden.get(&format!("loss/gradient_{smoothing}"));
        assert_close(&logits.grad(), gradient, 1e-7, &format!("gradient at {smoothing}"));
        let nll = loss.nll / places.size()[0] as f64;
        assert_close(&nll, golden.get("loss/value_0.0"), 1e-6, "nll is the loss without smoothing");
    }
}

#[test]
fn ten_steps_of_adamw_equal_pytorchs() {
    devices().into_iter().for_each(ten_steps_of_adamw);
}

fn ten_steps_of_adamw(device: Device) {
    let golden = Golden::read("adamw");
    let config = AdamWConfig {
        beta1: golden.number("beta1"),
        beta2: golden.number("beta2"),
        epsilon: golden.number("epsilon"),
        weight_decay: golden.number("weight_decay"),
        ..AdamWConfig::default()
    };
    let params = adamw_params(device, &golden);
    let config = TrainingConfig { adamw: Some(config), ..TrainingConfig::default() };
    let mut optimizer = Optimizer::new(&config, &params).unwrap();
    let rates = Vec::<f64>::try_from(golden.get("adamw/learning_rate")).unwrap();
    for (step, rate) in rates.into_iter().enumerate() {
        let at = |what: &str, name: &str| golden.get(&format!("adamw/{what}/{name}")).i(step as i64);
        params.clear_gradients();
        for param in params.iter() {
            // The gradient of sum(g * w) is g.
            (at("gradient", &param.name).to_device(device) * &param.tensor).sum(Kind::Float).backward();
        }
        optimizer.step(&params, rate).unwrap();
        for param in params.iter() {
            let what = format!("{} after step {} on {device:?}", param.name, step + 1);
            assert_close(&param.tensor, &at("after", &param.name), 1e-6, &what);
        }
    }
}

/// Two matrices that decay and a bias that does not.
fn adamw_params(device: Device, golden: &Golden) -> Params {
    let mut params = Params::new(device, 1);
    let mut root = params.root();
    let _ = root.sub("matrix").matrix("weight", 3, 4);
    let _ = root.sub("tensor").matrix("weight", 5, 2);
    let _ = root.sub("vector").vector("bias", 5, 0.0);
    for param in params.iter() {
        let initial: &Tensor = golden.get(&format!("adamw/initial/{}", param.name));
        set(&param.tensor, initial);
    }
    params
}
