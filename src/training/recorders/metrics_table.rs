//! `metrics.csv` as it is read again, with any content: incomplete rows and cells that are not finite numbers are skipped.

use crate::svg::axis::with_commas;
use crate::svg::plot::Point;

/// The cells of `metrics.csv`.
pub(crate) struct MetricsTable<'a> {
    /// The names of the columns.
    pub header: Vec<&'a str>,
    rows: Vec<Vec<&'a str>>,
}

impl<'a> MetricsTable<'a> {
    /// Reads the complete rows: as many cells as the header, and a line end. No cell of this file needs quotes, so they
    /// are not parsed.
    pub(crate) fn read(text: &'a str) -> MetricsTable<'a> {
        let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let rows = lines.map(|line| line.split(',').collect::<Vec<_>>());
        let rows = rows.filter(|row| row.len() == header.len()).collect();
        MetricsTable { header, rows }
    }

    fn place(&self, column: &str) -> Option<usize> {
        self.header.iter().position(|name| *name == column)
    }

    /// (step, value) of the rows of a kind that have a finite number in `column`.
    pub(crate) fn points(&self, column: &str, of_kind: impl Fn(&str) -> bool) -> Vec<Point> {
        let places = (self.place("step"), self.place("kind"), self.place(column));
        let (Some(step), Some(kind), Some(value)) = places else { return Vec::new() };
        let rows = self.rows.iter().filter(|row| of_kind(row[kind]));
        let numbers = rows.filter_map(|row| Some((row[step].parse().ok()?, row[value].parse().ok()?)));
        numbers
            .filter(|(step, value): &Point| step.is_finite() && *step >= 0.0 && value.is_finite())
            .collect()
    }

    /// The progress of the run.
    pub(super) fn progress(&self) -> String {
        match self.points("epoch", |_| true).last() {
            Some(&(step, epoch)) => format!("update {}, epoch {epoch}", with_commas(step)),
            None => String::new(),
        }
    }
}
