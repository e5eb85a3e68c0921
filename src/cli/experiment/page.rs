//! The results as one HTML page: the table, curves, what differs among the configs, outputs side by side, and
//! attention.

use std::fmt::Write as _;

use serde_json::Value;

use super::attention::Picture;
use super::plan::Plan;
use super::results::{Results, SetResults};
use super::{curves, table};
use crate::cli::html::{cut, page};
use crate::error::{Result, counted};
use crate::experiment::differing_keys;
use crate::svg::escaped;

/// How many rows of a test set are shown as samples, and how many of the worst.
const SAMPLES: usize = 8;
const WORST: usize = 10;

/// The whole page. Writing to a string cannot fail.
///
/// # Errors
/// The metrics of a run cannot be read.
pub(super) fn render(plan: &Plan, results: &Results, pictures: &[Picture]) -> Result<String> {
    let mut out = String::new();
    let (systems, seeds) = (counted(plan.systems.len(), "system"), counted(plan.seeds.len(), "seed"));
    let _ = writeln!(
        out,
        "<p>{systems}, each with {seeds}. sd: standard deviation over seeds. In brackets: 95 % bootstrap interval of the \
         mean over rows. Differences: approximate randomization over rows. Bold: the best mean.</p>"
    );
    for line in table::of_errors(results).into_iter().chain(table::of_ensembles(plan, results)) {
        let _ = writeln!(out, "<p>{}</p>", escaped(&line));
    }
    results.sets.iter().for_each(|set| scores_of(&mut out, plan, set));
    out.push_str("<section><h2>Curves</h2>\n");
    for picture in curves::draw(plan)? {
        let _ = writeln!(out, "<div class=\"scroll\">{picture}</div>");
    }
    out.push_str("</section>\n");
    differences(&mut out, plan);
    results.sets.iter().for_each(|set| rows_of(&mut out, plan, set));
    if !pictures.is_empty() {
        out.push_str("<section><h2>Attention</h2>\n");
        for Picture { title, svg } in pictures {
            let _ = writeln!(out, "<h3>{}</h3><div class=\"scroll\">{svg}</div>", escaped(title));
        }
        out.push_str("</section>\n");
    }
    Ok(page(&format!("{}: experiment", plan.name), &out))
}

/// The tables of a test set.
fn scores_of(out: &mut String, plan: &Plan, set: &SetResults) {
    let rows = counted(set.pairs.len(), "row");
    let _ = writeln!(out, "<section><h2>{}: {rows}</h2>", escaped(&set.name));
    for scores in &set.scores {
        let _ = write!(
            out,
            "<h3>{}</h3><div class=\"scroll\"><table class=\"scores\">",
            escaped(&table::title(scores))
        );
        let notes = table::notes(plan, scores);
        for (number, row) in table::cells(plan, scores).iter().enumerate() {
            let (tag, entry) = (if number == 0 { "th" } else { "td" }, number.checked_sub(1));
            let is_best = entry == Some(scores.best);
            out.push_str(if is_best { "<tr class=\"best\">" } else { "<tr>" });
            for (column, cell) in row.iter().enumerate() {
                let class = if column == 0 { "" } else { " class=\"number\"" };
                let _ = write!(out, "<{tag}{class}>{}</{tag}>", escaped(cell));
            }
            let note = entry.map_or("", |entry| notes[entry].as_str());
            let _ = writeln!(out, "<{tag} class=\"faint\">{}</{tag}></tr>", escaped(note));
        }
        out.push_str("</table></div>\n");
        if let Some(line) = table::signature(scores) {
            let _ = writeln!(out, "<p class=\"faint\">{}</p>", escaped(&line));
        }
    }
    for line in table::remarks(set) {
        let _ = writeln!(out, "<p>{}</p>", escaped(&line));
    }
    out.push_str("</section>\n");
}

/// The keys in which the configs differ.
fn differences(out: &mut String, plan: &Plan) {
    let configs: Vec<Value> = plan.systems.iter().map(|system| system.experiment.to_json()).collect();
    let mut keys: Vec<String> =
        configs.iter().flat_map(|config| differing_keys(&configs[0], config)).collect();
    keys.sort();
    keys.dedup();
    // The name is in the header, and the seeds are those of the command.
    keys.retain(|key| key != "name" && key != "seed");
    out.push_str("<section><h2>Configs</h2>\n");
    if keys.is_empty() {
        out.push_str("<p>No key differs.</p></section>\n");
        return;
    }
    out.push_str("<div class=\"scroll\"><table class=\"scores\"><tr><th>key</th>");
    for system in &plan.systems {
        let _ = write!(out, "<th>{}</th>", escaped(&system.name));
    }
    out.push_str("</tr>\n");
    for key in &keys {
        let _ = write!(out, "<tr><th>{}</th>", escaped(key));
        for config in &configs {
            let value = key.split('.').try_fold(config, |table, key| table.get(key));
            let shown = match value {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            let _ = write!(out, "<td>{}</td>", escaped(&cut(&shown)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div></section>\n");
}

/// Samples and the worst rows of a test set.
fn rows_of(out: &mut String, plan: &Plan, set: &SetResults) {
    let (name, best) = (escaped(&set.name), escaped(&plan.entries[set.best()].name));
    let ensembles = if plan.ensemble.is_some() { " and of the ensembles" } else { "" };
    let _ = writeln!(
        out,
        "<section><h2>{name}: outputs</h2><p class=\"faint\">Of seed {}{ensembles}; the error rate is the mean over \
         seeds.</p>\n<h3>Samples</h3><div class=\"sides\">",
        plan.seeds[0]
    );
    let count = set.pairs.len();
    let shown = count.min(SAMPLES);
    (0..shown).for_each(|n| row(out, plan, set, n * count / shown));
    out.push_str("</div>\n");
    let worst = set.worst(WORST);
    if !worst.is_empty() {
        let _ = writeln!(out, "<h3>The worst rows of {best}</h3><div class=\"sides\">");
        worst.into_iter().for_each(|number| row(out, plan, set, number));
        out.push_str("</div>\n");
    }
    out.push_str("</section>\n");
}

/// A row: `dir=auto` writes each text in the direction of its script.
fn row(out: &mut String, plan: &Plan, set: &SetResults, number: usize) {
    let [source, reference] = set.pairs[number].each_ref().map(|text| escaped(&cut(text)));
    let _ = write!(
        out,
        "<div class=\"rows\"><p class=\"faint\">row {}</p><table>\
         <tr><th>source</th><td dir=\"auto\">{source}</td><td></td></tr>\
         <tr><th>reference</th><td dir=\"auto\">{reference}</td><td></td></tr>",
        number + 1
    );
    for (place, entry) in plan.entries.iter().enumerate() {
        let (text, name) = (escaped(&cut(&set.outputs[place][number])), escaped(&entry.name));
        let rate = 100.0 * set.row_errors[place][number];
        let _ = write!(
            out,
            "<tr><th>{name}</th><td dir=\"auto\">{text}</td><td class=\"number\">{rate:.0} %</td></tr>"
        );
    }
    out.push_str("</table></div>\n");
}
