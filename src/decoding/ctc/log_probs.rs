//! What a CTC head gives to the frames of one source.

use crate::error::{Error, Result};

/// Log-probabilities of the symbols at each frame of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct CtcLogProbs {
    /// (T' * V)
    data: Vec<f32>,
    frames: usize,
    symbols: usize,
    blank: i64,
}

impl CtcLogProbs {
    /// The rows of `data`, one for each frame; each sums to one after `exp`. A symbol may be impossible (minus
    /// infinity).
    ///
    /// # Shapes
    /// data: (T' * V), V being `symbols`, the blank among them
    ///
    /// # Errors
    /// A number is NaN or infinity; the sizes do not match.
    pub fn new(data: Vec<f32>, symbols: usize, blank: i64) -> Result<CtcLogProbs> {
        let has_blank = usize::try_from(blank).is_ok_and(|blank| blank < symbols);
        if !has_blank || !data.len().is_multiple_of(symbols) {
            let numbers = data.len();
            let message =
                format!("the CTC head gave {numbers} scores for {symbols} symbols and blank {blank}");
            return Err(Error::failure(message));
        }
        if data.iter().any(|log_p| log_p.is_nan() || *log_p == f32::INFINITY) {
            return Err(Error::not_finite("the scores of the CTC head are not finite numbers"));
        }
        Ok(CtcLogProbs { frames: data.len() / symbols, data, symbols, blank })
    }

    /// T', the number of frames.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// V, the number of symbols.
    pub(crate) fn symbols(&self) -> usize {
        self.symbols
    }

    /// The symbol without a token.
    pub(crate) fn blank(&self) -> i64 {
        self.blank
    }

    /// All numbers, frame after frame.
    ///
    /// # Shapes
    /// out: (T' * V)
    pub(crate) fn data(&self) -> &[f32] {
        &self.data
    }

    /// The symbols of a frame.
    ///
    /// # Shapes
    /// out: (V)
    pub(crate) fn frame(&self, number: usize) -> &[f32] {
        &self.data[number * self.symbols..][..self.symbols]
    }

    /// The log-probability of a symbol at a frame; minus infinity for a symbol that there is not.
    pub(crate) fn at(&self, frame: usize, symbol: i64) -> f64 {
        match usize::try_from(symbol) {
            Ok(symbol) if symbol < self.symbols => f64::from(self.data[frame * self.symbols + symbol]),
            _ => f64::NEG_INFINITY,
        }
    }
}
