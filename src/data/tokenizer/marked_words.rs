//! The words of a text whose spaces are marked: what pieces never cross.
//!
//! A word begins at each space, which is written as `▁` (U+2581) at its start, as in SentencePiece, and at line breaks and tabs
//! that are kept. Where asked, words are split further, at every digit, and where the script changes.

use unicode_script::{Script, UnicodeScript};

use crate::data::PiecesConfig;
use crate::data::text_form::breaks;

/// The mark for a space at the start of a word.
pub(super) const SPACE: char = '▁';

/// The text with a mark for each space and one before the first word; an empty text stays empty.
pub(super) fn mark_spaces(text: &str) -> String {
    let mut marked = String::with_capacity(text.len() + text.len() / 4 + 4);
    for character in text.chars() {
        if marked.is_empty() {
            marked.push(SPACE);
        }
        marked.push(if character == ' ' { SPACE } else { character });
    }
    marked
}

/// The words of a marked text, each with its mark, line break or tab in front, cut by the rules.
pub(super) fn cut_words<'a>(rules: PiecesConfig, marked: &'a str, each: &mut dyn FnMut(&'a str)) {
    let (mut start, mut before) = (0, None);
    for (at, character) in marked.char_indices() {
        let script = before.map_or(Script::Unknown, |(_, script)| script_of(character, script));
        let begins = character == SPACE
            || breaks(character)
            || before.is_some_and(|(one, of_one)| {
                let digit = rules.split_digits && (character.is_numeric() || char::is_numeric(one));
                digit || rules.split_scripts && one != SPACE && script != of_one
            });
        if begins && at > start {
            each(&marked[start..at]);
            start = at;
        }
        let script =
            if before.is_none() || start == at { script_of(character, Script::Common) } else { script };
        before = Some((character, script));
    }
    if start < marked.len() {
        each(&marked[start..]);
    }
}

/// The script of a character behind one of another script. Marks have that of their letter, and the three of Japanese are one.
fn script_of(character: char, before: Script) -> Script {
    match character.script() {
        Script::Inherited => before,
        Script::Hiragana | Script::Katakana => Script::Han,
        _ if character == 'ー' => Script::Han,
        script => script,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_at_digits_and_scripts_where_asked() {
        let cut = |split_scripts, split_digits, text: &str| {
            let rules = PiecesConfig { split_scripts, split_digits, ..PiecesConfig::default() };
            let marked = mark_spaces(text);
            let mut words = Vec::new();
            cut_words(rules, &marked, &mut |word| words.push(word));
            assert_eq!(words.concat(), marked);
            words.join("|")
        };
        let text = "ab12 3c don't e\u{301}a Привет, 東京タワーは";
        assert_eq!(cut(false, false, text), "▁ab12|▁3c|▁don't|▁e\u{301}a|▁Привет,|▁東京タワーは");
        assert_eq!(cut(false, true, text), "▁ab|1|2|▁|3|c|▁don't|▁e\u{301}a|▁Привет,|▁東京タワーは");
        assert_eq!(cut(true, false, "ab12 don't e\u{301}a"), "▁ab|12|▁don|'|t|▁e\u{301}a");
        assert_eq!(cut(true, false, "Приветhi, 東京タワーは한"), "▁Привет|hi|,|▁東京タワーは|한");
        assert_eq!((cut(true, true, ""), cut(true, true, "1")), (String::new(), "▁|1".to_owned()));
        assert_eq!(cut(false, false, "a\tb  c"), "▁a|\tb|▁|▁c");
    }
}
