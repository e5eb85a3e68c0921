//! Audio: recordings are read, resampled and turned into frames of log-mel features.
//!
//! The order is recording → speed of [`augment`] → [`resample`] → [`fbank`] → [`normalize`] → masks of [`augment`];
//! [`processor`] holds all that defines a model's features. Nothing here knows tensors, tokens or models.
//! Letters of the shapes: T frames, F bins.

pub(crate) mod augment;
pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod fbank;
pub(crate) mod features;
pub(crate) mod folder;
pub(crate) mod frames;
pub(crate) mod kaldi;
pub(crate) mod listing;
pub(crate) mod normalize;
pub(crate) mod npy;
pub mod processor;
pub mod recording;
pub mod resample;
#[cfg(test)]
mod synthetic;
pub(crate) mod utterance;
pub(crate) mod vad;

pub(crate) use frames::Frames;
pub(crate) use recording::Recording;

/// The sample rates that are read, in Hz; what lies outside is a damaged header.
pub(crate) const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// Extensions of audio files and of audio features.
const SOUND: [&str; 16] = [
    "wav", "flac", "mp3", "ogg", "oga", "opus", "m4a", "aac", "wma", "aif", "aiff", "amr", "au", "sph",
    "npy", "npz",
];

/// Whether a file is sound, or features of sound, by its name.
pub(crate) fn is_sound(path: &std::path::Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| SOUND.iter().any(|known| ending == *known))
}
