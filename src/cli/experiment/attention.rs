//! Pictures of attention: of some rows of each test set, by the best system, of an ensemble by its first seed. A picture is
//! kept under a checksum of the model and the source, and not drawn again.

use std::collections::BTreeSet;

use super::children::{Step, run_all};
use super::outputs::model_sum;
use super::plan::Plan;
use super::results::{Results, SetResults};
use crate::checkpoint::files::{SMALL, read_text_within};
use crate::checkpoint::tensors::sha256_of_parts;
use crate::error::{Error, Result};
use crate::runtime::StopFlag;

/// How many of the samples are drawn, and how many of the worst rows.
const ROWS: usize = 2;

/// The longest source that is drawn, in characters: a longer one has more cells than a screen has room for.
const LONGEST: usize = 200;

/// A picture.
pub(super) struct Picture {
    /// The test set and the row, from 1.
    pub title: String,
    pub svg: String,
}

/// What is drawn.
struct Wanted<'a> {
    title: String,
    run: usize,
    source: &'a str,
    /// The checksum that names the file.
    sum: String,
}

/// Draws what is not drawn yet. What cannot be drawn, such as an empty output, is left out.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn draw(plan: &Plan, results: &Results, jobs: usize, stop: &StopFlag) -> Result<Vec<Picture>> {
    let mut wanted = Vec::new();
    for set in &results.sets {
        wanted.extend(of_set(plan, set)?);
    }
    let folder = plan.place.join("attention");
    std::fs::create_dir_all(&folder).map_err(|error| Error::file("make", &folder, &error))?;
    let place = |wanted: &Wanted<'_>| folder.join(format!("{}.svg", wanted.sum));
    let mut next = |number: usize| -> Result<Option<Step>> {
        let one: &Wanted<'_> = &wanted[number];
        let place = place(one);
        if place.is_file() {
            return Ok(None);
        }
        let text = format!("--text={}", one.source);
        let model = plan.model(one.run).into();
        Ok(Some(Step {
            what: format!("drawing the attention of {}", one.title),
            arguments: vec!["attention".into(), model, text.into(), "--output".into(), place.into()],
            log: plan.place.join("logs").join("attention.log"),
            then: Box::new(|| Ok(())),
        }))
    };
    let numbers: Vec<usize> = (0..wanted.len()).collect();
    // A failure has been reported, and leaves its picture out.
    run_all(&numbers, jobs, stop, &mut next)?;
    let mut pictures = Vec::new();
    for one in &wanted {
        if let Some(svg) = read_text_within(&place(one), SMALL)? {
            pictures.push(Picture { title: one.title.clone(), svg });
        }
    }
    Ok(pictures)
}

/// The rows of a set that are drawn, by the first run of the best system.
fn of_set<'a>(plan: &Plan, set: &'a SetResults) -> Result<Vec<Wanted<'a>>> {
    let system = plan.entries[set.best()].system;
    let run = plan.run_of(system, 0);
    let source = &plan.systems[system].experiment.data.source;
    if source.audio.is_some() || !source.parts.is_empty() {
        return Ok(Vec::new());
    }
    let model = model_sum(plan, run)?;
    let shown = &set.shown;
    let rows: BTreeSet<usize> =
        [&shown.samples, &shown.worst].into_iter().flat_map(|rows| rows.iter().take(ROWS)).copied().collect();
    let wanted = |row: usize| {
        let source = shown.texts[&row].sources[set.best()].as_str();
        let sum = sha256_of_parts(&[model.as_bytes(), source.as_bytes()]);
        let title = format!("row {} of {} ({})", row + 1, set.name, plan.runs[run].name);
        Wanted { title, run, source, sum: sum.chars().take(32).collect() }
    };
    let is_drawn = |row: &usize| {
        let source = &shown.texts[row].sources[set.best()];
        !source.is_empty() && source.chars().count() <= LONGEST && !source.contains('\0')
    };
    Ok(rows.into_iter().filter(is_drawn).map(wanted).collect())
}
