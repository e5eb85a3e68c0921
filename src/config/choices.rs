//! `[sweep]`: what some keys of a config can be, and all combinations of it, or random ones.
//!
//! Each key has a list of values, or for random choices a range: `{ low = 1e-4, high = 1e-2, log = true }`. A
//! combination is a list of settings, as for `--set`. What is drawn follows from the sweep's seed and the key alone.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::tree::{Entry, Node, Value};
use crate::error::{ConfigError, Origin};
use crate::runtime::seed_for;

/// The table.
pub(super) const TABLE: &str = "sweep";

/// The keys of the table itself.
const OWN_KEYS: [&str; 2] = ["random", "seed"];

/// The most combinations.
const MOST: usize = 1000;

/// A result without a place in a file yet.
pub(super) type Checked<T> = Result<T, ConfigError>;

/// A value for a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub key: String,
    /// As TOML.
    pub value: String,
    pub origin: Origin,
}

impl Choice {
    /// As for `--set`.
    pub(super) fn setting(&self) -> String {
        format!("{}={}", self.key, self.value)
    }

    /// With a name of the key, in characters that are safe in the name of a folder.
    pub(super) fn shown(&self, key: &str) -> String {
        let is_safe = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '+' | '_' | ',');
        let value = self.value.replace(", ", ",");
        let value: String = value.chars().filter(|c| !matches!(c, '"' | '\'' | '[' | ']')).collect();
        format!("{key}={}", value.replace(|c| !is_safe(c), "_"))
    }
}

/// The table.
pub(super) struct Sweep {
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
    /// Reads the table.
    ///
    /// # Errors
    /// It is no table, or has no keys; a key has neither values nor a range, or is there twice; a range without `random`.
    pub(super) fn read(node: Node) -> Checked<Sweep> {
        let origin = node.origin;
        let count = whole_number(&node, "random", 1, MOST as i64)?;
        let seed = whole_number(&node, "seed", 0, i64::MAX)?.unwrap_or(1);
        let entries = match node.value {
            Value::Table(entries) => flat(entries),
            other => {
                let message = format!("`{TABLE}` must be a table, but it is {}", other.shown());
                return Err(ConfigError::written(origin, message));
            }
        };
        let keys = entries.into_iter().filter(|entry| !is_own(entry)).map(Dimension::read);
        let keys = keys.collect::<Checked<Vec<_>>>()?;
        if keys.is_empty() {
            let message = "[sweep] must have a key of the config with a list of values, but it has none";
            return Err(ConfigError::written(origin, message));
        }
        check_once(&keys)?;
        let range = keys.iter().find(|key| matches!(key.values, Values::Range { .. }));
        if let (Some(key), None) = (range, count) {
            let message =
                format!("`{}` is a range, which needs `random`, the number of combinations to draw", key.key);
            return Err(
                ConfigError::written(key.origin, message).hint("or list its values: [1e-4, 1e-3, 1e-2]")
            );
        }
        Ok(Sweep { keys, random: count.map(|count| (count as usize, seed as u64)), origin })
    }

    /// The keys that it has choices for.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.key.as_str())
    }

    /// The combinations.
    ///
    /// # Errors
    /// They are too many.
    pub(super) fn points(&self) -> Checked<Vec<Vec<Choice>>> {
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
    fn read(Entry { key, node, .. }: Entry) -> Checked<Dimension> {
        let values = match &node.value {
            Value::List(items) if !items.is_empty() => {
                Values::Listed(items.iter().map(|item| (as_toml(&item.value), item.origin)).collect())
            }
            Value::Table(_) => range(&key, &node)?,
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
        Ok(Dimension { key, origin: node.origin, values })
    }

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
                let width = if *log { value * (high.ln() - low.ln()) } else { high - low };
                let text = match whole {
                    true => (value.round().clamp(*low, *high) as i64).to_string(),
                    false => format!("{:?}", shortened(value, width).clamp(*low, *high)),
                };
                (text, self.origin)
            }
        };
        Choice { key: self.key.clone(), value, origin }
    }
}

/// A value drawn from a range, with three digits, or as many as tell a hundredth of the range's width apart: names of runs stay
/// short.
fn shortened(value: f64, width: f64) -> f64 {
    let with = |digits: usize| format!("{value:.digits$e}").parse().unwrap_or(value);
    (2..16).map(with).find(|short: &f64| (short - value).abs() <= width / 200.0).unwrap_or(value)
}

