//! The Transformer encoder-decoder (Vaswani et al. 2017) over whole targets, for training and scoring. [`inference`]
//! runs it one token at a time, with the same numbers.

mod blocks;
mod conformer;
pub(crate) mod inference;
mod packed;

use tch::{Kind, Tensor};

use self::conformer::ConformerParts;

use super::attention::{Attention, Mask, Padding};
use super::embeddings::Embeddings;
use super::encoder_output::EncoderOutput;
use super::front::ConvolutionFront;
use super::layers::{
    AutocastWeights, DropoutRng, Epilogue, FeedForward, ForwardContext, Linear, Norm, dropout,
};
use super::params::{Params, VarBuilder};
use super::positions::{PositionIds, PositionTable, Rotation};
use super::{Activation, EncoderKind, NormPlace, Positions, TransformerConfig};
use crate::data::batch::SourceBatch;
use crate::data::source::SourceShape;

/// The whole network.
#[derive(Debug)]
pub struct Transformer {
    embeddings: Embeddings,
    /// What reads recordings.
    front: Option<ConvolutionFront>,
    encoder: Encoder,
    /// The head for connectionist temporal classification (Graves et al. 2006).
    ctc: Option<Linear>,
    decoder: Decoder,
    config: TransformerConfig,
}

impl Transformer {
    /// Adds its weights to `params`. `target` is the size of a vocabulary.
    pub(crate) fn new(
        config: &TransformerConfig,
        source: SourceShape,
        target: usize,
        params: &mut Params,
    ) -> Transformer {
        let mut root = params.root();
        let width = config.width;
        let front = |bins: usize, root: &mut VarBuilder| {
            ConvolutionFront::new(root.sub("front"), bins, config.front_channels, width)
        };
        Transformer {
            embeddings: Embeddings::new(&mut root, width, config.tied_embeddings, &source, target),
            front: match source {
                SourceShape::Tokens(_) | SourceShape::Parts(_) => None,
                SourceShape::Frames(bins) => Some(front(bins, &mut root)),
            },
            encoder: Encoder::new(root.sub("encoder"), config),
            ctc: config.ctc().then(|| Linear::new(root.sub("ctc"), width as i64, target as i64, true)),
            decoder: Decoder::new(root.sub("decoder"), config),
            config: config.clone(),
        }
    }

    /// The same network over another set of weights, such as [`Params::sharing`] gives.
    pub(crate) fn sharing(&self, params: &mut Params) -> Transformer {
        let frames = || SourceShape::Frames(self.front.as_ref().map_or(0, ConvolutionFront::bins));
        let source = self.embeddings.source_shape().unwrap_or_else(frames);
        Transformer::new(&self.config, source, self.embeddings.target_vocabulary(), params)
    }

    /// The longest side that the positions support, including EOS or BOS; `None` for any length.
    pub(crate) fn max_length(&self) -> Option<usize> {
        (self.config.positions == Positions::Learned).then_some(self.config.max_positions)
    }

    /// Multiplications in one forward pass of a batch: those of the linear layers, without attention.
    pub(crate) fn multiplications(&self, source_tokens: u64, target_tokens: u64) -> f64 {
        let config = &self.config;
        let (d, f) = (config.width as f64, config.feed_forward as f64);
        let feed_forward = if config.activation == Activation::Swiglu { 3.0 } else { 2.0 } * d * f;
        let (encoder, decoder) = (config.encoder_layers as f64, config.decoder_layers as f64);
        let vocabulary = self.embeddings.target_vocabulary() as f64;
        let conformer = match config.encoder {
            EncoderKind::Transformer => 0.0,
            EncoderKind::Conformer => feed_forward + 3.0 * d * d + config.convolution_kernel as f64 * d,
        };
        let front = self.front.as_ref().map_or(0.0, ConvolutionFront::multiplications);
        let ctc = if self.ctc.is_some() { d * vocabulary } else { 0.0 };
        // The decoder's cross-attention keys and values are computed at source positions.
        let of_source =
            front + encoder * (4.0 * d * d + feed_forward + conformer) + decoder * 2.0 * d * d + ctc;
        let of_target = decoder * (6.0 * d * d + feed_forward) + d * vocabulary;
        source_tokens as f64 * of_source + target_tokens as f64 * of_target
    }

    /// Encodes a source batch.
    pub(crate) fn encode(&self, source: &SourceBatch, rng: Option<&DropoutRng>) -> EncoderOutput {
        let lengths = source.positions();
        let padding = Padding::of(&lengths, self.output().compute(), source.values.device());
        let cast = self.autocast_weights();
        let ctx = ForwardContext { dropout_rng: rng, weights: &cast };
        let x = match &self.front {
            None => self.embeddings.look_up_source(&source.values), // (B, S, D)
            Some(front) => front.forward(source, ctx),
        };
        let own = self.embeddings.parts.as_ref().and_then(|(parts, _)| parts.positions(&source.values));
        let places = own.as_ref().map_or(PositionIds::First(x.size()[1]), PositionIds::Batch);
        let x = self.positioned(x, (&self.encoder.positions, places), rng);
        let hidden = self.encoder.forward(x, places, &padding, ctx); // (B, S, D)
        EncoderOutput { hidden, lengths, padding, cast }
    }

