//! Run directories, checkpoints, and the tensors in them.
//!
//! The only folder that writes model files. docs/checkpoint.md describes the format; it is a public contract.

pub mod average;
pub mod files;
pub mod model_file;
pub mod run;
pub mod tensors;
