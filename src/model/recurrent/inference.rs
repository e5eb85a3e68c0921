//! Incremental decoding with the recurrent network: one token per row and step, with rows of any length in one batch.
//!
//! A row has a state per layer, and the slots of its source ([`KvCache`]), whose keys and values are both the encoder's
//! output. Nothing is padded, and on the CPU a row's numbers are bit-identical in any batch.

use tch::{Device, Kind, Tensor};

use super::super::attention::{BlockTable, mean_over_heads, paged_attention};
use super::super::embeddings::Embeddings;
use super::super::kv_cache::KvCache;
use super::super::layers::Linear;
use super::super::packed_linear::{PackedLinear, Weights};
use super::gru::{Direction, PackedGru, Sequences};
use super::{DecoderLayer, EncoderLayer, Recurrent};
use crate::data::source::SourceItem;
use crate::data::vocabulary::EOS;
use crate::shim;

/// A trained recurrent network without its output layer, packed for decoding. Clones share the weights.
#[derive(Debug)]
pub(crate) struct PackedRecurrent {
    /// (V of the source, D)
    source: Tensor,
    /// (V, D)
    target: Tensor,
    encoder: Vec<EncoderBlock>,
    /// The initial states of all decoder layers: (D) to (layers * D)
    initial: PackedLinear,
    decoder: Vec<DecoderBlock>,
    attentional: PackedLinear,
}

/// The decoder state of the rows.
#[derive(Debug)]
pub(crate) struct RecurrentState {
    /// For each layer of the decoder: (R, D)
    layers: Vec<Tensor>,
    /// Keys and values of the source positions.
    source: KvCache,
    /// For each row the slots of its source.
    rows: Vec<Vec<i32>>,
}

#[derive(Clone, Debug)]
struct EncoderBlock {
    /// The input layers of both directions, joined.
    input: PackedLinear,
    forward: PackedGru,
    backward: PackedGru,
}

#[derive(Clone, Debug)]
struct DecoderBlock {
    input: PackedLinear,
    gru: PackedGru,
}

impl EncoderBlock {
    fn new(layer: &EncoderLayer, weights: Weights) -> EncoderBlock {
        let (forward, backward) = (&layer.forward, &layer.backward);
        EncoderBlock {
            input: PackedLinear::new(&[&forward.input, &backward.input], weights),
            forward: PackedGru::new(forward, weights),
            backward: PackedGru::new(backward, weights),
        }
    }

    /// (N, D) to (N, D)
    fn forward(&self, x: &Tensor, sequences: &Sequences, rows: i64) -> Tensor {
        let half = x.size()[1] / 2;
        let gates = self.input.forward(x, false, None); // (N, 3 D)
        let first = Tensor::zeros([rows, half], (Kind::Float, x.device()));
        let direction = |gru: &PackedGru, begin, direction| {
            gru.forward(&gates.narrow(1, begin, 3 * half), &first, sequences, direction).0 // (N, D / 2)
        };
        let forward = direction(&self.forward, 0, Direction::Forward);
        let backward = direction(&self.backward, 3 * half, Direction::Backward);
        Tensor::cat(&[forward, backward], 1)
    }
}

impl DecoderBlock {
    fn new(layer: &DecoderLayer, weights: Weights) -> DecoderBlock {
        DecoderBlock {
            input: PackedLinear::new(&[&layer.gru.input], weights),
            gru: PackedGru::new(&layer.gru, weights),
        }
    }
}

impl PackedRecurrent {
    /// Joins, casts and packs the current weights of `model`.
    pub(crate) fn new(model: &Recurrent, weights: Weights) -> PackedRecurrent {
        let initial: Vec<&Linear> = model.decoder.iter().map(|layer| &layer.initial).collect();
        PackedRecurrent {
            source: model.embeddings.of_source().detach(),
            target: model.embeddings.target.detach(),
            encoder: model.encoder.iter().map(|layer| EncoderBlock::new(layer, weights)).collect(),
            initial: PackedLinear::new(&initial, weights),
            decoder: model.decoder.iter().map(|layer| DecoderBlock::new(layer, weights)).collect(),
            attentional: PackedLinear::new(&[&model.attentional], weights),
        }
    }

    /// Encodes sources: one row each, before its first token.
    pub(crate) fn start(&self, sources: &[&SourceItem]) -> RecurrentState {
        let lengths: Vec<i64> = sources.iter().map(|source| source.positions() as i64).collect();
        let hidden = self.encode(sources, &lengths); // (N, D)
        let (positions, width) = hidden.size2().expect("hidden states have two dimensions");
        let mut source = KvCache::new(1, width, hidden.device());
        let first = source.reserve(positions as usize, &mut []);
        // Cancels the scale of attention, since Luong attention has unscaled dot products.
        source.write(0, first, &Tensor::cat(&[&hidden * (width as f64).sqrt(), hidden.shallow_clone()], 1));
        let mut end = first;
        let rows = lengths.iter().map(|&length| {
            let start = end;
            end += length as i32;
            (start..end).collect()
        });
        let rows = rows.collect();
        RecurrentState { layers: self.first_states(&hidden, &lengths), source, rows }
    }

