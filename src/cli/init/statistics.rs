//! Statistics of pairs: their length, their words, and the tokenizer that suits each side.
//!
//! It only counts; `page` turns the counts into a config.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::split::Split;
use crate::data::tokenizer::TextForm;

/// The most tokens of a text in a config: longer ones take too much memory.
pub(crate) const MOST: usize = 2048;

/// The tokenizer of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenizerChoice {
    /// Characters.
    Characters,
    /// Words, split at spaces.
    Words,
    /// Byte-pair encoding with this many pieces.
    Bpe(usize),
}

impl TokenizerChoice {
    /// Its description.
    pub(crate) fn in_words(self) -> String {
        match self {
            TokenizerChoice::Characters => "characters".to_owned(),
            TokenizerChoice::Words => "words".to_owned(),
            TokenizerChoice::Bpe(pieces) => format!("{pieces} byte-pair pieces"),
        }
    }

    /// Estimated tokens of a text: about 1.5 pieces per word.
    fn tokens(self, text: &str) -> f64 {
        match self {
            TokenizerChoice::Words => text.split_whitespace().count() as f64,
            TokenizerChoice::Bpe(_) => 1.4 * text.split_whitespace().count() as f64,
            TokenizerChoice::Characters => text.chars().count() as f64,
        }
    }

    /// Upper estimate of the tokens of a text: three pieces per word.
    fn tokens_at_most(self, text: &str) -> usize {
        let words = text.split_whitespace().count();
        match self {
            TokenizerChoice::Words => words,
            TokenizerChoice::Bpe(_) => text.chars().count().min(3 * words),
            TokenizerChoice::Characters => text.chars().count(),
        }
    }
}

/// Statistics of a side.
#[derive(Debug)]
pub(crate) struct Side {
    /// Its tokenizer.
    pub cut: TokenizerChoice,
    /// The reason for it.
    pub why: String,
    /// Whether its texts contain line breaks, tabs or indentation, which are then kept.
    pub keeps_space: bool,
    /// Estimated mean tokens per text of the training pairs.
    pub mean: f64,
    /// Upper estimate of the tokens of each text: training pairs first, then the others.
    lengths: Vec<usize>,
    /// The characters of the training pairs with their counts.
    characters: HashMap<char, usize>,
}

/// Statistics of the pairs.
#[derive(Debug)]
pub(crate) struct PairStatistics {
    /// Number of training pairs.
    pub pairs: usize,
    /// The source side.
    pub source: Side,
    /// The target side.
    pub target: Side,
    /// Whether both sides use BPE over the same letters.
    pub shared: bool,
}

impl PairStatistics {
    /// Computes the statistics. Tokenizers are chosen from the training pairs and tested on the others.
    pub(crate) fn new(rows: &[(String, String)], parts: &Split) -> PairStatistics {
        let texts = |chosen: &[usize], of: fn(&(String, String)) -> &str| -> Vec<String> {
            chosen.iter().map(|&row| TextForm::default().normalize(of(&rows[row])).into_owned()).collect()
        };
        let held_out = [parts.valid.as_slice(), &parts.test].concat();
        let side = |of| Side::new(texts(&parts.train, of), texts(&held_out, of));
        let (mut source, mut target) = (side(|pair| pair.0.as_str()), side(|pair| pair.1.as_str()));
        let mut shared = false;
        if let (TokenizerChoice::Bpe(one), TokenizerChoice::Bpe(other)) = (source.cut, target.cut)
            && source.is_written_like(&target)
            && target.is_written_like(&source)
        {
            // A shared vocabulary needs the same tokenizer and white space on both sides.
            (source.cut, target.cut) =
                (TokenizerChoice::Bpe(one.max(other)), TokenizerChoice::Bpe(one.max(other)));
            shared = source.keeps_space == target.keeps_space;
        }
        PairStatistics { pairs: parts.train.len(), source, target, shared }
    }

    /// Tokens of the longest text.
    pub(crate) fn longest(&self) -> usize {
        self.source.longest().max(self.target.longest())
    }

    /// Pairs with a side of more tokens than this.
    pub(crate) fn longer_than(&self, most: usize) -> usize {
        let lengths = self.source.lengths.iter().zip(&self.target.lengths);
        lengths.filter(|(source, target)| **source.max(target) > most).count()
    }
}

/// The most words of a closed set: phones, commands, tags.
const CLOSED: usize = 2000;

impl Side {
    fn new(train: Vec<String>, held_out: Vec<String>) -> Side {
        let keeps_space = keeps_space(train.iter().chain(&held_out));
        let as_read = |text: String| match keeps_space {
            true => text,
            false => TextForm::default().apply(&text).into_owned(),
        };
        let all_as_read = |texts: Vec<String>| texts.into_iter().map(as_read).collect::<Vec<_>>();
        let (train, held_out) = (all_as_read(train), all_as_read(held_out));
        let (words, characters) = (counts(&train, str::split_whitespace), counts(&train, str::chars));
        let is_closed = !keeps_space && is_closed(&words, &train, &held_out);
        let (cut, why) = cut(&words, &characters, train.len(), is_closed);
        let mean = train.iter().map(|text| cut.tokens(text).min(MOST as f64)).sum::<f64>();
        let mean = mean / train.len().max(1) as f64;
        let lengths = train.iter().chain(&held_out).map(|text| cut.tokens_at_most(text)).collect();
        Side { cut, why, keeps_space, mean, lengths, characters }
    }

