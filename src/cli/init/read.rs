//! The pairs that a config is to be made for, as they stand in their files, and which columns they are.

use std::path::Path;

use super::InitArgs;
use crate::data::DataConfig;
use crate::data::pairs::{Format, SourceRow, Sources, Target};
use crate::error::{Result, counted};

/// Pairs, and what is to be said about how they were read.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Source and target of each.
    pub rows: Vec<(String, String)>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// Reads all pairs. Those with an empty side teach nothing, and are left out and counted.
///
/// # Errors
/// A file that cannot be read, a row that is broken, columns that nobody named.
pub fn read(args: &InitArgs) -> Result<Pairs> {
    let mut pairs = Pairs::default();
    let sources = open(args, &mut pairs.notes)?;
    let mut empty = 0;
    for row in sources {
        let SourceRow { text, reference, .. } = row?;
        let target = reference.unwrap_or_default();
        match text.trim().is_empty() || target.trim().is_empty() {
            true => empty += 1,
            false => pairs.rows.push((text, target)),
        }
    }
    if empty > 0 {
        pairs.notes.push(format!("{} with an empty side left out", counted(empty, "pair")));
    }
    Ok(pairs)
}

fn open(args: &InitArgs, notes: &mut Vec<String>) -> Result<Sources> {
    if let Some(targets) = &args.targets {
        return Sources::parallel(&args.pairs, targets);
    }
    let mut columns = [&args.source_column, &args.target_column].map(Option::clone);
    if columns == [None, None]
        && args.header
        && let Some([first, second]) = two_columns(&args.pairs)
        && [&first, &second] != ["source", "target"]
        && [&first, &second] != ["target", "source"]
    {
        let pair = "; --header false where these are a pair";
        notes.push(format!(
            "the columns are `{first}`, which is read, and `{second}`, which is written{pair}"
        ));
        columns = [Some(first), Some(second)];
    }
    let [source, target] = columns;
    let [first, second] = DataConfig::columns(args.header);
    let (source, target) = (source.unwrap_or(first.into()), target.unwrap_or(second.into()));
    let named_by = ["--source-column", "--target-column"];
    let opened =
        Sources::with_targets(&args.pairs, None, &source, Target::Text(&target), args.header, named_by);
    opened.map_err(|error| match Format::of(&args.pairs) {
        Format::Text => error.hint("of parallel text PAIRS names the sources, and --targets the targets"),
        _ => error,
    })
}

/// The names of a table's columns, where there are two.
fn two_columns(path: &Path) -> Option<[String; 2]> {
    let mut reader = csv::ReaderBuilder::new();
    let reader = match Format::of(path) {
        Format::Csv => &mut reader,
        Format::Tsv => reader.delimiter(b'\t').quoting(false),
        Format::Jsonl | Format::Text => return None,
    };
    // What is wrong with the file is said when it is read.
    let mut reader = reader.from_path(path).ok()?;
    let header: Vec<String> = reader.headers().ok()?.iter().map(str::to_owned).collect();
    header.try_into().ok()
}
