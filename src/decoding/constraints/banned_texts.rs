//! Banned texts: finds the tokens that would complete one, given the output so far.
//!
//! Texts are found anywhere, in any tokenization. The beginning and the end of an output count as spaces, so that a
//! text with spaces around it is a separate word. A token after which no token is allowed is forbidden as well, and
//! so is a last token that completes a banned text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::noncontiguous::NFA;

use super::token_texts::TokenTexts;
use crate::data::vocabulary::EOS;
use crate::error::{Error, Result};

/// The banned texts of a decode.
#[derive(Debug)]
pub struct BannedTexts {
    /// Aho-Corasick automaton (1975) over bytes: a state is the longest suffix of the output that starts a banned text.
    automaton: NFA,
    texts: Arc<TokenTexts>,
    /// The forbidden tokens of each state, computed on first use.
    known: Mutex<HashMap<Place, Tokens>>,
}

/// The output so far, as far as it matters for the next token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OutputPrefix<'a> {
    /// All tokens so far.
    pub tokens: &'a [i64],
    /// This many of them were forced, and may contain banned texts.
    pub forced: usize,
    /// Whether the next token is the last one that the limit allows.
    pub to_the_limit: bool,
}

/// The key on which forbidden tokens depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    state: StateID,
    first: bool,
    last: bool,
}

/// Ids of tokens.
type Tokens = Arc<[i64]>;

impl BannedTexts {
    /// # Errors
    /// Too many texts.
    pub(crate) fn new(banned: &[String], texts: Arc<TokenTexts>) -> Result<BannedTexts> {
        let banned: Vec<String> = banned.iter().map(|text| texts.normal(text)).collect();
        let automaton = NFA::new(&banned)
            .map_err(|error| Error::input(format!("`decoding.banned` has too many texts: {error}")))?;
        Ok(BannedTexts { automaton, texts, known: Mutex::default() })
    }

    /// The tokens that must not follow, possibly EOS.
    pub(crate) fn forbidden(&self, prefix: OutputPrefix) -> Tokens {
        let place = Place {
            state: self.state_behind(prefix),
            first: prefix.tokens.is_empty(),
            last: prefix.to_the_limit,
        };
        // A thread that panicked has left nothing half-written.
        let mut known = self.known.lock().unwrap_or_else(|broken| broken.into_inner());
        Arc::clone(known.entry(place).or_insert_with(|| self.find(place)))
    }

    fn state_behind(&self, prefix: OutputPrefix) -> StateID {
        let mut state = self.behind_forced(prefix);
        for (n, &token) in prefix.tokens.iter().enumerate().skip(prefix.forced) {
            state = self.walk(state, self.piece(token, n == 0));
        }
        state
    }

    /// The state after the forced tokens. A banned text at their end is forced as well, so matching continues from
    /// their longest part that does not end in one.
    fn behind_forced(&self, prefix: OutputPrefix) -> StateID {
        let tokens = prefix.tokens.iter().take(prefix.forced).enumerate();
        let pieces = tokens.map(|(n, &token)| self.piece(token, n == 0));
        let text = std::iter::once(&b" "[..]).chain(pieces).collect::<Vec<_>>().concat();
        if prefix.tokens.len() < prefix.forced || prefix.forced == 0 {
            return self.walk(self.root(), &text);
        }
        let mut parts = (0..text.len()).map(|at| self.walk(self.root(), &text[at..]));
        parts.find(|&state| !self.ends_in_one(state)).unwrap_or(self.root())
    }

    fn find(&self, place: Place) -> Tokens {
        let mut dead = HashMap::new();
        let mut is_forbidden = |token: &i64| {
            let text = self.piece(*token, place.first);
            if self.completes(place.state, text) {
                return true;
            }
            let next = self.walk(place.state, text);
            *token != EOS
                && self.ends_in_one(next)
                && (place.last || *dead.entry(next).or_insert_with(|| self.is_dead_end(next)))
        };
        (0..self.texts.count() as i64).filter(|token| is_forbidden(token)).collect()
    }

    /// Whether an output that ends here contains a banned text.
    fn ends_in_one(&self, state: StateID) -> bool {
        self.completes(state, b" ")
    }

    /// Whether every token with a text would complete a banned text.
    fn is_dead_end(&self, state: StateID) -> bool {
        // EOS is checked separately.
        let tokens = (0..self.texts.count() as i64).filter(|token| *token != EOS);
        let mut says_something = tokens.map(|token| self.piece(token, false)).filter(|text| !text.is_empty());
        says_something.all(|text| self.completes(state, text))
    }

    fn piece(&self, token: i64, first: bool) -> &[u8] {
        self.texts.piece(token, first)
    }

    /// The start state.
    fn root(&self) -> StateID {
        self.automaton.start_state(Anchored::No).unwrap_or_default()
    }

