//! `training.tokens_per_batch`: a number, or `"auto"`.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// How large a batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokensPerBatch {
    /// The most positions of either side, including padding.
    Tokens(usize),
    /// As many as fit into memory: found at the start, then fixed for the whole run.
    Auto,
}

impl Serialize for TokensPerBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            TokensPerBatch::Tokens(tokens) => serializer.serialize_u64(*tokens as u64),
            TokensPerBatch::Auto => serializer.serialize_str("auto"),
        }
    }
}

impl<'de> Deserialize<'de> for TokensPerBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BudgetVisitor)
    }
}

struct BudgetVisitor;

impl Visitor<'_> for BudgetVisitor {
    type Value = TokensPerBatch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number or \"auto\"")
    }

    fn visit_i64<E: de::Error>(self, tokens: i64) -> Result<TokensPerBatch, E> {
        match usize::try_from(tokens) {
            Ok(tokens) => Ok(TokensPerBatch::Tokens(tokens)),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(tokens), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TokensPerBatch, E> {
        match text {
            "auto" => Ok(TokensPerBatch::Auto),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }
}
