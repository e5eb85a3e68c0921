//! Features on disk, so that a run computes them once: one file for a corpus, whose rows are read one at a time.
//!
//! The caller's key identifies the settings and the content of the recordings. A file of another key, or a
//! damaged one, is as good as none. Format: magic, key, bins (u32); the rows' values (f32); each row's frames (u32) and
//! checksum (u32); the number of rows (u64); a checksum of all but the values. Integers and floats are little-endian.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crc::{CRC_32_ISCSI, Crc, Table};
use sha2::{Digest, Sha256};

use super::Frames;
use crate::data::partial_file::PartialFile;
use crate::error::{Error, Result};

/// The first bytes of a cache; the last is the version.
const MAGIC: &[u8; 8] = b"frames\x00\x01";

/// Bytes of magic, key and bins.
const HEADER: usize = 8 + 32 + 4;

/// CRC-32C.
const CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What features are of, as a hash.
pub(crate) type CacheKey = [u8; 32];

/// The hash of a file's content.
///
/// # Errors
/// The file can't be read.
pub(crate) fn content_hash(path: &Path) -> Result<CacheKey> {
    let mut hash = Sha256::new();
    let copied = File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
    copied.map_err(|error| Error::file("read", path, &error))?;
    Ok(hash.finalize().into())
}

/// The key of settings and of the content of each recording ([`content_hash`]), in their order.
pub(crate) fn cache_key(settings: &[u8], contents: impl IntoIterator<Item = CacheKey>) -> CacheKey {
    let mut hash = Sha256::new();
    // With its length: settings are no content.
    hash.update((settings.len() as u64).to_le_bytes());
    hash.update(settings);
    contents.into_iter().for_each(|content| hash.update(content));
    hash.finalize().into()
}

/// Writes a cache row by row. It is there once it is finished; an unfinished one is removed.
pub(crate) struct CacheWriter {
    file: PartialFile,
    header: Vec<u8>,
    index: Vec<u8>,
}

/// A cache that is read row by row; threads can share it.
pub(crate) struct CacheReader {
    path: PathBuf,
    file: Mutex<File>,
    bins: usize,
    rows: Vec<CachedRow>,
}

struct CachedRow {
    start: u64,
    bytes: usize,
    checksum: u32,
}

impl CacheWriter {
    /// Begins a cache of features of `bins` bins.
    ///
    /// # Errors
    /// The file can't be written.
    pub(crate) fn create(path: &Path, key: &CacheKey, bins: usize) -> Result<Self> {
        let header = [MAGIC.as_slice(), key, &(bins as u32).to_le_bytes()].concat();
        let mut writer = CacheWriter { file: PartialFile::create(path)?, header, index: Vec::new() };
        writer.file.write_all(&writer.header).map_err(|error| writer.file.failed(&error))?;
        Ok(writer)
    }

    /// Adds the features of the next row.
    ///
    /// # Errors
    /// The file can't be written.
    pub(crate) fn push(&mut self, frames: &Frames) -> Result<()> {
        let bytes: Vec<u8> = frames.data().iter().flat_map(|value| value.to_le_bytes()).collect();
        self.index.extend((frames.len() as u32).to_le_bytes());
        self.index.extend(CHECKSUM.checksum(&bytes).to_le_bytes());
        self.file.write_all(&bytes).map_err(|error| self.file.failed(&error))
    }

    /// Puts the cache in place, and opens it.
    ///
    /// # Errors
    /// The file can't be written.
    pub(crate) fn finish(mut self) -> Result<CacheReader> {
        let rows = (self.index.len() / 8) as u64;
        self.index.extend(rows.to_le_bytes());
        let checksum = index_checksum(&self.header, &self.index);
        self.index.extend(checksum.to_le_bytes());
        let written = self.file.write_all(&self.index).and_then(|()| self.file.put());
        written.map_err(|error| self.file.failed(&error))?;
        let key = self.header[8..40].try_into().expect("a key has 32 bytes");
        let lost = || {
            Error::failure("the cache must be as it was written, but it is not")
                .at(self.file.path().display())
        };
        CacheReader::open(self.file.path(), &key).ok_or_else(lost)
    }
}

