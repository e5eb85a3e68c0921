//! The edit distance of TER: near the diagonal of the table only, and with the alignment that shifts are found by.
//!
//! The table has a row for each word of the output, and a column for each word of one reference. The reference's words are
//! rewritten into the output's, and sacrebleu prefers a substitution to an extra word, and that to a missing one.

/// So many columns on each side of the diagonal are computed.
const BEAM: usize = 25;
/// The cost of a cell that is not computed.
const UNREACHED: usize = usize::MAX / 2;

/// The edit distance between one reference and outputs of one length.
pub(super) struct EditDistance<'r> {
    reference: &'r [u32],
    output_length: usize,
    /// Columns for each row.
    slope: f64,
    beam: usize,
}

/// A row of the table: its cells from column `first` on.
pub(super) struct Row {
    first: usize,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy)]
struct Cell {
    cost: usize,
    step: Step,
}

/// The last step of the best path to a cell.
#[derive(Clone, Copy)]
enum Step {
    Equal,
    Substituted,
    /// A word of the output that the reference lacks.
    Extra,
    /// A word of the reference that the output lacks.
    Missing,
    /// None: the cell is not computed.
    Unreached,
}

/// The best path.
#[derive(Default)]
pub(super) struct Alignment {
    /// How many words of the output stand before the first word of the reference (0), and up to each of them.
    pub behind: Vec<usize>,
    /// Whether a word of the reference is substituted or missing.
    pub reference_errors: Vec<bool>,
    /// Whether a word of the output is substituted or extra.
    pub output_errors: Vec<bool>,
}

impl<'r> EditDistance<'r> {
    pub(super) fn new(reference: &'r [u32], output_length: usize) -> EditDistance<'r> {
        let slope = match output_length {
            0 => 1.0,
            length => reference.len() as f64 / length as f64,
        };
        // With a steep diagonal a row must still touch the one before.
        let steep = (slope / 2.0 + BEAM as f64).ceil() as usize;
        let beam = if (BEAM as f64) < slope / 2.0 { steep } else { BEAM };
        EditDistance { reference, output_length, slope, beam }
    }

    pub(super) fn reference(&self) -> &'r [u32] {
        self.reference
    }

    /// The table of an output.
    pub(super) fn rows(&self, words: &[u32]) -> Vec<Row> {
        let cells = (0..=self.reference.len()).map(|cost| Cell { cost, step: Step::Missing });
        let mut rows = vec![Row { first: 0, cells: cells.collect() }];
        for (before, &word) in words.iter().enumerate() {
            let row = self.row(&rows[before], before + 1, word);
            rows.push(row);
        }
        rows
    }

    /// The edit distance of a table's output.
    pub(super) fn of(&self, rows: &[Row]) -> usize {
        rows.last().map_or(UNREACHED, |row| row.cell(self.reference.len()).cost)
    }

    /// The edit distance of a changed output, given the table of the original.
    pub(super) fn of_changed(&self, rows: &[Row], words: &[u32], changed: &[u32]) -> usize {
        let same = words.iter().zip(changed).take_while(|(one, other)| one == other).count();
        let mut last: Option<Row> = None;
        for (before, &word) in changed.iter().enumerate().skip(same) {
            last = Some(self.row(last.as_ref().unwrap_or(&rows[before]), before + 1, word));
        }
        last.as_ref().unwrap_or(&rows[same]).cell(self.reference.len()).cost
    }

    /// Row `number`, that of this word, from the row before it.
    fn row(&self, before: &Row, number: usize, word: u32) -> Row {
        let diagonal = (number as f64 * self.slope).floor() as usize;
        let columns = self.reference.len() + 1;
        let is_last = number == self.output_length;
        let end = if is_last { columns } else { columns.min(diagonal + self.beam) };
        let first = diagonal.saturating_sub(self.beam);
        let mut cells = Vec::with_capacity(end.saturating_sub(first));
        let mut left = Cell::UNREACHED;
        for column in first..end {
            let extra = before.cell(column).then(1, Step::Extra);
            left = match column.checked_sub(1) {
                None => extra,
                Some(place) => {
                    let diagonal = before.cell(place);
                    let paired = match self.reference[place] == word {
                        true => diagonal.then(0, Step::Equal),
                        false => diagonal.then(1, Step::Substituted),
                    };
                    paired.or_cheaper(extra).or_cheaper(left.then(1, Step::Missing))
                }
            };
            cells.push(left);
        }
        Row { first, cells }
    }

    /// The best path through a table.
    pub(super) fn alignment(&self, rows: &[Row]) -> Alignment {
        let (mut line, mut column) = (rows.len().saturating_sub(1), self.reference.len());
        let mut steps = Vec::with_capacity(line + column);
        while line > 0 || column > 0 {
            let step = rows[line].cell(column).step;
            let (up, left) = match step {
                Step::Equal | Step::Substituted => (1, 1),
                Step::Extra => (1, 0),
                Step::Missing => (0, 1),
                Step::Unreached => break,
            };
            (line, column) = (line - up, column - left);
            steps.push(step);
        }
        let mut found = Alignment { behind: vec![0], ..Alignment::default() };
        for step in steps.into_iter().rev() {
            let is_error = !matches!(step, Step::Equal);
            if !matches!(step, Step::Missing) {
                found.output_errors.push(is_error);
            }
            if !matches!(step, Step::Extra) {
                found.reference_errors.push(is_error);
                found.behind.push(found.output_errors.len());
            }
        }
        found
    }
}

impl Row {
    fn cell(&self, column: usize) -> Cell {
        let place = column.checked_sub(self.first);
        place.and_then(|place| self.cells.get(place)).copied().unwrap_or(Cell::UNREACHED)
    }
}

impl Cell {
    const UNREACHED: Cell = Cell { cost: UNREACHED, step: Step::Unreached };

    /// The cell one step on.
    fn then(self, cost: usize, step: Step) -> Cell {
        match self.cost {
            UNREACHED => Cell::UNREACHED,
            before => Cell { cost: before + cost, step },
        }
    }

    fn or_cheaper(self, other: Cell) -> Cell {
        if other.cost < self.cost { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_output_has_the_distance_of_its_own_table() {
        let distance = EditDistance::new(&[1, 2, 3, 4, 5], 4);
        let words = [1, 3, 2, 5];
        let rows = distance.rows(&words);
        assert_eq!(distance.of(&rows), 2);
        for changed in [[1, 2, 3, 5], [3, 1, 2, 5], [1, 3, 2, 4], words] {
            let alone = distance.of(&distance.rows(&changed));
            assert_eq!(distance.of_changed(&rows, &words, &changed), alone, "{changed:?}");
        }
    }

    #[test]
    fn the_alignment_marks_the_errors_of_both_sides() {
        let distance = EditDistance::new(&[1, 2, 3, 4], 4);
        let found = distance.alignment(&distance.rows(&[9, 1, 2, 3]));
        assert_eq!(found.output_errors, [true, false, false, false]);
        assert_eq!(found.reference_errors, [false, false, false, true]);
        assert_eq!(found.behind, [0, 2, 3, 4, 4]);
    }

    #[test]
    fn sides_of_very_different_lengths_are_still_connected() {
        let reference: Vec<u32> = (0..400).collect();
        for length in [0, 1, 2, 3, 7] {
            let distance = EditDistance::new(&reference, length);
            let words: Vec<u32> = (0..length as u32).map(|n| 57 * n).collect();
            let found = distance.of(&distance.rows(&words));
            assert!((400 - length..=400).contains(&found), "{found} with {length} words");
        }
    }
}
