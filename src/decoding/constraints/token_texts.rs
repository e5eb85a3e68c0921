//! The texts of tokens: the text of an output, and all tokenizations of a given prefix.
//!
//! It gets one piece of text per token, as bytes, and the text form of outputs, and depends on no tokenizer. A token may be a part
//! of a character, if tokens are bytes.

use std::sync::OnceLock;

use super::forced_prefix::{ForcedPrefix, PrefixState, PrefixToken};
use crate::data::text_form::TextForm;
use crate::data::vocabulary::{EOS, SPECIALS};

/// The text of a token, in bytes: at the start of an output, and later.
pub(crate) type TokenText = [Box<[u8]>; 2];

/// The texts of all tokens.
#[derive(Debug, Default)]
pub struct TokenTexts {
    pieces: Vec<TokenText>,
    form: TextForm,
    /// Computed for the first forced prefix.
    order: OnceLock<Order>,
}

/// Tokens by their texts.
#[derive(Debug)]
struct Order {
    /// Tokens that are not special, sorted by their pieces: at the start, and later.
    sorted: [Vec<u32>; 2],
    /// Bytes of the longest piece.
    longest: usize,
    /// Tokens that could change the text before them, when not at the start.
    joining: Vec<i64>,
}

impl TokenTexts {
    /// `pieces` has a text for each token, in the order of the ids.
    pub(crate) fn new(pieces: Vec<TokenText>) -> TokenTexts {
        TokenTexts::in_form(pieces, TextForm::default())
    }

    /// The same, with texts in this form.
    pub(crate) fn in_form(pieces: Vec<TokenText>, form: TextForm) -> TokenTexts {
        TokenTexts { pieces, form, order: OnceLock::new() }
    }

    fn order(&self) -> &Order {
        self.order.get_or_init(|| {
            let sorted = [true, false].map(|first| {
                let mut ids: Vec<u32> = (SPECIALS.len() as u32..self.pieces.len() as u32).collect();
                ids.sort_by_key(|&id| self.piece(i64::from(id), first));
                ids
            });
            let joining = sorted[1].iter().map(|&id| i64::from(id));
            let joining =
                joining.filter(|&id| self.form.may_join(beginning(self.piece(id, false)))).collect();
            Order {
                joining,
                sorted,
                longest: self.pieces.iter().flatten().map(|piece| piece.len()).max().unwrap_or(0),
            }
        })
    }

    /// Number of tokens with a text.
    pub(crate) fn count(&self) -> usize {
        self.pieces.len()
    }

    /// The text of a token; EOS is a space, and an unknown id is empty.
    pub(crate) fn piece(&self, token: i64, first: bool) -> &[u8] {
        match self.pieces.get(token as usize) {
            _ if token == EOS => b" ",
            Some(piece) => &piece[usize::from(!first)],
            None => b"",
        }
    }

    /// A text in the normal form of outputs.
    pub(crate) fn normal(&self, text: &str) -> String {
        self.form.normalize(text).into_owned()
    }

    /// The text of an output as it is written. A token without a text is shown as its id, so that outputs that differ
    /// in it differ.
    pub(crate) fn of(&self, tokens: &[i64]) -> String {
        let mut text = Vec::new();
        for (n, &token) in tokens.iter().enumerate() {
            match self.pieces.get(token as usize) {
                Some(piece) => text.extend_from_slice(&piece[usize::from(n > 0)]),
                None => text.extend(format!("<{token}>").into_bytes()),
            }
        }
        self.form.apply(&String::from_utf8_lossy(&text)).into_owned()
    }

    /// The forced prefix for this text, with all its tokenizations. The last token may extend beyond the text, and
    /// tokens that would change it in the text form of outputs must not follow. `None` if no tokens spell the text; an
    /// empty text forces nothing.
    pub(crate) fn forced_prefix(&self, text: &str) -> Option<ForcedPrefix> {
        if text.is_empty() {
            return Some(ForcedPrefix::default());
        }
        // The state after `offset` bytes is 1 + offset; state 0 is the start of the output.
        let mut places = vec![PrefixState { fewest: usize::MAX, ..PrefixState::default() }; text.len() + 1];
        for offset in (0..text.len()).rev() {
            places[1 + offset] = self.place(text, offset, false, &places);
        }
        places[ForcedPrefix::START] = self.place(text, 0, true, &places);
        (places[ForcedPrefix::START].fewest < usize::MAX).then(|| {
            let joining = self.order().joining.iter().copied();
            let joins = |&token: &i64| self.form.joins(text, beginning(self.piece(token, false)));
            ForcedPrefix::new(places).not_followed_by(joining.filter(joins).collect())
        })
    }

    /// The state after `offset` bytes of a text, given the later states. No transition leads into a dead end.
    fn place(&self, text: &str, offset: usize, first: bool, places: &[PrefixState]) -> PrefixState {
        let Order { sorted, longest, .. } = self.order();
        let (rest, sorted) = (&text.as_bytes()[offset..], &sorted[usize::from(!first)]);
        let piece = |id: &u32| self.piece(i64::from(*id), first);
        let from = |least: &[u8]| sorted.partition_point(|id| piece(id) < least);
        let choice = |&id: &u32, next, beyond| PrefixToken { token: i64::from(id), next, beyond };
        let mut choices = Vec::new();
        for end in usize::from(!first)..=rest.len().min(*longest) {
            let same = sorted[from(&rest[..end])..].iter().take_while(|id| piece(id) == &rest[..end]);
            let next = if end == rest.len() { ForcedPrefix::FREE } else { 1 + offset + end };
            if places.get(next).is_none_or(|next| next.fewest < usize::MAX) {
                choices.extend(same.map(|id| choice(id, next, false)));
            }
        }
        let begins = sorted[from(rest)..].iter().take_while(|id| piece(id).starts_with(rest));
        let beyond = begins.filter(|id| {
            let more = &piece(id)[rest.len()..];
            !more.is_empty() && !self.form.joins(text, beginning(more))
        });
        choices.extend(beyond.map(|id| choice(id, ForcedPrefix::FREE, true)));
        let behind = |choice: &PrefixToken| places.get(choice.next).map_or(0, |next| next.fewest);
        let fewest = choices.iter().map(|choice| 1 + behind(choice)).min().unwrap_or(usize::MAX);
        PrefixState { choices, fewest }
    }
}

/// The characters at the beginning of some bytes; a part of one, as a byte can be, is none.
fn beginning(bytes: &[u8]) -> &str {
    bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}
