//! What training can do besides going straight on: other optimizers, averages, frozen parts, regularisers, faults.
//!
//! `numbers` holds its parts against the plain formulas; `runs` looks at whole runs of the binary; `faults` breaks them.

mod faults;
mod numbers;
mod runs;
