//! `[model.recurrent]`: the sizes of a recurrent encoder-decoder with attention.

use serde::{Deserialize, Serialize};

use super::{DEEPEST, MOST_WEIGHTS, Tied, WIDEST};
use crate::error::ConfigError;

/// `[model.recurrent]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecurrentConfig {
    /// Width of the hidden states (D), half of it for each direction of the encoder. Must be even.
    pub width: usize,
    /// Layers of the encoder, each bidirectional.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Dropout on the input of each layer and of the output layer.
    pub dropout: f64,
    /// Which embeddings share a matrix: `none`, `target_output`, or `all` (needs `data.shared_vocabulary`).
    pub tied_embeddings: Tied,
}

impl Default for RecurrentConfig {
    fn default() -> Self {
        RecurrentConfig {
            width: 256,
            encoder_layers: 1,
            decoder_layers: 1,
            dropout: 0.2,
            tied_embeddings: Tied::TargetOutput,
        }
    }
}

impl RecurrentConfig {
    pub(super) fn check(&self, table: &str) -> Result<(), ConfigError> {
        let width = [("width", self.width as u64)];
        let layers =
            [("encoder_layers", self.encoder_layers as u64), ("decoder_layers", self.decoder_layers as u64)];
        ConfigError::check_integer(table, 1, &width)?;
        ConfigError::check_integer(table, 1, &layers)?;
        ConfigError::check_share(table, &[("dropout", self.dropout)])?;
        ConfigError::check_most(table, WIDEST, &width)?;
        ConfigError::check_most(table, DEEPEST, &layers)?;
        if !self.width.is_multiple_of(2) {
            let message = format!("`width` must be even, but it is {}", self.width);
            let hint = "each direction of the encoder gets half of it";
            return Err(ConfigError::new(table, &["width"], message).hint(hint));
        }
        self.check_weights(table)
    }

    /// Each size may be within its range, but not all of them together.
    fn check_weights(&self, table: &str) -> Result<(), ConfigError> {
        let square = (self.width * self.width) as u64;
        let (encoder, decoder) = (self.encoder_layers as u64, self.decoder_layers as u64);
        // Counted in half squares, to stay integral: gates of both directions; gates and the first state.
        let weights = (encoder * 9 + decoder * 14) * square / 2;
        if weights <= MOST_WEIGHTS {
            return Ok(());
        }
        let message =
            format!("the layers must have at most {MOST_WEIGHTS} weights together, but have {weights}");
        let keys = ["width", "encoder_layers", "decoder_layers"];
        Err(ConfigError::new(table, &keys, message).hint("lower `width` or the layers"))
    }
}
