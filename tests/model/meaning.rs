//! Properties for any weights: the future is masked, padding and other rows change nothing, and a pass without dropout
//! is exact. The weights are those of the golden files, so that none is zero.

use std::slice::from_ref;

use seqloom::data::batch::Batch;
use seqloom::model::layers::{DropoutRng, dropout};
use seqloom::model::{Activation, NetworkConfig, NormPlace, RecurrentConfig, TransformerConfig};
use tch::{Device, IndexOp, Kind, Tensor};

use super::{CASES, Model, batch, pairs, small};
use crate::support::{Golden, assert_close, assert_same, distance};

const TOLERANCE: f64 = 1e-5;

fn real_logits(model: &Model, batch: &Batch) -> Tensor {
    let logits = model.logits(&batch.source, &batch.target_in, None);
    logits.flatten(0, 1).index_select(0, &batch.label_positions) // (N, V)
}

#[test]
fn a_future_token_changes_nothing_before_it() {
    for case in CASES {
        let golden = Golden::read(case);
        let (model, (sources, targets)) = (Model::golden(&golden), pairs(&golden));
        let batch = batch(&sources, &targets);
        let memory = model.network.encode(&batch.source, None);
        let before = model.network.decode(&batch.target_in, &memory, None).logits(); // (B, T, V)
        for t in 1..batch.target_in.size()[1] {
            let changed = batch.target_in.copy();
            let _ = changed.i((.., t)).fill_(12);
            let after = model.network.decode(&changed, &memory, None).logits();
            let past = |x: &Tensor| x.narrow(1, 0, t);
            assert_same(&past(&before), &past(&after), &format!("{case}: before token {t}"));
            assert!(distance(&before.i((.., t)), &after.i((.., t))) > 1e-3, "{case}: token {t} is not seen");
        }
    }
}

#[test]
fn padding_and_other_rows_change_nothing() {
    for case in CASES {
        let golden = Golden::read(case);
        let (model, (sources, targets)) = (Model::golden(&golden), pairs(&golden));
        let together = real_logits(&model, &batch(&sources, &targets));
        let alone: Vec<Tensor> = sources
            .iter()
            .zip(&targets)
            .map(|(source, target)| real_logits(&model, &batch(from_ref(source), from_ref(target))))
            .collect();
        assert_close(&together, &Tensor::cat(&alone, 0), TOLERANCE, &format!("{case}: alone"));

        let mut longer = (sources.clone(), targets.clone());
        longer.0.push(vec![4; 12]);
        longer.1.push(vec![5; 11]);
        let padded = real_logits(&model, &batch(&longer.0, &longer.1));
        let padded = padded.narrow(0, 0, together.size()[0]);
        assert_close(&together, &padded, TOLERANCE, &format!("{case}: beside a longer row"));
    }
}

#[test]
fn the_order_of_a_batch_changes_nothing() {
    for case in CASES {
        let golden = Golden::read(case);
        let (model, (mut sources, mut targets)) = (Model::golden(&golden), pairs(&golden));
        let batch_before = batch(&sources, &targets);
        let before = model.logits(&batch_before.source, &batch_before.target_in, None);
        sources.reverse();
        targets.reverse();
        let batch_after = batch(&sources, &targets);
        let after = model.logits(&batch_after.source, &batch_after.target_in, None);
        assert_close(&before, &after.flip([0]), TOLERANCE, case);
    }
}

#[test]
fn a_pass_without_dropout_is_exact_and_one_with_dropout_depends_on_its_seed() {
    let noisy_config =
        |norm_place, activation| TransformerConfig { dropout: 0.3, norm_place, activation, ..small() };
    let recurrent = |dropout| RecurrentConfig { width: 16, dropout, ..RecurrentConfig::default() };
    let transformers = [
        noisy_config(NormPlace::Pre, Activation::Relu),
        noisy_config(NormPlace::Post, Activation::Gelu),
        noisy_config(NormPlace::Pre, Activation::Swiglu),
    ];
    let transformers = transformers.map(|config| {
        let still = TransformerConfig { dropout: 0.0, ..config.clone() };
        [NetworkConfig::from(config), still.into()]
    });
    let variants = transformers.into_iter().chain([[recurrent(0.3).into(), recurrent(0.0).into()]]);
    for [config, still] in variants {
        let model = Model::new(config, 11, 13, 4);
        let batch = batch(&[vec![4, 5, 6], vec![7]], &[vec![8, 9], vec![10, 11, 12]]);
        let pass = |noise: Option<DropoutRng>| model.logits(&batch.source, &batch.target_in, noise.as_ref());
        let exact = pass(None);
        assert_same(&exact, &pass(None), "two passes without noise");
        let noisy = pass(Some(DropoutRng::new(7)));
        assert_same(&noisy, &pass(Some(DropoutRng::new(7))), "two passes with the same noise");
        assert!(distance(&noisy, &exact) > 1e-2, "dropout is off although there is noise");
        assert!(
            distance(&noisy, &pass(Some(DropoutRng::new(8)))) > 1e-2,
            "another seed drops the same elements"
        );
        let still = Model::new(still, 11, 13, 4);
        let undropped = still.logits(&batch.source, &batch.target_in, Some(&DropoutRng::new(7)));
        assert_same(&exact, &undropped, "a dropout of 0 and no noise");
    }
}

#[test]
fn dropout_drops_its_share_and_scales_the_rest() {
    let (p, count) = (0.25, 200_000i64);
    let y = dropout(ones([count]), None, p, Some(&DropoutRng::new(5)));
    let kept = y.ne(0.0);
    let share = kept.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    // Five standard deviations of the mean of `count` coins.
    assert!((share - (1.0 - p)).abs() < 5.0 * (p * (1.0 - p) / count as f64).sqrt(), "kept {share}");
    let scaled = y.masked_select(&kept);
    assert_close(&scaled, &scaled.full_like(1.0 / (1.0 - p)), 1e-6, "what is kept");
}

#[test]
fn the_gradient_of_dropout_goes_where_the_values_went() {
    let slope = Tensor::arange(600, (Kind::Float, Device::Cpu)).view([20, 30]);
    for with_residual in [false, true] {
        let x = ones([20, 30]).set_requires_grad(true);
        let residual = Tensor::full([20, 30], 10.0, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let y =
            dropout(x.shallow_clone(), with_residual.then_some(&residual), 0.25, Some(&DropoutRng::new(5)));
        (&y * &slope).sum(Kind::Float).backward();
        // x is one everywhere, so the result of dropout is also its derivative.
        let derivative = if with_residual { y.detach() - 10.0 } else { y.detach() };
        assert_close(&x.grad(), &(derivative * &slope), 1e-3, "the gradient");
        if with_residual {
            assert_same(&residual.grad(), &slope, "the residual's gradient");
        }
    }
}

fn ones<const N: usize>(shape: [i64; N]) -> Tensor {
    Tensor::ones(shape, (Kind::Float, Device::Cpu))
}
