//! TER: translation edit rate (Snover et al. 2006), as sacrebleu 2 computes it.
//!
//! The fewest insertions, deletions and substitutions of words, and shifts of blocks, that turn the output into the
//! reference, for each word of the reference. Texts are compared in lower case; punctuation stays at its words. Shifts are
//! found by Tercom's greedy search with sacrebleu's limits, so the number is an upper bound. Of several references the
//! least number of edits counts, over their mean length. tests/golden/make_metrics.py compares it with sacrebleu.

mod edit_distance;

use std::borrow::Cow;
use std::cmp::Reverse;

use self::edit_distance::{EditDistance, Row};
use super::example::is_space;
use super::{Example, Metric};

/// Words of the longest block that is shifted.
const LONGEST: usize = 10;
/// The farthest that a block and its equal in the reference may be apart.
const FARTHEST: usize = 50;
/// Once so many shifts were tried, the search is over.
const MOST_TRIED: usize = 1000;

/// `ter`: 0 is perfect; it can be more than 1. sacrebleu's score is 100 times as much.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ter {
    edits: u64,
    /// The mean over the references of a row, summed over the rows.
    reference_length: f64,
}

impl Metric for Ter {
    const NAME: &'static str = "ter";
    const HIGHER_IS_BETTER: bool = false;
    const SHORT_NAME: &'static str = "TER";
    const SETTINGS: Option<&'static str> = Some("case:lc|tok:tercom|norm:no|punct:yes|asian:no");

    fn add(&mut self, example: &Example) {
        let row = example.symbols(in_lower_case, words);
        let all = row.references.iter().map(|reference| edits(&row.output, reference));
        self.edits += all.min().unwrap_or_default() as u64;
        let lengths: usize = row.references.iter().map(Vec::len).sum();
        self.reference_length += lengths as f64 / row.references.len().max(1) as f64;
    }

    fn merge(&mut self, other: &Self) {
        self.edits += other.edits;
        self.reference_length += other.reference_length;
    }

    fn statistics(&self) -> Vec<f64> {
        vec![self.edits as f64, self.reference_length]
    }

    /// Without words in the references, 1 if there are edits.
    fn of_statistics(statistics: &[f64]) -> f64 {
        match *statistics {
            [edits, length] if length > 0.0 => edits / length,
            [edits, _] if edits > 0.0 => 1.0,
            _ => 0.0,
        }
    }

    fn counts(&self) -> Option<String> {
        Some(format!("{} edits in {:.1} words", self.edits, self.reference_length))
    }
}

fn in_lower_case(text: &str) -> Cow<'_, str> {
    Cow::Owned(text.to_lowercase())
}

fn words(text: &str) -> Vec<&str> {
    text.split(is_space).filter(|word| !word.is_empty()).collect()
}

/// Shifts, one after the other while they help, and then the edit distance.
fn edits(output: &[u32], reference: &[u32]) -> usize {
    if reference.is_empty() {
        return output.len();
    }
    let distance = EditDistance::new(reference, output.len());
    let (mut words, mut shifts, mut tried) = (output.to_vec(), 0, 0);
    let mut rows = distance.rows(&words);
    while let Some(shift) = best_shift(&distance, &rows, &words, &mut tried) {
        // As in sacrebleu: the shift of a search that was cut short is not made.
        if tried >= MOST_TRIED || shift.distance >= distance.of(&rows) {
            break;
        }
        shifts += 1;
        words = shift.words;
        rows = distance.rows(&words);
    }
    shifts + distance.of(&rows)
}

/// How shifts are compared: the smallest is the best.
type Order = (usize, Reverse<usize>, usize, usize);

/// Words with a block shifted, and their edit distance.
struct Shift {
    distance: usize,
    words: Vec<u32>,
}

