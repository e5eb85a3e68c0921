//! Reads the pairs for `init`, unchanged, and chooses their columns.

use std::path::Path;
use std::sync::Arc;

use super::InitArgs;
use crate::data::DataConfig;
use crate::data::readers::{Columns, ExtraField, Format, RowReader, SourceRow};
use crate::error::{Error, Result, counted};

/// Pairs, and notes about how they were read.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    /// Source and target of each.
    pub rows: Vec<(String, String)>,
    /// Notes.
    pub notes: Vec<String>,
}

/// Reads all pairs. Those with an empty side are skipped and counted.
///
/// # Errors
/// The file cannot be read, a row is broken, or the columns are not known.
pub(crate) fn read(args: &InitArgs) -> Result<Pairs> {
    let mut pairs = Pairs::default();
    let sources = open(args, &mut pairs.notes)?;
    let mut empty = 0;
    // In JSONL each row can have other keys.
    let mut left: Vec<Arc<str>> = Vec::new();
    for row in sources {
        let SourceRow { text, target: reference, others, .. } = row?;
        for ExtraField { name, .. } in others {
            if !left.contains(&name) {
                left.push(name);
            }
        }
        let target = reference.unwrap_or_default();
        match text.trim().is_empty() || target.trim().is_empty() {
            true => empty += 1,
            false => pairs.rows.push((text, target)),
        }
    }
    pairs.notes.extend(left_columns(&left));
    if empty > 0 {
        pairs.notes.push(format!("skipped: {} with an empty side", counted(empty, "pair")));
    }
    Ok(pairs)
}

fn open(args: &InitArgs, notes: &mut Vec<String>) -> Result<RowReader> {
    if let Some(targets) = &args.targets {
        return RowReader::parallel(&args.pairs, targets);
    }
    let [source, target] = columns(args, notes);
    if source == target {
        let message = format!("sources and targets must be two columns, but both are `{source}`");
        return Err(Error::input(message).hint("name them with --source-column and --target-column"));
    }
    let named_by = ["--source-column", "--target-column"];
    let sources = [source.as_str()];
    let columns = Columns { header: args.header, named_by, ..Columns::new(&sources, &target) };
    let opened = RowReader::with_targets(&args.pairs, None, columns);
    opened.map(RowReader::keeping_extra_fields).map_err(|error| match Format::of(&args.pairs) {
        Format::Text => {
            error.hint("for parallel text, PAIRS is the file of sources and --targets the file of targets")
        }
        _ => error,
    })
}

/// The columns of sources and targets: those of the options, or else those of a table with two columns.
fn columns(args: &InitArgs, notes: &mut Vec<String>) -> [String; 2] {
    let named = [&args.source_column, &args.target_column].map(Option::clone);
    let nothing_named = named == [None, None];
    let usual = DataConfig::columns(args.header).map(str::to_owned);
    let there = two_columns(&args.pairs).filter(|_| args.header);
    let chosen = match (named, there) {
        ([None, None], Some(there)) => of_two(there),
        ([source, target], _) => {
            let [first, second] = usual.clone();
            [source.unwrap_or(first), target.unwrap_or(second)]
        }
    };
    if nothing_named && chosen != usual {
        let [source, target] = &chosen;
        let pair = "; use --header false if these are a pair";
        notes.push(format!("columns: `{source}` is the source, `{target}` is the target{pair}"));
    }
    chosen
}

/// Source and target of two columns: one named `source` or `target` keeps that role.
fn of_two([first, second]: [String; 2]) -> [String; 2] {
    match second == "source" || (first == "target" && second != "target") {
        true => [second, first],
        false => [first, second],
    }
}

/// A note about the columns that are not used.
fn left_columns(others: &[Arc<str>]) -> Option<String> {
    const LISTED: usize = 10;
    let mut names: Vec<String> = others.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    if others.len() > LISTED {
        names.push("…".to_owned());
    }
    match others {
        [] => None,
        [_] => Some(format!("the column {} is not copied", names[0])),
        _ => Some(format!("the columns {} are not copied", names.join(", "))),
    }
}

/// The names of a table's columns, if there are two.
fn two_columns(path: &Path) -> Option<[String; 2]> {
    let mut reader = csv::ReaderBuilder::new();
    let reader = match Format::of(path) {
        Format::Csv => &mut reader,
        Format::Tsv => reader.delimiter(b'\t').quoting(false),
        Format::Jsonl | Format::Json | Format::Parquet | Format::Text => return None,
    };
    // Errors of the file are reported when it is read.
    let mut reader = reader.from_path(path).ok()?;
    let header: Vec<String> = reader.headers().ok()?.iter().map(str::to_owned).collect();
    header.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_columns_a_named_one_keeps_its_role() {
        let chosen = |first: &str, second: &str| of_two([first.to_owned(), second.to_owned()]).join(" ");
        assert_eq!(chosen("text", "source"), "source text");
        assert_eq!(chosen("target", "english"), "english target");
        assert_eq!(chosen("source", "x"), "source x");
        assert_eq!(chosen("x", "target"), "x target");
        assert_eq!(chosen("target", "source"), "source target");
        assert_eq!(chosen("word", "ipa"), "word ipa");
    }

    #[test]
    fn columns_that_are_not_copied_are_named() {
        let note = |names: &[&str]| left_columns(&names.iter().map(|&name| name.into()).collect::<Vec<_>>());
        assert_eq!(note(&[]), None);
        assert_eq!(note(&["id"]).unwrap(), "the column `id` is not copied");
        assert_eq!(note(&["id", "by"]).unwrap(), "the columns `id`, `by` are not copied");
    }
}
