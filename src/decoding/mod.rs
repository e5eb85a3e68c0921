//! Decoding: from a source to tokens, one step at a time, each drawn from what came before.
//!
//! A search sees a model only through [`search::Stepper`] (start from sources, step, keep rows, join), so that it is
//! tested with a scripted fake and no weights. [`batch`] is the loop, [`books`] is what one source has, in one
//! [`beam`] or more, [`best`] and [`sampling`] are the choice, [`constraints`], [`opening`] and [`penalty`] what it goes
//! by. [`trace`] and [`watch`] look inside.

mod config;

pub use config::{Combination, DecodingConfig, LengthPenalty, SamplingConfig, Stop};

pub mod banned;
pub mod batch;
pub mod beam;
pub mod best;
pub mod books;
pub mod constraints;
pub mod decoder;
pub mod ensemble;
pub mod interruptible;
pub mod jobs;
pub mod opening;
pub mod penalty;
pub mod rules;
pub mod sampling;
pub mod search;
pub mod texts;
pub mod trace;
pub mod watch;
pub mod workers;

#[cfg(test)]
mod tests;
