//! Decoding: from a source to tokens, one step at a time, each drawn from what came before.
//!
//! A search sees a model only through [`search::Stepper`] (start from sources, step, keep rows, join), so that it is
//! tested with a scripted fake and no weights. [`batch`] is the loop, [`books`] is what one source has, in one
//! [`beam`] or more, [`best`] and [`sampling`] are the choice, [`constraints`], [`opening`] and [`penalty`] what it goes
//! by. [`trace`] and [`watch`] look inside.

mod config;

pub use config::{Combination, DecodingConfig, LengthPenalty, SamplingConfig, Stop};

pub mod banned_texts;
pub mod beam;
pub mod constraints;
pub mod continuous_batching;
pub mod ensemble;
pub mod forced_prefix;
pub mod hypotheses;
pub mod incremental_decoder;
pub mod interruptible;
pub mod network_decoder;
pub mod options;
pub mod parallel;
pub mod penalty;
pub mod request;
pub mod sampling;
pub mod stream;
pub mod token_texts;
pub mod top_k;
pub mod trace;

#[cfg(test)]
mod tests;
