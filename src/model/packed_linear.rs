//! Linear layers for decoding: joined if they have the same input, cast or packed once instead of at every step.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::layers::Linear;
use crate::shim::decoding::{PackedKind, PackedWeights};

/// Number format of a model's matrices for decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// As trained.
    F32,
    /// Rounded to bfloat16: half the memory.
    Bf16,
    /// Rounded to 8 bits, with a scale per output; only on the CPU.
    Int8,
}

impl Weights {
    /// The format for a model trained in the precision `compute`.
    pub(crate) fn of(compute: Kind) -> Weights {
        if compute == Kind::BFloat16 { Weights::Bf16 } else { Weights::F32 }
    }
}

/// Linear layers over the same input, joined.
#[derive(Debug)]
pub(crate) enum PackedLinear {
    /// On the CPU.
    Packed(Arc<PackedWeights>),
    /// On other devices, by libtorch.
    Plain {
        /// (outputs, inputs)
        weight: Tensor,
        /// (outputs)
        bias: Option<Tensor>,
    },
}

impl PackedLinear {
    /// The outputs of `layers` are concatenated.
    pub(crate) fn new(layers: &[&Linear], weights: Weights) -> PackedLinear {
        let _guard = tch::no_grad_guard();
        let joined = |parts: Vec<&Tensor>| (!parts.is_empty()).then(|| Tensor::cat(&parts, 0));
        let weight = joined(layers.iter().map(|layer| layer.weight()).collect()).expect("there is a layer");
        let bias = joined(layers.iter().filter_map(|layer| layer.bias()).collect());
        PackedLinear::of(&weight, bias.as_ref(), weights)
    }

    /// A single layer: its weight, (outputs, inputs), and its bias, (outputs).
    pub(crate) fn of(weight: &Tensor, bias: Option<&Tensor>, weights: Weights) -> PackedLinear {
        if weight.device() == Device::Cpu {
            let kind = match weights {
                Weights::F32 => PackedKind::F32,
                Weights::Bf16 => PackedKind::Bf16,
                Weights::Int8 => PackedKind::Int8,
            };
            return PackedLinear::Packed(Arc::new(PackedWeights::new(weight, bias, kind)));
        }
        let kind = if weights == Weights::F32 { Kind::Float } else { Kind::BFloat16 };
        PackedLinear::Plain { weight: weight.to_kind(kind), bias: bias.map(|bias| bias.to_kind(kind)) }
    }

    /// `x W' + b`, then ReLU if `relu`, then `+ residual`.
    ///
    /// # Shapes
    /// (R, inputs) to (R, outputs); f32
    pub(crate) fn forward(&self, x: &Tensor, relu: bool, residual: Option<&Tensor>) -> Tensor {
        match self {
            PackedLinear::Packed(packed) => packed.linear(x, relu, residual),
            PackedLinear::Plain { weight, bias } => {
                let y = x.to_kind(weight.kind()).linear(weight, bias.as_ref()).to_kind(Kind::Float);
                let y = if relu { y.relu() } else { y };
                residual.map_or(y.shallow_clone(), |residual| residual + y)
            }
        }
    }

    /// The log-softmax over the outputs, row after row.
    ///
    /// # Shapes
    /// (R, inputs) to (R * outputs)
    pub(crate) fn log_probabilities(&self, x: &Tensor) -> Result<Vec<f32>, tch::TchError> {
        match self {
            PackedLinear::Packed(packed) => Ok(packed.log_probabilities(x)),
            PackedLinear::Plain { .. } => {
                Vec::try_from(self.forward(x, false, None).log_softmax(-1, Kind::Float).flatten(0, 1))
            }
        }
    }
}

