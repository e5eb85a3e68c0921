//! `[model.transformer]`: the sizes and variants of a Transformer.

use serde::{Deserialize, Serialize};

use super::{DEEPEST, MOST_WEIGHTS, Tied, WIDEST};
use crate::error::ConfigError;

/// `[model.transformer]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerConfig {
    /// Width of the residual stream (D).
    pub width: usize,
    /// Attention heads (H); must divide `width`.
    pub heads: usize,
    /// Inner width of the feed-forward part (F).
    pub feed_forward: usize,
    /// What the layers of the encoder are: `transformer`, or `conformer` (Gulati et al. 2020).
    pub encoder: EncoderKind,
    /// Positions that a Conformer's convolution sees, an odd number.
    pub convolution_kernel: usize,
    /// Channels of the two convolutions in front of the encoder, where sources are recordings.
    pub front_channels: usize,
    /// A head for connectionist temporal classification on the encoder; empty for true where sources are recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctc: Option<bool>,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Dropout on embeddings, inside the feed-forward part and on the residual branches.
    pub dropout: f64,
    /// Dropout on the attention weights.
    pub attention_dropout: f64,
    /// Dropout on the embeddings; `dropout` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_dropout: Option<f64>,
    /// Dropout inside the feed-forward part; `dropout` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_forward_dropout: Option<f64>,
    /// Dropout on the residual branches; `dropout` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual_dropout: Option<f64>,
    /// Position encoding.
    pub positions: Positions,
    /// Number of positions of `learned`: the longest side, including BOS or EOS.
    pub max_positions: usize,
    /// Position of the norm: before each block (`pre`) or after the residual addition (`post`).
    pub norm_place: NormPlace,
    /// Which norm.
    pub norm: Norm,
    /// The feed-forward's activation.
    pub activation: Activation,
    /// Biases in the linear layers (and in `layer_norm`).
    pub bias: bool,
    /// Which embeddings share a matrix: `none`, `target_output`, or `all` (needs `data.shared_vocabulary`).
    pub tied_embeddings: Tied,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        TransformerConfig {
            width: 256,
            heads: 4,
            feed_forward: 1024,
            encoder: EncoderKind::Transformer,
            convolution_kernel: 15,
            front_channels: 32,
            ctc: None,
            encoder_layers: 3,
            decoder_layers: 3,
            dropout: 0.1,
            attention_dropout: 0.0,
            embedding_dropout: None,
            feed_forward_dropout: None,
            residual_dropout: None,
            positions: Positions::Sinusoidal,
            max_positions: 1024,
            norm_place: NormPlace::Pre,
            norm: Norm::LayerNorm,
            activation: Activation::Relu,
            bias: true,
            tied_embeddings: Tied::TargetOutput,
        }
    }
}

/// What the layers of an encoder are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderKind {
    /// Self-attention and a feed-forward part.
    Transformer,
    /// The same with a convolution, between two halves of a feed-forward part.
    Conformer,
}

/// Position encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Interleaved sine and cosine, added to the embedding (Vaswani et al. 2017).
    Sinusoidal,
    /// A trained vector per position, added to the embedding.
    Learned,
    /// Queries and keys of self-attention rotated by their position (Su et al. 2021).
    Rotary,
    /// None.
    None,
}

/// Position of the norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormPlace {
    /// `x + f(norm(x))`, and a norm at the end of each stack.
    Pre,
    /// `norm(x + f(x))`.
    Post,
}

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Layer normalisation, epsilon 1e-5.
    LayerNorm,
    /// Root mean square normalisation, epsilon 1e-5.
    RmsNorm,
}

/// The feed-forward's activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// The exact GELU, with the error function.
    Gelu,
    /// x * sigmoid(x)
    Silu,
    /// silu(gate(x)) * inner(x): a third matrix (Shazeer 2020).
    Swiglu,
}

impl TransformerConfig {
    /// Whether it has a CTC head.
    pub(crate) fn ctc(&self) -> bool {
        self.ctc.unwrap_or(false)
    }

    /// Dropout on the embeddings.
    pub(crate) fn embedding_dropout(&self) -> f64 {
        self.embedding_dropout.unwrap_or(self.dropout)
    }

