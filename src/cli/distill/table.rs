//! The table of pairs: the columns of a run's `[data]`, so that the config of a student reads it as it reads the run's files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::output::{Field, OutputFormat};
use crate::data::DataConfig;
use crate::data::audio::listing::{path_in, segment_of};
use crate::data::readers::{COLUMN_SEPARATOR, Format, SourceRow};
use crate::error::{Error, Result};

/// The most columns of a table without a header, whose columns are those up to the last one that is read.
const MOST_COLUMNS: usize = 10_000;

/// The columns of the pairs, and where they are in the table.
pub(super) struct Table<'a> {
    /// The format of the table.
    pub format: OutputFormat,
    data: &'a DataConfig,
    /// The columns of a pair: those of its source, then that of its target.
    names: Vec<&'a str>,
    /// All columns of the table, in order.
    columns: Vec<String>,
    /// The folder of the table, absolute.
    folder: PathBuf,
}

impl<'a> Table<'a> {
    /// The table at `output`.
    ///
    /// # Errors
    /// The extension is not that of a table; a column is named twice.
    pub(super) fn new(data: &'a DataConfig, output: &Path) -> Result<Table<'a>> {
        let format = OutputFormat::of_table(output, "--output")?;
        let mut names = data.source.columns();
        names.extend(data.source.audio.iter().flat_map(|audio| [&*audio.start_column, &*audio.end_column]));
        names.push(&data.target.column);
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(**name)) {
            let message =
                "the columns of sources and targets must differ, so that a table can hold other targets, but";
            return Err(Error::input(format!("{message} `{twice}` is named twice")));
        }
        let columns = match format == OutputFormat::Csv && !data.header {
            true => numbered(&names)?,
            false => names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let folder = absolute(output)?.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Table { format, data, names, columns, folder })
    }

    /// The header; nothing for a table without one.
    pub(super) fn header(&self) -> Vec<&str> {
        match self.data.header {
            true => self.columns.iter().map(String::as_str).collect(),
            false => Vec::new(),
        }
    }

    /// The fields of a pair, in the order of the columns.
    ///
    /// # Errors
    /// The start or the end of a recording is not a number; its path cannot be made absolute.
    pub(super) fn fields(&self, row: &SourceRow, target: &str) -> Result<Vec<Field<'_>>> {
        let mut values = self.source(row)?;
        values.push(Value::from(target));
        let value = |column: &str| {
            let found = self.names.iter().zip(&values).find(|(name, _)| **name == column);
            found.map_or(Value::Null, |(_, value)| value.clone())
        };
        Ok(self.columns.iter().map(|column| (column.as_str(), value(column))).collect())
    }

    /// Whether the table gives these fields back as they are. Readers of CSV take CR and LF within a field for LF.
    pub(super) fn keeps(&self, fields: &[Field]) -> bool {
        let is_changed = |text: &str| text.contains("\r\n");
        self.format != OutputFormat::Csv
            || !fields.iter().filter_map(|(_, value)| value.as_str()).any(is_changed)
    }

    /// The table as the files of a config name it.
    pub(super) fn in_config(&self, output: &Path) -> String {
        let file = toml::Value::from(output.display().to_string());
        let (own, name) = match self.format {
            OutputFormat::Csv => (Format::Csv, "csv"),
            OutputFormat::Text | OutputFormat::Jsonl => (Format::Jsonl, "jsonl"),
        };
        match self.data.format {
            Some(format) if format != own => format!("{{ file = {file}, format = \"{name}\" }}"),
            _ => file.to_string(),
        }
    }

    /// The values of the columns of a source.
    fn source(&self, row: &SourceRow) -> Result<Vec<Value>> {
        match &self.data.source.audio {
            Some(audio) => {
                let [start, end] = segment_of(&row.others, audio)?;
                Ok(vec![json!(self.path_of(row)?), json!(start), json!(end)])
            }
            None if self.data.source.parts.is_empty() => Ok(vec![json!(row.text)]),
            None => Ok(row.text.split(COLUMN_SEPARATOR).map(Value::from).collect()),
        }
    }

    /// The path of a recording: from the table's folder if it is within, else absolute, since tables name recordings from
    /// their own folder.
    fn path_of(&self, row: &SourceRow) -> Result<String> {
        let path = absolute(&path_in(&row.place.file, &row.text))?;
        let inside = path.strip_prefix(&self.folder).unwrap_or(&path);
        Ok(inside.to_string_lossy().into_owned())
    }
}

