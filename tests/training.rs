//! What training can do besides going straight on: other optimizers, averages, frozen parts, regularisers, faults.
//!
//! `numbers` holds its parts against the plain formulas; `runs` looks at whole runs of the binary; `shards` cuts their
//! updates; `faults` breaks them.

mod faults;
mod numbers;
mod runs;
mod shards;
