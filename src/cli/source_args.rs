//! Shared options: the input rows of a command.

use std::fs::File;
use std::io::{Cursor, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::headings::{INPUT, SEARCH};
use super::input::{InputFormat, OnError, columns_of, guessed, named_columns, too_long};
use crate::console::status;
use crate::data::DataConfig;
use crate::data::audio::recording::{read_raw, read_recording_from};
use crate::data::audio::{Recording, listing};
use crate::data::readers::{Columns, Format, KEYS, RowReader};
use crate::error::{Error, Result};
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::TooLong;

/// Sources, references and forced prefixes.
#[derive(Args, Debug)]
pub(crate) struct SourceArgs {
    /// Text with one source per line, or .csv, .tsv, .jsonl, .json, also as .gz or .zst, or .parquet; for a speech model
    /// also one recording, or a folder of recordings; - for standard input, decoded as it arrives
    #[arg(long, short, value_name = "FILE", default_value = "-", help_heading = INPUT)]
    pub input: PathBuf,
    /// Format of the input [default: by its extension; standard input is text]
    #[arg(long, value_enum, help_heading = INPUT)]
    pub input_format: Option<SourceFormat>,
    /// Sample rate of --input-format raw [default: that of the model's features]
    #[arg(long, value_name = "HERTZ", help_heading = INPUT)]
    pub sample_rate: Option<u32>,
    /// Column of the sources in tables; if a source has several columns, name all of them, separated by commas [default:
    /// as in training]
    #[arg(long, alias = "source-column", help_heading = INPUT)]
    pub column: Option<String>,
    /// Column of the references in tables [default: as in training, if there is one]
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
    /// Column of tables with the text that the row's output begins with
    #[arg(long, value_name = "COLUMN", help_heading = INPUT)]
    pub prefix_column: Option<String>,
    /// What to do with a row that is broken (for example not UTF-8) or too long
    #[arg(long, value_enum, default_value = "stop", help_heading = INPUT)]
    pub on_error: OnError,
    /// Cut sources that are longer than data.source.max_length (recordings: data.source.audio.max_seconds), and count
    /// them
    #[arg(long, help_heading = INPUT)]
    pub truncate: bool,
}

/// The format of an input whose sources may be recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceFormat {
    /// One source per line
    Text,
    /// Comma-separated columns with a header
    Csv,
    /// Tab-separated columns with a header
    Tsv,
    /// One JSON object per line
    Jsonl,
    /// An array of JSON objects
    Json,
    /// Apache Parquet, in a build with the cargo feature parquet
    Parquet,
    /// The samples of one recording: 16-bit signed integers, little-endian, one channel, no header
    Raw,
    /// One recording with its header: WAV or FLAC
    #[value(alias = "flac")]
    Wav,
}

/// The opened rows of a command.
pub(crate) struct Sources {
    /// The rows.
    pub rows: RowReader,
    /// Whether they are the recordings of a folder, or a single one: then the field `id` names each.
    pub listed: bool,
    /// The recording of `--input-format raw` and `wav`, which is the only row.
    pub recording: Option<Result<Recording>>,
}

impl SourceFormat {
    /// The format of rows; `None` for a recording itself.
    pub(crate) fn of_rows(self) -> Option<InputFormat> {
        match self {
            SourceFormat::Text => Some(InputFormat::Text),
            SourceFormat::Csv => Some(InputFormat::Csv),
            SourceFormat::Tsv => Some(InputFormat::Tsv),
            SourceFormat::Jsonl => Some(InputFormat::Jsonl),
            SourceFormat::Json => Some(InputFormat::Json),
            SourceFormat::Parquet => Some(InputFormat::Parquet),
            SourceFormat::Raw | SourceFormat::Wav => None,
        }
    }
}

impl SourceArgs {
    /// Opens the rows.
    ///
    /// # Errors
    /// A file cannot be read, or lacks a column; options that do not fit the format.
    pub(crate) fn open(&self, loaded: &LoadedModel) -> Result<Sources> {
        let data = &loaded.experiment.data;
        if self.sample_rate.is_some() && self.input_format != Some(SourceFormat::Raw) {
            return Err(Error::input("--sample-rate is that of samples without a header")
                .hint("add --input-format raw"));
        }
        if let Some(format) = self.input_format.filter(|format| format.of_rows().is_none()) {
            return self.open_recording(loaded, format);
        }
        if let Some(targets) = &self.targets {
            return Ok(Sources::of(RowReader::parallel(&self.input, targets)?));
        }
        let columns = [&self.column, &self.target_column, &self.prefix_column].map(Option::as_deref);
        let format = self.input_format.and_then(SourceFormat::of_rows);
        open_sources(&self.input, format, columns, self.header, data)
    }

