//! A report as one HTML page: no script, no network, light and dark by the viewer's preference, for narrow and wide screens.

use std::fmt::Write as _;

use super::report::{Finding, Report, SetReport, SideReport, grouped, in_number};
use crate::cli::html::{page, passage};
use crate::data::survey::Example;
use crate::svg::escaped;

/// The whole page. Writing to a string cannot fail.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let [source, target] = report.vocabularies.each_ref().map(|text| escaped(text));
    let _ = writeln!(out, "<p>Vocabularies: {source} (sources), {target} (targets).</p>");
    report.sets.iter().for_each(|set| set_of(&mut out, set));
    page(&format!("{}: data", report.name), &out)
}

fn set_of(out: &mut String, set: &SetReport) {
    let (pairs, files) = (in_number(set.pairs, "pair"), escaped(&set.files));
    let _ = writeln!(out, "<section><h2>{}: {pairs}</h2><p class=\"faint\">{files}</p>", set.name);
    if set.findings.is_empty() {
        out.push_str("<p>No side is empty or too long; no pair is there twice, copied or shared.</p>\n");
    }
    set.findings.iter().for_each(|finding| finding_of(out, finding));
    out.push_str("<div class=\"sides\">");
    set.sides.iter().for_each(|side| side_of(out, side));
    out.push_str("</div></section>\n");
}

fn finding_of(out: &mut String, finding: &Finding) {
    let consequence = escaped(&finding.consequence);
    let _ = write!(
        out,
        "<div class=\"warn\"><p>{} <span class=\"faint\">({consequence})</span></p>",
        finding.what
    );
    examples_of(out, finding.examples.iter().map(|example| (String::new(), example)));
    out.push_str("</div>\n");
}

/// A table of pairs; `dir=auto` writes each in the direction of its script.
fn examples_of<'a>(out: &mut String, examples: impl Iterator<Item = (String, &'a Example)>) {
    out.push_str("<div class=\"scroll\"><table>");
    for (note, example) in examples {
        let [source, target] = example.texts.each_ref().map(|text| passage(text));
        let place = escaped(&example.place.to_string());
        let _ = write!(
            out,
            "<tr><td class=\"faint\">{place}{note}</td><td dir=\"auto\">{source}</td><td dir=\"auto\">{target}</td></tr>"
        );
    }
    out.push_str("</table></div>");
}

fn side_of(out: &mut String, side: &SideReport) {
    let _ = write!(out, "<div><h3>{}s</h3><table>", side.name);
    for (name, value) in &side.facts {
        let _ = write!(out, "<tr><th>{name}</th><td>{}</td></tr>", escaped(value));
    }
    out.push_str("</table>");
    histogram(out, &side.histogram);
    out.push_str("<table><tr><th>script</th><th class=\"number\">characters</th><th class=\"number\">different</th></tr>");
    for (name, count, different) in &side.scripts {
        let count = grouped(*count);
        let _ = write!(
            out,
            "<tr><td>{name}</td><td class=\"number\">{count}</td><td class=\"number\">{different}</td></tr>"
        );
    }
    out.push_str("</table>");
    for (kind, count, place, found) in &side.odd {
        let (texts, place, found) = (in_number(*count, "text"), escaped(place), escaped(found));
        let _ = write!(out, "<p class=\"warn\">{kind}: {texts}, first at {place}: <bdi>{found}</bdi></p>");
    }
    if !side.unknown.is_empty() {
        out.push_str(
            "<table><tr><th>not in the vocabulary</th><th class=\"number\">times</th><th>first at</th></tr>",
        );
        for (symbol, count, place) in &side.unknown {
            let (symbol, place) = (escaped(symbol), escaped(place));
            let _ = write!(
                out,
                "<tr><td><bdi>{symbol}</bdi></td><td class=\"number\">{count}</td><td class=\"faint\">{place}</td></tr>"
            );
        }
        out.push_str("</table>");
    }
    out.push_str("<h3>The longest</h3>");
    examples_of(out, side.longest.iter().map(|(length, example)| (format!("<br>{length} tokens"), example)));
    out.push_str("</div>");
}

/// Bars of the numbers of texts by length.
fn histogram(out: &mut String, ranges: &[(usize, u64)]) {
    const WIDTH: f64 = 480.0;
    const HEIGHT: f64 = 90.0;
    let most = ranges.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1) as f64;
    let step = WIDTH / ranges.len().max(1) as f64;
    let _ = write!(
        out,
        "<svg class=\"bars\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"texts by number of tokens\">",
        HEIGHT + 18.0
    );
    for (n, (length, count)) in ranges.iter().enumerate() {
        let height = if *count == 0 { 0.0 } else { (HEIGHT * *count as f64 / most).max(1.0) };
        let (x, y, width) = (n as f64 * step, HEIGHT - height, (step - 1.0).max(0.5));
        let title = format!("from {length} tokens: {}", in_number(*count, "text"));
        let _ = write!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{title}</title></rect>"
        );
        if n % 6 == 0 {
            let _ = write!(out, "<text x=\"{x:.1}\" y=\"{}\">{length}</text>", HEIGHT + 13.0);
        }
    }
    out.push_str("</svg>");
}
