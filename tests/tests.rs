//! The only integration-test binary; each module tests one promise.

mod bad_input;
mod config;
mod corpus;
mod ctc;
mod decode;
mod dependent;
mod distributed;
mod experiments;
mod first_hour;
mod gpu;
mod inspection;
mod kernels;
mod keys;
mod library;
mod meaning;
mod metrics;
mod model;
mod recurrent;
mod resume;
mod score;
mod signals;
mod speech;
mod structure;
mod support;
mod texts;
mod training;
