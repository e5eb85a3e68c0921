//! Counts while pairs are made: nothing is left out in silence.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::console::status;
use crate::error::{Error, counted};

/// Why an output, or all of a source, is not in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Omission {
    /// Its source cannot be read, or the pair is too long.
    Skipped,
    /// It has no EOS.
    Unfinished,
    /// It has an unknown symbol.
    Unknown,
    /// It is empty, and `data.empty` is not `keep`.
    Empty,
    /// It has more tokens than `data.target.max_length`.
    TooLong,
    /// It has more tokens than CTC can align to its recording.
    TooShort,
    /// Its length is too unequal to its source's (`data.max_ratio`).
    TooUnequal,
    /// It equals its source (`data.copy`).
    Copy,
    /// It has what separates several targets of a row (`data.target.alternatives`).
    Separator,
    /// It, or its source, has a line break that CSV does not keep.
    LineBreak,
}

impl Omission {
    /// In words, after a number.
    fn in_words(self) -> &'static str {
        match self {
            Omission::Skipped => "not decoded",
            Omission::Unfinished => "unfinished",
            Omission::Unknown => "with <unk>",
            Omission::Empty => "empty",
            Omission::TooLong => "longer than `data.target.max_length`",
            Omission::TooShort => "too long for CTC on their recordings",
            Omission::TooUnequal => "too unequal to their sources (`data.max_ratio`)",
            Omission::Copy => "equal to their sources (`data.copy`)",
            Omission::Separator => "with the separator of targets (`data.target.alternatives`)",
            Omission::LineBreak => "with CR LF, which only .jsonl keeps",
        }
    }
}

/// The counts of all sources so far; a record has them, so that a command that resumes reports the whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Sources.
    pub sources: u64,
    /// Pairs that were written.
    pub pairs: u64,
    /// Of these, those whose source has a reference.
    compared: u64,
    /// Of these, those that equal it.
    equal: u64,
    /// Sources with symbols that the vocabulary lacks.
    unknown_sources: u64,
    omitted: BTreeMap<Omission, u64>,
    /// The first error of a source that was not decoded.
    first_skipped: Option<String>,
}

impl Tally {
    /// Counts a source; `unknown` is the number of its unknown symbols.
    pub(super) fn add_source(&mut self, unknown: usize) {
        self.sources += 1;
        self.unknown_sources += u64::from(unknown > 0);
    }

    /// Counts a pair; `equal` tells whether it equals its reference, if there is one.
    pub(super) fn add_pair(&mut self, equal: Option<bool>) {
        self.pairs += 1;
        self.compared += u64::from(equal.is_some());
        self.equal += u64::from(equal == Some(true));
    }

    /// Counts an output that is left out.
    pub(super) fn omit(&mut self, why: Omission) {
        *self.omitted.entry(why).or_default() += 1;
    }

    /// Counts a source that is not decoded.
    pub(super) fn skip(&mut self, error: &Error) {
        self.omit(Omission::Skipped);
        self.first_skipped.get_or_insert_with(|| error.first_line().to_owned());
    }

    /// Reports the counts, the notes first.
    pub(super) fn say(&self, output: &Path) {
        if let Some(first) = &self.first_skipped {
            status(&format!("note: the first source that was not decoded: {first}"));
        }
        if self.unknown_sources > 0 {
            let count = self.unknown_sources;
            status(&format!(
                "note: sources with symbols that are not in the vocabulary: {count} (decoded as <unk>)"
            ));
        }
        status(&self.line(output));
    }

    /// `3 pairs from 5 sources, written to pairs.csv; left out: 2 unfinished; 1 of 3 equal their references`
    fn line(&self, output: &Path) -> String {
        let (pairs, sources) = (counted(self.pairs, "pair"), counted(self.sources, "source"));
        let mut line = format!("{pairs} from {sources}, written to {}", output.display());
        let omitted = self.omitted.iter().map(|(why, count)| format!("{count} {}", why.in_words()));
        let omitted: Vec<String> = omitted.collect();
        if !omitted.is_empty() {
            line += &format!("; left out: {}", omitted.join(", "));
        }
        if self.compared > 0 {
            line += &format!("; {} of {} equal their references", self.equal, self.compared);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_the_counts_back() {
        let mut tally = Tally::default();
        (0..5).for_each(|unknown| tally.add_source(unknown % 2));
        [Some(true), Some(false), None].into_iter().for_each(|equal| tally.add_pair(equal));
        tally.omit(Omission::Unfinished);
        tally.skip(&Error::input("too long\n  row").at("a.csv:2"));
        tally.skip(&Error::input("another"));
        let saved = serde_json::to_value(&tally).unwrap();
        let back: Tally = serde_json::from_value(saved).unwrap();
        let line = "3 pairs from 5 sources, written to a.csv; left out: 2 not decoded, 1 unfinished; 1 of \
                    2 equal their references";
        assert_eq!(back.line(Path::new("a.csv")), line);
        assert_eq!((back.unknown_sources, back.first_skipped.as_deref()), (2, Some("a.csv:2: too long")));
        assert_eq!(Tally::default().line(Path::new("b.csv")), "0 pairs from 0 sources, written to b.csv");
    }
}
