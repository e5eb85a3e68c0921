//! The basic layers: linear, norm, feed-forward, dropout.

use std::cell::Cell;
use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use super::params::VarBuilder;
use super::{Activation, Norm as NormKind, TransformerConfig};
use crate::runtime::seed_for;
use crate::shim;

/// The random numbers of one training pass. A pass without it has no dropout: validation, decoding.
///
/// The n-th draw of a pass is a function of (seed, n), so that a step can be repeated bit for bit.
#[derive(Debug)]
pub struct DropoutRng {
    seed: u64,
    draws: Cell<u64>,
}

impl DropoutRng {
    /// The random numbers of one pass.
    pub fn new(seed: u64) -> DropoutRng {
        DropoutRng { seed, draws: Cell::new(0) }
    }

    /// The seed of the next draw; `None` without dropout.
    fn next_seed(&self, p: f64) -> Option<u64> {
        (p > 0.0).then(|| {
            self.draws.set(self.draws.get() + 1);
            seed_for(self.seed, self.draws.get(), "dropout")
        })
    }
}

/// The context of one pass through the network, the same for all layers.
#[derive(Clone, Copy, Debug)]
pub struct ForwardContext<'a> {
    /// Random numbers for dropout; `None` for no dropout.
    pub dropout_rng: Option<&'a DropoutRng>,
    /// The weights, cast for matrix products.
    pub weights: &'a AutocastWeights,
}

/// Weights of linear layers, cast all at once to the precision of their products, and joined for layers with the same
/// input. Empty if there is nothing to cast.
#[derive(Debug, Default)]
pub struct AutocastWeights {
    /// Weight and bias, by the first layer's number.
    layers: HashMap<usize, (Tensor, Option<Tensor>)>,
}

impl AutocastWeights {
    /// Casts layers, grouped by input.
    pub fn new(groups: &[Vec<&Linear>]) -> AutocastWeights {
        let compute = groups.first().map_or(Kind::Float, |group| group[0].compute);
        if compute == Kind::Float {
            return AutocastWeights::default();
        }
        let all = groups.iter().flat_map(|group| Linear::weights_and_biases(group));
        let all: Vec<Vec<&Tensor>> = all.filter(|tensors| !tensors.is_empty()).collect();
        let mut cast = shim::cast(&all, compute == Kind::BFloat16).into_iter();
        let mut next = || cast.next().expect("a tensor for each group");
        let layers = groups.iter().map(|group| {
            let weight = next();
            (group[0].number, (weight, group[0].bias.is_some().then(&mut next)))
        });
        AutocastWeights { layers: layers.collect() }
    }
}

/// Zeroes a share `p` of the elements and scales the rest by 1 / (1 - p), then adds `residual` if there is one.
///
/// # Shapes
/// any, and the same for `residual`.
pub fn dropout(x: Tensor, residual: Option<&Tensor>, p: f64, rng: Option<&DropoutRng>) -> Tensor {
    let add = |x: Tensor| match residual {
        Some(residual) => residual + x,
        None => x,
    };
    let Some(seed) = rng.and_then(|rng| rng.next_seed(p)) else { return add(x) };
    if x.device() == Device::Cpu {
        return shim::dropout(&x, residual, p, seed);
    }
    // The generator of the device, seeded for this one draw.
    tch::manual_seed(seed as i64);
    add(x.dropout(p, true))
}

/// The epilogue of a layer: `dropout(relu(x))`, or `residual + dropout(x)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Whether to apply ReLU.
    pub relu: bool,
    /// The dropout rate.
    pub dropout: f64,
    /// The residual to add: (..., outputs)
    pub residual: Option<&'a Tensor>,
}

/// y = x W' + b, in the model's precision.
#[derive(Debug)]
pub struct Linear {
    /// Unique within a model.
    number: usize,
    weight: Tensor,
    bias: Option<Tensor>,
    compute: Kind,
}

impl Linear {
    /// Xavier uniform weight, zero bias.
    pub fn new(mut vb: VarBuilder, inputs: i64, outputs: i64, bias: bool) -> Linear {
        let number = vb.next_layer_number();
        let weight = vb.matrix("weight", outputs, inputs);
        let bias = bias.then(|| vb.vector("bias", outputs, 0.0));
        Linear { number, weight, bias, compute: vb.compute() }
    }

    /// A layer over an existing weight, (outputs, inputs), without bias.
    pub fn over(weight: Tensor, compute: Kind) -> Linear {
        Linear { number: usize::MAX, weight, bias: None, compute }
    }

    /// The weight: (outputs, inputs)
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias: (outputs)
    pub(crate) fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The precision of its products.
    pub(crate) fn compute(&self) -> Kind {
        self.compute
    }

