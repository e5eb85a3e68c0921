//! Tables that `seqloom decode` wrote, as they are read again: of each source the best output.

use super::scored::ScoredOutputs;
use crate::data::readers::{FieldValue, RowReader, SourceRow, check_alternatives, split_alternatives};
use crate::error::Result;
use crate::metrics::{Example, TargetScore, Unit};

/// The best outputs of a table, one at a time.
pub(super) struct DecodedRows {
    rows: RowReader,
    /// What is between several references in one field; `None` if each is one reference.
    alternatives: Option<String>,
    /// Outputs so far that are not the best of their sources.
    pub left_out: u64,
}

/// An output with the other fields of its row.
pub(super) struct DecodedRow(SourceRow);

impl DecodedRows {
    /// The rows of a reader whose column of sources is the one with the outputs.
    pub(super) fn of(rows: RowReader, alternatives: Option<&str>) -> DecodedRows {
        let alternatives = alternatives.map(str::to_owned);
        DecodedRows { rows: rows.keeping_extra_fields(), alternatives, left_out: 0 }
    }

    /// The next best output; `None` at the end.
    ///
    /// # Errors
    /// The table cannot be read, or a row lacks a column.
    pub(super) fn next_row(&mut self) -> Result<Option<DecodedRow>> {
        while let Some(row) = self.rows.next_row()? {
            let row = DecodedRow(row?);
            if row.field("rank").is_none_or(|rank| rank == "1") {
                return Ok(Some(row));
            }
            self.left_out += 1;
        }
        Ok(None)
    }

    /// Counts a row that was read from it. Without a reference, it has an empty one.
    ///
    /// # Errors
    /// One of several references is empty.
    pub(super) fn score(&self, row: &DecodedRow, unit: Unit, scored: &mut ScoredOutputs) -> Result<()> {
        let (references, alternatives) = (row.references().unwrap_or_default(), self.alternatives.as_deref());
        check_alternatives(references, alternatives).map_err(|error| error.at(&row.0.place))?;
        let (reference, other_references) = split_alternatives(references, alternatives);
        scored.add(&Example {
            reference,
            other_references: &other_references,
            output: std::slice::from_ref(&row.0.text),
            finished: row.field("finished") != Some("false"),
            unit,
            reference_score: row.reference_score(),
            ..Example::default()
        });
        Ok(())
    }
}

impl DecodedRow {
    /// The source, if the table has it.
    pub(super) fn source(&self) -> Option<String> {
        match self.value("source")? {
            FieldValue::Text(text) => Some(text.clone()),
            FieldValue::Json(value) => serde_json::from_str(value).ok(),
        }
    }

    /// The field of the references, if the row has one.
    pub(super) fn references(&self) -> Option<&str> {
        self.0.target.as_deref()
    }

    /// How the model scores its reference, as `decode --score-references` writes it; `None` without it, or where it cannot.
    pub(super) fn reference_score(&self) -> Option<TargetScore> {
        Some(TargetScore {
            log_probability: self.field("reference_score")?.parse().ok()?,
            tokens: self.field("reference_length")?.parse().ok()?,
            correct: self.field("reference_correct")?.parse().ok()?,
        })
    }

    /// Why the row was skipped, as `decode --on-error skip` writes it; `None` if it was not.
    pub(super) fn error(&self) -> Option<String> {
        serde_json::from_str(self.field("error")?).ok()?
    }

    /// The output.
    pub(super) fn into_output(self) -> String {
        self.0.text
    }

    /// A field that is neither reference nor output, as it is written.
    fn field(&self, name: &str) -> Option<&str> {
        let (FieldValue::Text(text) | FieldValue::Json(text)) = self.value(name)?;
        Some(text)
    }

    fn value(&self, name: &str) -> Option<&FieldValue> {
        self.0.others.iter().find(|field| field.name[..] == *name).map(|field| &field.value)
    }
}
