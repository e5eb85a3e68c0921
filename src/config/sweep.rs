//! `[sweep]`: choices for keys of a config, of which `seqloom experiment` trains all combinations, or random ones.
//!
//! Each key has a list of values, or for random choices a range: `{ low = 1e-4, high = 1e-2, log = true }`. A
//! combination is a list of settings, as for `--set`. What is drawn follows from the sweep's seed and the key alone.

use std::path::Path;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::file::{Places, with_init};
use super::tree::{Entry, Node, Value};
use super::{Experiment, extends, resolve};
use crate::error::{ConfigError, Error, Origin};
use crate::runtime::seed_for;

/// The table.
pub(super) const TABLE: &str = "sweep";

/// The keys of the table itself.
const OWN_KEYS: [&str; 2] = ["random", "seed"];

/// The most combinations.
const MOST: usize = 1000;

/// The longest name that shows its values.
const LONGEST_NAME: usize = 100;

type Checked<T> = std::result::Result<T, ConfigError>;

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
    let points = Sweep::read(&node)?.points()?;
    check_overrides(overrides, &points)?;
    let names = names_of(&points);
    let variant = |(name, point): (String, &Vec<Choice>)| -> Checked<Variant> {
        let experiment = with_choices(tree.clone(), overrides, point)?;
        Ok(Variant { name, experiment })
    };
    names.into_iter().zip(&points).map(variant).collect()
}

