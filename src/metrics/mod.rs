//! Measures of what was decoded against what was to be written.
//!
//! Numbers and strings only: nothing in this folder knows a tensor, a model or a file.

pub mod edit;
pub mod scores;
