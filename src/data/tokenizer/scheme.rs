//! What a kind of tokenizer does: it cuts texts into tokens, and knows the text of each token.
//!
//! [`Tokenizer`](super::Tokenizer) brings texts into their form before, and outputs behind; a scheme never sees another form. The
//! text of an output is the concatenation of what its tokens add, as bytes.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::merger::Merger;
use crate::data::vocabulary::{UNK, Vocabulary};
use crate::error::Result;

/// Takes a token: its id, and what it covers of the text.
pub(super) type Each<'a> = &'a mut dyn FnMut(i64, &str);

/// A kind of tokenizer. Its ids are never PAD, BOS and EOS.
pub(super) trait Scheme: Debug + Send + Sync {
    /// Its table in the config.
    fn name(&self) -> &'static str;

    /// Tokens and ids.
    fn vocabulary(&self) -> &Vocabulary;

    /// Whether an id is that of an unknown symbol.
    fn is_unknown(&self, id: i64) -> bool {
        id == UNK
    }

    /// Cuts a text in its form. What a token covers may have marks, see [`Scheme::plain`]; a byte covers its character.
    fn cut(&self, text: &str, each: Each);

    /// What a known token adds to an output, at its start or later.
    fn piece(&self, id: i64, first: bool) -> Cow<'_, [u8]>;

    /// What an unknown symbol adds to an output.
    fn unknown<'a>(&self, symbol: &'a str, _first: bool) -> Cow<'a, str> {
        Cow::Borrowed(symbol)
    }

    /// A covered text without marks, as a person writes it.
    fn plain<'a>(&self, covered: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(covered)
    }

    /// The text that the tokens of a text spell, if nothing is unknown.
    fn spelled(&self, text: &str) -> String {
        let (mut spelled, mut first) = (Vec::with_capacity(text.len()), true);
        self.cut(text, &mut |id, covered| {
            match id {
                UNK => spelled.extend_from_slice(self.unknown(covered, first).as_bytes()),
                _ => spelled.extend_from_slice(&self.piece(id, first)),
            }
            first = false;
        });
        String::from_utf8_lossy(&spelled).into_owned()
    }

    /// The same with symbols behind the others; those of [`Scheme::cut`] that are unknown.
    ///
    /// # Errors
    /// A symbol exists already, or is of another kind.
    fn extended(&self, symbols: &[String]) -> Result<Arc<dyn Scheme>>;

    /// Its merges, each left out with the probability `dropout`; `None` if it has none.
    fn merger(&self, _dropout: f64) -> Option<Merger> {
        None
    }

    /// What the model file has of it beside its tokens.
    fn settings(&self) -> Map<String, Value> {
        Map::new()
    }
}
