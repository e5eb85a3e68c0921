//! Rows as they arrive: a thread reads ahead of the model, and what has arrived goes on together.
//!
//! A line typed at a terminal or written to a pipe is handed on at once; a file goes in full chunks. What waits between
//! reader and model is bounded, so that memory does not depend on the input's length.

use std::collections::VecDeque;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use clap::ValueEnum;

use crate::data::pairs::{Place, SourceRow, Sources};
use crate::error::{Error, Result};

/// The most rows that go on together.
pub const CHUNK: usize = 2048;

/// The most rows that the reader hands over at once.
const PACK: usize = 256;

/// Packs that wait for the model.
const AHEAD: usize = 16;

/// What happens to a row that cannot be read, or that the model cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// The rows before it are written, and the command ends with an error that names file and line
    Stop,
    /// Its output is empty; it is counted, and the first one is named at the end
    Skip,
}

/// Every n-th row, from the i-th on: the share of one job among n.
#[derive(Clone, Copy, Debug)]
pub struct Shard {
    number: u64,
    of: u64,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Shard, String> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
            _ => Err("it must be I/N with I from 1 to N: 1/4, 2/4, 3/4, 4/4".to_owned()),
        }
    }
}

impl Shard {
    fn has(&self, row: u64) -> bool {
        row % self.of == self.number % self.of
    }
}

/// Which rows of the input are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// All of them, or those of a shard.
    pub shard: Option<Shard>,
    /// Of these, how many at the beginning were answered before.
    pub answered: u64,
}

/// A row of the input.
pub struct InputRow {
    /// Its number in the whole input, from 1.
    pub number: u64,
    /// What stands in it, or what is wrong with it.
    pub row: Result<SourceRow>,
}

/// Rows, or why nothing more can be read.
type Pack = Result<Vec<InputRow>>;

/// The rows of an input, chunk by chunk.
pub struct Input {
    packs: Receiver<Pack>,
    waiting: VecDeque<InputRow>,
    ended_by: Option<Error>,
    /// Whether a chunk waits until it is full.
    full_chunks: bool,
    file: Arc<Path>,
}

impl Input {
    /// Starts to read. `path` is where `sources` come from; `-` is standard input.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(sources: Sources, path: &Path, wanted: Wanted) -> Result<Input> {
        let (to, packs) = sync_channel(AHEAD);
        let file = sources.place(0).file;
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || read_ahead(sources, wanted, &to))
            .map_err(|error| Error::failure(format!("cannot start a thread: {error}")))?;
        // A redirected file is all there; a pipe or a terminal is not.
        let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
        let full_chunks = path.metadata().is_ok_and(|metadata| metadata.is_file());
        Ok(Input { packs, waiting: VecDeque::new(), ended_by: None, full_chunks, file })
    }

    /// The next rows, at most [`CHUNK`]; waits for one at least, and gives none at the end.
    ///
    /// # Errors
    /// Nothing more can be read. All rows before were handed out.
    pub fn next_chunk(&mut self) -> Result<Vec<InputRow>> {
        while self.waiting.len() < CHUNK {
            let waits = self.full_chunks || self.waiting.is_empty();
            let pack = if waits { self.packs.recv().ok() } else { self.packs.try_recv().ok() };
            match pack {
                Some(Ok(rows)) => self.waiting.extend(rows),
                Some(Err(error)) => self.ended_by = Some(error),
                None => break,
            }
        }
        if self.waiting.is_empty()
            && let Some(error) = self.ended_by.take()
        {
            return Err(error);
        }
        Ok(self.waiting.drain(..self.waiting.len().min(CHUNK)).collect())
    }

    /// The place of a line, for messages.
    pub fn place(&self, line: u64) -> Place {
        Place { file: self.file.clone(), line }
    }
}

/// Reads until the end, or until nobody listens any more.
fn read_ahead(mut sources: Sources, wanted: Wanted, to: &SyncSender<Pack>) {
    let (mut number, mut answered, mut pack) = (0, wanted.answered, Vec::new());
    loop {
        let end = match sources.next_row() {
            Ok(Some(row)) => {
                number += 1;
                if wanted.shard.is_none_or(|shard| shard.has(number)) {
                    match answered {
                        0 => pack.push(InputRow { number, row }),
                        _ => answered -= 1,
                    }
                }
                None
            }
            Ok(None) if answered > 0 => Some(Err(too_few(wanted.answered, wanted.answered - answered))),
            Ok(None) => Some(Ok(Vec::new())),
            Err(error) => Some(Err(error)),
        };
        let due = end.is_some() || pack.len() >= PACK || !sources.is_ready();
        if due && !pack.is_empty() && to.send(Ok(std::mem::take(&mut pack))).is_err() {
            return;
        }
        if let Some(end) = end {
            // Whoever has gone away needs no end either.
            let _ = to.send(end);
            return;
        }
    }
}

fn too_few(answered: u64, there: u64) -> Error {
    Error::input(format!("the output has {answered} rows already, but the input has only {there}"))
        .hint("--resume needs the same input as before, and the same --shard")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_the_rows_among_them() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].map(|text| text.parse().unwrap()).to_vec();
        for row in 1..10 {
            let having: Vec<usize> = (0..3).filter(|&n| shards[n].has(row)).collect();
            assert_eq!(having, [(row as usize - 1) % 3]);
        }
        for wrong in ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/2/3", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
