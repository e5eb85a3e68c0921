//! The result as a table for people: values in percent.

use std::fmt::Write as _;

use super::results::{Results, Score, SignificanceTest, StatisticsArgs};
use crate::cli::aligned::aligned;
use crate::error::counted;

/// A table, what its numbers are, and the signatures.
pub(super) fn render(results: &Results, args: &StatisticsArgs) -> String {
    let compares = args.compares(results.systems.len());
    let percent = 100.0 * args.confidence;
    let interval = if args.resamples > 0 { format!("{percent} % interval") } else { String::new() };
    let p = if compares { "p" } else { "" };
    let mut lines = vec![vec!["metric".into(), "system".into(), "value ".into(), interval, p.into()]];
    for metric in &results.metrics {
        for (at, (name, score)) in results.systems.iter().zip(&metric.scores).enumerate() {
            let label = if at == 0 { metric.kind.short_label() } else { String::new() };
            lines.push(line(label, name, score));
        }
    }
    let mut text = aligned(&lines, 2).join("\n");
    text += &format!("\n\n{}{}\n", counted(results.rows, "row"), notes(results, args));
    for metric in &results.metrics {
        if let Some(signature) = &metric.signature {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}: {signature}", metric.kind.name);
        }
    }
    text
}

/// The cells of a line: metric, system, value, interval, p.
fn line(label: String, name: &str, score: &Score) -> Vec<String> {
    let mark = if score.best { '*' } else { ' ' };
    let value = format!("{:.2}{mark}", 100.0 * score.value);
    let interval = score.interval.map(|bounds| {
        let [low, high] = bounds.map(|bound| 100.0 * bound);
        format!("[{low:.2}, {high:.2}]")
    });
    let p = score.p.map(|p| format!("{p:.4}"));
    vec![label, name.to_owned(), value, interval.unwrap_or_default(), p.unwrap_or_default()]
}

/// What marks and columns mean.
fn notes(results: &Results, args: &StatisticsArgs) -> String {
    let mut notes = String::new();
    let systems = results.systems.len();
    if systems > 1 {
        notes += "; * marks the best";
    }
    if args.resamples > 0 {
        notes += &format!("; intervals from {}", counted(args.resamples, "bootstrap resample"));
    }
    if args.compares(systems) {
        let baseline = results.systems.first().map_or("", String::as_str);
        notes += &match args.test {
            SignificanceTest::Bootstrap => format!("; p by paired bootstrap, against {baseline}"),
            SignificanceTest::Randomization => format!(
                "; p by approximate randomization with {}, against {baseline}",
                counted(args.trials, "trial")
            ),
        };
    }
    if args.resamples > 0 || args.compares(systems) {
        notes += &format!("; seed {}", args.seed);
    }
    notes
}
