//! The files of pairs in a config: a name, a name with its format, two names of parallel text, or a list of these.
//!
//! Only their form. The reader of pairs checks that a file exists, and what it contains.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::data::readers::Format;

/// One or more files of pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Files(pub Vec<PairFile>);

/// A file of pairs, or two files of parallel text.
#[derive(Clone, Debug, PartialEq)]
pub enum PairFile {
    /// A table with named columns.
    Table(TableFile),
    /// Two text files with one line per pair.
    Parallel {
        /// The file of sources.
        source: PathBuf,
        /// The file of targets.
        target: PathBuf,
    },
}

/// A table: `.csv`, `.tsv`, `.jsonl`, `.json`, `.parquet`, or a file whose format the config names.
#[derive(Clone, Debug, PartialEq)]
pub struct TableFile {
    /// The file.
    pub path: PathBuf,
    /// Its format; `None` for that of `data.format` or of its extension.
    pub format: Option<Format>,
    /// Whether its first row names the columns; `None` for `data.header`.
    pub header: Option<bool>,
}

impl From<PathBuf> for TableFile {
    fn from(path: PathBuf) -> TableFile {
        TableFile { path, format: None, header: None }
    }
}

impl From<PathBuf> for PairFile {
    fn from(path: PathBuf) -> PairFile {
        PairFile::Table(path.into())
    }
}

impl Files {
    /// Every path among them, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().flat_map(|file| match file {
            PairFile::Table(table) => vec![table.path.as_path()],
            PairFile::Parallel { source, target } => vec![source.as_path(), target.as_path()],
        })
    }
}

/// `{ source = "a.en", target = "a.de" }`, or `{ file = "a.txt", format = "tsv", header = false }`
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<bool>,
}

impl Serialize for PairFile {
    // With `display`, so that a path that is not UTF-8 (never from a config) cannot fail a run.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = |path: &PathBuf| Some(path.display().to_string());
        match self {
            PairFile::Table(TableFile { path, format: None, header: None }) => {
                serializer.collect_str(&path.display())
            }
            PairFile::Table(TableFile { path, format, header }) => {
                Written { file: name(path), format: *format, header: *header, ..Written::default() }
                    .serialize(serializer)
            }
            PairFile::Parallel { source, target } => {
                Written { source: name(source), target: name(target), ..Written::default() }
                    .serialize(serializer)
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
        f.write_str("a file name, { file = \"…\", format = \"…\" } or { source = \"…\", target = \"…\" }")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<PairFile, E> {
        Ok(PathBuf::from(path).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PairFile, A::Error> {
        match Written::deserialize(MapAccessDeserializer::new(map))? {
            Written { file: Some(path), source: None, target: None, format, header } => {
                Ok(PairFile::Table(TableFile { path: path.into(), format, header }))
            }
            Written {
                file: None,
                source: Some(source),
                target: Some(target),
                format: None,
                header: None,
            } => Ok(PairFile::Parallel { source: source.into(), target: target.into() }),
            Written { file: None, source: Some(_), target: None, .. } => {
                Err(de::Error::missing_field("target"))
            }
            Written { file: None, source: None, target: Some(_), .. } => {
                Err(de::Error::missing_field("source"))
            }
            _ => Err(de::Error::custom(
                "must name one table by `file`, with or without `format` and `header`, or the two files of parallel \
                 text by `source` and `target`",
            )),
        }
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
        f.write_str(
            "a file name, { file = \"…\", format = \"…\" }, { source = \"…\", target = \"…\" }, or a list of these",
        )
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
