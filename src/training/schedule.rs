//! The learning rate as a pure function of the step; with `plateau` also of the validations so far.

use serde::{Deserialize, Serialize};

use super::{PlateauConfig, TrainingConfig};

/// A curve over the steps of a run. All but `noam` rise linearly over `warmup` steps to `learning_rate`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Schedule {
    /// Stays constant.
    Constant {
        /// Steps of the warm-up.
        warmup: u64,
    },
    /// Decays with sqrt(warmup / step).
    InverseSqrt {
        /// Steps of the warm-up.
        warmup: u64,
    },
    /// Half a cosine down to `final_share` at `steps`.
    Cosine {
        /// Steps of the warm-up.
        warmup: u64,
        /// The last step.
        steps: u64,
        /// The share that is left there.
        final_share: f64,
    },
    /// Linear decay to `final_share` at `steps`.
    Linear {
        /// Steps of the warm-up.
        warmup: u64,
        /// The last step.
        steps: u64,
        /// The share that is left there.
        final_share: f64,
    },
    /// width^-0.5 * min(step^-0.5, step * warmup^-1.5) (Vaswani et al. 2017, section 5.3).
    Noam {
        /// Steps of the warm-up.
        warmup: u64,
        /// Width of the model.
        width: usize,
    },
    /// Is multiplied by `factor` after `patience` validations in a row without improvement.
    Plateau(PlateauConfig),
}

/// The state of `plateau`. Saved in checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    /// The current share of the learning rate.
    pub share: f64,
    /// Validations in a row without improvement, since the last improvement or decay.
    pub stale: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Plateau { share: 1.0, stale: 0 }
    }
}

impl Plateau {
    /// Records a validation.
    pub(crate) fn validated(&mut self, config: &PlateauConfig, better: bool) {
        self.stale = if better { 0 } else { self.stale + 1 };
        if self.stale >= config.patience {
            self.share = (self.share * config.factor).max(config.final_share);
            self.stale = 0;
        }
    }
}

impl Schedule {
    /// The schedule of the config; by default the inverse square root.
    pub(crate) fn new(config: &TrainingConfig, width: usize) -> Schedule {
        let steps = config.steps;
        if let Some(constant) = &config.constant {
            Schedule::Constant { warmup: constant.warmup }
        } else if let Some(cosine) = &config.cosine {
            Schedule::Cosine { warmup: cosine.warmup, steps, final_share: cosine.final_share }
        } else if let Some(linear) = &config.linear {
            Schedule::Linear { warmup: linear.warmup, steps, final_share: linear.final_share }
        } else if let Some(noam) = &config.noam {
            Schedule::Noam { warmup: noam.warmup, width }
        } else if let Some(plateau) = &config.plateau {
            Schedule::Plateau(plateau.clone())
        } else {
            let warmup = config.inverse_sqrt.clone().unwrap_or_default().warmup;
            Schedule::InverseSqrt { warmup }
        }
    }

    /// Records a validation, if the schedule depends on it.
    pub(crate) fn validated(&self, plateau: &mut Plateau, better: bool) {
        if let Schedule::Plateau(config) = self {
            plateau.validated(config, better);
        }
    }

