//! Position encodings: added vectors (sinusoidal, learned) or rotated queries and keys (rotary).

use tch::{Device, Kind, Tensor};

use super::params::VarBuilder;
use super::{Positions, TransformerConfig};

/// Base of the wavelengths of sinusoidal and rotary encodings.
const BASE: f64 = 10_000.0;

/// Positions whose vectors are computed in advance.
const CACHED_POSITIONS: i64 = 512;

/// The positions of tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PositionIds<'a> {
    /// The first N, in order.
    First(i64),
    /// One per row.
    Each(&'a [i64]),
    /// One per token of a batch, none beyond the number of its columns: (B, S) i64
    Batch(&'a Tensor),
}

impl PositionIds<'_> {
    /// The rows of a table; `None` beyond its end.
    fn of(self, table: &Tensor) -> Option<Tensor> {
        match self {
            PositionIds::First(count) => (count <= table.size()[0]).then(|| table.narrow(0, 0, count)),
            PositionIds::Each(places) => {
                let reaches = places.iter().all(|&place| place < table.size()[0]);
                reaches.then(|| table.index_select(0, &Tensor::from_slice(places).to_device(table.device())))
            }
            PositionIds::Batch(places) => {
                let (rows, columns) = places.size2().expect("a batch has two dimensions");
                let chosen = || table.index_select(0, &places.flatten(0, 1)).view([rows, columns, -1]);
                (columns < table.size()[0]).then(chosen)
            }
        }
    }

    /// The positions themselves, or for a batch all that it may have.
    fn list(self) -> Vec<i64> {
        match self {
            PositionIds::First(count) => (0..count).collect(),
            PositionIds::Each(places) => places.to_vec(),
            PositionIds::Batch(places) => (0..=places.size()[1]).collect(),
        }
    }

    /// The vectors at these positions, from those of [`PositionIds::list`].
    fn chosen(self, made: Tensor) -> Tensor {
        match self {
            PositionIds::Batch(_) => self.of(&made).expect("the table has all positions"),
            PositionIds::First(_) | PositionIds::Each(_) => made,
        }
    }
}

/// The position encoding of one stack, encoder or decoder.
#[derive(Debug)]
pub(crate) struct PositionTable {
    width: i64,
    head_width: i64,
    table: Table,
    device: Device,
}

/// The precomputed vectors or rotations.
#[derive(Debug)]
enum Table {
    None,
    /// All positions: (positions, D)
    Learned(Tensor),
    /// (KNOWN, D)
    Sinusoidal(Tensor),
    /// (KNOWN, K)
    Rotary(Rotation),
}

impl PositionTable {
    /// Only the learned encoding adds weights.
    pub(crate) fn new(mut vb: VarBuilder, config: &TransformerConfig) -> PositionTable {
        let (width, rows) = (config.width as i64, config.max_positions as i64);
        let (head_width, device) = (width / config.heads as i64, vb.device());
        let known = PositionIds::First(CACHED_POSITIONS).list();
        let table = match config.positions {
            Positions::Sinusoidal | Positions::Rotary if vb.is_outline() => Table::None,
            Positions::None => Table::None,
            Positions::Learned => Table::Learned(vb.sub("positions").embedding("weight", rows, width, None)),
            Positions::Sinusoidal => Table::Sinusoidal(sinusoidal(&known, width, device)),
            Positions::Rotary => Table::Rotary(Rotation::new(&known, head_width, device)),
        };
        PositionTable { width, head_width, table, device }
    }

    /// The vectors to add to the embeddings at these positions.
    ///
    /// # Shapes
    /// (positions, D), or (B, S, D) of a batch
    pub(crate) fn additive(&self, places: PositionIds) -> Option<Tensor> {
        match &self.table {
            Table::Sinusoidal(known) => {
                let made = || places.chosen(sinusoidal(&places.list(), self.width, self.device));
                Some(places.of(known).unwrap_or_else(made))
            }
            Table::Learned(rows) => {
                Some(places.of(rows).expect("no row is longer than the learned positions"))
            }
            Table::Rotary(_) | Table::None => None,
        }
    }

