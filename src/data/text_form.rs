//! The text form of a side: a Unicode normal form, and the treatment of white space.
//!
//! Spellings that look the same become one text. [`ChangeCounts`] counts and reports the changes of each file. Texts
//! only: no tokens and no files.

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfd_quick, is_nfkc_quick};

use crate::data::{Normalize, SideConfig, Whitespace};

/// The text form of a side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextForm {
    /// The Unicode normal form.
    pub normalize: Normalize,
    /// The treatment of white space.
    pub whitespace: Whitespace,
    /// Whether letters are in lower case.
    pub lowercase: bool,
}

impl TextForm {
    /// The text form of a config.
    pub(crate) fn of(config: &SideConfig) -> TextForm {
        TextForm { normalize: config.normalize, whitespace: config.whitespace, lowercase: config.lowercase }
    }

    /// Brings a text into this form; idempotent.
    pub(crate) fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let normal = self.normalize(text);
        if self.whitespace == Whitespace::Keep {
            return normal;
        }
        match normal {
            Cow::Borrowed(text) => without_breaks(text.trim()),
            Cow::Owned(text) => Cow::Owned(without_breaks(text.trim()).into_owned()),
        }
    }

    /// Brings a text into the normal form and lower case, without changing white space.
    pub(crate) fn normalize<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let normal = self.in_unicode(text);
        if !self.lowercase || !normal.contains(has_lowercase) {
            return normal;
        }
        // Lower case of a text in a normal form need not be in it.
        Cow::Owned(self.in_unicode(&normal.to_lowercase()).into_owned())
    }

    /// Brings a text into the normal form, without changing white space and case.
    pub(crate) fn in_unicode<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let is_normal = match self.normalize {
            Normalize::Nfc => is_nfc_quick(text.chars()),
            Normalize::Nfd => is_nfd_quick(text.chars()),
            Normalize::Nfkc => is_nfkc_quick(text.chars()),
            Normalize::None => IsNormalized::Yes,
        };
        match (is_normal, self.normalize) {
            (IsNormalized::Yes, _) | (_, Normalize::None) => Cow::Borrowed(text),
            (_, Normalize::Nfc) => Cow::Owned(text.nfc().collect()),
            (_, Normalize::Nfd) => Cow::Owned(text.nfd().collect()),
            (_, Normalize::Nfkc) => Cow::Owned(text.nfkc().collect()),
        }
    }

    /// Whether appending `more` could change `text`, which is in the normal form: marks are composed with the letter
    /// before them and are sorted. Then no text in the normal form begins with `text` and `more`.
    pub(crate) fn joins(&self, text: &str, more: &str) -> bool {
        let is_mark = |character: char| canonical_combining_class(character) != 0;
        let Some(first) = more.chars().next().filter(|first| !first.is_ascii()) else { return false };
        let of_marks = is_mark(first)
            && match self.normalize {
                Normalize::None => false,
                Normalize::Nfd => text.chars().next_back().is_some_and(is_mark),
                Normalize::Nfc | Normalize::Nfkc => true,
            };
        of_marks
            || self.normalize != Normalize::None
                && !self.normalize(&format!("{text}{more}")).starts_with(text)
    }

    /// A quick check whether `more` can join any text ([`TextForm::joins`]); false is always right.
    pub(crate) fn may_join(&self, more: &str) -> bool {
        let first = more.chars().next();
        first.is_some_and(|first| {
            canonical_combining_class(first) != 0
                || [is_nfc_quick, is_nfkc_quick]
                    .iter()
                    .any(|quick| quick(std::iter::once(first)) != IsNormalized::Yes)
        })
    }

    /// Whether a text is empty in this form.
    pub(crate) fn is_empty(&self, text: &str) -> bool {
        match self.whitespace {
            Whitespace::Trim => text.trim().is_empty(),
            Whitespace::Keep => text.is_empty(),
        }
    }
}

impl fmt::Display for TextForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whitespace = match self.whitespace {
            Whitespace::Trim => "trimmed",
            Whitespace::Keep => "kept",
        };
        let case = if self.lowercase { ", lower case" } else { "" };
        write!(f, "{}, white space {whitespace}{case}", self.normalize.name())
    }
}

