//! The lines that the terminal and `train.log` share.

use std::path::Path;

use super::{Event, skipped};
use crate::error::counted;
use crate::training::metrics::RunningStats;
use crate::training::pace::Speed;

/// The line of an event that both show.
pub(crate) fn message(event: &Event, folder: &Path) -> Option<String> {
    Some(match event {
        Event::Message(line) => (*line).to_owned(),
        Event::TrainingRow { step, window, .. } if window.skipped > 0 => {
            format!("step {step}: {} skipped since the last log line", counted(window.skipped, "update"))
        }
        Event::Skipped { step, .. } => format!(
            "step {step}: update skipped: the loss or a gradient is NaN or infinite; its rows are in {}",
            skipped::path(folder, *step).display()
        ),
        Event::RowSkipped { step, place } => {
            format!("step {step}: {place}: out of memory even for this pair alone: it is skipped")
        }
        _ => return None,
    })
}

/// A row of training metrics, no wider than 80 columns.
pub(crate) fn training_line(step: u64, window: &RunningStats, learning_rate: f64, speed: Speed) -> String {
    let norm = window.mean_gradient_norm();
    let decimals = if norm < 10.0 { 2 } else { usize::from(norm < 100.0) };
    let (tokens, left) = (speed.tokens_per_second, speed.time_left());
    let tokens = if tokens < 99_999.5 { format!("{tokens:.0}") } else { format!("{:.0}k", tokens / 1000.0) };
    format!(
        "step {step}: loss {:.3}, norm {norm:.decimals$}, lr {learning_rate:.2e}, {tokens} tokens/s{left}",
        window.loss_per_token(),
    )
}

/// The mark behind a validation.
pub(crate) fn mark(better: bool) -> &'static str {
    if better { " (best)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::pace::Pace;

    #[test]
    fn a_progress_line_fits_80_columns() {
        let window = |loss: f64, norm: f64| RunningStats {
            updates: 1,
            tokens: 1,
            loss,
            gradient_norm: norm,
            ..RunningStats::default()
        };
        let speed = |tokens_per_second, left| Speed { tokens_per_second, seconds_left: Some(left) };
        for (step, loss, norm, tokens) in [
            (50, 2.345, 1.0, 5678.0),
            (99_999, 9.9996, 9.99, 99_999.0),
            (1_000_000, 9.99, 99.94, 999_999.0),
            (1_000_000, 0.123, 1234.0, 999_999.0),
        ] {
            let line = training_line(step, &window(loss, norm), 1e-3, speed(tokens, 35_999.0));
            assert!(line.len() <= 80, "{}: {line}", line.len());
        }
        let line = training_line(50, &window(2.3456, 1.0), 1e-3, speed(5678.1, 720.0));
        assert_eq!(line, "step 50: loss 2.346, norm 1.00, lr 1.00e-3, 5678 tokens/s, 12 min left");
        let speed = speed(1.0, 1.0);
        let pace = Pace { speed, peak_share: 1.0, padding: 0.999, waiting: 0.9999, memory: 1234.5 };
        assert!(pace.to_string().len() + 2 <= 80, "{pace}");
    }
}
