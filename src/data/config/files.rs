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
        /// As of [`TableFile::weight`].
        weight: Option<f64>,
    },
}

/// Validation pairs.
#[derive(Clone, Debug, PartialEq)]
pub enum ValidPairs {
    /// The pairs of files.
    Files(Files),
    /// A share of the training pairs, which are then not trained on: `{ share = 0.05 }`.
    Share(f64),
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
    /// How many times a pass over the training pairs reads each of its pairs; `None` for once.
    pub weight: Option<f64>,
}

impl From<PathBuf> for TableFile {
    fn from(path: PathBuf) -> TableFile {
        TableFile { path, format: None, header: None, weight: None }
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
            PairFile::Parallel { source, target, .. } => vec![source.as_path(), target.as_path()],
        })
    }
}

impl PairFile {
    /// The name by which its rows are known.
    pub(crate) fn name(&self) -> &Path {
        match self {
            PairFile::Table(table) => &table.path,
            PairFile::Parallel { source, .. } => source,
        }
    }

    /// How many times a pass reads each of its pairs, by its own key and the default.
    pub(crate) fn weight(&self) -> f64 {
        self.own_weight().unwrap_or(1.0)
    }

    /// The weight that the config names.
    pub(super) fn own_weight(&self) -> Option<f64> {
        match self {
            PairFile::Table(TableFile { weight, .. }) | PairFile::Parallel { weight, .. } => *weight,
        }
    }
}

impl ValidPairs {
    /// The files, if they are files.
    pub fn files(&self) -> Option<&Files> {
        match self {
            ValidPairs::Files(files) => Some(files),
            ValidPairs::Share(_) => None,
        }
    }

    /// The share, if it is one.
    pub fn share(&self) -> Option<f64> {
        match self {
            ValidPairs::Files(_) => None,
            ValidPairs::Share(share) => Some(*share),
        }
    }
}

/// `{ share = 0.05 }`, `{ source = "a.en", target = "a.de" }`, or `{ file = "a.txt", format = "tsv", header = false }`
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
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
}

impl Serialize for PairFile {
    // With `display`, so that a path that is not UTF-8 (never from a config) cannot fail a run.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = |path: &PathBuf| Some(path.display().to_string());
        let written = match self {
            PairFile::Table(TableFile { path, format: None, header: None, weight: None }) => {
                return serializer.collect_str(&path.display());
            }
            PairFile::Table(TableFile { path, format, header, weight }) => Written {
                file: name(path),
                format: *format,
                header: *header,
                weight: *weight,
                ..Written::default()
            },
            PairFile::Parallel { source, target, weight } => {
                Written { source: name(source), target: name(target), weight: *weight, ..Written::default() }
            }
        };
        written.serialize(serializer)
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

impl Serialize for ValidPairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ValidPairs::Files(files) => files.serialize(serializer),
            ValidPairs::Share(share) => {
                Written { share: Some(*share), ..Written::default() }.serialize(serializer)
            }
        }
    }
}

impl Written {
    fn into_file<E: de::Error>(self) -> Result<PairFile, E> {
        match self {
            Written { share: Some(_), .. } => {
                Err(de::Error::custom("`share` is for `valid`, and names no file"))
            }
            Written { file: Some(path), source: None, target: None, format, header, weight, .. } => {
                Ok(PairFile::Table(TableFile { path: path.into(), format, header, weight }))
            }
            Written {
                file: None,
                source: Some(source),
                target: Some(target),
                format: None,
                header: None,
                weight,
                ..
            } => Ok(PairFile::Parallel { source: source.into(), target: target.into(), weight }),
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
        Written::deserialize(MapAccessDeserializer::new(map))?.into_file()
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

struct ValidVisitor;

impl<'de> Visitor<'de> for ValidVisitor {
    type Value = ValidPairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ share = 0.05 }, ")?;
        FilesVisitor.expecting(f)
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<ValidPairs, E> {
        FilesVisitor.visit_str(path).map(ValidPairs::Files)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ValidPairs, A::Error> {
        match Written::deserialize(MapAccessDeserializer::new(map))? {
            Written {
                share: Some(share),
                file: None,
                source: None,
                target: None,
                format: None,
                header: None,
                weight: None,
            } => Ok(ValidPairs::Share(share)),
            written => written.into_file().map(|file| ValidPairs::Files(Files(vec![file]))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ValidPairs, A::Error> {
        FilesVisitor.visit_seq(list).map(ValidPairs::Files)
    }
}

impl<'de> Deserialize<'de> for ValidPairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValidVisitor)
    }
}

impl From<Files> for ValidPairs {
    fn from(files: Files) -> ValidPairs {
        ValidPairs::Files(files)
    }
}