/// Whether a letter has another lower case.
fn has_lowercase(letter: char) -> bool {
    !letter.to_lowercase().eq([letter])
}

/// Replaces each tab, line break and other control white space by a space.
pub(super) fn without_breaks(text: &str) -> Cow<'_, str> {
    match text.contains(breaks) {
        true => Cow::Owned(text.replace(breaks, " ")),
        false => Cow::Borrowed(text),
    }
}

/// Tabs, line breaks, form feeds, and the Unicode separators of lines and paragraphs.
pub(crate) fn breaks(character: char) -> bool {
    character.is_whitespace() && (character.is_control() || matches!(character, '\u{2028}' | '\u{2029}'))
}

/// How reading changed a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Another normal form.
    pub normal_form: bool,
    /// Upper case replaced by lower case.
    pub case: bool,
    /// White space removed at its ends.
    pub outer: bool,
    /// Line breaks and tabs replaced by spaces.
    pub breaks: bool,
    /// White space between words replaced by one space.
    pub between: bool,
    /// `▁`, the mark for a space, replaced by a space.
    pub mark: bool,
    /// What the normalizer of a ready tokenizer replaces.
    pub ready: bool,
}

impl Changes {
    /// The changes of a text that has two parts.
    pub(crate) fn or(self, other: Changes) -> Changes {
        Changes {
            normal_form: self.normal_form || other.normal_form,
            case: self.case || other.case,
            outer: self.outer || other.outer,
            breaks: self.breaks || other.breaks,
            between: self.between || other.between,
            mark: self.mark || other.mark,
            ready: self.ready || other.ready,
        }
    }
}

/// Counts the texts of a file's side, and how many of them reading changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangeCounts {
    texts: usize,
    changed: usize,
    /// In the order of [`Changes`].
    kinds: [usize; 7],
}

impl ChangeCounts {
    /// Adds a text.
    pub(crate) fn add(&mut self, changes: Changes) {
        let Changes { normal_form, case, outer, breaks, between, mark, ready } = changes;
        let kinds = [normal_form, case, outer, breaks, between, mark, ready];
        self.texts += 1;
        self.changed += usize::from(kinds.contains(&true));
        self.kinds.iter_mut().zip(kinds).for_each(|(count, is_one)| *count += usize::from(is_one));
    }

    /// Number of texts that reading changed.
    pub(crate) fn changed(&self) -> usize {
        self.changed
    }

