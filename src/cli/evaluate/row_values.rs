//! `--rows`: the values of each row, as CSV or JSON Lines.

use std::path::Path;

use serde_json::json;

use crate::cli::output::{Field, OutputFormat, Writer};
use crate::cli::scored::ScoredOutputs;
use crate::error::Result;

/// Writes a line for each row and each system: the number of the row, from 1, the system, and a column for each metric.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: &Path, format: OutputFormat, systems: &[ScoredOutputs]) -> Result<()> {
    let Some(first) = systems.first() else { return Ok(()) };
    let names: Vec<&str> = ["row", "system"].into_iter().chain(first.kinds().map(|kind| kind.name)).collect();
    let mut writer = Writer::open(path, format, &names)?;
    for row in 0..first.rows() as usize {
        for system in systems {
            let mut fields: Vec<Field> = vec![("row", json!(row + 1)), ("system", json!(system.name))];
            let values = system.statistics.iter();
            fields.extend(values.map(|values| (values.kind().name, json!(values.value_of_row(row)))));
            if !writer.write("", &[], fields)? {
                return Ok(());
            }
        }
    }
    writer.flush().map(drop)
}