impl CacheReader {
    /// The cache of `key`, or `None`: there is none, it is of another key, or its index is damaged.
    pub(crate) fn open(path: &Path, key: &CacheKey) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        let mut header = [0; HEADER];
        file.read_exact(&mut header).ok()?;
        if &header[..8] != MAGIC || header[8..40] != *key {
            return None;
        }
        let bins = u32::from_le_bytes(header[40..].try_into().ok()?) as usize;
        file.seek(SeekFrom::Start(size.checked_sub(12)?)).ok()?;
        let mut end = [0; 12];
        file.read_exact(&mut end).ok()?;
        let rows = u64::from_le_bytes(end[..8].try_into().ok()?);
        let index_start = size.checked_sub(rows.checked_mul(8)?.checked_add(12)?)?;
        let mut index = vec![0; (size - 4 - index_start) as usize];
        file.seek(SeekFrom::Start(index_start)).ok()?;
        file.read_exact(&mut index).ok()?;
        if index_checksum(&header, &index).to_le_bytes() != end[8..] {
            return None;
        }
        let mut start = HEADER as u64;
        let row = |entry: &[u8; 8]| {
            let [frames, checksum] =
                [0, 4].map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|byte| entry[at + byte])));
            let row = CachedRow { start, bytes: 4 * bins * frames as usize, checksum };
            start += row.bytes as u64;
            row
        };
        let rows: Vec<CachedRow> = index[..index.len() - 8].as_chunks().0.iter().map(row).collect();
        let whole = start == index_start && bins > 0;
        whole.then(|| CacheReader { path: path.to_owned(), file: Mutex::new(file), bins, rows })
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bins of a frame.
    pub(crate) fn bins(&self) -> usize {
        self.bins
    }

    /// Frames of a row.
    ///
    /// # Panics
    /// There is no such row.
    pub(crate) fn frames(&self, row: usize) -> usize {
        self.rows[row].bytes / (4 * self.bins)
    }

    /// The features of a row.
    ///
    /// # Errors
    /// The file can't be read, or the row is damaged.
    ///
    /// # Panics
    /// There is no such row.
    pub(crate) fn read(&self, row: usize) -> Result<Frames> {
        let CachedRow { start, bytes, checksum } = self.rows[row];
        let mut data = vec![0; bytes];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut data));
        drop(file);
        read.map_err(|error| Error::file("read", &self.path, &error))?;
        if CHECKSUM.checksum(&data) != checksum {
            let message = format!("row {row} of the cache must be as it was written, but it is damaged");
            return Err(Error::failure(message)
                .at(self.path.display())
                .hint("resume: the file is made anew"));
        }
        Frames::new(self.bins, data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Whether all rows are as they were written; reads the whole file.
    pub(crate) fn is_intact(&self) -> bool {
        (0..self.rows.len()).all(|row| self.read(row).is_ok())
    }
}

fn index_checksum(header: &[u8], index: &[u8]) -> u32 {
    let mut digest = CHECKSUM.digest();
    digest.update(header);
    digest.update(index);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::partial_file::damage;

    const KEY: CacheKey = [7; 32];

    fn rows() -> Vec<Frames> {
        [3, 1, 0, 5]
            .map(|length| Frames::new(2, (0..2 * length).map(|value| value as f32).collect()).unwrap())
            .into()
    }

    fn write(path: &Path) -> CacheReader {
        let mut writer = CacheWriter::create(path, &KEY, 2).unwrap();
        rows().iter().for_each(|frames| writer.push(frames).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn rows_come_back_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        write(&path);
        let cache = CacheReader::open(&path, &KEY).unwrap();
        assert_eq!((cache.len(), cache.is_intact()), (4, true));
        for row in [3, 0, 2, 1] {
            assert_eq!(cache.read(row).unwrap(), rows()[row]);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_cache_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        let mut writer = CacheWriter::create(&path, &KEY, 2).unwrap();
        writer.push(&rows()[0]).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(CacheReader::open(&path, &KEY).is_none());
    }

    #[test]
    fn another_key_is_a_cache_miss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        write(&path);
        assert!(CacheReader::open(&path, &[8; 32]).is_none());
    }

    #[test]
    fn a_key_depends_on_the_settings_and_on_all_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let hash = |content: &str| {
            std::fs::write(&path, content).unwrap();
            content_hash(&path).unwrap()
        };
        let (a, b) = (hash("a"), hash("b"));
        assert_eq!(cache_key(b"x", [a, b]), cache_key(b"x", [a, b]));
        for other in [
            cache_key(b"y", [a, b]),
            cache_key(b"x", [b, a]),
            cache_key(b"x", [a]),
            cache_key(b"x", [a, b, b]),
        ] {
            assert_ne!(other, cache_key(b"x", [a, b]));
        }
        assert!(content_hash(folder.path()).is_err());
    }

    #[test]
    fn damage_anywhere_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        write(&path);
        let open = || CacheReader::open(&path, &KEY);
        damage(&path, || open().is_some(), || open().is_some_and(|it| it.is_intact()));
    }
}