    /// Applies the layer.
    ///
    /// # Shapes
    /// (..., inputs) to (..., outputs)
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let cast = |tensor: &Tensor| tensor.to_kind(self.compute);
        linear(&cast(x), &cast(&self.weight), self.bias.as_ref().map(cast).as_ref())
    }

    /// The same with the cast weights of a pass; with the outputs of the layers that it is joined with.
    pub(crate) fn forward_in(&self, x: &Tensor, ctx: ForwardContext) -> Tensor {
        match ctx.weights.layers.get(&self.number) {
            Some((weight, bias)) => linear(&x.to_kind(self.compute), weight, bias.as_ref()),
            None => self.forward(x),
        }
    }

    /// The same with an epilogue. On a CPU in f32 that is one fused pass over the product.
    ///
    /// # Shapes
    /// (..., inputs) to (..., outputs)
    pub(crate) fn forward_with_epilogue(
        &self,
        x: &Tensor,
        epilogue: Epilogue,
        ctx: ForwardContext,
    ) -> Tensor {
        let Epilogue { relu, dropout: p, residual } = epilogue;
        if is_fused(x.device(), self.compute) {
            let dropout = ctx.dropout_rng.and_then(|rng| rng.next_seed(p)).map(|seed| (p, seed));
            let epilogue = shim::Epilogue { relu, dropout, residual };
            return shim::linear(x, &self.weight, self.bias.as_ref(), epilogue);
        }
        let y = self.forward_in(x, ctx);
        dropout(if relu { y.relu() } else { y }, residual, p, ctx.dropout_rng)
    }

    /// Several layers over the same input: one product with concatenated outputs, or one product each.
    ///
    /// # Shapes
    /// (..., inputs) to (..., the sum of the outputs), or to (..., outputs) for each layer
    pub fn side_by_side(layers: &[&Linear], x: &Tensor, ctx: ForwardContext) -> Vec<Tensor> {
        // Joining the weights costs as much as a product with a few rows.
        let rows = x.numel() as i64 / layers[0].weight.size()[1];
        match ctx.weights.layers.get(&layers[0].number) {
            None if rows < MIN_ROWS_TO_JOIN => layers.iter().map(|layer| layer.forward(x)).collect(),
            None => vec![Linear::joined(layers, x)],
            Some(_) => vec![layers[0].forward_in(x, ctx)],
        }
    }

    fn weights_and_biases<'a>(layers: &[&'a Linear]) -> [Vec<&'a Tensor>; 2] {
        let weights = layers.iter().map(|layer| &layer.weight).collect();
        [weights, layers.iter().filter_map(|layer| layer.bias.as_ref()).collect()]
    }

    fn joined(layers: &[&Linear], x: &Tensor) -> Tensor {
        let compute = layers[0].compute;
        let [weights, biases] = Linear::weights_and_biases(layers);
        let bias = (!biases.is_empty()).then(|| Tensor::cat(&biases, 0).to_kind(compute));
        linear(&x.to_kind(compute), &Tensor::cat(&weights, 0).to_kind(compute), bias.as_ref())
    }
}

/// Whether a layer and its epilogue are one node of the graph.
fn is_fused(device: Device, compute: Kind) -> bool {
    device == Device::Cpu && compute == Kind::Float
}

/// x W' + b
fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    match is_fused(x.device(), x.kind()) {
        true => shim::linear(x, weight, bias, shim::Epilogue::default()),
        false => x.linear(weight, bias),
    }
}

/// With fewer rows, layers are not joined.
const MIN_ROWS_TO_JOIN: i64 = 128;

/// LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019), over the last dimension, epsilon 1e-5.
#[derive(Debug)]
pub(crate) struct Norm {
    kind: NormKind,
    weight: Tensor,
    bias: Option<Tensor>,
}

/// Shares the weights.
impl Clone for Norm {
    fn clone(&self) -> Norm {
        let bias = self.bias.as_ref().map(Tensor::shallow_clone);
        Norm { kind: self.kind, weight: self.weight.shallow_clone(), bias }
    }
}

impl Norm {
    /// Weight one, bias zero; RMSNorm has no bias.
    pub(crate) fn new(mut vb: VarBuilder, config: &TransformerConfig) -> Norm {
        let width = config.width as i64;
        let weight = vb.vector("weight", width, 1.0);
        let bias = (config.bias && config.norm == NormKind::LayerNorm).then(|| vb.vector("bias", width, 0.0));
        Norm { kind: config.norm, weight, bias }
    }

    /// Normalises each position.
    ///
    /// # Shapes
    /// (..., D) to (..., D)
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let shape = self.weight.size();
        match self.kind {
            NormKind::LayerNorm => x.layer_norm(&shape, Some(&self.weight), self.bias.as_ref(), 1e-5, true),
            NormKind::RmsNorm => {
                let mean_square = x.square().mean_dim(-1, true, x.kind()); // (..., 1)
                x * (mean_square + 1e-5).rsqrt() * &self.weight
            }
        }
    }
}

