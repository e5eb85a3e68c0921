//! The scores of all systems on all test sets, and which differences are significant.

use super::outputs::{Row, read_rows};
use super::plan::{Plan, TestSet};
use super::resampling::{Counts, deviation, interval, mean, p_value, values};
use crate::data::readers::split_alternatives;
use crate::error::{Error, Result};
use crate::metrics::{Example, MetricKind, MetricSet, Unit};

/// The metric by which rows are compared.
const OF_ROWS: &str = "error_rate";

/// A difference is significant if its probability by chance is below this.
pub(super) const SIGNIFICANT: f64 = 0.05;

/// All scores.
pub(super) struct Results {
    pub sets: Vec<SetResults>,
}

/// The scores on a test set.
pub(super) struct SetResults {
    pub name: String,
    /// Source and reference of each row; several references are in one field, as in the file.
    pub pairs: Vec<[String; 2]>,
    /// By system, seed and row.
    pub outputs: Vec<Vec<Vec<String>>>,
    pub scores: Vec<MetricResults>,
    /// By system and row: the error rate, as the mean over seeds.
    pub row_errors: Vec<Vec<f64>>,
}

/// The scores by a metric.
pub(super) struct MetricResults {
    pub kind: MetricKind,
    pub systems: Vec<SystemScore>,
    /// The system with the best mean, the first one of several.
    pub best: usize,
    /// The systems that the best one is significantly better than.
    pub better_than: Vec<usize>,
}

/// The score of a system.
pub(super) struct SystemScore {
    /// By seed.
    pub seeds: Vec<f64>,
    pub mean: f64,
    /// Over the seeds; `None` for a single one.
    pub deviation: Option<f64>,
    /// The 95 % interval of the mean.
    pub interval: [f64; 2],
}

impl Results {
    /// Scores the outputs of all runs.
    ///
    /// # Errors
    /// A file cannot be read; rows without references, or other rows than those of another run.
    pub(super) fn read(plan: &Plan) -> Result<Results> {
        let sets = plan.sets.iter().map(|set| SetResults::read(plan, set));
        Ok(Results { sets: sets.collect::<Result<_>>()? })
    }
}

impl SetResults {
    fn read(plan: &Plan, set: &TestSet) -> Result<SetResults> {
        let mut pairs: Option<Vec<[String; 2]>> = None;
        let mut rows: Vec<Vec<Vec<Row>>> = Vec::new();
        for system in 0..plan.systems.len() {
            let mut of_system = Vec::new();
            for seed in 0..plan.seeds.len() {
                let run = plan.run_of(system, seed);
                let mut read = read_rows(plan, run, set)?;
                let found = pairs_of(&mut read, set)?;
                if pairs.get_or_insert_with(|| found.clone()) != &found {
                    let (set, run) = (&set.name, &plan.runs[run].name);
                    let message =
                        format!("all models must have decoded the same rows of {set}, but {run} has others");
                    return Err(Error::failure(message).hint("use configs that read the same columns"));
                }
                of_system.push(read);
            }
            rows.push(of_system);
        }
        SetResults::of(plan, set, pairs.unwrap_or_default(), rows)
    }

    fn of(
        plan: &Plan,
        set: &TestSet,
        pairs: Vec<[String; 2]>,
        rows: Vec<Vec<Vec<Row>>>,
    ) -> Result<SetResults> {
        let experiment = &plan.systems[0].experiment;
        let is_of_words = experiment.data.target.words.is_some();
        let unit = if is_of_words { Unit::Words } else { Unit::Characters };
        let shown = experiment.training.metric_set(unit).values();
        let kinds: Vec<MetricKind> = shown.iter().map(|value| value.kind).collect();
        let alternatives = experiment.data.target.alternatives.as_deref();
        let references = pairs.iter().map(|[_, field]| split_alternatives(field, alternatives));
        let references: Vec<References> = references.collect();
        let scores = kinds.iter().map(|kind| {
            let of_system = |rows: &Vec<Vec<Row>>| counts(*kind, unit, &references, rows);
            MetricResults::of(*kind, &rows.iter().map(of_system).collect::<Vec<_>>(), plan, set)
        });
        let scores = scores.collect();
        let of_rows = MetricKind::named(OF_ROWS)
            .ok_or_else(|| Error::failure(format!("there must be a metric {OF_ROWS}, but there is none")))?;
        let errors = |rows: &Vec<Vec<Row>>| row_values(of_rows, &counts(of_rows, unit, &references, rows));
        let row_errors = rows.iter().map(errors).collect();
        let text = |rows: Vec<Row>| -> Vec<String> { rows.into_iter().map(|row| row.output).collect() };
        let outputs = rows.into_iter().map(|seeds| seeds.into_iter().map(text).collect()).collect();
        Ok(SetResults { name: set.name.clone(), pairs, outputs, scores, row_errors })
    }

