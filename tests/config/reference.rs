//! configs/: the reference page and the code agree, and every experiment can be read.

use std::collections::BTreeSet;

use seqloom::config::Experiment;
use toml::{Table, Value};

use super::{LEAST, accepted, configs, refused};

/// The reference page, and the same with everything on that is off by default.
fn reference() -> (String, String) {
    let text = std::fs::read_to_string(configs().join("reference.toml")).unwrap();
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    let all = text.lines().map(on).collect();
    (text, all)
}

/// What an error message lists between backticks after `start`.
fn listed(message: &str, start: &str) -> Option<Vec<String>> {
    let list = message.split_once(start)?.1.split(", but").next()?;
    Some(list.trim_matches('`').split("`, `").map(str::to_string).collect())
}

/// Each table of `table` and below, with the path of keys that leads to it.
fn tables<'t>(path: &str, table: &'t Table, found: &mut Vec<(String, &'t Table)>) {
    found.push((path.to_string(), table));
    for (key, value) in table {
        if let Value::Table(inner) = value {
            tables(&format!("{path}{key}."), inner, found);
        }
    }
}

#[test]
fn every_experiment_in_configs_is_valid_and_named_like_its_file() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        let experiment = Experiment::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(path.file_stem().unwrap().to_str(), Some(experiment.name.as_str()));
        names.push(experiment.name);
    }
    assert!(names.len() >= 7, "{names:?}");
}

#[test]
fn the_reference_page_shows_every_default() {
    let (page, _) = reference();
    let least = LEAST.replace("\"a\"", "\"reference\"");
    let written: Table = accepted(&least, &[]).to_toml().parse().unwrap();
    assert_eq!(page.parse::<Table>().unwrap(), written);
}

#[test]
fn the_reference_page_and_the_code_have_the_same_keys() {
    let all: Table = reference().1.parse().unwrap();
    let mut found = Vec::new();
    tables("", &all, &mut found);
    for (path, table) in found {
        // The error for an unknown key lists the known ones.
        let message = refused(LEAST, &[&format!("{path}no_such_key=1")]);
        let mut known: BTreeSet<String> =
            listed(&message, "keys there: ").unwrap_or_else(|| panic!("{message}")).into_iter().collect();
        // Known, but refused with another message: a target is one text, only a part is a set, and only a target has
        // alternatives.
        let refused: &[&str] = match path.as_str() {
            "data.source." => &["alternatives", "set"],
            "data.target." => &["audio", "parts", "set"],
            _ => &[],
        };
        assert!(refused.iter().all(|key| known.remove(*key)));
        // A table without keys lists none.
        known.remove("");
        let shown: BTreeSet<String> = table.keys().cloned().collect();
        assert_eq!(known, shown, "in [{path}]");
    }
}

#[test]
fn tables_shown_as_off_can_be_switched_on_with_the_defaults_shown() {
    let (page, all) = reference();
    let (on, all): (Table, Table) = (page.parse().unwrap(), all.parse().unwrap());
    let mut found = Vec::new();
    tables("", &all, &mut found);
    let mut switched = 0;
    for (path, table) in found {
        let path = path.trim_end_matches('.');
        let is_on = path.split('.').try_fold(&on, |table, key| table.get(key)?.as_table()).is_some();
        if path.is_empty() || is_on {
            continue;
        }
        let shown = accepted(LEAST, &[&format!("{path}={}", Value::Table(table.clone()))]);
        assert_eq!(
            shown,
            accepted(LEAST, &[&format!("{path}={{}}")]),
            "[{path}] shows other values than its defaults"
        );
        switched += 1;
    }
    assert_eq!(
        switched, 26,
        "twelve tokenizers, recordings with two tables, a network, five schedules, two optimizers, two samplings and average are off by default"
    );
    accepted(LEAST, &["decoding.max_length=100"]);
}

#[test]
fn the_reference_page_lists_every_choice() {
    let (_, page) = reference();
    let mut found = Vec::new();
    let all: Table = page.parse().unwrap();
    tables("", &all, &mut found);
    let texts = found.iter().flat_map(|(path, table)| {
        table.iter().filter(|(_, value)| value.is_str()).map(move |(key, _)| (path, key))
    });
    // A list may go on in the next lines.
    let joined =
        page.lines().fold(String::new(), |joined, line| match line.trim_start().strip_prefix("#   ") {
            Some(more) if line.starts_with("    ") => format!("{joined} {}", more.trim_start()),
            _ => format!("{joined}\n{line}"),
        });
    let mut seen = 0;
    for (path, key) in texts {
        // A key that takes any text has no choices.
        let Err(error) = Experiment::parse(LEAST, "a.toml", &[format!("{path}{key}=no_such_choice")]) else {
            continue;
        };
        let Some(choices) = listed(error.message(), "must be one of ") else {
            continue;
        };
        let start = format!("{key} = ");
        // A key of another table may have the same name.
        let lines: Vec<&str> = joined.lines().filter(|line| line.starts_with(&start)).collect();
        let list = format!("# {}", choices.join(" | "));
        assert!(lines.iter().any(|line| line.contains(&list)), "{lines:?}\nmust list {choices:?}");
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn the_reference_page_describes_each_metric() {
    let page = reference().0;
    for kind in seqloom::metrics::METRICS {
        let describes = |line: &str| {
            line.starts_with("    ")
                && line.split(": ").next().is_some_and(|names| {
                    names.trim().trim_start_matches('#').split(',').any(|name| name.trim() == kind.name)
                })
        };
        assert!(
            page.lines().any(|line| line.strip_prefix('#').is_some_and(describes) || describes(line)),
            "{}",
            kind.name
        );
    }
}
