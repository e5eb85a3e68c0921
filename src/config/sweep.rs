//! A config with `[sweep]` as several experiments: those of all combinations of its choices, or of random ones, each with a
//! name.

use std::cmp::Ordering;
use std::path::Path;

use super::choices::{Checked, Choice, Sweep, TABLE, is_within};
use super::file::{Places, with_init};
use super::tree::{Entry, Node};
use super::{Experiment, extends, resolve};
use crate::error::{ConfigError, Error, Origin};

/// The longest name that shows its values.
const LONGEST_NAME: usize = 100;

/// A config, or one combination of its sweep.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    /// Its values, for names of folders; empty without a sweep.
    pub name: String,
    /// The config with these values.
    pub experiment: Experiment,
}

impl Experiment {
    /// Reads a config as [`Experiment::load`] does, with all combinations of its `[sweep]`.
    ///
    /// # Errors
    /// As [`Experiment::load`], for any combination; a wrong `[sweep]`.
    pub(crate) fn load_variants(path: &Path, overrides: &[String]) -> Result<Vec<Variant>, Error> {
        let mut places = Places::read(path, overrides)?;
        let tree = extends::tree_of(path, &mut places);
        tree.and_then(|tree| variants(tree, overrides)).map_err(|error| with_init(path, places.error(error)))
    }
}

/// All combinations of a tree.
fn variants(mut tree: Node, overrides: &[String]) -> Checked<Vec<Variant>> {
    let Some(Entry { node, .. }) = tree.take(TABLE) else {
        let experiment = resolve(tree, overrides)?;
        return Ok(vec![Variant { name: String::new(), experiment }]);
    };
    let sweep = Sweep::read(node)?;
    check_overrides(overrides, &sweep)?;
    let points = sweep.points()?;
    let names = names_of(&points);
    let variant = |(name, point): (String, &Vec<Choice>)| -> Checked<Variant> {
        let experiment = with_choices(tree.clone(), overrides, point)?;
        Ok(Variant { name, experiment })
    };
    names.into_iter().zip(&points).map(variant).collect()
}

/// A key is swept, or set for all combinations; also as a part of a table.
fn check_overrides(overrides: &[String], sweep: &Sweep) -> Checked<()> {
    for (number, argument) in overrides.iter().enumerate() {
        let Some((path, _)) = argument.split_once('=') else { continue };
        let set = path.split('.').map(str::trim).collect::<Vec<_>>().join(".");
        let is_it = |key: &&str| is_within(key, &set) || is_within(&set, key);
        let Some(swept) = sweep.keys().find(is_it) else { continue };
        let (key, both) = match swept.len().cmp(&set.len()) {
            Ordering::Equal => (swept, String::new()),
            Ordering::Greater => (swept, format!(": --set replaces `{set}` as a whole")),
            Ordering::Less => (set.as_str(), format!(": [sweep] replaces `{swept}` as a whole")),
        };
        let message =
            format!("`{key}` must have its values from [sweep] or from --set, but it has both{both}");
        return Err(ConfigError::written(Origin::Set(number), message).hint("leave out one of them"));
    }
    Ok(())
}

/// The experiment of a combination. An error about a value of it has the place in the sweep.
fn with_choices(tree: Node, overrides: &[String], point: &[Choice]) -> Checked<Experiment> {
    let settings: Vec<String> = point.iter().map(Choice::setting).collect();
    resolve(tree, &[overrides, &settings[..]].concat()).map_err(|error| {
        let number = match error.origin {
            Some(Origin::Set(number)) => number.checked_sub(overrides.len()),
            _ => None,
        };
        match number.and_then(|number| point.get(number)) {
            Some(choice) => ConfigError { origin: Some(choice.origin), ..error },
            None => error,
        }
    })
}

