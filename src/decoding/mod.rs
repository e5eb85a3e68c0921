//! Decoding: from a source to tokens, one step at a time, each conditioned on the tokens before it.
//!
//! A search sees a model only through [`incremental_decoder::IncrementalDecoder`] (start from sources, step, reorder rows,
//! join), so that it is tested with a scripted fake and no weights. [`continuous_batching`] is the loop, [`search`] is the
//! search of one source, [`constraints`] and [`penalty`] restrict and rank it. [`ctc`] is for models with a CTC head.
//! [`trace`] and [`stream`] show the steps of a search.

mod config;

#[cfg(feature = "cli")]
pub(crate) use config::MOST_OF_A_SOURCE;
pub use config::{Combination, DecodingConfig, LengthPenalty, Method, SamplingConfig, Stop};

pub(crate) mod constraints;
pub(crate) mod continuous_batching;
pub mod ctc;
pub(crate) mod ensemble;
pub mod incremental_decoder;
pub(crate) mod interruptible;
pub mod network_decoder;
pub mod options;
pub mod parallel;
pub(crate) mod penalty;
pub(crate) mod search;
pub(crate) mod stream;
pub(crate) mod teacher_forcing;
pub(crate) mod token_scores;
pub(crate) mod trace;

#[cfg(test)]
mod tests;
