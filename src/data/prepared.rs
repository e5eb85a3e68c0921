//! A set on disk: the token ids of its rows, their lengths and lines, and what was reported about it.
//!
//! Format: magic; the ids, two or four bytes each, row after row, source before target; the positions of each row (2 u32);
//! the line of each row (u32); a trailer in JSON; its length (u64), its checksum (u32), magic. The trailer has what the
//! file was made from, and a checksum of each 16 MiB of what is before it. Integers are little-endian. A file of another
//! origin, or a damaged one, is as good as none.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc::{CRC_32_ISCSI, Crc, Digest, Table};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::batch_sampler::Positions;
use super::left_behind::Lines;
use super::left_out::LeftOut;
use super::partial_file::{PartialFile, remove_abandoned};
use super::token_store::{Ids, TokenStore, Width};
use crate::error::{Error, Result};
use crate::runtime::threads;

/// The first and the last bytes; the last one is the version.
const MAGIC: &[u8; 8] = b"tokens\x00\x01";

/// Bytes behind the trailer.
const END: u64 = 8 + 4 + 8;

/// Bytes of a checksum.
const BLOCK: usize = 1 << 24;

/// Positions that are read at once.
const READ_AT_ONCE: usize = 1 << 17;

/// CRC-32C.
static CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What is reported about a set, beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// SHA-256 over all tokens.
    pub fingerprint: String,
    /// The rows of each file of the config.
    pub rows: Vec<u64>,
    /// Symbols that are not in the vocabulary, by side.
    pub unknown: [usize; 2],
    /// The pairs that are not used.
    pub left_out: LeftOut,
    /// Notes about the files.
    pub notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Trailer {
    made_from: Value,
    width: usize,
    rows: usize,
    blocks: Vec<u32>,
    about: About,
}

/// A file of a set that is being written. It is there once it is finished; an unfinished one has a name that is not read.
pub(crate) struct PreparedWriter {
    file: PartialFile,
    digest: Digest<'static, u32, Table<16>>,
    /// Bytes of the last block.
    in_block: usize,
    blocks: Vec<u32>,
}

impl PreparedWriter {
    /// Begins a file, and removes what a process that was killed has left in its folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn create(path: &Path) -> Result<PreparedWriter> {
        remove_abandoned(path.parent().unwrap_or(Path::new("")));
        let (file, digest) = (PartialFile::create(path)?, CHECKSUM.digest());
        let mut writer = PreparedWriter { file, digest, in_block: 0, blocks: Vec::new() };
        writer.write_all(MAGIC).map_err(|error| writer.file.failed(&error))?;
        Ok(writer)
    }

    /// Writes all but the ids, which it has got before, and puts the file in place.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn finish(
        mut self,
        made_from: &Value,
        width: Width,
        (lengths, lines): (&[Positions], &[u32]),
        about: About,
    ) -> Result<()> {
        let written = self.write_rows(lengths, lines).and_then(|()| {
            self.close_block();
            let blocks = std::mem::take(&mut self.blocks);
            let (made_from, width) = (made_from.clone(), width.bytes());
            let trailer =
                serde_json::to_vec(&Trailer { made_from, width, rows: lengths.len(), blocks, about })?;
            self.file.write_all(&trailer)?;
            self.file.write_all(&(trailer.len() as u64).to_le_bytes())?;
            self.file.write_all(&CHECKSUM.checksum(&trailer).to_le_bytes())?;
            self.file.write_all(MAGIC)?;
            self.file.put()
        });
        written.map_err(|error| self.file.failed(&error))
    }

    fn write_rows(&mut self, lengths: &[Positions], lines: &[u32]) -> io::Result<()> {
        for (source, target) in lengths {
            self.write_all(&source.to_le_bytes())?;
            self.write_all(&target.to_le_bytes())?;
        }
        lines.iter().try_for_each(|line| self.write_all(&line.to_le_bytes()))
    }

    fn close_block(&mut self) {
        let digest = std::mem::replace(&mut self.digest, CHECKSUM.digest());
        self.blocks.push(digest.finalize());
        self.in_block = 0;
    }
}

