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

/// Extensions of audio files and of audio features.
const SOUND: [&str; 16] = [
    "wav", "flac", "mp3", "ogg", "oga", "opus", "m4a", "aac", "wma", "aif", "aiff", "amr", "au", "sph",
    "npy", "npz",
];

/// Whether a file is sound, or features of sound, by its name.
pub fn is_sound(path: &std::path::Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| SOUND.iter().any(|known| ending == *known))
}
