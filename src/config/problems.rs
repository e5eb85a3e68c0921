//! Every error of a config at once, for `seqloom check`.
//!
//! serde stops at the first error. So what is wrong is taken out of the tree, and the rest is read again, until nothing
//! is wrong. An error that only follows from what was taken out is not reported.

use std::path::Path;

use super::file::{Places, with_init};
use super::tree::Node;
use super::{Experiment, complete, extends, locate, read_experiment, take_others};
use crate::error::{ConfigError, Error, Origin, Result};

/// A config, and what is wrong with it.
pub(crate) struct Checked {
    /// It without what is wrong; `None` if `[data]` is not whole.
    pub experiment: Option<Experiment>,
    /// All errors that can be found at once.
    pub problems: Vec<Error>,
}

impl Experiment {
    /// Reads an experiment file as [`Experiment::load`] does.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub(crate) fn load_checked(path: &Path, overrides: &[String]) -> Result<Checked> {
        let mut places = Places::read(path, overrides)?;
        let tree = extends::tree_of(path, &mut places);
        let shown = |error: ConfigError| with_init(path, places.error(error));
        let (experiment, errors) = checked(tree.map_err(shown)?, overrides);
        Ok(Checked { experiment, problems: errors.into_iter().map(shown).collect() })
    }
}

/// The experiment of a tree without what is wrong, if its data is whole, and all errors.
fn checked(mut tree: Node, overrides: &[String]) -> (Option<Experiment>, Vec<ConfigError>) {
    let mut errors: Vec<ConfigError> = overrides
        .iter()
        .enumerate()
        .filter_map(|(number, argument)| tree.set(number, argument).err())
        .collect();
    errors.extend(take_others(&mut tree));
    complete(&mut tree);
    let experiment = match read_experiment(&tree) {
        Ok(experiment) => experiment,
        Err(first) => {
            let (found, tables) = all_of(first, &mut tree);
            errors.extend(found);
            let whole = read_experiment(&tree).ok().filter(|_| !tables.iter().any(|table| is_of_data(table)));
            return (whole, errors);
        }
    };
    // Where a value was not read, a rule may be broken by what is there instead.
    if errors.is_empty() {
        errors.extend(experiment.broken_rules().into_iter().map(|error| locate(error, &tree)));
    }
    let whole = !errors.iter().flat_map(|error| &error.keys).any(|key| is_of_data(key));
    (Some(experiment).filter(|_| whole), errors)
}

/// Whether a path is that of `[data]`, or below it.
fn is_of_data(path: &str) -> bool {
    path.split('.').next() == Some("data")
}

/// The first error of reading a tree, and those behind it; the tables of what was taken out.
fn all_of(first: ConfigError, tree: &mut Node) -> (Vec<ConfigError>, Vec<String>) {
    let (mut errors, mut tables): (Vec<ConfigError>, Vec<String>) = (Vec::new(), Vec::new());
    let mut next = Some(first);
    while let Some(error) = next {
        let origin = error.origin.unwrap_or(Origin::Unseen);
        // Only an error about a missing key names it. The key may have been taken out.
        let table = error.keys.first().map(|key| key.rsplit_once('.').map_or("", |(table, _)| table));
        if !table.is_some_and(|table| tables.iter().any(|other| other == table)) {
            errors.push(error);
        }
        let removed = if origin == Origin::Unseen { None } else { tree.remove(origin, "") };
        let Some(table) = removed else { break };
        tables.push(table);
        next = read_experiment(tree).err();
    }
    (errors, tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str, overrides: &[&str]) -> Vec<String> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        checked(Node::from_toml(text).unwrap(), &overrides).1.into_iter().map(|error| error.message).collect()
    }

    const DATA: &str = "name = \"a\"\n[data]\ntrain = \"a.csv\"\nvalid = \"b.csv\"\n";

    #[test]
    fn unknown_keys_wrong_values_and_missing_keys_are_found_together() {
        let text = "nme = \"a\"\n[data]\ntrain = \"a.csv\"\nvalid = 5\n[model.transformer]\nwdith = 8\nheads = \"x\"\n";
        let found = messages(text, &["training.steps=some", "training.epochs=2", "no value"]);
        for part in
            ["unknown key `nme`", "`valid`", "unknown key `wdith`", "`heads`", "`steps`", "key.path=value"]
        {
            assert!(found.iter().any(|message| message.contains(part)), "no {part} in {found:#?}");
        }
        assert_eq!(found.len(), 6, "{found:#?}");
        assert_eq!(
            messages("name = \"a\"\n[data]\ntrain = \"a.csv\"\n", &[]),
            ["missing key `valid` in [data]"]
        );
    }

    #[test]
    fn rules_of_several_tables_are_found_together() {
        let text = format!("{DATA}max_ratio = -1\n[training]\nsteps = 0\n[decoding]\nbeam = 0\n");
        assert_eq!(messages(&text, &[]).len(), 3, "{:#?}", messages(&text, &[]));
        let whole = |text: &str| {
            let (experiment, errors) = checked(Node::from_toml(text).unwrap(), &[]);
            (experiment.is_some(), errors.len())
        };
        assert_eq!(whole(DATA), (true, 0));
        assert_eq!(whole(&format!("{DATA}[model.transformer]\nwdith = 8\n")), (true, 1));
        assert_eq!(whole(&format!("{DATA}hedaer = false\n")), (false, 1));
    }
}
