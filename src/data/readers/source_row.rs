//! One row of an input: its texts and where it starts.

use super::Place;
use super::extra_fields::ExtraField;

/// Between the columns of a source that has several.
pub(crate) const COLUMN_SEPARATOR: char = '\t';

/// A row to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// The source, as it is in the file; several columns are separated by tabs.
    pub text: String,
    /// The target, if the table has its column; always in parallel text. A list of tokens is kept as JSON.
    pub target: Option<String>,
    /// The forced prefix of the output, if a table has a column for it.
    pub prefix: Option<String>,
    /// The fields that are neither source nor reference, if they are kept
    /// ([`RowReader::keeping_extra_fields`](super::RowReader::keeping_extra_fields)).
    pub others: Vec<ExtraField>,
    /// Where the row starts.
    pub place: Place,
}

impl SourceRow {
    /// A source without other fields.
    pub(super) fn of_text(text: String, place: Place) -> SourceRow {
        SourceRow { text, target: None, prefix: None, others: Vec::new(), place }
    }
}