    /// (B, S, V), in f32; nothing without a CTC head.
    pub(crate) fn ctc_logits(&self, encoded: &EncoderOutput) -> Option<Tensor> {
        let ctx = ForwardContext { dropout_rng: None, weights: &encoded.cast };
        self.ctc.as_ref().map(|ctc| ctc.forward_in(&encoded.hidden, ctx).to_kind(Kind::Float))
    }

    fn autocast_weights(&self) -> AutocastWeights {
        let encoder = self.encoder.layers.iter().flat_map(EncoderLayer::groups);
        let decoder = self.decoder.layers.iter().flat_map(DecoderLayer::groups);
        let others = self.front.iter().flat_map(ConvolutionFront::groups);
        let others = others.chain(self.ctc.iter().map(|ctc| vec![ctc]));
        AutocastWeights::new(&encoder.chain(decoder).chain(others).collect::<Vec<_>>())
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
        let x = Embeddings::look_up(&self.embeddings.target, target_in); // (B, T, D)
        let places = PositionIds::First(x.size()[1]);
        let x = self.positioned(x, (&self.decoder.positions, places), rng);
        self.decoder.forward(x, encoded, ForwardContext { dropout_rng: rng, weights: &encoded.cast })
    }

    /// The output layer, for a fused loss.
    pub(crate) fn output(&self) -> &Linear {
        &self.embeddings.output
    }

    /// With positions added where they are added, and dropout: (B, T, D)
    fn positioned(
        &self,
        x: Tensor,
        (positions, places): (&PositionTable, PositionIds),
        rng: Option<&DropoutRng>,
    ) -> Tensor {
        let x = match positions.additive(places) {
            Some(added) => x + added,
            None => x,
        };
        dropout(x, None, self.config.embedding_dropout(), rng)
    }
}

/// A residual block: `x + f(norm(x))`, or `norm(x + f(x))`.
#[derive(Debug)]
struct ResidualBlock {
    norm: Norm,
    place: NormPlace,
    dropout: f64,
}

impl ResidualBlock {
    fn new(vb: VarBuilder, config: &TransformerConfig) -> ResidualBlock {
        ResidualBlock {
            norm: Norm::new(vb, config),
            place: config.norm_place,
            dropout: config.residual_dropout(),
        }
    }

    /// `part` must apply the epilogue (dropout and addition) that it gets.
    fn forward(&self, x: &Tensor, part: impl FnOnce(&Tensor, Epilogue) -> Tensor) -> Tensor {
        let epilogue = Epilogue { relu: false, dropout: self.dropout, residual: Some(x) };
        match self.place {
            NormPlace::Pre => part(&self.norm.forward(x), epilogue),
            NormPlace::Post => self.norm.forward(&part(x, epilogue)),
        }
    }
}

#[derive(Debug)]
struct Encoder {
    positions: PositionTable,
    layers: Vec<EncoderLayer>,
    norm: Option<Norm>,
}

impl Encoder {
    fn new(mut vb: VarBuilder, config: &TransformerConfig) -> Encoder {
        let mut layers = vb.sub("layers");
        let layers = (0..config.encoder_layers).map(|n| EncoderLayer::new(layers.sub(n), config)).collect();
        Encoder { layers, norm: final_norm(&mut vb, config), positions: PositionTable::new(vb, config) }
    }

    fn forward(
        &self,
        mut x: Tensor,
        places: PositionIds,
        padding: &Option<Padding>,
        ctx: ForwardContext,
    ) -> Tensor {
        let rotation = self.positions.rotary(places);
        for layer in &self.layers {
            x = layer.forward(&x, padding.as_ref(), rotation.as_ref(), ctx);
        }
        apply_norm(x, &self.norm)
    }
}

#[derive(Debug)]
struct EncoderLayer {
    conformer: Option<ConformerParts>,
    self_attention: Attention,
    self_attention_norm: ResidualBlock,
    feed_forward: FeedForward,
    feed_forward_norm: ResidualBlock,
}

