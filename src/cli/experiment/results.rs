//! The scores of all systems and ensembles on all test sets, and which differences are significant.
//!
//! The draws of intervals and tests are the same for all systems, so the same outputs have the same interval. Of each row only
//! what metrics count stays in memory.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use super::ensembles::members;
use super::outputs::decoded_rows;
use super::plan::{Entry, Plan, Task, TestSet};
use super::shown_rows::ShownRows;
use super::test_sets::rows_of;
use crate::cli::scored::ScoredOutputs;
use crate::cli::target_tokens::{first_with_others, target_of};
use crate::error::{Error, Result, counted};
use crate::metrics::row_statistics::mean;
use crate::metrics::{
    ErrorRate, MetricKind, RowStatistics, SIGNIFICANT, TEACHER_FORCED, Unit, approximate_randomization,
    percentile_interval, resampled_values,
};
use crate::runtime::seed_for;
use crate::training::validation::unit_of;

/// The metric by which rows are compared.
const OF_ROWS: &str = "error_rate";

/// Resamples of an interval, and trials of a test.
const DRAWS: u32 = 1000;

/// The share of resamples within an interval.
const CONFIDENCE: f64 = 0.95;

/// All scores.
pub(super) struct Results {
    pub sets: Vec<SetResults>,
    /// The seeds in each ensemble, where not all are: `small, ensemble of 2: seeds 1, 3`.
    pub chosen: Vec<String>,
    /// What error rates of rows are over.
    pub unit: Unit,
}

/// The scores on a test set.
pub(super) struct SetResults {
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    pub scores: Vec<MetricResults>,
    /// Why metrics over the tokens of references are left out; `None` if they are not.
    pub left_out: Option<String>,
    /// Which models have no output for some rows, and why.
    pub skipped: Vec<String>,
    /// The rows with their texts.
    pub shown: ShownRows,
}

/// The scores by a metric.
pub(super) struct MetricResults {
    pub kind: MetricKind,
    /// If sacrebleu has the metric as well.
    pub signature: Option<String>,
    /// In the order of the entries.
    pub scores: Vec<Score>,
    /// The entry with the best mean, the first one of several.
    pub best: usize,
    /// The entries that the best one is significantly better than.
    pub better_than: Vec<usize>,
}

/// The score of an entry.
pub(super) struct Score {
    /// By seed; none of an ensemble.
    pub seeds: Vec<f64>,
    /// Over the seeds; the value of an ensemble.
    pub mean: f64,
    /// Over the seeds; `None` for a single value.
    pub deviation: Option<f64>,
    /// The 95 % interval of the mean.
    pub interval: [f64; 2],
    /// Of an error rate, over the seeds: the means of its errors by kind, and of the reference length.
    pub errors: Option<[f64; 4]>,
}

/// The outputs of a task for a test set.
struct TaskOutputs {
    /// Of the references, to compare them with those of other tasks.
    references: u64,
    scored: ScoredOutputs,
    /// References without a score.
    unscored: usize,
    /// Rows that the models cannot take, and why the first one is such.
    skipped: usize,
    why: Option<String>,
}

impl Results {
    /// Scores the outputs of all tasks.
    ///
    /// # Errors
    /// A file cannot be read; rows without references, or other rows than those of another run.
    pub(super) fn read(plan: &Plan) -> Result<Results> {
        let tokens_differ = tokens_differ(plan)?;
        // As for validations, and by the same tokenizer.
        let unit = unit_of(&target_of(&plan.model(0))?);
        let sets = plan.sets.iter().map(|set| SetResults::read(plan, set, unit, tokens_differ.clone()));
        Ok(Results { sets: sets.collect::<Result<_>>()?, chosen: chosen(plan)?, unit })
    }
}

