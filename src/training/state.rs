//! The state of training (`state.json`), and when training ends.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::metrics::RunningStats;
use super::schedule::Plateau;
use super::{BestBy, TrainingConfig};
use crate::error::ConfigError;

/// The state of training: `state.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Updates so far, including skipped ones.
    pub step: u64,
    /// Complete passes over the training pairs.
    pub epoch: u64,
    /// Batches of the current pass so far.
    pub position: usize,
    /// The best validations so far, the best one first; at most `training.keep_best`.
    pub best: Vec<BestValidation>,
    /// The validation at the end of a run that was later extended: training ignores it, but the best model may be this
    /// one.
    #[serde(default)]
    pub ended_with: Option<BestValidation>,
    /// The validation of this step is still due: a stop came before it.
    #[serde(default)]
    pub validation_due: bool,
    /// Validations in a row without improvement; 0 until a model is better than no model.
    pub stale: u64,
    /// The state of the schedule `plateau`.
    pub plateau: Plateau,
    /// Skipped updates in a row, up to now.
    pub skipped_in_a_row: u64,
    /// Weights and optimizer were rolled back to a checkpoint, and no update has changed them since.
    pub rolled_back: bool,
    /// Saved at a step at which no checkpoint was due: training was stopped, or ended.
    #[serde(default)]
    pub between: bool,
    /// The most positions per side of a batch, as set or as found by `tokens_per_batch = "auto"`.
    pub tokens_per_batch: usize,
    /// Sums since the last row of `metrics.csv`.
    pub window: RunningStats,
    /// Length of `metrics.csv` at this checkpoint, in bytes.
    pub metrics_bytes: u64,
    /// Fingerprint of the training pairs.
    pub data: String,
    /// Fingerprint of the validation pairs.
    #[serde(default)]
    pub valid: String,
    /// The machine: on another type the results are not bit-identical.
    #[serde(default)]
    pub machine: String,
}

/// A good validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestValidation {
    /// Its step.
    pub step: u64,
    /// The score of `training.best_by`, as a cost: lower is better.
    pub cost: f64,
    /// Breaks ties: the negative log-likelihood per target token. The largest number if unknown.
    #[serde(default = "unknown")]
    pub nll: f64,
}

fn unknown() -> f64 {
    f64::MAX
}

impl BestValidation {
    fn order(&self, other: &BestValidation) -> Ordering {
        self.cost.total_cmp(&other.cost).then(self.nll.total_cmp(&other.nll))
    }
}

/// The result of a validation, for early stopping and `plateau`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Improvement {
    /// Better than all before.
    Better,
    /// Not better.
    Worse,
    /// Not better, but no model so far is better than no model: patience has not started.
    Early,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// `training.steps` or `training.epochs` is reached.
    Complete,
    /// `training.patience` ran out.
    OutOfPatience,
    /// Stopped by this signal.
    Stopped(u8),
}

impl TrainState {
    /// Whether a stop rule holds.
    pub(crate) fn stop_reason(&self, config: &TrainingConfig) -> Option<StopReason> {
        let complete = self.step >= config.steps || (config.epochs > 0 && self.epoch >= config.epochs);
        let impatient = config.patience > 0 && self.stale >= config.patience;
        match (complete, impatient) {
            (true, _) => Some(StopReason::Complete),
            (false, true) => Some(StopReason::OutOfPatience),
            (false, false) => None,
        }
    }

    /// Adds a validation to the `keep` best. Ties go to the lower loss, then to the earlier step. A validation without
    /// scores has the cost `f64::MAX`.
    pub(crate) fn validated(&mut self, found: BestValidation, keep: usize, by: BestBy) -> Improvement {
        // A validation without scores is never the best.
        if found.cost == f64::MAX {
            self.stale += 1;
            return Improvement::Worse;
        }
        let is_better = |best: &BestValidation| found.order(best).is_lt();
        let at = self.best.iter().position(is_better).unwrap_or(self.best.len());
        self.best.insert(at, found);
        let early = self.best[0].cost >= by.cost_of_none();
        self.best.truncate(keep);
        self.stale = if at == 0 || early { 0 } else { self.stale + 1 };
        match (at, early) {
            (0, _) => Improvement::Better,
            (_, true) => Improvement::Early,
            (_, false) => Improvement::Worse,
        }
    }

