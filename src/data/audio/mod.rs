//! Audio: recordings are read, resampled and turned into frames of log-mel features.
//!
//! The order is recording → speed of [`augment`] → [`resample`] → [`fbank`] → [`normalize`] → masks of [`augment`];
//! [`processor`] holds all that defines a model's features. Nothing here knows tensors, tokens or models.
//! Letters of the shapes: T frames, F bins.

pub mod augment;
pub mod cache;
pub mod config;
pub mod fbank;
pub mod features;
pub mod folder;
pub mod frames;
pub mod kaldi;
pub mod listing;
pub mod normalize;
pub mod npy;
pub mod processor;
pub mod recording;
pub mod resample;
#[cfg(test)]
mod synthetic;
pub mod utterance;
pub mod vad;

pub use frames::Frames;
pub use recording::Recording;

/// The sample rates that are read, in Hz; what lies outside is a damaged header.
pub const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;
