//! The findings of a survey in words and numbers, which a text and a page then show.

use crate::data::dataset::Tokenizers;
use crate::data::survey::{Example, Found, SideSurvey, Survey};
use crate::data::{DataConfig, Files, SideConfig};

/// Everything that is shown.
pub(super) struct Report {
    /// The config's name.
    pub name: String,
    /// The vocabularies of sources and targets.
    pub vocabularies: [String; 2],
    /// The sets.
    pub sets: Vec<SetReport>,
}

/// A set.
pub(super) struct SetReport {
    /// Its name.
    pub name: &'static str,
    /// Its files.
    pub files: String,
    /// Number of pairs.
    pub pairs: u64,
    /// Sources and targets.
    pub sides: [SideReport; 2],
    /// What was found in pairs.
    pub findings: Vec<Finding>,
}

/// A side of a set.
pub(super) struct SideReport {
    /// `source` or `target`.
    pub name: &'static str,
    /// Names of numbers, and their values.
    pub facts: Vec<(&'static str, String)>,
    /// How many texts have lengths in each range, by its first length.
    pub histogram: Vec<(usize, u64)>,
    /// The most frequent symbols that are not in the vocabulary: symbol, how often, the first place.
    pub unknown: Vec<(String, u64, String)>,
    /// Scripts: name, characters, different ones.
    pub scripts: Vec<(&'static str, u64, usize)>,
    /// What is mostly a mistake: kind, texts, the first place, what is there.
    pub odd: Vec<(&'static str, u64, String, String)>,
    /// The longest texts: tokens, and the pair.
    pub longest: Vec<(usize, Example)>,
}

/// Something that some pairs have.
pub(super) struct Finding {
    /// How many, and what they have.
    pub what: String,
    /// What the config does with them.
    pub consequence: String,
    /// The first ones.
    pub examples: Vec<Example>,
}

/// Ranges of a histogram.
const BINS: usize = 24;

/// The most symbols and scripts that are listed.
const LISTED: usize = 12;

impl Report {
    pub(super) fn new(name: &str, tokenizers: &Tokenizers, sets: Vec<SetReport>) -> Report {
        let target = &tokenizers.target;
        let target = format!("{} {}", grouped(target.vocabulary_size() as u64), target.kind());
        Report { name: name.to_owned(), vocabularies: [tokenizers.source.described(), target], sets }
    }
}

impl SetReport {
    /// What was found in the files.
    pub(super) fn new(name: &'static str, files: &Files, survey: &Survey, data: &DataConfig) -> SetReport {
        let names: Vec<String> = files.paths().map(|path| path.display().to_string()).collect();
        let [source, target] = &survey.sides;
        let source = SideReport::new("source", source, &data.source);
        let mut target = SideReport::new("target", target, &data.target);
        if data.target.alternatives.is_some() {
            target.facts.push(("several targets", several_targets(survey)));
        }
        SetReport {
            name,
            files: names.join(", "),
            pairs: survey.pairs,
            sides: [source, target],
            findings: findings(survey, data),
        }
    }
}

impl SideReport {
    fn new(name: &'static str, side: &SideSurvey, config: &SideConfig) -> SideReport {
        let lengths = [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| side.percentile(share));
        let [least, median, most_of, nearly_all, longest] = lengths;
        let known = 100.0 * (1.0 - side.unknown_tokens as f64 / side.tokens.max(1) as f64);
        let characters = &side.characters;
        SideReport {
            name,
            facts: vec![
                ("tokens", grouped(side.tokens)),
                ("tokens of a text", format!("{least} to {longest}, {:.1} on average", side.mean())),
                ("half of the texts", format!("up to {median}")),
                ("90 % of the texts", format!("up to {most_of}")),
                ("99 % of the texts", format!("up to {nearly_all}; max_length is {}", config.max_length)),
                ("known tokens", format!("{known:.3} %, {} are <unk>", grouped(side.unknown_tokens))),
                ("different characters", grouped(characters.different() as u64)),
            ],
            histogram: side.histogram(BINS),
            unknown: side
                .unknown_symbols()
                .into_iter()
                .take(LISTED)
                .map(|(symbol, count, place)| (symbol.to_owned(), count, place.to_string()))
                .collect(),
            scripts: characters.scripts().into_iter().take(LISTED).collect(),
            odd: characters
                .odd()
                .map(|(kind, count, place, found)| {
                    (kind.in_words(), count, place.to_string(), found.to_owned())
                })
                .collect(),
            longest: side.longest.clone(),
        }
    }
}

/// How many rows have several right targets.
fn several_targets(survey: &Survey) -> String {
    let (rows, all) = (grouped(survey.several_targets), in_number(survey.pairs, "row"));
    format!("in {rows} of {all}, at most {}; all other numbers are of the first", survey.most_targets)
}

/// What pairs have, and what becomes of them.
fn findings(survey: &Survey, data: &DataConfig) -> Vec<Finding> {
    let [source, target] = &survey.sides;
    let policy = |key: &str, value: String| format!("`data.{key}` = {value}");
    let too_long = policy("too_long", shown(&data.too_long));
    let empty = policy("empty", shown(&data.empty));
    let finding = |what: [&str; 2], found: &Found, consequence: String| {
        let what = format!("{} {}", in_number(found.count, what[0]), what[1]).trim_end().to_owned();
        (found.count > 0).then(|| Finding { what, consequence, examples: found.examples.clone() })
    };
    let all = [
        finding(["source", "longer than max_length"], &source.too_long, too_long.clone()),
        finding(["target", "longer than max_length"], &target.too_long, too_long),
        finding(["empty source", ""], &source.empty, empty.clone()),
        finding(["empty target", ""], &target.empty, empty),
        finding(
            ["pair", "that occurred before"],
            &survey.duplicates,
            policy("duplicate", shown(&data.duplicate)),
        ),
        finding(["pair", "with equal sides"], &survey.copies, policy("copy", shown(&data.copy))),
        finding(
            ["source", "that occurred before with another target"],
            &survey.ambiguous,
            "all are used".to_owned(),
        ),
        finding(
            ["pair", "shared with the training set"],
            &survey.shared_pairs,
            "scores on them do not show what the model does with new sources".to_owned(),
        ),
        finding(
            ["source", "shared with the training set"],
            &survey.shared_sources,
            "scores on them do not show what the model does with new sources".to_owned(),
        ),
    ];
    all.into_iter().flatten().collect()
}

/// A value as the config writes it.
fn shown(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A number of things, with commas.
pub(super) fn in_number(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with commas between groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|part| std::str::from_utf8(part).unwrap_or_default())
        .collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        assert_eq!([0, 12, 999, 1000, 1_234_567].map(grouped), ["0", "12", "999", "1,000", "1,234,567"]);
    }
}