/// The shift with the smallest edit distance; of equal ones that of the longest block, the first block, the first target.
fn best_shift(distance: &EditDistance, rows: &[Row], words: &[u32], tried: &mut usize) -> Option<Shift> {
    let alignment = distance.alignment(rows);
    let mut best: Option<(Order, Shift)> = None;
    for (start, in_reference, length) in equal_blocks(words, distance.reference()) {
        // Both the block and its target must have an error, and the target must be outside the block.
        let aligned = alignment.behind[in_reference + 1];
        if !alignment.output_errors[start..start + length].contains(&true)
            || !alignment.reference_errors[in_reference..in_reference + length].contains(&true)
            || (start < aligned && aligned <= start + length)
        {
            continue;
        }
        let mut targets = alignment.behind[in_reference..=in_reference + length].to_vec();
        targets.dedup();
        for target in targets {
            let shifted = shifted(words, start, length, target);
            let found = distance.of_changed(rows, words, &shifted);
            *tried += 1;
            let order = (found, Reverse(length), start, target);
            if best.as_ref().is_none_or(|(least, _)| order < *least) {
                best = Some((order, Shift { distance: found, words: shifted }));
            }
        }
        if *tried >= MOST_TRIED {
            break;
        }
    }
    best.map(|(_, shift)| shift)
}

/// All blocks of the words that are somewhere near in the reference as well: the start in each, and the length.
fn equal_blocks<'w>(
    words: &'w [u32],
    reference: &'w [u32],
) -> impl Iterator<Item = (usize, usize, usize)> + 'w {
    let near =
        move |start: usize| start.saturating_sub(FARTHEST)..(start + FARTHEST + 1).min(reference.len());
    let pairs = (0..words.len()).flat_map(move |start| near(start).map(move |other| (start, other)));
    pairs.flat_map(move |(start, other)| {
        let pairs = words[start..].iter().zip(&reference[other..]);
        let equal = pairs.take(LONGEST).take_while(|(word, other)| word == other).count();
        (1..=equal).map(move |length| (start, other, length))
    })
}

/// The words with the block at `start` moved to stand before `target`, or, where that is in the block, so many words on.
fn shifted(words: &[u32], start: usize, length: usize, target: usize) -> Vec<u32> {
    let end = start + length;
    let block = &words[start..end];
    if target < start {
        [&words[..target], block, &words[target..start], &words[end..]].concat()
    } else if target > end {
        [&words[..start], &words[end..target], block, &words[target..]].concat()
    } else {
        let stop = (target + length).min(words.len());
        [&words[..start], &words[end..stop], block, &words[stop..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example::{value_of, value_of_several};

    #[test]
    fn a_shift_of_a_block_is_one_edit() {
        let ter = value_of::<Ter>;
        assert_eq!(ter(&[("a b c d e", &["d e a b c"])]), 0.2);
        assert_eq!(ter(&[("a b c d e", &["a b X d e f"])]), 0.4, "a substitution and an insertion");
        assert_eq!(ter(&[("The Cat", &["the cat"])]), 0.0);
        assert_eq!(ter(&[("cat.", &["cat ."])]), 2.0, "punctuation stays");
    }

    #[test]
    fn empty_sides_have_a_value() {
        let ter = value_of::<Ter>;
        assert_eq!([ter(&[]), ter(&[("", &[""])])], [0.0; 2]);
        assert_eq!([ter(&[("", &["a b"])]), ter(&[("a b", &[""])])], [1.0; 2]);
    }

    #[test]
    fn the_least_edits_count_over_the_mean_length() {
        assert_eq!(value_of_several::<Ter>(&["a b c d", "x y"], "a b c"), 1.0 / 3.0);
    }

    #[test]
    fn an_unknown_symbol_is_an_edit() {
        assert_eq!(value_of::<Ter>(&[("a\u{10ffff}b c", &["a", "b c"])]), 0.5);
    }

    #[test]
    fn a_block_moves_before_its_target() {
        let words = [0, 1, 2, 3, 4, 5];
        assert_eq!(shifted(&words, 3, 2, 1), [0, 3, 4, 1, 2, 5]);
        assert_eq!(shifted(&words, 1, 2, 5), [0, 3, 4, 1, 2, 5]);
        assert_eq!(shifted(&words, 1, 2, 2), [0, 3, 1, 2, 4, 5]);
        assert_eq!(shifted(&words, 3, 3, 6), words);
    }
}
