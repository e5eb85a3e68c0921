//! The gated recurrent unit (Cho et al. 2014), in the form of PyTorch and cuDNN: over padded sequences for training,
//! and over concatenated sequences for decoding.
//!
//! Both of its layers return the gates reset, update and candidate, concatenated: (3 H). `r = sigmoid(x_r + h_r)`, `z =
//! sigmoid(x_z + h_z)`, `n = tanh(x_n + r * h_n)`, and the next state is `(1 - z) * n + z * h`.

use tch::{Device, Kind, Tensor};

use super::super::layers::{ForwardContext, Linear};
use super::super::packed_linear::{PackedLinear, Weights};
use super::super::params::VarBuilder;
use crate::shim;

/// One direction of one layer.
#[derive(Debug)]
pub(crate) struct Gru {
    /// Of the inputs: (inputs) to (3 H)
    pub input: Linear,
    /// Of the state: (H) to (3 H)
    pub hidden: Linear,
}

impl Gru {
    /// Adds two matrices and two biases.
    pub(crate) fn new(mut vb: VarBuilder, inputs: usize, width: usize) -> Gru {
        let gates = 3 * width as i64;
        Gru {
            input: Linear::new(vb.sub("input"), inputs as i64, gates, true),
            hidden: Linear::new(vb.sub("hidden"), width as i64, gates, true),
        }
    }

    /// The states after each step. Padding after the end of a row changes nothing before it.
    ///
    /// # Shapes
    /// gates: (B, T, 3 H), from its input layer; first: (B, H); out: (B, T, H) f32
    pub(crate) fn forward(&self, gates: &Tensor, first: &Tensor, ctx: ForwardContext) -> Tensor {
        let gates = gates.to_kind(Kind::Float).transpose(0, 1).contiguous(); // (T, B, 3 H)
        let is_fused = gates.device() == Device::Cpu && self.hidden.compute() == Kind::Float;
        let states = match self.hidden.bias().filter(|_| is_fused) {
            Some(bias) => shim::gru(&gates, first, self.hidden.weight(), bias), // (T, B, H)
            None => self.step_by_step(&gates, first, ctx),
        };
        states.transpose(0, 1) // (B, T, H)
    }

    /// The same by libtorch's functions, in any precision and on any device.
    fn step_by_step(&self, gates: &Tensor, first: &Tensor, ctx: ForwardContext) -> Tensor {
        let mut state = first.shallow_clone();
        let mut states = Vec::new();
        // The gradient of `unbind` is one stack; that of selecting each step would have the full size for each of them.
        for gates in gates.unbind(0) {
            state = next_state(&gates, &self.hidden.forward_in(&state, ctx).to_kind(Kind::Float), &state);
            states.push(state.shallow_clone());
        }
        Tensor::stack(&states, 0) // (T, B, H)
    }

    /// Its layers, grouped by input.
    pub(crate) fn groups(&self) -> Vec<Vec<&Linear>> {
        vec![vec![&self.input], vec![&self.hidden]]
    }
}

/// One step, by libtorch's functions.
///
/// # Shapes
/// input, hidden: (R, 3 H); state and out: (R, H)
fn next_state(input: &Tensor, hidden: &Tensor, state: &Tensor) -> Tensor {
    let (input, hidden) = (input.chunk(3, -1), hidden.chunk(3, -1));
    let reset = (&input[0] + &hidden[0]).sigmoid(); // (R, H)
    let update = (&input[1] + &hidden[1]).sigmoid(); // (R, H)
    let candidate = (&input[2] + reset * &hidden[2]).tanh(); // (R, H)
    &candidate + update * (state - &candidate)
}

/// The direction of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the first position to the last.
    Forward,
    /// From the last position to the first.
    Backward,
}

/// Concatenated sequences without padding, ordered for a recurrent layer: longest first, so that the active sequences
/// are always the first ones.
#[derive(Debug)]
pub(crate) struct Sequences {
    /// The start of each, longest first.
    starts: Vec<i64>,
    /// The length of each, longest first.
    lengths: Vec<i64>,
    /// The original number of each.
    order: Vec<i64>,
}

impl Sequences {
    /// Sequences of these lengths, at least 1 each.
    pub(crate) fn new(lengths: &[i64]) -> Sequences {
        let mut start = 0;
        let begins = lengths.iter().map(|length| {
            start += length;
            start - length
        });
        let begins: Vec<i64> = begins.collect();
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&n| std::cmp::Reverse(lengths[n]));
        Sequences {
            starts: order.iter().map(|&n| begins[n]).collect(),
            lengths: order.iter().map(|&n| lengths[n]).collect(),
            order: order.iter().map(|&n| n as i64).collect(),
        }
    }

    /// The positions that a step reads, of the sequences that are long enough.
    fn positions(&self, step: i64, direction: Direction) -> Vec<i64> {
        let rows = self.starts.iter().zip(&self.lengths).take_while(|(_, length)| **length > step);
        rows.map(|(start, length)| match direction {
            Direction::Forward => start + step,
            Direction::Backward => start + length - 1 - step,
        })
        .collect()
    }
}

/// The inverse of a permutation.
fn inverse(places: &[i64]) -> Vec<i64> {
    let mut inverse = vec![0; places.len()];
    (0..).zip(places).for_each(|(at, &place)| inverse[place as usize] = at);
    inverse
}

/// The recurrent layer of a GRU, packed for decoding.
#[derive(Clone, Debug)]
pub(crate) struct PackedGru {
    hidden: PackedLinear,
}

