//! The columns of the extra fields of an input's rows.

use std::sync::Arc;

use super::{Layout, RowReader};
use crate::data::readers::lines::ReadError;

impl RowReader {
    /// The same reader, whose rows keep their other fields.
    pub(crate) fn keeping_extra_fields(self) -> RowReader {
        RowReader { carries: true, ..self }
    }

    /// The columns of the other fields, in order: those of the header, or of objects those of the first readable row, for
    /// which this blocks. Later rows may have others.
    pub(crate) fn extra_columns(&mut self) -> Vec<Arc<str>> {
        if !self.carries {
            return Vec::new();
        }
        match &self.layout {
            Layout::Text | Layout::Parallel(_) => Vec::new(),
            Layout::Fields(fields) => fields.others().map(|(_, name)| name.clone()).collect(),
            Layout::Objects(_) => self.columns_of_first(),
            #[cfg(feature = "parquet")]
            Layout::Parquet(_) => self.columns_of_first(),
        }
    }

    /// Rows that are read for it are returned later.
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
