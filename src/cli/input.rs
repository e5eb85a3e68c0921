//! Rows as they arrive: a thread reads ahead of the model, and what has arrived is decoded together.
//!
//! A line typed at a terminal or written to a pipe is decoded at once; a file is read in full chunks. The queue between
//! reader and model is bounded, so that memory does not depend on the length of the input.

mod read_ahead;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use clap::ValueEnum;

use crate::data::DataConfig;
use crate::data::audio::Recording;
use crate::data::audio::listing::segment_of;
use crate::data::readers::{ExtraField, Format, LineEnds, RowReader, SourceRow};
use crate::data::selection::refuse_sound;
use crate::data::source_processor::SourceRef;
use crate::error::{Error, Result};
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::TooLong;
use read_ahead::RowPack;
pub(crate) use read_ahead::{RowSink, Selection};

/// The most rows of a chunk, and the rows of the first one. Each chunk is twice as large as the one before: the first
/// outputs come early, a job that is killed repeatedly makes progress, and later chunks have more rows to sort.
pub(crate) const CHUNK: usize = 2048;
const FIRST_CHUNK: usize = 256;

/// A chunk takes no more rows beyond this many bytes.
const CHUNK_BYTES: usize = 1 << 24;

/// Whether the first row of a table names its columns, and the columns of sources and targets: as in training, unless
/// `header` overrides it.
pub(crate) fn columns_of(data: &DataConfig, header: Option<bool>) -> (bool, Vec<&str>, &str) {
    match header {
        Some(header) if header != data.header && data.source.parts.is_empty() => {
            let [source, target] = DataConfig::columns(header);
            (header, vec![source], target)
        }
        header => (header.unwrap_or(data.header), data.source.columns(), &data.target.column),
    }
}

/// The columns of `--column`: one, or those of a source that has several, with commas between.
pub(crate) fn named_columns<'a>(data: &DataConfig, option: &'a str) -> Result<Vec<&'a str>> {
    let needed = data.source.columns().len();
    if needed == 1 {
        return Ok(vec![option]);
    }
    let columns: Vec<&str> = option.split(',').collect();
    match columns.len() == needed {
        true => Ok(columns),
        false => Err(Error::input(format!(
            "the sources of this model have {needed} columns, with commas between, but `{option}` names {}",
            columns.len()
        ))),
    }
}

/// A note that an input was read as text, if its name implies no format.
pub(crate) fn guessed(input: &Path) -> Option<String> {
    let is_txt = |ending: &OsStr| ending.eq_ignore_ascii_case("txt");
    let of_text = Format::of(input) == Format::Text && !input.extension().is_some_and(is_txt);
    let name = if input == Path::new("-") { "<stdin>".into() } else { input.display().to_string() };
    let note = format!("{name} was read as text with one source per line; for a table use --input-format");
    of_text.then_some(note)
}

/// The format of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
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
}

impl From<InputFormat> for Format {
    fn from(format: InputFormat) -> Format {
        match format {
            InputFormat::Text => Format::Text,
            InputFormat::Csv => Format::Csv,
            InputFormat::Tsv => Format::Tsv,
            InputFormat::Jsonl => Format::Jsonl,
            InputFormat::Json => Format::Json,
            InputFormat::Parquet => Format::Parquet,
        }
    }
}

impl From<Format> for InputFormat {
    fn from(format: Format) -> InputFormat {
        match format {
            Format::Text => InputFormat::Text,
            Format::Csv => InputFormat::Csv,
            Format::Tsv => InputFormat::Tsv,
            Format::Jsonl => InputFormat::Jsonl,
            Format::Json => InputFormat::Json,
            Format::Parquet => InputFormat::Parquet,
        }
    }
}

/// What to do with a row that cannot be read or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// Write the rows before it, then end with an error that names file and line
    Stop,
    /// Leave it without an output; count it, and name the first one at the end
    Skip,
}

/// The source of a row: its text, or the recording that it names.
///
/// # Errors
/// The start or the end of a recording is not a number.
pub(crate) fn source_of<'a>(loaded: &LoadedModel, row: &'a SourceRow) -> Result<SourceRef<'a>> {
    let text = SourceRef::from(row.text.as_str());
    match &loaded.experiment.data.source.audio {
        None => Ok(text),
        Some(audio) => {
            let (segment, named_by) = (segment_of(&row.others, audio)?, Some(&*row.place.file));
            Ok(SourceRef { segment, named_by, ..text })
        }
    }
}

/// What to do with sources that are too long, by `--truncate`.
pub(crate) fn too_long(truncate: bool) -> TooLong {
    match truncate {
        true => TooLong::Truncate,
        false => TooLong::Refuse("cut it with --truncate, or allow more with --set data.source.max_length=N"),
    }
}

/// A row of the input.
pub(crate) struct InputRow {
    /// Its number in the whole input, from 1.
    pub number: u64,
    /// Its content, or its error.
    pub row: Result<SourceRow>,
}

impl InputRow {
    fn bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let others = |row: &SourceRow| row.others.iter().map(ExtraField::bytes).sum::<usize>();
        let all = |row: &SourceRow| row.text.len() + length(&row.target) + length(&row.prefix) + others(row);
        self.row.as_ref().map_or(0, all)
    }
}

