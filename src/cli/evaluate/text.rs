//! The result as a table for people: shares and rates in percent.

use std::fmt::Write as _;

use super::results::{Results, Score, SignificanceTest, StatisticsArgs};
use crate::cli::aligned::aligned;
use crate::error::{counted, printable_line};
use crate::metrics::MetricKind;

/// A table, what its numbers are, signatures, and the counts behind values.
pub(super) fn render(results: &Results, args: &StatisticsArgs) -> String {
    let compares = args.compares(results.systems.len());
    let interval = if args.resamples > 0 { format!("{} % interval", args.percent()) } else { String::new() };
    let p = if compares { "p" } else { "" };
    let mut lines = vec![vec!["metric".into(), "system".into(), "value ".into(), interval, p.into()]];
    for metric in &results.metrics {
        for (at, (name, score)) in results.systems.iter().zip(&metric.scores).enumerate() {
            let label = if at == 0 { metric.kind.short_label() } else { String::new() };
            lines.push(line(metric.kind, label, name, score, args));
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
    for metric in &results.metrics {
        for (name, counts) in results.systems.iter().zip(&metric.counts) {
            let _ = writeln!(text, "{} of {}: {counts}", metric.kind.name, printable_line(name));
        }
    }
    text
}

/// The cells of a line: metric, system, value, interval, p.
fn line(kind: MetricKind, label: String, name: &str, score: &Score, args: &StatisticsArgs) -> Vec<String> {
    let mark = if score.best { '*' } else { ' ' };
    let value = format!("{}{mark}", kind.shown(score.value));
    let interval = score.interval.map(|bounds| {
        let [low, high] = bounds.map(|bound| kind.shown(bound));
        format!("[{low}, {high}]")
    });
    let p = score.p.map(|p| args.shown_p(p));
    vec![label, printable_line(name).into_owned(), value, interval.unwrap_or_default(), p.unwrap_or_default()]
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
        let baseline = printable_line(results.systems.first().map_or("", String::as_str));
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