    /// A note for a side, `source` or `target`, with the keys that decide; `None` if no text was changed.
    pub(crate) fn in_words(&self, side: &str, form: TextForm) -> Option<String> {
        if self.changed == 0 {
            return None;
        }
        let [normal_form, case, outer, breaks, between, mark, ready] = self.kinds;
        let kinds = [
            (normal_form, format!("normalized to {} (`data.{side}.normalize`)", form.normalize.name())),
            (case, format!("written in lower case (`data.{side}.lowercase`)")),
            (outer, format!("with white space removed at the ends (`data.{side}.whitespace`)")),
            (breaks, format!("with line breaks or tabs replaced by spaces (`data.{side}.whitespace`)")),
            (between, "with white space between words replaced by one space".to_owned()),
            (mark, "with `▁` replaced by a space, which it marks in pieces".to_owned()),
            (ready, "normalized by the pretrained tokenizer".to_owned()),
        ];
        let kinds = kinds.iter().filter(|(count, _)| *count > 0);
        let kinds: Vec<String> = kinds.map(|(count, what)| format!("{count} {what}")).collect();
        Some(format!("reading changed {} of {} {side}s: {}", self.changed, self.texts, kinds.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(normalize: Normalize, whitespace: Whitespace) -> TextForm {
        TextForm { normalize, whitespace, lowercase: false }
    }

    #[test]
    fn white_space_is_trimmed_and_line_breaks_are_spaces_unless_kept() {
        let trim = TextForm::default();
        assert_eq!(trim.apply(" \t a\tb\r\nc\u{2028}d\u{a0} \n"), "a b  c d");
        assert_eq!(trim.apply("a\u{a0}\u{3000}b"), "a\u{a0}\u{3000}b");
        let keep = form(Normalize::Nfc, Whitespace::Keep);
        assert_eq!(keep.apply(" \t e\u{301}\r\n"), " \t \u{e9}\r\n");
        assert_eq!([trim, keep].map(|form| form.is_empty(" \n")), [true, false]);
        assert_eq!([trim, keep].map(|form| form.is_empty("")), [true, true]);
    }

    #[test]
    fn each_normal_form_is_that_of_unicode() {
        let text = "\u{e9}\u{ac00}\u{fb01}e\u{301}\u{1100}\u{1161}";
        let read = |normalize| form(normalize, Whitespace::Trim).apply(text).into_owned();
        assert_eq!(read(Normalize::Nfc), "\u{e9}\u{ac00}\u{fb01}\u{e9}\u{ac00}");
        assert_eq!(read(Normalize::Nfd), "e\u{301}\u{1100}\u{1161}\u{fb01}e\u{301}\u{1100}\u{1161}");
        assert_eq!(read(Normalize::Nfkc), "\u{e9}\u{ac00}fi\u{e9}\u{ac00}");
        assert_eq!(read(Normalize::None), text);
    }

    /// For all characters, next to a letter, a mark and a space.
    #[test]
    fn a_normalized_text_is_unchanged() {
        let kinds = [Normalize::Nfc, Normalize::Nfd, Normalize::Nfkc, Normalize::None];
        for character in ('\0'..=char::MAX).step_by(7).chain('\0'..'\u{3400}') {
            for text in [format!("{character}a"), format!(" {character}\u{301}"), format!("a{character} ")] {
                for normalize in kinds {
                    for (whitespace, lowercase) in
                        [(Whitespace::Trim, false), (Whitespace::Keep, false), (Whitespace::Trim, true)]
                    {
                        let form = TextForm { lowercase, ..form(normalize, whitespace) };
                        let read = form.apply(&text).into_owned();
                        assert_eq!(form.apply(&read), read, "{text:?} in {form:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn characters_that_would_change_the_preceding_text_are_known() {
        let joins = |normalize, text: &str, more: &str| {
            let form = form(normalize, Whitespace::Trim);
            let joins = form.joins(text, more);
            assert!(!joins || form.may_join(more), "{text:?} {more:?}");
            joins
        };
        for normalize in [Normalize::Nfc, Normalize::Nfkc] {
            assert!(joins(normalize, "e", "\u{301}"));
            assert!(joins(normalize, "x", "\u{334}e"), "a mark with which others may come");
            assert!(joins(normalize, "\u{1100}", "\u{1161}") && joins(normalize, "\u{ac00}", "\u{11a8}"));
            assert!(joins(normalize, "\u{9c7}", "\u{9be}"), "two letters, which are one");
            assert!(!joins(normalize, "e", "\u{e9}") && !joins(normalize, "e", "a\u{301}"));
            assert!(!joins(normalize, "e", ""));
        }
        assert!(!joins(Normalize::Nfd, "e", "\u{301}") && !joins(Normalize::None, "e", "\u{301}"));
        assert!(joins(Normalize::Nfd, "e\u{302}", "\u{327}"), "which goes before the other mark");
        assert!(!joins(Normalize::None, "e\u{302}", "\u{327}"));
    }

    #[test]
    fn changes_are_reported_by_kind_with_their_key() {
        let mut changed = ChangeCounts::default();
        assert_eq!(changed.in_words("target", TextForm::default()), None);
        changed.add(Changes::default());
        assert_eq!(changed.in_words("target", TextForm::default()), None);
        changed.add(Changes { outer: true, breaks: true, ..Changes::default() });
        changed.add(Changes { normal_form: true, ..Changes::default() });
        assert_eq!(
            changed.in_words("target", TextForm::default()).unwrap(),
            "reading changed 2 of 3 targets: 1 normalized to NFC (`data.target.normalize`), 1 with white space removed at \
             the ends (`data.target.whitespace`), 1 with line breaks or tabs replaced by spaces (`data.target.whitespace`)"
        );
    }
}