    /// The encoder over whole sources: (N, D), their positions concatenated.
    fn encode(&self, sources: &[&SourceItem], lengths: &[i64]) -> Tensor {
        let tokens: Vec<i64> =
            sources.iter().flat_map(|row| row.tokens().iter().copied().chain([EOS])).collect();
        let sequences = Sequences::new(lengths);
        let mut x = look_up(&self.source, &tokens); // (N, D)
        for block in &self.encoder {
            x = block.forward(&x, &sequences, lengths.len() as i64);
        }
        x
    }

    /// The initial state of each layer, from the final states of the encoder: (R, D) each
    fn first_states(&self, hidden: &Tensor, lengths: &[i64]) -> Vec<Tensor> {
        let width = hidden.size()[1];
        let (mut firsts, mut lasts, mut start) = (Vec::new(), Vec::new(), 0);
        for length in lengths {
            firsts.push(start);
            start += length;
            lasts.push(start - 1);
        }
        let rows = |places: &[i64]| {
            hidden.index_select(0, &Tensor::from_slice(places).to_device(hidden.device())) // (R, D)
        };
        let forward = rows(&lasts).narrow(1, 0, width / 2);
        let backward = rows(&firsts).narrow(1, width / 2, width / 2);
        let ends = Tensor::cat(&[forward, backward], 1); // (R, D)
        let states = tanh(&self.initial.forward(&ends, false, None)); // (R, layers * D)
        states.split(width, 1).iter().map(Tensor::contiguous).collect()
    }

    /// Reads one or more tokens per row; returns the hidden state for each of them, in order: (N, D). With `looking`
    /// also their attention.
    pub(crate) fn read(
        &self,
        runs: &[&[i64]],
        state: &mut RecurrentState,
        looking: bool,
    ) -> (Tensor, Option<Vec<Vec<f32>>>) {
        let lengths: Vec<i64> = runs.iter().map(|run| run.len() as i64).collect();
        let sequences = Sequences::new(&lengths);
        let mut x = look_up(&self.target, &runs.concat()); // (N, D)
        for (block, state) in self.decoder.iter().zip(&mut state.layers) {
            let gates = block.input.forward(&x, false, None); // (N, 3 D)
            (x, *state) = block.gru.forward(&gates, state, &sequences, Direction::Forward);
        }
        let of_tokens = state.rows.iter().zip(runs);
        let slots = of_tokens.flat_map(|(slots, run)| std::iter::repeat_n(slots.as_slice(), run.len()));
        let source = BlockTable::new(slots, x.device());
        let mut weights = Vec::new();
        let seen = looking.then_some(&mut weights);
        let context = paged_attention(&x, state.source.layer(0), &source, 1, seen); // (N, D)
        let both = Tensor::cat(&[context, x], 1); // (N, 2 D)
        let attention = looking.then(|| mean_over_heads(&weights, source.lengths(), 1));
        (tanh(&self.attentional.forward(&both, false, None)), attention)
    }
}

/// Shares the weights.
impl Clone for PackedRecurrent {
    fn clone(&self) -> PackedRecurrent {
        PackedRecurrent {
            source: self.source.shallow_clone(),
            target: self.target.shallow_clone(),
            encoder: self.encoder.clone(),
            initial: self.initial.clone(),
            decoder: self.decoder.clone(),
            attentional: self.attentional.clone(),
        }
    }
}

impl RecurrentState {
    /// Selects rows, in this order; a row may occur more than once or not at all.
    pub(crate) fn keep(self, rows: &[i64]) -> RecurrentState {
        let select =
            |layer: &Tensor| layer.index_select(0, &Tensor::from_slice(rows).to_device(layer.device()));
        RecurrentState {
            layers: self.layers.iter().map(select).collect(),
            rows: rows.iter().map(|&row| self.rows[row as usize].clone()).collect(),
            ..self
        }
    }

    /// The rows of this state, then those of `other`.
    pub(crate) fn join(mut self, mut other: RecurrentState) -> RecurrentState {
        let both = self.layers.iter().zip(&other.layers);
        let layers = both.map(|(one, other)| Tensor::cat(&[one, other], 0)).collect();
        let mut theirs: Vec<&mut Vec<i32>> = other.rows.iter_mut().collect();
        self.source.take(&other.source, &mut self.rows.iter_mut().collect::<Vec<_>>(), &mut theirs);
        self.rows.append(&mut other.rows);
        RecurrentState { layers, ..self }
    }
}

/// (R) to (R, D)
fn look_up(weight: &Tensor, tokens: &[i64]) -> Tensor {
    Embeddings::look_up(weight, &Tensor::from_slice(tokens).to_device(weight.device()))
}

/// On the CPU each result depends on its own input alone; libtorch's also depends on the position in the tensor.
fn tanh(x: &Tensor) -> Tensor {
    if x.device() == Device::Cpu { shim::decoding::tanh(x) } else { x.tanh() }
}