impl EncoderLayer {
    fn new(mut vb: VarBuilder, config: &TransformerConfig) -> EncoderLayer {
        let conformer = config.encoder == EncoderKind::Conformer;
        EncoderLayer {
            conformer: conformer.then(|| ConformerParts::new(&mut vb, config)),
            self_attention: Attention::new(vb.sub("self_attention"), config),
            self_attention_norm: ResidualBlock::new(vb.sub("self_attention_norm"), config),
            feed_forward: FeedForward::new(vb.sub("feed_forward"), config).scaled(if conformer {
                0.5
            } else {
                1.0
            }),
            feed_forward_norm: ResidualBlock::new(vb.sub("feed_forward_norm"), config),
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        padding: Option<&Padding>,
        rotation: Option<&Rotation>,
        ctx: ForwardContext,
    ) -> Tensor {
        let conformer = self.conformer.as_ref();
        let x = match conformer {
            Some(parts) => &parts
                .feed_forward_norm
                .forward(x, |x, epilogue| parts.feed_forward.forward(x, epilogue, ctx)),
            None => x,
        };
        let mut x = self.self_attention_norm.forward(x, |x, epilogue| {
            let parts = self.self_attention.project(x, rotation, ctx);
            self.self_attention.forward(&parts, padding.map_or(Mask::Open, Mask::Padding), epilogue, ctx)
        });
        if let Some(parts) = conformer {
            let real = padding.map(Padding::real);
            x = parts
                .convolution_norm
                .forward(&x, |x, epilogue| parts.convolution.forward(x, real.as_ref(), epilogue, ctx));
        }
        let x = self.feed_forward_norm.forward(&x, |x, epilogue| self.feed_forward.forward(x, epilogue, ctx));
        conformer.map_or(x.shallow_clone(), |parts| parts.norm.forward(&x))
    }

    fn groups(&self) -> Vec<Vec<&Linear>> {
        let conformer = self.conformer.iter().flat_map(ConformerParts::groups);
        [self.self_attention.groups(true), self.feed_forward.groups(), conformer.collect()].concat()
    }
}

#[derive(Debug)]
struct Decoder {
    positions: PositionTable,
    layers: Vec<DecoderLayer>,
    norm: Option<Norm>,
}

impl Decoder {
    fn new(mut vb: VarBuilder, config: &TransformerConfig) -> Decoder {
        let mut layers = vb.sub("layers");
        let layers = (0..config.decoder_layers).map(|n| DecoderLayer::new(layers.sub(n), config)).collect();
        Decoder { layers, norm: final_norm(&mut vb, config), positions: PositionTable::new(vb, config) }
    }

    fn forward(&self, mut x: Tensor, encoded: &EncoderOutput, ctx: ForwardContext) -> Tensor {
        let rotation = self.positions.rotary(PositionIds::First(x.size()[1]));
        for layer in &self.layers {
            x = layer.forward(&x, encoded, rotation.as_ref(), ctx);
        }
        apply_norm(x, &self.norm)
    }
}

#[derive(Debug)]
struct DecoderLayer {
    self_attention: Attention,
    self_attention_norm: ResidualBlock,
    cross_attention: Attention,
    cross_attention_norm: ResidualBlock,
    feed_forward: FeedForward,
    feed_forward_norm: ResidualBlock,
}

impl DecoderLayer {
    fn new(mut vb: VarBuilder, config: &TransformerConfig) -> DecoderLayer {
        DecoderLayer {
            self_attention: Attention::new(vb.sub("self_attention"), config),
            self_attention_norm: ResidualBlock::new(vb.sub("self_attention_norm"), config),
            cross_attention: Attention::new(vb.sub("cross_attention"), config),
            cross_attention_norm: ResidualBlock::new(vb.sub("cross_attention_norm"), config),
            feed_forward: FeedForward::new(vb.sub("feed_forward"), config),
            feed_forward_norm: ResidualBlock::new(vb.sub("feed_forward_norm"), config),
        }
    }

    fn forward(
        &self,
        x: &Tensor,
        encoded: &EncoderOutput,
        rotation: Option<&Rotation>,
        ctx: ForwardContext,
    ) -> Tensor {
        let (own, cross) = (&self.self_attention, &self.cross_attention);
        let x = self.self_attention_norm.forward(x, |x, epilogue| {
            own.forward(&own.project(x, rotation, ctx), Mask::Causal, epilogue, ctx)
        });
        let x = self.cross_attention_norm.forward(&x, |x, epilogue| {
            let parts = cross.project_across(x, &encoded.hidden, ctx);
            cross.forward(&parts, Mask::padding(&encoded.padding), epilogue, ctx)
        });
        self.feed_forward_norm.forward(&x, |x, epilogue| self.feed_forward.forward(x, epilogue, ctx))
    }

    fn groups(&self) -> Vec<Vec<&Linear>> {
        let (own, cross) = (&self.self_attention, &self.cross_attention);
        [own.groups(true), cross.groups(false), self.feed_forward.groups()].concat()
    }
}

/// Only pre-norm stacks end with a norm.
fn final_norm(vb: &mut VarBuilder, config: &TransformerConfig) -> Option<Norm> {
    (config.norm_place == NormPlace::Pre).then(|| Norm::new(vb.sub("norm"), config))
}

fn apply_norm(x: Tensor, norm: &Option<Norm>) -> Tensor {
    match norm {
        Some(norm) => norm.forward(&x),
        None => x,
    }
}
