//! Options of training: other optimizers, averages, frozen parts, regularisers, faults.
//!
//! `numbers` compares its parts with the formulas; `runs` tests whole runs of the binary; `shards` splits their
//! updates; `faults` injects faults.

mod faults;
mod numbers;
mod runs;
mod shards;
