//! The Transformer encoder-decoder (Vaswani et al. 2017) over whole targets, as it is trained and as given targets are
//! scored. A token at a time it is run by [`super::inference`], with the same numbers.

use tch::{Kind, Tensor};

use super::attention::{Attention, Mask, Padding};
use super::layers::{Cast, Epilogue, FeedForward, Linear, Noise, Norm, Pass, dropout};
use super::params::{Params, Scope};
use super::positions::{Places, PositionTable, Rotation};
use super::{Activation, NormPlace, Positions, Tied, TransformerConfig};
use crate::data::batch::Source;
use crate::data::vocabulary::{BOS, PAD};

/// The whole network.
#[derive(Debug)]
pub struct Transformer {
    pub(super) source_embedding: Tensor,
    pub(super) target_embedding: Tensor,
    pub(super) output: Linear,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    pub(super) config: TransformerConfig,
}

/// What the encoder made of a source batch.
#[derive(Debug)]
pub struct Memory {
    /// (B, S, D)
    pub hidden: Tensor,
    /// Where the padding is, when there is any.
    pub padding: Option<Padding>,
    /// The weights of the pass, for the decoder's part of it.
    cast: Cast,
}

impl Transformer {
    /// Adds its weights to `params`. The vocabularies are sizes.
    pub fn new(
        config: &TransformerConfig,
        source_vocabulary: usize,
        target_vocabulary: usize,
        params: &mut Params,
    ) -> Transformer {
        let mut root = params.root();
        let width = config.width as i64;
        let mut embedding =
            |name: &str, rows: usize| root.sub(name).embedding("weight", rows as i64, width, Some(PAD));
        let (source, target) = if config.tied_embeddings == Tied::All {
            assert_eq!(source_vocabulary, target_vocabulary, "tied embeddings want one vocabulary");
            let shared = embedding("shared_embedding", source_vocabulary);
            (shared.shallow_clone(), shared)
        } else {
            (
                embedding("source_embedding", source_vocabulary),
                embedding("target_embedding", target_vocabulary),
            )
        };
        let output = match config.tied_embeddings {
            Tied::None => root.sub("output").matrix("weight", target_vocabulary as i64, width),
            Tied::TargetOutput | Tied::All => target.shallow_clone(),
        };
        let output = Linear::over(output, root.compute());
        Transformer {
            source_embedding: source,
            target_embedding: target,
            output,
            encoder: Encoder::new(root.sub("encoder"), config),
            decoder: Decoder::new(root.sub("decoder"), config),
            config: config.clone(),
        }
    }

    /// The same network over another set of weights, such as [`Params::again`] gives.
    pub fn again(&self, params: &mut Params) -> Transformer {
        let rows = |embedding: &Tensor| embedding.size()[0] as usize;
        let (source, target) = (rows(&self.source_embedding), rows(&self.target_embedding));
        Transformer::new(&self.config, source, target, params)
    }

    /// The longest side, EOS or BOS counted in, that the positions know; `None` for any length.
    pub fn longest(&self) -> Option<usize> {
        (self.config.positions == Positions::Learned).then_some(self.config.max_positions)
    }

    /// Multiplications of weights with the positions of a batch, in one forward pass: what the matrix products of the
    /// linear layers take, without those between queries, keys and values.
    pub fn multiplications(&self, source_tokens: u64, target_tokens: u64) -> f64 {
        let config = &self.config;
        let (d, f) = (config.width as f64, config.feed_forward as f64);
        let feed_forward = if config.activation == Activation::Swiglu { 3.0 } else { 2.0 } * d * f;
        let (encoder, decoder) = (config.encoder_layers as f64, config.decoder_layers as f64);
        let vocabulary = self.output.weight().size()[0] as f64;
        // The decoder's keys and values of the source are made of source positions.
        let of_source = encoder * (4.0 * d * d + feed_forward) + decoder * 2.0 * d * d;
        let of_target = decoder * (6.0 * d * d + feed_forward) + d * vocabulary;
        source_tokens as f64 * of_source + target_tokens as f64 * of_target
    }

    /// Reads a source batch.
    pub fn encode(&self, source: &Source, noise: Option<&Noise>) -> Memory {
        let padding = Padding::of(&source.lengths, self.output.compute(), source.tokens.device());
        let x = self.embed(&self.source_embedding, &source.tokens, &self.encoder.positions, noise);
        let cast = self.cast();
        let pass = Pass { noise, cast: &cast };
        Memory { hidden: self.encoder.forward(x, Mask::padding(&padding), pass), padding, cast }
    }

