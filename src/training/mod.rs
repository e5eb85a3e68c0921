//! Teacher forcing: batches go in, losses come out, weights move, and a checkpoint says how to go on.
//!
//! The only folder that runs a backward pass.

mod config;

pub use config::{AdamWConfig, BestBy, DecayConfig, TrainingConfig, WarmupConfig};

pub mod curves;
pub mod loss;
pub mod metrics;
pub mod optimizer;
pub mod report;
pub mod schedule;
pub mod tensorboard;
pub mod trainer;
pub mod validation;
