//! Signals and folders for tests; the signals by formulas that tests/golden/make_fbank.py has, too.

use std::f64::consts::TAU;

/// Five partials of a gliding tone and noise of a linear congruential generator, on the scale ±1.
pub(crate) fn voice(samples: usize, sample_rate: u32) -> Vec<f32> {
    let mut state: u32 = 1;
    let value = |at: usize| {
        let time = at as f64 / f64::from(sample_rate);
        let partial = |n: u32| (TAU * f64::from(n) * (150.0 + 100.0 * time) * time).sin() / f64::from(n);
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state) / 4_294_967_296.0 - 0.5;
        (0.1 * (1..=5).map(partial).sum::<f64>() + 0.05 * noise + 0.01) as f32
    };
    (0..samples).map(value).collect()
}

/// A sine of amplitude 0.5.
pub(crate) fn tone(hertz: f64, samples: usize, sample_rate: u32) -> Vec<f32> {
    (0..samples).map(|at| (0.5 * (TAU * hertz * at as f64 / f64::from(sample_rate)).sin()) as f32).collect()
}

/// The root of the mean square.
pub(crate) fn rms(samples: &[f32]) -> f64 {
    (samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

/// A folder with these files: name and text.
pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    files
        .iter()
        .for_each(|(name, text)| std::fs::write(folder.path().join(name), text).expect("a written file"));
    folder
}
