//! Decoding: from a source to tokens, one step at a time, each conditioned on the tokens before it.
//!
//! A search sees a model only through [`incremental_decoder::IncrementalDecoder`] (start from sources, step, reorder rows,
//! join), so that it is tested with a scripted fake and no weights. [`continuous_batching`] is the loop, [`search`] is the
//! search of one source, [`constraints`] and [`penalty`] restrict and rank it. [`ctc`] is for models with a CTC head.
//! [`trace`] and [`stream`] show the steps of a search.

mod config;

pub use config::{Combination, DecodingConfig, LengthPenalty, Method, SamplingConfig, Stop};

pub mod constraints;
pub mod continuous_batching;
pub mod ctc;
pub mod ensemble;
pub mod in_order;
pub mod incremental_decoder;
pub mod interruptible;
pub mod network_decoder;
pub mod options;
pub mod parallel;
pub mod penalty;
pub mod request;
pub mod search;
pub mod stream;
pub mod teacher_forcing;
pub mod trace;

#[cfg(test)]
mod tests;
