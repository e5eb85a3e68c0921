//! A recurrent encoder-decoder with attention over whole targets, for training and scoring. [`inference`] runs it one
//! token at a time, with the same numbers.
//!
//! The encoder reads the source in both directions with gated recurrent units (Cho et al. 2014; Bahdanau et al. 2015),
//! each of half the width. The final states of both directions give the initial state of each decoder layer. The
//! decoder attends to the source by dot products; its state and the context give the attentional state (Luong et al.
//! 2015), the input of the output layer. There is no input feeding, so under teacher forcing all tokens of a target
//! pass through a layer in one call.

mod gru;
pub(crate) mod inference;

use tch::{Kind, Tensor};

use self::gru::Gru;
use super::RecurrentConfig;
use super::attention::{Padding, attention_kind};
use super::embeddings::Embeddings;
use super::encoder_output::EncoderOutput;
use super::layers::{AutocastWeights, DropoutRng, ForwardContext, Linear, dropout};
use super::params::{Params, VarBuilder};
use crate::data::batch::SourceBatch;

/// The whole network.
#[derive(Debug)]
pub struct Recurrent {
    embeddings: Embeddings,
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
    /// From context and state to the attentional state: (2 D) to (D)
    attentional: Linear,
    config: RecurrentConfig,
}

impl Recurrent {
    /// Adds its weights to `params`.
    pub(crate) fn new(
        config: &RecurrentConfig,
        source_vocabulary: usize,
        target_vocabulary: usize,
        params: &mut Params,
    ) -> Recurrent {
        let mut root = params.root();
        let (width, tied) = (config.width, config.tied_embeddings);
        let embeddings =
            Embeddings::new(&mut root, width, tied, &source_vocabulary.into(), target_vocabulary);
        let mut encoder = root.sub("encoder");
        let mut layers = encoder.sub("layers");
        let encoder = (0..config.encoder_layers).map(|n| EncoderLayer::new(layers.sub(n), width)).collect();
        let mut decoder = root.sub("decoder");
        let mut layers = decoder.sub("layers");
        let layers = (0..config.decoder_layers).map(|n| DecoderLayer::new(layers.sub(n), width)).collect();
        let attentional = Linear::new(decoder.sub("attentional"), 2 * width as i64, width as i64, true);
        Recurrent { embeddings, encoder, decoder: layers, attentional, config: config.clone() }
    }

    /// The same network over another set of weights, such as [`Params::sharing`] gives.
    pub(crate) fn sharing(&self, params: &mut Params) -> Recurrent {
        let source = self.embeddings.of_source().size()[0] as usize;
        Recurrent::new(&self.config, source, self.embeddings.target_vocabulary(), params)
    }

    /// Multiplications in one forward pass of a batch: those of the linear layers, without attention and the decoder's
    /// initial states.
    pub(crate) fn multiplications(&self, source_tokens: u64, target_tokens: u64) -> f64 {
        let d = self.config.width as f64;
        let vocabulary = self.embeddings.target_vocabulary() as f64;
        // Three gates of the input and three of the state; in the encoder with half the width, in two directions.
        let of_source = self.encoder.len() as f64 * 4.5 * d * d;
        let of_target = self.decoder.len() as f64 * 6.0 * d * d + 2.0 * d * d + d * vocabulary;
        source_tokens as f64 * of_source + target_tokens as f64 * of_target
    }

    /// Encodes a source batch.
    pub(crate) fn encode(&self, source: &SourceBatch, rng: Option<&DropoutRng>) -> EncoderOutput {
        let cast = self.autocast_weights();
        let ctx = ForwardContext { dropout_rng: rng, weights: &cast };
        let backwards = backwards(source);
        let mut hidden = Embeddings::look_up(self.embeddings.of_source(), &source.values); // (B, S, D)
        for layer in &self.encoder {
            hidden = layer.forward(&dropout(hidden, None, self.config.dropout, rng), &backwards, ctx);
        }
        let padding = Padding::of(&source.lengths, self.output().compute(), source.values.device());
        EncoderOutput { hidden, lengths: source.lengths.clone(), padding, cast }
    }

    /// Runs the decoder over whole targets: position t depends on the tokens up to t and the source.
    ///
    /// # Shapes
    /// target_in: (B, T) i64; out: (B, T, D)
    pub(crate) fn decode(
        &self,
        target_in: &Tensor,
        encoded: &EncoderOutput,
        rng: Option<&DropoutRng>,
    ) -> Tensor {
        let ctx = ForwardContext { dropout_rng: rng, weights: &encoded.cast };
        let ends = ends(encoded); // (B, D)
        let mut x = Embeddings::look_up(&self.embeddings.target, target_in); // (B, T, D)
        for layer in &self.decoder {
            x = layer.forward(&dropout(x, None, self.config.dropout, rng), &ends, ctx);
        }
        let context = self.attend(&x, encoded); // (B, T, D)
        let both = Tensor::cat(&[context, x], -1); // (B, T, 2 D)
        let attentional = self.attentional.forward_in(&both, ctx).to_kind(Kind::Float).tanh(); // (B, T, D)
        dropout(attentional, None, self.config.dropout, rng)
    }