/// Puts the `[sweep]` of a config on that of its base, key by key: the choices for a key replace those of the base as a
/// whole. Those of the base also go where the config has a value for the key, and with the tables that it replaces.
pub(super) fn put_on_top(base: &mut Node, over: &mut Node, replaced: &[String]) {
    let Some(there) = base.entries_at(TABLE) else { return };
    let mut choices = flat(std::mem::take(there));
    let all = choices.len();
    let is_replaced =
        |key: &str| over.at(key).is_some() || replaced.iter().any(|table| is_within(key, table));
    choices.retain(|entry| is_own(entry) || !is_replaced(&entry.key));
    let is_over = choices.len() < all && choices.iter().all(is_own) && over.at(TABLE).is_none();
    if let Some(added) = over.entries_at(TABLE) {
        let added = flat(std::mem::take(added));
        choices.retain(|entry| added.iter().all(|other| other.key != entry.key));
        choices.extend(added);
    }
    *there = choices;
    if is_over {
        drop(base.take(TABLE));
    }
}

/// Whether a key is this table, or a key in it.
pub(super) fn is_within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether it is a key of the table itself.
fn is_own(entry: &Entry) -> bool {
    OWN_KEYS.contains(&entry.key.as_str())
}

/// The choices in a table and in tables in it, each under the whole path of its key.
fn flat(entries: Vec<Entry>) -> Vec<Entry> {
    let is_range = |entries: &[Entry]| entries.iter().any(|end| ["low", "high"].contains(&end.key.as_str()));
    let choices = |entry: Entry| match entry.node.value {
        Value::Table(inner) if !is_range(&inner) => {
            let mut inner = flat(inner);
            inner.iter_mut().for_each(|below| below.key = format!("{}.{}", entry.key, below.key));
            inner
        }
        value => vec![Entry { node: Node { value, ..entry.node }, ..entry }],
    };
    entries.into_iter().flat_map(choices).collect()
}

/// Each key has its choices once: not twice in two spellings, and not once more with a table that it is in.
fn check_once(keys: &[Dimension]) -> Checked<()> {
    for (number, Dimension { key, origin, .. }) in keys.iter().enumerate() {
        let is_same = |other: &&Dimension| is_within(key, &other.key) || is_within(&other.key, key);
        if let Some(Dimension { key: other, .. }) = keys[..number].iter().find(is_same) {
            let message = format!("`{key}` must be in [sweep] once, but `{other}` is there as well");
            return Err(ConfigError::written(*origin, message).hint("leave out one of them"));
        }
    }
    Ok(())
}

/// A key of the table itself.
fn whole_number(table: &Node, key: &str, least: i64, most: i64) -> Checked<Option<i64>> {
    let Some(there) = table.at(key) else { return Ok(None) };
    match &there.value {
        Value::Integer(number) if (least..=most).contains(number) => Ok(Some(*number)),
        other => {
            let message =
                format!("`{key}` must be a whole number from {least} to {most}, but it is {}", other.shown());
            let error = ConfigError::written(there.origin, message);
            Err(match (key, other) {
                ("seed", Value::List(_)) => error.hint("--seeds names the seeds of the trainings"),
                _ => error,
            })
        }
    }
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

    #[test]
    fn a_value_of_a_range_has_the_digits_that_tell_it_from_others() {
        let drawn = |low: f64, high: f64, log: bool| -> Vec<f64> {
            let range = Values::Range { low, high, log, whole: false };
            let rate = Dimension { key: "rate".to_owned(), values: range, origin: Origin::File(0) };
            let mut values: Vec<f64> = (0..500).map(|n| rate.draw(1, n).value.parse().unwrap()).collect();
            values.sort_by(f64::total_cmp);
            values.dedup();
            assert!(values.iter().all(|value| (low..=high).contains(value)));
            values
        };
        let digits = |value: &f64| value.to_string().replace('.', "").trim_start_matches('0').len();
        for (low, high, log, most) in [
            (1e-4, 1e-2, false, 3),
            (1e-4, 1e-2, true, 3),
            (0.999, 0.9999, false, 6),
            (100.0, 100.1, true, 6),
        ] {
            let values = drawn(low, high, log);
            assert!(values.len() > 80, "{values:?}");
            assert!(values.iter().all(|value| digits(value) <= most), "{values:?}");
        }
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
}