    fn cast(&self) -> Cast {
        let encoder = self.encoder.layers.iter().flat_map(EncoderLayer::groups);
        let decoder = self.decoder.layers.iter().flat_map(DecoderLayer::groups);
        Cast::new(&encoder.chain(decoder).collect::<Vec<_>>())
    }

    /// Runs the decoder over whole targets: position t sees the tokens up to t and the source.
    ///
    /// # Shapes
    /// target_in: (B, T) i64; out: (B, T, D)
    pub fn decode(&self, target_in: &Tensor, memory: &Memory, noise: Option<&Noise>) -> Tensor {
        let x = self.embed(&self.target_embedding, target_in, &self.decoder.positions, noise);
        self.decoder.forward(x, memory, Pass { noise, cast: &memory.cast })
    }

    /// Scores of the vocabulary, before the softmax, in f32.
    ///
    /// # Shapes
    /// (..., D) to (..., V)
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        self.output.forward(hidden).to_kind(Kind::Float)
    }

    /// Log-probabilities of what an output may say, without a graph; PAD and BOS, which it may not, have that of zero.
    ///
    /// # Shapes
    /// (..., D) to (..., V)
    pub fn log_probabilities(&self, hidden: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let logits = self.logits(hidden);
        for token in [PAD, BOS] {
            let _ = logits.select(-1, token).fill_(f64::NEG_INFINITY);
        }
        logits.log_softmax(-1, Kind::Float)
    }

    /// The layer that makes the scores, for a loss that never holds all of them.
    pub fn output(&self) -> &Linear {
        &self.output
    }

    fn embed(
        &self,
        weight: &Tensor,
        tokens: &Tensor,
        positions: &PositionTable,
        noise: Option<&Noise>,
    ) -> Tensor {
        let scale = (self.config.width as f64).sqrt();
        let x = Tensor::embedding(weight, tokens, PAD, false, false) * scale; // (B, T, D)
        let x = match positions.added(Places::First(tokens.size()[1])) {
            Some(added) => x + added,
            None => x,
        };
        dropout(x, None, self.config.embedding_dropout(), noise)
    }
}

/// A part of a layer and the way around it: `x + f(norm(x))`, or `norm(x + f(x))`.
#[derive(Debug)]
pub(super) struct Residual {
    pub(super) norm: Norm,
    pub(super) place: NormPlace,
    dropout: f64,
}

impl Residual {
    fn new(scope: Scope, config: &TransformerConfig) -> Residual {
        Residual {
            norm: Norm::new(scope, config),
            place: config.norm_place,
            dropout: config.residual_dropout(),
        }
    }

