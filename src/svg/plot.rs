//! The frame of a plot of values over the updates of a run: where it is, its grid, and the labels of both axes.

use std::fmt::Write as _;

use super::axis::Axis;
use super::text;

/// The width of a picture.
pub(crate) const WIDTH: f64 = 900.0;
/// The left edge of a plot.
pub(crate) const LEFT: f64 = 66.0;
/// The right edge of a plot.
pub(crate) const RIGHT: f64 = 866.0;

/// (x, y), or (step, value).
pub(crate) type Point = (f64, f64);

/// A plot over updates.
pub(crate) struct Plot<'a> {
    pub steps: &'a Axis,
    pub values: &'a Axis,
    pub top: f64,
    pub height: f64,
}

impl Plot<'_> {
    /// The place of (step, value); at the edge if the value is beyond the axis.
    pub(crate) fn place(&self, (step, value): Point) -> Point {
        (across(self.steps, step), self.down(value))
    }

    /// The y of a value.
    fn down(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - self.values.place(value).clamp(0.0, 1.0))
    }

    /// Draws the lines of the ticks, and the labels of values on the left. Writing to a string cannot fail.
    pub(crate) fn draw_grid(&self, out: &mut String) {
        let mut grid = String::new();
        for &tick in &self.steps.ticks {
            let _ = write!(grid, "M{:.1} {}v{}", across(self.steps, tick), self.top, self.height);
        }
        for &tick in &self.values.ticks {
            let y = self.down(tick);
            let _ = write!(grid, "M{LEFT} {y:.1}H{RIGHT}");
            let attributes = "class=\"faint\" text-anchor=\"end\" fill=\"#555\"";
            text(out, (LEFT - 8.0, y + 4.0), attributes, &self.values.label(tick));
        }
        let _ = writeln!(out, "<path class=\"grid\" d=\"{grid}\" stroke=\"#e4e4e4\"/>");
    }
}

/// The axis of updates up to the last one.
pub(crate) fn axis_of_steps(last: f64) -> Axis {
    let mut steps = Axis::exact(0.0, last, 9);
    steps.ticks.retain(|tick| tick.fract() == 0.0);
    steps
}

/// Draws the labels of updates below the plots, which end at `bottom`.
pub(crate) fn label_steps(steps: &Axis, bottom: f64, out: &mut String) {
    let attributes = "class=\"faint\" text-anchor=\"middle\" fill=\"#555\"";
    for &tick in &steps.ticks {
        text(out, (across(steps, tick), bottom + 18.0), attributes, &steps.label(tick));
    }
    text(out, ((LEFT + RIGHT) / 2.0, bottom + 38.0), attributes, "updates");
}

/// The x of a step.
pub(crate) fn across(steps: &Axis, step: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * steps.place(step)
}
