//! Reading pairs: tables (CSV, TSV, JSON, Parquet) and parallel text become [`Pair`]s, each with its place.
//!
//! Text is unchanged: NFC and trimming are done by the tokenizer. Only blank lines of a table are skipped. An error
//! ends reading, names the file and the line, and shows the row. Texts only: no tokens, no tensors. [`RowReader`]
//! streams rows for decoding, and [`read_pairs`] is built on it.

mod compression;
mod extra_fields;
mod format;
mod line_ends;
mod lines;
mod row_reader;
mod table;

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::data::{Files, PairFile, TableFile};
use crate::error::{Error, Result};
pub(crate) use extra_fields::{ExtraField, FieldValue};
pub use format::Format;
pub(crate) use lines::{LineEnds, shorten};
#[cfg(feature = "cli")]
pub(crate) use row_reader::KEYS;
pub(crate) use row_reader::{COLUMN_SEPARATOR, SourceRow};
pub use row_reader::{Columns, RowReader};

/// What names the scripts that fetch or make the sets of configs/.
const SETS: &str = "data/README.md";

/// A row's place: the file and the line where the row starts. Displayed as `path:line`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file; all pairs of one file share it.
    pub file: Arc<Path>,
    /// The physical line, from 1; of Parquet the row.
    pub line: u64,
}

impl Default for Place {
    fn default() -> Place {
        Place { file: Path::new("").into(), line: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A source and its target, with their place. What few sets have is kept apart, so that a pair stays small.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pair {
    /// The text that is read, or the path of a recording.
    pub source: String,
    /// The target text; of several right ones the first, which is the one to learn.
    pub target: String,
    /// The other right targets (`data.target.alternatives`), with which metrics compare as well.
    pub other_targets: Vec<String>,
    /// The part of a recording, in seconds: its start and its end; `None` for the whole one.
    pub segment: Option<Box<[Option<f64>; 2]>>,
    /// The place of the pair; for parallel text, its line in the file of sources.
    pub place: Place,
    /// The number of its file in the config, from 0.
    pub file: u32,
}

impl Pair {
    /// All right targets, the first one first.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.target.as_str()).chain(self.other_targets.iter().map(String::as_str))
    }

    /// The part of a recording: its start and its end, where it has them.
    pub(crate) fn segment(&self) -> [Option<f64>; 2] {
        self.segment.as_deref().copied().unwrap_or_default()
    }

    /// Sets the part of a recording.
    pub(crate) fn set_segment(&mut self, segment: [Option<f64>; 2]) {
        self.segment = (segment != [None; 2]).then(|| Box::new(segment));
    }

    /// The place of the target: of parallel text its line in the file of targets.
    pub(crate) fn target_place(&self, file: &PairFile) -> Place {
        match file {
            PairFile::Parallel { target, .. } => {
                Place { file: target.as_path().into(), line: self.place.line }
            }
            PairFile::Table(_) => self.place.clone(),
        }
    }
}

/// The pairs of a set.
#[derive(Debug, Default)]
pub struct PairSet {
    /// The pairs, in the order of the files and of their rows.
    pub pairs: Vec<Pair>,
    /// Notes about the files, one line each.
    pub notes: Vec<String>,
}

/// Reads every pair of a set, in the order of the files and of their rows.
///
/// A table has the extension `.csv`, `.tsv`, `.jsonl`, `.json` or `.parquet` and the columns of sources and targets;
/// without `header` those of .csv and .tsv are numbers, from 1. Parallel text has one pair per line. A side may be empty here.
///
/// # Errors
/// Input errors that name the file and the line and show the row: a missing file or one that is not UTF-8, an unknown
/// extension, a missing column, a row that breaks the format, files of parallel text that differ in length, a set
/// without pairs.
pub fn read_pairs(files: &Files, columns: [&str; 2], header: bool) -> Result<PairSet> {
    let mut set = PairSet::default();
    let columns = Columns { header, ..Columns::new(&columns[..1], columns[1]) };
    let reading = Reading { columns, alternatives: None, format: None, recordings: None, lossy: false };
    for file in &files.0 {
        set.notes.extend(reading.each(file, &mut |pair, _| {
            set.pairs.push(pair);
            Ok(ControlFlow::Continue(()))
        })?);
    }
    if set.pairs.is_empty() {
        return Err(Error::input("a set must have at least one file, but it has none"));
    }
    Ok(set)
}

/// Sources that are paths of recordings, which this module does not read.
pub(crate) trait Recordings {
    /// The pairs of a folder.
    ///
    /// # Errors
    /// It is not a folder of recordings.
    fn folder(&self, folder: &Path) -> Result<Vec<Pair>>;

    /// Completes a pair of a table by the other fields of its row.
    ///
    /// # Errors
    /// A field has a wrong value.
    fn complete(&self, pair: &mut Pair, others: &[ExtraField]) -> Result<()>;
}

/// How files of pairs are read.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// The columns of sources and targets.
    pub columns: Columns<'a>,
    /// What is between several right targets in a field.
    pub alternatives: Option<&'a str>,
    /// The format of tables; `None` for that of the extension.
    pub format: Option<Format>,
    /// Sources that are recordings.
    pub recordings: Option<&'a dyn Recordings>,
    /// Whether bytes that are not UTF-8 become U+FFFD; otherwise they are an error.
    pub lossy: bool,
}

/// Takes the pairs of a file, each with whether bytes of its row were replaced; a break ends reading.
pub(crate) type EachPair<'a> = &'a mut dyn FnMut(Pair, bool) -> Result<ControlFlow<()>>;

/// Takes the error of a broken row, behind which the next row can be read; returns it to end reading.
pub(crate) type BrokenRow<'a> = &'a mut dyn FnMut(Error) -> Result<()>;

impl Reading<'_> {
    /// Passes the pairs of a file on, one after the other; returns notes about it.
    ///
    /// # Errors
    /// Those of [`read_pairs`], of the recordings, and of `each`; the file has no pair.
    pub(crate) fn each(&self, file: &PairFile, each: EachPair) -> Result<Vec<String>> {
        self.each_or_broken(file, each, &mut Err::<(), Error>)
    }

