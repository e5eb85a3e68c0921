//! A look at pairs: how long they are, what is between their spaces, and how each side is to be cut.
//!
//! It counts, and knows no model; what a config makes of it stands in `page`.

use std::collections::{HashMap, HashSet};

use super::split::Parts;
use crate::data::tokenizer::Form;

/// How a side is cut into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Into characters.
    Characters,
    /// At its spaces.
    Words,
    /// Into byte-pair pieces, of which there are so many.
    Bpe(usize),
}

impl Cut {
    /// As people say it.
    pub fn in_words(self) -> String {
        match self {
            Cut::Characters => "characters".to_owned(),
            Cut::Words => "words".to_owned(),
            Cut::Bpe(pieces) => format!("{pieces} byte-pair pieces"),
        }
    }
}

/// What a side is like.
#[derive(Debug)]
pub struct Side {
    /// How it is cut.
    pub cut: Cut,
    /// What speaks for it.
    pub why: String,
    /// Whether line breaks, tabs or indentation stand in its texts, which are a part of them then.
    pub keeps_space: bool,
    /// Tokens of a text of the training pairs, about, on average.
    pub mean: f64,
    /// Tokens of the longest text of all, at most.
    pub longest: usize,
    /// Its characters in the training pairs, and how often each is there.
    characters: HashMap<char, usize>,
}

/// What the pairs are like.
#[derive(Debug)]
pub struct Look {
    /// Pairs to learn from.
    pub pairs: usize,
    /// What is read.
    pub source: Side,
    /// What is written.
    pub target: Side,
    /// Whether both are byte-pair pieces of the same letters.
    pub shared: bool,
}

impl Look {
    /// Looks at the pairs; what cuts them follows from the training pairs, and how it does from the others.
    pub fn new(rows: &[(String, String)], parts: &Parts) -> Look {
        let texts = |chosen: &[usize], of: fn(&(String, String)) -> &str| -> Vec<String> {
            chosen.iter().map(|&row| Form::default().normal(of(&rows[row])).into_owned()).collect()
        };
        let held_out = [parts.valid.as_slice(), &parts.test].concat();
        let side = |of| Side::new(&texts(&parts.train, of), &texts(&held_out, of));
        let (source, target) = (side(|pair| pair.0.as_str()), side(|pair| pair.1.as_str()));
        let both = matches!((source.cut, target.cut), (Cut::Bpe(_), Cut::Bpe(_)));
        let shared = both && source.is_written_like(&target) && target.is_written_like(&source);
        Look { pairs: parts.train.len(), source, target, shared }
    }
}

/// Words that a closed set may have: phones, commands, tags.
const CLOSED: usize = 2000;

impl Side {
    fn new(train: &[String], held_out: &[String]) -> Side {
        let mut words: HashMap<&str, usize> = HashMap::new();
        let mut characters: HashMap<char, usize> = HashMap::new();
        for text in train {
            text.split_whitespace().for_each(|word| *words.entry(word).or_default() += 1);
            text.chars().for_each(|character| *characters.entry(character).or_default() += 1);
        }
        let texts = train.len().max(1) as f64;
        let (all_words, all_characters): (usize, usize) = (words.values().sum(), characters.values().sum());
        let spaced = train.iter().filter(|text| text.contains(char::is_whitespace)).count() as f64 / texts;
        let unseen = unseen_share(&words, held_out);
        let each = [all_words as f64 / texts, all_characters as f64 / texts];
        let once = words.values().filter(|count| **count == 1).count();
        let keeps_space = train.iter().chain(held_out).any(|text| text.trim_end().contains(['\n', '\t']));
        let closed = !keeps_space
            && spaced > 0.5
            && unseen < 0.001
            && words.len() <= CLOSED
            && once * 10 <= words.len();
        let prose = each[0] >= 4.0 && each[1] >= 20.0 && all_words >= 20_000;
        let (cut, why) = if closed {
            (
                Cut::Words,
                format!("there are {} of them, and hardly a new one in what is held out", words.len()),
            )
        } else if prose {
            let pieces = pieces(all_words).min(words.len()).max(2 * characters.len() + 4);
            (Cut::Bpe(pieces), format!("there are {} words, and ever new ones", words.len()))
        } else {
            (Cut::Characters, format!("there are {} of them", characters.len()))
        };
        let words_of = |text: &String| text.split_whitespace().count();
        let all = || train.iter().chain(held_out);
        let (mean, longest) = match cut {
            Cut::Words => (each[0], all().map(words_of).max()),
            // A word is a piece and a half or so, and at most all of its characters.
            Cut::Bpe(_) => (1.4 * each[0], all().map(|text| text.chars().count()).max()),
            Cut::Characters => (each[1], all().map(|text| text.chars().count()).max()),
        };
        Side { cut, why, keeps_space, mean, longest: longest.unwrap_or_default(), characters }
    }

