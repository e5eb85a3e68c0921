//! The metrics of a run: sums over updates, and the scores of a validation.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metrics::MetricValue;

/// Sums over the updates since the last row of training metrics. Saved, so that a row may span a stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningStats {
    /// Sum of the smoothed loss over target tokens.
    pub loss: f64,
    /// Sum of the negative log-likelihood over target tokens.
    pub nll: f64,
    /// Target tokens.
    pub tokens: u64,
    /// Source tokens.
    pub source_tokens: u64,
    /// Positions of both sides, including padding.
    pub positions: u64,
    /// Pairs.
    pub rows: u64,
    /// Sum of the gradient norms, before clipping.
    pub gradient_norm: f64,
    /// Updates that changed the weights.
    pub updates: u64,
    /// Updates that were skipped because a number was not finite. The sums above exclude them.
    pub skipped: u64,
}

impl RunningStats {
    /// Adds another window's sums.
    pub fn add(&mut self, other: &RunningStats) {
        self.loss += other.loss;
        self.nll += other.nll;
        self.tokens += other.tokens;
        self.source_tokens += other.source_tokens;
        self.positions += other.positions;
        self.rows += other.rows;
        self.gradient_norm += other.gradient_norm;
        self.updates += other.updates;
        self.skipped += other.skipped;
    }

    /// Smoothed loss per target token; NaN if every update was skipped.
    pub fn loss_per_token(&self) -> f64 {
        self.loss / self.tokens as f64
    }

    /// Negative log-likelihood per target token; NaN if every update was skipped.
    pub(crate) fn nll_per_token(&self) -> f64 {
        self.nll / self.tokens as f64
    }

    /// Mean of the gradient norms; NaN if every update was skipped.
    pub(crate) fn mean_gradient_norm(&self) -> f64 {
        self.gradient_norm / self.updates as f64
    }

    /// Share of the positions that are padding; 0 without updates.
    pub fn padding(&self) -> f64 {
        if self.positions == 0 {
            return 0.0;
        }
        1.0 - (self.tokens + self.source_tokens) as f64 / self.positions as f64
    }
}

/// The scores of a validation.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// Negative log-likelihood per target token, teacher-forced.
    pub nll: f64,
    /// Share of target tokens that are the most likely ones, teacher-forced.
    pub token_accuracy: f64,
    /// The metrics of the decoded rows, against references as they are in the file.
    pub metrics: Vec<MetricValue>,
    /// The score that `training.best_by` names, by which checkpoints are compared. A metric compares with references in
    /// the text form of outputs.
    pub deciding: f64,
    /// Decoded rows that did not reach EOS.
    pub unfinished: u64,
}

impl Validation {
    /// The validation of a model whose scores are NaN or infinite.
    pub(crate) const NONE: Validation = Validation {
        nll: f64::NAN,
        token_accuracy: f64::NAN,
        metrics: Vec::new(),
        deciding: f64::NAN,
        unfinished: 0,
    };

    /// The scores that fit into `room` columns; the first two metrics in any case.
    pub(crate) fn in_short(&self, room: usize) -> String {
        if self.nll.is_nan() {
            return self.to_string();
        }
        let mut line = format!("nll {:.3}", self.nll);
        for (n, metric) in MetricValue::in_lines(&self.metrics).enumerate() {
            let next = format!(", {}", metric.in_short());
            if n >= 2 && line.len() + next.len() > room {
                break;
            }
            line += &next;
        }
        line
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nll.is_nan() {
            return write!(f, "no scores: the model's outputs are NaN or infinite");
        }
        let (nll, perplexity) = (self.nll, self.nll.exp());
        write!(
            f,
            "nll {nll:.4}, perplexity {perplexity:.3}, token accuracy {:.2} %",
            100.0 * self.token_accuracy
        )?;
        MetricValue::in_lines(&self.metrics).try_for_each(|metric| write!(f, ", {}", metric.in_words()))?;
        match self.unfinished {
            0 => Ok(()),
            unfinished => write!(f, ", unfinished outputs: {unfinished}"),
        }
    }
}
