//! The rules of sources with several columns.

use super::{DataConfig, SideConfig};
use crate::error::ConfigError;

impl DataConfig {
    /// Only sources have parts, and each part is a column with a tokenizer of its own.
    pub(super) fn check_parts(&self) -> Result<(), ConfigError> {
        if !self.target.parts.is_empty() {
            let message = "a target must be one column, but [data.target] has `parts`";
            return Err(ConfigError::new("data.target", &["parts"], message));
        }
        for (table, side) in [("data.source", &self.source), ("data.target", &self.target)] {
            if side.set {
                let message = "`set` must be in a part of [data.source] `parts`, but it is outside";
                return Err(ConfigError::new(table, &["set"], message));
            }
        }
        self.source.check_parts()
    }
}

impl SideConfig {
    fn check_parts(&self) -> Result<(), ConfigError> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let refused = |key: &str, message: String| Err(ConfigError::new("data.source", &[key], message));
        if !self.column.is_empty() {
            let message = "each of `parts` has its own `column`, but [data.source] names one as well";
            return refused("column", message.to_owned());
        }
        if self.parts.iter().all(|part| part.set) {
            return refused("parts", "one of `parts` must have an order, but all are a `set`".to_owned());
        }
        for (number, part) in (1..).zip(&self.parts) {
            let of = format!("part {number} of `parts`");
            if part.column.is_empty() {
                return refused("parts", format!("{of} must name its `column`"));
            }
            if self.parts.iter().filter(|other| other.column == part.column).count() > 1 {
                let column = &part.column;
                return refused(
                    "parts",
                    format!("`parts` must name each column once, but `{column}` is there twice"),
                );
            }
            if part.audio.is_some() || !part.parts.is_empty() {
                return refused("parts", format!("{of} must be a text, with a tokenizer of texts"));
            }
            if part.max_length != SideConfig::default().max_length {
                let message = format!("`max_length` is that of the whole source, but {of} has its own");
                return refused("parts", message);
            }
            part.check("data.source.parts")?;
        }
        Ok(())
    }
}