    /// The state after a text.
    fn walk(&self, state: StateID, text: &[u8]) -> StateID {
        text.iter().fold(state, |state, &byte| self.automaton.next_state(Anchored::No, state, byte))
    }

    /// Whether a banned text ends in this text.
    fn completes(&self, mut state: StateID, text: &[u8]) -> bool {
        text.iter().any(|&byte| {
            state = self.automaton.next_state(Anchored::No, state, byte);
            self.automaton.is_match(state)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::vocabulary::UNK;

    /// Ids 4 and on.
    const TOKENS: [&str; 8] = ["a", "b", " a", " ab", "ba", " ", "é", "cabc"];

    fn of_texts(texts: [&str; 2]) -> [Box<[u8]>; 2] {
        texts.map(|text| text.as_bytes().into())
    }

    fn banned(texts: &[&str]) -> BannedTexts {
        let special = ["", "<unk>", "", ""].map(|text| [text; 2]);
        let pieces = TOKENS.map(|text| [text.trim_start(), text]);
        let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
        let pieces = special.into_iter().chain(pieces).map(of_texts).collect();
        BannedTexts::new(&texts, Arc::new(TokenTexts::new(pieces))).unwrap()
    }

    /// Exactly those tokens are forbidden that would complete a banned text.
    #[test]
    fn a_token_that_would_complete_a_banned_text_is_forbidden() {
        let lists: [&[&str]; 6] =
            [&["ab"], &["b a", "aa"], &[" ab "], &["abab", "bc"], &["nk"], &[" a", "ba"]];
        for texts in lists {
            let banned = banned(texts);
            let text = |tokens: &[i64]| -> String {
                let pieces = tokens.iter().enumerate().map(|(n, &token)| banned.piece(token, n == 0));
                let text = std::iter::once(&b" "[..]).chain(pieces).collect::<Vec<_>>().concat();
                String::from_utf8(text).unwrap()
            };
            let has = |text: &str| texts.iter().any(|one| text.contains(one));
            let can_continue = |tokens: &[i64]| {
                [UNK, EOS].into_iter().chain(4..12).any(|token| !has(&text(&[tokens, &[token]].concat())))
            };
            let mut prefixes: Vec<Vec<i64>> = vec![vec![]];
            for _ in 0..3 {
                prefixes = prefixes
                    .iter()
                    .flat_map(|before| {
                        let forbidden =
                            banned.forbidden(OutputPrefix { tokens: before, ..OutputPrefix::default() });
                        let last = OutputPrefix { tokens: before, to_the_limit: true, forced: 0 };
                        let last = banned.forbidden(last);
                        let next = |token: i64| [before.as_slice(), &[token]].concat();
                        for token in 1..12 {
                            let output = next(token);
                            let complete = has(&text(&output));
                            let stuck = token != EOS && !can_continue(&output);
                            assert_eq!(forbidden.contains(&token), complete || stuck, "{texts:?} {output:?}");
                            let ended = has(&(text(&output) + " "));
                            assert_eq!(last.contains(&token), complete || ended, "{texts:?} {output:?}");
                        }
                        (4..12).filter(|token| !forbidden.contains(token)).map(next).collect::<Vec<_>>()
                    })
                    .collect();
            }
        }
    }

    /// Every token begins with a space, so that an output that ends in a banned word could neither continue nor end.
    #[test]
    fn a_banned_word_is_forbidden_where_tokens_are_words() {
        let words = ["", "<unk>", "", "", "ein", "und", "Haus"];
        let pieces = words
            .map(|word| of_texts([word, &if word.is_empty() { String::new() } else { format!(" {word}") }]));
        let banned =
            BannedTexts::new(&[" und ".to_owned()], Arc::new(TokenTexts::new(pieces.into()))).unwrap();
        let forbidden = |tokens: &[i64], forced| {
            banned.forbidden(OutputPrefix { tokens, forced, to_the_limit: false }).to_vec()
        };
        assert_eq!((forbidden(&[], 0), forbidden(&[4], 0)), (vec![5], vec![5]));
        assert_eq!(forbidden(&[4, 5], 2), [5], "a forced prefix may contain it, and continues");
        let two = [" und ", "und Haus"].map(str::to_owned);
        let both = BannedTexts::new(&two, Arc::clone(&banned.texts)).unwrap();
        let prefix = OutputPrefix { tokens: &[4, 5], forced: 2, to_the_limit: false };
        assert_eq!(both.forbidden(prefix).to_vec(), [5, 6], "only a forced prefix may contain it");
    }

    #[test]
    fn a_text_is_banned_in_any_normal_form() {
        assert_eq!(
            *banned(&["e\u{301}"]).forbidden(OutputPrefix { tokens: &[4], ..OutputPrefix::default() }),
            [10]
        );
    }
}