    /// Checks that a saved run can have this state.
    ///
    /// # Errors
    /// The field that is out of range, and its range.
    pub(crate) fn check(&self) -> Result<(), String> {
        // JSON holds these numbers exactly, with room to count further.
        const MOST: u64 = 1 << 53;
        let TrainState { window, plateau, step, .. } = self;
        let bests = self.best.iter().chain(&self.ended_with).map(|best| best.step).max().unwrap_or(0);
        let counts = [
            ("step", *step, ConfigError::LARGEST),
            ("epoch", self.epoch, MOST),
            ("position", self.position as u64, MOST),
            ("stale", self.stale, *step),
            ("plateau.stale", plateau.stale, *step),
            ("skipped_in_a_row", self.skipped_in_a_row, *step),
            ("best.step", bests, *step),
            ("tokens_per_batch", self.tokens_per_batch as u64, ConfigError::LARGEST),
            ("metrics_bytes", self.metrics_bytes, MOST),
            ("window.tokens", window.tokens, MOST),
            ("window.source_tokens", window.source_tokens, MOST),
            ("window.positions", window.positions, MOST),
            ("window.rows", window.rows, MOST),
            ("window.updates", window.updates, *step),
            ("window.skipped", window.skipped, *step),
        ];
        if let Some((name, count, most)) = counts.into_iter().find(|(_, count, most)| count > most) {
            return Err(format!("`{name}` must be at most {most}, but it is {count}"));
        }
        match (0.0..=1.0).contains(&plateau.share) {
            true => Ok(()),
            false => Err(format!("`plateau.share` must be from 0 to 1, but it is {}", plateau.share)),
        }
    }

    /// The best validation, including that at the end of a run.
    pub(crate) fn best_of_all(&self) -> Option<BestValidation> {
        self.all_of_the_best().first().copied()
    }

    /// The steps of the best validations, the best first, including that at the end of a run.
    pub(crate) fn best_steps_of_all(&self) -> Vec<u64> {
        self.all_of_the_best().iter().map(|best| best.step).collect()
    }

    fn all_of_the_best(&self) -> Vec<BestValidation> {
        let mut all: Vec<BestValidation> = self.best.iter().chain(&self.ended_with).copied().collect();
        all.sort_by(BestValidation::order);
        all.dedup_by_key(|best| best.step);
        all
    }

    /// Records the validation at the end of a run, apart from all others.
    pub(crate) fn ended_with(&mut self, found: BestValidation) {
        let before = self.ended_with.filter(|before| before.order(&found).is_le());
        self.ended_with = before.or(Some(found).filter(|found| found.cost < f64::MAX));
    }

