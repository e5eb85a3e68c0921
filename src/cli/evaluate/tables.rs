//! Systems as tables with references and outputs, as `seqloom decode` writes them.

use std::path::{Path, PathBuf};

use super::EvaluateArgs;
use super::system::System;
use crate::cli::source_args::SourceFormat;
use crate::console::status;
use crate::data::readers::{
    Columns, FieldValue, Format, RowReader, SourceRow, check_alternatives, split_alternatives,
};
use crate::error::{Error, Result};
use crate::metrics::{Example, MetricKind};

/// Scores each table.
///
/// # Errors
/// A table cannot be read, or lacks a column; one of several references of a row is empty.
pub(super) fn read(args: &EvaluateArgs, tables: &[PathBuf], kinds: &[MetricKind]) -> Result<Vec<System>> {
    tables.iter().map(|table| read_table(args, table, kinds)).collect()
}

fn read_table(args: &EvaluateArgs, table: &Path, kinds: &[MetricKind]) -> Result<System> {
    let mut rows = open(args, table)?;
    let mut system = System::new(table.display().to_string(), kinds);
    let (mut further, alternatives) = (0, args.alternatives.as_deref());
    while let Some(row) = rows.next_row()? {
        let row = row?;
        if field(&row, "rank").is_some_and(|rank| rank != "1") {
            further += 1;
            continue;
        }
        let references = row.target.as_deref().unwrap_or_default();
        check_alternatives(references, alternatives).map_err(|error| error.at(rows.place(row.line)))?;
        let (reference, other_references) = split_alternatives(references, alternatives);
        system.add(&Example {
            reference,
            other_references: &other_references,
            output: std::slice::from_ref(&row.text),
            finished: field(&row, "finished") != Some("false"),
            ..Example::default()
        });
    }
    if further > 0 {
        let table = table.display();
        status(&format!(
            "note: {table}: outputs that are not the best of their sources are left out: {further}"
        ));
    }
    Ok(system)
}

fn open(args: &EvaluateArgs, table: &Path) -> Result<RowReader> {
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
    Ok(RowReader::with_targets(table, format, columns)?.keeping_extra_fields())
}

/// A field of a row that is neither the reference nor the output.
fn field<'r>(row: &'r SourceRow, name: &str) -> Option<&'r str> {
    let found = row.others.iter().find(|field| field.name[..] == *name)?;
    let (FieldValue::Text(text) | FieldValue::Json(text)) = &found.value;
    Some(text)
}
