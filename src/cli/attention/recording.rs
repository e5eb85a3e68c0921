//! The picture of a recording, over one axis of time.
//!
//! From the top: the spectrogram, the attention with a row for each token of the output, the CTC posteriors with the
//! forced alignment, and the tokens at their times. A trace has the attention only, and so has its picture.

mod posteriors;
mod spectrogram;
mod time_axis;

use std::fmt::Write as _;

pub(crate) use posteriors::Posteriors;
pub(crate) use spectrogram::Spectrogram;

use super::labels::{
    FONT_SIZE, HEADING, MARGIN, PROBABILITY, heading, name_of, named, percent, share, width,
};
use crate::cli::trace_record::TracedRow;
use crate::data::audio::processor::Segment;
use crate::svg::heat::Heat;
use crate::svg::{BLUE, ORANGE, page, text};
use time_axis::TimeAxis;

/// What the picture of a recording has and a trace lacks.
#[derive(Default)]
pub(crate) struct Recording {
    /// The part of the file.
    pub part: Segment,
    /// Its features.
    pub spectrogram: Option<Spectrogram>,
    /// What the CTC head finds in it; `None` without a CTC head.
    pub posteriors: Option<Posteriors>,
}

/// Height of a row of the attention, and that of a low one, used if there are more than [`MANY`].
const ROW: f64 = 18.0;
const LOW_ROW: f64 = 12.0;
const MANY: usize = 40;
/// Height of the title of a panel.
const TITLE: f64 = 26.0;
/// Room on the left for the labels of axes.
const AXIS: f64 = 36.0;
/// Height of the labels of time.
const TIMES: f64 = 44.0;

/// The picture of a row, `step` seconds from one position of the source to the next. Each step must have one weight per
/// position.
pub(crate) fn svg(row: &TracedRow, step: f64, recording: &Recording) -> String {
    let labels = row.steps.iter().map(|step| width(&step.token)).fold(AXIS, f64::max);
    let seconds = step * row.source_tokens.len().max(1) as f64;
    let time = TimeAxis::new(MARGIN + labels + 10.0, seconds);
    let page_width = time.right + PROBABILITY + MARGIN;

    let mut panels = String::new();
    let mut top = HEADING + TITLE;
    if let Some(spectrogram) = &recording.spectrogram {
        top = spectrogram.draw(&time, top, &mut panels) + TITLE;
    }
    top = attention(row, step, recording, (&time, top), &mut panels);
    if let Some(posteriors) = &recording.posteriors {
        top = posteriors.draw(&row.steps, step, (&time, top + TITLE), &mut panels);
    }
    let source = source(row, recording.part);
    let mut body = String::new();
    heading(row, &source, page_width, &mut body);
    time.draw_grid(HEADING + TITLE, top, &mut body);
    body.push_str(&panels);
    time.draw_labels(top, &mut body);
    page(&name_of(row, &source), (page_width.ceil(), (top + TIMES).ceil()), FONT_SIZE, &body)
}

/// The path, with the part that was read.
fn source(row: &TracedRow, [start, end]: Segment) -> String {
    let path = row.source.as_deref().unwrap_or_default();
    match (start, end) {
        (None, None) => path.to_owned(),
        (start, None) => format!("{path}, from {:.2} s", start.unwrap_or(0.0)),
        (start, Some(end)) => format!("{path}, {:.2} to {end:.2} s", start.unwrap_or(0.0)),
    }
}

/// Draws the attention, a row for each token, and returns its bottom. The spans of the alignment have outlines.
fn attention(
    row: &TracedRow,
    step: f64,
    recording: &Recording,
    (time, top): (&TimeAxis, f64),
    out: &mut String,
) -> f64 {
    let weights = || row.steps.iter().flat_map(|step| &step.attention).map(|weight| share(*weight));
    let largest = weights().fold(0.0, f32::max);
    let spans: Vec<_> = recording.posteriors.iter().flat_map(|posteriors| posteriors.times(step)).collect();
    let outlines = if spans.is_empty() { "" } else { "; outlines: CTC alignment" };
    let title =
        format!("attention of the last layer, averaged over its heads; full colour: {largest:.2}{outlines}");
    text(out, (time.left, top - 7.0), TITLE_STYLE, &title);
    let height = if row.steps.len() > MANY { LOW_ROW } else { ROW };
    let bottom = top + height * row.steps.len() as f64;
    let frame = time.frame(0.0, step * row.source_tokens.len() as f64, top, bottom - top);
    let heat = Heat::new(row.source_tokens.len(), weights(), 0.0, largest);
    heat.draw(out, "attention", frame, &format!("class=\"blue\" fill=\"{BLUE}\""), true);
    let size = FONT_SIZE.min(height - 2.0);
    let middle = |n: usize| top + height * (n as f64 + 0.5) + size / 3.0;
    let _ = writeln!(out, "<g class=\"output\" text-anchor=\"end\" font-size=\"{size}\">");
    for (n, step) in row.steps.iter().enumerate() {
        named(out, (time.left - 8.0, middle(n)), "", &step.token);
    }
    out.push_str("</g>\n<g class=\"faint\" fill=\"#555\" font-size=\"10\">\n");
    for (n, step) in row.steps.iter().enumerate() {
        text(out, (time.right + 8.0, middle(n)), "", &percent(f64::from(step.log_probability)));
    }
    let _ = writeln!(out, "</g>\n<g class=\"spans\" fill=\"none\" stroke=\"{ORANGE}\" stroke-width=\"1.2\">");
    for (n, [from, to]) in spans.into_iter().enumerate() {
        let [x, y, width, height] = time.frame(from, to, top + height * n as f64 + 1.0, height - 2.0);
        let _ =
            writeln!(out, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>");
    }
    out.push_str("</g>\n");
    time.draw_frame(top, bottom - top, out);
    bottom
}

/// The style of a panel's title.
const TITLE_STYLE: &str = "class=\"faint\" fill=\"#555\" font-size=\"11\"";

#[cfg(test)]
mod tests;
