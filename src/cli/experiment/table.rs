//! The table over all systems and ensembles, as text and as CSV.

use std::fmt::Write as _;

use super::plan::Plan;
use super::results::{MetricResults, Results, SetResults};
use crate::cli::aligned::aligned;
use crate::error::{Error, Result, counted};
use crate::metrics::{MetricKind, SIGNIFICANT, TEACHER_FORCED};

/// The table as text. Writing to a string cannot fail.
pub(super) fn text(plan: &Plan, results: &Results) -> String {
    let mut out = String::new();
    for set in &results.sets {
        for scores in &set.scores {
            let rows = counted(set.rows, "row");
            let _ = writeln!(out, "{}: {}, {rows}", set.name, title(scores));
            let comparison = comparison(plan, scores);
            marked(&mut out, cells(plan, scores), scores.best, comparison.as_deref());
            if let Some(line) = signature(scores) {
                let _ = writeln!(out, "{line}");
            }
            out.push('\n');
        }
        for line in remarks(set) {
            let _ = writeln!(out, "{}: {line}\n", set.name);
        }
    }
    // A single row is not marked.
    if plan.entries.len() > 1 {
        let _ = write!(out, "* the best mean over {}. ", counted(plan.seeds.len(), "seed"));
    }
    out.push_str(
        "sd: standard deviation over seeds. In brackets: 95 % bootstrap interval of the mean over rows.\n",
    );
    for line in of_errors(results).into_iter().chain(of_ensembles(plan, results)) {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// The signature of a metric with its name, if it has one.
pub(super) fn signature(scores: &MetricResults) -> Option<String> {
    scores.signature.as_ref().map(|signature| format!("{}: {signature}", scores.kind.name))
}

/// Which metrics are left out, if some are, and which models have no output for some rows.
pub(super) fn remarks(set: &SetResults) -> Vec<String> {
    let names: Vec<String> = TEACHER_FORCED.iter().map(MetricKind::label).collect();
    let left_out = set.left_out.as_ref().map(|why| format!("{} are left out: {why}", names.join(" and ")));
    left_out.into_iter().chain(set.skipped.iter().cloned()).collect()
}

/// What the columns of errors are, if there are any.
pub(super) fn of_errors(results: &Results) -> Option<String> {
    let mut scores = results.sets.iter().flat_map(|set| &set.scores).flat_map(|scores| &scores.scores);
    scores.any(|score| score.errors.is_some()).then(|| {
        "sub, del, ins: substitutions, deletions and insertions; length: symbols of the references; means over seeds."
            .to_owned()
    })
}

/// What an ensemble is, and which seeds are in each, if not all are; nothing without ensembles.
pub(super) fn of_ensembles(plan: &Plan, results: &Results) -> Vec<String> {
    let what = plan.ensemble.map(|models| match models < plan.seeds.len() {
        true => format!(
            "ensemble of {models}: the models of the {models} seeds with the best validations choose each token together."
        ),
        false => format!("ensemble of {models}: the models of all seeds choose each token together."),
    });
    what.into_iter().chain(results.chosen.iter().cloned()).collect()
}

/// The name of a metric, and which values are better.
pub(super) fn title(scores: &MetricResults) -> String {
    let better = if scores.kind.higher_is_better { "higher" } else { "lower" };
    let unit = if scores.kind.in_percent { " in %" } else { "" };
    format!("{}{unit}, {better} is better", scores.kind.label())
}

/// A header, and the cells of each entry.
pub(super) fn cells(plan: &Plan, scores: &MetricResults) -> Vec<Vec<String>> {
    let shown = |value: f64| scores.kind.shown(value);
    let or_none = |value: Option<f64>| value.map_or("-".to_owned(), shown);
    let mut header: Vec<String> = ["", "mean", "sd", "95 %"].map(str::to_owned).into();
    if scores.scores.iter().any(|score| score.errors.is_some()) {
        header.extend(["sub", "del", "ins", "length"].map(str::to_owned));
    }
    header.extend(plan.seeds.iter().map(|seed| format!("seed {seed}")));
    let mut rows = vec![header];
    for (entry, score) in plan.entries.iter().zip(&scores.scores) {
        let [low, high] = score.interval.map(shown);
        let (mean, deviation) = (shown(score.mean), or_none(score.deviation));
        let mut row = vec![entry.name.clone(), mean, deviation, format!("[{low}, {high}]")];
        row.extend(score.errors.iter().flatten().map(|count| format!("{count:.1}")));
        row.extend((0..plan.seeds.len()).map(|seed| or_none(score.seeds.get(seed).copied())));
        rows.push(row);
    }
    rows
}

/// What the best entry is significantly better than; `None` of a single entry.
pub(super) fn comparison(plan: &Plan, scores: &MetricResults) -> Option<String> {
    let others = plan.entries.len() - 1;
    match scores.better_than.len() {
        _ if others == 0 => None,
        0 => Some(format!("not better than any other with p < {SIGNIFICANT}")),
        worse if worse == others => Some(format!("better than all others (p < {SIGNIFICANT})")),
        _ => Some(format!("better than {} (p < {SIGNIFICANT})", worse(plan, scores))),
    }
}

/// The names of what the best entry is better than.
fn worse(plan: &Plan, scores: &MetricResults) -> String {
    let names: Vec<&str> =
        scores.better_than.iter().map(|&entry| plan.entries[entry].name.as_str()).collect();
    // Names of ensembles have commas.
    names.join("; ")
}

/// Writes rows in columns, and below them what the best one is better than; it is marked.
fn marked(out: &mut String, mut rows: Vec<Vec<String>>, best: usize, comparison: Option<&str>) {
    for (number, row) in rows.iter_mut().enumerate() {
        // The first line is the header.
        let is_marked = comparison.is_some() && number == best + 1;
        row[0].insert_str(0, if is_marked { "* " } else { "  " });
    }
    for line in aligned(&rows, 1) {
        let _ = writeln!(out, "{}", line.trim_end());
    }
    if let Some(comparison) = comparison {
        let _ = writeln!(out, "  *: {comparison}");
    }
}

/// The table as CSV: a row for each test set, metric and entry.
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
    header.extend(["substitutions", "deletions", "insertions", "reference_length"].map(str::to_owned));
    header.extend(plan.seeds.iter().map(|seed| format!("seed_{seed}")));
    out.write_record(&header).map_err(failed)?;
    for (set, scores) in
        results.sets.iter().flat_map(|set| set.scores.iter().map(move |scores| (set, scores)))
    {
        for (number, (entry, score)) in plan.entries.iter().zip(&scores.scores).enumerate() {
            let is_best = number == scores.best;
            let mut row = vec![set.name.clone(), scores.kind.name.to_owned(), entry.name.clone()];
            row.push(score.mean.to_string());
            row.push(score.deviation.map_or(String::new(), |deviation| deviation.to_string()));
            row.extend(score.interval.map(|end| end.to_string()));
            row.push(u8::from(is_best).to_string());
            row.push(if is_best { worse(plan, scores) } else { String::new() });
            let errors = (0..4).map(|kind| score.errors.map(|errors| errors[kind]));
            row.extend(errors.map(|count| count.map_or(String::new(), |count| count.to_string())));
            let seeds = (0..plan.seeds.len()).map(|seed| score.seeds.get(seed));
            row.extend(seeds.map(|value| value.map_or(String::new(), f64::to_string)));
            out.write_record(&row).map_err(failed)?;
        }
    }
    let bytes = out.into_inner().map_err(|error| failed(error.into_error().into()))?;
    String::from_utf8(bytes).map_err(|error| Error::failure(format!("cannot write the table: {error}")))
}
