//! Token ids of the rows of a set, both sides, in two or four bytes each: in memory, or in a file.
//!
//! A file is read by position and not mapped: the system's cache is shared by all ranks in the same way, a file that is cut
//! short is an error and no signal, and pages that were read do not count as memory of the process. What is in memory of
//! each row is its two lengths; where it begins follows from those and from where every 64th row begins.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::batch_sampler::Positions;
use crate::error::{Error, Result};

/// Rows between two whose beginnings are known.
const BLOCK: usize = 64;

/// Bytes of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// For vocabularies of up to 65,536 tokens.
    Two,
    /// For all others.
    Four,
}

impl Width {
    /// The smallest one for vocabularies of these sizes.
    pub(crate) fn of(sizes: [usize; 2]) -> Width {
        if sizes.iter().all(|&size| size <= 1 << 16) { Width::Two } else { Width::Four }
    }

    /// As a number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Width::Two => 2,
            Width::Four => 4,
        }
    }

    fn write(self, ids: &[i64], to: &mut Vec<u8>) {
        match self {
            Width::Two => ids.iter().for_each(|&id| to.extend((id as u16).to_le_bytes())),
            Width::Four => ids.iter().for_each(|&id| to.extend((id as u32).to_le_bytes())),
        }
    }

    fn read(self, bytes: &[u8]) -> Vec<i64> {
        match self {
            Width::Two => bytes.as_chunks().0.iter().map(|id| i64::from(u16::from_le_bytes(*id))).collect(),
            Width::Four => bytes.as_chunks().0.iter().map(|id| i64::from(u32::from_le_bytes(*id))).collect(),
        }
    }
}

/// Where ids are.
#[derive(Debug)]
pub(crate) enum Ids {
    /// In memory.
    Memory(Vec<u8>),
    /// From `start` of a file on.
    File {
        /// The open file.
        file: Arc<File>,
        /// Its name, for messages.
        path: PathBuf,
        /// Its first byte.
        start: u64,
    },
}

impl Ids {
    fn bytes(&self, start: u64, length: usize) -> Result<Cow<'_, [u8]>> {
        match self {
            Ids::Memory(bytes) => Ok(Cow::Borrowed(&bytes[start as usize..start as usize + length])),
            Ids::File { file, path, start: first } => {
                let mut bytes = vec![0; length];
                let read = file.read_exact_at(&mut bytes, first + start);
                read.map_err(|error| Error::file("read", path, &error))?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// Rows of ids.
#[derive(Debug)]
pub(crate) struct TokenStore {
    ids: Ids,
    width: Width,
    lengths: Arc<[Positions]>,
    /// The first token of every 64th row.
    starts: Vec<u64>,
}

impl TokenStore {
    /// Ids, with the positions of each row, including EOS.
    pub(crate) fn new(ids: Ids, width: Width, lengths: Arc<[Positions]>) -> TokenStore {
        let mut next = 0;
        let starts = lengths.chunks(BLOCK).map(|rows| {
            let start = next;
            next += rows.iter().map(tokens).sum::<u64>();
            start
        });
        let starts = starts.collect();
        TokenStore { ids, width, lengths, starts }
    }

    /// Positions of each row, including EOS.
    pub(crate) fn lengths(&self) -> &Arc<[Positions]> {
        &self.lengths
    }

    /// The ids of both sides of a row, without EOS.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn row(&self, row: usize) -> Result<[Vec<i64>; 2]> {
        let before = &self.lengths[row / BLOCK * BLOCK..row];
        let start = self.starts[row / BLOCK] + before.iter().map(tokens).sum::<u64>();
        let (width, positions) = (self.width.bytes(), self.lengths[row]);
        let bytes = self.ids.bytes(start * width as u64, tokens(&positions) as usize * width)?;
        let (source, target) = bytes.split_at((positions.0 as usize - 1) * width);
        Ok([source, target].map(|side| self.width.read(side)))
    }
}

fn tokens(&(source, target): &Positions) -> u64 {
    u64::from(source) + u64::from(target) - 2
}

/// Writes rows of ids, and hashes them.
pub(crate) struct TokenWriter<W> {
    to: W,
    width: Width,
    lengths: Vec<Positions>,
    fingerprint: Sha256,
    /// Of a row: its ids, and what is hashed.
    buffers: [Vec<u8>; 2],
}

impl<W: Write> TokenWriter<W> {
    /// A writer of no rows yet.
    pub(crate) fn new(to: W, width: Width) -> TokenWriter<W> {
        let (lengths, fingerprint) = (Vec::new(), Sha256::new());
        TokenWriter { to, width, lengths, fingerprint, buffers: Default::default() }
    }

    /// Makes room for this many rows, and for no more.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.lengths.reserve_exact(rows);
    }

    /// Adds a row.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn push(&mut self, sides: [&[i64]; 2]) -> io::Result<()> {
        let [row, hashed] = &mut self.buffers;
        row.clear();
        hashed.clear();
        for side in sides {
            self.width.write(side, row);
            hash_side(side, hashed);
        }
        self.fingerprint.update(&*hashed);
        self.lengths.push((sides[0].len() as u32 + 1, sides[1].len() as u32 + 1));
        self.to.write_all(row)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// What it has written to, the positions of each row, and the hash of all.
    pub(crate) fn finish(self) -> (W, Vec<Positions>, Sha256) {
        (self.to, self.lengths, self.fingerprint)
    }
}

impl TokenWriter<Vec<u8>> {
    /// The rows, and the hash of all.
    pub(crate) fn into_store(self) -> (TokenStore, Sha256) {
        let width = self.width;
        let (ids, lengths, hash) = self.finish();
        (TokenStore::new(Ids::Memory(ids), width, lengths.into()), hash)
    }
}

/// What a fingerprint has of a side: its length, and its ids.
pub(crate) fn hash_side(side: &[i64], to: &mut Vec<u8>) {
    to.extend(side.len().to_le_bytes());
    side.iter().for_each(|id| to.extend(id.to_le_bytes()));
}

/// A hash in hexadecimal.
pub(crate) fn hexadecimal(hash: impl IntoIterator<Item = u8>) -> String {
    hash.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_any_order_in_two_and_in_four_bytes() {
        let side = |n: i64, most: i64| (0..n % 5).map(|at| (n * 1000 + at) % most).collect::<Vec<i64>>();
        for (sizes, most, width) in [([65_536, 9], 65_536, Width::Two), ([9, 65_537], 1 << 22, Width::Four)] {
            assert_eq!(Width::of(sizes), width);
            let rows: Vec<[Vec<i64>; 2]> = (0..200).map(|n| [side(n, most), side(n + 2, most)]).collect();
            let mut writer = TokenWriter::new(Vec::new(), width);
            rows.iter().for_each(|[source, target]| writer.push([source, target]).unwrap());
            let (store, _) = writer.into_store();
            for row in (0..200).rev() {
                assert_eq!(store.row(row).unwrap(), rows[row]);
            }
        }
    }
}