    /// Whether nearly all that stands here is written in the other side's characters.
    fn is_written_like(&self, other: &Side) -> bool {
        let all: usize = self.characters.values().sum();
        let known = self.characters.iter().filter(|(character, _)| other.characters.contains_key(character));
        known.map(|(_, count)| count).sum::<usize>() * 100 >= all * 98
    }
}

/// The share of the words in these texts that none of the others has.
fn unseen_share(known: &HashMap<&str, usize>, texts: &[String]) -> f64 {
    let words: Vec<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
    let unseen = words.iter().filter(|word| !known.contains_key(**word)).collect::<HashSet<_>>();
    let times = words.iter().filter(|word| unseen.contains(word)).count();
    times as f64 / words.len().max(1) as f64
}

/// How many pieces texts of so many words can teach.
fn pieces(words: usize) -> usize {
    match words {
        300_000.. => 8000,
        100_000.. => 4000,
        _ => 2000,
    }
}

#[cfg(test)]
mod tests {
    use super::super::split::split;
    use super::*;

    fn look(pairs: impl Iterator<Item = (String, String)>) -> Look {
        let rows: Vec<(String, String)> = pairs.collect();
        let sources: Vec<&str> = rows.iter().map(|(source, _)| source.as_str()).collect();
        Look::new(&rows, &split(&sources, 1).unwrap())
    }

    #[test]
    fn phones_with_spaces_are_words_and_spellings_are_characters() {
        let phones = ["a", "ɛ", "tʃ", "l", "ʁ"];
        let word = |n: usize| (0..6).map(|k| (n / 5usize.pow(k)) % 5).collect::<Vec<_>>();
        let look = look((0..3000).map(|n| {
            let letters = word(n).iter().map(|&k| ["a", "e", "ch", "l", "r"][k]).collect::<String>();
            let said: Vec<&str> = word(n).iter().map(|&k| phones[k]).collect();
            (letters, said.join(" "))
        }));
        assert_eq!((look.source.cut, look.target.cut), (Cut::Characters, Cut::Words));
        assert_eq!((look.target.mean, look.target.longest), (6.0, 6));
        assert!(!look.shared);
    }

    #[test]
    fn sentences_of_many_words_are_byte_pair_pieces_shared_where_the_letters_are() {
        let sentence = |n: usize, ending: &str| {
            let word = |k: usize| {
                format!("{}{ending}", char::from(b'a' + (k % 26) as u8).to_string().repeat(2 + k % 3))
            };
            (0..8).map(|k| word(n * 7 + k * k) + &(n % 977).to_string()).collect::<Vec<_>>().join(" ")
        };
        let look = look((0..4000).map(|n| (sentence(n, "ing"), sentence(n, "ung"))));
        assert!(matches!((look.source.cut, look.target.cut), (Cut::Bpe(2000), Cut::Bpe(2000))), "{look:?}");
        assert!(look.shared);
    }

    #[test]
    fn words_that_each_pair_brings_anew_are_cut_into_characters() {
        let look = look((0..3000).map(|n| (format!("no. {n}"), format!("{}", n * n))));
        assert_eq!((look.source.cut, look.target.cut), (Cut::Characters, Cut::Characters));
    }
}
