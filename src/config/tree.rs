//! A config as a tree of values with their places.
//!
//! The tree is built from TOML or JSON, and `--set` changes its values. The meaning of keys is in [`super::read`]. A
//! place is a byte of the file or the number of a `--set`.

use serde::de::Unexpected;
use toml::de::{DeTable, DeValue};

use super::twice::written_twice;
use crate::error::{ConfigError, Origin};

/// Maximum nesting of values. The deepest known key is at level 4.
const DEPTH: usize = 16;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    pub origin: Origin,
    /// The raw text after the `=` of a `--set`, used unchanged by keys of type text.
    pub typed: Option<String>,
}

/// The values of both TOML and JSON.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key, where it was written, and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub origin: Origin,
    pub node: Node,
}

impl Value {
    /// The value as an error message shows it.
    pub(super) fn shown(&self) -> String {
        shown(match self {
            Value::Text(text) => Unexpected::Str(text),
            Value::Integer(number) => Unexpected::Signed(*number),
            Value::Float(number) => Unexpected::Float(*number),
            Value::Boolean(truth) => Unexpected::Bool(*truth),
            Value::List(_) => Unexpected::Seq,
            Value::Table(_) => Unexpected::Map,
        })
    }
}

/// A value of another type than serde expects, as an error message shows it.
pub(super) fn shown(value: Unexpected<'_>) -> String {
    match value {
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => format!("{number:?}").to_lowercase(),
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

impl Node {
    pub(super) fn new(value: Value, origin: Origin) -> Self {
        Node { value, origin, typed: None }
    }

    /// The tree of a TOML text.
    pub(super) fn from_toml(text: &str) -> Result<Node, ConfigError> {
        Node::from_toml_at(text, &Origin::File)
    }

    /// The same of a text whose bytes are at these places.
    pub(super) fn from_toml_at(text: &str, origin_of: &dyn Fn(usize) -> Origin) -> Result<Node, ConfigError> {
        let document = DeTable::parse(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let message = format!("this is not TOML: {}", reason(&error, text));
            ConfigError {
                hint: written_twice(text, start),
                ..ConfigError::written(origin_of(start), message)
            }
        })?;
        // The root is the whole file and has no line.
        let entries = table_entries(document.get_ref(), origin_of, DEPTH)?;
        Ok(Node::new(Value::Table(entries), Origin::Unseen))
    }

    /// The tree of a JSON value. A key with the value `null` counts as absent.
    pub(super) fn from_json(json: &serde_json::Value) -> Result<Node, ConfigError> {
        from_json(json, DEPTH)
    }

    /// Applies a `--set`: `argument` is `key.path=value`, number `number` of them.
    pub(super) fn set(&mut self, number: usize, argument: &str) -> Result<(), ConfigError> {
        let origin = Origin::Set(number);
        let malformed = || ConfigError::written(origin, "it must have the form key.path=value");
        let (path, text) = argument.split_once('=').ok_or_else(malformed)?;
        let keys: Vec<&str> = path.split('.').map(str::trim).collect();
        if keys.len() > DEPTH || keys.iter().any(|key| key.is_empty()) {
            return Err(malformed());
        }
        let value = typed_value(text.trim(), origin)?;
        self.put(&keys, value, origin)
    }

    /// Sets `value` at the end of the path, creating tables on the way.
    fn put(&mut self, keys: &[&str], value: Node, origin: Origin) -> Result<(), ConfigError> {
        let (mut place, mut above) = (self, "");
        for key in keys {
            let Value::Table(entries) = &mut place.value else {
                return Err(ConfigError::written(origin, format!("`{above}` is a value, not a table")));
            };
            let index = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
                let node = Node::new(Value::Table(Vec::new()), origin);
                entries.push(Entry { key: key.to_string(), origin, node });
                entries.len() - 1
            });
            (place, above) = (&mut entries[index].node, key);
        }
        *place = value;
        Ok(())
    }

    /// Takes an entry out of the table that this is.
    pub(super) fn take(&mut self, key: &str) -> Option<Entry> {
        let Value::Table(entries) = &mut self.value else { return None };
        let at = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(at))
    }

    /// The entries of the table at a path.
    pub(super) fn entries_at(&mut self, path: &str) -> Option<&mut Vec<Entry>> {
        let node = path.split('.').try_fold(self, |node, key| match &mut node.value {
            Value::Table(entries) => {
                entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
            }
            _ => None,
        })?;
        match &mut node.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// If a `--set` wrote one of these entries of a table, removes those from the file.
    pub(super) fn prefer_set(&mut self, table: &str, names: &[&str]) {
        let Some(entries) = self.entries_at(table) else { return };
        let is_named = |entry: &Entry| names.contains(&entry.key.as_str());
        let is_set = |entry: &Entry| entry.node.set_within().is_some();
        if entries.iter().any(|entry| is_named(entry) && is_set(entry)) {
            entries.retain(|entry| !is_named(entry) || is_set(entry));
        }
    }

    /// The value at a path of keys.
    pub(super) fn at(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, key| match &node.value {
            Value::Table(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            _ => None,
        })
    }

    /// Removes what was written at a place: an entry of a table, by its key or its value, or an item of a list. Returns the
    /// path of the table; `path` is that of this value.
    pub(super) fn remove(&mut self, origin: Origin, path: &str) -> Option<String> {
        match &mut self.value {
            Value::Table(entries) => {
                let is_it = |entry: &Entry| entry.origin == origin || entry.node.origin == origin;
                if let Some(at) = entries.iter().position(is_it) {
                    drop(entries.remove(at));
                    return Some(path.to_owned());
                }
                entries.iter_mut().find_map(|entry| {
                    let below =
                        if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                    entry.node.remove(origin, &below)
                })
            }
            Value::List(items) => {
                if let Some(at) = items.iter().position(|item| item.origin == origin) {
                    drop(items.remove(at));
                    return Some(path.to_owned());
                }
                items.iter_mut().find_map(|item| item.remove(origin, path))
            }
            _ => None,
        }
    }

    /// The first place in or below this value that a `--set` wrote.
    pub(super) fn set_within(&self) -> Option<Origin> {
        match (&self.origin, &self.value) {
            (Origin::Set(_), _) => Some(self.origin),
            (_, Value::Table(entries)) => entries.iter().find_map(|entry| entry.node.set_within()),
            _ => None,
        }
    }
}

