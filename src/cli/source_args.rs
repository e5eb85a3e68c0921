//! Shared options: the input rows of a command.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;

use super::headings::{INPUT, SEARCH};
use super::input::{InputFormat, OnError, open_sources, too_long};
use crate::console::status;
use crate::data::DataConfig;
use crate::data::audio::listing;
use crate::data::readers::RowReader;
use crate::error::Result;
use crate::predictor::request::TooLong;

/// Sources, references and forced prefixes.
#[derive(Args, Debug)]
pub struct SourceArgs {
    /// Text with one source per line, or .csv, .tsv, .jsonl; for recordings also one of them, or a folder; - for standard
    /// input, decoded as it arrives
    #[arg(long, short, value_name = "FILE", default_value = "-", help_heading = INPUT)]
    pub input: PathBuf,
    /// Format of the input [default: by its extension; standard input is text]
    #[arg(long, value_enum, help_heading = INPUT)]
    pub input_format: Option<InputFormat>,
    /// Column of the sources in .csv, .tsv and .jsonl [default: as in training]
    #[arg(long, alias = "source-column", help_heading = INPUT)]
    pub column: Option<String>,
    /// Column of the references in .csv, .tsv and .jsonl [default: as in training, if there is one]
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    pub target_column: Option<String>,
    /// Text with one reference for each line of --input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["input_format", "header", "column", "target_column", "prefix_column"],
        help_heading = INPUT
    )]
    pub targets: Option<PathBuf>,
    /// Whether the first row of .csv and .tsv names the columns; if not, columns are numbers from 1 [default: as in
    /// training]
    #[arg(long, value_name = "BOOL", help_heading = INPUT)]
    pub header: Option<bool>,
    /// Begin every output with this text, which may end in the middle of a word; the output of an empty source stays
    /// empty. White space around the text counts if data.target.whitespace is keep
    #[arg(long, value_name = "TEXT", conflicts_with = "prefix_column", help_heading = SEARCH)]
    pub prefix: Option<String>,
    /// Column in .csv, .tsv and .jsonl with the text that the row's output begins with
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    pub prefix_column: Option<String>,
    /// What to do with a row that is broken (for example not UTF-8) or too long
    #[arg(long, value_enum, default_value = "stop", help_heading = INPUT)]
    pub on_error: OnError,
    /// Cut sources that are longer than data.source.max_length, and count them
    #[arg(long, help_heading = INPUT)]
    pub truncate: bool,
}

impl SourceArgs {
    /// Opens the rows.
    ///
    /// # Errors
    /// A file cannot be read, or lacks a column.
    pub fn open(&self, data: &DataConfig) -> Result<RowReader> {
        if let Some(targets) = &self.targets {
            return RowReader::parallel(&self.input, targets);
        }
        if let Some(audio) = &data.source.audio
            && let Some(rows) = listing::open(&self.input, audio)?
        {
            return Ok(rows.keeping_extra_fields());
        }
        let columns = [&self.column, &self.target_column, &self.prefix_column].map(Option::as_deref);
        let rows = open_sources(&self.input, self.input_format, columns, self.header, data)?;
        // They name the part of a recording.
        Ok(if data.source.audio.is_some() { rows.keeping_extra_fields() } else { rows })
    }

    /// What to do with a source that is too long.
    pub fn too_long(&self) -> TooLong {
        too_long(self.truncate)
    }

    /// Prints a prompt if standard input is a terminal.
    pub fn prompt(&self) {
        if self.input == Path::new("-") && std::io::stdin().is_terminal() {
            status("reading sources from standard input; press Ctrl-D to end");
        }
    }
}
