//! The spectrogram: the log-mel features of a recording before normalization, low frequencies at the bottom.

use super::TITLE_STYLE;
use super::time_axis::TimeAxis;
use crate::data::audio::processor::is_npy;
use crate::data::source_processor::SourceRef;
use crate::error::Result;
use crate::predictor::loaded_model::LoadedModel;
use crate::svg::heat::Heat;
use crate::svg::text;

const HEIGHT: f64 = 130.0;
/// From no colour to the full one: 60 dB, as a natural logarithm of power.
const RANGE: f32 = 13.8;
/// The share of numbers without colour, if they span less than [`RANGE`].
const FAINTEST: f64 = 0.05;
/// Frequencies with a label, in Hz.
const HERTZ: [f64; 6] = [500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0];

/// The features of a recording.
pub(crate) struct Spectrogram {
    heat: Heat,
    seconds: f64,
    /// A frequency in Hz, and where it is: 0 at the bottom, 1 at the top.
    ticks: Vec<(f64, f64)>,
}

impl Spectrogram {
    /// Reads them as the model does; `None` if its sources are texts.
    ///
    /// # Errors
    /// The recording cannot be read.
    pub(crate) fn of(loaded: &LoadedModel, source: SourceRef) -> Result<Option<Spectrogram>> {
        let Some(processor) = loaded.tokenizers.source.audio() else { return Ok(None) };
        let frames = source.features(processor, None)?;
        let place = |hertz: f64| (hertz, (processor.bin_at(hertz) + 0.5) / frames.bins() as f64);
        let mut ticks = HERTZ.map(place).to_vec();
        // The filters of features from a file are unknown.
        ticks.retain(|(_, place)| !is_npy(&source.path()) && (0.0..=1.0).contains(place));
        Ok(Some(Spectrogram::new(frames.data(), frames.bins(), processor.seconds_per_frame(), ticks)))
    }

    /// Features (T, F) of this many bins, and the labels of frequencies with their places.
    pub(crate) fn new(features: &[f32], bins: usize, shift: f64, ticks: Vec<(f64, f64)>) -> Spectrogram {
        let frames = features.len() / bins;
        Spectrogram { heat: shades(frames, bins, features), seconds: frames as f64 * shift, ticks }
    }

    /// Draws the panel, and returns its bottom.
    pub(crate) fn draw(&self, time: &TimeAxis, top: f64, out: &mut String) -> f64 {
        text(out, (time.left, top - 7.0), TITLE_STYLE, "log-mel features; full colour: the loudest");
        let frame = time.frame(0.0, self.seconds, top, HEIGHT);
        self.heat.draw(out, "spectrogram", frame, "class=\"ink\" fill=\"#222\"", false);
        out.push_str("<g class=\"faint hertz\" fill=\"#555\" font-size=\"10\" text-anchor=\"end\">\n");
        for (hertz, place) in &self.ticks {
            let words = format!("{} kHz", hertz / 1000.0);
            text(out, (time.left - 8.0, top + HEIGHT * (1.0 - place) + 3.5), "", &words);
        }
        out.push_str("</g>\n");
        time.draw_frame(top, HEIGHT, out);
        top + HEIGHT
    }
}

/// The shades of features (T, F), the highest bin in the first row.
fn shades(frames: usize, bins: usize, features: &[f32]) -> Heat {
    let mut sorted = features.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let high = sorted.last().copied().unwrap_or_default();
    let faintest = sorted.get((FAINTEST * sorted.len() as f64) as usize).copied().unwrap_or_default();
    let rows = (0..bins).rev().flat_map(|bin| (0..frames).map(move |frame| features[frame * bins + bin]));
    Heat::new(frames, rows, faintest.max(high - RANGE), high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_bins_are_at_the_bottom_and_60_decibels_have_colour() {
        let two_frames = [0.0, -6.9, -13.8, -50.0];
        assert_eq!(shades(2, 2, &two_frames), Heat::new(2, [0.5, 0.0, 1.0, 0.0].into_iter(), 0.0, 1.0));
    }

    #[test]
    fn features_of_another_scale_have_colours_too() {
        let levels = |features: &[f32]| shades(1, features.len(), features);
        assert_eq!(levels(&[-1.0, 1.0, 0.0]), Heat::new(1, [0.5, 1.0, 0.0].into_iter(), 0.0, 1.0));
        assert_eq!(levels(&[4.0, 4.0]), Heat::new(1, [0.0, 0.0].into_iter(), 0.0, 1.0));
    }
}
