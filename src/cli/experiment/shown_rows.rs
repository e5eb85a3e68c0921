//! The rows of a test set that the page shows: samples, and the worst ones of the best system. Their texts are read once all
//! rows are scored, so that no other text stays in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::outputs::decoded_rows;
use super::plan::{Plan, TestSet};
use crate::error::{Error, Result};
use crate::metrics::RowStatistics;
use crate::metrics::row_statistics::mean;

/// How many rows are samples, and how many of the worst are shown.
const SAMPLES: usize = 8;
const WORST: usize = 10;

/// The rows of a test set that are shown, by their numbers from 0.
pub(super) struct ShownRows {
    /// From the first one on, at equal distances.
    pub samples: Vec<usize>,
    /// Those in which the best entry has the highest error rates, the worst one first; none without errors.
    pub worst: Vec<usize>,
    /// What is in all of them.
    pub texts: BTreeMap<usize, ShownRow>,
}

/// What is in a row.
#[derive(Default)]
pub(super) struct ShownRow {
    /// By entry, which may read another column.
    pub sources: Vec<String>,
    /// Several references are in one field, as in the file.
    pub reference: String,
    /// By entry: the output of the first seed, or of the ensemble, and the error rate as the mean over seeds.
    pub outputs: Vec<(String, f64)>,
}

impl ShownRows {
    /// Chooses rows by their errors, those of each entry by seed, and reads them.
    ///
    /// # Errors
    /// A file cannot be read, or has fewer rows than before.
    pub(super) fn read(
        plan: &Plan,
        set: &TestSet,
        errors: &[Vec<&RowStatistics>],
        best: usize,
    ) -> Result<ShownRows> {
        let of_best = row_rates(&errors[best]);
        let (count, few) = (of_best.len(), of_best.len().min(SAMPLES));
        let samples: Vec<usize> = (0..few).map(|n| n * count / few).collect();
        let worst = worst(&of_best);
        let numbers: BTreeSet<usize> = samples.iter().chain(&worst).copied().collect();
        let end = numbers.last().map_or(0, |last| last + 1);
        let mut texts: BTreeMap<usize, ShownRow> = BTreeMap::new();
        for (entry, errors) in plan.entries.iter().zip(errors) {
            let mut rows = decoded_rows(plan, entry.tasks[0], set)?;
            for number in 0..end {
                let row = rows.next_row()?.ok_or_else(|| changed(set))?;
                if !numbers.contains(&number) {
                    continue;
                }
                let shown = texts.entry(number).or_default();
                shown.sources.push(row.source().unwrap_or_default());
                shown.reference = row.references().unwrap_or_default().to_owned();
                shown.outputs.push((row.into_output(), row_rate(errors, number)));
            }
        }
        Ok(ShownRows { samples, worst, texts })
    }
}

/// The rows with the highest rates above 0.
fn worst(rates: &[f64]) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..rates.len()).filter(|&row| rates[row] > 0.0).collect();
    // The sort is stable: the first of equal rows comes first.
    rows.sort_by(|a, b| rates[*b].total_cmp(&rates[*a]));
    rows.truncate(WORST);
    rows
}

/// The error rate of each row.
fn row_rates(seeds: &[&RowStatistics]) -> Vec<f64> {
    let rows = seeds.first().map_or(0, |seed| seed.rows());
    (0..rows).map(|row| row_rate(seeds, row)).collect()
}

/// The error rate of a row, as the mean over seeds.
fn row_rate(seeds: &[&RowStatistics], row: usize) -> f64 {
    mean(seeds.iter().map(|seed| seed.value_of_row(row)))
}

fn changed(set: &TestSet) -> Error {
    let message =
        format!("the outputs for {} must stay as they are while they are scored, but they changed", set.name);
    Error::failure(message).hint("run the same command again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricKind;

    #[test]
    fn the_worst_rows_come_first_and_right_ones_are_not_among_them() {
        let rates = |rows: [[f64; 2]; 4]| {
            let mut statistics = RowStatistics::new(MetricKind::named("error_rate").unwrap());
            rows.iter().for_each(|row| statistics.push(row));
            statistics
        };
        let one = rates([[0.0, 4.0], [1.0, 4.0], [4.0, 4.0], [1.0, 4.0]]);
        let other = rates([[0.0, 4.0], [1.0, 4.0], [2.0, 4.0], [1.0, 4.0]]);
        let means = row_rates(&[&one, &other]);
        assert_eq!(means, [0.0, 0.25, 0.75, 0.25]);
        assert_eq!(worst(&means), [2, 1, 3]);
        assert_eq!(worst(&[0.5; 20]).len(), WORST);
    }
}
