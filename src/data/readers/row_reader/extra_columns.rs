//! The columns of the extra fields that the rows of an input carry.

use std::sync::Arc;

use super::{Layout, RowReader};
use crate::data::readers::lines::ReadError;

impl RowReader {
    /// The same, whose rows carry their other fields.
    pub fn keeping_extra_fields(self) -> RowReader {
        RowReader { carries: true, ..self }
    }

    /// The columns of the fields that rows carry, in their order: those of the header, or of JSONL those of its first row that
    /// can be read, for which this waits. Later rows may have others.
    pub fn extra_columns(&mut self) -> Vec<Arc<str>> {
        if !self.carries {
            return Vec::new();
        }
        match &self.layout {
            Layout::Text | Layout::Parallel(_) => Vec::new(),
            Layout::Fields(fields) => fields.others().map(|(_, name)| name.clone()).collect(),
            Layout::Objects(_) => self.columns_of_first(),
        }
    }

    /// What is read for it is handed out later.
    fn columns_of_first(&mut self) -> Vec<Arc<str>> {
        while self.ahead.iter().all(|row| row.is_err()) {
            let row = self.read_next();
            let broken = matches!(&row, Err(ReadError::Row(_)));
            self.ahead.push_back(row);
            if !broken {
                break;
            }
        }
        match self.ahead.back() {
            Some(Ok(Some(row))) => row.others.iter().map(|other| other.name.clone()).collect(),
            _ => Vec::new(),
        }
    }
}