/// The seeds in each ensemble, where not all are.
fn chosen(plan: &Plan) -> Result<Vec<String>> {
    let has_a_choice = plan.ensemble.is_some_and(|models| models < plan.seeds.len());
    let ensembles = plan.entries.iter().filter(|entry| has_a_choice && entry.is_ensemble());
    let line = |entry: &Entry| -> Result<String> {
        let runs = members(plan, entry.system)?.into_iter();
        let seeds: Vec<String> = runs.map(|run| plan.runs[run].experiment.seed.to_string()).collect();
        Ok(format!("{}: seeds {}", entry.name, seeds.join(", ")))
    };
    ensembles.map(line).collect()
}

/// Why scores per token cannot be compared: two systems cut targets into different tokens. The seeds of a system do not.
fn tokens_differ(plan: &Plan) -> Result<Option<String>> {
    let models: Vec<PathBuf> =
        (0..plan.systems.len()).map(|system| plan.model(plan.run_of(system, 0))).collect();
    let differing = first_with_others(&models)?;
    Ok(differing.map(|(system, what)| {
        let [one, other] = [0, system].map(|system| &plan.systems[system].name);
        format!("{one} and {other} cut targets into different tokens ({what})")
    }))
}

impl SetResults {
    /// Metrics over tokens are left out for a reason, if there is one.
    fn read(plan: &Plan, set: &TestSet, unit: Unit, mut left_out: Option<String>) -> Result<SetResults> {
        let (shown, kinds) = metrics(plan, unit)?;
        let rows = rows_of(plan, set)?;
        let (mut references, mut skipped, mut scored) = (None, Vec::new(), Vec::new());
        for entry in &plan.entries {
            let mut of_entry = Vec::new();
            for &task in &entry.tasks {
                let found = TaskOutputs::read(plan, task, set, (&kinds, unit))?;
                check_rows(set, &found.scored, rows)?;
                if *references.get_or_insert(found.references) != found.references {
                    return Err(other_rows(set, &found.scored.name));
                }
                left_out = left_out.or_else(|| found.unscored());
                skipped.extend(found.skipped());
                of_entry.push(found.scored);
            }
            scored.push(of_entry);
        }
        let is_shown = |number: &usize| left_out.is_none() || !kinds[*number].is_teacher_forced();
        let shown = (0..shown).filter(is_shown);
        let scores: Vec<MetricResults> =
            shown.map(|number| MetricResults::of(plan, number, &scored)).collect();
        let by_row = kinds.iter().position(|kind| kind.name == OF_ROWS).unwrap_or_default();
        let errors: Vec<_> = scored.iter().map(|of_entry| statistics(of_entry, by_row)).collect();
        let shown = ShownRows::read(plan, set, &errors, best(&scores))?;
        Ok(SetResults { name: set.name.clone(), rows: scored[0][0].rows(), scores, left_out, skipped, shown })
    }

    /// The best entry by the first metric.
    pub(super) fn best(&self) -> usize {
        best(&self.scores)
    }
}

/// The best entry by the first metric.
fn best(scores: &[MetricResults]) -> usize {
    scores.first().map_or(0, |scores| scores.best)
}

/// How many metrics are shown; and all that are counted, the shown ones first.
fn metrics(plan: &Plan, unit: Unit) -> Result<(usize, Vec<MetricKind>)> {
    let training = &plan.systems[0].experiment.training;
    let mut kinds: Vec<MetricKind> =
        training.metric_set(unit).values().iter().map(|value| value.kind).collect();
    kinds.extend(TEACHER_FORCED);
    let shown = kinds.len();
    if !kinds.iter().any(|kind| kind.name == OF_ROWS) {
        let by_row = MetricKind::named(OF_ROWS);
        kinds.push(
            by_row.ok_or_else(|| {
                Error::failure(format!("there must be a metric {OF_ROWS}, but there is none"))
            })?,
        );
    }
    Ok((shown, kinds))
}

/// Each row of the set has been scored.
fn check_rows(set: &TestSet, scored: &ScoredOutputs, rows: u64) -> Result<()> {
    if scored.rows() == rows {
        return Ok(());
    }
    let (name, there) = (&scored.name, scored.rows());
    let message = format!(
        "{name} must have an output for each of the {} of {}, but there are {there}",
        counted(rows, "row"),
        set.name
    );
    Err(Error::input(message).at(set.input.display()).hint("run the same command again"))
}

