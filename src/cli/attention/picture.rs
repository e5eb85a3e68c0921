//! The picture of a text: source tokens as columns, output tokens as rows, and a cell for each pair.

use std::fmt::Write as _;

use super::labels::{
    FONT_SIZE, HEADING, MARGIN, PROBABILITY, heading, label, name_of, named, percent, share, width,
};
use crate::cli::trace_record::{TracedRow, TracedStep, columns, visible};
use crate::svg::{BLUE, escaped, page, text};

/// The side of a cell, and that of a small one, used if there are more than [`MANY`] rows or columns.
const CELL: f64 = 26.0;
const SMALL_CELL: f64 = 16.0;
const MANY: usize = 60;
/// With more cells there are no tooltips: the picture would be too large for a browser.
const FEW_CELLS: usize = 5000;
/// Height below the cells.
const LEGEND: f64 = 64.0;
const NARROWEST: f64 = 460.0;

/// The layout.
struct Layout {
    cell: f64,
    /// The left and top of the cells.
    left: f64,
    top: f64,
    /// The right and bottom of the cells.
    right: f64,
    bottom: f64,
    width: f64,
}

impl Layout {
    fn new(row: &TracedRow) -> Layout {
        let (across, down) = (row.source_tokens.len(), row.steps.len());
        let cell = if across.max(down) > MANY { SMALL_CELL } else { CELL };
        let of_outputs = row.steps.iter().map(|step| width(&step.token)).fold(0.0, f64::max);
        let left = MARGIN + of_outputs + 10.0;
        // Slanted labels are higher and extend beyond their columns.
        let (sine, cosine) = SLANT.to_radians().sin_cos();
        let (mut above, mut farthest) = (FONT_SIZE, 0.0_f64);
        for (n, token) in (1..).zip(&row.source_tokens) {
            if slants(token) {
                let wide = width(token);
                above = above.max(wide * sine + FONT_SIZE);
                farthest = farthest.max(left + cell * f64::from(n) + wide * cosine);
            }
        }
        let (top, right) = (HEADING + above + 8.0, left + cell * across as f64);
        let width = (right + PROBABILITY).max(farthest).max(NARROWEST - MARGIN) + MARGIN;
        Layout { cell, left, top, right, bottom: top + cell * down as f64, width }
    }

    fn height(&self) -> f64 {
        self.bottom + LEGEND
    }
}

/// The slant of wide labels, in degrees.
const SLANT: f64 = 55.0;

/// Whether a label is too wide for its column and must be slanted.
fn slants(token: &str) -> bool {
    columns(&label(token)) > 2
}

/// The picture of a row. Each step must have one weight per source token.
pub(crate) fn svg(row: &TracedRow) -> String {
    let layout = Layout::new(row);
    let source_text = row.source.as_deref().unwrap_or_default();
    let mut body = String::new();
    heading(row, source_text, layout.width, &mut body);
    source(row, &layout, &mut body);
    output(row, &layout, &mut body);
    cells(row, &layout, &mut body);
    legend(&layout, &mut body);
    page(&name_of(row, source_text), (layout.width.ceil(), layout.height().ceil()), FONT_SIZE, &body)
}

/// The source's tokens above the cells.
fn source(row: &TracedRow, layout: &Layout, out: &mut String) {
    out.push_str("<g class=\"source\" text-anchor=\"middle\">\n");
    for (n, token) in row.source_tokens.iter().enumerate() {
        let (x, y) = (layout.left + layout.cell * (n as f64 + 0.5), layout.top - 8.0);
        match slants(token) {
            true => {
                // The middle of the label, not its baseline, points to the middle of the column.
                let x = x + FONT_SIZE / 3.0;
                let turned = format!("text-anchor=\"start\" transform=\"rotate(-{SLANT} {x:.1} {y:.1})\"");
                named(out, (x, y), &turned, token);
            }
            false => named(out, (x, y), "", token),
        }
    }
    out.push_str("</g>\n");
}

/// The output's tokens to the left of the cells, and their probabilities to the right.
fn output(row: &TracedRow, layout: &Layout, out: &mut String) {
    let lines = |out: &mut String, class: &str, each: &dyn Fn(&mut String, f64, &TracedStep)| {
        let _ = writeln!(out, "<g {class}>");
        for (n, step) in row.steps.iter().enumerate() {
            each(out, layout.top + layout.cell * (n as f64 + 0.5) + FONT_SIZE / 3.0, step);
        }
        out.push_str("</g>\n");
    };
    lines(out, "class=\"output\" text-anchor=\"end\"", &|out, y, step| {
        named(out, (layout.left - 8.0, y), "", &step.token);
    });
    lines(out, "class=\"faint\" fill=\"#555\" font-size=\"11\"", &|out, y, step| {
        text(out, (layout.right + 8.0, y), "", &percent(f64::from(step.log_probability)));
    });
}

/// One cell per pair of output token and source token.
fn cells(row: &TracedRow, layout: &Layout, out: &mut String) {
    let Layout { cell, left, top, right, bottom, .. } = layout;
    let side = cell - 1.0;
    let few = row.steps.len() * row.source_tokens.len() <= FEW_CELLS;
    let _ = writeln!(out, "<g class=\"blue\" fill=\"{BLUE}\" stroke=\"#888\" stroke-opacity=\"0.2\">");
    for (down, step) in row.steps.iter().enumerate() {
        for (across, (weight, token)) in step.attention.iter().zip(&row.source_tokens).enumerate() {
            let (x, y) = (left + cell * across as f64 + 0.5, top + cell * down as f64 + 0.5);
            let weight = share(*weight);
            let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side}\" height=\"{side}\"");
            let _ = write!(out, "<rect class=\"cell\" {place} fill-opacity=\"{weight:.3}\"");
            let _ = match few {
                true => {
                    let (chosen, attended) = (escaped(&visible(&step.token)), escaped(&visible(token)));
                    writeln!(out, "><title>{chosen} ← {attended}: {weight:.3}</title></rect>")
                }
                false => writeln!(out, "/>"),
            };
        }
    }
    out.push_str("</g>\n");
    let frame = format!("x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\"", right - left, bottom - top);
    let _ = writeln!(out, "<rect class=\"frame\" {frame} fill=\"none\" stroke=\"#999\"/>");
}

/// The legend of shades.
fn legend(layout: &Layout, out: &mut String) {
    let y = layout.bottom + 24.0;
    let _ = writeln!(out, "<g class=\"blue\" fill=\"{BLUE}\">");
    for n in 0..=10 {
        let (x, opacity) = (MARGIN + 12.0 + 12.0 * f64::from(n), f64::from(n) / 10.0);
        let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"12\" height=\"12\"");
        let _ = writeln!(out, "<rect {place} fill-opacity=\"{opacity:.1}\"/>");
    }
    out.push_str("</g>\n<g class=\"faint\" fill=\"#555\" font-size=\"11\">\n");
    text(out, (MARGIN, y + 10.0), "", "0");
    text(out, (MARGIN + 149.0, y + 10.0), "", "1");
    text(out, (MARGIN + 170.0, y + 10.0), "", "attention of the last layer, averaged over its heads");
    text(out, (MARGIN, y + 28.0), "", "on the right: the probability of each token");
    out.push_str("</g>\n");
}

#[cfg(test)]
mod tests;
