//! Where training stands (`state.json`), and when it is over.

use serde::{Deserialize, Serialize};

use super::TrainingConfig;
use super::metrics::Window;
use super::schedule::Plateau;

/// Where training stands: `state.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Updates made, skipped ones counted in.
    pub step: u64,
    /// Passes over the training pairs that are complete.
    pub epoch: u64,
    /// Batches of the current pass that were used.
    pub position: usize,
    /// The best validations so far, the best one first; at most `training.keep_best`.
    pub best: Vec<Best>,
    /// The validation at the end of a run, which was trained on later: it is in none of the books that training goes by, but
    /// the best model may be its.
    #[serde(default)]
    pub ended_with: Option<Best>,
    /// The step's validation is yet to come: a stop came before it was done.
    #[serde(default)]
    pub validation_due: bool,
    /// Validations in a row since then that were not better.
    pub stale: u64,
    /// What the schedule `plateau` remembers.
    pub plateau: Plateau,
    /// Updates in a row that were skipped, up to now.
    pub skipped_in_a_row: u64,
    /// Weights and optimizer went back to a checkpoint, and no update has moved them since.
    pub rolled_back: bool,
    /// Saved between two steps at which checkpoints were due: training was stopped, or ended.
    #[serde(default)]
    pub between: bool,
    /// The most positions of a batch's side; what `tokens_per_batch = "auto"` found.
    pub tokens_per_batch: usize,
    /// Figures since the last row of `metrics.csv`.
    pub window: Window,
    /// Length of `metrics.csv` when this was written.
    pub metrics_bytes: u64,
    /// Fingerprint of the training pairs.
    pub data: String,
    /// Fingerprint of the validation pairs.
    #[serde(default)]
    pub valid: String,
    /// What it ran on: on another machine the bits are others.
    #[serde(default)]
    pub machine: String,
}

/// A good validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// When it was.
    pub step: u64,
    /// `training.best_by`, turned so that less is better.
    pub cost: f64,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `training.steps` or `training.epochs` are reached.
    Complete,
    /// `training.patience` ran out.
    OutOfPatience,
    /// A signal asked for it; its number.
    Stopped(u8),
}

impl Progress {
    /// Whether a stop rule holds.
    pub fn ended(&self, config: &TrainingConfig) -> Option<Outcome> {
        let complete = self.step >= config.steps || (config.epochs > 0 && self.epoch >= config.epochs);
        let impatient = config.patience > 0 && self.stale >= config.patience;
        match (complete, impatient) {
            (true, _) => Some(Outcome::Complete),
            (false, true) => Some(Outcome::OutOfPatience),
            (false, false) => None,
        }
    }

    /// Takes a validation into the books of the `keep` best; true when it is better than all before. Of equal ones the
    /// earlier is the better. The cost of one without figures is `f64::MAX`.
    pub fn validated(&mut self, found: Best, keep: usize) -> bool {
        // What has no figures is not even the best of none.
        if found.cost == f64::MAX {
            self.stale += 1;
            return false;
        }
        let at = self.best.iter().position(|best| found.cost < best.cost).unwrap_or(self.best.len());
        self.best.insert(at, found);
        self.best.truncate(keep);
        self.stale = if at == 0 { 0 } else { self.stale + 1 };
        at == 0
    }

    /// The best validation, that at the end of a run among them.
    pub fn best_of_all(&self) -> Option<Best> {
        self.all_of_the_best().first().copied()
    }

    /// The steps of the best validations, the best first, that at the end of a run among them.
    pub fn best_steps_of_all(&self) -> Vec<u64> {
        self.all_of_the_best().iter().map(|best| best.step).collect()
    }

    fn all_of_the_best(&self) -> Vec<Best> {
        let mut all: Vec<Best> = self.best.iter().chain(&self.ended_with).copied().collect();
        all.sort_by(|one, other| one.cost.total_cmp(&other.cost));
        all.dedup_by_key(|best| best.step);
        all
    }

    /// Takes the validation at the end of a run to the books, apart from all others.
    pub fn ended_with(&mut self, found: Best) {
        let before = self.ended_with.filter(|before| before.cost <= found.cost);
        self.ended_with = before.or(Some(found).filter(|found| found.cost < f64::MAX));
    }

    /// Steps of the best validations.
    pub fn best_steps(&self) -> impl Iterator<Item = u64> {
        self.best.iter().map(|best| best.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_in_order_and_the_earlier_of_equals_first() {
        let mut progress = Progress::default();
        let costs = [3.0, 2.0, 2.0, 5.0, 1.0, 2.5];
        let better: Vec<bool> =
            costs.iter().zip(1..).map(|(&cost, step)| progress.validated(Best { step, cost }, 3)).collect();
        assert_eq!(better, [true, true, false, false, true, false]);
        assert_eq!(progress.best_steps().collect::<Vec<_>>(), [5, 2, 3]);
        assert_eq!(progress.stale, 1);
        progress.ended_with(Best { step: 7, cost: 0.5 });
        progress.ended_with(Best { step: 9, cost: 0.7 });
        assert_eq!(progress.best_of_all(), Some(Best { step: 7, cost: 0.5 }));
        assert_eq!(progress.best_steps_of_all(), [7, 5, 2, 3]);
        let mut diverged = Progress::default();
        assert!(!diverged.validated(Best { step: 1, cost: f64::MAX }, 3));
        assert_eq!((diverged.best.len(), diverged.stale), (0, 1));
    }
}