fn other_rows(set: &TestSet, name: &str) -> Error {
    let message = format!(
        "all models must have decoded rows of {} with the same references, but {name} has others",
        set.name
    );
    Error::failure(message).hint("use configs that read the same column of targets")
}

impl TaskOutputs {
    fn read(
        plan: &Plan,
        task: Task,
        set: &TestSet,
        (kinds, unit): (&[MetricKind], Unit),
    ) -> Result<TaskOutputs> {
        let wrong = |what: &str| {
            Error::input(format!("the test set {} must have {what}", set.name)).at(set.input.display())
        };
        let mut rows = decoded_rows(plan, task, set)?;
        let (mut hash, mut unscored) = (DefaultHasher::new(), 0);
        let (mut skipped, mut why) = (0, None);
        let mut scored = ScoredOutputs::new(plan.name_of(task), kinds);
        while let Some(row) = rows.next_row()? {
            row.references().ok_or_else(|| wrong("a reference in each row"))?.hash(&mut hash);
            rows.score(&row, unit, &mut scored)?;
            let error = row.error();
            skipped += usize::from(error.is_some());
            unscored += usize::from(row.reference_score().is_none());
            why = why.or(error);
        }
        match scored.rows() {
            0 => Err(wrong("rows, but it has none")),
            _ => Ok(TaskOutputs { references: hash.finish(), scored, unscored, skipped, why }),
        }
    }

    /// Says that rows have no output, if some have none.
    fn skipped(&self) -> Option<String> {
        let (name, rows) = (&self.scored.name, counted(self.skipped, "row"));
        let why = self.why.as_deref()?;
        Some(format!("{name} has no output for {rows} (it counts as empty); the first: {why}"))
    }

    /// Says that references have no score, if some have none.
    fn unscored(&self) -> Option<String> {
        let (name, references) = (&self.scored.name, counted(self.unscored, "reference"));
        (self.unscored > 0)
            .then(|| format!("{name} cannot score {references} (too long, or without a source)"))
    }
}

/// The statistics of the metric of this number, by seed.
fn statistics(of_entry: &[ScoredOutputs], number: usize) -> Vec<&RowStatistics> {
    of_entry.iter().map(|scored| &scored.statistics[number]).collect()
}

impl MetricResults {
    /// The scores of the metric of this number, by entry and seed.
    fn of(plan: &Plan, number: usize, scored: &[Vec<ScoredOutputs>]) -> MetricResults {
        let kind = scored[0][0].statistics[number].kind();
        let rows: Vec<Vec<&RowStatistics>> =
            scored.iter().map(|of_entry| statistics(of_entry, number)).collect();
        let score = |(entry, of_entry): (usize, &Vec<ScoredOutputs>)| {
            let values: Vec<f64> =
                of_entry.iter().map(|scored| scored.whole.values()[number].value).collect();
            let mean = mean(values.iter().copied());
            let interval = interval(kind, &rows[entry]).unwrap_or([mean; 2]);
            let deviation = deviation(&values);
            let seeds = if plan.entries[entry].is_ensemble() { Vec::new() } else { values };
            Score { seeds, mean, deviation, interval, errors: mean_errors(of_entry, kind) }
        };
        let scores: Vec<Score> = scored.iter().enumerate().map(score).collect();
        let cost = |entry: &usize| kind.cost(scores[*entry].mean);
        let best = (0..scores.len()).min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(0);
        let runs = rows.iter().map(Vec::len).max().unwrap_or_default();
        let of_best = together(kind, &rows[best], runs);
        let is_worse = |other: &usize| {
            cost(other) > cost(&best) && p_value(&of_best, &together(kind, &rows[*other], runs)) < SIGNIFICANT
        };
        let better_than = (0..scores.len()).filter(is_worse).collect();
        let signature = scored[0][0].whole.signature(&kind);
        MetricResults { kind, signature, scores, best, better_than }
    }
}

