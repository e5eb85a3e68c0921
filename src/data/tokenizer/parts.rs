//! Sources with several columns: each has its own tokenizer, and all their ids are one sequence.
//!
//! A text has its columns separated by tabs. Each column has ids of its own behind those of the columns before it, so the
//! letter `V` and the tag `V` are two tokens; also its own unknown symbol, so that a network knows the column of each id.

use std::borrow::Cow;
use std::sync::Arc;

use super::scheme::{Each, Scheme};
use super::{Changes, TextForm, Tokenizer};
use crate::data::readers::COLUMN_SEPARATOR;
use crate::data::source::PartShape;
use crate::data::vocabulary::{SPECIALS, UNK, Vocabulary};
use crate::data::{Normalize, SideConfig, Whitespace};
use crate::error::{Error, Result};

/// The form of the whole text: each column has its own.
const FORM: TextForm =
    TextForm { normalize: Normalize::None, whitespace: Whitespace::Keep, lowercase: false };

/// The tokenizers of all columns.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    parts: Vec<Part>,
    /// The tokens of all columns; those behind the first column have its name in front.
    vocabulary: Vocabulary,
}

#[derive(Clone, Debug)]
struct Part {
    column: String,
    set: bool,
    tokenizer: Tokenizer,
    /// The id of its unknown symbol.
    unknown: i64,
    /// The id of its first token.
    first: i64,
}

