//! What the pictures of texts and of recordings share: the heading, and the labels of tokens.

use std::fmt::Write as _;

use crate::cli::trace_record::{TracedRow, columns, shortened, visible};
use crate::error::counted;
use crate::svg::{escaped, text};

/// The size of the labels' font.
pub(crate) const FONT_SIZE: f64 = 13.0;
/// Width of a column of text; a Chinese character takes two.
const COLUMN: f64 = 7.6;
/// The most columns of a label; a longer token is shown in full as a tooltip.
const MOST_COLUMNS: usize = 24;
/// The margin of the page.
pub(crate) const MARGIN: f64 = 16.0;
/// Height of the heading.
pub(crate) const HEADING: f64 = 78.0;
/// Width of the probabilities to the right of the cells.
pub(crate) const PROBABILITY: f64 = 58.0;

/// The name of a picture.
pub(crate) fn name_of(row: &TracedRow, source: &str) -> String {
    format!("{source} → {}", row.output)
}

/// Source and output as texts, with the score.
pub(crate) fn heading(row: &TracedRow, source: &str, width: f64, out: &mut String) {
    let room = ((width - 2.0 * MARGIN) / (COLUMN * 1.2)) as usize;
    let texts = [source.to_owned(), format!("→ {}", row.output)];
    for (words, y) in texts.iter().zip([26.0, 47.0]) {
        text(out, (MARGIN, y), "font-size=\"15\" font-weight=\"bold\"", &shortened(words, room));
    }
    let score = row
        .score
        .map_or(String::new(), |score| format!("score {score:.4} (probability {}), ", percent(score)));
    let end = if row.finished { "with <eos>" } else { "unfinished" };
    let words = format!("{score}{}, {end}", counted(row.steps.len(), "token"));
    text(out, (MARGIN, 67.0), "class=\"faint\" fill=\"#555\"", &words);
}

/// A label, with a tooltip if the token is too long.
pub(crate) fn named(out: &mut String, (x, y): (f64, f64), attributes: &str, token: &str) {
    let shown = label(token);
    if columns(&visible(token)) <= MOST_COLUMNS {
        return text(out, (x, y), attributes, &shown);
    }
    let (shown, whole) = (escaped(&shown), escaped(token));
    let _ =
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{shown}<title>{whole}</title></text>");
}

/// A token as it is shown.
pub(crate) fn label(token: &str) -> String {
    shortened(&visible(token), MOST_COLUMNS)
}

/// Width of a token's label.
pub(crate) fn width(token: &str) -> f64 {
    columns(&label(token)) as f64 * COLUMN
}

/// A log-probability as a probability.
pub(crate) fn percent(log_probability: f64) -> String {
    format!("{:.1} %", 100.0 * log_probability.exp())
}

/// The attention of a trace, which may contain any number, as a share.
pub(crate) fn share(weight: f32) -> f32 {
    if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 0.0 }
}
