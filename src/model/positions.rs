//! How a token knows where it stands: added vectors (sinusoidal, learned) or turned queries and keys (rotary).

use tch::{Device, Kind, Tensor};

use super::params::Scope;
use super::{Positions, TransformerConfig};

/// Base of the wavelengths of both the sinusoidal and the rotary kind.
const BASE: f64 = 10_000.0;

/// The positions of one stack, encoder or decoder.
#[derive(Debug)]
pub struct PositionTable {
    kind: Positions,
    width: i64,
    head_width: i64,
    learned: Option<Tensor>,
    device: Device,
}

impl PositionTable {
    /// Weights only for the learned kind.
    pub fn new(mut scope: Scope, config: &TransformerConfig) -> PositionTable {
        let (width, rows) = (config.width as i64, config.max_positions as i64);
        PositionTable {
            kind: config.positions,
            width,
            head_width: width / config.heads as i64,
            device: scope.device(),
            learned: (config.positions == Positions::Learned)
                .then(|| scope.sub("positions").embedding("weight", rows, width, None)),
        }
    }

    /// What is added to the embeddings of the given positions.
    ///
    /// # Shapes
    /// (positions, D)
    pub fn added(&self, positions: &[i64]) -> Option<Tensor> {
        match self.kind {
            Positions::Sinusoidal => Some(sinusoidal(positions, self.width, self.device)),
            Positions::Learned => self
                .learned
                .as_ref()
                .map(|rows| rows.index_select(0, &Tensor::from_slice(positions).to_device(self.device))),
            Positions::Rotary | Positions::None => None,
        }
    }

    /// By what the queries and keys of the given positions are turned.
    pub fn turned(&self, positions: &[i64]) -> Option<Rotation> {
        (self.kind == Positions::Rotary).then(|| {
            let angles = angles(positions, self.head_width, self.device); // (positions, K / 2)
            let twice = Tensor::cat(&[&angles, &angles], -1); // (positions, K)
            Rotation { cos: twice.cos().to_kind(Kind::Float), sin: twice.sin().to_kind(Kind::Float) }
        })
    }
}

/// The same vectors, not a copy of them.
impl Clone for PositionTable {
    fn clone(&self) -> PositionTable {
        PositionTable { learned: self.learned.as_ref().map(Tensor::shallow_clone), ..*self }
    }
}

/// Rotary positions (Su et al. 2021): the first half of a head's width is turned against the second, as in GPT-NeoX.
#[derive(Debug)]
pub struct Rotation {
    /// (T, K)
    cos: Tensor,
    /// (T, K)
    sin: Tensor,
}

impl Rotation {
    /// Turns rows that have a position each, in place.
    ///
    /// # Shapes
    /// x: (R, D)
    pub fn turn_rows(&self, x: &Tensor, heads: i64) {
        let (rows, width) = x.size2().expect("rows have two dimensions");
        let mut x = x.view([rows, heads, width / heads]); // (R, H, K)
        let each = Rotation { cos: self.cos.unsqueeze(1), sin: self.sin.unsqueeze(1) }; // (R, 1, K)
        x.copy_(&each.turn(&x));
    }

    /// Turns queries or keys.
    ///
    /// # Shapes
    /// (B, H, T, K) to (B, H, T, K)
    pub fn turn(&self, x: &Tensor) -> Tensor {
        let halves = x.chunk(2, -1); // (B, H, T, K / 2) each
        let crossed = Tensor::cat(&[&-&halves[1], &halves[0]], -1); // (B, H, T, K)
        x * &self.cos + crossed * &self.sin
    }
}

/// position * BASE^(-2i / width) for i in 0..width / 2, in f64 until the end: (positions, width / 2)
fn angles(positions: &[i64], width: i64, device: Device) -> Tensor {
    let position = Tensor::from_slice(positions).to_kind(Kind::Double).unsqueeze(1); // (positions, 1)
    let exponent =
        Tensor::arange_start_step(0, width, 2, (Kind::Double, Device::Cpu)) * (-BASE.ln() / width as f64); // (width / 2)
    (position * exponent.exp()).to_device(device)
}

/// Sine in the even columns, cosine in the odd ones (Vaswani et al. 2017): (positions, width) f32
fn sinusoidal(positions: &[i64], width: i64, device: Device) -> Tensor {
    let angles = angles(positions, width, device); // (positions, width / 2)
    let rows = positions.len() as i64;
    Tensor::stack(&[angles.sin(), angles.cos()], -1).view([rows, width]).to_kind(Kind::Float)
}