impl Parts {
    /// Builds each column's tokenizer from that column of the texts.
    pub(super) fn train<'a>(configs: &[SideConfig], texts: impl Iterator<Item = &'a str>) -> Result<Parts> {
        let texts: Vec<&str> = texts.collect();
        let train = |(number, config): (usize, &SideConfig)| {
            let of_column = |text: &&'a str| text.split(COLUMN_SEPARATOR).nth(number).unwrap_or_default();
            // A type of its own, since a tokenizer is trained within the training of another one.
            let column: Box<dyn Iterator<Item = &str>> = Box::new(texts.iter().map(of_column));
            let tokenizer = Tokenizer::train(config, column)?;
            Ok((config.column.clone(), config.set, tokenizer))
        };
        Ok(Parts::of(configs.iter().enumerate().map(train).collect::<Result<_>>()?))
    }

    /// Columns by name, whether they are sets, and their tokenizers; at least one.
    pub(super) fn of(columns: Vec<(String, bool, Tokenizer)>) -> Parts {
        let (mut parts, mut tokens) = (Vec::<Part>::new(), Vec::new());
        for (column, set, tokenizer) in columns {
            let specials = if parts.is_empty() { SPECIALS.len() } else { 1 };
            let unknown = if parts.is_empty() { UNK } else { tokens.len() as i64 };
            let first = (tokens.len() + specials) as i64;
            let own = tokenizer.vocabulary().tokens();
            match parts.is_empty() {
                true => tokens.extend_from_slice(own),
                false => {
                    let behind = std::iter::once(SPECIALS[UNK as usize]);
                    let behind = behind.chain(own[SPECIALS.len()..].iter().map(String::as_str));
                    tokens.extend(behind.map(|token| format!("{column}={token}")));
                }
            }
            parts.push(Part { column, set, tokenizer, unknown, first });
        }
        Parts { parts, vocabulary: Vocabulary::of_columns(tokens) }
    }

    /// The first column's tokenizer.
    pub(super) fn first(&self) -> &Tokenizer {
        &self.parts[0].tokenizer
    }

    /// The ids of each column.
    pub(super) fn shapes(&self) -> Vec<PartShape> {
        let ends =
            self.parts.iter().skip(1).map(|part| part.unknown as usize).chain([self.vocabulary.size()]);
        let starts = std::iter::once(0).chain(self.parts.iter().skip(1).map(|part| part.unknown as usize));
        let sizes = ends.zip(starts).map(|(end, start)| end - start);
        self.parts.iter().zip(sizes).map(|(part, size)| PartShape { size, set: part.set }).collect()
    }

    /// What reading changes in any column.
    pub(super) fn changes(&self, text: &str) -> Changes {
        let changes = self.columns(text).map(|(part, text)| part.tokenizer.changes(text));
        changes.fold(Changes::default(), Changes::or)
    }

    /// The text of ids: the columns with tabs between them.
    pub(super) fn decode(&self, ids: &[i64]) -> String {
        let column = |part: &Part| {
            let own: Vec<i64> = ids.iter().filter_map(|&id| self.inner(part, id)).collect();
            part.tokenizer.decode(&own)
        };
        self.joined(self.parts.iter().map(column))
    }

    /// Ids in which those of each column, by its number, are replaced by others of it.
    pub(super) fn each_column(
        &self,
        ids: &[i64],
        mut replace: impl FnMut(usize, Vec<i64>) -> Vec<i64>,
    ) -> Vec<i64> {
        let column = |(number, part): (usize, &Part)| -> Vec<i64> {
            let own = ids.iter().filter_map(|&id| self.inner(part, id)).collect();
            replace(number, own).into_iter().map(|id| part.outer(id)).collect()
        };
        self.parts.iter().enumerate().flat_map(column).collect()
    }

    /// Checks that a text has all columns.
    pub(super) fn check_columns(&self, text: &str) -> Result<()> {
        let (there, needed) = (text.split(COLUMN_SEPARATOR).count(), self.parts.len());
        if there == needed {
            return Ok(());
        }
        let names: Vec<String> = self.parts.iter().map(|part| format!("`{}`", part.column)).collect();
        let message = format!(
            "a source of this model must have {needed} columns ({}) with a tab between them, but it has {there}",
            names.join(", ")
        );
        Err(Error::input(message))
    }

    /// The first difference from others.
    pub(super) fn difference(&self, other: &Parts) -> Option<(String, [String; 2])> {
        let sides = [self, other];
        let shown = |part: &Part| format!("{}{}", part.column, if part.set { ", a set" } else { "" });
        let names = sides.map(|side| side.parts.iter().map(shown).collect::<Vec<_>>().join("; "));
        if names[0] != names[1] {
            return Some(("columns".to_owned(), names));
        }
        self.parts.iter().zip(&other.parts).find_map(|(one, other)| {
            let (what, both) = one.tokenizer.difference(&other.tokenizer)?;
            Some((format!("{what} of column {}", one.column), both))
        })
    }

    /// The name of each column, whether it is a set, and its tokenizer.
    pub(super) fn list(&self) -> impl Iterator<Item = (&str, bool, &Tokenizer)> {
        self.parts.iter().map(|part| (part.column.as_str(), part.set, &part.tokenizer))
    }

    fn columns<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'a Part, &'a str)> {
        self.parts.iter().zip(text.split(COLUMN_SEPARATOR).chain(std::iter::repeat("")))
    }

    fn joined(&self, columns: impl Iterator<Item = String>) -> String {
        columns.collect::<Vec<_>>().join(COLUMN_SEPARATOR.encode_utf8(&mut [0; 4]))
    }

    /// The id within a part; `None` if it is of another one.
    fn inner(&self, part: &Part, id: i64) -> Option<i64> {
        let own = part.tokenizer.vocabulary_size() as i64 - SPECIALS.len() as i64;
        match id {
            id if id == part.unknown => Some(UNK),
            id if (part.first..part.first + own).contains(&id) => {
                Some(id - part.first + SPECIALS.len() as i64)
            }
            _ => None,
        }
    }
}

impl Scheme for Parts {
    fn name(&self) -> &'static str {
        "parts"
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn is_unknown(&self, id: i64) -> bool {
        self.parts.iter().any(|part| part.unknown == id)
    }

    fn cut(&self, text: &str, each: Each) {
        for (part, text) in self.columns(text) {
            part.tokenizer.cut(text, &mut |id, covered| {
                each(part.outer(id), &part.tokenizer.scheme.plain(covered));
            });
        }
    }

