//! The networks: from token ids to logits. No file, no terminal, no text.
//!
//! Names of dimensions, here once for the whole folder: `B` batch, `S` source length, `T` target length, `D` width, `H`
//! heads, `K` head width (`D / H`), `F` feed-forward width, `V` vocabulary. A line that changes a shape ends with a
//! comment of the new shape.
//!
//! Read [`layers`], [`attention`], [`transformer`], [`network`] in this order, then [`inference`]. Each network has a
//! packed form for decoding; [`recurrent`] is the other network.

mod config;

pub mod attention;
pub(crate) mod embeddings;
pub(crate) mod encoder_output;
pub(crate) mod front;
pub mod inference;
pub(crate) mod kv_cache;
pub mod layers;
pub mod network;
pub(crate) mod output_layer;
pub(crate) mod packed_linear;
pub mod params;
pub(crate) mod positions;
pub(crate) mod recurrent;
pub(crate) mod source_parts;
pub(crate) mod transformer;

pub use config::{
    Activation, EncoderKind, ModelConfig, NetworkConfig, Norm, NormPlace, Positions, RecurrentConfig, Tied,
    TransformerConfig,
};
pub use packed_linear::Weights;
