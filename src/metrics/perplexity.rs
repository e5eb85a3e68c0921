//! Perplexity: exp of the negative log-probability per token of the references, EOS among the tokens, by teacher forcing.

use super::edit::share_of;
use super::{Example, Metric, TargetScore};

/// `perplexity`, from 1, which is perfect; 1 without tokens. Only models that cut references into the same tokens can be
/// compared by it. Of several references the first counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Perplexity(TargetScore);

impl Metric for Perplexity {
    const NAME: &'static str = "perplexity";
    const HIGHER_IS_BETTER: bool = false;
    /// Outputs have none.
    const OF_EMPTY_OUTPUTS: f64 = f64::MAX;
    const IN_PERCENT: bool = false;

    fn add(&mut self, example: &Example) {
        self.0.add(example.reference_score.unwrap_or_default());
    }

    fn merge(&mut self, other: &Self) {
        self.0.add(other.0);
    }

    fn statistics(&self) -> Vec<f64> {
        // 0 and not -0 without tokens.
        vec![0.0 - self.0.log_probability, self.0.tokens as f64]
    }

    fn of_statistics(statistics: &[f64]) -> f64 {
        share_of(statistics).exp().min(f64::MAX)
    }

    fn counts(&self) -> Option<String> {
        Some(format!("{} tokens", self.0.tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_all_tokens_and_not_the_mean_of_rows() {
        let mut metric = Perplexity::default();
        assert_eq!(metric.value(), 1.0);
        for (log_probability, tokens) in [(-3.0, 1), (-1.0, 3)] {
            let reference_score = Some(TargetScore { log_probability, tokens, correct: 0 });
            metric.add(&Example { reference_score, ..Example::default() });
        }
        metric.add(&Example::default());
        assert_eq!(metric.value(), 1.0f64.exp());
        assert_eq!(Perplexity::of_statistics(&[1e6, 1.0]), f64::MAX);
    }
}
