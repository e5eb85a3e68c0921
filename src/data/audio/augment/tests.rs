//! Masks, speeds and warps of known inputs.

use super::*;
use crate::data::audio::synthetic::{rms, tone, voice};

/// Nothing is changed.
fn off() -> AugmentConfig {
    AugmentConfig { frequency_masks: 0, time_masks: 0, speeds: Vec::new(), ..AugmentConfig::default() }
}

fn augmenter(config: AugmentConfig) -> Augmenter {
    Augmenter::new(&config).unwrap()
}

fn recording() -> Recording {
    Recording { samples: voice(8000, 8000), sample_rate: 8000 }
}

fn ones(length: usize, bins: usize) -> Frames {
    Frames::new(bins, vec![1.0; length * bins]).unwrap()
}

#[test]
fn masks_are_stripes_of_zeros_up_to_the_maximum_width() {
    let config = AugmentConfig { frequency_masks: 1, time_masks: 1, frequency_mask_bins: 8, ..off() };
    let augmenter = augmenter(AugmentConfig { time_mask_share: 0.25, ..config });
    let (mut widest, mut longest) = (0, 0);
    for seed in 0..300 {
        let mut frames = ones(60, 40);
        augmenter.mask(&mut frames, seed);
        let open_rows: Vec<bool> = frames.rows().map(|row| row.contains(&1.0)).collect();
        let open_bins: Vec<bool> = (0..40).map(|bin| frames.rows().any(|row| row[bin] == 1.0)).collect();
        for (row, open) in frames.rows().zip(&open_rows) {
            assert!(
                row.iter().zip(&open_bins).all(|(value, bin)| *value == f32::from(u8::from(*open && *bin)))
            );
        }
        let closed = |open: &[bool]| open.iter().filter(|open| !**open).count();
        let one_stripe = |open: &[bool]| open.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 2;
        assert!(one_stripe(&open_rows) && one_stripe(&open_bins));
        (widest, longest) = (widest.max(closed(&open_bins)), longest.max(closed(&open_rows)));
    }
    assert_eq!((widest, longest), (8, 15));
}

#[test]
fn masks_scale_with_the_length_and_leave_a_frame() {
    let config = AugmentConfig {
        time_masks: 1,
        time_mask_share: 0.9,
        frequency_masks: 1,
        frequency_mask_bins: 99,
        ..off()
    };
    let augmenter = augmenter(config);
    for seed in 0..200 {
        for (length, bins) in [(1, 1), (2, 1), (1, 3), (7, 4)] {
            let mut frames = ones(length, bins);
            augmenter.mask(&mut frames, seed);
            assert!(frames.data().contains(&1.0));
        }
    }
}

#[test]
fn the_seed_decides_all() {
    let varied = AugmentConfig {
        warp: 0.1,
        filter_db: 6.0,
        noise_snr_db: vec![0.0, 20.0],
        ..AugmentConfig::default()
    };
    let augmenter = augmenter(varied);
    let all = |seed| {
        let mut frames = Frames::new(40, recording().samples[..4000].to_vec()).unwrap();
        augmenter.distort(&mut frames, seed);
        augmenter.mask(&mut frames, seed);
        (augmenter.speed(seed), frames)
    };
    assert_eq!(all(7), all(7));
    assert_ne!(all(7).1, all(8).1);
}

#[test]
fn each_augmentation_draws_the_same_whichever_others_are_on() {
    let masks = |config: AugmentConfig| {
        let mut frames = ones(60, 40);
        augmenter(config).mask(&mut frames, 3);
        frames
    };
    let both = masks(AugmentConfig::default());
    let frequency = masks(AugmentConfig { time_masks: 0, ..AugmentConfig::default() });
    let time = masks(AugmentConfig { frequency_masks: 0, ..AugmentConfig::default() });
    let product: Vec<f32> = frequency.data().iter().zip(time.data()).map(|(x, y)| x * y).collect();
    assert_eq!(both.data(), product);
}

#[test]
fn a_speed_changes_length_and_pitch() {
    let signal = Recording { samples: tone(500.0, 8000, 8000), sample_rate: 8000 };
    for (speed, length) in [(900, 8889), (1000, 8000), (1100, 7273)] {
        let perturbed = Augmenter::at_speed(signal.clone(), speed).unwrap();
        assert_eq!((perturbed.samples.len(), perturbed.sample_rate), (length, 8000));
        let expected = tone(0.5 * f64::from(speed), length, 8000);
        let apart: Vec<f32> =
            perturbed.samples[1000..6000].iter().zip(&expected[1000..]).map(|(x, y)| x - y).collect();
        assert!(rms(&apart) < 0.01 * rms(&expected), "{speed}: {}", rms(&apart));
    }
}

#[test]
fn every_speed_is_drawn_and_no_other() {
    let drawn = |speeds: &[f64]| {
        let augmenter = augmenter(AugmentConfig { speeds: speeds.to_vec(), ..off() });
        let mut drawn: Vec<u32> = (0..60).map(|seed| augmenter.speeds()[augmenter.speed(seed)]).collect();
        drawn.sort_unstable();
        drawn.dedup();
        (drawn, augmenter.speeds().to_vec())
    };
    assert_eq!(drawn(&[0.9, 1.0, 1.1]), (vec![900, 1000, 1100], vec![1000, 900, 1100]));
    assert_eq!(drawn(&[0.9]), (vec![900], vec![1000, 900]), "validation reads a recording's own speed");
    assert_eq!(drawn(&[]), (vec![1000], vec![1000]));
}