impl PackedGru {
    /// Casts or packs the weights of `gru`.
    pub(crate) fn new(gru: &Gru, weights: Weights) -> PackedGru {
        PackedGru { hidden: PackedLinear::new(&[&gru.hidden], weights) }
    }

    /// The states after each position, and the final one of each sequence. On the CPU a sequence's numbers are
    /// bit-identical in any batch.
    ///
    /// # Shapes
    /// gates: (N, 3 H), from the input layer; first: (R, H); out: (N, H) and (R, H)
    pub(crate) fn forward(
        &self,
        gates: &Tensor,
        first: &Tensor,
        sequences: &Sequences,
        direction: Direction,
    ) -> (Tensor, Tensor) {
        let longest = sequences.lengths.first().copied().unwrap_or(0);
        if longest == 1 {
            let next = self.step(gates, first); // (R, H)
            return (next.shallow_clone(), next);
        }
        let index = |places: &[i64]| Tensor::from_slice(places).to_device(gates.device());
        let mut state = first.index_select(0, &index(&sequences.order)); // (R, H)
        let (rows, mut read, mut states) = (state.size()[0], Vec::new(), Vec::new());
        for step in 0..longest {
            let positions = sequences.positions(step, direction);
            let active = positions.len() as i64;
            let next = self.step(&gates.index_select(0, &index(&positions)), &state.narrow(0, 0, active));
            state = match active == rows {
                true => next.shallow_clone(),
                false => Tensor::cat(&[&next, &state.narrow(0, active, rows - active)], 0), // (R, H)
            };
            read.extend(positions);
            states.push(next);
        }
        let states = Tensor::cat(&states, 0).index_select(0, &index(&inverse(&read))); // (N, H)
        (states, state.index_select(0, &index(&inverse(&sequences.order))))
    }

    /// (R, 3 H) and (R, H) to (R, H)
    fn step(&self, gates: &Tensor, state: &Tensor) -> Tensor {
        let hidden = self.hidden.forward(state, false, None); // (R, 3 H)
        match state.device() {
            Device::Cpu => shim::decoding::gru_step(gates, &hidden, state),
            _ => next_state(gates, &hidden, state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::AutocastWeights;
    use crate::model::params::Params;

    fn numbers(shape: &[i64]) -> Tensor {
        let count = shape.iter().product::<i64>();
        (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.73).sin().view(shape)
    }

    #[track_caller]
    fn near(one: &Tensor, other: &Tensor, most: f64) {
        let apart = (one - other).abs().max().double_value(&[]);
        assert!(apart < most, "{apart}");
    }

    #[test]
    fn the_fused_sequence_equals_libtorchs_functions_with_gradients() {
        let mut params = Params::new(Device::Cpu, 1);
        let gru = Gru::new(params.root(), 4, 7);
        let cast = AutocastWeights::default();
        let ctx = ForwardContext { dropout_rng: None, weights: &cast };
        let gates = (numbers(&[5, 3, 21]) * 3.0).set_requires_grad(true);
        let first = numbers(&[3, 7]).set_requires_grad(true);
        let bias = gru.hidden.bias().unwrap();
        tch::no_grad(|| bias.shallow_clone().copy_(&numbers(&[21])));
        let leaves = [&gates, &first, gru.hidden.weight(), bias];
        let with_gradients = |states: &Tensor| {
            let loss = (states * numbers(&[5, 3, 7])).sum(Kind::Float);
            Tensor::run_backward(&[&loss], &leaves, true, false)
        };
        let ours = shim::gru(&gates, &first, gru.hidden.weight(), bias);
        let plain = gru.step_by_step(&gates, &first, ctx);
        near(&ours, &plain, 1e-6);
        for (ours, plain) in with_gradients(&ours).iter().zip(with_gradients(&plain)) {
            near(ours, &plain, 1e-5);
        }
        let alone = tch::no_grad(|| shim::gru(&gates, &first, gru.hidden.weight(), bias));
        assert!(alone.equal(&ours), "without a gradient");
    }

    #[test]
    fn batched_sequences_have_the_states_of_each_alone() {
        let _guard = tch::no_grad_guard();
        let mut params = Params::new(Device::Cpu, 1);
        let gru = Gru::new(params.root(), 4, 7);
        let cast = AutocastWeights::default();
        let ctx = ForwardContext { dropout_rng: None, weights: &cast };
        let packed = PackedGru::new(&gru, Weights::F32);
        let (lengths, gates, first) = ([2, 5, 1, 5, 3], numbers(&[16, 21]), numbers(&[5, 7]));
        for direction in [Direction::Forward, Direction::Backward] {
            let (states, last) = packed.forward(&gates, &first, &Sequences::new(&lengths), direction);
            let mut start = 0;
            for (row, length) in (0..).zip(lengths) {
                let (own, first) = (gates.narrow(0, start, length), first.narrow(0, row, 1));
                let alone = Sequences::new(&[length]);
                let (one, end) = packed.forward(&own, &first, &alone, direction);
                assert!(one.equal(&states.narrow(0, start, length)), "{direction:?}: row {row}");
                assert!(end.equal(&last.narrow(0, row, 1)), "{direction:?}: row {row}");
                let way = if direction == Direction::Forward { own } else { own.flip([0]) };
                let plain = gru.forward(&way.unsqueeze(0), &first, ctx).squeeze_dim(0); // (T, H)
                let plain = if direction == Direction::Forward { plain } else { plain.flip([0]) };
                near(&one, &plain, 1e-6);
                start += length;
            }
        }
    }
}
