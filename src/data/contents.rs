//! What files contain, as hashes. A file that has not changed since it was hashed is not read again.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::audio::cache::content_hash;
use super::audio::is_sound;
use super::partial_file::write_whole;
use super::readers::Format;
use super::token_store::hexadecimal;
use super::{Files, PairFile, TableFile};
use crate::error::{Error, Result};
use crate::runtime::threads;

/// The file of the hashes.
const KNOWN: &str = "inputs.json";

/// What the system says of a file; the last change in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stamp {
    size: u64,
    device: u64,
    inode: u64,
    modified: [i64; 2],
    changed: [i64; 2],
}

impl Stamp {
    fn of(path: &Path) -> Result<Stamp> {
        let file = std::fs::metadata(path).map_err(|error| Error::file("read", path, &error))?;
        Ok(Stamp {
            size: file.len(),
            device: file.dev(),
            inode: file.ino(),
            modified: [file.mtime(), file.mtime_nsec()],
            changed: [file.ctime(), file.ctime_nsec()],
        })
    }
}

/// A file that was hashed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Hashed {
    stamp: Stamp,
    sha256: String,
}

/// The content of files of pairs, in order: how they belong together, how tables are read, and of each file its size and
/// hash. The hashes are kept in `folder`.
///
/// # Errors
/// A file cannot be read, or changes while it is.
pub(crate) fn contents(files: &Files, folder: &Path) -> Result<Value> {
    let kept = folder.join(KNOWN);
    let known: BTreeMap<String, Hashed> =
        std::fs::read(&kept).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let paths: Vec<&Path> = files.paths().collect();
    let hashed = threads::each(paths.clone(), |path| hash(path, known.get(&path.display().to_string())));
    let hashed = hashed.into_iter().collect::<Result<Vec<Hashed>>>()?;
    let names = paths.iter().map(|path| path.display().to_string());
    let all: BTreeMap<String, Hashed> = known.into_iter().chain(names.zip(hashed.iter().cloned())).collect();
    let text = serde_json::to_vec(&all).map_err(|error| Error::failure(error.to_string()))?;
    write_whole(&kept, &text)?;
    let content = |Hashed { stamp, sha256 }: &Hashed| json!({ "size": stamp.size, "sha256": sha256 });
    let mut hashed = hashed.iter().map(content);
    let of_file = |file: &PairFile| match file {
        PairFile::Table(TableFile { path, format, header, .. }) => {
            let format = format!("{:?}", format.unwrap_or(Format::of(path)));
            json!({ "format": format, "header": header, "content": hashed.next() })
        }
        PairFile::Parallel { .. } => json!([hashed.next(), hashed.next()]),
    };
    Ok(files.0.iter().map(of_file).collect())
}

/// What files contain, for a process that asks more than once.
#[derive(Debug, Default)]
pub(crate) struct ContentHashes(Mutex<BTreeMap<PathBuf, Hashed>>);

impl ContentHashes {
    /// SHA-256 of what a file contains, in hexadecimal; of a folder that of its files, where a recording counts by its name and
    /// its size. What is neither, such as a pipe, has its name.
    ///
    /// # Errors
    /// It cannot be read, or changes while it is.
    pub(crate) fn of(&self, path: &Path) -> Result<String> {
        let there = std::fs::metadata(path).map_err(|error| Error::file("read", path, &error))?;
        if there.is_dir() {
            return self.of_folder(path);
        }
        if !there.is_file() {
            return Ok(path.display().to_string());
        }
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        let hashed = hash(path, known.as_ref())?;
        let sha256 = hashed.sha256.clone();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), hashed);
        Ok(sha256)
    }

    fn of_folder(&self, folder: &Path) -> Result<String> {
        let failed = |error| Error::file("read", folder, &error);
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if !path.is_file() {
                continue;
            }
            let content = match is_sound(&path) {
                true => Stamp::of(&path)?.size.to_string(),
                false => self.of(&path)?,
            };
            files.insert(path.display().to_string(), content);
        }
        Ok(hexadecimal(Sha256::digest(json!(files).to_string())))
    }
}

fn hash(path: &Path, known: Option<&Hashed>) -> Result<Hashed> {
    let stamp = Stamp::of(path)?;
    if let Some(known) = known.filter(|known| known.stamp == stamp) {
        return Ok(known.clone());
    }
    let sha256 = hexadecimal(content_hash(path)?);
    match Stamp::of(path)? == stamp {
        true => Ok(Hashed { stamp, sha256 }),
        false => {
            Err(Error::input("a file must not change while it is read, but this one does").at(path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_file_and_of_a_folder_follows_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let hashes = ContentHashes::default();
        let both =
            || [folder.path().to_owned(), folder.path().join("a.txt")].map(|it| hashes.of(&it).unwrap());
        write("a.txt", "one");
        write("a.wav", "1234");
        let first = both();
        assert_eq!(first[1], hexadecimal(Sha256::digest("one")));
        assert_eq!(both(), first);
        write("a.txt", "three");
        let second = both();
        assert!(second[0] != first[0] && second[1] != first[1]);
        write("a.txt", "one");
        write("a.wav", "4321");
        assert_eq!(both(), first);
        write("a.wav", "12345");
        assert_ne!(both()[0], first[0]);
        assert!(hashes.of(&folder.path().join("none")).is_err());
    }
}