    /// The part ends in the dropout and the addition that it is given.
    fn around(&self, x: &Tensor, part: impl FnOnce(&Tensor, Epilogue) -> Tensor) -> Tensor {
        let epilogue = Epilogue { relu: false, dropout: self.dropout, residual: Some(x) };
        match self.place {
            NormPlace::Pre => part(&self.norm.forward(x), epilogue),
            NormPlace::Post => self.norm.forward(&part(x, epilogue)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) positions: PositionTable,
    pub(super) layers: Vec<EncoderLayer>,
    pub(super) norm: Option<Norm>,
}

impl Encoder {
    fn new(mut scope: Scope, config: &TransformerConfig) -> Encoder {
        let mut layers = scope.sub("layers");
        let layers = (0..config.encoder_layers).map(|n| EncoderLayer::new(layers.sub(n), config)).collect();
        Encoder { layers, norm: final_norm(&mut scope, config), positions: PositionTable::new(scope, config) }
    }

    fn forward(&self, mut x: Tensor, mask: Mask, pass: Pass) -> Tensor {
        let rotation = self.positions.turned(Places::First(x.size()[1]));
        for layer in &self.layers {
            x = layer.forward(&x, mask, rotation.as_ref(), pass);
        }
        normed(x, &self.norm)
    }
}

#[derive(Debug)]
pub(super) struct EncoderLayer {
    pub(super) self_attention: Attention,
    pub(super) self_attention_norm: Residual,
    pub(super) feed_forward: FeedForward,
    pub(super) feed_forward_norm: Residual,
}

impl EncoderLayer {
    fn new(mut scope: Scope, config: &TransformerConfig) -> EncoderLayer {
        EncoderLayer {
            self_attention: Attention::new(scope.sub("self_attention"), config),
            self_attention_norm: Residual::new(scope.sub("self_attention_norm"), config),
            feed_forward: FeedForward::new(scope.sub("feed_forward"), config),
            feed_forward_norm: Residual::new(scope.sub("feed_forward_norm"), config),
        }
    }

    fn forward(&self, x: &Tensor, mask: Mask, rotation: Option<&Rotation>, pass: Pass) -> Tensor {
        let x = self.self_attention_norm.around(x, |x, epilogue| {
            let parts = self.self_attention.project(x, rotation, pass);
            self.self_attention.forward(&parts, mask, epilogue, pass)
        });
        self.feed_forward_norm.around(&x, |x, epilogue| self.feed_forward.forward(x, epilogue, pass))
    }

    fn groups(&self) -> Vec<Vec<&Linear>> {
        [self.self_attention.groups(true), self.feed_forward.groups()].concat()
    }
}

#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) positions: PositionTable,
    pub(super) layers: Vec<DecoderLayer>,
    pub(super) norm: Option<Norm>,
}

impl Decoder {
    fn new(mut scope: Scope, config: &TransformerConfig) -> Decoder {
        let mut layers = scope.sub("layers");
        let layers = (0..config.decoder_layers).map(|n| DecoderLayer::new(layers.sub(n), config)).collect();
        Decoder { layers, norm: final_norm(&mut scope, config), positions: PositionTable::new(scope, config) }
    }

    fn forward(&self, mut x: Tensor, memory: &Memory, pass: Pass) -> Tensor {
        let rotation = self.positions.turned(Places::First(x.size()[1]));
        for layer in &self.layers {
            x = layer.forward(&x, memory, rotation.as_ref(), pass);
        }
        normed(x, &self.norm)
    }
}

#[derive(Debug)]
pub(super) struct DecoderLayer {
    pub(super) self_attention: Attention,
    pub(super) self_attention_norm: Residual,
    pub(super) cross_attention: Attention,
    pub(super) cross_attention_norm: Residual,
    pub(super) feed_forward: FeedForward,
    pub(super) feed_forward_norm: Residual,
}

impl DecoderLayer {
    fn new(mut scope: Scope, config: &TransformerConfig) -> DecoderLayer {
        DecoderLayer {
            self_attention: Attention::new(scope.sub("self_attention"), config),
            self_attention_norm: Residual::new(scope.sub("self_attention_norm"), config),
            cross_attention: Attention::new(scope.sub("cross_attention"), config),
            cross_attention_norm: Residual::new(scope.sub("cross_attention_norm"), config),
            feed_forward: FeedForward::new(scope.sub("feed_forward"), config),
            feed_forward_norm: Residual::new(scope.sub("feed_forward_norm"), config),
        }
    }

    fn forward(&self, x: &Tensor, memory: &Memory, rotation: Option<&Rotation>, pass: Pass) -> Tensor {
        let (own, cross) = (&self.self_attention, &self.cross_attention);
        let x = self.self_attention_norm.around(x, |x, epilogue| {
            own.forward(&own.project(x, rotation, pass), Mask::Causal, epilogue, pass)
        });
        let x = self.cross_attention_norm.around(&x, |x, epilogue| {
            let parts = cross.project_across(x, &memory.hidden, pass);
            cross.forward(&parts, Mask::padding(&memory.padding), epilogue, pass)
        });
        self.feed_forward_norm.around(&x, |x, epilogue| self.feed_forward.forward(x, epilogue, pass))
    }

    fn groups(&self) -> Vec<Vec<&Linear>> {
        let (own, cross) = (&self.self_attention, &self.cross_attention);
        [own.groups(true), cross.groups(false), self.feed_forward.groups()].concat()
    }
}

/// Only pre-norm stacks end in a norm of their own.
fn final_norm(scope: &mut Scope, config: &TransformerConfig) -> Option<Norm> {
    (config.norm_place == NormPlace::Pre).then(|| Norm::new(scope.sub("norm"), config))
}

pub(super) fn normed(x: Tensor, norm: &Option<Norm>) -> Tensor {
    match norm {
        Some(norm) => norm.forward(&x),
        None => x,
    }
}
