//! A report as text.

use std::fmt::Write as _;

use super::report::{Finding, Report, SetReport, SideReport, grouped, in_number};
use crate::data::readers::shorten;
use crate::data::survey::Example;

/// Signs of a histogram, from none to the most.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The whole text. Writing to a string cannot fail.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let [source, target] = &report.vocabularies;
    let _ = writeln!(out, "{}: vocabularies of {source} (sources) and {target} (targets)", report.name);
    report.sets.iter().for_each(|set| set_of(&mut out, set));
    out
}

fn set_of(out: &mut String, set: &SetReport) {
    let _ = writeln!(out, "\n== {}: {} in {}", set.name, in_number(set.pairs, "pair"), set.files);
    set.sides.iter().for_each(|side| side_of(out, side));
    if set.findings.is_empty() {
        let _ = writeln!(
            out,
            "nothing found: no side is empty or too long, no pair is there twice, copied or shared"
        );
    }
    set.findings.iter().for_each(|finding| finding_of(out, finding));
}

fn side_of(out: &mut String, side: &SideReport) {
    let _ = writeln!(out, "{}s", side.name);
    for (name, value) in &side.facts {
        let _ = writeln!(out, "  {name:22} {value}");
    }
    let most = side.histogram.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let bar = |count: u64| BARS[(count * 8).div_ceil(most) as usize];
    let bars: String = side.histogram.iter().map(|(_, count)| bar(*count)).collect();
    let last = side.histogram.last().map_or(0, |(length, _)| *length);
    let _ = writeln!(out, "  {:22} 0 |{bars}| {last}", "lengths");
    let scripts: Vec<String> = side
        .scripts
        .iter()
        .map(|(name, count, different)| format!("{name} {} ({different} different)", grouped(*count)))
        .collect();
    let _ = writeln!(out, "  {:22} {}", "characters", scripts.join(", "));
    for (symbol, count, place) in &side.unknown {
        let _ = writeln!(
            out,
            "  {:22} `{}` {}, first at {place}",
            "unknown",
            shorten(symbol),
            in_number(*count, "time")
        );
    }
    for (kind, count, place, found) in &side.odd {
        let found = shorten(found);
        let _ =
            writeln!(out, "  {:22} {kind}: {}, first at {place}: {found}", "odd", in_number(*count, "text"));
    }
    for (length, example) in side.longest.iter().take(3) {
        let _ = writeln!(out, "  {:22} {length} tokens at {}", "longest", example.place);
    }
}

fn finding_of(out: &mut String, finding: &Finding) {
    let _ = writeln!(out, "! {} ({})", finding.what, finding.consequence);
    finding.examples.iter().take(3).for_each(|example| example_of(out, example));
}

fn example_of(out: &mut String, example: &Example) {
    let [source, target] = example.texts.each_ref().map(|text| shorten(text));
    let _ = writeln!(out, "    {}: {source} -> {target}", example.place);
}
