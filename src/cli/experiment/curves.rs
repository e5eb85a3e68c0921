//! The validations of all runs as pictures: one for each metric, with a line for each run in the colour of its system.

use std::fmt::Write as _;

use super::plan::Plan;
use crate::checkpoint::files::read_within;
use crate::console::status;
use crate::error::Result;
use crate::metrics::{MetricKind, TEACHER_FORCED};
use crate::svg::axis::Axis;
use crate::svg::plot::{LEFT, Plot, Point, RIGHT, WIDTH, axis_of_steps, label_steps};
use crate::svg::{BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, escaped, page, text};
use crate::training::recorders::metrics_table::MetricsTable;

const COLOURS: [&str; 6] = [BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE];
/// Dashes of the lines of further systems with the same colours.
const DASHES: [&str; 4] = ["none", "8 4", "2 3", "8 3 2 3"];

/// The height of the title, of a line of the legend, of the plot, and below it.
const TITLE: f64 = 34.0;
const LINE: f64 = 20.0;
const HEIGHT: f64 = 240.0;
const BELOW: f64 = 50.0;
/// Names in a line of the legend, and the longest one.
const IN_LINE: usize = 3;
const LONGEST: usize = 34;

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
    let top = TITLE + LINE * plan.systems.len().div_ceil(IN_LINE) as f64 + 16.0;
    let plot = Plot { steps: &steps, values: &axis, top, height: HEIGHT };
    let mut body = String::new();
    text(&mut body, (LEFT, 24.0), "font-size=\"16\" font-weight=\"bold\"", &column.title);
    legend(plan, &mut body);
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
    label_steps(&steps, top + HEIGHT, &mut body);
    page(&column.title, (WIDTH, top + HEIGHT + BELOW), 12.0, &body)
}

/// A stroke and the name of each system.
fn legend(plan: &Plan, out: &mut String) {
    for (number, system) in plan.systems.iter().enumerate() {
        let x = LEFT + (RIGHT - LEFT) / IN_LINE as f64 * (number % IN_LINE) as f64;
        let y = TITLE + LINE * (number / IN_LINE + 1) as f64;
        let _ = writeln!(out, "<path d=\"M{x:.1} {:.1}h24\" {} stroke-width=\"3\"/>", y - 4.0, style(number));
        let mut name: String = system.name.chars().take(LONGEST).collect();
        if name.len() < system.name.len() {
            name.push('…');
        }
        text(out, (x + 30.0, y), "", &name);
    }
}

/// The stroke of a system.
fn style(system: usize) -> String {
    let (colour, dashes) = (COLOURS[system % COLOURS.len()], DASHES[system / COLOURS.len() % DASHES.len()]);
    format!("stroke=\"{colour}\" stroke-dasharray=\"{dashes}\" stroke-linejoin=\"round\"")
}
