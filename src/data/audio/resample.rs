//! Another sample rate, by a windowed-sinc low-pass (rubato): what the lower rate can't hold is removed, not folded
//! down.
//!
//! The ratio of the rates is always exact. The filter is symmetric, and its delay, a whole number of
//! samples, is removed: an event stays where it was. 0 lies before the first sample and behind the last.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::Recording;
use crate::error::{Error, Result};

/// Taps of the filter at the lower of both rates, or more. They keep 97 % of its band.
const TAPS: u32 = 1024;

/// The recording at another sample rate; one that has it already stays as it is.
///
/// # Errors
/// There is not enough memory.
pub fn resample(recording: Recording, sample_rate: u32) -> Result<Recording> {
    let samples = match recording.sample_rate == sample_rate {
        true => recording.samples,
        false => resample_by(&recording.samples, sample_rate, recording.sample_rate)?,
    };
    Ok(Recording { samples, sample_rate })
}

/// The samples as `to / from` times as many: `round(n * to / from)`. At the same rate they last so much longer and
/// sound so much lower.
///
/// # Errors
/// There is not enough memory.
pub(crate) fn resample_by(samples: &[f32], to: u32, from: u32) -> Result<Vec<f32>> {
    let length = resampled_length(samples.len(), to, from);
    let shared = gcd(to, from);
    let (to, from) = (to / shared, from / shared);
    // An even number of blocks: half of each, the delay, is then a whole number of samples at both rates.
    let blocks = 2 * (TAPS / 2).div_ceil(to.min(from));
    let (chunk, window) = ((blocks * from) as usize, WindowFunction::BlackmanHarris2);
    let mut resampler =
        Fft::<f32>::new_custom(from as usize, to as usize, chunk, 1, 1, window, FixedSync::Both)
            .map_err(failed)?;
    let mut output = vec![0.0; resampler.process_all_needed_output_len(samples.len()).max(length)];
    let room = output.len();
    let input = SequentialSlice::new(samples, 1, samples.len()).map_err(failed)?;
    let mut adapter = SequentialSlice::new_mut(&mut output, 1, room).map_err(failed)?;
    resampler.process_all_into_buffer(&input, &mut adapter, samples.len(), None).map_err(failed)?;
    output.truncate(length);
    Ok(output)
}

/// The number of samples that [`resample_by`] returns.
pub(crate) fn resampled_length(samples: usize, to: u32, from: u32) -> usize {
    let (to, from) = (u128::from(to), u128::from(from));
    ((samples as u128 * to + from / 2) / from) as usize
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::failure(format!("the recording cannot be resampled: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::audio::synthetic::{rms, tone, voice};

    /// The rates of telephones, recorders and models, in pairs, and those of speed perturbation.
    const PAIRS: [(u32, u32); 11] = [
        (8000, 16000),
        (16000, 8000),
        (44100, 16000),
        (48000, 16000),
        (48000, 8000),
        (22050, 16000),
        (11025, 16000),
        (16000, 44100),
        (15999, 16000),
        (10, 9),
        (10, 11),
    ];

    /// The samples but for the ends, where the filter has not seen enough.
    fn inner(samples: &[f32]) -> &[f32] {
        &samples[samples.len() / 4..samples.len() / 4 * 3]
    }

    #[test]
    fn the_length_is_rounded() {
        for (from, to) in PAIRS {
            for samples in [1, 7, 1023, 1024, 1025, 5000] {
                let expected = (samples as f64 * f64::from(to) / f64::from(from)).round() as usize;
                let length = resample_by(&vec![0.1; samples], to, from).unwrap().len();
                assert_eq!(length, expected, "{samples} from {from} to {to}");
            }
        }
        assert!(resample_by(&[], 16000, 8000).unwrap().is_empty());
    }

    #[test]
    fn a_tone_below_both_nyquist_frequencies_is_unchanged() {
        for (from, to) in PAIRS {
            let unit = if from < 100 { 1600 } else { 1 };
            let (from_rate, to_rate) = (from * unit, to * unit);
            for share in [0.01, 0.3, 0.95] {
                let hertz = share * f64::from(from_rate.min(to_rate)) / 2.0;
                let samples = resample_by(&tone(hertz, from_rate as usize / 4, from_rate), to, from).unwrap();
                let expected = tone(hertz, samples.len(), to_rate);
                let apart: Vec<f32> =
                    inner(&samples).iter().zip(inner(&expected)).map(|(x, y)| x - y).collect();
                assert!(
                    rms(&apart) < 0.01 * rms(inner(&expected)),
                    "{hertz} Hz from {from} to {to}: {}",
                    rms(&apart)
                );
            }
        }
    }

    #[test]
    fn a_tone_above_the_new_nyquist_frequency_is_60_db_down() {
        for (from, to) in PAIRS.into_iter().filter(|(from, to)| from > to) {
            let unit = if from < 100 { 1600 } else { 1 };
            let (from, to) = (from * unit, to * unit);
            for share in [1.02, 1.1, 1.5] {
                let hertz = share * f64::from(to) / 2.0;
                if hertz < f64::from(from) / 2.0 {
                    let signal = tone(hertz, from as usize / 4, from);
                    let samples = resample_by(&signal, to, from).unwrap();
                    let decibels = 20.0 * (rms(inner(&samples)) / rms(inner(&signal))).log10();
                    assert!(decibels < -60.0, "{hertz} Hz from {from} to {to}: {decibels} dB");
                }
            }
        }
    }

    #[test]
    fn resampling_does_not_shift_events() {
        for (from, to) in PAIRS {
            let mut samples = vec![0.0; 3000];
            samples[1500] = 1.0;
            let resampled = resample_by(&samples, to, from).unwrap();
            let peak = (0..resampled.len()).max_by(|a, b| resampled[*a].total_cmp(&resampled[*b])).unwrap();
            let expected = 1500.0 * f64::from(to) / f64::from(from);
            assert!((peak as f64 - expected).abs() <= 0.5, "from {from} to {to}: at {peak}, not {expected}");
        }
    }

    #[test]
    fn resampling_is_bit_identical_for_equal_samples() {
        let samples = voice(4000, 44100);
        assert_eq!(
            resample_by(&samples, 16000, 44100).unwrap(),
            resample_by(&samples, 16000, 44100).unwrap()
        );
        let recording = Recording { samples, sample_rate: 44100 };
        assert_eq!(resample(recording.clone(), 44100).unwrap(), recording);
        assert_eq!(resample(recording, 22050).unwrap().sample_rate, 22050);
    }
}
