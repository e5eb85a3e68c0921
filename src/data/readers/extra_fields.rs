//! The other fields of a table's rows: neither source nor reference, and copied to an output unchanged.
//!
//! A JSON value is kept as text, so that no digit and no order is lost.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// A field to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraField {
    /// Its column, or its key.
    pub name: Arc<str>,
    /// Its value.
    pub value: FieldValue,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// The text of a field of CSV or TSV.
    Text(String),
    /// A value of an object, as written.
    Json(String),
}

impl ExtraField {
    /// Its approximate length in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let (FieldValue::Text(text) | FieldValue::Json(text)) = &self.value;
        self.name.len() + text.len()
    }
}

/// The fields of an object, without those in `left_out`. If a name occurs twice the last value counts, as in other
/// readers of JSON.
pub(super) fn of_object(line: &str, left_out: &[&str]) -> Vec<ExtraField> {
    let fields = serde_json::Deserializer::from_str(line).deserialize_map(InOrder).unwrap_or_default();
    let mut places: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut others: Vec<ExtraField> = Vec::new();
    for (name, value) in fields.into_iter().filter(|(name, _)| !left_out.contains(&name.as_str())) {
        let value = FieldValue::Json(value.get().to_owned());
        let name: Arc<str> = name.into();
        match places.get(&name) {
            Some(&place) => others[place].value = value,
            None => {
                places.insert(name.clone(), others.len());
                others.push(ExtraField { name, value });
            }
        }
    }
    others
}

/// Reads an object's fields in order, as written.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}
