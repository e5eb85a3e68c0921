//! The learning rate as a pure function of the step.

use super::TrainingConfig;

/// A curve over the steps of a run. Every one but `noam` rises in a straight line over `warmup` steps to
/// `learning_rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Stays there.
    Constant {
        /// Steps of the rise.
        warmup: u64,
    },
    /// Falls with the root of warmup / step.
    InverseSqrt {
        /// Steps of the rise.
        warmup: u64,
    },
    /// Half a cosine down to `final_share` at `steps`.
    Cosine {
        /// Steps of the rise.
        warmup: u64,
        /// The last step.
        steps: u64,
        /// What is left there.
        final_share: f64,
    },
    /// A straight line down to `final_share` at `steps`.
    Linear {
        /// Steps of the rise.
        warmup: u64,
        /// The last step.
        steps: u64,
        /// What is left there.
        final_share: f64,
    },
    /// width^-0.5 * min(step^-0.5, step * warmup^-1.5) (Vaswani et al. 2017, section 5.3).
    Noam {
        /// Steps of the rise.
        warmup: u64,
        /// Width of the model.
        width: usize,
    },
}

impl Schedule {
    /// The schedule that the config names; without one the inverse square root.
    pub fn new(config: &TrainingConfig, width: usize) -> Schedule {
        let steps = config.steps;
        if let Some(constant) = &config.constant {
            Schedule::Constant { warmup: constant.warmup }
        } else if let Some(cosine) = &config.cosine {
            Schedule::Cosine { warmup: cosine.warmup, steps, final_share: cosine.final_share }
        } else if let Some(linear) = &config.linear {
            Schedule::Linear { warmup: linear.warmup, steps, final_share: linear.final_share }
        } else if let Some(noam) = &config.noam {
            Schedule::Noam { warmup: noam.warmup, width }
        } else {
            let warmup = config.inverse_sqrt.clone().unwrap_or_default().warmup;
            Schedule::InverseSqrt { warmup }
        }
    }

    /// What the learning rate is multiplied with at `step`, which counts from 1.
    pub fn factor(&self, step: u64) -> f64 {
        let rise = |warmup: u64| (step as f64 / warmup.max(1) as f64).min(1.0);
        // How much of the way from the end of the rise to the last step is done.
        let way = |warmup: u64, steps: u64| {
            let rest = steps.saturating_sub(warmup).max(1) as f64;
            (step.saturating_sub(warmup) as f64 / rest).min(1.0)
        };
        match *self {
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

    #[test]
    fn every_schedule_follows_its_formula() {
        let constant = Schedule::Constant { warmup: 10 };
        close(constant.factor(5), 0.5);
        close(constant.factor(500), 1.0);
        let root = Schedule::InverseSqrt { warmup: 100 };
        close(root.factor(25), 0.25);
        close(root.factor(100), 1.0);
        close(root.factor(400), 0.5);
        let cosine = Schedule::Cosine { warmup: 10, steps: 110, final_share: 0.2 };
        close(cosine.factor(5), 0.5);
        close(cosine.factor(10), 1.0);
        close(cosine.factor(60), 0.6);
        close(cosine.factor(110), 0.2);
        close(cosine.factor(999), 0.2);
        let linear = Schedule::Linear { warmup: 10, steps: 110, final_share: 0.0 };
        close(linear.factor(1), 0.1);
        close(linear.factor(60), 0.5);
        close(linear.factor(110), 0.0);
        let noam = Schedule::Noam { warmup: 4000, width: 512 };
        close(noam.factor(4000), (512f64 * 4000.0).powf(-0.5));
        close(noam.factor(1), 512f64.powf(-0.5) * 4000f64.powf(-1.5));
    }

    #[test]
    fn no_warmup_starts_at_the_top() {
        close(Schedule::Constant { warmup: 0 }.factor(1), 1.0);
        close(Schedule::InverseSqrt { warmup: 0 }.factor(1), 1.0);
        close(Schedule::InverseSqrt { warmup: 0 }.factor(4), 0.5);
    }
}
