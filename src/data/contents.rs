//! What files contain, as hashes. A file that has not changed since it was hashed is not read again.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::audio::cache::content_hash;
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