/// Why a text is invalid TOML: the useful part of the parser's message.
fn reason(error: &toml::de::Error, text: &str) -> String {
    let message = error.message();
    let message = [", expected nothing", ", expected literal string"]
        .iter()
        .fold(message, |message, tail| message.strip_suffix(tail).unwrap_or(message));
    match error.span().and_then(|span| text.get(span)) {
        Some(key) if message == "duplicate key" => format!("{message} `{}`", key.escape_debug()),
        _ => message.to_string(),
    }
}

/// The value after a `=`: TOML, or else a bare string.
fn typed_value(text: &str, origin: Origin) -> Result<Node, ConfigError> {
    let mut node = match DeValue::parse(text) {
        Ok(value) => from_toml(value.get_ref(), origin, &|_| origin, DEPTH)?,
        // A text that starts with a quote or a bracket is meant as TOML.
        Err(error) if text.starts_with(['"', '\'', '[', '{']) => {
            let message = format!("the value is not TOML: {}", reason(&error, text));
            return Err(ConfigError::written(origin, message));
        }
        Err(_) => Node::new(Value::Text(text.to_string()), origin),
    };
    if matches!(node.value, Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) {
        node.typed = Some(text.to_string());
    }
    Ok(node)
}

fn table_entries(
    table: &DeTable<'_>,
    origin_of: &dyn Fn(usize) -> Origin,
    depth: usize,
) -> Result<Vec<Entry>, ConfigError> {
    // The parser sorts by name; messages follow the order of the file.
    let mut rows: Vec<_> = table.iter().collect();
    rows.sort_by_key(|(key, _)| key.span().start);
    let entry = |(key, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
        let node = from_toml(value.get_ref(), origin_of(value.span().start), origin_of, depth)?;
        Ok(Entry { key: key.get_ref().to_string(), origin: origin_of(key.span().start), node })
    };
    rows.into_iter().map(entry).collect()
}