/// A key is swept, or set for all combinations.
fn check_overrides(overrides: &[String], points: &[Vec<Choice>]) -> Checked<()> {
    for Choice { key, .. } in points.first().into_iter().flatten() {
        let is_key = |set: &String| set.split_once('=').is_some_and(|(name, _)| name.trim() == key);
        if let Some(number) = overrides.iter().position(is_key) {
            let message = format!("`{key}` must have its values from [sweep] or from --set, but it has both");
            return Err(ConfigError::written(Origin::Set(number), message).hint("leave out one of them"));
        }
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

/// A value for a key.
#[derive(Clone, Debug, PartialEq)]
struct Choice {
    key: String,
    /// As TOML.
    value: String,
    origin: Origin,
}

impl Choice {
    /// As for `--set`.
    fn setting(&self) -> String {
        format!("{}={}", self.key, self.value)
    }

    /// With a name of the key, in characters that are safe in the name of a folder.
    fn shown(&self, key: &str) -> String {
        let is_safe = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '+' | '_' | ',');
        let value = self.value.replace(", ", ",");
        let value: String = value.chars().filter(|c| !matches!(c, '"' | '\'' | '[' | ']')).collect();
        format!("{key}={}", value.replace(|c| !is_safe(c), "_"))
    }
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

/// The table.
struct Sweep {
    keys: Vec<Dimension>,
    /// How many random combinations, and their seed; all combinations if off.
    random: Option<(usize, u64)>,
    origin: Origin,
}

/// A key, and what it can be.
struct Dimension {
    key: String,
    origin: Origin,
    values: Values,
}

enum Values {
    /// Values as TOML, each with its place.
    Listed(Vec<(String, Origin)>),
    Range {
        low: f64,
        high: f64,
        log: bool,
        /// Whether only integers are drawn.
        whole: bool,
    },
}

impl Sweep {
    fn read(node: &Node) -> Checked<Sweep> {
        let number = |key: &str, least: i64, most: i64| match node.at(key) {
            None => Ok(None),
            Some(Node { value: Value::Integer(number), .. }) if (least..=most).contains(number) => {
                Ok(Some(*number))
            }
            Some(other) => {
                let there = other.value.shown();
                let message =
                    format!("`{key}` must be a whole number from {least} to {most}, but it is {there}");
                Err(ConfigError::written(other.origin, message))
            }
        };
        let count = number("random", 1, MOST as i64)?;
        let seed = number("seed", 0, i64::MAX)?.unwrap_or(1);
        let mut keys = Vec::new();
        add_keys(node, "", &mut keys)?;
        let wrong = |message: &str| Err(ConfigError::written(node.origin, message));
        if keys.is_empty() {
            return wrong("[sweep] must have a key of the config with a list of values, but it has none");
        }
        let range = keys.iter().find(|key| matches!(key.values, Values::Range { .. }));
        if let (Some(key), None) = (range, count) {
            let message = format!("`{}` is a range, which needs `random`: a number of choices", key.key);
            return Err(
                ConfigError::written(key.origin, message).hint("or list its values: [1e-4, 1e-3, 1e-2]")
            );
        }
        Ok(Sweep { keys, random: count.map(|count| (count as usize, seed as u64)), origin: node.origin })
    }

    /// The combinations.
    fn points(&self) -> Checked<Vec<Vec<Choice>>> {
        match self.random {
            Some((count, seed)) => Ok(self.drawn(count, seed)),
            None => self.grid(),
        }
    }

    /// All combinations; the first key changes last.
    fn grid(&self) -> Checked<Vec<Vec<Choice>>> {
        let mut points: Vec<Vec<Choice>> = vec![Vec::new()];
        for Dimension { key, values, .. } in &self.keys {
            let Values::Listed(values) = values else { continue };
            if points.len() * values.len() > MOST {
                let message = format!("[sweep] must have at most {MOST} combinations, but it has more");
                return Err(ConfigError::written(self.origin, message).hint("`random = 20` draws 20 of them"));
            }
            let with = |point: &Vec<Choice>, (value, origin): &(String, Origin)| {
                let choice = Choice { key: key.clone(), value: value.clone(), origin: *origin };
                [&point[..], &[choice]].concat()
            };
            points = points.iter().flat_map(|point| values.iter().map(|value| with(point, value))).collect();
        }
        Ok(points)
    }

    /// Random combinations, each once: fewer than `count` if there are not as many.
    fn drawn(&self, count: usize, seed: u64) -> Vec<Vec<Choice>> {
        let mut points: Vec<Vec<Choice>> = Vec::new();
        for number in 0..20 * count as u64 {
            let point: Vec<Choice> = self.keys.iter().map(|key| key.draw(seed, number)).collect();
            if points.len() == count {
                break;
            }
            if !points.contains(&point) {
                points.push(point);
            }
        }
        points
    }
}

impl Dimension {
    fn draw(&self, seed: u64, number: u64) -> Choice {
        let seed = seed_for(seed, number, &format!("sweep {}", self.key));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (value, origin) = match &self.values {
            Values::Listed(values) => values[random.random_range(0..values.len())].clone(),
            Values::Range { low, high, log, whole } => {
                let share: f64 = random.random();
                // Each whole number has its own stretch of the same length, also the first and the last.
                let half = if *whole { 0.5 } else { 0.0 };
                let (from, to) = (low - half, high + half);
                let value = match log {
                    true => (from.ln() + share * (to.ln() - from.ln())).exp(),
                    false => from + share * (to - from),
                };
                let value = if *whole { value.round() } else { value }.clamp(*low, *high);
                // Three digits, so that names stay short.
                let short = format!("{value:.2e}").parse().unwrap_or(value).clamp(*low, *high);
                (if *whole { (value as i64).to_string() } else { format!("{short:?}") }, self.origin)
            }
        };
        Choice { key: self.key.clone(), value, origin }
    }
}

/// Adds the keys of a table, and of tables in it, which are parts of the path of a key.
fn add_keys(node: &Node, path: &str, keys: &mut Vec<Dimension>) -> Checked<()> {
    let Value::Table(entries) = &node.value else {
        let message = format!("`{TABLE}` must be a table, but it is {}", node.value.shown());
        return Err(ConfigError::written(node.origin, message));
    };
    for Entry { key, node, .. } in entries {
        if path.is_empty() && OWN_KEYS.contains(&key.as_str()) {
            continue;
        }
        let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let values = match &node.value {
            Value::List(items) if !items.is_empty() => {
                Values::Listed(items.iter().map(|item| (as_toml(&item.value), item.origin)).collect())
            }
            Value::Table(_) if ["low", "high"].iter().any(|end| node.at(end).is_some()) => range(&key, node)?,
            Value::Table(_) => {
                add_keys(node, &key, keys)?;
                continue;
            }
            other => {
                let there = match other {
                    Value::List(_) => "an empty list".to_owned(),
                    other => other.shown(),
                };
                let message = format!("`{key}` must be a list of values or a range, but it is {there}");
                return Err(ConfigError::written(node.origin, message)
                    .hint("such as [1, 2], or { low = 1e-4, high = 1e-2, log = true }"));
            }
        };
        keys.push(Dimension { key, origin: node.origin, values });
    }
    Ok(())
}

/// `{ low = …, high = …, log = … }`
fn range(key: &str, node: &Node) -> Checked<Values> {
    let wrong = |must: &str| {
        let message = format!("`{key}` must be a range with {must}");
        Err(ConfigError::written(node.origin, message)
            .hint("such as { low = 1e-4, high = 1e-2, log = true }"))
    };
    let number = |end: &str| match &node.at(end)?.value {
        Value::Integer(number) => Some((*number as f64, true)),
        Value::Float(number) if number.is_finite() => Some((*number, false)),
        _ => None,
    };
    let (Some((low, whole)), Some((high, also_whole))) = (number("low"), number("high")) else {
        return wrong("two numbers, `low` and `high`");
    };
    let log = match node.at("log").map(|log| &log.value) {
        None => false,
        Some(Value::Boolean(log)) => *log,
        Some(_) => return wrong("`log` = true or false"),
    };
    if let Value::Table(entries) = &node.value
        && entries.iter().any(|entry| !["low", "high", "log"].contains(&entry.key.as_str()))
    {
        return wrong("no other keys than `low`, `high` and `log`");
    }
    match low {
        _ if low >= high => wrong("`low` below `high`"),
        _ if log && low <= 0.0 => wrong("`low` above 0 if `log` is true"),
        _ => Ok(Values::Range { low, high, log, whole: whole && also_whole }),
    }
}

/// A value as TOML in one line.
fn as_toml(value: &Value) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match value {
        // The escapes of JSON are also those of TOML.
        Value::Text(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| as_toml(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(entries) => {
            let entry = |entry: &Entry| format!("{} = {}", quoted(&entry.key), as_toml(&entry.node.value));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
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
    fn each_whole_number_of_a_range_is_equally_likely() {
        for log in [false, true] {
            let range = Values::Range { low: 1.0, high: 4.0, log, whole: true };
            let steps = Dimension { key: "steps".to_owned(), values: range, origin: Origin::File(0) };
            let count = |whole: &str| (0..4000).filter(|&n| steps.draw(1, n).value == whole).count();
            let counts = ["1", "2", "3", "4"].map(count);
            assert_eq!(counts.iter().sum::<usize>(), 4000);
            let even = counts.iter().all(|count| (900..1100).contains(count));
            // With `log`: ln(1.5 / 0.5), ln(2.5 / 1.5), ln(3.5 / 2.5), ln(4.5 / 3.5), of ln 9.
            let falling = counts.is_sorted_by(|a, b| a > b) && (1900..2100).contains(&counts[0]);
            assert!(if log { falling } else { even }, "{counts:?}");
        }
    }

    #[test]
    fn a_key_is_swept_or_set() {
        let tree = Node::from_toml(&format!("{DATA}\"training.steps\" = [5]")).unwrap();
        let error = variants(tree, &["seed=2".to_owned(), "training.steps = 6".to_owned()]).unwrap_err();
        assert_eq!(
            error.message,
            "`training.steps` must have its values from [sweep] or from --set, but it has both"
        );
        assert!(matches!(error.origin, Some(Origin::Set(1))), "{error:?}");
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
            ("\"training.stepz\" = [1]", "unknown key `stepz`"),
            ("\"training.steps\" = [1, \"x\"]", "`steps` must be a whole number"),
        ] {
            let error = swept(sweep).unwrap_err();
            assert!(error.message.contains(part), "{}", error.message);
            assert!(matches!(error.origin, Some(Origin::File(_))), "{error:?}");
        }
    }
}
