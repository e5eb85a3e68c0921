//! Texts that no output has: which tokens would complete one, after what an output says already.
//!
//! Texts are found wherever they stand, however they are cut into tokens. The beginning and the end of an output count as
//! spaces, so that a text with spaces around it is a word of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::noncontiguous::NFA;
use unicode_normalization::UnicodeNormalization;

use crate::data::vocabulary::EOS;
use crate::error::{Error, Result};

/// What a token adds to a text: at its beginning, and further on.
pub type Piece = [String; 2];

/// The banned texts of a decode.
#[derive(Debug)]
pub struct Banned {
    /// Aho and Corasick 1975, over bytes: a state is all of what was said that a banned text may begin with.
    automaton: NFA,
    /// For each token.
    pieces: Vec<Piece>,
    /// The tokens that complete a text, for each state and whether nothing is said yet; made when it is first asked for.
    completing: Mutex<HashMap<(StateID, bool), Tokens>>,
}

/// Ids of tokens.
type Tokens = Arc<[i64]>;

impl Banned {
    /// `pieces` has a text for each token of the vocabulary; that of EOS is never asked for.
    ///
    /// # Errors
    /// The texts are too many.
    pub fn new(texts: &[String], pieces: Vec<Piece>) -> Result<Banned> {
        let texts: Vec<String> = texts.iter().map(|text| text.nfc().collect()).collect();
        let automaton = NFA::new(&texts)
            .map_err(|error| Error::input(format!("`decoding.banned` has too many texts: {error}")))?;
        Ok(Banned { automaton, pieces, completing: Mutex::default() })
    }

    /// The tokens that would complete a banned text behind `said`, EOS among them.
    pub fn completing(&self, said: &[i64]) -> Tokens {
        let mut state = self.start();
        for (n, &token) in said.iter().enumerate() {
            state = self.walk(state, self.piece(token, n == 0)).0;
        }
        let key = (state, said.is_empty());
        // A worker that broke down has left nothing half-written.
        let mut known = self.completing.lock().unwrap_or_else(|broken| broken.into_inner());
        Arc::clone(known.entry(key).or_insert_with(|| self.find(state, said.is_empty())))
    }

    fn find(&self, state: StateID, first: bool) -> Tokens {
        let tokens = 0..self.pieces.len() as i64;
        tokens.filter(|&token| self.walk(state, self.piece(token, first)).1).collect()
    }

    fn piece(&self, token: i64, first: bool) -> &str {
        match self.pieces.get(token as usize) {
            _ if token == EOS => " ",
            Some([at_first, later]) => {
                if first {
                    at_first
                } else {
                    later
                }
            }
            None => "",
        }
    }

    /// The state before the first token.
    fn start(&self) -> StateID {
        self.walk(self.automaton.start_state(Anchored::No).unwrap_or_default(), " ").0
    }

    /// The state behind a text, and whether a banned one ends in it.
    fn walk(&self, state: StateID, text: &str) -> (StateID, bool) {
        text.bytes().fold((state, false), |(state, ended), byte| {
            let next = self.automaton.next_state(Anchored::No, state, byte);
            (next, ended || self.automaton.is_match(next))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids 4 and on.
    const TOKENS: [&str; 8] = ["a", "b", " a", " ab", "ba", " ", "é", "cabc"];

    fn banned(texts: &[&str]) -> Banned {
        let special = ["", "<unk>", "", ""].map(str::to_owned).map(|text| [text.clone(), text]);
        let pieces = TOKENS.map(|text| [text.trim_start().to_owned(), text.to_owned()]);
        let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
        Banned::new(&texts, special.into_iter().chain(pieces).collect()).unwrap()
    }

    /// What is forbidden is what makes a text that has a banned one, and nothing else.
    #[test]
    fn a_token_is_forbidden_where_the_text_would_have_a_banned_one() {
        let lists: [&[&str]; 6] =
            [&["ab"], &["b a", "aa"], &[" ab "], &["abab", "bc"], &["nk"], &[" a", "ba"]];
        for texts in lists {
            let banned = banned(texts);
            let text = |tokens: &[i64]| -> String {
                let pieces = tokens.iter().enumerate().map(|(n, &token)| banned.piece(token, n == 0));
                std::iter::once(" ").chain(pieces).collect()
            };
            let has = |text: &str| texts.iter().any(|one| text.contains(one));
            let mut said: Vec<Vec<i64>> = vec![vec![]];
            for _ in 0..3 {
                said = said
                    .iter()
                    .flat_map(|before| {
                        let forbidden = banned.completing(before);
                        let next = |token: i64| [before.as_slice(), &[token]].concat();
                        for token in 1..12 {
                            assert_eq!(
                                forbidden.contains(&token),
                                has(&text(&next(token))),
                                "{texts:?} {:?}",
                                next(token)
                            );
                        }
                        (4..12).filter(|token| !forbidden.contains(token)).map(next).collect::<Vec<_>>()
                    })
                    .collect();
            }
        }
    }

    #[test]
    fn a_text_is_banned_in_any_form() {
        assert_eq!(*banned(&["e\u{301}"]).completing(&[4]), [10]);
    }
}