#[test]
fn a_warp_moves_a_peak_and_keeps_the_ends() {
    let peak = |factor| {
        let mut frames = Frames::new(41, (0..41).map(|bin| -((bin - 20) as f32).abs()).collect()).unwrap();
        warp_bins(&mut frames, factor);
        assert_eq!((frames.data()[0], frames.data()[40]), (-20.0, -20.0), "{factor}");
        (0..41).max_by(|a, b| frames.data()[*a].total_cmp(&frames.data()[*b])).unwrap()
    };
    assert_eq!([0.8, 1.0, 1.25].map(peak), [25, 20, 16]);
    let mut ramp = Frames::new(41, (0..41).map(|bin| bin as f32).collect()).unwrap();
    warp_bins(&mut ramp, 1.5);
    assert!(ramp.data().windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_filter_has_one_gain_for_each_bin_and_none_above_the_largest() {
    let augmenter = augmenter(AugmentConfig { filter_db: 6.0, ..off() });
    let largest = (6.0 / 10.0 * std::f64::consts::LN_10) as f32;
    let mut loudest = 0.0_f32;
    for seed in 0..200 {
        let mut frames = ones(3, 40);
        augmenter.distort(&mut frames, seed);
        let gains: Vec<f32> = frames.data()[..40].iter().map(|value| value - 1.0).collect();
        assert!(frames.rows().all(|row| row.iter().zip(&gains).all(|(value, gain)| value - 1.0 == *gain)));
        assert!(gains.iter().all(|gain| gain.abs() <= largest + 1e-5));
        assert!(gains.iter().any(|gain| *gain != gains[0]), "{seed}: a curve over the bins");
        loudest = gains.iter().copied().fold(loudest, f32::max);
    }
    assert!(loudest > 0.9 * largest, "{loudest} of {largest}");
}

#[test]
fn noise_has_the_snr_and_changes_quiet_parts() {
    let energy = |frames: &Frames| frames.data().iter().map(|value| f64::from(value.exp())).sum::<f64>();
    for ratio in [0.0, 20.0] {
        let augmenter = augmenter(AugmentConfig { noise_snr_db: vec![ratio, ratio], ..off() });
        let mut frames = Frames::new(40, [[0.0; 40], [-20.0; 40]].concat().repeat(500)).unwrap();
        let before = energy(&frames);
        augmenter.distort(&mut frames, 5);
        let measured = 10.0 * (before / (energy(&frames) - before)).log10();
        assert!((measured - ratio).abs() < 0.2, "{measured} dB for {ratio}");
        let quiet = frames.rows().skip(1).step_by(2).flatten().filter(|value| **value < -15.0).count();
        assert!(quiet < 40, "{quiet} of 20000 quiet values are as they were");
    }
}

#[test]
fn a_single_frame_of_a_single_bin_is_augmented_too() {
    let augmenter = augmenter(AugmentConfig { filter_db: 60.0, noise_snr_db: vec![-20.0, 100.0], ..off() });
    for seed in 0..200 {
        let mut frames = ones(1, 1);
        augmenter.distort(&mut frames, seed);
        assert!(frames.data()[0].is_finite());
    }
}

#[test]
fn noise_on_features_too_large_for_exp_leaves_them_finite() {
    let augmenter = augmenter(AugmentConfig { noise_snr_db: vec![0.0, 0.0], ..off() });
    let mut frames = Frames::new(2, vec![1e6, -1e6, 999_990.0, 1e6]).unwrap();
    augmenter.distort(&mut frames, 3);
    let [first, quiet, .., last] = frames.data() else { panic!("four values") };
    assert!(frames.data().iter().all(|value| value.is_finite()), "{frames:?}");
    assert!(
        (first - 1e6).abs() < 10.0 && (last - 1e6).abs() < 10.0 && (quiet - 1e6).abs() < 30.0,
        "{frames:?}"
    );
}

#[test]
fn every_augmentation_is_off_by_default() {
    let augmenter = augmenter(off());
    let mut frames = Frames::new(40, voice(4000, 8000)).unwrap();
    augmenter.distort(&mut frames, 1);
    augmenter.mask(&mut frames, 1);
    assert_eq!(frames.data(), voice(4000, 8000));
}

#[test]
fn values_out_of_range_are_refused() {
    let refused = |text: &str| {
        let config: AugmentConfig = toml::from_str(text).unwrap();
        Augmenter::new(&config).unwrap_err().message().to_owned()
    };
    assert_eq!(
        refused("time_mask_share = 1.0"),
        "`time_mask_share` must be at least 0 and below 1, but it is 1.0"
    );
    let speeds = "each of `speeds` must be from 0.5 to 2 with at most 3 decimals, but one is";
    assert_eq!(refused("speeds = [1.0, 0.0]"), format!("{speeds} 0.0"));
    assert_eq!(refused("speeds = [1.00001]"), format!("{speeds} 1.00001"));
    assert_eq!(refused("speeds = [nan]"), format!("{speeds} NaN"));
    assert_eq!(refused("warp = 0.6"), "`warp` must be from 0 to 0.5, but it is 0.6");
    assert_eq!(refused("time_masks = 100000"), "`time_masks` must be at most 1000, but it is 100000");
    assert_eq!(refused("filter_db = -1.0"), "`filter_db` must be from 0 to 60, but it is -1.0");
    let ratios =
        "`noise_snr_db` must be empty, or the least and the greatest ratio from -20 to 100, but it is";
    for wrong in ["[5.0]", "[20.0, 5.0]", "[-21.0, 5.0]", "[5.0, inf]", "[NaN, 5.0]", "[1.0, 2.0, 3.0]"] {
        assert_eq!(refused(&format!("noise_snr_db = {}", wrong.to_lowercase())), format!("{ratios} {wrong}"));
    }
    let config = AugmentConfig { warp: 0.1, ..AugmentConfig::default() };
    assert_eq!(toml::from_str::<AugmentConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
}
