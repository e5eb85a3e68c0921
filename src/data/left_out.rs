//! Pairs that are not used: how many for each reason, and where the first ones are.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::readers::Place;

/// The most places that are kept for a reason.
pub(crate) const NAMED: usize = 5;

/// Why a pair is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// A side is longer than its `max_length`, or a recording than its `max_seconds`.
    TooLong,
    /// A recording is too short for CTC.
    TooShort,
    /// A side is empty.
    Empty,
    /// One side is more than `data.max_ratio` times as long as the other one.
    TooUnequal,
    /// The row has bytes that are not UTF-8.
    InvalidUtf8,
    /// The same pair came before.
    Duplicate,
    /// Source and target are the same text.
    Copy,
}

impl Reason {
    /// The key of `[data]` that decides what becomes of such pairs.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Reason::TooLong | Reason::TooShort => "too_long",
            Reason::Empty => "empty",
            Reason::TooUnequal => "too_unequal",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::Duplicate => "duplicate",
            Reason::Copy => "copy",
        }
    }

    /// In words, after "because".
    pub(crate) fn why(self) -> &'static str {
        match self {
            Reason::TooLong => "a side is too long",
            Reason::TooShort => "their recordings are too short for CTC",
            Reason::Empty => "a side is empty",
            Reason::TooUnequal => "the lengths of their sides are too unequal",
            Reason::InvalidUtf8 => "they are not UTF-8",
            Reason::Duplicate => "the same pair came before",
            Reason::Copy => "source and target are equal",
        }
    }
}

/// The pairs of a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: usize,
    /// The first places, in order.
    pub first: Vec<Place>,
}

/// The pairs that are not used, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Reason, Stored>", into = "BTreeMap<Reason, Stored>")]
pub struct LeftOut(BTreeMap<Reason, Tally>);

/// A tally in a file: the count, and names and lines of the first places.
type Stored = (usize, Vec<(String, u64)>);

impl LeftOut {
    /// Adds a pair.
    pub(crate) fn add(&mut self, reason: Reason, place: Place) {
        let tally = self.0.entry(reason).or_default();
        tally.count += 1;
        if tally.first.len() < NAMED {
            tally.first.push(place);
        }
    }

    /// Adds those of another kind of check, whose reasons are others.
    pub(crate) fn join(&mut self, other: LeftOut) {
        self.0.extend(other.0);
    }

    /// Those of a reason.
    pub fn of(&self, reason: Reason) -> Tally {
        self.0.get(&reason).cloned().unwrap_or_default()
    }

    /// How many of a reason.
    pub fn count(&self, reason: Reason) -> usize {
        self.0.get(&reason).map_or(0, |tally| tally.count)
    }

    /// All reasons that there are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Reason, &Tally)> {
        self.0.iter().map(|(reason, tally)| (*reason, tally))
    }
}

impl From<BTreeMap<Reason, Stored>> for LeftOut {
    fn from(stored: BTreeMap<Reason, Stored>) -> LeftOut {
        let place = |(file, line): (String, u64)| Place { file: Path::new(&file).into(), line };
        let tally = |(count, first): Stored| Tally { count, first: first.into_iter().map(place).collect() };
        LeftOut(stored.into_iter().map(|(reason, stored)| (reason, tally(stored))).collect())
    }
}

impl From<LeftOut> for BTreeMap<Reason, Stored> {
    fn from(left_out: LeftOut) -> BTreeMap<Reason, Stored> {
        let place = |place: Place| (place.file.display().to_string(), place.line);
        let stored = |tally: Tally| (tally.count, tally.first.into_iter().map(place).collect());
        left_out.0.into_iter().map(|(reason, tally)| (reason, stored(tally))).collect()
    }
}