    /// The best system by the first metric.
    pub(super) fn best(&self) -> usize {
        self.scores.first().map_or(0, |scores| scores.best)
    }

    /// The rows in which the best system has the highest error rates, at most `most`; those without errors are left out.
    pub(super) fn worst(&self, most: usize) -> Vec<usize> {
        let errors = &self.row_errors[self.best()];
        let mut rows: Vec<usize> = (0..errors.len()).filter(|&row| errors[row] > 0.0).collect();
        // The sort is stable: the first of equal rows comes first.
        rows.sort_by(|a, b| errors[*b].total_cmp(&errors[*a]));
        rows.truncate(most);
        rows
    }
}

/// Takes source and reference out of the rows.
fn pairs_of(rows: &mut [Row], set: &TestSet) -> Result<Vec<[String; 2]>> {
    let wrong = |what: &str| {
        Error::input(format!("the test set {} must have {what}", set.name)).at(set.input.display())
    };
    if rows.is_empty() {
        return Err(wrong("rows, but it has none"));
    }
    let pair = |row: &mut Row| -> Result<[String; 2]> {
        let reference = row.reference.take().ok_or_else(|| wrong("a reference in each row"))?;
        Ok([row.source.take().unwrap_or_default(), reference])
    };
    rows.iter_mut().map(pair).collect()
}

/// The references of a row: the first one and the others.
type References<'a> = (&'a str, Vec<&'a str>);

/// The counts of a metric in the outputs of a system.
fn counts(kind: MetricKind, unit: Unit, references: &[References], seeds: &[Vec<Row>]) -> Counts {
    let of_row = |((reference, other_references), row): (&References, &Row)| {
        let mut set = MetricSet::new([kind]);
        set.add(&Example {
            reference,
            other_references,
            output: std::slice::from_ref(&row.output),
            finished: row.finished,
            unit,
            ..Example::default()
        });
        set.statistics().into_iter().next().unwrap_or_default()
    };
    seeds.iter().map(|rows| references.iter().zip(rows).map(of_row).collect()).collect()
}

/// The value of each row, as the mean over seeds.
fn row_values(kind: MetricKind, counts: &Counts) -> Vec<f64> {
    let rows = counts.first().map_or(0, Vec::len);
    let value =
        |row: usize| mean(&counts.iter().map(|seed| (kind.of_statistics)(&seed[row])).collect::<Vec<_>>());
    (0..rows).map(value).collect()
}

impl MetricResults {
    fn of(kind: MetricKind, counts: &[Counts], plan: &Plan, set: &TestSet) -> MetricResults {
        let name = |system: usize| format!("{} of {} on {}", kind.name, plan.systems[system].name, set.name);
        let score = |(system, counts): (usize, &Counts)| {
            let seeds = values(&kind, counts);
            let interval = interval(&kind, counts, &name(system));
            SystemScore { mean: mean(&seeds), deviation: deviation(&seeds), interval, seeds }
        };
        let systems: Vec<SystemScore> = counts.iter().enumerate().map(score).collect();
        let cost = |system: &usize| kind.cost(systems[*system].mean);
        let best = (0..systems.len()).min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(0);
        let is_worse = |other: &usize| {
            let names = format!("{} and {}", name(best), name(*other));
            cost(other) > cost(&best)
                && p_value(&kind, [&counts[best], &counts[*other]], &names) < SIGNIFICANT
        };
        let better_than = (0..systems.len()).filter(is_worse).collect();
        MetricResults { kind, systems, best, better_than }
    }
}
