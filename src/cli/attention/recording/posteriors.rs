//! The CTC posteriors: how likely each token of the output is at each frame, and the spans of the forced alignment.

use std::fmt::Write as _;
use std::sync::Arc;

use super::TITLE_STYLE;
use super::time_axis::TimeAxis;
use crate::cli::attention::labels::{MARGIN, PROBABILITY, named, width};
use crate::cli::trace_record::{TracedStep, visible};
use crate::data::vocabulary::EOS;
use crate::decoding::ctc::alignment::{TokenSpan, align};
use crate::decoding::ctc::log_probs::CtcLogProbs;
use crate::decoding::incremental_decoder::DecodeRequest;
use crate::error::Result;
use crate::predictor::loaded_model::LoadedModel;
use crate::svg::{BLUE, GREEN, ORANGE, PURPLE, VERMILION, escaped, text};

const HEIGHT: f64 = 100.0;
/// The least probability that can be seen.
const LEAST: f64 = 0.005;
/// Colours of the tokens, in the order in which they first occur.
const COLOURS: [&str; 5] = [BLUE, VERMILION, GREEN, PURPLE, ORANGE];
/// Height of the bar of a span, and that of a lane of labels below: a label that has no room is in the next lane.
const BAR: f64 = 4.0;
const LANE: f64 = 17.0;
const LANES: usize = 3;

/// What the CTC head finds in a recording.
pub(crate) struct Posteriors {
    log_probs: Arc<CtcLogProbs>,
    /// One for each token of the output; empty if the recording has fewer positions than they need.
    spans: Vec<TokenSpan>,
}

impl Posteriors {
    /// Those of a request, aligned to its output; `None` without a CTC head.
    ///
    /// # Errors
    /// The model fails.
    pub(crate) fn of(
        loaded: &LoadedModel,
        request: &DecodeRequest,
        tokens: &[i64],
    ) -> Result<Option<Posteriors>> {
        let heads = loaded.ctc_log_probs(&[request])?;
        Ok(heads.into_iter().next().map(|log_probs| Posteriors::new(log_probs, tokens)))
    }

    /// What a CTC head gives, aligned to these tokens.
    pub(crate) fn new(log_probs: Arc<CtcLogProbs>, tokens: &[i64]) -> Posteriors {
        let spans = align(&log_probs, tokens).map(|alignment| alignment.spans).unwrap_or_default();
        Posteriors { log_probs, spans }
    }

    /// Start and end of each span in seconds.
    pub(crate) fn times(&self, step: f64) -> impl Iterator<Item = [f64; 2]> {
        self.spans
            .iter()
            .map(move |span| [span.first_frame, span.last_frame + 1].map(|frame| frame as f64 * step))
    }

    /// Draws the panel, and the tokens below it; returns the bottom. `steps` are those of the output, with or without EOS.
    pub(crate) fn draw(
        &self,
        steps: &[TracedStep],
        step: f64,
        (time, top): (&TimeAxis, f64),
        out: &mut String,
    ) -> f64 {
        let symbols = symbols(steps);
        let is_unaligned = self.spans.is_empty() && !symbols.is_empty();
        let unaligned = if is_unaligned { "; too few positions for an alignment" } else { "" };
        let title = format!("CTC posteriors, from 0 to 1; grey: blank; empty: other tokens{unaligned}");
        text(out, (time.left, top - 7.0), TITLE_STYLE, &title);
        let outline = |symbol| self.outline(symbol, step, time, top);
        let blank = outline(self.log_probs.blank());
        let _ = writeln!(out, "<path class=\"blank\" d=\"{blank}\" fill=\"#888\" fill-opacity=\"0.18\"/>");
        for (n, symbol) in symbols.iter().enumerate() {
            let (token, colour) = (escaped(&visible(&symbol.token)), colour(n));
            let style =
                format!("class=\"posterior{}\" fill=\"{colour}\" fill-opacity=\"0.75\"", dark_class(colour));
            let line = outline(symbol.id);
            let _ = writeln!(out, "<path {style} d=\"{line}\"><title>{token}</title></path>");
        }
        time.draw_frame(top, HEIGHT, out);
        self.draw_spans(steps, &symbols, step, (time, top), out)
    }

    /// The area under the probabilities of a symbol, a step for each frame.
    fn outline(&self, symbol: i64, step: f64, time: &TimeAxis, top: f64) -> String {
        let mut path = String::new();
        let base = top + HEIGHT;
        let probability = |frame: usize| self.log_probs.at(frame, symbol).exp().min(1.0);
        let x = |frame: usize| time.x(frame as f64 * step);
        let seen: Vec<usize> =
            (0..self.log_probs.frames()).filter(|&frame| probability(frame) >= LEAST).collect();
        for run in seen.chunk_by(|one, next| one + 1 == *next) {
            let _ = write!(path, "M{:.1} {base:.1}", x(run[0]));
            for &frame in run {
                let _ = write!(path, "V{:.1}H{:.1}", base - HEIGHT * probability(frame), x(frame + 1));
            }
            let _ = write!(path, "V{base:.1}Z");
        }
        path
    }

    /// A bar for each span, and its token below.
    fn draw_spans(
        &self,
        steps: &[TracedStep],
        symbols: &[&TracedStep],
        step: f64,
        (time, top): (&TimeAxis, f64),
        out: &mut String,
    ) -> f64 {
        let bars = top + HEIGHT + 3.0;
        let mut ends = [f64::NEG_INFINITY; LANES];
        out.push_str("<g class=\"tokens\" text-anchor=\"middle\">\n");
        for ([from, to], traced) in self.times(step).zip(steps) {
            let [x, _, wide, _] = time.frame(from, to, top, HEIGHT);
            let colour = colour(symbols.iter().position(|symbol| symbol.id == traced.id).unwrap_or_default());
            let style = format!("class=\"span{}\" fill=\"{colour}\"", dark_class(colour));
            let place = format!("x=\"{x:.1}\" width=\"{wide:.1}\"");
            let _ = writeln!(out, "<rect {style} {place} y=\"{bars:.1}\" height=\"{BAR}\"/>");
            let half = width(&traced.token) / 2.0;
            let middle = (x + wide / 2.0).clamp(MARGIN + half, time.right + PROBABILITY - half);
            let free = (0..LANES).find(|&lane| ends[lane] <= middle - half);
            let roomiest = || (0..LANES).min_by(|&one, &other| ends[one].total_cmp(&ends[other]));
            let lane = free.or_else(roomiest).unwrap_or_default();
            ends[lane] = middle + half + 2.0;
            named(out, (middle, bars + BAR + LANE * (lane as f64 + 0.85)), "", &traced.token);
        }
        out.push_str("</g>\n");
        let used = ends.iter().filter(|end| end.is_finite()).count();
        bars + BAR + LANE * used as f64 + 3.0
    }
}

/// The different tokens of an output but EOS, in the order in which they first occur.
fn symbols(steps: &[TracedStep]) -> Vec<&TracedStep> {
    let mut symbols: Vec<&TracedStep> = Vec::new();
    for step in steps.iter().filter(|step| step.id != EOS) {
        if symbols.iter().all(|symbol| symbol.id != step.id) {
            symbols.push(step);
        }
    }
    symbols
}

fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

/// The class of a colour that the dark style changes.
fn dark_class(colour: &str) -> &'static str {
    if colour == BLUE { " blue" } else { "" }
}