impl Write for PreparedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(BLOCK - self.in_block)];
        self.file.write_all(bytes)?;
        self.digest.update(bytes);
        self.in_block += bytes.len();
        if self.in_block == BLOCK {
            self.close_block();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file of a set.
#[derive(Debug)]
pub(crate) struct Prepared {
    path: PathBuf,
    file: Arc<File>,
    width: Width,
    rows: usize,
    blocks: Vec<u32>,
    /// Where the ids end.
    ids_end: u64,
    /// Where the trailer begins.
    end: u64,
    /// What is reported about the set.
    pub about: About,
}

impl Prepared {
    /// The file at `path`, or `None`: there is none, it was made from something else, or its trailer is damaged.
    pub(crate) fn open(path: &Path, made_from: &Value) -> Option<Prepared> {
        let file = File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        let mut tail = [0; END as usize];
        file.read_exact_at(&mut tail, size.checked_sub(END)?).ok()?;
        let length = u64::from_le_bytes(tail[..8].try_into().ok()?);
        let end = size.checked_sub(END)?.checked_sub(length)?;
        if &tail[12..] != MAGIC {
            return None;
        }
        let mut trailer = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut trailer, end).ok()?;
        if CHECKSUM.checksum(&trailer).to_le_bytes() != tail[8..12] {
            return None;
        }
        let Trailer { made_from: made, width, rows, blocks, about } =
            serde_json::from_slice(&trailer).ok()?;
        let width = [Width::Two, Width::Four].into_iter().find(|one| one.bytes() == width)?;
        let ids_end = end.checked_sub(12 * rows as u64)?;
        let is_whole = made == *made_from && blocks.len() as u64 == end / BLOCK as u64 + 1;
        let (path, file) = (path.to_owned(), Arc::new(file));
        is_whole.then_some(Prepared { path, file, width, rows, blocks, ids_end, end, about })
    }

    /// Whether all of it is as it was written; reads it once, on all threads.
    pub(crate) fn is_intact(&self) -> bool {
        let blocks = (0..).zip(&self.blocks).collect();
        let of_block = |(number, &checksum): (u64, &u32)| {
            let start = number * BLOCK as u64;
            let mut bytes = vec![0; (self.end - start).min(BLOCK as u64) as usize];
            self.file.read_exact_at(&mut bytes, start).is_ok() && CHECKSUM.checksum(&bytes) == checksum
        };
        threads::each(blocks, of_block).into_iter().all(|intact| intact)
    }

    /// Its tokens.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn tokens(&self) -> Result<TokenStore> {
        let mut lengths: Vec<Positions> = Vec::with_capacity(self.rows);
        while lengths.len() < self.rows {
            let mut bytes = vec![0; 8 * READ_AT_ONCE.min(self.rows - lengths.len())];
            let read = self.file.read_exact_at(&mut bytes, self.ids_end + 8 * lengths.len() as u64);
            read.map_err(|error| Error::file("read", &self.path, &error))?;
            let side = |bytes: &[u8; 8], at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| bytes[at + n]));
            lengths.extend(bytes.as_chunks().0.iter().map(|bytes| (side(bytes, 0), side(bytes, 4))));
        }
        let start = MAGIC.len() as u64;
        let ids = Ids::File { file: self.file.clone(), path: self.path.clone(), start };
        Ok(TokenStore::new(ids, self.width, lengths.into()))
    }

    /// The lines of its rows.
    pub(crate) fn lines(&self) -> Lines {
        Lines { file: self.file.clone(), start: self.ids_end + 8 * self.rows as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::partial_file::damage;
    use crate::data::token_store::TokenWriter;
    use serde_json::json;

    const ROWS: [[&[i64]; 2]; 3] = [[&[4, 5], &[6]], [&[], &[7, 8, 9]], [&[65_535], &[]]];

    fn write(path: &Path) -> About {
        let mut tokens = TokenWriter::new(PreparedWriter::create(path).unwrap(), Width::Two);
        ROWS.iter().for_each(|row| tokens.push(*row).unwrap());
        let (file, lengths, _) = tokens.finish();
        let about = About { rows: vec![1, 2], notes: vec!["a note".to_owned()], ..About::default() };
        file.finish(&json!("a"), Width::Two, (&lengths, &[2, 2, 9]), about.clone()).unwrap();
        about
    }

    #[test]
    fn a_set_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train");
        let about = write(&path);
        let prepared = Prepared::open(&path, &json!("a")).unwrap();
        assert!(prepared.is_intact());
        assert_eq!(prepared.about, about);
        let tokens = prepared.tokens().unwrap();
        for (row, [source, target]) in ROWS.into_iter().enumerate().rev() {
            assert_eq!(tokens.row(row).unwrap(), [source, target]);
        }
        assert!(Prepared::open(&path, &json!("b")).is_none(), "it was made from something else");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn damage_anywhere_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train");
        write(&path);
        let open = || Prepared::open(&path, &json!("a"));
        damage(&path, || open().is_some(), || open().is_some_and(|it| it.is_intact()));
    }

    #[test]
    fn what_a_killed_process_has_left_is_not_read_and_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train");
        let mut half = PreparedWriter::create(&path).unwrap();
        half.write_all(&[0; 100]).unwrap();
        half.flush().unwrap();
        let left = folder.path().join(".train.1.partial");
        std::fs::copy(half.file.partial(), &left).unwrap();
        assert!(Prepared::open(&path, &json!("a")).is_none());
        // Another writer removes what nobody holds, and leaves what is being written.
        let other = PreparedWriter::create(&folder.path().join("other")).unwrap();
        assert!(!left.exists() && half.file.partial().exists());
        drop((half, other));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
