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
pub mod ema;
pub mod gradients;
pub mod loss;
pub mod metrics;
pub mod objective;
pub mod optimizer;
pub mod out_of_memory;
pub mod pace;
pub mod partition;
pub mod recorders;
pub mod replicas;
pub mod schedule;
pub mod state;
pub mod trainer;
pub mod validation;
