//! The table over all systems, as text and as CSV.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::plan::Plan;
use super::results::{MetricResults, Results, SIGNIFICANT};
use crate::error::{Error, Result, counted};

/// The table as text. Writing to a string cannot fail.
pub(super) fn text(plan: &Plan, results: &Results) -> String {
    let mut out = String::new();
    for set in &results.sets {
        for scores in &set.scores {
            let rows = counted(set.pairs.len(), "row");
            let _ = writeln!(out, "{}: {}, {rows}", set.name, title(scores));
            aligned(&mut out, &cells(plan, scores), &notes(plan, scores));
            out.push('\n');
        }
    }
    let _ = writeln!(
        out,
        "* the best mean over {}. sd: standard deviation over seeds. In brackets: 95 % bootstrap interval of the mean over rows.",
        counted(plan.seeds.len(), "seed")
    );
    out
}

/// The name of a metric, and which values are better.
pub(super) fn title(scores: &MetricResults) -> String {
    let better = if scores.kind.higher_is_better { "higher" } else { "lower" };
    format!("{} in %, {better} is better", scores.kind.label())
}

/// A header, and the cells of each system.
pub(super) fn cells(plan: &Plan, scores: &MetricResults) -> Vec<Vec<String>> {
    let mut header: Vec<String> = ["", "mean", "sd", "95 %"].map(str::to_owned).into();
    header.extend(plan.seeds.iter().map(|seed| format!("seed {seed}")));
    let mut rows = vec![header];
    for (system, score) in plan.systems.iter().zip(&scores.systems) {
        let [low, high] = score.interval.map(percent);
        let deviation = score.deviation.map_or("-".to_owned(), percent);
        let mut row = vec![system.name.clone(), percent(score.mean), deviation, format!("[{low}, {high}]")];
        row.extend(score.seeds.iter().map(|value| percent(*value)));
        rows.push(row);
    }
    rows
}

/// What the best system is better than; empty for the others.
pub(super) fn notes(plan: &Plan, scores: &MetricResults) -> Vec<String> {
    let mut notes = vec![String::new(); plan.systems.len()];
    let worse: Vec<&str> =
        scores.better_than.iter().map(|&other| plan.systems[other].name.as_str()).collect();
    if plan.systems.len() > 1 {
        notes[scores.best] = match worse.is_empty() {
            true => format!("no difference with p < {SIGNIFICANT}"),
            false => format!("better than {} (p < {SIGNIFICANT})", worse.join(", ")),
        };
    }
    notes
}

fn percent(value: f64) -> String {
    format!("{:.2}", 100.0 * value)
}

/// Writes rows in columns; the best one, which has a note, is marked.
fn aligned(out: &mut String, rows: &[Vec<String>], notes: &[String]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (number, row) in rows.iter().enumerate() {
        let note = number.checked_sub(1).map_or("", |system| notes[system].as_str());
        let mut line = if note.is_empty() { "  ".to_owned() } else { "* ".to_owned() };
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let room = " ".repeat(width - cell.width());
            match column {
                0 => line.extend([cell.as_str(), room.as_str()]),
                _ => line.extend(["  ", room.as_str(), cell.as_str()]),
            }
        }
        let _ = writeln!(out, "{}", format!("{line}  {note}").trim_end());
    }
}

/// The table as CSV: a row for each test set, metric and system.
///
/// # Errors
/// It cannot be written.
pub(super) fn csv(plan: &Plan, results: &Results) -> Result<String> {
    let failed = |error: csv::Error| Error::failure(format!("cannot write the table: {error}"));
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> =
        ["set", "metric", "system", "mean", "sd", "low", "high", "best", "better_than"]
            .map(str::to_owned)
            .into();
    header.extend(plan.seeds.iter().map(|seed| format!("seed_{seed}")));
    out.write_record(&header).map_err(failed)?;
    for (set, scores) in
        results.sets.iter().flat_map(|set| set.scores.iter().map(move |scores| (set, scores)))
    {
        for (number, (system, score)) in plan.systems.iter().zip(&scores.systems).enumerate() {
            let is_best = number == scores.best;
            let worse =
                scores.better_than.iter().filter(|_| is_best).map(|&other| plan.systems[other].name.as_str());
            let mut row = vec![set.name.clone(), scores.kind.name.to_owned(), system.name.clone()];
            row.push(score.mean.to_string());
            row.push(score.deviation.map_or(String::new(), |deviation| deviation.to_string()));
            row.extend(score.interval.map(|end| end.to_string()));
            row.push(u8::from(is_best).to_string());
            row.push(worse.collect::<Vec<_>>().join(";"));
            row.extend(score.seeds.iter().map(f64::to_string));
            out.write_record(&row).map_err(failed)?;
        }
    }
    let bytes = out.into_inner().map_err(|error| failed(error.into_error().into()))?;
    String::from_utf8(bytes).map_err(|error| Error::failure(format!("cannot write the table: {error}")))
}
