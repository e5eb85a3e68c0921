//! What outlives the process: run directories, checkpoints, and the tensors in them.
//!
//! The only folder that writes model files. The format is described in docs/checkpoint.md; it is a public contract.

pub mod average;
pub mod files;
pub mod model_file;
pub mod run;
pub mod tensors;
