//! Token accuracy: the share of the references' tokens, EOS among them, that are the most likely ones by teacher forcing.

use super::edit::share_of;
use super::{Example, Metric, TargetScore};

/// `token_accuracy`, from 0 to 1; 0 without tokens. Only models that cut references into the same tokens can be compared by
/// it. Of several references the first counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenAccuracy(TargetScore);

impl Metric for TokenAccuracy {
    const NAME: &'static str = "token_accuracy";
    const HIGHER_IS_BETTER: bool = true;

    fn add(&mut self, example: &Example) {
        self.0.add(example.reference_score.unwrap_or_default());
    }

    fn merge(&mut self, other: &Self) {
        self.0.add(other.0);
    }

    fn statistics(&self) -> Vec<f64> {
        vec![self.0.correct as f64, self.0.tokens as f64]
    }

    fn of_statistics(statistics: &[f64]) -> f64 {
        share_of(statistics)
    }

    fn counts(&self) -> Option<String> {
        Some(format!("{} of {} tokens", self.0.correct, self.0.tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_all_tokens() {
        let mut metric = TokenAccuracy::default();
        assert_eq!(metric.value(), 0.0);
        for (correct, tokens) in [(1, 1), (0, 3)] {
            let reference_score = Some(TargetScore { log_probability: -1.0, tokens, correct });
            metric.add(&Example { reference_score, ..Example::default() });
        }
        assert_eq!(metric.value(), 0.25);
    }
}
