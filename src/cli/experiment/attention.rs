//! Pictures of attention: of some rows of each test set, by the best system, of an ensemble by its first seed. A picture is
//! kept under a checksum of the model, the test set and the row, and not drawn again.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use super::children::{Step, run_all};
use super::outputs::{input_arguments, model_sum};
use super::plan::{Plan, Task, TestSet};
use super::results::{Results, SetResults};
use crate::checkpoint::files::{SMALL, read_within};
use crate::checkpoint::tensors::sha256_of_parts;
use crate::error::{Error, Result};
use crate::runtime::StopFlag;

/// How many of the samples are drawn, and how many of the worst rows.
const ROWS: usize = 2;

/// The longest text that is drawn, in characters: a longer one has more cells than a screen has room for.
const LONGEST: usize = 200;

/// A picture.
pub(super) struct Picture {
    /// The test set and the row, from 1.
    pub title: String,
    pub svg: String,
}

/// What is drawn.
struct Wanted {
    title: String,
    /// Those of `seqloom attention`, but for its output.
    arguments: Vec<OsString>,
    /// The checksum that names the file.
    sum: String,
}

/// Draws what is not drawn yet. What cannot be drawn, such as an empty output, is left out.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn draw(plan: &Plan, results: &Results, jobs: usize, stop: &StopFlag) -> Result<Vec<Picture>> {
    let mut wanted = Vec::new();
    for (set, results) in plan.sets.iter().zip(&results.sets) {
        wanted.extend(of_set(plan, set, results)?);
    }
    let folder = plan.place.join("attention");
    std::fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
    let place = |wanted: &Wanted| folder.join(format!("{}.svg", wanted.sum));
    let mut next = |number: usize| -> Result<Option<Step>> {
        let one = &wanted[number];
        let place = place(one);
        if picture_at(&place)?.is_some() {
            return Ok(None);
        }
        Ok(Some(Step {
            what: format!("drawing the attention of {}", one.title),
            arguments: [&one.arguments[..], &["--output".into(), place.into()]].concat(),
            log: plan.place.join("logs").join("attention.log"),
            then: Box::new(|| Ok(())),
        }))
    };
    let numbers: Vec<usize> = (0..wanted.len()).collect();
    // A failure has been reported, and leaves its picture out.
    run_all(&numbers, jobs, stop, &mut next)?;
    let mut pictures = Vec::new();
    for one in &wanted {
        if let Some(svg) = picture_at(&place(one))? {
            pictures.push(Picture { title: one.title.clone(), svg });
        }
    }
    Ok(pictures)
}

/// A picture that is there, if it is whole: one that was cut is drawn again.
fn picture_at(place: &Path) -> Result<Option<String>> {
    if !place.exists() {
        return Ok(None);
    }
    let svg = String::from_utf8(read_within(place, SMALL)?).ok();
    Ok(svg.filter(|svg| svg.trim_end().ends_with("</svg>")))
}

/// The rows of a set that are drawn, by the first run of the best system.
fn of_set(plan: &Plan, set: &TestSet, results: &SetResults) -> Result<Vec<Wanted>> {
    let system = plan.entries[results.best()].system;
    let run = plan.run_of(system, 0);
    let input = input_arguments(plan, Task::Run(run), set);
    // The place of the file is no part of what is drawn.
    let read_as = format!("{:?}", &input[2..]);
    let made_from = [model_sum(plan, run)?, plan.contents.of(&set.input)?, read_as];
    let shown = &results.shown;
    let rows: BTreeSet<usize> =
        [&shown.samples, &shown.worst].into_iter().flat_map(|rows| rows.iter().take(ROWS)).copied().collect();
    let wanted = |row: usize| {
        let number = (row + 1).to_string();
        let title = format!("row {number} of {} ({})", set.name, plan.runs[run].name);
        let mut arguments: Vec<OsString> = vec!["attention".into(), plan.model(run).into()];
        arguments.extend(input.iter().cloned().chain(["--row".into(), number.clone().into()]));
        let parts: Vec<&[u8]> = made_from.iter().chain([&number]).map(String::as_bytes).collect();
        let sum = sha256_of_parts(&parts);
        Wanted { title, arguments, sum: sum.chars().take(32).collect() }
    };
    let is_recording = plan.systems[system].experiment.data.source.audio.is_some();
    let is_drawn = |row: &usize| {
        let source = &shown.texts[row].sources[results.best()];
        is_recording || !source.is_empty() && source.chars().count() <= LONGEST
    };
    Ok(rows.into_iter().filter(is_drawn).map(wanted).collect())
}
