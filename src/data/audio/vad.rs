//! Long recordings are cut into segments at silences, for models that were trained on short ones.
//!
//! By energy alone: a cut is in the middle of the quietest stretch of 0.3 s that lies in the second half of what a
//! segment may hold. The segments cover the whole recording: no sample is lost, and none is there twice.

use std::ops::Range;

/// A step of the energy, in seconds.
const STEP: f64 = 0.01;

/// Steps of the stretch whose energy is compared.
const STRETCH: usize = 30;

/// Segments of at most `max_seconds`, as ranges of samples in their order. A recording that is short enough is one
/// segment.
///
/// `max_seconds` below 0.04 is 0.04.
pub(crate) fn split_at_silences(samples: &[f32], sample_rate: u32, max_seconds: f64) -> Vec<Range<usize>> {
    let step = ((STEP * f64::from(sample_rate)) as usize).max(1);
    // Casts saturate.
    let most = ((max_seconds * f64::from(sample_rate)) as usize).max(4 * step);
    let sums = energy_sums(samples, step);
    let (mut segments, mut start) = (Vec::new(), 0);
    while samples.len() - start > most {
        let left = samples.len() - start;
        // A quarter at least is left for the last segment.
        let window = start + most / 2..start + most.min(left - most / 4);
        let cut = quietest(&sums, step, window);
        segments.push(start..cut);
        start = cut;
    }
    if start < samples.len() {
        segments.push(start..samples.len());
    }
    segments
}

/// The energy of all steps before each step.
fn energy_sums(samples: &[f32], step: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let energies = samples.chunks(step).map(|chunk| {
        sum += chunk.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
        sum
    });
    std::iter::once(0.0).chain(energies).collect()
}

/// The start of a step inside `window` around which the energy is lowest; of equals, that in the middle of the first
/// run.
fn quietest(sums: &[f64], step: usize, window: Range<usize>) -> usize {
    let steps = window.start.div_ceil(step)..=window.end / step;
    let energy = |at: usize| {
        let (from, to) = (at.saturating_sub(STRETCH / 2), (at + STRETCH / 2).min(sums.len() - 1));
        (sums[to] - sums[from]) / (to - from) as f64
    };
    let energies: Vec<f64> = steps.clone().map(energy).collect();
    let lowest = energies.iter().copied().fold(f64::INFINITY, f64::min);
    let first = energies.iter().position(|energy| *energy <= lowest).unwrap_or(0);
    let run = energies[first..].iter().take_while(|energy| **energy <= lowest).count();
    (steps.start() + first + run / 2) * step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::audio::synthetic::voice;

    /// Speech with pauses, whose middles are returned: at 8 kHz.
    fn speech(words: &[f64], pause: f64) -> (Vec<f32>, Vec<usize>) {
        let (mut samples, mut pauses) = (Vec::new(), Vec::new());
        for seconds in words {
            samples.extend(voice((seconds * 8000.0) as usize, 8000));
            pauses.push(samples.len() + (pause * 4000.0) as usize);
            samples.extend(vec![0.0; (pause * 8000.0) as usize]);
        }
        (samples, pauses)
    }

    fn check_cover(segments: &[Range<usize>], samples: usize, most: usize) {
        assert_eq!((segments[0].start, segments.last().unwrap().end), (0, samples));
        assert!(segments.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(segments.iter().all(|segment| !segment.is_empty() && segment.len() <= most), "{segments:?}");
    }

    #[test]
    fn cuts_are_in_the_middle_of_pauses() {
        let (samples, pauses) = speech(&[1.5, 1.0, 1.7, 1.2, 1.6], 0.6);
        let segments = split_at_silences(&samples, 8000, 3.0);
        check_cover(&segments, samples.len(), 24000);
        for segment in &segments[1..] {
            let nearest = pauses.iter().map(|pause| pause.abs_diff(segment.start)).min().unwrap();
            assert!(nearest <= 240, "a cut at {} for {pauses:?}", segment.start);
        }
    }

    #[test]
    fn every_recording_is_covered() {
        for (samples, seconds) in
            [(1, 1.0), (8000, 1.0), (8001, 1.0), (8005, 1.0), (50_000, 0.7), (9999, 0.0), (30_000, -1.0)]
        {
            let most = ((seconds * 8000.0) as usize).max(320);
            for signal in [voice(samples, 8000), vec![0.0; samples]] {
                check_cover(&split_at_silences(&signal, 8000, seconds), samples, most);
            }
        }
        assert!(split_at_silences(&[], 8000, 1.0).is_empty());
        assert_eq!(split_at_silences(&[0.0; 100], 8000, f64::INFINITY), vec![Range { start: 0, end: 100 }]);
    }

    #[test]
    fn no_segment_is_very_short() {
        let samples = voice(80_000, 8000);
        for length in (8001..80_000).step_by(977) {
            let segments = split_at_silences(&samples[..length], 8000, 1.0);
            assert!(segments.iter().all(|segment| segment.len() >= 1900), "{length}: {segments:?}");
        }
    }
}