/// The errors of an error rate by kind, and the reference length: means over the seeds.
fn mean_errors(of_entry: &[ScoredOutputs], kind: MetricKind) -> Option<[f64; 4]> {
    let of_seed = |seed: &ScoredOutputs| seed.whole.errors().get(kind.name).copied();
    let seeds = of_entry.iter().map(of_seed).collect::<Option<Vec<ErrorRate>>>()?;
    let over_seeds = |count: fn(&ErrorRate) -> u64| mean(seeds.iter().map(|seed| count(seed) as f64));
    Some([
        over_seeds(|errors| errors.substitutions),
        over_seeds(|errors| errors.deletions),
        over_seeds(|errors| errors.insertions),
        over_seeds(|errors| errors.reference_length),
    ])
}

/// The bootstrap interval of the mean over seeds; `None` without rows.
fn interval(kind: MetricKind, seeds: &[&RowStatistics]) -> Option<[f64; 2]> {
    let together = RowStatistics::mean_of(kind, seeds);
    let draws = resampled_values(&together, DRAWS, seed_for(0, 0, "interval"));
    percentile_interval(&draws, CONFIDENCE)
}

/// An entry as so many runs: the one output of an ensemble is compared with the outputs of all seeds.
fn together(kind: MetricKind, entry: &[&RowStatistics], runs: usize) -> RowStatistics {
    let as_many: Vec<&RowStatistics> = entry.iter().copied().cycle().take(runs).collect();
    RowStatistics::mean_of(kind, &as_many)
}

/// p of two entries with as many runs, by approximate randomization.
fn p_value(one: &RowStatistics, other: &RowStatistics) -> f64 {
    approximate_randomization(one, other, DRAWS, seed_for(0, 0, "difference"))
}

/// The standard deviation of a sample; `None` for a single value.
fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values.iter().copied());
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exact match, a row for each digit: 1 for a right one.
    fn rows(digits: &str) -> RowStatistics {
        let mut rows = RowStatistics::new(MetricKind::named("exact_match").unwrap());
        digits.chars().for_each(|digit| rows.push(&[f64::from(u8::from(digit == '1')), 1.0]));
        rows
    }

    #[test]
    fn the_spread_over_seeds_is_that_of_a_sample() {
        assert_eq!((mean([1.0, 2.0, 3.0].into_iter()), deviation(&[1.0, 2.0, 3.0])), (2.0, Some(1.0)));
        assert_eq!(deviation(&[1.0]), None);
        // Their sum, rounded, is not three times as much.
        assert_eq!(deviation(&[0.1; 3]), Some(0.0));
    }

    #[test]
    fn an_interval_has_the_width_of_the_normal_approximation() {
        let half = rows(&"10".repeat(200));
        let [low, high] = interval(half.kind(), &[&half]).unwrap();
        // 1.96 * sqrt(0.5 * 0.5 / 400) = 0.049
        assert!((low - 0.451).abs() < 0.008 && (high - 0.549).abs() < 0.008, "{low} {high}");
        assert_eq!(interval(half.kind(), &[&rows("111")]), Some([1.0, 1.0]));
    }

    /// The rows differ by 1, 1/2 and 1/2 from the two seeds: of the 8 ways to swap them, 2 differ as much.
    #[test]
    fn an_ensemble_is_compared_with_the_mean_of_several_seeds() {
        let (ensemble, one, other) = (rows("111"), rows("000"), rows("011"));
        let of = |entry: &[&RowStatistics]| together(ensemble.kind(), entry, 2);
        let p = p_value(&of(&[&ensemble]), &of(&[&one, &other]));
        assert!((p - 2.0 / 8.0).abs() < 0.05, "{p}");
        assert_eq!(p_value(&of(&[&one, &one]), &of(&[&one])), 1.0);
    }
}