    /// Dropout inside the feed-forward part.
    pub(crate) fn feed_forward_dropout(&self) -> f64 {
        self.feed_forward_dropout.unwrap_or(self.dropout)
    }

    /// Dropout on the residual branches.
    pub(crate) fn residual_dropout(&self) -> f64 {
        self.residual_dropout.unwrap_or(self.dropout)
    }

    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        let sizes = [
            ("width", self.width as u64),
            ("heads", self.heads as u64),
            ("feed_forward", self.feed_forward as u64),
            ("encoder_layers", self.encoder_layers as u64),
            ("decoder_layers", self.decoder_layers as u64),
            ("max_positions", self.max_positions as u64),
            ("convolution_kernel", self.convolution_kernel as u64),
            ("front_channels", self.front_channels as u64),
        ];
        ConfigError::check_integer(table, 1, &sizes)?;
        let places = [
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("embedding_dropout", self.embedding_dropout()),
            ("feed_forward_dropout", self.feed_forward_dropout()),
            ("residual_dropout", self.residual_dropout()),
        ];
        ConfigError::check_share(table, &places)?;
        let widest = [
            ("width", self.width as u64),
            ("feed_forward", self.feed_forward as u64),
            ("max_positions", self.max_positions as u64),
            ("convolution_kernel", self.convolution_kernel as u64),
            ("front_channels", self.front_channels as u64),
        ];
        ConfigError::check_most(table, WIDEST, &widest)?;
        let layers =
            [("encoder_layers", self.encoder_layers as u64), ("decoder_layers", self.decoder_layers as u64)];
        ConfigError::check_most(table, DEEPEST, &layers)?;
        self.check_weights(table)?;
        self.check_conformer(table)?;
        self.check_head_width(table)
    }

    fn check_conformer(&self, table: &str) -> Result<(), ConfigError> {
        let kernel = self.convolution_kernel;
        if kernel.is_multiple_of(2) {
            let message = format!("`convolution_kernel` must be odd, but it is {kernel}");
            return Err(ConfigError::new(table, &["convolution_kernel"], message)
                .hint("a position sees as many before it as behind it"));
        }
        if self.encoder == EncoderKind::Conformer && self.norm_place == NormPlace::Post {
            let message = "`norm_place` must be \"pre\" for `encoder` = \"conformer\", but it is \"post\"";
            return Err(ConfigError::new(table, &["norm_place", "encoder"], message));
        }
        Ok(())
    }

    /// Each size may be within its range, but not all of them together.
    fn check_weights(&self, table: &str) -> Result<(), ConfigError> {
        let [width, feed_forward] = [self.width, self.feed_forward].map(|size| size as u64);
        let inner = if self.activation == Activation::Swiglu { 3 } else { 2 } * width * feed_forward;
        let attention = 4 * width * width;
        let encoder = self.encoder_layers as u64 * (attention + inner);
        let weights = encoder + self.decoder_layers as u64 * (2 * attention + inner);
        if weights <= MOST_WEIGHTS {
            return Ok(());
        }
        let message =
            format!("the layers must have at most {MOST_WEIGHTS} weights together, but have {weights}");
        let keys = ["width", "feed_forward", "encoder_layers", "decoder_layers"];
        Err(ConfigError::new(table, &keys, message).hint("lower `width`, `feed_forward` or the layers"))
    }

    fn check_head_width(&self, table: &str) -> Result<(), ConfigError> {
        let (width, heads) = (self.width, self.heads);
        if width % heads != 0 {
            let message = format!("`heads` must divide `width`, but they are {heads} and {width}");
            return Err(ConfigError::new(table, &["heads", "width"], message)
                .hint("each head gets `width` / `heads` numbers"));
        }
        // Sines and cosines come in pairs, and so do the numbers that a rotation turns.
        if self.positions == Positions::Sinusoidal && width % 2 != 0 {
            let message = format!("`width` must be even for `sinusoidal` positions, but it is {width}");
            return Err(ConfigError::new(table, &["width", "positions"], message));
        }
        if self.positions == Positions::Rotary && (width / heads) % 2 != 0 {
            let head_width = width / heads;
            let message =
                format!("`width` / `heads` must be even for `rotary` positions, but it is {head_width}");
            return Err(ConfigError::new(table, &["heads", "width", "positions"], message));
        }
        Ok(())
    }
}
