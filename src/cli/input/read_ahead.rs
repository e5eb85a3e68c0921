//! The thread that reads ahead of the model: rows are selected, and sent in packs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::InputRow;
use crate::cli::output::{Kept, SAME_AS_BEFORE};
use crate::cli::shard::Shard;
use crate::data::readers::{RowReader, SourceRow, shorten};
use crate::error::{Error, Result, caught};

/// The most rows, and bytes, that are sent at once.
const PACK: usize = 256;
const PACK_BYTES: usize = 1 << 20;

/// Packs in the queue to the model.
const AHEAD: usize = 16;

/// Rows, or the error that ends reading.
pub(super) type RowPack = Result<Vec<InputRow>>;

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

/// Takes the rows of an input, in order, and sends the selected ones to the model.
pub(crate) struct RowSink {
    wanted: Selection,
    /// Rows so far.
    number: u64,
    /// Of these, rows of the shard.
    ours: u64,
    pack: Vec<InputRow>,
    to: SyncSender<RowPack>,
}

/// Starts the thread on which `read` gives rows. `counted` gets the number of all rows at the end.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn start(
    wanted: Selection,
    counted: Arc<AtomicU64>,
    read: impl FnOnce(&mut RowSink) -> Result<()> + Send + 'static,
) -> Result<Receiver<RowPack>> {
    let (to, packs) = sync_channel(AHEAD);
    let work = move || {
        let mut sink = RowSink { wanted, number: 0, ours: 0, pack: Vec::new(), to };
        // A panic must not look like the end of the input.
        let read = caught(|| read(&mut sink));
        sink.end(read, &counted);
    };
    let started = std::thread::Builder::new().name("input".to_owned()).spawn(work);
    started.map_err(|error| Error::failure(format!("cannot start a thread: {error}")))?;
    Ok(packs)
}

impl RowSink {
    /// Takes all rows of a reader.
    ///
    /// # Errors
    /// Those of reading and of [`RowSink::take`].
    pub(super) fn take_all(&mut self, mut rows: RowReader) -> Result<()> {
        while let Some(row) = rows.next_row()? {
            self.take(row, rows.is_ready())?;
        }
        Ok(())
    }

    /// Takes a row. The rows so far are sent if they are many, or if the next one has not arrived yet.
    ///
    /// # Errors
    /// The output has another source in its place; the model takes no more rows.
    pub(crate) fn take(&mut self, row: Result<SourceRow>, next_is_ready: bool) -> Result<()> {
        self.number += 1;
        if self.wanted.shard.is_none_or(|shard| shard.has(self.number)) {
            self.ours += 1;
            match self.ours > self.wanted.answered.rows {
                true => self.pack.push(InputRow { number: self.number, row }),
                false => self.wanted.check(self.ours, &row)?,
            }
        }
        let bytes = || self.pack.iter().map(InputRow::bytes).sum::<usize>();
        let is_full = self.pack.len() >= PACK || bytes() >= PACK_BYTES;
        if is_full || !next_is_ready { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<()> {
        if self.pack.is_empty() {
            return Ok(());
        }
        let sent = self.to.send(Ok(std::mem::take(&mut self.pack)));
        // The command has ended, so nobody hears of this.
        sent.map_err(|_| Error::failure("the rows are no longer needed"))
    }

    /// Sends the last rows, and then the error that ended reading, if there is one.
    fn end(mut self, read: Result<()>, counted: &AtomicU64) {
        let answered = self.wanted.answered.rows;
        let read = read.and_then(|()| {
            counted.store(self.number, Ordering::SeqCst);
            if self.ours < answered { Err(too_few(answered, self.ours)) } else { Ok(()) }
        });
        if let Err(error) = self.send().and(read) {
            // If the receiver is dropped, so is the error.
            let _ = self.to.send(Err(error));
        }
    }
}

fn too_few(answered: u64, there: u64) -> Error {
    Error::input(format!(
        "the output must not have more rows than the input, but it has {answered}, and the input {there}"
    ))
    .hint(SAME_AS_BEFORE)
}
