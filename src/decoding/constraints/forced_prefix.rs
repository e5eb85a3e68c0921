//! Forced prefixes: for each state of a prefix, the tokens that may come next, and the state that each of them leads to.
//!
//! A text can be cut in several ways, and a token may extend beyond its end; the search finds the best one. It knows tokens
//! and no text: [`super::token_texts`] builds the states from a text.

/// A beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForcedPrefix {
    places: Vec<PrefixState>,
    /// Tokens that would change the end of it, so that they do not follow.
    joining: Vec<i64>,
}

/// What may come next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixState {
    /// In no particular order.
    pub choices: Vec<PrefixToken>,
    /// The fewest tokens that lead from here to where nothing is forced any more.
    pub fewest: usize,
}

/// A token at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixToken {
    /// The token.
    pub token: i64,
    /// The place behind it, or [`ForcedPrefix::END`] or [`ForcedPrefix::FREE`].
    pub next: usize,
    /// Whether it goes beyond the beginning: then what it says is not forced, and rules are asked about it.
    pub beyond: bool,
}

impl ForcedPrefix {
    /// Where every output begins.
    pub const START: usize = 0;
    /// Where nothing is forced any more.
    pub const FREE: usize = usize::MAX;
    /// The state in which exactly the prefix is written, if some tokens would change it.
    pub const END: usize = usize::MAX - 1;

    /// A beginning of these places, of which the first is where it begins.
    pub(in crate::decoding) fn new(places: Vec<PrefixState>) -> ForcedPrefix {
        ForcedPrefix { places, joining: Vec::new() }
    }

    /// The same where these tokens do not come next behind its end.
    pub(in crate::decoding) fn not_followed_by(mut self, joining: Vec<i64>) -> ForcedPrefix {
        if !joining.is_empty() {
            let choices = self.places.iter_mut().flat_map(|place| &mut place.choices);
            let last = choices.filter(|choice| choice.next == ForcedPrefix::FREE && !choice.beyond);
            last.for_each(|choice| choice.next = ForcedPrefix::END);
        }
        ForcedPrefix { joining, ..self }
    }

    /// What may not come next at a place that is free otherwise.
    pub(in crate::decoding) fn forbidden(&self, place: usize) -> &[i64] {
        if place == ForcedPrefix::END { &self.joining } else { &[] }
    }

    /// What may come next at a place; nothing where that is free.
    pub fn at(&self, place: usize) -> Option<&PrefixState> {
        self.places.get(place)
    }

    /// Every token of some state.
    pub fn tokens(&self) -> impl Iterator<Item = i64> {
        self.places.iter().flat_map(|place| &place.choices).map(|choice| choice.token)
    }

    /// The minimum number of tokens that spell it.
    pub fn min_tokens(&self) -> usize {
        self.min_tokens_from(ForcedPrefix::START)
    }

    fn min_tokens_from(&self, place: usize) -> usize {
        self.at(place).map_or(0, |place| place.fewest)
    }

    /// What follows a place by a token: the place behind it, and whether it lies within the beginning.
    pub(in crate::decoding) fn state_after(&self, place: usize, token: i64) -> (usize, bool) {
        let choices = self.at(place).map_or(&[][..], |place| &place.choices);
        let choice = choices.iter().find(|choice| choice.token == token);
        choice.map_or((ForcedPrefix::FREE, false), |choice| (choice.next, !choice.beyond))
    }
}

/// A row of scores in which nothing may be said but what a place lets come next. Kept between steps, to save allocations.
#[derive(Debug, Default)]
pub(in crate::decoding) struct PrefixScores(Vec<f32>);

impl PrefixScores {
    /// Takes the scores of a row for some of the choices: those that go beyond the beginning, or those that do not. What
    /// could not be said in full with `left` more tokens is left out.
    pub fn take(
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

    /// Starts again, with all tokens forbidden.
    pub fn clear(&mut self, vocabulary: usize) {
        self.0.clear();
        self.0.resize(vocabulary, f32::NEG_INFINITY);
    }

    /// The row.
    pub fn row(&self) -> &[f32] {
        &self.0
    }
}