    /// The same, with broken rows passed on.
    ///
    /// # Errors
    /// Those of [`Reading::each`] that concern no single row, and those of `broken`.
    pub(crate) fn each_or_broken(
        &self,
        file: &PairFile,
        each: EachPair,
        broken: BrokenRow,
    ) -> Result<Vec<String>> {
        if let (PairFile::Table(table), Some(recordings)) = (file, self.recordings)
            && table.path.is_dir()
        {
            for pair in recordings.folder(&table.path)? {
                match self.with_alternatives(pair, file) {
                    Ok(pair) => {
                        if each(pair, false)?.is_break() {
                            break;
                        }
                    }
                    Err(error) => broken(error)?,
                }
            }
            return Ok(Vec::new());
        }
        let mut notes = Vec::new();
        let sources = match file {
            PairFile::Table(table) => open_table(table, self.columns, self.format)?,
            PairFile::Parallel { source, target, .. } => {
                let is_table = |path: &&std::path::PathBuf| Format::of(path) != Format::Text;
                let note = |path: &std::path::PathBuf| {
                    format!("{} is read as text with one line per pair", path.display())
                };
                notes.extend([source, target].into_iter().filter(is_table).map(note));
                RowReader::parallel(source, target)
                    .map_err(|error| hint_if_missing(&[source, target], error))?
            }
        };
        notes.extend(self.each_row(sources, file, each, broken)?);
        Ok(notes)
    }

    fn each_row(
        &self,
        mut sources: RowReader,
        file: &PairFile,
        each: EachPair,
        broken: BrokenRow,
    ) -> Result<Vec<String>> {
        if self.recordings.is_some() {
            sources = sources.keeping_extra_fields();
        }
        if self.lossy {
            sources = sources.replacing_invalid();
        }
        let mut is_empty = true;
        while let Some(row) = sources.next_row()? {
            is_empty = false;
            let replaced = sources.was_replaced();
            match row.and_then(|row| self.pair(row, file)) {
                Ok(pair) => {
                    if each(pair, replaced)?.is_break() {
                        break;
                    }
                }
                Err(error) => broken(error)?,
            }
        }
        if is_empty {
            let message = format!("a file of pairs must have at least one row, but {} has none", name(file));
            return Err(Error::input(message));
        }
        Ok(sources.line_ends().iter().filter_map(LineEnds::note).collect())
    }

