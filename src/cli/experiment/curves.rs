//! The validations of all runs as pictures: one for each metric, with a line for each run in the colour of its system.

use std::fmt::Write as _;

use super::plan::Plan;
use crate::checkpoint::files::read_within;
use crate::error::{Error, Result};
use crate::metrics::{MetricKind, TEACHER_FORCED};
use crate::svg::axis::Axis;
use crate::svg::{BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, escaped, page, text};

const COLOURS: [&str; 6] = [BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE];
/// Dashes of the lines of further systems with the same colours.
const DASHES: [&str; 4] = ["none", "8 4", "2 3", "8 3 2 3"];

const WIDTH: f64 = 900.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 866.0;
/// The height of the title, of a line of the legend, of the plot, and below it.
const TITLE: f64 = 34.0;
const LINE: f64 = 20.0;
const HEIGHT: f64 = 240.0;
const BELOW: f64 = 50.0;
/// Names in a line of the legend, and the longest one.
const IN_LINE: usize = 3;
const LONGEST: usize = 34;

/// (step, value)
type Point = (f64, f64);

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
    let mut pictures = Vec::new();
    for column in std::iter::once(nll).chain(metrics) {
        let lines = (0..plan.runs.len()).map(|run| points(plan, run, &column));
        let lines: Vec<Vec<Point>> = lines.collect::<Result<_>>()?;
        if lines.iter().any(|line| !line.is_empty()) {
            pictures.push(picture(plan, &column, &lines));
        }
    }
    Ok(pictures)
}

/// The validations of a run.
fn points(plan: &Plan, run: usize, column: &Column) -> Result<Vec<Point>> {
    let path = plan.folder(run).join("metrics.csv");
    let bytes = read_within(&path, u64::MAX)?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&bytes[..]);
    let failed = |error: csv::Error| Error::failure(format!("{}: {error}", path.display()));
    let header = reader.headers().map_err(failed)?.clone();
    let place = |name: &str| header.iter().position(|cell| cell == name);
    let (Some(step), Some(kind), Some(value)) = (place("step"), place("kind"), place(column.name)) else {
        return Ok(Vec::new());
    };
    let mut points = Vec::new();
    for row in reader.records() {
        let row = row.map_err(failed)?;
        let number = |at: usize| row.get(at).and_then(|cell| cell.parse::<f64>().ok());
        if row.get(kind) == Some("valid")
            && let (Some(step), Some(value)) = (number(step), number(value))
        {
            points.push((step, column.factor * value));
        }
    }
    Ok(points)
}

/// The picture of a column. Writing to a string cannot fail.
fn picture(plan: &Plan, column: &Column, lines: &[Vec<Point>]) -> String {
    let all: Vec<Point> = lines.iter().flatten().copied().collect();
    let values: Vec<f64> = all.iter().map(|point| point.1).collect();
    let last = all.iter().map(|point| point.0).fold(1.0, f64::max);
    let mut steps = Axis::exact(0.0, last, 9);
    steps.ticks.retain(|tick| tick.fract() == 0.0);
    let axis = if column.factor == 1.0 { Axis::log(&values, 8) } else { Axis::from_zero(&values, 8) };
    let top = TITLE + LINE * plan.systems.len().div_ceil(IN_LINE) as f64 + 16.0;
    let (across, down) = (|step| across(&steps, step), |value| down(&axis, top, value));
    let mut body = String::new();
    text(&mut body, (LEFT, 24.0), "font-size=\"16\" font-weight=\"bold\"", &column.title);
    legend(plan, &mut body);
    grid((&steps, &axis), top, &mut body);
    for (run, line) in lines.iter().enumerate() {
        let places =
            line.iter().filter(|point| axis.takes(point.1)).map(|point| (across(point.0), down(point.1)));
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
    let middle = ((LEFT + RIGHT) / 2.0, top + HEIGHT + 38.0);
    text(&mut body, middle, "class=\"faint\" text-anchor=\"middle\" fill=\"#555\"", "updates");
    page(&column.title, (WIDTH, top + HEIGHT + BELOW), 12.0, &body)
}

/// The x of a step.
fn across(steps: &Axis, step: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * steps.place(step)
}

/// The y of a value in a plot that begins at `top`.
fn down(axis: &Axis, top: f64, value: f64) -> f64 {
    top + HEIGHT * (1.0 - axis.place(value).clamp(0.0, 1.0))
}

/// The lines of the ticks, and their labels.
fn grid((steps, axis): (&Axis, &Axis), top: f64, out: &mut String) {
    let mut lines = String::new();
    for &tick in &steps.ticks {
        let _ = write!(lines, "M{:.1} {top}v{HEIGHT}", across(steps, tick));
        let place = (across(steps, tick), top + HEIGHT + 18.0);
        text(out, place, "class=\"faint\" text-anchor=\"middle\" fill=\"#555\"", &steps.label(tick));
    }
    for &tick in &axis.ticks {
        let _ = write!(lines, "M{LEFT} {:.1}H{RIGHT}", down(axis, top, tick));
        let place = (LEFT - 8.0, down(axis, top, tick) + 4.0);
        text(out, place, "class=\"faint\" text-anchor=\"end\" fill=\"#555\"", &axis.label(tick));
    }
    let _ = writeln!(out, "<path class=\"grid\" d=\"{lines}\" stroke=\"#e4e4e4\"/>");
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