    /// Tokens of the longest text.
    pub(crate) fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or_default()
    }

    /// Whether nearly all of this side uses the other side's characters.
    fn is_written_like(&self, other: &Side) -> bool {
        let all: usize = self.characters.values().sum();
        let known = self.characters.iter().filter(|(character, _)| other.characters.contains_key(character));
        known.map(|(_, count)| count).sum::<usize>() * 100 >= all * 98
    }
}

/// Whether enough texts have line breaks, tabs or indentation to keep them: a tab in one of 29,000 sentences is a
/// typing error.
fn keeps_space<'a>(texts: impl Iterator<Item = &'a String> + Clone) -> bool {
    let own = texts.clone().filter(|text| text.trim_end().contains(['\n', '\t'])).count();
    own > 0 && own * 100 >= texts.count()
}

/// Counts the parts of texts.
fn counts<'a, T: Eq + Hash, I: Iterator<Item = T>>(
    texts: &'a [String],
    parts: fn(&'a str) -> I,
) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for part in texts.iter().flat_map(|text| parts(text)) {
        *counts.entry(part).or_default() += 1;
    }
    counts
}

/// Whether the words are a closed set: held-out texts have hardly any new ones.
fn is_closed(words: &HashMap<&str, usize>, train: &[String], held_out: &[String]) -> bool {
    let spaced = train.iter().filter(|text| text.contains(char::is_whitespace)).count();
    let once = words.values().filter(|count| **count == 1).count();
    spaced * 2 > train.len()
        && words.len() <= CLOSED
        && once * 10 <= words.len()
        && unseen_share(words, held_out) < 0.001
        && bound_share(train) <= 0.1
}

/// The tokenizer for a side with these words and characters in this number of texts, and the reason.
fn cut(
    words: &HashMap<&str, usize>,
    characters: &HashMap<char, usize>,
    texts: usize,
    is_closed: bool,
) -> (TokenizerChoice, String) {
    let (all_words, all_characters): (usize, usize) = (words.values().sum(), characters.values().sum());
    let is_prose = all_words >= 4 * texts && all_characters >= 20 * texts && all_words >= 20_000;
    if is_closed {
        let why = format!("{} different ones, and hardly any new ones in held-out pairs", words.len());
        (TokenizerChoice::Words, why)
    } else if is_prose {
        let pieces = pieces(all_words).min(words.len()).max(2 * characters.len() + 4);
        (
            TokenizerChoice::Bpe(pieces),
            format!("{} different words, and new texts have new ones", words.len()),
        )
    } else {
        (TokenizerChoice::Characters, format!("{} different ones", characters.len()))
    }
}

/// The share of repeated words whose texts always begin, or always end, with the same word.
///
/// A lemma with different tags also occurs in held-out texts and seems to be known, but it is bound: all its texts
/// begin with it. A phone or a command occurs anywhere, and new texts consist of known ones.
fn bound_share(texts: &[String]) -> f64 {
    let texts: HashSet<&str> = texts.iter().map(String::as_str).collect();
    let mut common: [HashMap<&str, usize>; 2] = Default::default();
    for text in &texts {
        for (common, end) in common.iter_mut().zip(ends(text)) {
            *common.entry(end.unwrap_or_default()).or_default() += 1;
        }
    }
    let mut bound_by: HashMap<&str, [Option<&str>; 2]> = HashMap::new();
    let mut several: HashSet<&str> = HashSet::new();
    for text in &texts {
        // Words that start or end a twentieth of all texts, such as a full stop, do not count.
        let [first, last] = ends(text);
        let rare = |end: &&str, of: usize| common[of][end] * 20 <= texts.len();
        let own = [first.filter(|end| rare(end, 0)), last.filter(|end| rare(end, 1))];
        for word in text.split_whitespace().collect::<HashSet<_>>() {
            match bound_by.entry(word) {
                Entry::Vacant(entry) => drop(entry.insert(own)),
                Entry::Occupied(mut entry) => {
                    several.insert(word);
                    let there = entry.get_mut().iter_mut().zip(own);
                    there.for_each(|(end, own)| *end = end.filter(|_| *end == own));
                }
            }
        }
    }
    let bound = several.iter().filter(|word| bound_by[**word] != [None, None]).count();
    bound as f64 / several.len().max(1) as f64
}

/// The first and the last word of a text.
fn ends(text: &str) -> [Option<&str>; 2] {
    [text.split_whitespace().next(), text.split_whitespace().next_back()]
}

