//! Rows as they arrive: a thread reads ahead of the model, and what has arrived is decoded together.
//!
//! A line typed at a terminal or written to a pipe is decoded at once; a file is read in full chunks. The queue between
//! reader and model is bounded, so that memory does not depend on the length of the input.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use clap::ValueEnum;

use super::output::{Kept, SAME_AS_BEFORE};
use super::shard::Shard;
use crate::data::DataConfig;
use crate::data::audio::Recording;
use crate::data::audio::listing::segment_of;
use crate::data::readers::{ExtraField, Format, LineEnds, Place, RowReader, SourceRow, shorten};
use crate::data::selection::refuse_sound;
use crate::data::source_processor::SourceRef;
use crate::error::{Error, Result, caught};
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::TooLong;

/// The most rows of a chunk, and the rows of the first one. Each chunk is twice as large as the one before: the first
/// outputs come early, a job that is killed repeatedly makes progress, and later chunks have more rows to sort.
pub(crate) const CHUNK: usize = 2048;
const FIRST_CHUNK: usize = 256;

/// A chunk takes no more rows beyond this many bytes.
const CHUNK_BYTES: usize = 1 << 24;

/// The most rows, and bytes, that the reader sends at once.
const PACK: usize = 256;
const PACK_BYTES: usize = 1 << 20;

/// Packs in the queue to the model.
const AHEAD: usize = 16;

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

/// What to do with a row that cannot be read or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// Write the rows before it, then end with an error that names file and line
    Stop,
    /// Leave its output empty; count it, and name the first one at the end
    Skip,
}

/// The source of a row of `file`: its text, or the recording that it names.
///
/// # Errors
/// The start or the end of a recording is not a number.
pub(crate) fn source_of<'a>(
    loaded: &LoadedModel,
    file: &'a Path,
    row: &'a SourceRow,
) -> Result<SourceRef<'a>> {
    let text = SourceRef::from(row.text.as_str());
    match &loaded.experiment.data.source.audio {
        None => Ok(text),
        Some(audio) => {
            Ok(SourceRef { segment: segment_of(&row.others, audio)?, named_by: Some(file), ..text })
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

/// The selected rows of the input.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// The shard; `None` for all rows.
    pub shard: Option<Shard>,
    /// The first of these rows, which the output already has.
    pub answered: Kept,
}

impl Selection {
    /// Checks that a row, counted from 1, that the output already has is the one in the output or its record.
    fn check(&self, number: u64, row: &Result<SourceRow>) -> Result<()> {
        let known = match number {
            1 => self.answered.first_source.as_ref(),
            _ => None,
        };
        let last = self.answered.last_source.as_ref().filter(|_| number == self.answered.rows);
        match (last.or(known), row) {
            (Some(source), Ok(row)) if *source != row.text => {
                let message = format!(
                    "row {number} of the output must belong to that row of the input, but the sources are\n  {}\n  {}",
                    shorten(source),
                    shorten(&row.text)
                );
                Err(Error::input(message).hint(SAME_AS_BEFORE))
            }
            _ => Ok(()),
        }
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

/// Rows, or the error that ends reading.
type RowPack = Result<Vec<InputRow>>;

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
        let sources = if names_recordings { sources.keeping_extra_fields() } else { sources };
        let (to, packs) = sync_channel(AHEAD);
        let (file, line_ends) = (sources.place(0).file, sources.line_ends());
        let all_rows = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&all_rows);
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || {
                let choice = Choice { wanted, number: 0, ours: 0, counted };
                // A panic must not look like the end of the input.
                let read = || {
                    read_ahead(sources, choice, &to);
                    Ok(())
                };
                if let Err(error) = caught(read) {
                    let _ = to.send(Err(error));
                }
            })
            .map_err(|error| Error::failure(format!("cannot start a thread: {error}")))?;
        // A redirected file is complete; a pipe or a terminal is not.
        let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
        let full_chunks = path.metadata().is_ok_and(|metadata| metadata.is_file());
        Ok(Input {
            packs,
            waiting: VecDeque::new(),
            ended_by: None,
            size: FIRST_CHUNK,
            full_chunks,
            is_first: true,
            file,
            line_ends,
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

    /// The place of a line, for messages.
    pub(crate) fn place(&self, line: u64) -> Place {
        Place { file: self.file.clone(), line }
    }
}

/// Reads until the end, or until the receiver is dropped.
fn read_ahead(mut sources: RowReader, mut choice: Choice, to: &SyncSender<RowPack>) {
    let mut pack = Vec::new();
    loop {
        let end = match sources.next_row().and_then(|row| choice.choose(row)) {
            Ok(Next::Row(row)) => {
                pack.push(row);
                None
            }
            Ok(Next::NotWanted) => None,
            Ok(Next::End) => Some(None),
            Err(error) => Some(Some(Err(error))),
        };
        let full = pack.len() >= PACK || pack.iter().map(InputRow::bytes).sum::<usize>() >= PACK_BYTES;
        let due = full || end.is_some() || !sources.is_ready();
        if due && !pack.is_empty() && to.send(Ok(std::mem::take(&mut pack))).is_err() {
            return;
        }
        if let Some(error) = end {
            // If the receiver is dropped, so is the error.
            let _ = error.map(|error| to.send(error));
            return;
        }
    }
}

/// What the reader finds next.
enum Next {
    Row(InputRow),
    NotWanted,
    End,
}

/// Selects rows.
struct Choice {
    wanted: Selection,
    /// Rows so far.
    number: u64,
    /// Of these, rows of the shard.
    ours: u64,
    /// Gets the number of all rows at the end.
    counted: Arc<AtomicU64>,
}

impl Choice {
    fn choose(&mut self, row: Option<Result<SourceRow>>) -> Result<Next> {
        let answered = self.wanted.answered.rows;
        let Some(row) = row else {
            self.counted.store(self.number, Ordering::SeqCst);
            return if self.ours < answered { Err(too_few(answered, self.ours)) } else { Ok(Next::End) };
        };
        self.number += 1;
        if self.wanted.shard.is_some_and(|shard| !shard.has(self.number)) {
            return Ok(Next::NotWanted);
        }
        self.ours += 1;
        if self.ours > answered {
            return Ok(Next::Row(InputRow { number: self.number, row }));
        }
        self.wanted.check(self.ours, &row).map(|()| Next::NotWanted)
    }
}

fn too_few(answered: u64, there: u64) -> Error {
    Error::input(format!(
        "the output must not have more rows than the input, but it has {answered}, and the input {there}"
    ))
    .hint(SAME_AS_BEFORE)
}

#[cfg(test)]
mod tests {
    use super::*;
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
