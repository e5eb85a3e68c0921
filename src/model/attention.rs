//! Multi-head attention (Vaswani et al. 2017) on libtorch's fused kernel.

use tch::Tensor;

use super::TransformerConfig;
use super::layers::Linear;
use super::params::Scope;
use super::positions::Rotation;

/// What a query may not look at.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// Everything may be seen.
    Open,
    /// Nothing that comes later.
    Causal,
    /// No padding: zero where a key is real, minus infinity where it is padding, (B, 1, 1, S).
    Padding(&'a Tensor),
}

impl<'a> Mask<'a> {
    /// A padding mask where there is padding at all.
    pub fn padding(mask: &'a Option<Tensor>) -> Mask<'a> {
        mask.as_ref().map_or(Mask::Open, Mask::Padding)
    }
}

/// What queries look at.
#[derive(Debug)]
pub struct KeysValues {
    /// (B, H, S, K)
    pub keys: Tensor,
    /// (B, H, S, K)
    pub values: Tensor,
}

impl KeysValues {
    /// The rows named by `rows`, (N) i64, in that order.
    pub fn keep(&self, rows: &Tensor) -> KeysValues {
        KeysValues { keys: self.keys.index_select(0, rows), values: self.values.index_select(0, rows) }
    }
}

/// softmax(Q K' / sqrt(K)) V, in H heads, between four matrices.
#[derive(Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: i64,
}

impl Attention {
    /// Four matrices of D by D.
    pub fn new(mut scope: Scope, config: &TransformerConfig) -> Attention {
        let width = config.width as i64;
        let mut matrix = |name| Linear::new(scope.sub(name), width, width, config.bias);
        Attention {
            query: matrix("query"),
            key: matrix("key"),
            value: matrix("value"),
            output: matrix("output"),
            heads: config.heads as i64,
        }
    }

    /// The keys and values of what is looked at.
    ///
    /// # Shapes
    /// memory: (B, S, D)
    pub fn keys_values(&self, memory: &Tensor, rotation: Option<&Rotation>) -> KeysValues {
        let keys = self.split(&self.key.forward(memory)); // (B, H, S, K)
        let keys = rotation.map_or_else(|| keys.shallow_clone(), |rotation| rotation.turn(&keys));
        KeysValues { keys, values: self.split(&self.value.forward(memory)) }
    }

    /// What each position takes from what it may see.
    ///
    /// # Shapes
    /// x: (B, T, D) to (B, T, D)
    pub fn forward(&self, x: &Tensor, seen: &KeysValues, mask: Mask, rotation: Option<&Rotation>) -> Tensor {
        let query = self.split(&self.query.forward(x)); // (B, H, T, K)
        let query = rotation.map_or_else(|| query.shallow_clone(), |rotation| rotation.turn(&query));
        let padding = match mask {
            Mask::Padding(padding) => Some(padding),
            Mask::Open | Mask::Causal => None,
        };
        let causal = matches!(mask, Mask::Causal);
        let (keys, values) = (&seen.keys, &seen.values);
        let heads =
            Tensor::scaled_dot_product_attention(&query, keys, values, padding, 0.0, causal, None, false);
        self.output.forward(&heads.transpose(1, 2).reshape_as(x)) // (B, T, D)
    }

    /// (B, T, D) to (B, H, T, K)
    fn split(&self, x: &Tensor) -> Tensor {
        let (b, t, d) = x.size3().expect("attention wants three dimensions");
        x.view([b, t, self.heads, d / self.heads]).transpose(1, 2)
    }
}
