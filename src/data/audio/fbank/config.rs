//! The table that defines filter banks. A model is saved with it: other values are other features.

use serde::{Deserialize, Serialize};

use crate::data::audio::SAMPLE_RATES;
use crate::error::ConfigError;

/// A definition of log-mel filter banks; the names and the defaults are Kaldi's, but for the number of bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FbankConfig {
    /// Samples in a second; 0 for those of the first training recording, 16,000 at most. A recording of another rate is
    /// resampled.
    pub sample_rate: u32,
    /// Filters, the features of a frame; 0 for 80, or for 40 up to 8 kHz, where more would cover a single bin of the FFT.
    pub bins: usize,
    /// Where the lowest filter begins, in Hz.
    pub low_hz: f64,
    /// Where the highest filter ends, in Hz; 0 is the Nyquist frequency, and a negative value counts from there.
    pub high_hz: f64,
    /// Length of a frame in ms.
    pub window_ms: f64,
    /// From the start of a frame to that of the next, in ms.
    pub shift_ms: f64,
    /// Share of the sample before that is subtracted from a sample.
    pub preemphasis: f64,
    /// What a frame is multiplied with.
    pub window: Window,
    /// Only frames that lie inside the recording. Otherwise the recording is mirrored at its ends, and there is one
    /// frame a shift.
    pub snip_edges: bool,
    /// Subtract the mean of a frame.
    pub remove_dc: bool,
}

/// The shape of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Hanning to the power of 0.85.
    Povey,
    /// 0.5 - 0.5 cos.
    Hanning,
    /// 0.54 - 0.46 cos.
    Hamming,
    /// 0.42 - 0.5 cos + 0.08 cos of the double.
    Blackman,
    /// 1.
    Rectangular,
}

/// The usual number of bins: 40 up to 8 kHz, 80 above.
pub(crate) fn default_bins(sample_rate: u32) -> usize {
    if sample_rate <= 8000 { 40 } else { 80 }
}

impl Default for FbankConfig {
    fn default() -> Self {
        // By the recordings.
        let by_recordings = 0;
        FbankConfig { sample_rate: by_recordings, bins: by_recordings as usize, ..FbankConfig::at(16_000) }
    }
}

impl FbankConfig {
    /// The defaults at a sample rate.
    pub(crate) fn at(sample_rate: u32) -> Self {
        FbankConfig {
            sample_rate,
            bins: default_bins(sample_rate),
            low_hz: 20.0,
            high_hz: 0.0,
            window_ms: 25.0,
            shift_ms: 10.0,
            preemphasis: 0.97,
            window: Window::Povey,
            snip_edges: true,
            remove_dc: true,
        }
    }

    /// Checks the values of the table called `table`.
    ///
    /// # Errors
    /// A value is out of range.
    pub(crate) fn check(&self, table: &str) -> Result<(), ConfigError> {
        let (slowest, fastest) = (*SAMPLE_RATES.start(), *SAMPLE_RATES.end());
        if !SAMPLE_RATES.contains(&self.sample_rate) {
            let message = format!(
                "`sample_rate` must be from {slowest} to {fastest} Hz, but it is {}",
                self.sample_rate
            );
            return Err(ConfigError::new(table, &["sample_rate"], message));
        }
        ConfigError::check_integer(table, 1, &[("bins", self.bins as u64)])?;
        ConfigError::check_most(table, 1024, &[("bins", self.bins as u64)])?;
        let lengths = [("shift_ms", self.shift_ms), ("window_ms", self.window_ms)];
        ConfigError::check_float(table, "from 1 to 1000", |x| (1.0..=1000.0).contains(&x), &lengths)?;
        let preemphasis = [("preemphasis", self.preemphasis)];
        ConfigError::check_float(table, "from 0 to 1", |x| (0.0..=1.0).contains(&x), &preemphasis)?;
        self.check_band(table)
    }

    fn check_band(&self, table: &str) -> Result<(), ConfigError> {
        ConfigError::check_float(
            table,
            "a number",
            |_| true,
            &[("low_hz", self.low_hz), ("high_hz", self.high_hz)],
        )?;
        let (low, high, nyquist) = (self.low_hz, self.highest_hz(), f64::from(self.sample_rate) / 2.0);
        if 0.0 <= low && low < high && high <= nyquist {
            return Ok(());
        }
        let message = format!(
            "the filters must lie from 0 to {nyquist} Hz (half of `sample_rate`), but they lie from {low} to {high} Hz"
        );
        Err(ConfigError::new(table, &["low_hz", "high_hz", "sample_rate"], message))
    }

    /// Where the highest filter ends, in Hz.
    pub(super) fn highest_hz(&self) -> f64 {
        let nyquist = f64::from(self.sample_rate) / 2.0;
        if self.high_hz > 0.0 { self.high_hz } else { nyquist + self.high_hz }
    }

    /// Samples in a frame.
    pub(crate) fn window_samples(&self) -> usize {
        self.samples(self.window_ms)
    }

    /// Samples from the start of a frame to that of the next.
    pub(crate) fn shift_samples(&self) -> usize {
        self.samples(self.shift_ms)
    }

    /// In f32, as Kaldi's: at 44.1 kHz and the like the last sample depends on it.
    fn samples(&self, milliseconds: f64) -> usize {
        (self.sample_rate as f32 * 0.001 * milliseconds as f32) as usize
    }

    /// The frames, T, of a recording with this many samples at `sample_rate`.
    pub(crate) fn frames(&self, samples: usize) -> usize {
        let (window, shift) = (self.window_samples(), self.shift_samples());
        match (self.snip_edges, samples.checked_sub(window)) {
            (true, None) => 0,
            (true, Some(behind)) => 1 + behind / shift,
            (false, _) => (samples + shift / 2) / shift,
        }
    }

    /// Where a frame starts; before the recording where edges are not snipped.
    pub(super) fn first_sample(&self, frame: usize) -> isize {
        let (window, shift) = (self.window_samples() as isize, self.shift_samples() as isize);
        let start = frame as isize * shift;
        if self.snip_edges { start } else { start + shift / 2 - window / 2 }
    }
}