/// activation(inner); `swiglu` is silu(gate) * inner. With `decoding` on a CPU, each result depends on its own input
/// alone, bit for bit: libtorch uses one function for whole vectors and another for the remainder. Without gradient.
///
/// # Shapes
/// any, and the same for `gate`
pub(super) fn activate(
    activation: Activation,
    inner: Tensor,
    gate: Option<Tensor>,
    decoding: bool,
) -> Tensor {
    let ours = decoding && inner.device() == Device::Cpu;
    let silu = |x: Tensor| if ours { shim::decoding::silu(&x) } else { x.silu() };
    match (activation, gate) {
        (Activation::Swiglu, Some(gate)) => silu(gate) * inner,
        (Activation::Gelu, _) if ours => shim::decoding::gelu(&inner),
        (Activation::Gelu, _) => inner.gelu("none"),
        (Activation::Silu | Activation::Swiglu, _) => silu(inner),
        (Activation::Relu, _) => inner.relu(),
    }
}

/// outer(activation(inner(x))), with dropout inside; `swiglu` is outer(silu(gate(x)) * inner(x)).
#[derive(Debug)]
pub(crate) struct FeedForward {
    pub(super) activation: Activation,
    pub(super) gate: Option<Linear>,
    pub(super) inner: Linear,
    pub(super) outer: Linear,
    dropout: f64,
    /// What its result is multiplied with.
    pub(super) scale: f64,
}

impl FeedForward {
    /// Two matrices, three for `swiglu`.
    pub(crate) fn new(mut vb: VarBuilder, config: &TransformerConfig) -> FeedForward {
        let (width, inside) = (config.width as i64, config.feed_forward as i64);
        FeedForward {
            activation: config.activation,
            gate: (config.activation == Activation::Swiglu)
                .then(|| Linear::new(vb.sub("gate"), width, inside, config.bias)),
            inner: Linear::new(vb.sub("inner"), width, inside, config.bias),
            outer: Linear::new(vb.sub("outer"), inside, width, config.bias),
            dropout: config.feed_forward_dropout(),
            scale: 1.0,
        }
    }

    /// The same, whose result is multiplied with `scale`.
    pub(super) fn scaled(self, scale: f64) -> FeedForward {
        FeedForward { scale, ..self }
    }

    /// Applied to each position.
    ///
    /// # Shapes
    /// (B, T, D) to (B, T, D)
    pub(crate) fn forward(&self, x: &Tensor, epilogue: Epilogue, ctx: ForwardContext) -> Tensor {
        let active = if self.activation == Activation::Relu {
            let inside = Epilogue { relu: true, dropout: self.dropout, residual: None };
            self.inner.forward_with_epilogue(x, inside, ctx) // (B, T, F)
        } else {
            let gate = self.gate.as_ref().map(|gate| gate.forward_in(x, ctx)); // (B, T, F)
            let active = activate(self.activation, self.inner.forward_in(x, ctx), gate, false);
            dropout(active, None, self.dropout, ctx.dropout_rng) // (B, T, F)
        };
        if self.scale == 1.0 {
            return self.outer.forward_with_epilogue(&active, epilogue, ctx);
        }
        let y = self.outer.forward_in(&active, ctx).to_kind(Kind::Float) * self.scale;
        dropout(y, epilogue.residual, epilogue.dropout, ctx.dropout_rng)
    }

    /// Its layers, grouped by input.
    pub(super) fn groups(&self) -> Vec<Vec<&Linear>> {
        self.gate.iter().chain([&self.inner, &self.outer]).map(|layer| vec![layer]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 4] = [Activation::Relu, Activation::Gelu, Activation::Silu, Activation::Swiglu];

    /// With 1 as the inner value, `swiglu` is just the gate's activation.
    fn of(activation: Activation, x: &Tensor, decoding: bool) -> Tensor {
        match activation {
            Activation::Swiglu => activate(activation, x.ones_like(), Some(x.shallow_clone()), decoding),
            _ => activate(activation, x.shallow_clone(), None, decoding),
        }
    }

    #[test]
    fn activations_in_decoding_equal_training_at_every_position() {
        let x = Tensor::linspace(-110.0, 110.0, 220_013, (Kind::Float, Device::Cpu));
        for activation in ALL {
            let (ours, exact) = (of(activation, &x, true), of(activation, &x.to_kind(Kind::Double), false));
            let error = (&ours - exact) / x.abs().clamp_min(1.0);
            assert!(error.abs().max().double_value(&[]) < 3e-7, "{activation:?}");
            for (start, length) in [(110_000, 1), (100_003, 17), (7, 220_006)] {
                let alone = of(activation, &x.narrow(0, start, length), true);
                assert!(alone.equal(&ours.narrow(0, start, length)), "{activation:?}: {length} numbers");
            }
        }
    }

    #[test]
    fn the_activation_of_nan_is_nan() {
        let x = Tensor::from_slice(&[f32::NAN; 19]);
        for activation in ALL {
            for decoding in [false, true] {
                assert!(of(activation, &x, decoding).isnan().all().int64_value(&[]) == 1, "{activation:?}");
            }
        }
    }
}
