//! The characters of texts: how many of each script, and those that are mostly mistakes.

use std::collections::{BTreeMap, HashMap};

use unicode_script::{Script, UnicodeScript};

use crate::data::readers::Place;
use crate::data::text_form::breaks;

/// Kinds of characters and words that are mostly mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Odd {
    /// Control characters, without tabs and line breaks.
    Control,
    /// Characters without width, such as joiners, direction marks and byte-order marks.
    ZeroWidth,
    /// U+FFFD, which replaces what could not be read, and code points for private use.
    Replacement,
    /// UTF-8 that was read as Latin-1 or Windows-1252: `Ã¤` for `ä`.
    Mojibake,
    /// Words with letters of Latin and Cyrillic or Greek, which look alike.
    MixedScripts,
}

impl Odd {
    /// What it is, for people.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Odd::Control => "control characters",
            Odd::ZeroWidth => "characters without width",
            Odd::Replacement => "replacement or private characters",
            Odd::Mojibake => "UTF-8 read as Latin-1 (mojibake)",
            Odd::MixedScripts => "words of Latin with Cyrillic or Greek letters",
        }
    }
}

/// Counts of a side.
#[derive(Debug, Default)]
pub(crate) struct Characters {
    counts: HashMap<char, u64>,
    /// Texts with each kind, the first place, and what was found there.
    odd: BTreeMap<Odd, (u64, Place, String)>,
}

impl Characters {
    /// Adds a text.
    pub(crate) fn add(&mut self, text: &str, place: &Place) {
        text.chars().for_each(|character| *self.counts.entry(character).or_default() += 1);
        for (kind, found) in odd_ones(text) {
            self.odd.entry(kind).or_insert_with(|| (0, place.clone(), found)).0 += 1;
        }
    }

    /// Different characters.
    pub(crate) fn different(&self) -> usize {
        self.counts.len()
    }

    /// Characters of each script, and how many different ones, the most frequent script first.
    pub(crate) fn scripts(&self) -> Vec<(&'static str, u64, usize)> {
        let mut scripts: BTreeMap<&'static str, (u64, usize)> = BTreeMap::new();
        for (character, count) in &self.counts {
            let script = scripts.entry(script_name(*character)).or_default();
            *script = (script.0 + count, script.1 + 1);
        }
        let mut all: Vec<_> = scripts.into_iter().map(|(name, (count, own))| (name, count, own)).collect();
        all.sort_by_key(|(name, count, _)| (std::cmp::Reverse(*count), *name));
        all
    }

    /// What is mostly a mistake: the kind, texts that have it, the first place, and what was found there.
    pub(crate) fn odd(&self) -> impl Iterator<Item = (Odd, u64, &Place, &str)> {
        self.odd.iter().map(|(kind, (count, place, found))| (*kind, *count, place, found.as_str()))
    }
}

fn script_name(character: char) -> &'static str {
    match character {
        character if character.is_whitespace() => "white space",
        character if character.is_ascii_digit() => "digits",
        character => match character.script() {
            Script::Common | Script::Inherited => "marks and punctuation",
            script => script.full_name(),
        },
    }
}

/// The odd kinds of a text, each with the first that was found.
fn odd_ones(text: &str) -> impl Iterator<Item = (Odd, String)> {
    let code = |character: char| format!("U+{:04X}", character as u32);
    let of_kind = |holds: fn(char) -> bool| text.chars().find(|&character| holds(character)).map(code);
    let word = text.split(|character: char| !character.is_alphabetic()).find(|word| is_mixed(word));
    let found = [
        (Odd::Control, of_kind(|character| character.is_control() && !breaks(character))),
        (Odd::ZeroWidth, of_kind(is_zero_width)),
        (Odd::Replacement, of_kind(is_replacement)),
        (Odd::Mojibake, mojibake(text)),
        (Odd::MixedScripts, word.map(str::to_owned)),
    ];
    found.into_iter().filter_map(|(kind, found)| Some((kind, found?)))
}

fn is_zero_width(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn is_replacement(character: char) -> bool {
    matches!(character, '\u{fffd}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}

/// The first two characters that are the bytes of one: a lead byte of UTF-8 with a continuation, as Latin-1 or Windows-1252
/// have them.
fn mojibake(text: &str) -> Option<String> {
    let is_lead = |character: char| matches!(character, '\u{c2}'..='\u{c3}' | '\u{e2}');
    let is_tail = |character: char| matches!(character, '\u{80}'..='\u{bf}' | '\u{20ac}' | '\u{2018}'..='\u{2022}' | '\u{2122}' | '\u{0152}' | '\u{0153}');
    let pairs = text.chars().zip(text.chars().skip(1));
    let found = pairs.into_iter().find(|(lead, tail)| is_lead(*lead) && is_tail(*tail));
    found.map(|(lead, tail)| format!("{lead}{tail}"))
}

/// Whether a word has letters of Latin and of a script with the same shapes.
fn is_mixed(word: &str) -> bool {
    let has = |script: Script| word.chars().any(|character| character.script() == script);
    !word.is_ascii() && has(Script::Latin) && (has(Script::Cyrillic) || has(Script::Greek))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_counted() {
        let mut characters = Characters::default();
        characters.add("Hä 學習 习 12.", &Place::default());
        let scripts = characters.scripts();
        assert_eq!(scripts[..2], [("Han", 3, 3), ("white space", 3, 1)]);
        assert!(scripts.contains(&("Latin", 2, 2)) && scripts.contains(&("digits", 2, 2)));
        assert_eq!(characters.different(), 9);
    }

    #[test]
    fn mistakes_are_found_and_good_texts_are_not() {
        let kinds = |text: &str| odd_ones(text).map(|(kind, _)| kind).collect::<Vec<_>>();
        assert_eq!(kinds("a\u{7}"), [Odd::Control]);
        assert_eq!(kinds("a\u{200b}b"), [Odd::ZeroWidth]);
        assert_eq!(kinds("\u{fffd}"), [Odd::Replacement]);
        assert_eq!(kinds("fÃ¼r"), [Odd::Mojibake]);
        assert_eq!(kinds("itâ€™s"), [Odd::Mojibake]);
        assert_eq!(kinds("pаypal"), [Odd::MixedScripts]);
        for good in ["für, Âge, français", "學習", "Привет мир", "a\tb\nc", "µm", "naïve café", "שלום"]
        {
            assert_eq!(kinds(good), [], "{good}");
        }
    }
}
