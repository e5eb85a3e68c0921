//! The validations of all runs as pictures: one for each metric, with a line for each run in the colour of its system, and
//! one legend for all of them.

use std::fmt::Write as _;

use super::plan::Plan;
use crate::checkpoint::files::read_within;
use crate::cli::html::long_name;
use crate::console::status;
use crate::error::Result;
use crate::metrics::{MetricKind, TEACHER_FORCED};
use crate::svg::axis::Axis;
use crate::svg::plot::{LEFT, Plot, Point, WIDTH, axis_of_steps, label_steps};
use crate::svg::{BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, escaped, page, text};
use crate::training::recorders::metrics_table::MetricsTable;

const COLOURS: [&str; 6] = [BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE];
/// Dashes of the lines of further systems with the same colours.
const DASHES: [&str; 4] = ["none", "8 4", "2 3", "8 3 2 3"];

/// The height of the title, of the plot, and below it.
const TOP: f64 = 50.0;
const HEIGHT: f64 = 240.0;
const BELOW: f64 = 50.0;

/// The column of a picture: its name, its title, and the factor of its values.
struct Column {
    name: &'static str,
    title: String,
    factor: f64,
}

/// The pictures of all columns that have values.
///
/// # Errors
/// The metrics of a run cannot be read.
pub(super) fn draw(plan: &Plan) -> Result<Vec<String>> {
    let nll = Column { name: "nll", title: "validation nll".to_owned(), factor: 1.0 };
    let metrics = plan.systems[0].experiment.training.metric_columns();
    let metrics = metrics.into_iter().filter_map(MetricKind::named).chain(TEACHER_FORCED.iter().copied());
    let metrics = metrics.map(|kind| Column {
        name: kind.name,
        title: format!("validation {}{}", kind.label(), if kind.in_percent { ", %" } else { "" }),
        factor: if kind.in_percent { 100.0 } else { 1.0 },
    });
    let files = (0..plan.runs.len()).map(|run| metrics_of(plan, run)).collect::<Result<Vec<_>>>()?;
    let texts: Vec<_> = files.iter().map(|file| String::from_utf8_lossy(file)).collect();
    let tables: Vec<MetricsTable> = texts.iter().map(|text| MetricsTable::read(text)).collect();
    let mut pictures = Vec::new();
    for column in std::iter::once(nll).chain(metrics) {
        let lines: Vec<Vec<Point>> = tables.iter().map(|table| column.points(table)).collect();
        if lines.iter().any(|line| !line.is_empty()) {
            pictures.push(picture(plan, &column, &lines));
        }
    }
    Ok(pictures)
}

/// The metrics of a run; nothing if they are lost, for which no table has to wait.
fn metrics_of(plan: &Plan, run: usize) -> Result<Vec<u8>> {
    let path = plan.folder(run).join("metrics.csv");
    if path.exists() {
        return read_within(&path, u64::MAX);
    }
    let name = &plan.runs[run].name;
    status(&format!("note: there are no curves of {name}: {} is missing", path.display()));
    Ok(Vec::new())
}

impl Column {
    /// The validations of a run.
    fn points(&self, table: &MetricsTable) -> Vec<Point> {
        let points = table.points(self.name, |kind| kind == "valid");
        points.into_iter().map(|(step, value)| (step, self.factor * value)).collect()
    }
}

/// The picture of a column. Writing to a string cannot fail.
fn picture(plan: &Plan, column: &Column, lines: &[Vec<Point>]) -> String {
    let all: Vec<Point> = lines.iter().flatten().copied().collect();
    let values: Vec<f64> = all.iter().map(|point| point.1).collect();
    let last = all.iter().map(|point| point.0).fold(1.0, f64::max);
    let steps = axis_of_steps(last);
    let axis = if column.factor == 1.0 { Axis::log(&values, 8) } else { Axis::from_zero(&values, 8) };
    let plot = Plot { steps: &steps, values: &axis, top: TOP, height: HEIGHT };
    let mut body = String::new();
    text(&mut body, (LEFT, 24.0), "font-size=\"16\" font-weight=\"bold\"", &column.title);
    plot.draw_grid(&mut body);
    for (run, line) in lines.iter().enumerate() {
        let places = line.iter().filter(|point| axis.takes(point.1)).map(|point| plot.place(*point));
        let path: String = places
            .zip(0..)
            .map(|((x, y), n)| format!("{}{x:.1} {y:.1}", if n == 0 { "M" } else { "L" }))
            .collect();
        let (name, style) = (escaped(&plan.runs[run].name), style(run / plan.seeds.len()));
        let _ = writeln!(
            body,
            "<path d=\"{path}\" fill=\"none\" {style} stroke-width=\"1.6\"><title>{name}</title></path>"
        );
    }
    label_steps(&steps, TOP + HEIGHT, &mut body);
    page(&column.title, (WIDTH, TOP + HEIGHT + BELOW), 12.0, &body)
}

/// The legend as HTML: the stroke of each system with its whole name. Writing to a string cannot fail.
pub(super) fn legend(plan: &Plan) -> String {
    let mut out = "<ul class=\"legend\">\n".to_owned();
    for (number, system) in plan.systems.iter().enumerate() {
        let (style, name) = (style(number), long_name(&system.name));
        let _ = writeln!(
            out,
            "<li><svg width=\"36\" height=\"12\"><path d=\"M0 6h36\" {style} stroke-width=\"3\"/></svg><span>{name}</span></li>"
        );
    }
    out.push_str("</ul>\n");
    let strokes = COLOURS.len() * DASHES.len();
    if plan.systems.len() > strokes {
        let _ = writeln!(
            out,
            "<p class=\"faint\">Line styles repeat after {strokes} systems. Point at a line to see its name.</p>"
        );
    }
    out
}

/// The stroke of a system.
fn style(system: usize) -> String {
    let (colour, dashes) = (COLOURS[system % COLOURS.len()], DASHES[system / COLOURS.len() % DASHES.len()]);
    format!("stroke=\"{colour}\" stroke-dasharray=\"{dashes}\" stroke-linejoin=\"round\"")
}
