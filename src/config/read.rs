//! From a tree of values to a struct, by serde, with messages of our own.
//!
//! serde finds what does not fit. This file turns it into a sentence with the place, the nearest known key, and the known
//! keys of that table. It knows the form of values, not their meaning.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::nearest::nearest;
use super::page;
use super::tree::{Entry, LocatedError, Node, Origin, Value};

/// Reads a whole tree.
pub(super) fn read<T: DeserializeOwned>(tree: &Node) -> Result<T, LocatedError> {
    let root = Reader { node: tree, path: String::new() };
    T::deserialize(&root).map_err(|error| root.settle(error))
}

/// What serde finds wrong, until the reader that knows the place makes a sentence of it.
#[derive(Debug)]
enum DeserializeError {
    Missing(&'static str),
    Unknown { key: String, known: &'static [&'static str] },
    Wanted(String),
    Other(String),
    Settled(LocatedError),
}

impl From<LocatedError> for DeserializeError {
    fn from(error: LocatedError) -> Self {
        DeserializeError::Settled(error)
    }
}

// serde asks for it; people read what the reader settles.
impl fmt::Display for DeserializeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for DeserializeError {}

impl de::Error for DeserializeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        DeserializeError::Other(message.to_string())
    }

    fn missing_field(key: &'static str) -> Self {
        DeserializeError::Missing(key)
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        DeserializeError::Unknown { key: key.to_string(), known }
    }

    fn invalid_type(_: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        DeserializeError::Wanted(wanted.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        DeserializeError::Wanted(wanted.to_string())
    }
}

/// One value of the tree, and the path of keys that leads to it.
struct Reader<'n> {
    node: &'n Node,
    path: String,
}

impl<'n> Reader<'n> {
    /// The key as a message names it: its last part.
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

    fn complain(&self, message: String) -> LocatedError {
        LocatedError::new(self.node.origin, message)
    }

    fn wanted(&self, what: &str) -> LocatedError {
        let (key, shown) = (self.key(), self.node.value.shown());
        self.complain(format!("`{key}` must be {what}, but it is {shown}"))
    }

    /// Makes a sentence of what is wrong with this value, unless one further down has done so.
    fn settle(&self, error: DeserializeError) -> LocatedError {
        match error {
            DeserializeError::Settled(error) => error,
            DeserializeError::Missing(key) => LocatedError {
                origin: self.node.origin,
                message: format!("missing key `{key}`{}", self.in_table()),
                hint: Some(format!("write it there, or use `--set {}=…`", self.join(key))),
            },
            DeserializeError::Unknown { key, known } => self.unknown(&key, known, self.node.origin),
            DeserializeError::Wanted(what) => self.wanted(&what),
            DeserializeError::Other(message) => self.complain(format!("`{}`: {message}", self.key())),
        }
    }

    /// Makes a sentence of what is wrong with a key of this table.
    fn settle_key(&self, error: DeserializeError, origin: Origin) -> LocatedError {
        match error {
            DeserializeError::Unknown { key, known } => self.unknown(&key, known, origin),
            other => self.settle(other),
        }
    }

    fn unknown(&self, key: &str, known: &[&str], origin: Origin) -> LocatedError {
        let message = format!("unknown key `{}`{}", key.escape_debug(), self.in_table());
        let keys = format!("`{}`", known.join("`, `"));
        let hint = match nearest(key, known) {
            _ if let Some(place) = self.elsewhere(key) => format!("it is `{place}` here"),
            Some(near) => format!("did you mean `{near}`? Keys there: {keys}"),
            None if let Some(question) = self.of_other_tables(key) => {
                format!("{question} Keys there: {keys}")
            }
            None => format!("keys there: {keys}"),
        };
        LocatedError { origin, message, hint: Some(hint) }
    }

    /// The keys of that name in other tables; where the file names some of these tables, those of them.
    fn of_other_tables(&self, key: &str) -> Option<String> {
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

    /// Where a key stands that people look for in this table.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let mut all = super::ELSEWHERE.iter();
        let (table, _, among, name) = all.find(|(table, typed, ..)| (*table, *typed) == (&self.path, key))?;
        let named = among.iter().find(|below| self.node.at(below).is_some()).or(among.first());
        let parts = [Some(table), named, Some(name)];
        Some(parts.into_iter().flatten().copied().collect::<Vec<&str>>().join("."))
    }

    /// The text here, or what was typed for it at `--set`.
    fn text(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.node.typed.as_deref(),
        }
    }
}

impl<'de> Deserializer<'de> for &Reader<'_> {
    type Error = DeserializeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
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
        result.map_err(|error| self.settle(error).into())
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeserializeError> {
        match self.node.value {
            Value::Table(_) => self.deserialize_any(visitor),
            _ => Err(self.wanted("a table").into()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match self.node.value {
            Value::Boolean(truth) => visitor.visit_bool(truth),
            _ => Err(self.wanted("true or false").into()),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match self.node.value {
            Value::Integer(number) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => {
                    let message = format!("`{}` must not be negative, but it is {number}", self.key());
                    Err(self.complain(message).into())
                }
            },
            _ => Err(self.wanted("a whole number").into()),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match self.node.value {
            Value::Integer(number) => visitor.visit_f64(number as f64),
            Value::Float(number) if number.is_finite() => visitor.visit_f64(number),
            Value::Float(_) => Err(self.wanted("a finite number").into()),
            _ => Err(self.wanted("a number").into()),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match self.text() {
            Some(text) => visitor.visit_str(text),
            None => Err(self.wanted("text in quotes").into()),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeserializeError> {
        match self.node.value {
            Value::List(_) => self.deserialize_any(visitor),
            _ => Err(self.wanted("a list").into()),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeserializeError> {
        let text = self.text().unwrap_or("");
        if variants.contains(&text) {
            let variant: StrDeserializer<'_, DeserializeError> = text.into_deserializer();
            return visitor.visit_enum(variant).map_err(|error| self.settle(error).into());
        }
        let (key, shown, choices) = (self.key(), self.node.value.shown(), variants.join("`, `"));
        let message = format!("`{key}` must be one of `{choices}`, but it is {shown}");
        let hint = nearest(text, variants).map(|near| format!("did you mean `{near}`?"));
        Err(DeserializeError::Settled(LocatedError { origin: self.node.origin, message, hint }))
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
    type Error = DeserializeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DeserializeError> {
        self.value = self.rest.next();
        let Some(entry) = self.value else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, DeserializeError> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| self.reader.settle_key(error, entry.origin).into())
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DeserializeError> {
        let Some(entry) = self.value else {
            return Err(DeserializeError::Other("a value was asked for before its key".to_string()));
        };
        seed.deserialize(&Reader { node: &entry.node, path: self.reader.join(&entry.key) })
    }
}

/// The items of a list, for serde. They go by the list's own key.
struct Items<'n> {
    rest: std::slice::Iter<'n, Node>,
    reader: &'n Reader<'n>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = DeserializeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DeserializeError> {
        let path = self.reader.path.clone();
        self.rest.next().map(|node| seed.deserialize(&Reader { node, path })).transpose()
    }
}