/// The rows of an input, chunk by chunk.
pub(crate) struct Input {
    packs: Receiver<RowPack>,
    waiting: VecDeque<InputRow>,
    ended_by: Option<Error>,
    /// Size of the next chunk.
    size: usize,
    /// Whether to wait for full chunks.
    full_chunks: bool,
    is_first: bool,
    file: Arc<Path>,
    line_ends: Vec<LineEnds>,
    /// The note about a guessed format.
    pub guessed: Option<String>,
    /// Whether the rows name recordings.
    names_recordings: bool,
    /// The recording that the only row is of, if it is not named but read.
    pub recording: Option<Result<Recording>>,
    /// Rows of the whole input, once it has ended.
    all_rows: Arc<AtomicU64>,
}

impl Input {
    /// Starts the reader thread. `path` is the file of `sources`; `-` is standard input. Where rows name recordings, their
    /// other fields may name the part that is read.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        sources: RowReader,
        path: &Path,
        wanted: Selection,
        names_recordings: bool,
    ) -> Result<Input> {
        // A redirected file is complete; a pipe or a terminal is not.
        let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
        let full_chunks = path.metadata().is_ok_and(|metadata| metadata.is_file());
        let input = Input::start_all(vec![sources], wanted, names_recordings)?;
        Ok(Input { full_chunks, ..input })
    }

    /// The same for the rows of several inputs, one after the other, in full chunks.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start_all(
        mut sources: Vec<RowReader>,
        wanted: Selection,
        names_recordings: bool,
    ) -> Result<Input> {
        if names_recordings {
            sources = sources.into_iter().map(RowReader::keeping_extra_fields).collect();
        }
        let file = sources.first().map_or(Path::new("").into(), |first| first.place(0).file);
        let line_ends = sources.iter().flat_map(RowReader::line_ends).collect();
        let read = move |sink: &mut RowSink| sources.into_iter().try_for_each(|rows| sink.take_all(rows));
        let input = Input::produced(file, wanted, names_recordings, read)?;
        Ok(Input { line_ends, ..input })
    }

    /// The same for rows that a function gives, on the reader thread. `file` names them in messages about all.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn produced(
        file: Arc<Path>,
        wanted: Selection,
        names_recordings: bool,
        read: impl FnOnce(&mut RowSink) -> Result<()> + Send + 'static,
    ) -> Result<Input> {
        let all_rows = Arc::<AtomicU64>::default();
        let packs = read_ahead::start(wanted, Arc::clone(&all_rows), read)?;
        Ok(Input {
            packs,
            waiting: VecDeque::new(),
            ended_by: None,
            size: FIRST_CHUNK,
            full_chunks: true,
            is_first: true,
            file,
            line_ends: Vec::new(),
            guessed: None,
            names_recordings,
            recording: None,
            all_rows,
        })
    }

    /// Rows of the whole input, of all shards, once it has ended.
    pub(crate) fn all_rows(&self) -> u64 {
        self.all_rows.load(Ordering::SeqCst)
    }

    /// The next rows, at most [`CHUNK`]; waits for at least one; empty at the end.
    ///
    /// # Errors
    /// The error that ends reading, after all rows before it; sources that are names of audio files.
    pub(crate) fn next_chunk(&mut self) -> Result<Vec<InputRow>> {
        let mut bytes: usize = self.waiting.iter().map(InputRow::bytes).sum();
        while self.waiting.len() < self.size && bytes < CHUNK_BYTES {
            let waits = self.full_chunks || self.waiting.is_empty();
            let pack = if waits { self.packs.recv().ok() } else { self.packs.try_recv().ok() };
            match pack {
                Some(Ok(rows)) => {
                    bytes += rows.iter().map(InputRow::bytes).sum::<usize>();
                    self.waiting.extend(rows);
                }
                Some(Err(error)) => self.ended_by = Some(error),
                None => break,
            }
        }
        if self.waiting.is_empty()
            && let Some(error) = self.ended_by.take()
        {
            return Err(error);
        }
        let chunk: Vec<InputRow> = self.waiting.drain(..self.waiting.len().min(self.size)).collect();
        self.size = CHUNK.min(2 * self.size);
        if std::mem::replace(&mut self.is_first, false) && !self.names_recordings {
            refuse_sound(chunk.iter().filter_map(|row| row.row.as_ref().ok()).map(|row| row.text.as_str()))?;
        }
        Ok(chunk)
    }

    /// Notes about the input, which had this many rows.
    pub(crate) fn notes(&self, rows: u64) -> Vec<String> {
        let file = self.file.display();
        let none = (rows == 0).then(|| format!("{file} has no rows"));
        let by_cr = self.line_ends.iter().filter_map(LineEnds::note);
        none.into_iter().chain(by_cr).chain(self.guessed.clone()).collect()
    }

    /// The recording that was read as the only row.
    ///
    /// # Errors
    /// It could not be read.
    pub(crate) fn recording(&self) -> Result<Option<&Recording>> {
        self.recording.as_ref().map(|recording| recording.as_ref().map_err(Error::clone)).transpose()
    }

    /// The file, as it is named.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::shard::Shard;
    use crate::data::readers::Columns;

    #[test]
    fn a_reader_that_panics_is_not_the_end_of_the_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.txt");
        std::fs::write(&path, "abc\n").unwrap();
        let sources = RowReader::open(&path, None, Columns::new(&["source"], "target")).unwrap();
        // No command line can have such a shard.
        let wanted = Selection { shard: Some(Shard { number: 0, of: 0 }), ..Selection::default() };
        let error = Input::start(sources, &path, wanted, false).unwrap().next_chunk().err().unwrap();
        assert_eq!(error.exit_code(), 1);
        assert!(error.message().contains("divisor of zero"), "{error}");
    }
}
