//! What files contain, as hashes. A file that has not changed since it was hashed is not read again.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::audio::cache::content_hash;
use super::{Files, PairFile};
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

/// The content of files of pairs, in order: how they belong together, and of each its extension, size and hash. The hashes
/// are kept in `folder`.
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
    let mut hashed = paths.iter().zip(&hashed).map(|(path, Hashed { stamp, sha256 })| {
        let extension = path.extension().map(|extension| extension.to_string_lossy());
        json!({ "extension": extension, "size": stamp.size, "sha256": sha256 })
    });
    let of_file = |file: &PairFile| match file {
        PairFile::Table(_) => json!([hashed.next()]),
        PairFile::Parallel { .. } => json!([hashed.next(), hashed.next()]),
    };
    Ok(files.0.iter().map(of_file).collect())
}

fn hash(path: &Path, known: Option<&Hashed>) -> Result<Hashed> {
    let stamp = Stamp::of(path)?;
    if let Some(known) = known.filter(|known| known.stamp == stamp) {
        return Ok(known.clone());
    }
    let sha256 = content_hash(path)?.iter().map(|byte| format!("{byte:02x}")).collect();
    match Stamp::of(path)? == stamp {
        true => Ok(Hashed { stamp, sha256 }),
        false => {
            Err(Error::input("a file must not change while it is read, but this one does").at(path.display()))
        }
    }
}

/// Writes a small file beside its place and renames it.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let written = std::fs::File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    });
    written.map_err(|error| Error::file("write", path, &error))
}
