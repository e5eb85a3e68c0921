//! Which rows a command decodes: options that several commands have.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;

use super::headings::{INPUT, SEARCH};
use super::input::{InputFormat, OnError, open_sources, too_long};
use crate::console::status;
use crate::data::DataConfig;
use crate::data::readers::RowReader;
use crate::error::Result;
use crate::predictor::request::TooLong;

/// Sources, their references, and how their outputs begin.
#[derive(Args, Debug)]
pub struct SourceArgs {
    /// Text with a source a line, or .csv, .tsv, .jsonl; - for standard input, decoded as it comes
    #[arg(long, short, value_name = "FILE", default_value = "-", help_heading = INPUT)]
    pub input: PathBuf,
    /// Format of the input [default: by its extension; standard input is text]
    #[arg(long, value_enum, help_heading = INPUT)]
    pub input_format: Option<InputFormat>,
    /// The sources' column in .csv, .tsv and .jsonl [default: as in training]
    #[arg(long, alias = "source-column", help_heading = INPUT)]
    pub column: Option<String>,
    /// The references' column in .csv, .tsv and .jsonl [default: as in training, where there is one]
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    pub target_column: Option<String>,
    /// Text with a reference for each line of --input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["input_format", "header", "column", "target_column", "prefix_column"],
        help_heading = INPUT
    )]
    pub targets: Option<PathBuf>,
    /// Whether the first row of .csv and .tsv names the columns; without such a row they go by their numbers, from 1
    /// [default: as in training]
    #[arg(long, value_name = "BOOL", help_heading = INPUT)]
    pub header: Option<bool>,
    /// Text that every output begins with (that of an empty source is empty all the same), also in the middle of a word;
    /// white space around it counts where data.target.whitespace is keep
    #[arg(long, value_name = "TEXT", conflicts_with = "prefix_column", help_heading = SEARCH)]
    pub prefix: Option<String>,
    /// The column of .csv, .tsv and .jsonl that has the text that each row's output begins with
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    pub prefix_column: Option<String>,
    /// What happens to a row that is broken (not UTF-8, say) or too long
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
        let columns = [&self.column, &self.target_column, &self.prefix_column].map(Option::as_deref);
        open_sources(&self.input, self.input_format, columns, self.header, data)
    }

    /// What becomes of a source that is too long.
    pub fn too_long(&self) -> TooLong {
        too_long(self.truncate)
    }

    /// Tells somebody who types what is waited for.
    pub fn prompt(&self) {
        if self.input == Path::new("-") && std::io::stdin().is_terminal() {
            status("reading sources from standard input; Ctrl-D ends them");
        }
    }
}
