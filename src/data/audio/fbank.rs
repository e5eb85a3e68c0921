//! Log-mel filter banks, by the definition of Kaldi: `compute-fbank-feats` without dither.
//!
//! A frame is freed of its mean, pre-emphasised, windowed, padded with zeros to a power of two and transformed;
//! triangular filters on the mel scale sum its power, and the natural logarithm is taken. Samples are on the scale ±1,
//! as in lhotse and icefall: the floor of the energies, 2^-23, then lies near the rounding noise of 16 bits, so that
//! digital silence is no outlier. On Kaldi's own scale (±32768) every value above the floor is larger by 2 ln 32768.
//!
//! Source: kaldi-native-fbank, `feature-window.cc`, `mel-computations.cc`, `feature-fbank.cc`.

mod config;
#[cfg(test)]
mod tests;

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

pub(crate) use config::{FbankConfig, Window, default_bins};

use super::Frames;
use crate::error::{Error, Result};

/// Computes log-mel filter banks of one definition. A frame depends on its own samples only.
#[derive(Clone)]
pub(crate) struct Fbank {
    config: FbankConfig,
    window: Vec<f32>,
    filters: Vec<Filter>,
    fft: Arc<dyn RealToComplex<f32>>,
}

/// A triangular filter: the weights of the FFT bins from `first` on.
#[derive(Clone, Debug)]
struct Filter {
    first: usize,
    weights: Vec<f32>,
}

/// Buffers that the frames share.
struct Workspace {
    frame: Vec<f32>,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
    power: Vec<f32>,
}

impl Fbank {
    /// Prepares window, filters and FFT.
    ///
    /// # Errors
    /// A value of `config` is out of range, or a filter lies between two bins of the FFT.
    pub(crate) fn new(config: &FbankConfig) -> Result<Fbank> {
        config.check("fbank").map_err(|problem| Error::input(problem.message))?;
        let size = config.window_samples();
        let padded = size.next_power_of_two();
        let fft = RealFftPlanner::new().plan_fft_forward(padded);
        let (window, filters) = (window(config.window, size), filters(config, padded));
        if let Some(empty) = filters.iter().position(|filter| filter.weights.is_empty()) {
            let message = format!(
                "each of the {} filters must cover a bin of the FFT at {} Hz, but filter {} covers none",
                config.bins,
                config.sample_rate,
                empty + 1
            );
            return Err(Error::input(message).hint("lower `bins`"));
        }
        Ok(Fbank { config: config.clone(), window, filters, fft })
    }

    /// The definition.
    pub(crate) fn config(&self) -> &FbankConfig {
        &self.config
    }

    /// Where a frequency lies among the filters: n at the peak of filter n, from 0.
    pub(crate) fn bin_at(&self, hertz: f64) -> f64 {
        let (low, step) = mel_steps(&self.config);
        f64::from((mel(hertz as f32) - low) / step) - 1.0
    }

    /// The features of samples on the scale ±1, which must have the config's sample rate.
    ///
    /// # Shapes
    /// (T, F), T by [`FbankConfig::frames`]; too few samples have no frame.
    pub(crate) fn compute(&self, samples: &[f32]) -> Frames {
        let count = self.config.frames(samples.len());
        let mut data = Vec::with_capacity(count * self.config.bins);
        let mut space = Workspace {
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            scratch: self.fft.make_scratch_vec(),
            power: vec![0.0; self.fft.complex_len()],
        };
        for frame in 0..count {
            self.cut(samples, frame, &mut space.frame[..self.window.len()]);
            self.log_mel(&mut space, &mut data);
        }
        Frames::new(self.config.bins, data).expect("every frame adds one row")
    }

    /// Copies the samples of one frame; those outside are mirrored.
    fn cut(&self, samples: &[f32], frame: usize, into: &mut [f32]) {
        let start = self.config.first_sample(frame);
        match usize::try_from(start).ok().and_then(|start| samples.get(start..start + into.len())) {
            Some(inside) => into.copy_from_slice(inside),
            None => (start..).zip(into).for_each(|(at, value)| *value = samples[mirrored(at, samples.len())]),
        }
    }

