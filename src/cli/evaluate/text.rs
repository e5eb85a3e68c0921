//! The result as a table for people: values in percent.

use std::fmt::Write as _;

use super::results::{Results, Score, SignificanceTest, StatisticsArgs};
use crate::error::counted;

/// The columns: metric, system, value, interval, p.
type Line = [String; 5];

/// A table, what its numbers are, and the signatures.
pub(super) fn render(results: &Results, args: &StatisticsArgs) -> String {
    let compares = args.compares(results.systems.len());
    let percent = 100.0 * args.confidence;
    let interval = if args.resamples > 0 { format!("{percent} % interval") } else { String::new() };
    let p = if compares { "p" } else { "" };
    let mut lines = vec![["metric".into(), "system".into(), "value ".into(), interval, p.into()]];
    for metric in &results.metrics {
        for (at, (name, score)) in results.systems.iter().zip(&metric.scores).enumerate() {
            let label = if at == 0 { metric.kind.short_label() } else { String::new() };
            lines.push(line(label, name, score));
        }
    }
    let mut text = aligned(&lines);
    text += &format!("\n{}{}\n", counted(results.rows, "row"), notes(results, args));
    for metric in &results.metrics {
        if let Some(signature) = &metric.signature {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}: {signature}", metric.kind.name);
        }
    }
    text
}

fn line(label: String, name: &str, score: &Score) -> Line {
    let mark = if score.best { '*' } else { ' ' };
    let value = format!("{:.2}{mark}", 100.0 * score.value);
    let interval = score.interval.map(|bounds| {
        let [low, high] = bounds.map(|bound| 100.0 * bound);
        format!("[{low:.2}, {high:.2}]")
    });
    let p = score.p.map(|p| format!("{p:.4}"));
    [label, name.to_owned(), value, interval.unwrap_or_default(), p.unwrap_or_default()]
}

/// The lines, with as much room in each column as its longest cell needs; names on the left, numbers on the right.
fn aligned(lines: &[Line]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for [label, name, value, interval, p] in lines {
        let [first, second, third, fourth, fifth] = widths;
        let line =
            format!("{label:first$}  {name:second$}  {value:>third$}  {interval:>fourth$}  {p:>fifth$}");
        text += line.trim_end();
        text.push('\n');
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let line = |cells: [&str; 5]| cells.map(str::to_owned);
        let lines = [
            line(["metric", "system", "value ", "95 % interval", "p"]),
            line(["BLEU", "a.de", "9.10 ", "[8.00, 10.25]", ""]),
            line(["", "longer.de", "48.89*", "[46.20, 51.33]", "0.0120"]),
        ];
        let expected = "metric  system     value    95 % interval       p\n\
                        BLEU    a.de        9.10    [8.00, 10.25]\n        \
                        longer.de  48.89*  [46.20, 51.33]  0.0120\n";
        assert_eq!(aligned(&lines), expected);
    }
}
