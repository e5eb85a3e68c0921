//! Decoding: from a source to tokens, one step at a time, each drawn from what came before.
//!
//! A search sees a model only through [`search::Stepper`] (start from a source batch, step, keep rows),
//! so that it is tested with a scripted fake and no weights.

mod config;

pub use config::{DecodingConfig, LengthPenalty};

pub mod beam;
pub mod decoder;
pub mod greedy;
pub mod penalty;
pub mod search;
