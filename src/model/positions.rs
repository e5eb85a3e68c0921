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

    /// What is added to the embeddings of positions `start..start + length`.
    ///
    /// # Shapes
    /// (length, D)
    pub fn added(&self, start: i64, length: i64) -> Option<Tensor> {
        match self.kind {
            Positions::Sinusoidal => Some(sinusoidal(start, length, self.width, self.device)),
            Positions::Learned => self.learned.as_ref().map(|rows| rows.narrow(0, start, length)),
            Positions::Rotary | Positions::None => None,
        }
    }

    /// By what the queries and keys of positions `start..start + length` are turned.
    pub fn turned(&self, start: i64, length: i64) -> Option<Rotation> {
        (self.kind == Positions::Rotary).then(|| {
            let angles = angles(start, length, self.head_width, self.device); // (length, K / 2)
            let twice = Tensor::cat(&[&angles, &angles], -1); // (length, K)
            Rotation { cos: twice.cos().to_kind(Kind::Float), sin: twice.sin().to_kind(Kind::Float) }
        })
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

/// position * BASE^(-2i / width) for i in 0..width / 2, in f64 until the end: (length, width / 2)
fn angles(start: i64, length: i64, width: i64, device: Device) -> Tensor {
    let options = (Kind::Double, Device::Cpu);
    let position = Tensor::arange_start(start, start + length, options).unsqueeze(1); // (length, 1)
    let exponent = Tensor::arange_start_step(0, width, 2, options) * (-BASE.ln() / width as f64); // (width / 2)
    (position * exponent.exp()).to_device(device)
}

/// Sine in the even columns, cosine in the odd ones (Vaswani et al. 2017): (length, width) f32
fn sinusoidal(start: i64, length: i64, width: i64, device: Device) -> Tensor {
    let angles = angles(start, length, width, device); // (length, width / 2)
    Tensor::stack(&[angles.sin(), angles.cos()], -1).view([length, width]).to_kind(Kind::Float)
}
