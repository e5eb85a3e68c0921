//! Multi-head attention (Vaswani et al. 2017) on libtorch's fused kernel.

use tch::{Device, Kind, Tensor};

use super::TransformerConfig;
use super::layers::{Linear, Noise, dropout};
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

    fn padding_of(self) -> Option<&'a Tensor> {
        match self {
            Mask::Padding(padding) => Some(padding),
            Mask::Open | Mask::Causal => None,
        }
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
    dropout: f64,
    /// What the products between queries, keys and values compute in.
    compute: Kind,
}

impl Attention {
    /// Four matrices of D by D.
    pub fn new(mut scope: Scope, config: &TransformerConfig) -> Attention {
        let width = config.width as i64;
        // The CPU's fused attention in bf16 has a backward pass that is ten times slower than in f32.
        let compute = if scope.device() == Device::Cpu { Kind::Float } else { scope.compute() };
        let mut matrix = |name| Linear::new(scope.sub(name), width, width, config.bias);
        Attention {
            query: matrix("query"),
            key: matrix("key"),
            value: matrix("value"),
            output: matrix("output"),
            heads: config.heads as i64,
            dropout: config.attention_dropout,
            compute,
        }
    }

    /// Queries, keys and values of the same positions, for self-attention.
    ///
    /// # Shapes
    /// x: (B, T, D); the queries: (B, H, T, K)
    pub fn project(&self, x: &Tensor, rotation: Option<&Rotation>) -> (Tensor, KeysValues) {
        let [query, keys, values] = Linear::forward_all([&self.query, &self.key, &self.value], x); // (B, T, D)
        let (query, keys) = (self.turned(&query, rotation), self.turned(&keys, rotation));
        (query, KeysValues { keys, values: self.split(&values) })
    }

    /// The queries of positions that look at others.
    ///
    /// # Shapes
    /// x: (B, T, D) to (B, H, T, K)
    pub fn queries(&self, x: &Tensor) -> Tensor {
        self.split(&self.query.forward(x))
    }

    /// The keys and values of what is looked at.
    ///
    /// # Shapes
    /// memory: (B, S, D)
    pub fn keys_values(&self, memory: &Tensor) -> KeysValues {
        let [keys, values] = Linear::forward_all([&self.key, &self.value], memory); // (B, S, D)
        KeysValues { keys: self.split(&keys), values: self.split(&values) }
    }

    /// What each position takes from what it may see.
    ///
    /// # Shapes
    /// query: (B, H, T, K) to (B, T, D)
    pub fn forward(&self, query: &Tensor, seen: &KeysValues, mask: Mask, noise: Option<&Noise>) -> Tensor {
        let cast = |tensor: &Tensor| tensor.to_kind(self.compute);
        let (query, keys, values) = (cast(query), cast(&seen.keys), cast(&seen.values));
        let heads = match noise.filter(|_| self.dropout > 0.0) {
            Some(noise) => self.with_dropout(&query, &keys, &values, mask, noise),
            None => {
                let padding = mask.padding_of().map(cast);
                let causal = matches!(mask, Mask::Causal);
                Tensor::scaled_dot_product_attention(
                    &query, &keys, &values, padding, 0.0, causal, None, false,
                )
            }
        };
        self.output.forward(&heads.transpose(1, 2).flatten(2, 3)) // (B, T, D)
    }

    /// The same written out, with dropout on the attention's weights: libtorch's own draws its mask from a generator
    /// of the process.
    fn with_dropout(
        &self,
        query: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        mask: Mask,
        noise: &Noise,
    ) -> Tensor {
        let scale = (query.size()[3] as f64).sqrt();
        let scores = (query / scale).matmul(&keys.transpose(2, 3)).to_kind(Kind::Float); // (B, H, T, S)
        let scores = match mask {
            Mask::Open => scores,
            Mask::Padding(padding) => scores + padding,
            Mask::Causal => {
                let later = scores.ones_like().triu(1).to_kind(Kind::Bool);
                scores.masked_fill(&later, f64::NEG_INFINITY)
            }
        };
        let weights = dropout(scores.softmax(-1, Kind::Float), None, self.dropout, Some(noise));
        weights.to_kind(values.kind()).matmul(values) // (B, H, T, K)
    }

    /// (B, T, D) to (B, H, T, K)
    fn split(&self, x: &Tensor) -> Tensor {
        let (b, t, d) = x.size3().expect("attention wants three dimensions");
        x.view([b, t, self.heads, d / self.heads]).transpose(1, 2)
    }

    fn turned(&self, x: &Tensor, rotation: Option<&Rotation>) -> Tensor {
        let heads = self.split(x); // (B, H, T, K)
        rotation.map_or_else(|| heads.shallow_clone(), |rotation| rotation.turn(&heads))
    }
}
