//! The normalizer of a SentencePiece model: rules that replace the longest text that they know, and the treatment of spaces.
//!
//! The rules are a double array over bytes (Darts; Aoe 1989) whose values are places in a list of texts. Nothing in them is
//! trusted: a place outside of the array ends a search, and a text that is not UTF-8 is no rule.

use super::super::marked_words::SPACE;
use super::super::trie::Trie;
use super::proto::ModelProto;

/// The normalizer of a model.
#[derive(Debug)]
pub(super) struct Normalizer {
    units: Vec<u32>,
    /// With a zero behind each.
    texts: Vec<u8>,
    /// What the user defined is not changed.
    symbols: Trie,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    as_suffix: bool,
}

impl Normalizer {
    /// That of a model.
    ///
    /// # Errors
    /// Its rules have no sound size.
    pub(super) fn new(proto: &ModelProto, symbols: Trie) -> Result<Normalizer, String> {
        let (units, texts) = match proto.charsmap.is_empty() {
            true => Default::default(),
            false => rules(&proto.charsmap)
                .ok_or("the rules of its normalizer must have their size before them")?,
        };
        Ok(Normalizer {
            units,
            texts,
            symbols,
            add_dummy_prefix: proto.add_dummy_prefix,
            remove_extra_whitespaces: proto.remove_extra_whitespaces,
            escape_whitespaces: proto.escape_whitespaces,
            as_suffix: proto.treat_whitespace_as_suffix,
        })
    }

    /// A text as its pieces spell it, with marks for spaces.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut rest = text;
        if self.remove_extra_whitespaces {
            while let (" ", length) = self.next(rest) {
                rest = &rest[length..];
            }
        }
        if rest.is_empty() {
            return String::new();
        }
        let mut normal = String::with_capacity(3 * rest.len());
        let space = if self.escape_whitespaces { SPACE } else { ' ' };
        if self.add_dummy_prefix && !self.as_suffix {
            normal.push(space);
        }
        let mut behind_space = self.remove_extra_whitespaces;
        while !rest.is_empty() {
            let (mut replaced, length) = self.next(rest);
            if behind_space {
                replaced = replaced.trim_start_matches(' ');
            }
            normal.extend(replaced.chars().map(|one| if one == ' ' { space } else { one }));
            if !replaced.is_empty() {
                behind_space = self.remove_extra_whitespaces && replaced.ends_with(' ');
            }
            rest = &rest[length..];
        }
        if self.remove_extra_whitespaces {
            normal.truncate(normal.trim_end_matches(space).len());
        }
        if self.add_dummy_prefix && self.as_suffix {
            normal.push(space);
        }
        normal
    }

    /// What replaces the beginning of a text, and how long that is.
    fn next<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        if let Some((_, length)) = self.symbols.prefixes(text.as_bytes()).last() {
            return (&text[..length], length);
        }
        if let Some((value, length)) = self.longest(text.as_bytes())
            && text.is_char_boundary(length)
            && let Some(replaced) = self.text(value)
        {
            return (replaced, length);
        }
        let length = text.chars().next().map_or(0, char::len_utf8);
        (&text[..length], length)
    }

    /// The longest rule that a text begins with: its value and its length.
    fn longest(&self, text: &[u8]) -> Option<(usize, usize)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut place = offset(*self.units.first()?);
        let mut found = None;
        for (byte, length) in text.iter().zip(1..) {
            place ^= usize::from(*byte);
            let Some(&unit) = self.units.get(place) else { break };
            if unit & (1 << 31 | 0xff) != u32::from(*byte) {
                break;
            }
            place ^= offset(unit);
            if unit >> 8 & 1 == 1
                && let Some(value) = self.units.get(place)
            {
                found = Some(((value & !(1 << 31)) as usize, length));
            }
        }
        found
    }

    fn text(&self, place: usize) -> Option<&str> {
        let text = self.texts.get(place..)?.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(text).ok()
    }
}

/// The array of the rules and their texts, before which is the array's size in bytes.
fn rules(charsmap: &[u8]) -> Option<(Vec<u32>, Vec<u8>)> {
    let (size, rest) = charsmap.split_first_chunk()?;
    let (array, texts) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
    let units = array.chunks_exact(4).filter_map(|unit| unit.try_into().ok().map(u32::from_le_bytes));
    Some((units.collect(), texts.to_vec()))
}
