//! One row of an input: its texts and where it starts.

use super::extra_fields::ExtraField;

/// A row to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// The source, as it is in the file.
    pub text: String,
    /// The target, where the table has its column; always in parallel text. A list of tokens stands here as JSON.
    pub target: Option<String>,
    /// What the output is to begin with, where a column of a table says it.
    pub prefix: Option<String>,
    /// The fields that are neither source nor reference, where rows carry them ([`RowReader::keeping_extra_fields`](super::RowReader::keeping_extra_fields)).
    pub others: Vec<ExtraField>,
    /// The physical line where the row starts, from 1.
    pub line: u64,
}

impl SourceRow {
    /// A source alone.
    pub(super) fn of_text(text: String, line: u64) -> SourceRow {
        SourceRow { text, target: None, prefix: None, others: Vec::new(), line }
    }
}