    /// Reads the whole input as one recording. What is wrong with it is wrong with its row.
    fn open_recording(&self, loaded: &LoadedModel, format: SourceFormat) -> Result<Sources> {
        let Some(processor) = loaded.tokenizers.source.audio() else {
            let message =
                "--input-format raw and wav are of recordings, but the sources of the model are texts";
            return Err(Error::input(message));
        };
        let of_tables = [&self.column, &self.target_column, &self.prefix_column];
        if of_tables.iter().any(|column| column.is_some()) || self.header.is_some() {
            let message = "--column, --target-column, --prefix-column and --header need a table, but the input is a recording";
            return Err(Error::input(message));
        }
        let path = if self.input == Path::new("-") { Path::new("/dev/stdin") } else { &self.input };
        let file = File::open(path).map_err(|error| Error::file("read", path, &error))?;
        let options = processor.read_options([None; 2]);
        let recording = match format {
            SourceFormat::Raw => {
                read_raw(file, self.sample_rate.unwrap_or(processor.sample_rate()), &options)
            }
            _ => read_to_end(file, path).and_then(|bytes| read_recording_from(Cursor::new(bytes), &options)),
        };
        let rows = listing::alone(&self.input)?.keeping_extra_fields();
        Ok(Sources { rows, listed: true, recording: Some(recording) })
    }

    /// A note that the input was read as text, if neither its name nor an option names a format.
    pub(crate) fn guessed(&self, sources: &Sources) -> Option<String> {
        guessed(&self.input).filter(|_| self.input_format.is_none() && !sources.listed)
    }

    /// What to do with a source that is too long.
    pub(crate) fn too_long(&self) -> TooLong {
        too_long(self.truncate)
    }

    /// Prints a prompt if standard input is a terminal.
    pub(crate) fn prompt(&self) {
        if self.input == Path::new("-") && std::io::stdin().is_terminal() {
            status("reading sources from standard input; press Ctrl-D to end");
        }
    }
}

impl Sources {
    fn of(rows: RowReader) -> Sources {
        Sources { rows, listed: false, recording: None }
    }
}

/// Opens an input: a table or a text, or where sources are recordings also one of them or a folder. The columns are those of
/// sources, references and prefixes; without them, sources and references are in the columns of training. A reference column named
/// by the user must exist.
///
/// # Errors
/// The file or a column is missing, or columns are named for text.
pub(crate) fn open_sources(
    input: &Path,
    format: Option<InputFormat>,
    [column, target_column, prefix_column]: [Option<&str>; 3],
    header: Option<bool>,
    data: &DataConfig,
) -> Result<Sources> {
    if let Some(audio) = &data.source.audio
        && let Some(rows) = listing::open(input, audio)?
    {
        return Ok(Sources { listed: true, ..Sources::of(rows.keeping_extra_fields()) });
    }
    let format = format.map(Format::from);
    for (named, option) in
        [(column, "--column"), (target_column, "--target-column"), (prefix_column, "--prefix-column")]
    {
        if named.is_some() && format.unwrap_or(Format::of(input)) == Format::Text {
            let message = format!("{option} needs a table, but the input is text with one source per line");
            return Err(Error::input(message)
                .hint("name a .csv, .tsv, .jsonl or .json file with --input, or use --input-format"));
        }
    }
    let (header, sources, target) = columns_of(data, header);
    let sources = column.map_or(Ok(sources), |option| named_columns(data, option))?;
    let named_by = ["--column", if target_column.is_some() { "--target-column" } else { KEYS[1] }];
    let columns = Columns {
        target_needed: target_column.is_some(),
        prefix: prefix_column,
        header,
        named_by,
        ..Columns::new(&sources, target_column.unwrap_or(target))
    };
    let rows = RowReader::open(input, format, columns)?;
    // They name the part of a recording.
    Ok(Sources::of(if data.source.audio.is_some() { rows.keeping_extra_fields() } else { rows }))
}

/// The most bytes of a recording that is read from a pipe.
const LARGEST: u64 = 1 << 31;

/// All bytes of an input: the reader of a recording seeks in them, and a pipe cannot.
fn read_to_end(file: File, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    match read.map_err(|error| Error::file("read", path, &error))? as u64 {
        0..=LARGEST => Ok(bytes),
        _ => Err(Error::input(format!("a recording must have at most {LARGEST} bytes, but it has more"))),
    }
}
