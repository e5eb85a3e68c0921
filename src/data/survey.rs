//! What a set of pairs is made of: lengths, unknown symbols, characters, repetitions, copies, and what it shares with
//! another set.
//!
//! It counts pair by pair and keeps hashes, not texts, so that a set may be larger than memory. Texts and numbers only.

mod characters;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::readers::{Pair, Place};
use super::tokenizer::{TextForm, Tokenizer};

pub(crate) use characters::Characters;

/// The most examples of each finding.
const EXAMPLES: usize = 5;

/// The longest rows that are kept.
const LONGEST: usize = 5;

/// What is found in a set.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Number of pairs.
    pub pairs: u64,
    /// Sources and targets.
    pub sides: [SideSurvey; 2],
    /// Pairs that occurred before in the set.
    pub duplicates: Found,
    /// Pairs whose source occurred before with another target.
    pub ambiguous: Found,
    /// Pairs whose target is their source.
    pub copies: Found,
    /// Pairs with several right targets.
    pub several_targets: u64,
    /// The most right targets of a pair.
    pub most_targets: usize,
    /// Pairs that are in the training set, too.
    pub shared_pairs: Found,
    /// Pairs whose source is in the training set, too, with any target.
    pub shared_sources: Found,
    seen: Seen,
}

/// The texts that a set has, as hashes.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pairs: HashSet<u64>,
    sources: HashSet<u64>,
}

/// How often something was found, and the first examples.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// How often.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// A pair that shows a finding.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// Where it is.
    pub place: Place,
    /// Its texts.
    pub texts: [String; 2],
}

/// What is found on a side.
#[derive(Debug, Default)]
pub(crate) struct SideSurvey {
    /// How many texts have each number of tokens.
    pub lengths: BTreeMap<usize, u64>,
    /// Tokens of all texts.
    pub tokens: u64,
    /// Tokens that are `<unk>`.
    pub unknown_tokens: u64,
    /// Symbols that are not in the vocabulary: how often, and where first.
    pub unknown: HashMap<String, (u64, Place)>,
    /// Texts without a token.
    pub empty: Found,
    /// Texts with more tokens than `max_length`.
    pub too_long: Found,
    /// The longest texts, the longest first.
    pub longest: Vec<(usize, Example)>,
    /// The characters of all texts.
    pub characters: Characters,
}

/// How texts of a side are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The form in which the policies of `[data]` compare texts.
    pub form: TextForm,
    /// The most tokens of a text.
    pub max_length: usize,
}

impl Found {
    fn add(&mut self, pair: &Pair) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(Example::of(pair));
        }
    }
}

impl Example {
    fn of(pair: &Pair) -> Example {
        Example { place: pair.place.clone(), texts: [pair.source.clone(), pair.target.clone()] }
    }
}

