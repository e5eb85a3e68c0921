//! The output layer for decoding: over the whole vocabulary, or over the allowed tokens of a batch.
//!
//! A row with a few hundred allowed tokens of many thousands needs no product with the rest. The rows of a batch share
//! one product over the union of their lists, and each has a softmax over its own list alone. So the result of a row
//! does not depend on the batch, and with every token listed it is bit-identical to the whole layer on the CPU. A bias
//! excludes PAD and BOS, which no output contains.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::layers::Linear;
use super::packed_linear::{PackedLinear, Weights};
use crate::data::vocabulary::{BOS, PAD};
use crate::shim::decoding::log_softmax;

/// Marks a token without a column.
const NOWHERE: u32 = u32::MAX;

/// The output layer.
#[derive(Debug)]
pub(crate) struct OutputLayer {
    /// (V, D)
    weight: Tensor,
    /// (V)
    bias: Tensor,
    weights: Weights,
    whole: PackedLinear,
}

/// The output layer over some tokens.
#[derive(Debug)]
pub(crate) struct RestrictedOutput {
    product: PackedLinear,
    /// The column of each token of the vocabulary, or [`NOWHERE`].
    columns: Vec<u32>,
}

impl OutputLayer {
    /// Packs the weights of `layer` in the format `weights`.
    pub(crate) fn new(layer: &Linear, weights: Weights) -> OutputLayer {
        let weight = layer.weight().detach();
        let zeros = || Tensor::zeros([weight.size()[0]], (Kind::Float, weight.device()));
        let bias = layer.bias().map_or_else(zeros, |bias| bias.detach().copy());
        for token in [PAD, BOS] {
            let _ = bias.get(token).fill_(f64::NEG_INFINITY);
        }
        let whole = PackedLinear::of(&weight, Some(&bias), weights);
        OutputLayer { weight, bias, weights, whole }
    }

    /// The device.
    pub(crate) fn device(&self) -> Device {
        self.weight.device()
    }

    /// Size of the vocabulary (V).
    pub(crate) fn vocabulary(&self) -> usize {
        self.weight.size()[0] as usize
    }

    /// The layer restricted to the union of these lists.
    pub(crate) fn restricted(&self, lists: &[&Arc<[i64]>]) -> RestrictedOutput {
        let mut columns = vec![NOWHERE; self.vocabulary()];
        let mut last: Option<&Arc<[i64]>> = None;
        for list in lists {
            // Rows of one source are adjacent and share a list.
            if last.is_none_or(|last| !Arc::ptr_eq(last, list)) {
                list.iter().for_each(|&token| columns[token as usize] = 0);
            }
            last = Some(list);
        }
        let tokens: Vec<i64> =
            (0..).zip(&columns).filter(|(_, column)| **column == 0).map(|(token, _)| token).collect();
        (0..).zip(&tokens).for_each(|(column, &token)| columns[token as usize] = column);
        let index = Tensor::from_slice(&tokens).to_device(self.weight.device());
        let of_tokens = |all: &Tensor| all.index_select(0, &index);
        let product = PackedLinear::of(&of_tokens(&self.weight), Some(&of_tokens(&self.bias)), self.weights);
        RestrictedOutput { product, columns }
    }

    /// The log-softmax of each row; if restricted, over its list, with minus infinity for all other tokens.
    ///
    /// # Shapes
    /// hidden: (R, D), `lists`: R; out: R * V numbers
    ///
    /// # Errors
    /// Errors of libtorch.
    pub(crate) fn log_probabilities(
        &self,
        hidden: &Tensor,
        narrowed: Option<&RestrictedOutput>,
        lists: &[Option<&Arc<[i64]>>],
    ) -> Result<Vec<f32>, tch::TchError> {
        let Some(RestrictedOutput { product, columns }) = narrowed else {
            return self.whole.log_probabilities(hidden);
        };
        let logits = product.forward(hidden, false, None); // (R, U)
        let used = logits.size()[1] as usize;
        let logits = Vec::<f32>::try_from(logits.flatten(0, 1))?;
        let mut all = Vec::new();
        let count = lists.len() * columns.len();
        assert!(
            all.try_reserve_exact(count).is_ok(),
            "out of memory: no memory for {count} log-probabilities"
        );
        all.resize(count, f32::NEG_INFINITY);
        let mut own = Vec::new();
        for ((row, logits), list) in all.chunks_mut(columns.len()).zip(logits.chunks(used)).zip(lists) {
            let list = list.map_or(&[][..], |list| list);
            own.clear();
            own.extend(list.iter().map(|&token| logits[columns[token as usize] as usize]));
            log_softmax(&mut own);
            list.iter().zip(&own).for_each(|(&token, &log_p)| row[token as usize] = log_p);
        }
        Ok(all)
    }
}

/// Shares the weights.
impl Clone for OutputLayer {
    fn clone(&self) -> OutputLayer {
        OutputLayer {
            weight: self.weight.shallow_clone(),
            bias: self.bias.shallow_clone(),
            weights: self.weights,
            whole: self.whole.clone(),
        }
    }
}
