//! From a tree of values to a struct, by serde, with our own messages.
//!
//! serde finds the errors. This file turns them into sentences with the place, the nearest known key, and the known
//! keys of that table. It checks the form of values, not their meaning.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::nearest::nearest;
use super::page;
use super::tree::{Entry, Node, Value, shown};
use crate::error::ConfigError;

/// Reads a whole tree.
pub(super) fn read<T: DeserializeOwned>(tree: &Node) -> Result<T, ConfigError> {
    let root = Reader { node: tree, path: String::new() };
    T::deserialize(&root).map_err(|error| root.located(error))
}

/// The errors that serde makes have no origin: `Reader::located` adds it, with the key and its table.
impl de::Error for ConfigError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ConfigError { origin: None, keys: Vec::new(), message: message.to_string(), hint: None }
    }

    fn missing_field(key: &'static str) -> Self {
        ConfigError { keys: vec![key.to_owned()], ..ConfigError::custom(format!("missing key `{key}`")) }
    }

    /// Its keys are the known ones.
    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        let keys = known.iter().map(|&key| key.to_owned()).collect();
        ConfigError { keys, ..ConfigError::custom("unknown key") }
    }

    fn invalid_type(there: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        ConfigError::custom(format!("must be {wanted}, but it is {}", shown(there)))
    }

    fn invalid_value(there: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        ConfigError::invalid_type(there, wanted)
    }
}

/// One value of the tree, and the path of its keys.
struct Reader<'n> {
    node: &'n Node,
    path: String,
}

impl<'n> Reader<'n> {
    /// The key in messages: the last part of the path.
    fn key(&self) -> &str {
        match self.path.as_str() {
            "" => "experiment",
            path => path.rsplit('.').next().unwrap_or(path),
        }
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    /// ` in [model.transformer]`, or nothing at the root.
    fn in_table(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) }
    }

    fn error(&self, message: String) -> ConfigError {
        ConfigError::written(self.node.origin, message)
    }

    fn wanted(&self, what: &str) -> ConfigError {
        self.error(format!("`{}` must be {what}, but it is {}", self.key(), self.node.value.shown()))
    }

    /// Adds the origin to an error of serde about this value or a missing key of this table, unless a nested value has
    /// done so.
    fn located(&self, error: ConfigError) -> ConfigError {
        match error.keys.first() {
            _ if error.origin.is_some() => error,
            Some(key) => ConfigError {
                keys: vec![self.join(key)],
                ..self
                    .error(format!("{}{}", error.message, self.in_table()))
                    .hint(format!("write it there, or use `--set {}=…`", self.join(key)))
            },
            None => self.error(format!("`{}` {}", self.key(), error.message)),
        }
    }

    fn unknown(&self, entry: &Entry, known: &[String]) -> ConfigError {
        let (key, mut known) = (entry.key.as_str(), known.iter().map(String::as_str).collect::<Vec<_>>());
        if self.path.is_empty() {
            known.push(super::extends::KEY);
        }
        let message = format!("unknown key `{}`{}", key.escape_debug(), self.in_table());
        let keys = format!("`{}`", known.join("`, `"));
        let hint = match nearest(key, &known) {
            _ if let Some(place) = self.elsewhere(key) => format!("it is `{place}` here"),
            Some(near) => format!("did you mean `{near}`? Keys there: {keys}"),
            None if let Some(question) = self.of_other_tables(key) => {
                format!("{question} Keys there: {keys}")
            }
            None => format!("keys there: {keys}"),
        };
        ConfigError::written(entry.origin, message).hint(hint)
    }

    /// The keys of that name in other tables; if the file has some of these tables, only those in them.
    fn of_other_tables(&self, key: &str) -> Option<String> {
        if page::is_outside_of_tables(key) {
            return Some(format!("did you mean `{key}`, outside of all tables?"));
        }
        let mut paths = page::ending(key);
        let is_named = |path: &String| {
            let table = path.rsplit_once('.').map_or("", |(table, _)| table);
            self.path.is_empty() && self.node.at(table).is_some()
        };
        if paths.iter().any(is_named) {
            paths.retain(is_named);
        }
        page::question(&paths)
    }

    /// The place of a key that users expect in this table.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let mut all = super::ELSEWHERE.iter();
        let (table, _, among, name) = all.find(|(table, typed, ..)| (*table, *typed) == (&self.path, key))?;
        let named = among.iter().find(|below| self.node.at(below).is_some()).or(among.first());
        let parts = [Some(table), named, Some(name)];
        Some(parts.into_iter().flatten().copied().collect::<Vec<&str>>().join("."))
    }

    /// The text here, or the raw text of its `--set`.
    fn text(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.node.typed.as_deref(),
        }
    }
}

impl<'de> Deserializer<'de> for &Reader<'_> {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let result = match &self.node.value {
            Value::Text(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(truth) => visitor.visit_bool(*truth),
            Value::List(list) => visitor.visit_seq(Items { rest: list.iter(), reader: self }),
            Value::Table(entries) => {
                visitor.visit_map(Entries { rest: entries.iter(), value: None, reader: self })
            }
        };
        result.map_err(|error| self.located(error))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        match self.node.value {
            Value::Table(_) => self.deserialize_any(visitor),
            _ => Err(self.wanted("a table")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.node.value {
            Value::Boolean(truth) => visitor.visit_bool(truth),
            _ => Err(self.wanted("true or false")),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.node.value {
            Value::Integer(number) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => {
                    let message = format!("`{}` must not be negative, but it is {number}", self.key());
                    Err(self.error(message))
                }
            },
            _ => Err(self.wanted("a whole number")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.node.value {
            Value::Integer(number) => visitor.visit_f64(number as f64),
            Value::Float(number) if number.is_finite() => visitor.visit_f64(number),
            Value::Float(_) => Err(self.wanted("a finite number")),
            _ => Err(self.wanted("a number")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.text() {
            Some(text) => visitor.visit_str(text),
            None => Err(self.wanted("text in quotes")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        match self.node.value {
            Value::List(_) => self.deserialize_any(visitor),
            _ => Err(self.wanted("a list")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        let text = self.text().unwrap_or("");
        if variants.contains(&text) {
            let variant: StrDeserializer<'_, ConfigError> = text.into_deserializer();
            return visitor.visit_enum(variant).map_err(|error| self.located(error));
        }
        let (key, shown, choices) = (self.key(), self.node.value.shown(), variants.join("`, `"));
        let message = format!("`{key}` must be one of `{choices}`, but it is {shown}");
        let hint = nearest(text, variants).map(|near| format!("did you mean `{near}`?"));
        Err(ConfigError { hint, ..self.error(message) })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 char bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct map identifier ignored_any
    }
}

/// The entries of a table, for serde.
struct Entries<'n> {
    rest: std::slice::Iter<'n, Entry>,
    value: Option<&'n Entry>,
    reader: &'n Reader<'n>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ConfigError> {
        self.value = self.rest.next();
        let Some(entry) = self.value else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, ConfigError> = entry.key.as_str().into_deserializer();
        // A key can only be unknown.
        seed.deserialize(key).map(Some).map_err(|error| self.reader.unknown(entry, &error.keys))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ConfigError> {
        let Some(entry) = self.value else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(&Reader { node: &entry.node, path: self.reader.join(&entry.key) })
    }
}

/// The items of a list, for serde. Messages use the key of the list.
struct Items<'n> {
    rest: std::slice::Iter<'n, Node>,
    reader: &'n Reader<'n>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = ConfigError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ConfigError> {
        let path = self.reader.path.clone();
        self.rest.next().map(|node| seed.deserialize(&Reader { node, path })).transpose()
    }
}
