//! `curves.svg`: the metrics of a run as a picture for any browser, made from `metrics.csv` alone.
//!
//! It depends on the names of the columns that it draws, and on nothing else in the file.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::metrics_table::MetricsTable;
use super::{Event, Recorder};
use crate::error::{Error, Result};
use crate::metrics::MetricKind;
use crate::svg::axis::{Axis, four_digits};
use crate::svg::plot::{LEFT, Plot, Point, RIGHT, WIDTH, axis_of_steps, label_steps};
use crate::svg::{BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, page, text};
use crate::training::clock::Since;

/// Seconds between two drawings for rows of training metrics.
const BETWEEN_DRAWINGS: f64 = 10.0;

/// Draws the picture of a run during training.
#[derive(Debug)]
pub(crate) struct Curves {
    folder: PathBuf,
    /// The time of the last drawing.
    drawn: Option<Since>,
}

impl Curves {
    /// For the run in `folder`.
    pub(crate) fn of(folder: &Path) -> Curves {
        Curves { folder: folder.to_path_buf(), drawn: None }
    }
}

impl Recorder for Curves {
    fn record(&mut self, event: &Event) -> Result<()> {
        let is_due = match event {
            Event::TrainingRow { .. } => self.drawn.is_none_or(|drawn| drawn.seconds() >= BETWEEN_DRAWINGS),
            Event::Validation { .. } | Event::End => true,
            _ => false,
        };
        if !is_due {
            return Ok(());
        }
        let done = draw(&self.folder);
        self.drawn = Some(Since::now());
        done
    }
}

/// A line of a panel: one column of the rows of one kind.
#[derive(Clone)]
struct Curve {
    name: String,
    kind: &'static str,
    column: &'static str,
    colour: &'static str,
    width: f64,
}

/// The vertical scale of a panel.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    /// For losses, perplexities and norms, which fall by orders of magnitude: on a linear axis all but the first updates
    /// would be a flat line.
    Log,
    /// Shares as percent, always from 0 to 100, so that runs can be compared.
    Percent,
    /// Error rates as percent, which fall by orders of magnitude, too. A rate of 0 is at the lower edge.
    LogPercent,
    /// From 0 to the largest value.
    Linear,
}

impl Scale {
    fn is_percent(&self) -> bool {
        matches!(self, Scale::Percent | Scale::LogPercent)
    }
}

struct Panel {
    title: &'static str,
    height: f64,
    scale: Scale,
    curves: Vec<Curve>,
}

const THIN: f64 = 1.6;
/// Without label smoothing the loss equals the nll: a thicker line shows behind it.
const THICK: f64 = 3.2;

/// Colours of shares, and of error rates, in the order of their columns.
const OF_SHARES: [&str; 4] = [BLUE, GREEN, SKY, PURPLE];
const OF_RATES: [&str; 3] = [VERMILION, PURPLE, ORANGE];
/// Number of curves whose names fit above a panel, and the width of a name.
const IN_PANEL: usize = 3;
const NAME: f64 = 196.0;

/// The panels, from the top; those of validations depend on the metrics in the table.
fn panels(table: &MetricsTable) -> Vec<Panel> {
    let loss = vec![
        Curve { width: THICK, ..Curve::new("training loss", "train", "loss", SKY) },
        Curve::new("training nll", "train", "nll", BLUE),
        Curve::new("validation nll", "valid", "nll", VERMILION),
    ];
    let perplexity = vec![
        Curve::new("training perplexity", "train", "perplexity", BLUE),
        Curve::new("validation perplexity", "valid", "perplexity", VERMILION),
    ];
    let of_tokens = |title, height, curves| Panel { title, height, scale: Scale::Log, curves };
    let mut panels =
        vec![of_tokens("Loss per token", 210.0, loss), of_tokens("Perplexity", 170.0, perplexity)];
    let accuracy = ("token accuracy".to_owned(), "token_accuracy");
    let (shares, rates): (Vec<MetricKind>, Vec<MetricKind>) =
        metrics(table).into_iter().partition(|metric| metric.higher_is_better);
    let named = |metric: MetricKind| (metric.label(), metric.name);
    let shares = std::iter::once(accuracy).chain(shares.into_iter().map(named));
    panels.extend(of_validations("Validation, %", Scale::Percent, shares, &OF_SHARES));
    let rates = rates.into_iter().map(named);
    panels.extend(of_validations("Validation error rates, %", Scale::LogPercent, rates, &OF_RATES));
    let alone = |title, scale, curve| Panel { title, height: 100.0, scale, curves: vec![curve] };
    panels.push(alone(
        "Learning rate",
        Scale::Linear,
        Curve::new("learning rate", "train", "learning_rate", GREEN),
    ));
    panels.push(alone(
        "Gradient norm",
        Scale::Log,
        Curve::new("before clipping", "train", "gradient_norm", PURPLE),
    ));
    panels
}

