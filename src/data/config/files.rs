//! The files of pairs in a config: a name, two names of parallel text, or a list of these.
//!
//! Only their form. The reader of pairs checks that a file exists, and what it contains.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize, Serializer};

/// One or more files of pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Files(pub Vec<PairFile>);

/// A file of pairs, or two files of parallel text.
#[derive(Clone, Debug, PartialEq)]
pub enum PairFile {
    /// `.csv`, `.tsv` or `.jsonl`, with named columns.
    Table(PathBuf),
    /// Two text files with one line per pair.
    Parallel {
        /// The file of sources.
        source: PathBuf,
        /// The file of targets.
        target: PathBuf,
    },
}

impl Files {
    /// Every path among them, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().flat_map(|file| match file {
            PairFile::Table(path) => vec![path.as_path()],
            PairFile::Parallel { source, target } => vec![source.as_path(), target.as_path()],
        })
    }
}

/// `{ source = "a.en", target = "a.de" }`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parallel {
    source: String,
    target: String,
}

impl Serialize for PairFile {
    // With `display`, so that a path that is not UTF-8 (never from a config) cannot fail a run.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PairFile::Table(path) => serializer.collect_str(&path.display()),
            PairFile::Parallel { source, target } => {
                let (source, target) = (source.display().to_string(), target.display().to_string());
                Parallel { source, target }.serialize(serializer)
            }
        }
    }
}

impl Serialize for Files {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [file] => file.serialize(serializer),
            files => files.serialize(serializer),
        }
    }
}

struct PairFileVisitor;

impl<'de> Visitor<'de> for PairFileVisitor {
    type Value = PairFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file name or { source = \"…\", target = \"…\" }")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<PairFile, E> {
        Ok(PairFile::Table(path.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PairFile, A::Error> {
        let Parallel { source, target } = Parallel::deserialize(MapAccessDeserializer::new(map))?;
        Ok(PairFile::Parallel { source: source.into(), target: target.into() })
    }
}

impl<'de> Deserialize<'de> for PairFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairFileVisitor)
    }
}

struct FilesVisitor;

impl<'de> Visitor<'de> for FilesVisitor {
    type Value = Files;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file name, a list of files, or { source = \"…\", target = \"…\" }")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<Files, E> {
        PairFileVisitor.visit_str(path).map(|file| Files(vec![file]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Files, A::Error> {
        PairFileVisitor.visit_map(map).map(|file| Files(vec![file]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Files, A::Error> {
        let mut files = Vec::new();
        while let Some(file) = list.next_element()? {
            files.push(file);
        }
        Ok(Files(files))
    }
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FilesVisitor)
    }
}
