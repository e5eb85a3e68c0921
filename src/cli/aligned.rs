//! Cells in columns, as lines for people.

use unicode_width::UnicodeWidthStr;

/// A line for each row, with as much room in each column as its widest cell needs, and two spaces between. The first
/// `names` columns are on the left, numbers on the right. All rows have as many cells.
pub(super) fn aligned(rows: &[Vec<String>], names: usize) -> Vec<String> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cell = |(column, (cell, width)): (usize, (&String, &usize))| {
            let room = " ".repeat(width - cell.width());
            if column < names { format!("{cell}{room}") } else { format!("{room}{cell}") }
        };
        let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["metric", "system", "value ", "95 % interval", "p"],
            ["BLEU", "機.de", "9.10 ", "[8.00, 10.25]", ""],
            ["", "longer.de", "48.89*", "[46.20, 51.33]", "0.0120"],
        ];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let expected = [
            "metric  system     value    95 % interval       p",
            "BLEU    機.de       9.10    [8.00, 10.25]",
            "        longer.de  48.89*  [46.20, 51.33]  0.0120",
        ];
        assert_eq!(aligned(&rows, 2), expected);
    }
}
