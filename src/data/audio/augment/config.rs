//! The table of augmentation.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// How training recordings are varied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Frequency masks of a recording.
    pub frequency_masks: usize,
    /// Bins of the widest frequency mask.
    pub frequency_mask_bins: usize,
    /// Time masks of a recording.
    pub time_masks: usize,
    /// Share of a recording's frames that the longest time mask has. A fixed length would cover a short word.
    pub time_mask_share: f64,
    /// Speeds, one of which is drawn for a recording, in thousandths at the finest: 0.9 lasts longer and sounds lower.
    pub speeds: Vec<f64>,
    /// Largest warp of the frequency axis: 0.1 moves a bin by up to a tenth of its place.
    pub warp: f64,
    /// Largest gain of a random filter over the bins, in dB.
    pub filter_db: f64,
    /// Least and greatest ratio of a recording's energy to that of added noise, in dB; empty for no noise.
    pub noise_snr_db: Vec<f64>,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        AugmentConfig {
            frequency_masks: 2,
            frequency_mask_bins: 8,
            time_masks: 2,
            time_mask_share: 0.1,
            speeds: vec![0.9, 1.0, 1.1],
            warp: 0.0,
            filter_db: 0.0,
            noise_snr_db: Vec::new(),
        }
    }
}

impl AugmentConfig {
    /// Checks the values of the table called `table`.
    ///
    /// # Errors
    /// A value is out of range.
    pub(crate) fn check(&self, table: &str) -> Result<(), ConfigError> {
        let counts =
            [("frequency_masks", self.frequency_masks as u64), ("time_masks", self.time_masks as u64)];
        ConfigError::check_most(table, 1000, &counts)?;
        let bins = self.frequency_mask_bins as u64;
        ConfigError::check_integer(table, 0, &[("frequency_mask_bins", bins)])?;
        ConfigError::check_share(table, &[("time_mask_share", self.time_mask_share)])?;
        let warp = [("warp", self.warp)];
        ConfigError::check_float(table, "from 0 to 0.5", |x| (0.0..=0.5).contains(&x), &warp)?;
        let filter = [("filter_db", self.filter_db)];
        ConfigError::check_float(table, "from 0 to 60", |x| (0.0..=60.0).contains(&x), &filter)?;
        if !matches!(self.noise_snr_db[..], [] | [_, _]) || !is_rising(&self.noise_snr_db) {
            let message = format!(
                "`noise_snr_db` must be empty, or the least and the greatest ratio from -20 to 100, but it is {:?}",
                self.noise_snr_db
            );
            return Err(ConfigError::new(table, &["noise_snr_db"], message));
        }
        if let Some(speed) = self.speeds.iter().find(|speed| thousandths(**speed).is_none()) {
            let message = format!(
                "each of `speeds` must be from 0.5 to 2 with at most 3 decimals, but one is {speed:?}"
            );
            return Err(ConfigError::new(table, &["speeds"], message));
        }
        Ok(())
    }
}

/// Whether ratios in dB are in order and in range.
fn is_rising(ratios: &[f64]) -> bool {
    ratios.is_sorted() && ratios.iter().all(|ratio| (-20.0..=100.0).contains(ratio))
}

/// A speed in thousandths, if it is valid.
pub(super) fn thousandths(speed: f64) -> Option<u32> {
    let scaled = 1000.0 * speed;
    let valid = (0.5..=2.0).contains(&speed) && (scaled - scaled.round()).abs() < 1e-6;
    valid.then_some(scaled.round() as u32)
}
