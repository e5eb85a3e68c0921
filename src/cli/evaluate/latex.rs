//! The result as a table for LaTeX, with the package booktabs: a line for each system, a column for each metric.

use super::results::{Results, Score, StatisticsArgs};
use crate::error::printable_line;
use crate::metrics::{MetricKind, SIGNIFICANT};

/// The table, and as comments what its numbers are.
pub(super) fn render(results: &Results, args: &StatisticsArgs) -> String {
    let mut text = String::new();
    for metric in &results.metrics {
        if let Some(signature) = &metric.signature {
            text += &format!("% {}: {signature}\n", metric.kind.name);
        }
    }
    if args.resamples > 0 {
        let percent = args.percent();
        text += &format!("% [low, high]: {percent} % interval of {} bootstrap resamples\n", args.resamples);
    }
    if args.compares(results.systems.len()) {
        text += &format!("% \\dagger: p < {SIGNIFICANT} against the first system\n");
        for metric in &results.metrics {
            for (name, score) in results.systems.iter().zip(&metric.scores) {
                let Some(p) = score.p else { continue };
                let (name, p) = (printable_line(name), args.shown_p(p));
                text += &format!("% p of {name} by {}: {p}\n", metric.kind.name);
            }
        }
    }
    text += &format!("\\begin{{tabular}}{{l{}}}\n\\toprule\nSystem", "r".repeat(results.metrics.len()));
    for metric in &results.metrics {
        let arrow = if metric.kind.higher_is_better { "uparrow" } else { "downarrow" };
        text += &format!(" & {} $\\{arrow}$", escaped(&metric.kind.short_label()));
    }
    text += " \\\\\n\\midrule\n";
    for (at, name) in results.systems.iter().enumerate() {
        text += &first_cell(name);
        results.metrics.iter().for_each(|metric| text += &cell(metric.kind, &metric.scores[at]));
        text += " \\\\\n";
    }
    text + "\\bottomrule\n\\end{tabular}\n"
}

/// The name of a system. Behind the end of a line, LaTeX would read `[` and `*` as arguments of it.
fn first_cell(name: &str) -> String {
    let guard = if name.trim_start().starts_with(['[', '*']) { "{}" } else { "" };
    guard.to_owned() + &escaped(&printable_line(name))
}

fn cell(kind: MetricKind, score: &Score) -> String {
    let value = kind.shown(score.value);
    let value = if score.best { format!("\\textbf{{{value}}}") } else { value };
    let mark = if score.p.is_some_and(|p| p < SIGNIFICANT) { "$^{\\dagger}$" } else { "" };
    let interval = score.interval.map(|bounds| {
        let [low, high] = bounds.map(|bound| kind.shown(bound));
        format!(" {{\\small [{low}, {high}]}}")
    });
    format!(" & {value}{mark}{}", interval.unwrap_or_default())
}

/// A text with what LaTeX reads as commands escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', character]),
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_any_characters() {
        assert_eq!(
            escaped("runs/a_b 5% & ü^~\\"),
            "runs/a\\_b 5\\% \\& ü\\textasciicircum{}\\textasciitilde{}\\textbackslash{}"
        );
        let cells = ["[a]", " *", "a\nb\r", "a[*"].map(first_cell);
        assert_eq!(cells, ["{}[a]", "{} *", "a\\textbackslash{}nb\\textbackslash{}r", "a[*"]);
    }

    #[test]
    fn the_best_value_is_bold_and_a_significant_one_is_marked() {
        let kind = MetricKind::named("exact_match").unwrap();
        let score = Score { value: 0.4889, interval: Some([0.462, 0.5133]), p: Some(0.01), best: true };
        let bold = " & \\textbf{48.89}$^{\\dagger}$ {\\small [46.20, 51.33]}";
        assert_eq!(cell(kind, &score), bold);
        assert_eq!(cell(kind, &Score { interval: None, p: Some(0.5), best: false, ..score }), " & 48.89");
    }
}
