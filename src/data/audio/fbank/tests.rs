//! The numbers of kaldi-native-fbank, and properties of the filters.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::data::audio::synthetic::{tone, voice};

#[derive(Deserialize)]
struct Golden {
    config: FbankConfig,
    scale: f32,
    frames: usize,
    rows: BTreeMap<usize, Vec<f32>>,
}

/// The numbers are those of kaldi-native-fbank 1.23.0; tests/golden/make_fbank.py makes them.
#[test]
fn features_equal_those_of_kaldi() {
    let cases: BTreeMap<String, Golden> =
        serde_json::from_str(include_str!("../../../../tests/golden/fbank.json")).unwrap();
    assert_eq!(cases.len(), 12);
    for (name, case) in cases {
        let rate = case.config.sample_rate;
        let samples: Vec<f32> = voice((0.3 * f64::from(rate)) as usize, rate);
        let samples: Vec<f32> = samples.iter().map(|sample| case.scale * sample).collect();
        let frames = Fbank::new(&case.config).unwrap().compute(&samples);
        assert_eq!(frames.len(), case.frames, "{name}");
        assert_eq!(case.rows.len(), 3, "{name}");
        for (row, expected) in case.rows {
            let ours = frames.rows().nth(row).unwrap();
            assert_eq!(ours.len(), expected.len(), "{name}");
            let apart = ours.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-3, "{name}, frame {row}: {apart} apart");
        }
    }
}

#[test]
fn lengths_follow_the_definition() {
    let snipped = FbankConfig::at(16_000);
    let frames =
        [399, 400, 559, 560, 4800, 8000, 16000, 32000, 160_000].map(|samples| snipped.frames(samples));
    assert_eq!(frames, [0, 1, 1, 2, 28, 48, 98, 198, 998]);
    let mirrored = FbankConfig { snip_edges: false, ..FbankConfig::at(16_000) };
    assert_eq!([79, 80, 16000, 16079, 16080].map(|samples| mirrored.frames(samples)), [0, 1, 100, 100, 101]);
}

#[test]
fn samples_outside_the_recording_are_mirrored_even_twice() {
    let places: Vec<usize> = (-5..8).map(|at| mirrored(at, 3)).collect();
    assert_eq!(places, [1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
}

#[test]
fn a_tone_is_loudest_in_the_filter_around_it() {
    let frames = Fbank::new(&FbankConfig::at(16_000)).unwrap().compute(&tone(1000.0, 1600, 16000));
    let row = frames.rows().nth(3).unwrap();
    let loudest = (0..80).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    // Bin b is centred on mel(20) + (b + 1) (mel(8000) - mel(20)) / 81 = 1000 mel.
    let expected = (mel(1000.0) - mel(20.0)) / ((mel(8000.0) - mel(20.0)) / 81.0) - 1.0;
    assert!((loudest as f32 - expected).abs() <= 0.5, "{loudest} is not {expected}");
}

#[test]
fn silence_has_the_floor_value() {
    let frames = Fbank::new(&FbankConfig::at(16_000)).unwrap().compute(&[0.0; 800]);
    assert_eq!(frames.len(), 3);
    assert!(frames.data().iter().all(|value| *value == f32::EPSILON.ln()));
}

#[test]
fn a_frame_depends_only_on_its_samples() {
    let fbank = Fbank::new(&FbankConfig::at(16_000)).unwrap();
    let samples = voice(8000, 16000);
    let (whole, part) = (fbank.compute(&samples), fbank.compute(&samples[1600..]));
    assert_eq!(&whole.data()[10 * 80..], part.data());
}

#[test]
fn a_filter_without_an_fft_bin_is_refused() {
    let config = FbankConfig { bins: 200, ..FbankConfig::at(8000) };
    let error = Fbank::new(&config).err().unwrap();
    let message = "each of the 200 filters must cover a bin of the FFT at 8000 Hz, but filter 3 covers none";
    assert_eq!(error.message(), message);
    for rate in [8000, 11025, 16000, 22050, 44100, 48000] {
        assert!(Fbank::new(&FbankConfig::at(rate)).is_ok(), "{rate} Hz");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let refused = |text: &str| {
        let table: FbankConfig = toml::from_str(text).unwrap();
        let rate = if text.contains("sample_rate") { table.sample_rate } else { 16_000 };
        let bins = if text.contains("bins") { table.bins } else { 80 };
        FbankConfig { sample_rate: rate, bins, ..table }.check("fbank").unwrap_err().message
    };
    assert_eq!(refused("sample_rate = 0"), "`sample_rate` must be from 4000 to 192000 Hz, but it is 0");
    assert_eq!(refused("bins = 0"), "`bins` must be at least 1, but it is 0");
    assert_eq!(refused("bins = 5000"), "`bins` must be at most 1024, but it is 5000");
    assert_eq!(refused("shift_ms = 0.0"), "`shift_ms` must be from 1 to 1000, but it is 0.0");
    assert_eq!(refused("window_ms = nan"), "`window_ms` must be from 1 to 1000, but it is NaN");
    let band = "the filters must lie from 0 to 8000 Hz (half of `sample_rate`), but they lie from";
    assert_eq!(refused("high_hz = 9000.0"), format!("{band} 20 to 9000 Hz"));
    assert_eq!(refused("high_hz = -8000.0"), format!("{band} 20 to 0 Hz"));
    assert!(toml::from_str::<FbankConfig>("bin = 3").is_err());
    let config = FbankConfig { window: Window::Hamming, high_hz: -400.0, ..FbankConfig::at(8000) };
    assert_eq!(toml::from_str::<FbankConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
}

#[test]
fn a_tone_is_loudest_in_the_bin_at_its_frequency() {
    let config = FbankConfig { preemphasis: 0.0, ..FbankConfig::at(16_000) };
    let fbank = Fbank::new(&config).unwrap();
    for hertz in [500.0, 1000.0, 2000.0, 4000.0] {
        let tone = |n: usize| (std::f64::consts::TAU * hertz * n as f64 / 16_000.0).sin() as f32;
        let frames = fbank.compute(&(0..400).map(tone).collect::<Vec<f32>>());
        let loudest =
            (0..config.bins).max_by(|&a, &b| frames.data()[a].total_cmp(&frames.data()[b])).unwrap();
        assert!(
            (fbank.bin_at(hertz) - loudest as f64).abs() <= 1.0,
            "{hertz}: {loudest}, {}",
            fbank.bin_at(hertz)
        );
    }
    assert!((fbank.bin_at(20.0) + 1.0).abs() < 1e-3 && (fbank.bin_at(8000.0) - 80.0).abs() < 1e-3);
}
