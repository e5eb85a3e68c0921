//! The axis of time, from the start of what was read, which all panels share.

use std::fmt::Write as _;

use crate::svg::axis::Axis;
use crate::svg::heat::Frame;
use crate::svg::text;

/// Width of a second, and the narrowest and the widest plot.
const SECOND: f64 = 200.0;
const NARROWEST: f64 = 560.0;
const WIDEST: f64 = 2400.0;
/// The least distance of labels.
const APART: f64 = 60.0;

/// From 0 to the end.
pub(crate) struct TimeAxis {
    /// Left and right of all plots.
    pub left: f64,
    /// See `left`.
    pub right: f64,
    axis: Axis,
}

impl TimeAxis {
    /// Over this many seconds.
    pub(crate) fn new(left: f64, seconds: f64) -> TimeAxis {
        let width = (SECOND * seconds).clamp(NARROWEST, WIDEST);
        TimeAxis { left, right: left + width, axis: Axis::exact(0.0, seconds, (width / APART) as usize) }
    }

    /// The x of a second; what lies outside is at the edge.
    pub(crate) fn x(&self, seconds: f64) -> f64 {
        self.left + (self.right - self.left) * self.axis.place(seconds).clamp(0.0, 1.0)
    }

    /// The rectangle over these seconds.
    pub(crate) fn frame(&self, from: f64, to: f64, top: f64, height: f64) -> Frame {
        [self.x(from), top, self.x(to) - self.x(from), height]
    }

    /// A line through all panels at each tick.
    pub(crate) fn draw_grid(&self, top: f64, bottom: f64, out: &mut String) {
        let mut lines = String::new();
        for &tick in &self.axis.ticks {
            let _ = write!(lines, "M{:.1} {top:.1}V{bottom:.1}", self.x(tick));
        }
        let _ = writeln!(out, "<path class=\"grid\" d=\"{lines}\" stroke=\"#ddd\"/>");
    }

    /// The frame of a panel.
    pub(crate) fn draw_frame(&self, top: f64, height: f64, out: &mut String) {
        let (x, width) = (self.left, self.right - self.left);
        let place = format!("x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
        let _ = writeln!(out, "<rect class=\"frame\" {place} fill=\"none\" stroke=\"#999\"/>");
    }

    /// The seconds below the last panel.
    pub(crate) fn draw_labels(&self, top: f64, out: &mut String) {
        out.push_str("<g class=\"faint times\" fill=\"#555\" font-size=\"11\" text-anchor=\"middle\">\n");
        for &tick in &self.axis.ticks {
            text(out, (self.x(tick), top + 15.0), "", &self.axis.label(tick));
        }
        text(out, ((self.left + self.right) / 2.0, top + 32.0), "", "seconds");
        out.push_str("</g>\n");
    }
}
