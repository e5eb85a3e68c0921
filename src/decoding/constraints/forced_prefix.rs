//! Forced prefixes: for each state of a prefix, the tokens that may come next and the states that they lead to.
//!
//! A text has several tokenizations, and a token may extend beyond its end; the search finds the best one. Tokens only:
//! [`super::token_texts`] builds the states from a text.

/// A forced prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForcedPrefix {
    places: Vec<PrefixState>,
    /// Tokens that must not follow, since they would change the end of the prefix.
    joining: Vec<i64>,
}

/// The tokens that may come next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PrefixState {
    /// In no particular order.
    pub choices: Vec<PrefixToken>,
    /// The minimum number of tokens from here to the end of the prefix.
    pub fewest: usize,
}

/// A transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PrefixToken {
    /// The token.
    pub token: i64,
    /// The state after it, or [`ForcedPrefix::END`] or [`ForcedPrefix::FREE`].
    pub next: usize,
    /// Whether the token extends beyond the prefix: then constraints apply to it.
    pub beyond: bool,
}

impl ForcedPrefix {
    /// The start state.
    pub(crate) const START: usize = 0;
    /// The state in which nothing is forced.
    pub(crate) const FREE: usize = usize::MAX;
    /// The state in which exactly the prefix is written, if some tokens would change it.
    pub(crate) const END: usize = usize::MAX - 1;

    /// A prefix with these states, of which the first is the start state.
    pub(in crate::decoding) fn new(places: Vec<PrefixState>) -> ForcedPrefix {
        ForcedPrefix { places, joining: Vec::new() }
    }

    /// The same, where these tokens must not follow the end.
    pub(in crate::decoding) fn not_followed_by(mut self, joining: Vec<i64>) -> ForcedPrefix {
        if !joining.is_empty() {
            let choices = self.places.iter_mut().flat_map(|place| &mut place.choices);
            let last = choices.filter(|choice| choice.next == ForcedPrefix::FREE && !choice.beyond);
            last.for_each(|choice| choice.next = ForcedPrefix::END);
        }
        ForcedPrefix { joining, ..self }
    }

    /// The tokens that must not follow in an unforced state.
    pub(in crate::decoding) fn forbidden(&self, place: usize) -> &[i64] {
        if place == ForcedPrefix::END { &self.joining } else { &[] }
    }

    /// The tokens that may come next in a state; `None` if all may.
    pub(crate) fn at(&self, place: usize) -> Option<&PrefixState> {
        self.places.get(place)
    }

    /// Every token of some state.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = i64> {
        self.places.iter().flat_map(|place| &place.choices).map(|choice| choice.token)
    }

    /// The minimum number of tokens that spell the prefix.
    pub(crate) fn min_tokens(&self) -> usize {
        self.min_tokens_from(ForcedPrefix::START)
    }

    fn min_tokens_from(&self, place: usize) -> usize {
        self.at(place).map_or(0, |place| place.fewest)
    }

    /// The state after `token`, and whether the token lies within the prefix.
    pub(in crate::decoding) fn state_after(&self, place: usize, token: i64) -> (usize, bool) {
        let choices = self.at(place).map_or(&[][..], |place| &place.choices);
        let choice = choices.iter().find(|choice| choice.token == token);
        choice.map_or((ForcedPrefix::FREE, false), |choice| (choice.next, !choice.beyond))
    }
}

/// A row of scores in which only the tokens that a state allows are possible. Kept between steps, to save allocations.
#[derive(Debug, Default)]
pub(in crate::decoding) struct PrefixScores(Vec<f32>);

impl PrefixScores {
    /// Copies the scores of some choices: those that extend beyond the prefix, or those that do not. Excludes choices
    /// from which `left` more tokens cannot complete the prefix.
    pub(crate) fn take(
        &mut self,
        opening: &ForcedPrefix,
        place: &PrefixState,
        beyond: bool,
        left: usize,
        row: &[f32],
    ) {
        let fits =
            |choice: &&PrefixToken| choice.beyond == beyond && opening.min_tokens_from(choice.next) <= left;
        for choice in place.choices.iter().filter(fits) {
            if let (Some(to), Some(&score)) =
                (self.0.get_mut(choice.token as usize), row.get(choice.token as usize))
            {
                *to = score;
            }
        }
    }

    /// Resets the row: all tokens are forbidden.
    pub(crate) fn clear(&mut self, vocabulary: usize) {
        self.0.clear();
        self.0.resize(vocabulary, f32::NEG_INFINITY);
    }

    /// The row.
    pub(crate) fn row(&self) -> &[f32] {
        &self.0
    }
}
