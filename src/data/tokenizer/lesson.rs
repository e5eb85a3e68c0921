//! What pieces are learned from: words and the characters that must be pieces.

use std::collections::HashSet;

/// What pieces are learned from.
pub(super) struct Lesson<'a> {
    /// Tokens of the vocabulary, including special ones and bytes.
    pub size: usize,
    /// Whether bytes are among them.
    pub has_bytes: bool,
    /// The characters that must be pieces.
    pub alphabet: HashSet<char>,
    /// Parts of words, in the order of the texts.
    pub words: Vec<&'a str>,
}