    fn pair(&self, row: SourceRow, file: &PairFile) -> Result<Pair> {
        let SourceRow { text, target, place, others, .. } = row;
        let mut pair = Pair { source: text, target: target.unwrap_or_default(), place, ..Pair::default() };
        if let Some(recordings) = self.recordings {
            recordings.complete(&mut pair, &others).map_err(|error| error.at(&pair.place))?;
        }
        self.with_alternatives(pair, file)
    }

    /// A pair with several right targets, if its field has them.
    fn with_alternatives(&self, pair: Pair, file: &PairFile) -> Result<Pair> {
        check_alternatives(&pair.target, self.alternatives)
            .map_err(|error| error.at(pair.target_place(file)))?;
        let (first, others) = split_alternatives(&pair.target, self.alternatives);
        if others.is_empty() {
            return Ok(pair);
        }
        let (target, other_targets) = (first.to_owned(), others.into_iter().map(str::to_owned).collect());
        Ok(Pair { target, other_targets, ..pair })
    }
}

/// The targets in a field, the first one and the others; without a text between them, the field is one target.
pub(crate) fn split_alternatives<'t>(field: &'t str, between: Option<&str>) -> (&'t str, Vec<&'t str>) {
    let Some(between) = between else { return (field, Vec::new()) };
    let mut targets = field.split(between);
    let first = targets.next().unwrap_or_default();
    (first, targets.collect())
}

/// Checks that no one of several targets is empty. A field that is empty as a whole is one target, and `data.empty` decides
/// about it.
///
/// # Errors
/// An input error without a place: a target is empty.
pub(crate) fn check_alternatives(field: &str, between: Option<&str>) -> Result<()> {
    let (first, others) = split_alternatives(field, between);
    let is_empty = |target: &&str| target.trim().is_empty();
    if others.is_empty() || !std::iter::once(&first).chain(&others).any(is_empty) {
        return Ok(());
    }
    let (between, field) = (between.unwrap_or_default(), shorten(field));
    let message = format!("none of several targets may be empty, but one of these is\n  {field}");
    Err(Error::input(message).hint(format!(
        "remove the needless `{between}`, which separates the targets of a row (`--alternatives`, `data.target.alternatives`)"
    )))
}

/// The file's name in messages.
pub(crate) fn name(file: &PairFile) -> String {
    match file {
        PairFile::Table(table) => table.path.display().to_string(),
        PairFile::Parallel { source, target, .. } => format!("{} and {}", source.display(), target.display()),
    }
}

fn open_table(table: &TableFile, columns: Columns, format: Option<Format>) -> Result<RowReader> {
    let path = table.path.as_path();
    let (format, header) = (table.format.or(format), table.header.unwrap_or(columns.header));
    RowReader::with_targets(path, format, Columns { header, ..columns }).map_err(|error| {
        match format.unwrap_or(Format::of(path)) {
            Format::Text => error.hint(
                "name its format (`data.format`), or the two files of parallel text together: { source = \"a.en\", \
                 target = \"a.de\" }",
            ),
            _ => hint_if_missing(&[path], error),
        }
    })
}

/// Hints where a missing file may come from: from a script of data/, or from another folder, since the working directory may
/// not be the config's.
pub(crate) fn hint_if_missing(paths: &[impl AsRef<Path>], error: Error) -> Error {
    match paths.iter().map(AsRef::<Path>::as_ref).find(|path| path.is_relative() && !path.exists()) {
        None => error,
        Some(path) if path.starts_with("data") && Path::new(SETS).is_file() => {
            error.hint(format!("{SETS} lists the scripts that fetch public sets"))
        }
        Some(_) => error.hint("relative paths start at the folder where seqloom is called"),
    }
}

#[cfg(test)]
mod tests;