/// Panels with these curves, each with its name and its column.
fn of_validations(
    title: &'static str,
    scale: Scale,
    columns: impl Iterator<Item = (String, &'static str)>,
    colours: &[&'static str],
) -> Vec<Panel> {
    let of_column =
        |((name, column), colour): ((String, _), &&'static str)| Curve::new(&name, "valid", column, colour);
    let curves: Vec<Curve> = columns.zip(colours.iter().cycle()).map(of_column).collect();
    let panel = |curves: &[Curve]| Panel { title, height: 170.0, scale, curves: curves.to_vec() };
    curves.chunks(IN_PANEL).map(panel).collect()
}

/// The metrics that have a column; of two that count the same errors, the more informative one if it has values.
fn metrics(table: &MetricsTable) -> Vec<MetricKind> {
    let all: Vec<MetricKind> = table.header.iter().filter_map(|name| MetricKind::named(name)).collect();
    let has_points = |kind: &MetricKind| !table.points(kind.name, |of| of == "valid").is_empty();
    let is_shown = |kind: &MetricKind| {
        let instead = all.iter().find(|other| other.instead_of == Some(kind.name));
        let other = all.iter().find(|other| kind.instead_of == Some(other.name));
        instead.is_none_or(|instead| !has_points(instead)) && (other.is_none() || has_points(kind))
    };
    all.iter().filter(|kind| is_shown(kind)).copied().collect()
}

const FONT_SIZE: f64 = 12.0;
/// Heights above the first panel, above each plot, and below the last panel.
const TOP: f64 = 46.0;
const HEADING: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// A long run has more rows than a screen has columns.
const MOST_POINTS: usize = 1000;
/// Up to this many points, each gets a dot.
const FEW_POINTS: usize = 40;

/// Writes `curves.svg` of the run in `folder` from its `metrics.csv`, atomically.
///
/// # Errors
/// A file that cannot be read or written.
pub(crate) fn draw(folder: &Path) -> Result<()> {
    let metrics = folder.join("metrics.csv");
    let text = fs::read(&metrics).map_err(|error| Error::file("read", &metrics, &error))?;
    let title = folder.file_name().unwrap_or_default().to_string_lossy();
    let picture = svg(&title, &String::from_utf8_lossy(&text));
    let (path, partial) = (folder.join("curves.svg"), folder.join("curves.partial"));
    let written = fs::write(&partial, picture).and_then(|()| fs::rename(&partial, &path));
    written.map_err(|error| {
        // Removes the half-written file, which also frees its space on a full disk.
        let _ = fs::remove_file(&partial);
        Error::file("write", &path, &error)
    })
}

/// The picture of a `metrics.csv` with any content: incomplete rows and cells that are not finite numbers are skipped,
/// and a panel without values shows a note.
pub(crate) fn svg(title: &str, metrics: &str) -> String {
    let table = MetricsTable::read(metrics);
    let last_step = table.points("step", |_| true).iter().map(|point| point.0).fold(1.0, f64::max);
    let steps = axis_of_steps(last_step);

    let mut body = String::new();
    let mut top = TOP;
    for panel in panels(&table) {
        top += HEADING;
        panel.draw(&table, &steps, top, &mut body);
        top += panel.height;
    }
    label_steps(&steps, top, &mut body);
    text(&mut body, (LEFT, 34.0), "font-size=\"18\" font-weight=\"bold\"", title);
    text(&mut body, (RIGHT, 34.0), "class=\"faint\" text-anchor=\"end\" fill=\"#555\"", &table.progress());

    page(title, (WIDTH, top + BOTTOM), FONT_SIZE, &body)
}

impl Panel {
    /// Draws the panel; its plot starts at `top`.
    fn draw(&self, table: &MetricsTable, steps: &Axis, top: f64, out: &mut String) {
        let factor = if self.scale.is_percent() { 100.0 } else { 1.0 };
        let curves = &self.curves;
        let lines: Vec<Vec<Point>> = curves.iter().map(|curve| curve.points(table, factor)).collect();
        let values: Vec<f64> = lines.iter().flatten().map(|point| point.1).collect();
        let mut axis = match self.scale {
            Scale::Log | Scale::LogPercent => Axis::log(&values, (self.height / 28.0) as usize),
            Scale::Percent => Axis::exact(0.0, 100.0, 5),
            Scale::Linear => Axis::from_zero(&values, (self.height / 25.0) as usize),
        };
        if values.is_empty() {
            axis.ticks.clear();
        }
        let has_zeros = self.scale == Scale::LogPercent && values.contains(&0.0);
        let remark = if has_zeros { " (0 at the lower edge)" } else { "" };
        text(out, (LEFT, top - 10.0), "font-weight=\"bold\"", &format!("{}{remark}", self.title));

        let plot = Plot { steps, values: &axis, top, height: self.height };
        plot.draw_grid(out);
        self.draw_frame(top, out);
        if values.is_empty() {
            let middle = ((LEFT + RIGHT) / 2.0, top + self.height / 2.0 + 4.0);
            text(out, middle, "class=\"faint\" text-anchor=\"middle\" fill=\"#777\"", "no values yet");
        }
        for (n, (curve, line)) in curves.iter().zip(&lines).enumerate() {
            let place = (RIGHT - NAME * (curves.len() - n) as f64, top - 10.0);
            curve.draw_legend(line, self.scale, place, out);
            let is_drawn = |value: f64| axis.takes(value) || (has_zeros && value == 0.0);
            let line = thinned(line.iter().filter(|point| is_drawn(point.1)).copied().collect());
            let places: Vec<Point> = line.into_iter().map(|point| plot.place(point)).collect();
            curve.draw(&places, out);
        }
    }

    /// The frame, on top of the grid.
    fn draw_frame(&self, top: f64, out: &mut String) {
        let (width, height) = (RIGHT - LEFT, self.height);
        let frame = format!("x=\"{LEFT}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"");
        let _ = writeln!(out, "<rect class=\"frame\" {frame} fill=\"none\" stroke=\"#999\"/>");
    }
}

impl Curve {
    fn new(name: &str, kind: &'static str, column: &'static str, colour: &'static str) -> Curve {
        Curve { name: name.to_owned(), kind, column, colour, width: THIN }
    }

    fn points(&self, table: &MetricsTable, factor: f64) -> Vec<Point> {
        let points = table.points(self.column, |kind| kind == self.kind);
        points.into_iter().map(|(step, value)| (step, factor * value)).collect()
    }

    /// Draws a line through these points, with dots if there are few.
    fn draw(&self, places: &[Point], out: &mut String) {
        let Some(((x, y), rest)) = places.split_first() else { return };
        let mut line = format!("M{x:.1} {y:.1}");
        for (x, y) in rest {
            let _ = write!(line, "L{x:.1} {y:.1}");
        }
        let Curve { name, colour, width, .. } = self;
        let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-linejoin=\"round\"");
        let _ = writeln!(
            out,
            "<path class=\"curve\" d=\"{line}\" {style} stroke-width=\"{width}\"><title>{name}</title></path>"
        );
        if places.len() <= FEW_POINTS {
            // A line of zero length with round ends is a dot.
            let dots: String = places.iter().map(|(x, y)| format!("M{x:.1} {y:.1}h0")).collect();
            let _ = writeln!(out, "<path d=\"{dots}\" {style} stroke-width=\"5\" stroke-linecap=\"round\"/>");
        }
    }

    /// Draws a stroke of its colour, its name and its last value.
    fn draw_legend(&self, line: &[Point], scale: Scale, (x, y): Point, out: &mut String) {
        let Curve { name, colour, .. } = self;
        let _ = writeln!(out, "<path d=\"M{x} {}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>", y - 4.0);
        let last = match (line.last(), scale) {
            (None, _) => String::new(),
            (Some((_, value)), scale) if scale.is_percent() => format!(" {value:.2} %"),
            (Some((_, value)), _) => format!(" {}", four_digits(*value)),
        };
        text(out, (x + 24.0, y), "", &format!("{name}{last}"));
    }
}

/// Evenly chosen points, including the first and the last.
fn thinned(points: Vec<Point>) -> Vec<Point> {
    let last = points.len().saturating_sub(1);
    if last < MOST_POINTS {
        return points;
    }
    (0..MOST_POINTS).map(|n| points[n * last / (MOST_POINTS - 1)]).collect()
}

#[cfg(test)]
mod tests;
