//! Systems as tables with references and outputs, as `seqloom decode` writes them.

use std::path::{Path, PathBuf};

use super::EvaluateArgs;
use crate::cli::decoded::DecodedRows;
use crate::cli::scored::ScoredOutputs;
use crate::cli::source_args::SourceFormat;
use crate::console::status;
use crate::data::readers::{Columns, Format, RowReader};
use crate::error::{Error, Result};
use crate::metrics::{MetricKind, Unit};

/// Scores each table.
///
/// # Errors
/// A table cannot be read, or lacks a column; one of several references of a row is empty.
pub(super) fn read(
    args: &EvaluateArgs,
    tables: &[PathBuf],
    kinds: &[MetricKind],
) -> Result<Vec<ScoredOutputs>> {
    tables.iter().map(|table| read_table(args, table, kinds)).collect()
}

fn read_table(args: &EvaluateArgs, table: &Path, kinds: &[MetricKind]) -> Result<ScoredOutputs> {
    let mut rows = open(args, table)?;
    let mut system = ScoredOutputs::new(table.display().to_string(), kinds);
    while let Some(row) = rows.next_row()? {
        rows.score(&row, Unit::Characters, &mut system)?;
    }
    if rows.left_out > 0 {
        let (table, left_out) = (table.display(), rows.left_out);
        status(&format!(
            "note: {table}: outputs that are not the best of their sources are left out: {left_out}"
        ));
    }
    Ok(system)
}

fn open(args: &EvaluateArgs, table: &Path) -> Result<DecodedRows> {
    let format = args.input_format.and_then(SourceFormat::of_rows).map(Format::from);
    if format.unwrap_or(Format::of(table)) == Format::Text {
        let message =
            format!("without a RUN, --input must be a table, but {} is text by its name", table.display());
        return Err(Error::input(message)
            .hint("name texts with --references and --outputs, or a table's format with --input-format"));
    }
    let output = [args.output_column.as_deref().unwrap_or("output")];
    let columns = Columns {
        header: args.header.unwrap_or(true),
        named_by: ["--output-column", "--reference-column"],
        ..Columns::new(&output, args.reference_column.as_deref().unwrap_or("reference"))
    };
    let rows = RowReader::with_targets(table, format, columns)?;
    Ok(DecodedRows::of(rows, args.alternatives.as_deref()))
}
