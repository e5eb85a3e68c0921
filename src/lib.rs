//! seqloom

pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod data;
pub mod decoding;
pub mod error;
pub mod metrics;
pub mod model;
pub mod runtime;
pub mod shim;
pub mod training;