    /// Appends the features of the frame that lies at the start of the workspace's frame.
    fn log_mel(&self, space: &mut Workspace, data: &mut Vec<f32>) {
        let (frame, padding) = space.frame.split_at_mut(self.window.len());
        if self.config.remove_dc {
            let mean = frame.iter().sum::<f32>() / frame.len() as f32;
            frame.iter_mut().for_each(|value| *value -= mean);
        }
        let preemphasis = self.config.preemphasis as f32;
        for at in (1..frame.len()).rev() {
            frame[at] -= preemphasis * frame[at - 1];
        }
        frame[0] -= preemphasis * frame[0];
        frame.iter_mut().zip(&self.window).for_each(|(value, weight)| *value *= weight);
        padding.fill(0.0);
        self.fft
            .process_with_scratch(&mut space.frame, &mut space.spectrum, &mut space.scratch)
            .expect("the buffers are the plan's own");
        for (power, value) in space.power.iter_mut().zip(&space.spectrum) {
            *power = value.norm_sqr();
        }
        data.extend(self.filters.iter().map(|filter| filter.energy(&space.power).max(f32::EPSILON).ln()));
    }
}

impl Filter {
    fn energy(&self, power: &[f32]) -> f32 {
        self.weights.iter().zip(&power[self.first..]).map(|(weight, power)| weight * power).sum()
    }
}

/// The place inside `0..len` that mirrors `at`: -1 is 0, -2 is 1, and `len` is `len - 1`.
fn mirrored(at: isize, len: usize) -> usize {
    let folded = at.rem_euclid(2 * len as isize) as usize;
    folded.min(2 * len - 1 - folded)
}

fn window(kind: Window, size: usize) -> Vec<f32> {
    let step = TAU / (size - 1) as f64;
    let weight = |at: usize| {
        let cosine = (step * at as f64).cos();
        match kind {
            Window::Povey => (0.5 - 0.5 * cosine).powf(0.85),
            Window::Hanning => 0.5 - 0.5 * cosine,
            Window::Hamming => 0.54 - 0.46 * cosine,
            Window::Blackman => 0.42 - 0.5 * cosine + 0.08 * (2.0 * step * at as f64).cos(),
            Window::Rectangular => 1.0,
        }
    };
    (0..size).map(|at| weight(at) as f32).collect()
}

/// The mel scale of HTK and Kaldi. In f32, as theirs: the edge of a filter must fall on the same side of a bin.
fn mel(hertz: f32) -> f32 {
    1127.0 * (1.0 + hertz / 700.0).ln()
}

/// Where the lowest filter begins, and from the peak of a filter to that of the next, in mel.
fn mel_steps(config: &FbankConfig) -> (f32, f32) {
    let (low, high) = (mel(config.low_hz as f32), mel(config.highest_hz() as f32));
    (low, (high - low) / (config.bins + 1) as f32)
}

/// The filters over an FFT of `padded` samples. The bin at the Nyquist frequency has no weight.
fn filters(config: &FbankConfig, padded: usize) -> Vec<Filter> {
    let width = config.sample_rate as f32 / padded as f32;
    let mels: Vec<f32> = (0..padded / 2).map(|bin| mel(width * bin as f32)).collect();
    let (low, step) = mel_steps(config);
    let filter = |number: usize| {
        let [left, centre, right] = [0, 1, 2].map(|edge| low + (number + edge) as f32 * step);
        let weight = |mel: f32| match mel <= centre {
            true => (mel - left) / (centre - left),
            false => (right - mel) / (right - centre),
        };
        let first = mels.partition_point(|mel| *mel <= left);
        let inside = mels[first..].iter().take_while(|mel| **mel < right);
        Filter { first, weights: inside.map(|mel| weight(*mel)).collect() }
    };
    (0..config.bins).map(filter).collect()
}