    /// The rotation of queries and keys at these positions.
    pub(crate) fn rotary(&self, places: PositionIds) -> Option<Rotation> {
        let Table::Rotary(known) = &self.table else { return None };
        let rotation = match (places.of(&known.cos), places.of(&known.sin)) {
            (Some(cos), Some(sin)) => Rotation { cos, sin },
            _ => {
                let Rotation { cos, sin } = Rotation::new(&places.list(), self.head_width, self.device);
                Rotation { cos: places.chosen(cos), sin: places.chosen(sin) }
            }
        };
        Some(rotation)
    }
}

/// Shares the vectors.
impl Clone for PositionTable {
    fn clone(&self) -> PositionTable {
        let table = match &self.table {
            Table::None => Table::None,
            Table::Learned(rows) => Table::Learned(rows.shallow_clone()),
            Table::Sinusoidal(known) => Table::Sinusoidal(known.shallow_clone()),
            Table::Rotary(known) => {
                Table::Rotary(Rotation { cos: known.cos.shallow_clone(), sin: known.sin.shallow_clone() })
            }
        };
        PositionTable { table, ..*self }
    }
}

/// Rotary positions (Su et al. 2021): the first half of a head's width is rotated against the second, as in GPT-NeoX.
#[derive(Debug)]
pub struct Rotation {
    /// (T, K), or (B, T, K)
    cos: Tensor,
    /// The same.
    sin: Tensor,
}

impl Rotation {
    fn new(positions: &[i64], head_width: i64, device: Device) -> Rotation {
        let angles = angles(positions, head_width); // (positions, K / 2)
        let twice = Tensor::cat(&[&angles, &angles], -1); // (positions, K)
        let on_device = |x: Tensor| x.to_kind(Kind::Float).to_device(device);
        Rotation { cos: on_device(twice.cos()), sin: on_device(twice.sin()) }
    }

    /// Rotates rows in place, each at its own position.
    ///
    /// # Shapes
    /// x: (R, D)
    pub(crate) fn rotate_rows(&self, x: &Tensor, heads: i64) {
        let (rows, width) = x.size2().expect("rows have two dimensions");
        let mut x = x.view([rows, heads, width / heads]); // (R, H, K)
        x.copy_(&self.rotate(&x));
    }

    /// Rotates queries or keys.
    ///
    /// # Shapes
    /// (B, T, H, K) to (B, T, H, K), or the same without B
    pub(crate) fn rotate(&self, x: &Tensor) -> Tensor {
        let halves = x.chunk(2, -1); // (B, T, H, K / 2) each
        let crossed = Tensor::cat(&[&-&halves[1], &halves[0]], -1); // (B, T, H, K)
        x * self.cos.unsqueeze(-2) + crossed * self.sin.unsqueeze(-2)
    }
}

/// position * BASE^(-2i / width) for i in 0..width / 2: (positions, width / 2), in f64 on the CPU
fn angles(positions: &[i64], width: i64) -> Tensor {
    let position = Tensor::from_slice(positions).to_kind(Kind::Double).unsqueeze(1); // (positions, 1)
    let exponent =
        Tensor::arange_start_step(0, width, 2, (Kind::Double, Device::Cpu)) * (-BASE.ln() / width as f64); // (width / 2)
    position * exponent.exp()
}

/// Sine in the even columns, cosine in the odd ones (Vaswani et al. 2017): (positions, width) f32
fn sinusoidal(positions: &[i64], width: i64, device: Device) -> Tensor {
    let angles = angles(positions, width); // (positions, width / 2)
    let rows = positions.len() as i64;
    let both = Tensor::stack(&[angles.sin(), angles.cos()], -1).view([rows, width]);
    both.to_kind(Kind::Float).to_device(device)
}