    /// The factor of the learning rate at `step`, which counts from 1.
    pub(crate) fn factor(&self, step: u64, plateau: Plateau) -> f64 {
        let rise = |warmup: u64| (step as f64 / warmup.max(1) as f64).min(1.0);
        // Progress from the end of the warm-up to the last step, from 0 to 1.
        let way = |warmup: u64, steps: u64| {
            let rest = steps.saturating_sub(warmup).max(1) as f64;
            (step.saturating_sub(warmup) as f64 / rest).min(1.0)
        };
        match *self {
            Schedule::Plateau(ref config) => rise(config.warmup) * plateau.share,
            Schedule::Constant { warmup } => rise(warmup),
            Schedule::InverseSqrt { warmup } => rise(warmup).min((warmup.max(1) as f64 / step as f64).sqrt()),
            Schedule::Cosine { warmup, steps, final_share } => {
                let fall = (1.0 + (std::f64::consts::PI * way(warmup, steps)).cos()) / 2.0;
                rise(warmup) * (final_share + (1.0 - final_share) * fall)
            }
            Schedule::Linear { warmup, steps, final_share } => {
                rise(warmup) * (1.0 - (1.0 - final_share) * way(warmup, steps))
            }
            Schedule::Noam { warmup, width } => {
                let (step, warmup) = (step as f64, warmup.max(1) as f64);
                (width as f64).powf(-0.5) * step.powf(-0.5).min(step * warmup.powf(-1.5))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
    }

    impl Schedule {
        fn at(&self, step: u64) -> f64 {
            self.factor(step, Plateau::default())
        }
    }

    #[test]
    fn every_schedule_follows_its_formula() {
        let constant = Schedule::Constant { warmup: 10 };
        close(constant.at(5), 0.5);
        close(constant.at(500), 1.0);
        let root = Schedule::InverseSqrt { warmup: 100 };
        close(root.at(25), 0.25);
        close(root.at(100), 1.0);
        close(root.at(400), 0.5);
        let cosine = Schedule::Cosine { warmup: 10, steps: 110, final_share: 0.2 };
        close(cosine.at(5), 0.5);
        close(cosine.at(10), 1.0);
        close(cosine.at(60), 0.6);
        close(cosine.at(110), 0.2);
        close(cosine.at(999), 0.2);
        let linear = Schedule::Linear { warmup: 10, steps: 110, final_share: 0.0 };
        close(linear.at(1), 0.1);
        close(linear.at(60), 0.5);
        close(linear.at(110), 0.0);
        let noam = Schedule::Noam { warmup: 4000, width: 512 };
        close(noam.at(4000), (512f64 * 4000.0).powf(-0.5));
        close(noam.at(1), 512f64.powf(-0.5) * 4000f64.powf(-1.5));
    }

    #[test]
    fn without_warmup_a_schedule_starts_at_its_peak() {
        close(Schedule::Constant { warmup: 0 }.at(1), 1.0);
        close(Schedule::InverseSqrt { warmup: 0 }.at(1), 1.0);
        close(Schedule::InverseSqrt { warmup: 0 }.at(4), 0.5);
    }

    #[test]
    fn every_schedule_equals_its_formula_at_every_step() {
        let (warmup, steps, final_share) = (40, 400, 0.1);
        let rise = |step: f64| (step / 40.0).min(1.0);
        let way = |step: f64| ((step - 40.0) / 360.0).clamp(0.0, 1.0);
        for step in 1..=500 {
            let s = step as f64;
            close(Schedule::Constant { warmup }.at(step), rise(s));
            close(Schedule::InverseSqrt { warmup }.at(step), (s / 40.0).min((40.0 / s).sqrt()));
            let linear = rise(s) * (1.0 - 0.9 * way(s));
            close(Schedule::Linear { warmup, steps, final_share }.at(step), linear);
            let cosine = rise(s) * (0.1 + 0.9 * (0.5 + 0.5 * (std::f64::consts::PI * way(s)).cos()));
            close(Schedule::Cosine { warmup, steps, final_share }.at(step), cosine);
            let noam = 256f64.powf(-0.5) * s.powf(-0.5).min(s * 40f64.powf(-1.5));
            close(Schedule::Noam { warmup, width: 256 }.at(step), noam);
        }
    }

    #[test]
    fn plateau_drops_after_its_patience_and_not_below_its_end() {
        let config = PlateauConfig { warmup: 10, factor: 0.5, patience: 2, final_share: 0.2 };
        let schedule = Schedule::Plateau(config);
        let mut plateau = Plateau::default();
        let mut shares = Vec::new();
        for better in [true, false, true, false, false, false, false, false, false] {
            schedule.validated(&mut plateau, better);
            shares.push(plateau.share);
        }
        assert_eq!(shares, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2]);
        close(schedule.factor(5, plateau), 0.1);
        close(schedule.factor(50, plateau), 0.2);
        let mut other = Plateau::default();
        Schedule::Constant { warmup: 1 }.validated(&mut other, false);
        assert_eq!(other, Plateau::default());
    }
}
