//! The results as one HTML page: the table, curves, what differs among the configs, outputs side by side, and
//! attention.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::attention::Picture;
use super::plan::Plan;
use super::results::{Results, SetResults};
use super::shown_rows::{ShownRow, ShownRows};
use super::{curves, table};
use crate::cli::html::{cut, long_name, page, passage};
use crate::error::{Result, counted};
use crate::metrics::Unit;
use crate::svg::escaped;
use crate::svg::heat::with_ids_of_its_own;

/// The whole page. Writing to a string cannot fail.
///
/// # Errors
/// The metrics of a run cannot be read.
pub(super) fn render(plan: &Plan, results: &Results, pictures: &[Picture]) -> Result<String> {
    let mut out = String::new();
    let (systems, seeds) = (counted(plan.systems.len(), "system"), counted(plan.seeds.len(), "seed"));
    let compared = match plan.entries.len() {
        1 => "",
        _ => " Differences: approximate randomization over rows. Bold: the best mean.",
    };
    let _ = writeln!(
        out,
        "<p>{systems}, each with {seeds}. sd: standard deviation over seeds. In brackets: 95 % bootstrap interval of the \
         mean over rows.{compared}</p>"
    );
    for line in table::of_errors(results).into_iter().chain(table::of_ensembles(plan, results)) {
        let _ = writeln!(out, "<p>{}</p>", escaped(&line));
    }
    results.sets.iter().for_each(|set| scores_of(&mut out, plan, set));
    let _ = writeln!(out, "<section><h2>Curves</h2>\n{}", curves::legend(plan));
    for picture in curves::draw(plan)? {
        let _ = writeln!(out, "<div class=\"scroll\">{picture}</div>");
    }
    out.push_str("</section>\n");
    if plan.systems.len() > 1 {
        differences(&mut out, plan);
    }
    results.sets.iter().for_each(|set| rows_of(&mut out, plan, set, results.unit));
    if !pictures.is_empty() {
        out.push_str("<section><h2>Attention</h2>\n");
        for (number, Picture { title, svg }) in (1..).zip(pictures) {
            let svg = with_ids_of_its_own(svg, &format!("picture{number}-"));
            let _ = writeln!(out, "<h3>{}</h3><div class=\"scroll\">{svg}</div>", escaped(title));
        }
        out.push_str("</section>\n");
    }
    Ok(page(&format!("{}: experiment", plan.name), &out))
}

