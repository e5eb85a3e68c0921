//! Training by teacher forcing: losses, gradients, optimizers, schedules, validation, and the loop around them.
//!
//! The only folder that runs a backward pass.

mod config;

pub use config::{
    AdamConfig, AdamWConfig, AverageOf, BestBy, DecayConfig, EmaConfig, GroupConfig, MetricName,
    NonFiniteConfig, PlateauConfig, ScheduledSamplingConfig, SgdConfig, Then, TokensPerBatch, TrainingConfig,
    WarmupConfig,
};

pub mod clock;
pub mod context;
pub(crate) mod ema;
pub(crate) mod exchange;
pub(crate) mod gradients;
pub mod loss;
pub mod metrics;
pub mod optimizer;
pub(crate) mod out_of_memory;
pub(crate) mod pace;
pub(crate) mod partition;
pub mod recorders;
pub(crate) mod replicas;
mod saved;
pub(crate) mod schedule;
pub(crate) mod state;
pub mod trainer;
pub(crate) mod validation;