fn from_toml(
    value: &DeValue<'_>,
    origin: Origin,
    origin_of: &dyn Fn(usize) -> Origin,
    depth: usize,
) -> Result<Node, ConfigError> {
    let value = match value {
        _ if depth == 0 => return Err(too_deep(origin)),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(moment) => Value::Text(moment.to_string()),
        DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => return Err(too_large(origin, digits)),
        },
        DeValue::Float(digits) => match digits.as_str().parse::<f64>() {
            Ok(number) => Value::Float(number),
            Err(_) => return Err(ConfigError::written(origin, format!("`{digits}` is not a number"))),
        },
        DeValue::Array(list) => {
            let node = |item: &toml::Spanned<DeValue<'_>>| {
                from_toml(item.get_ref(), origin_of(item.span().start), origin_of, depth - 1)
            };
            Value::List(list.iter().map(node).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Table(table_entries(table, origin_of, depth - 1)?),
    };
    Ok(Node::new(value, origin))
}

fn from_json(json: &serde_json::Value, depth: usize) -> Result<Node, ConfigError> {
    use serde_json::Value as Json;
    let origin = Origin::Unseen;
    let value = match json {
        _ if depth == 0 => return Err(too_deep(origin)),
        Json::Null => return Err(ConfigError::written(origin, "a list must not hold `null`")),
        Json::Bool(truth) => Value::Boolean(*truth),
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Integer(whole),
            (None, Some(real)) if number.is_f64() => Value::Float(real),
            _ => return Err(too_large(origin, number)),
        },
        Json::Array(list) => {
            Value::List(list.iter().map(|item| from_json(item, depth - 1)).collect::<Result<_, _>>()?)
        }
        Json::Object(table) => {
            let there = table.iter().filter(|(_, value)| !value.is_null());
            let entry = |(key, value): (&String, &Json)| {
                Ok(Entry { key: key.clone(), origin, node: from_json(value, depth - 1)? })
            };
            Value::Table(there.map(entry).collect::<Result<_, _>>()?)
        }
    };
    Ok(Node::new(value, origin))
}

fn too_large(origin: Origin, number: impl std::fmt::Display) -> ConfigError {
    ConfigError::written(origin, format!("a whole number must fit in 64 bits, but it is {number}"))
}

fn too_deep(origin: Origin) -> ConfigError {
    ConfigError::written(origin, "tables and lists are nested too deeply")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_replaces_a_value_and_keeps_its_neighbours() {
        let mut tree = Node::from_toml("[a]\nx = 1\ny = 2").unwrap();
        tree.set(0, "a.x=[1, 2]").unwrap();
        tree.set(1, "a.b.c=text").unwrap();
        let shown = |path: &str| tree.at(path).map(|node| (node.value.shown(), node.origin));
        assert_eq!(shown("a.x"), Some(("a list".into(), Origin::Set(0))));
        assert_eq!(shown("a.y"), Some(("2".into(), Origin::File(14))));
        assert_eq!(shown("a.b.c"), Some(("\"text\"".into(), Origin::Set(1))));
        assert_eq!(shown("a.z"), None);
    }

    #[test]
    fn nesting_that_is_too_deep_is_refused_before_a_stack_overflow() {
        let deep = format!("x = {}{}", "[".repeat(40), "]".repeat(40));
        assert!(Node::from_toml(&deep).unwrap_err().message.contains("too deep"));
        let json = (0..100).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
        assert!(Node::from_json(&json).unwrap_err().message.contains("too deep"));
    }
}
