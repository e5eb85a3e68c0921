//! The enum of all networks, for training and scoring. Decoding is in [`super::inference`].
//!
//! A new network needs a folder beside [`super::transformer`], a table of the config, and a variant in both enums.

use tch::{Kind, Tensor};

use super::NetworkConfig;
use super::encoder_output::EncoderOutput;
use super::layers::{DropoutRng, Linear};
use super::params::Params;
use super::recurrent::Recurrent;
use super::transformer::Transformer;
use crate::data::batch::SourceBatch;
use crate::data::source::SourceShape;
use crate::data::vocabulary::{BOS, PAD};

/// What the check of a config rules out.
const READS_TOKENS: &str = "a recurrent network reads tokens";

/// A network from token ids to predictions of token ids.
#[derive(Debug)]
pub enum Network {
    /// Transformer encoder-decoder.
    Transformer(Box<Transformer>),
    /// Recurrent encoder-decoder with attention.
    Recurrent(Box<Recurrent>),
}

/// The predictions of a network at positions of targets.
#[derive(Debug)]
pub enum Predictions<'n> {
    /// Hidden states before the output layer: a loss that is fused with the layer never holds all scores.
    Hidden {
        /// (..., D)
        hidden: Tensor,
        /// The layer: (V, D)
        output: &'n Linear,
    },
}

impl Network {
    /// The network of a config; its weights are added to `params`. `source` is what sources are made of: a vocabulary's size,
    /// or frames, which a config has checked that the network reads. `target` is the size of a vocabulary.
    pub fn new(
        config: &NetworkConfig,
        source: impl Into<SourceShape>,
        target: usize,
        params: &mut Params,
    ) -> Network {
        let source = source.into();
        match config {
            NetworkConfig::Transformer(config) => {
                Network::Transformer(Box::new(Transformer::new(config, source, target, params)))
            }
            NetworkConfig::Recurrent(config) => {
                let Some(source) = source.vocabulary() else { panic!("{READS_TOKENS}") };
                Network::Recurrent(Box::new(Recurrent::new(config, source, target, params)))
            }
        }
    }

    /// The same network over another set of weights, such as [`Params::sharing`] gives.
    pub(crate) fn sharing(&self, params: &mut Params) -> Network {
        match self {
            Network::Transformer(network) => Network::Transformer(Box::new(network.sharing(params))),
            Network::Recurrent(network) => Network::Recurrent(Box::new(network.sharing(params))),
        }
    }

    /// The longest side that the network can read, including EOS or BOS; `None` for any length.
    pub(crate) fn max_length(&self) -> Option<usize> {
        match self {
            Network::Transformer(network) => network.max_length(),
            Network::Recurrent(_) => None,
        }
    }

    /// The precision of its matrix products.
    pub(crate) fn compute(&self) -> Kind {
        self.output().compute()
    }

    /// The output layer.
    pub(super) fn output(&self) -> &Linear {
        match self {
            Network::Transformer(network) => network.output(),
            Network::Recurrent(network) => network.output(),
        }
    }

    /// Multiplications in one forward pass of a batch: those of the linear layers, without attention.
    pub fn multiplications(&self, source_tokens: u64, target_tokens: u64) -> f64 {
        match self {
            Network::Transformer(network) => network.multiplications(source_tokens, target_tokens),
            Network::Recurrent(network) => network.multiplications(source_tokens, target_tokens),
        }
    }

    /// Encodes a source batch; without `rng` there is no dropout.
    pub fn encode(&self, source: &SourceBatch, rng: Option<&DropoutRng>) -> EncoderOutput {
        match self {
            Network::Transformer(network) => network.encode(source, rng),
            Network::Recurrent(network) => network.encode(source, rng),
        }
    }

    /// The CTC head's scores of the vocabulary at each position of the encoder, before the softmax, in f32; PAD is the blank.
    /// Nothing where the network has no such head.
    ///
    /// # Shapes
    /// (B, S, V)
    pub fn ctc_logits(&self, encoded: &EncoderOutput) -> Option<Tensor> {
        match self {
            Network::Transformer(network) => network.ctc_logits(encoded),
            Network::Recurrent(_) => None,
        }
    }

    /// Predicts the next token at each position of whole targets: position t depends on the tokens up to t and the
    /// source.
    ///
    /// # Shapes
    /// target_in: (B, T) i64; the predictions: (B, T)
    pub fn decode(
        &self,
        target_in: &Tensor,
        encoded: &EncoderOutput,
        rng: Option<&DropoutRng>,
    ) -> Predictions<'_> {
        let hidden = match self {
            Network::Transformer(network) => network.decode(target_in, encoded, rng), // (B, T, D)
            Network::Recurrent(network) => network.decode(target_in, encoded, rng),
        };
        Predictions::Hidden { hidden, output: self.output() }
    }
}

impl Predictions<'_> {
    /// The predictions at some positions of the flattened (B, T): (N)
    pub fn at(&self, positions: &Tensor) -> Self {
        let Predictions::Hidden { hidden, output } = self;
        Predictions::Hidden { hidden: hidden.flatten(0, -2).index_select(0, positions), output }
    }

    /// Splits (N) into parts of at most `count` positions.
    pub(crate) fn split(&self, count: i64) -> impl Iterator<Item = Self> {
        let Predictions::Hidden { hidden, output } = self;
        hidden.split(count, 0).into_iter().map(move |hidden| Predictions::Hidden { hidden, output })
    }

    /// Logits in f32: (..., V)
    pub fn logits(&self) -> Tensor {
        let Predictions::Hidden { hidden, output } = self;
        output.forward(hidden).to_kind(Kind::Float)
    }

    /// Log-probabilities of the tokens that an output may contain, without gradient; PAD and BOS have probability 0:
    /// (..., V)
    pub fn log_probabilities(&self) -> Tensor {
        let _guard = tch::no_grad_guard();
        let logits = self.logits();
        for token in [PAD, BOS] {
            let _ = logits.select(-1, token).fill_(f64::NEG_INFINITY);
        }
        logits.log_softmax(-1, Kind::Float)
    }
}