/// The columns of a table without a header, up to the last one that has a name.
fn numbered(names: &[&str]) -> Result<Vec<String>> {
    let last = names.iter().filter_map(|name| name.parse::<usize>().ok()).max().unwrap_or(0);
    match last {
        0..=MOST_COLUMNS => Ok((1..=last).map(|number| number.to_string()).collect()),
        _ => Err(Error::input(format!(
            "a table may have at most {MOST_COLUMNS} columns, but `{last}` is read"
        ))),
    }
}

/// A path that holds in any folder.
///
/// # Errors
/// The path is empty, or the working directory is gone.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::file("find", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::readers::Place;

    fn config(text: &str) -> DataConfig {
        let mut data: DataConfig =
            toml::from_str(&format!("train = \"a.csv\"\nvalid = \"b.csv\"\n{text}")).unwrap();
        data.fill_in();
        data
    }

    fn row(text: &str, file: &str) -> SourceRow {
        let place = Place { file: Path::new(file).into(), line: 1 };
        SourceRow { text: text.to_owned(), target: None, prefix: None, others: Vec::new(), place }
    }

    #[test]
    fn without_a_header_columns_are_at_their_numbers() {
        let data = config(
            "header = false\n[source]\nparts = [{ column = \"4\", words = {} }, { column = \"1\", words = {} }]\n\
             [target]\ncolumn = \"2\"",
        );
        let fields = |output: &str| -> Vec<(String, Option<String>)> {
            let table = Table::new(&data, Path::new(output)).unwrap();
            assert!(table.header().is_empty());
            let fields = table.fields(&row("N;PL\tab", "a.csv"), "abb").unwrap();
            fields.iter().map(|(name, value)| (name.to_string(), value.as_str().map(str::to_owned))).collect()
        };
        let expected = |names: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
            names.iter().map(|(name, text)| (name.to_string(), text.map(str::to_owned))).collect()
        };
        let in_places = [("1", Some("ab")), ("2", Some("abb")), ("3", None), ("4", Some("N;PL"))];
        assert_eq!(fields("p.csv"), expected(&in_places));
        assert_eq!(
            fields("p.jsonl"),
            expected(&[("4", Some("N;PL")), ("1", Some("ab")), ("2", Some("abb"))])
        );
    }

    #[test]
    fn a_recording_is_named_from_the_folder_of_the_table_if_it_is_within() {
        let data = config("[source.audio]");
        let path = |output: &str| {
            let table = Table::new(&data, Path::new(output)).unwrap();
            assert_eq!(table.header(), ["source", "start", "end", "target"]);
            table.path_of(&row("clips/a.wav", "data/train.csv")).unwrap()
        };
        let absolute = absolute(Path::new("data/clips/a.wav")).unwrap();
        assert_eq!(path("data/p.csv"), "clips/a.wav");
        assert_eq!(path("p.csv"), "data/clips/a.wav");
        assert_eq!(path("other/p.csv"), absolute.to_string_lossy());
    }

    #[test]
    fn a_table_is_named_with_its_format_where_a_config_has_another_one() {
        let named = |text: &str, output: &str| {
            let (data, output) = (config(text), Path::new(output));
            Table::new(&data, output).unwrap().in_config(output)
        };
        assert_eq!(named("", "p.csv"), "\"p.csv\"");
        assert_eq!(named("format = \"csv\"", "p.csv"), "\"p.csv\"");
        assert_eq!(named("format = \"tsv\"", "p.csv"), "{ file = \"p.csv\", format = \"csv\" }");
        assert_eq!(named("format = \"json\"", "p.jsonl"), "{ file = \"p.jsonl\", format = \"jsonl\" }");
    }

    #[test]
    fn a_column_for_both_sides_is_refused() {
        let data = config("[source]\ncolumn = \"text\"\n[target]\ncolumn = \"text\"");
        let error = Table::new(&data, Path::new("p.csv")).err().unwrap();
        assert!(error.message().ends_with("but `text` is named twice"), "{error}");
    }

    #[test]
    fn only_csv_changes_line_breaks() {
        let data = config("");
        let keeps = |output: &str, target: &str| {
            let table = Table::new(&data, Path::new(output)).unwrap();
            table.keeps(&table.fields(&row("a", "a.csv"), target).unwrap())
        };
        assert_eq!(["a\r\nb", "a\nb", "a\rb"].map(|text| keeps("p.csv", text)), [false, true, true]);
        assert!(keeps("p.jsonl", "a\r\nb"));
    }
}
