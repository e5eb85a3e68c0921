//! Every error of a config at once, for `seqloom check`.
//!
//! serde stops at the first error. So what is wrong is taken out of the tree, and the rest is read again, until nothing
//! is wrong. An error that only follows from what was taken out is not reported.

use std::path::Path;

use super::tree::Node;
use super::{Experiment, Places, bytes_of, complete, locate, read_experiment, text_of, with_init};
use crate::error::{ConfigError, Error, Origin};

impl Experiment {
    /// Reads an experiment file as [`Experiment::load`] does.
    ///
    /// # Errors
    /// All errors that can be found at once.
    pub(crate) fn load_or_list(
        path: &Path,
        overrides: &[String],
    ) -> std::result::Result<Experiment, Vec<Error>> {
        let place = path.display().to_string();
        let bytes = bytes_of(path).map_err(|error| vec![error])?;
        let text = text_of(bytes, &place).map_err(|error| vec![with_init(path, error)])?;
        let places = Places { file: &place, text: &text, overrides };
        checked(&text, overrides)
            .map_err(|errors| errors.into_iter().map(|error| with_init(path, places.error(error))).collect())
    }
}

/// The experiment of a text, or all errors.
fn checked(text: &str, overrides: &[String]) -> std::result::Result<Experiment, Vec<ConfigError>> {
    let mut tree = Node::from_toml(text).map_err(|error| vec![error])?;
    let mut errors: Vec<ConfigError> = overrides
        .iter()
        .enumerate()
        .filter_map(|(number, argument)| tree.set(number, argument).err())
        .collect();
    complete(&mut tree);
    let experiment = match read_experiment(&tree) {
        Ok(experiment) => experiment,
        Err(first) => {
            errors.extend(all_of(first, &mut tree));
            return Err(errors);
        }
    };
    // Where a value was not read, a rule may be broken by what is there instead.
    if errors.is_empty() {
        errors.extend(experiment.broken_rules().into_iter().map(|error| locate(error, &tree)));
    }
    if errors.is_empty() { Ok(experiment) } else { Err(errors) }
}

/// The first error of reading a tree, and those behind it.
fn all_of(first: ConfigError, tree: &mut Node) -> Vec<ConfigError> {
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
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str, overrides: &[&str]) -> Vec<String> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        checked(text, &overrides).unwrap_err().into_iter().map(|error| error.message).collect()
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
        assert!(checked(DATA, &[]).is_ok());
    }
}