    /// Steps of the best validations.
    pub(crate) fn best_steps(&self) -> impl Iterator<Item = u64> {
        self.best.iter().map(|best| best.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricKind;

    fn at(step: u64, cost: f64) -> BestValidation {
        BestValidation { step, cost, nll: 1.0 }
    }

    fn by(name: &str) -> BestBy {
        MetricKind::named(name).map_or(BestBy::Nll, BestBy::Metric)
    }

    #[test]
    fn the_best_are_kept_in_order_and_ties_by_the_earlier_step() {
        let mut progress = TrainState::default();
        let costs = [3.0, 2.0, 2.0, 5.0, 1.0, 2.5];
        let validated = |(&cost, step)| progress.validated(at(step, cost), 3, BestBy::Nll);
        let better: Vec<bool> =
            costs.iter().zip(1..).map(validated).map(|v| v == Improvement::Better).collect();
        assert_eq!(better, [true, true, false, false, true, false]);
        assert_eq!(progress.best_steps().collect::<Vec<_>>(), [5, 2, 3]);
        assert_eq!(progress.stale, 1);
        progress.ended_with(at(7, 0.5));
        progress.ended_with(at(9, 0.7));
        assert_eq!(progress.best_of_all(), Some(at(7, 0.5)));
        assert_eq!(progress.best_steps_of_all(), [7, 5, 2, 3]);
        let mut diverged = TrainState::default();
        assert_eq!(diverged.validated(at(1, f64::MAX), 3, BestBy::Nll), Improvement::Worse);
        assert_eq!((diverged.best.len(), diverged.stale), (0, 1));
    }

    #[test]
    fn ties_of_validations_are_broken_by_the_loss() {
        let mut progress = TrainState::default();
        let nll = [3.0, 2.0, 2.5, 2.0];
        let found = nll.iter().zip(1..).map(|(&nll, step)| BestValidation { step, cost: -0.5, nll });
        let verdicts: Vec<Improvement> =
            found.map(|found| progress.validated(found, 4, by("exact_match"))).collect();
        assert_eq!(
            verdicts,
            [Improvement::Better, Improvement::Better, Improvement::Worse, Improvement::Worse]
        );
        assert_eq!(progress.best_steps().collect::<Vec<_>>(), [2, 4, 3, 1]);
        // A state of an older version has no likelihood: any equal validation replaces it.
        let old: BestValidation = serde_json::from_str(r#"{ "step": 1, "cost": -0.5 }"#).unwrap();
        assert!(BestValidation { step: 2, cost: -0.5, nll: 9.0 }.order(&old).is_lt());
    }

    #[test]
    fn patience_starts_at_the_first_useful_validation() {
        use Improvement::{Better, Early, Worse};
        let verdicts = |by, scores: &[(f64, f64)]| -> (Vec<Improvement>, u64) {
            let mut progress = TrainState::default();
            let found = scores.iter().zip(1..).map(|(&(cost, nll), step)| BestValidation { step, cost, nll });
            let verdicts = found.map(|found| progress.validated(found, 2, by)).collect();
            (verdicts, progress.stale)
        };
        // No output is right, and the likelihood falls for a while.
        let none_right = [(-0.0, 2.0), (-0.0, 2.5), (-0.0, 2.6), (-0.1, 2.7), (-0.1, 2.8), (-0.0, 1.0)];
        let found = verdicts(by("exact_match"), &none_right);
        assert_eq!(found, (vec![Better, Early, Early, Better, Worse, Worse], 2));
        // An empty output has as many errors as its reference has symbols.
        let found = verdicts(by("error_rate"), &[(1.0, 2.0), (1.0, 3.0), (0.9, 3.0), (1.0, 2.0)]);
        assert_eq!(found, (vec![Better, Early, Better, Worse], 1));
        assert_eq!(verdicts(BestBy::Nll, &[(3.0, 3.0), (4.0, 4.0)]), (vec![Better, Worse], 1));
        assert_eq!(verdicts(BestBy::Perplexity, &[(9.0, 2.2), (8.0, 2.1)]), (vec![Better, Better], 0));
        let found = verdicts(BestBy::TokenAccuracy, &[(-0.0, 3.0), (-0.0, 4.0), (-0.5, 4.0), (-0.4, 1.0)]);
        assert_eq!(found, (vec![Better, Early, Better, Worse], 1));
    }

    #[test]
    fn every_number_of_a_saved_state_is_checked() {
        let good = TrainState { step: 10, epoch: 2, best: vec![at(10, 1.0)], ..TrainState::default() };
        assert_eq!(good.check(), Ok(()));
        let refused = |change: fn(&mut TrainState), message: &str| {
            let mut progress = good.clone();
            change(&mut progress);
            assert_eq!(progress.check().unwrap_err(), message);
        };
        refused(|it| it.step = 1 << 40, "`step` must be at most 2147483647, but it is 1099511627776");
        refused(
            |it| it.epoch = u64::MAX,
            "`epoch` must be at most 9007199254740992, but it is 18446744073709551615",
        );
        refused(|it| it.best[0].step = 11, "`best.step` must be at most 10, but it is 11");
        refused(|it| it.stale = 11, "`stale` must be at most 10, but it is 11");
        refused(|it| it.window.updates = 11, "`window.updates` must be at most 10, but it is 11");
        refused(|it| it.plateau.share = -0.5, "`plateau.share` must be from 0 to 1, but it is -0.5");
    }
}
