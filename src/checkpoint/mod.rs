//! Run directories, checkpoints, and the tensors in them.
//!
//! The only folder that writes model files. docs/checkpoint.md describes the format; it is a public contract.

pub(crate) mod average;
pub(crate) mod files;
pub mod model_file;
pub mod run;
pub mod tensors;