    /// The output layer, for a fused loss.
    pub(crate) fn output(&self) -> &Linear {
        &self.embeddings.output
    }

    /// softmax(X H') H over the real positions of each source: (B, T, D)
    fn attend(&self, states: &Tensor, encoded: &EncoderOutput) -> Tensor {
        let kind = attention_kind(states.device(), self.output().compute());
        let heads = |x: &Tensor| x.to_kind(kind).unsqueeze(1); // (B, 1, T, D)
        let (query, source) = (heads(states), heads(&encoded.hidden));
        let mask = encoded.padding.as_ref().map(|padding| &padding.mask);
        Tensor::scaled_dot_product_attention(&query, &source, &source, mask, 0.0, false, 1.0, false)
            .squeeze_dim(1)
            .to_kind(Kind::Float)
    }

    fn autocast_weights(&self) -> AutocastWeights {
        let encoder = self.encoder.iter().flat_map(EncoderLayer::groups);
        let decoder = self.decoder.iter().flat_map(DecoderLayer::groups);
        AutocastWeights::new(&encoder.chain(decoder).chain([vec![&self.attentional]]).collect::<Vec<_>>())
    }
}

/// The indices of the flattened (B, S) that reverse each row within its own length; padding stays in place. The
/// permutation is its own inverse.
fn backwards(source: &SourceBatch) -> Tensor {
    let longest = source.max_length();
    let rows = (0..).zip(&source.lengths);
    let places: Vec<i64> = rows
        .flat_map(|(row, &length)| {
            let turned = move |t| if t < length { length - 1 - t } else { t };
            (0..longest).map(move |t| row * longest + turned(t))
        })
        .collect();
    Tensor::from_slice(&places).to_device(source.values.device())
}

/// The final states of both directions of the encoder, at the last real position and at the first: (B, D)
fn ends(encoded: &EncoderOutput) -> Tensor {
    let (_, longest, width) = encoded.hidden.size3().expect("the encoder returns three dimensions");
    let last: Vec<i64> =
        (0..).zip(&encoded.lengths).map(|(row, length): (i64, _)| row * longest + length - 1).collect();
    let last = Tensor::from_slice(&last).to_device(encoded.hidden.device());
    let forward = encoded.hidden.flatten(0, 1).index_select(0, &last).narrow(1, 0, width / 2);
    let backward = encoded.hidden.select(1, 0).narrow(1, width / 2, width / 2);
    Tensor::cat(&[forward, backward], 1)
}

#[derive(Debug)]
struct EncoderLayer {
    forward: Gru,
    backward: Gru,
}

impl EncoderLayer {
    fn new(mut vb: VarBuilder, width: usize) -> EncoderLayer {
        let mut direction = |name| Gru::new(vb.sub(name), width, width / 2);
        EncoderLayer { forward: direction("forward"), backward: direction("backward") }
    }

    /// (B, S, D) to (B, S, D), the forward direction before the backward one.
    fn forward(&self, x: &Tensor, backwards: &Tensor, ctx: ForwardContext) -> Tensor {
        let turned = |x: &Tensor| x.flatten(0, 1).index_select(0, backwards).view_as(x);
        let (rows, _, width) = x.size3().expect("the encoder needs three dimensions");
        let first = Tensor::zeros([rows, width / 2], (Kind::Float, x.device()));
        let gates = Linear::side_by_side(&[&self.forward.input, &self.backward.input], x, ctx);
        let gates: Vec<Tensor> = gates.iter().flat_map(|part| part.split(3 * width / 2, -1)).collect();
        let forward = self.forward.forward(&gates[0], &first, ctx); // (B, S, D / 2)
        let backward = self.backward.forward(&turned(&gates[1]), &first, ctx);
        Tensor::cat(&[forward, turned(&backward)], -1)
    }

    fn groups(&self) -> Vec<Vec<&Linear>> {
        let (forward, backward) = (&self.forward, &self.backward);
        vec![vec![&forward.input, &backward.input], vec![&forward.hidden], vec![&backward.hidden]]
    }
}

#[derive(Debug)]
struct DecoderLayer {
    /// From the encoder's final states to the initial state.
    initial: Linear,
    gru: Gru,
}

impl DecoderLayer {
    fn new(mut vb: VarBuilder, width: usize) -> DecoderLayer {
        let initial = Linear::new(vb.sub("initial"), width as i64, width as i64, true);
        DecoderLayer { initial, gru: Gru::new(vb, width, width) }
    }

    /// (B, T, D) to (B, T, D); `ends`: (B, D)
    fn forward(&self, x: &Tensor, ends: &Tensor, ctx: ForwardContext) -> Tensor {
        let first = self.initial.forward_in(ends, ctx).to_kind(Kind::Float).tanh(); // (B, D)
        self.gru.forward(&self.gru.input.forward_in(x, ctx), &first, ctx)
    }

    fn groups(&self) -> Vec<Vec<&Linear>> {
        [vec![vec![&self.initial]], self.gru.groups()].concat()
    }
}