/// The names of combinations: their values, or numbers if these do not tell them apart.
fn names_of(points: &[Vec<Choice>]) -> Vec<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let name = |point: &Vec<Choice>| {
        let ends: Vec<String> = point.iter().map(|choice| last(&choice.key)).collect();
        let is_alone = |end: &String| ends.iter().filter(|other| *other == end).count() == 1;
        let parts = point.iter().zip(&ends);
        let parts = parts.map(|(choice, end)| choice.shown(if is_alone(end) { end } else { &choice.key }));
        parts.collect::<Vec<_>>().join(",")
    };
    let names: Vec<String> = points.iter().map(name).collect();
    let is_usable = |name: &String| {
        name.len() <= LONGEST_NAME && names.iter().filter(|other| *other == name).count() == 1
    };
    match names.iter().all(is_usable) {
        true => names,
        false => (1..=points.len()).map(|number| format!("choice{number}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "name = \"a\"\n[data]\ntrain = \"a.csv\"\nvalid = \"b.csv\"\n[sweep]\n";

    fn swept(sweep: &str) -> Checked<Vec<Variant>> {
        variants(Node::from_toml(&format!("{DATA}{sweep}")).unwrap(), &[])
    }

    fn names(sweep: &str) -> Vec<String> {
        swept(sweep).unwrap().into_iter().map(|variant| variant.name).collect()
    }

    #[test]
    fn a_grid_has_all_combinations() {
        let sweep = "\"training.adamw.learning_rate\" = [1e-3, 0.02]\ntraining.steps = [5, 6]";
        assert_eq!(
            names(sweep),
            [
                "learning_rate=0.001,steps=5",
                "learning_rate=0.001,steps=6",
                "learning_rate=0.02,steps=5",
                "learning_rate=0.02,steps=6"
            ]
        );
        let last = swept(sweep).unwrap().pop().unwrap().experiment;
        assert_eq!((last.training.steps, last.training.adamw.unwrap().learning_rate), (6, 0.02));
        let same = names("\"data.source.max_length\" = [5]\n\"data.target.max_length\" = [6]");
        assert_eq!(same, ["data.source.max_length=5,data.target.max_length=6"]);
        // Names that are the same, or too long, are numbers.
        let files = names("\"data.train\" = [\"a/b\", \"a b\"]");
        assert_eq!(files, ["choice1", "choice2"]);
    }

    #[test]
    fn random_choices_follow_from_the_seed() {
        let sweep = "random = 5\n\"training.adamw.learning_rate\" = { low = 1e-4, high = 1e-2, log = true }";
        let rates = |sweep: &str| -> Vec<f64> {
            let rate = |variant: Variant| variant.experiment.training.adamw.unwrap().learning_rate;
            swept(sweep).unwrap().into_iter().map(rate).collect()
        };
        let first = rates(sweep);
        assert!(first.len() == 5 && first.iter().all(|rate| (1e-4..=1e-2).contains(rate)), "{first:?}");
        assert_eq!(rates(sweep), first);
        assert_ne!(rates(&format!("seed = 2\n{sweep}")), first);
        // Of three values five different ones cannot be drawn.
        assert_eq!(names("random = 5\n\"training.steps\" = [1, 2, 3]").len(), 3);
        let whole = names("random = 9\n\"training.steps\" = { low = 1, high = 4 }");
        assert!(whole.iter().all(|name| ["1", "2", "3", "4"].iter().any(|n| *name == format!("steps={n}"))));
    }

    #[test]
    fn a_key_is_swept_or_set() {
        let refused = |sweep: &str, set: &str| {
            let tree = Node::from_toml(&format!("{DATA}{sweep}")).unwrap();
            let error = variants(tree, &["seed=2".to_owned(), set.to_owned()]).unwrap_err();
            assert!(matches!(error.origin, Some(Origin::Set(1))), "{error:?}");
            error.message
        };
        let both =
            |key: &str| format!("`{key}` must have its values from [sweep] or from --set, but it has both");
        assert_eq!(refused("\"training.steps\" = [5]", "training . steps = 6"), both("training.steps"));
        let width = "model.transformer.width";
        assert_eq!(
            refused(&format!("{width} = [8, 16]"), "model.transformer={ width = 32 }"),
            format!("{}: --set replaces `model.transformer` as a whole", both(width))
        );
        assert_eq!(
            refused("\"model.transformer\" = [{ width = 8 }]", "model.transformer.width=32"),
            format!("{}: [sweep] replaces `model.transformer` as a whole", both(width))
        );
        let near = Node::from_toml(&format!("{DATA}{width} = [8, 16]")).unwrap();
        let found = variants(near, &["model.transformer.heads=4".to_owned()]).unwrap();
        let widths = found.iter().map(|variant| variant.experiment.model.transformer.as_ref().unwrap().width);
        assert_eq!(widths.collect::<Vec<_>>(), [8, 16]);
    }

    #[test]
    fn a_wrong_sweep_is_refused_where_it_is_written() {
        for (sweep, part) in [
            ("", "must have a key"),
            ("\"training.steps\" = 5", "must be a list of values or a range, but it is 5"),
            ("\"training.steps\" = []", "an empty list"),
            ("\"training.steps\" = { low = 1, high = 2 }", "needs `random`"),
            ("random = 0", "from 1 to 1000"),
            ("random = 1\n\"training.steps\" = { low = 3, high = 2 }", "`low` below `high`"),
            ("seed = [1, 2]\n\"training.steps\" = [1]", "`seed` must be a whole number"),
            ("\"training.steps\" = [1]\ntraining.steps = [2]", "`training.steps` must be in [sweep] once"),
            (
                "model.transformer.width = [8]\n\"model.transformer\" = [{}]",
                "`model.transformer.width` is there",
            ),
            ("\"training.stepz\" = [1]", "unknown key `stepz`"),
            ("\"training.steps\" = [1, \"x\"]", "`steps` must be a whole number"),
        ] {
            let error = swept(sweep).unwrap_err();
            assert!(error.message.contains(part), "{}", error.message);
            assert!(matches!(error.origin, Some(Origin::File(_))), "{error:?}");
        }
    }
}