/// Shares the weights.
impl Clone for PackedLinear {
    fn clone(&self) -> PackedLinear {
        match self {
            PackedLinear::Packed(packed) => PackedLinear::Packed(Arc::clone(packed)),
            PackedLinear::Plain { weight, bias } => PackedLinear::Plain {
                weight: weight.shallow_clone(),
                bias: bias.as_ref().map(Tensor::shallow_clone),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::vectors::Vectors;

    fn random(shape: [i64; 2], seed: i64) -> Tensor {
        // A process-wide generator would race with other tests.
        let count = shape[0] * shape[1];
        let x =
            (Tensor::arange(count, (Kind::Double, Device::Cpu)) * 12.9898 + seed as f64).sin() * 43758.5453;
        ((&x - x.floor()) * 2.0 - 1.0).to_kind(Kind::Float).view(shape)
    }

    fn largest(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn packed_products_equal_plain_ones_in_any_batch() {
        for (outputs, inputs) in [(1, 1), (7, 5), (33, 64), (100, 30), (64, 128)] {
            let (weight, bias) = (random([outputs, inputs], 1), random([1, outputs], 2).view([outputs]));
            let (x, residual) = (random([31, inputs], 3), random([31, outputs], 4));
            let plain = x.linear(&weight, Some(&bias));
            let finished = plain.relu() + &residual;
            for vectors in Vectors::here() {
                for (kind, most) in
                    [(PackedKind::F32, 1e-5), (PackedKind::Bf16, 0.1), (PackedKind::Int8, 0.2)]
                {
                    let packed = vectors.run(|| PackedWeights::new(&weight, Some(&bias), kind));
                    let all = packed.linear(&x, false, None);
                    assert!(largest(&all, &plain) < most, "{kind:?} {vectors:?} {outputs} {inputs}");
                    assert!(largest(&packed.linear(&x, true, Some(&residual)), &finished) < most);
                    for row in [0, 13, 30] {
                        let alone = packed.linear(&x.narrow(0, row, 1), false, None);
                        assert_eq!(largest(&alone, &all.narrow(0, row, 1)), 0.0, "{kind:?} {vectors:?}");
                    }
                    let log_p = Tensor::from_slice(&packed.log_probabilities(&x)).view([31, outputs]);
                    assert!(largest(&log_p, &all.log_softmax(-1, Kind::Float)) < 1e-5);
                }
            }
        }
    }

    #[test]
    fn int8_errors_are_at_most_half_a_step_of_each_scale() {
        // Rows and outputs of very different magnitudes keep their own precision.
        let weight = random([40, 64], 5) * random([40, 1], 6).exp2() * 8.0;
        let x = random([9, 64], 7) * 1e3;
        let exact = x.linear::<&Tensor>(&weight, None);
        let int8 = PackedWeights::new(&weight, None, PackedKind::Int8).linear(&x, false, None);
        let size = |t: &Tensor| t.abs().amax([1], true); // (R, 1)
        let bound = size(&x).matmul(&size(&weight).tr()) * 64.0 / 127.0;
        assert!(((int8 - exact).abs() / bound).max().double_value(&[]) < 0.5);
    }

    #[test]
    fn nan_stays_nan() {
        let (weight, x) = (random([3, 40], 1), random([2, 40], 2));
        let with = |tensor: &Tensor, place: i64, value: f32| {
            let changed = tensor.copy();
            let _ = changed.get(1).get(place).fill_(f64::from(value));
            changed
        };
        for kind in [PackedKind::F32, PackedKind::Bf16, PackedKind::Int8] {
            for (place, value) in [(0, f32::NAN), (39, f32::NAN), (17, f32::INFINITY)] {
                let packed = PackedWeights::new(&weight, None, kind);
                let finite = packed.linear(&with(&x, place, value), false, None).isfinite();
                let rows = Vec::<bool>::try_from(finite.flatten(0, 1)).unwrap();
                assert_eq!(rows, [true, true, true, false, false, false], "{kind:?}: {value} at {place}");
                let packed = PackedWeights::new(&with(&weight, place, value), None, kind);
                let finite = packed.linear(&x, false, None).isfinite();
                let rows = Vec::<bool>::try_from(finite.flatten(0, 1)).unwrap();
                assert_eq!(
                    rows,
                    [true, false, true, true, false, true],
                    "{kind:?}: weight {value} at {place}"
                );
            }
            let none = PackedWeights::new(&weight, None, kind).linear(&with(&x, 5, f32::NAN), true, None);
            assert!(none.get(1).isnan().all().int64_value(&[]) == 1, "{kind:?}: ReLU hides nothing");
        }
    }

    #[test]
    fn rows_too_small_for_a_scale_are_zero_in_int8() {
        let x = Tensor::from_slice(&[1e-40f32, -1e-38, 0.0, 1e-39]).view([1, 4]);
        let y = PackedWeights::new(&random([3, 4], 1), None, PackedKind::Int8).linear(&x, false, None);
        assert_eq!(largest(&y, &Tensor::zeros([1, 3], (Kind::Float, Device::Cpu))), 0.0);
    }
}