/// The share of the words in these texts that are not in `known`.
fn unseen_share(known: &HashMap<&str, usize>, texts: &[String]) -> f64 {
    let words: Vec<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
    let unseen = words.iter().filter(|word| !known.contains_key(**word)).collect::<HashSet<_>>();
    let times = words.iter().filter(|word| unseen.contains(word)).count();
    times as f64 / words.len().max(1) as f64
}

/// The vocabulary size that this many words can train.
fn pieces(words: usize) -> usize {
    match words {
        300_000.. => 8000,
        100_000.. => 4000,
        _ => 2000,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::split::split;
    use super::*;

    /// The statistics of these pairs after a split.
    pub(crate) fn look(pairs: impl Iterator<Item = (String, String)>) -> PairStatistics {
        let rows: Vec<(String, String)> = pairs.collect();
        let sources: Vec<&str> = rows.iter().map(|(source, _)| source.as_str()).collect();
        PairStatistics::new(&rows, &split(&sources, 1).unwrap())
    }

    #[test]
    fn phones_with_spaces_are_words_and_spellings_are_characters() {
        let phones = ["a", "ɛ", "tʃ", "l", "ʁ"];
        let word = |n: usize| (0..6).map(|k| (n / 5usize.pow(k)) % 5).collect::<Vec<_>>();
        let look = look((0..3000).map(|n| {
            let letters = word(n).iter().map(|&k| ["a", "e", "ch", "l", "r"][k]).collect::<String>();
            let pronounced: Vec<&str> = word(n).iter().map(|&k| phones[k]).collect();
            (letters, pronounced.join(" "))
        }));
        assert_eq!((look.source.cut, look.target.cut), (TokenizerChoice::Characters, TokenizerChoice::Words));
        assert_eq!((look.target.mean, look.target.longest()), (6.0, 6));
        assert!(!look.shared);
    }

    #[test]
    fn long_sentences_get_bpe_shared_if_the_alphabets_are_the_same() {
        let sentence = |n: usize, ending: &str| {
            let word = |k: usize| {
                format!("{}{ending}", char::from(b'a' + (k % 26) as u8).to_string().repeat(2 + k % 3))
            };
            (0..8).map(|k| word(n * 7 + k * k) + &(n % 977).to_string()).collect::<Vec<_>>().join(" ")
        };
        let look = look((0..4000).map(|n| (sentence(n, "ing"), sentence(n, "ung"))));
        assert!(
            matches!(
                (look.source.cut, look.target.cut),
                (TokenizerChoice::Bpe(2000), TokenizerChoice::Bpe(2000))
            ),
            "{look:?}"
        );
        assert!(look.shared);
    }

    #[test]
    fn words_that_rarely_repeat_are_split_into_characters() {
        let look = look((0..3000).map(|n| (format!("no. {n}"), format!("{}", n * n))));
        assert_eq!(
            (look.source.cut, look.target.cut),
            (TokenizerChoice::Characters, TokenizerChoice::Characters)
        );
    }

    #[test]
    fn lemmas_with_tags_are_not_a_closed_vocabulary() {
        let lemma = |n: usize| format!("{}{}en", ["mach", "lauf", "seh", "kauf"][n % 4], n / 4);
        let tags = ["V;PRS", "V;PST", "V;IMP", "V;SBJV", "V;NFIN", "V;PTCP", "V;FUT", "V;COND"];
        let look = look((0..4000).map(|n| (format!("{} {}", lemma(n / 8), tags[n % 8]), lemma(n / 8))));
        assert_eq!(look.source.cut, TokenizerChoice::Characters);
    }

    #[test]
    fn a_shared_vocabulary_has_one_size_even_if_one_side_has_a_tab() {
        let sentence = |n: usize, words: usize| -> Vec<String> {
            (0..words)
                .map(|k| format!("{}{}", ["ab", "ba", "aab", "bba"][k % 4], (n * 7 + k * k) % 1999))
                .collect()
        };
        // The targets are longer, and alone would get twice as many pieces.
        let look =
            |tab: usize| {
                look((0..4000).map(|n| {
                    (sentence(n, 8).join(" "), sentence(n, 32).join(if n < tab { "\t" } else { " " }))
                }))
            };
        let one = look(1);
        assert_eq!(
            (one.source.cut, one.target.cut),
            (TokenizerChoice::Bpe(4000), TokenizerChoice::Bpe(4000))
        );
        assert!(one.shared && !one.target.keeps_space);
        let many = look(400);
        assert!(!many.shared && many.target.keeps_space && !many.source.keeps_space);
    }

    #[test]
    fn pieces_of_long_texts_are_estimated_from_their_words() {
        let long = "word ".repeat(300);
        assert_eq!(TokenizerChoice::Bpe(2000).tokens_at_most(&long), 900);
        assert_eq!(TokenizerChoice::Bpe(2000).tokens_at_most("ab c"), 4);
        let look = look((0..100).map(|n| (n.to_string().repeat(if n == 7 { 3000 } else { 1 }), "a".into())));
        assert_eq!((look.longer_than(MOST), look.longest()), (1, 3000));
        assert!(look.source.mean < 30.0, "{}", look.source.mean);
    }
}