fn hash(text: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Survey {
    /// Adds a pair, of several right targets the first one. `training` are the texts of the training set, if this is another one.
    pub(crate) fn add(&mut self, pair: &Pair, sides: [Side; 2], training: Option<&Seen>) {
        self.pairs += 1;
        self.several_targets += u64::from(!pair.other_targets.is_empty());
        self.most_targets = self.most_targets.max(pair.targets().count());
        let texts = [sides[0].form.apply(&pair.source), sides[1].form.apply(&pair.target)];
        let (of_pair, of_source) = (hash(&texts), hash(&texts[0]));
        let new_source = self.seen.sources.insert(of_source);
        if !self.seen.pairs.insert(of_pair) {
            self.duplicates.add(pair);
        } else if !new_source {
            self.ambiguous.add(pair);
        }
        if texts[0] == texts[1] && !texts[0].is_empty() {
            self.copies.add(pair);
        }
        if training.is_some_and(|training| training.pairs.contains(&of_pair)) {
            self.shared_pairs.add(pair);
        }
        if training.is_some_and(|training| training.sources.contains(&of_source)) {
            self.shared_sources.add(pair);
        }
        for (n, (side, text)) in sides.into_iter().zip([&pair.source, &pair.target]).enumerate() {
            self.sides[n].add(pair, text, side);
        }
    }

    /// What other sets are compared with.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl SideSurvey {
    fn add(&mut self, pair: &Pair, text: &str, side: Side) {
        self.characters.add(text, &pair.place);
        let tokenizer = side.tokenizer;
        let ids = tokenizer.encode(text);
        let (length, unknown) = (ids.len(), tokenizer.count_unknown(&ids));
        *self.lengths.entry(length).or_default() += 1;
        self.tokens += length as u64;
        self.unknown_tokens += unknown as u64;
        if unknown > 0 {
            for symbol in tokenizer.unknown_symbols(text) {
                self.unknown.entry(symbol).or_insert_with(|| (0, pair.place.clone())).0 += 1;
            }
        }
        if length == 0 {
            self.empty.add(pair);
        }
        if length > side.max_length {
            self.too_long.add(pair);
        }
        self.keep_longest(length, pair);
    }

    fn keep_longest(&mut self, length: usize, pair: &Pair) {
        if self.longest.len() == LONGEST && self.longest.last().is_some_and(|(last, _)| length <= *last) {
            return;
        }
        let place = self.longest.partition_point(|(other, _)| *other >= length);
        self.longest.insert(place, (length, Example::of(pair)));
        self.longest.truncate(LONGEST);
    }

    /// The number of tokens below which this share of the texts lies.
    pub(crate) fn percentile(&self, share: f64) -> usize {
        let all: u64 = self.lengths.values().sum();
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut before = 0;
        let reaches = |(_, count): &(&usize, &u64)| {
            before += **count;
            before >= rank
        };
        self.lengths.iter().find(reaches).map_or(0, |(length, _)| *length)
    }

    /// Tokens of a text on average.
    pub(crate) fn mean(&self) -> f64 {
        self.tokens as f64 / self.lengths.values().sum::<u64>().max(1) as f64
    }

    /// How many texts lie in each of at most `bins` ranges of lengths: the first length of a range, and the count.
    pub(crate) fn histogram(&self, bins: usize) -> Vec<(usize, u64)> {
        let longest = self.lengths.keys().next_back().copied().unwrap_or(0);
        let width = (longest + 1).div_ceil(bins.max(1)).max(1);
        let mut ranges: Vec<(usize, u64)> = (0..=longest / width).map(|n| (n * width, 0)).collect();
        self.lengths.iter().for_each(|(length, count)| ranges[length / width].1 += count);
        ranges
    }

    /// The symbols that are not in the vocabulary, the most frequent first.
    pub(crate) fn unknown_symbols(&self) -> Vec<(&str, u64, &Place)> {
        let mut all: Vec<_> =
            self.unknown.iter().map(|(symbol, (count, place))| (symbol.as_str(), *count, place)).collect();
        all.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::SideConfig;

    fn pair(source: &str, target: &str, line: u64) -> Pair {
        let place = Place { file: Path::new("a.csv").into(), line };
        Pair { source: source.into(), target: target.into(), place, ..Pair::default() }
    }

    #[test]
    fn of_several_targets_the_first_is_looked_at() {
        let tokenizer = Tokenizer::train(&SideConfig::default(), ["abc"].into_iter()).unwrap();
        let side = Side { tokenizer: &tokenizer, form: TextForm::default(), max_length: 3 };
        let mut survey = Survey::default();
        let others: [&[&str]; 3] = [&[], &["b", "xxxx"], &["z"]];
        for others in others {
            let other_targets = others.iter().map(|text| (*text).to_owned()).collect();
            survey.add(&Pair { other_targets, ..pair("a", "c", 2) }, [side, side], None);
        }
        assert_eq!((survey.pairs, survey.several_targets, survey.most_targets), (3, 2, 3));
        let target = &survey.sides[1];
        assert_eq!((survey.duplicates.count, target.unknown_tokens, target.too_long.count), (2, 0, 0));
    }

    fn survey(pairs: &[(&str, &str)], training: Option<&Seen>) -> Survey {
        let tokenizer = Tokenizer::train(&SideConfig::default(), ["abcd"].into_iter()).unwrap();
        let side = Side { tokenizer: &tokenizer, form: TextForm::default(), max_length: 3 };
        let mut survey = Survey::default();
        for (line, (source, target)) in (2..).zip(pairs) {
            survey.add(&pair(source, target, line), [side, side], training);
        }
        survey
    }

    #[test]
    fn repetitions_copies_and_leaks_are_counted_in_the_form_that_is_read() {
        let train = survey(&[("a", "b"), ("a ", "b"), ("a", "c"), ("c", "c")], None);
        assert_eq!((train.duplicates.count, train.ambiguous.count, train.copies.count), (1, 1, 1));
        assert_eq!(train.duplicates.examples[0].place.line, 3);
        let valid = survey(&[("a", "b"), ("c", "d"), ("d", "d")], Some(train.seen()));
        assert_eq!((valid.shared_pairs.count, valid.shared_sources.count), (1, 2));
    }

    #[test]
    fn lengths_and_unknown_symbols_have_their_places() {
        let found = survey(&[("a", "abcd"), ("abx", ""), ("xxabcd", "y")], None);
        let [source, target] = &found.sides;
        assert_eq!([0.0, 0.5, 1.0].map(|share| source.percentile(share)), [1, 3, 6]);
        assert_eq!(source.histogram(3), [(0, 1), (3, 1), (6, 1)]);
        assert_eq!(
            source.unknown_symbols().iter().map(|found| (found.0, found.1, found.2.line)).collect::<Vec<_>>(),
            [("x", 3, 3)]
        );
        assert_eq!((source.too_long.count, target.too_long.count, target.empty.count), (1, 1, 1));
        assert_eq!(
            source.longest.iter().map(|(length, row)| (*length, row.place.line)).collect::<Vec<_>>(),
            [(6, 4), (3, 3), (1, 2)]
        );
        assert_eq!((source.tokens, source.unknown_tokens), (10, 3));
    }
}