/// The tables of a test set.
fn scores_of(out: &mut String, plan: &Plan, set: &SetResults) {
    let rows = counted(set.rows, "row");
    let _ = writeln!(out, "<section><h2>{}: {rows}</h2>", escaped(&set.name));
    for scores in &set.scores {
        let _ = write!(
            out,
            "<h3>{}</h3><div class=\"scroll\"><table class=\"scores\">",
            escaped(&table::title(scores))
        );
        let comparison = table::comparison(plan, scores);
        for (number, row) in table::cells(plan, scores).iter().enumerate() {
            let tag = if number == 0 { "th" } else { "td" };
            let is_best = comparison.is_some() && number == scores.best + 1;
            out.push_str(if is_best { "<tr class=\"best\">" } else { "<tr>" });
            for (column, cell) in row.iter().enumerate() {
                let (class, cell) = match column {
                    0 => ("name", long_name(cell)),
                    _ => ("number", escaped(cell)),
                };
                let _ = write!(out, "<{tag} class=\"{class}\">{cell}</{tag}>");
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
        if let Some(comparison) = comparison {
            let _ = writeln!(out, "<p class=\"faint\">Bold: {}</p>", long_name(&comparison));
        }
        if let Some(line) = table::signature(scores) {
            let _ = writeln!(out, "<p class=\"faint\">{}</p>", escaped(&line));
        }
    }
    for line in table::remarks(set) {
        let _ = writeln!(out, "<p>{}</p>", escaped(&line));
    }
    out.push_str("</section>\n");
}

/// The keys in which the configs differ, in the shorter direction: a line for each system, or for each key.
fn differences(out: &mut String, plan: &Plan) {
    let mut configs: Vec<BTreeMap<String, String>> = vec![BTreeMap::new(); plan.systems.len()];
    for (system, config) in plan.systems.iter().zip(&mut configs) {
        add_values(&system.experiment.to_json(), "", config);
    }
    let mut keys: BTreeSet<&str> = configs.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    // The seeds are those of the command.
    keys.retain(|key| *key != "name" && *key != "seed");
    keys.retain(|key| configs.iter().any(|config| config.get(*key) != configs[0].get(*key)));
    out.push_str("<section><h2>Configs</h2>\n");
    if keys.is_empty() {
        out.push_str("<p>No key differs.</p></section>\n");
        return;
    }
    let header = std::iter::once(String::new()).chain(keys.iter().map(|key| escaped(key)));
    let mut lines: Vec<Vec<String>> = vec![header.collect()];
    for (system, config) in plan.systems.iter().zip(&configs) {
        let values =
            keys.iter().map(|key| config.get(*key).map_or(String::new(), |value| escaped(&cut(value))));
        lines.push(std::iter::once(long_name(&system.name)).chain(values).collect());
    }
    if keys.len() > plan.systems.len() {
        let column =
            |number: usize| -> Vec<String> { lines.iter().map(|line| line[number].clone()).collect() };
        lines = (0..=keys.len()).map(column).collect();
    }
    out.push_str("<div class=\"scroll\"><table class=\"scores\">");
    for (number, line) in lines.iter().enumerate() {
        let tag = if number == 0 { "th" } else { "td" };
        let _ = write!(out, "<tr><th class=\"name\">{}</th>", line[0]);
        for cell in &line[1..] {
            let _ = write!(out, "<{tag}>{cell}</{tag}>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div></section>\n");
}

/// Adds the values of a config and of the tables in it, by their whole keys, so that two systems with a table are compared even if
/// a third one has another table instead.
fn add_values(config: &Value, path: &str, values: &mut BTreeMap<String, String>) {
    let shown = match config {
        Value::Object(table) if !table.is_empty() => {
            for (key, value) in table {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                add_values(value, &below, values);
            }
            return;
        }
        Value::Null => return,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    values.insert(path.to_owned(), shown);
}

/// Samples and the worst rows of a test set.
fn rows_of(out: &mut String, plan: &Plan, set: &SetResults, unit: Unit) {
    let (title, best) = (escaped(&set.name), long_name(&plan.entries[set.best()].name));
    let ensembles = if plan.ensemble.is_some() { " and of the ensembles" } else { "" };
    let symbols = match unit {
        Unit::Characters => "characters",
        Unit::Words => "words",
    };
    let _ = writeln!(
        out,
        "<section><h2>{title}: outputs</h2><p class=\"faint\">Of seed {}{ensembles}; the error rate, over {symbols}, is the \
         mean over seeds, at most 100 % a row.</p>\n<h3>Samples</h3><div class=\"sides\">",
        plan.seeds[0]
    );
    let ShownRows { samples, worst, texts } = &set.shown;
    samples.iter().for_each(|number| row(out, plan, *number, &texts[number]));
    out.push_str("</div>\n");
    if !worst.is_empty() {
        let _ = writeln!(out, "<h3>The worst rows of {best}</h3><div class=\"sides\">");
        worst.iter().for_each(|number| row(out, plan, *number, &texts[number]));
        out.push_str("</div>\n");
    }
    out.push_str("</section>\n");
}

/// A row: `dir=auto` writes each text in the direction of its script.
fn row(out: &mut String, plan: &Plan, number: usize, shown: &ShownRow) {
    let [source, reference] = [&shown.sources[0], &shown.reference].map(|text| passage(text));
    let _ = write!(
        out,
        "<div class=\"rows\"><p class=\"faint\">row {}</p><table>\
         <tr><th>source</th><td dir=\"auto\">{source}</td><td></td></tr>\
         <tr><th>reference</th><td dir=\"auto\">{reference}</td><td></td></tr>",
        number + 1
    );
    for (entry, (text, rate)) in plan.entries.iter().zip(&shown.outputs) {
        let (entry, text, rate) = (long_name(&entry.name), passage(text), 100.0 * rate);
        let _ = write!(
            out,
            "<tr><th>{entry}</th><td dir=\"auto\">{text}</td><td class=\"number\">{rate:.0} %</td></tr>"
        );
    }
    out.push_str("</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_whole_keys_and_an_empty_table_is_a_value() {
        let config = serde_json::json!({
            "name": "a", "off": null, "training": { "steps": 5, "linear": {}, "metrics": ["bleu"] }
        });
        let mut values = BTreeMap::new();
        add_values(&config, "", &mut values);
        let found: Vec<String> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let all = ["name=a", "training.linear={}", "training.metrics=[\"bleu\"]", "training.steps=5"];
        assert_eq!(found, all);
    }
}