    fn piece(&self, id: i64, _first: bool) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.vocabulary.token(id).unwrap_or_default().as_bytes())
    }

    fn spelled(&self, text: &str) -> String {
        self.joined(self.columns(text).map(|(part, text)| part.tokenizer.normalized(text)))
    }

    fn extended(&self, _symbols: &[String]) -> Result<Arc<dyn Scheme>> {
        // The ids of the next column follow.
        Err(Error::input("the vocabularies of a source with several columns cannot be extended"))
    }
}

impl From<Parts> for Tokenizer {
    fn from(parts: Parts) -> Tokenizer {
        let parts = Arc::new(parts);
        Tokenizer { form: FORM, scheme: parts.clone(), parts: Some(parts) }
    }
}

impl Part {
    /// The id among those of all parts.
    fn outer(&self, id: i64) -> i64 {
        if id == UNK { self.unknown } else { id - SPECIALS.len() as i64 + self.first }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::CharactersConfig;

    fn tokenizer() -> Tokenizer {
        let lemma = SideConfig {
            column: "lemma".into(),
            characters: Some(CharactersConfig::default()),
            ..SideConfig::default()
        };
        let tags = SideConfig {
            column: "tags".into(),
            set: true,
            split: Some(";(),".into()),
            ..SideConfig::default()
        };
        let config = SideConfig { parts: vec![lemma, tags], ..SideConfig::default() };
        Tokenizer::train(&config, ["Vogel\tN;PL", "viel\tV;NOM(2,PL)"].into_iter()).unwrap()
    }

    #[test]
    fn each_column_has_ids_of_its_own() {
        let tokenizer = tokenizer();
        let shown = |text: &str| -> Vec<String> {
            let ids = tokenizer.encode(text);
            ids.into_iter().map(|id| tokenizer.token(id).to_owned()).collect()
        };
        assert_eq!(shown("Vo\tV;2"), ["V", "o", "tags=V", "tags=2"]);
        assert_eq!(shown("Vx\tV;X"), ["V", "<unk>", "tags=V", "tags=<unk>"]);
        assert_eq!(tokenizer.count_unknown(&tokenizer.encode("Vx\tV;X")), 2);
        assert_eq!(tokenizer.unknown_symbols("Vx\tV;X"), ["x", "X"]);
        // Also of a source that is cut.
        let ids = tokenizer.encode("Vx\tX;V;X");
        assert_eq!([1, 2, 3, 5].map(|length| tokenizer.count_unknown(&ids[..length])), [0, 1, 2, 3]);
        let shapes = tokenizer.part_shapes().unwrap();
        assert_eq!(shapes.iter().map(|shape| shape.size).sum::<usize>(), tokenizer.vocabulary_size());
        assert_eq!(shapes[1], PartShape { size: 6, set: true });
    }

    #[test]
    fn columns_are_restored_with_a_tab_between_them() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode(" Vogel \tNOM(2,PL)");
        assert_eq!(tokenizer.decode(&ids), "Vogel\tNOM;2;PL");
        assert_eq!(tokenizer.normalized(" Vogel \tNOM(2,PL)"), "Vogel\tNOM;2;PL");
        assert!(tokenizer.changes(" Vogel\tN").outer && !tokenizer.changes("Vogel\tN").outer);
    }

    #[test]
    fn a_source_without_all_columns_is_refused() {
        let tokenizer = tokenizer();
        assert!(tokenizer.check_columns("Vogel\tN").is_ok());
        let error = tokenizer.check_columns("Vogel").unwrap_err().to_string();
        assert!(
            error.contains("2 columns (`lemma`, `tags`) with a tab between them, but it has 1"),
            "{error}"
        );
    }

    #[test]
    fn parts_survive_a_model_file() {
        let one = tokenizer();
        let read = Tokenizer::from_json(&one.to_json()).unwrap();
        assert!(one.difference(&read).is_none());
        assert_eq!(read.encode("Vogel\tN;PL"), one.encode("Vogel\tN;PL"));
        let mut other = one.to_json();
        other["parts"][1]["set"] = false.into();
        assert!(one.difference(&Tokenizer::from_json(&other).unwrap()).is_some());
        other["parts"] = json!([]);
        assert!(Tokenizer::from_json(&other).is_err());
    }
}
