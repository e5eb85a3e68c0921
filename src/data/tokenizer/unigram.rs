//! Unigram models (Kudo 2018): each piece has a log-probability, and a word is cut into the most likely pieces.
//!
//! Trained by crate `tokenizers`; the best pieces are found here, in the arithmetic of SentencePiece, whose models are cut alike.

use std::collections::HashMap;

use tokenizers::models::unigram::{Unigram as Learned, UnigramTrainer};
use tokenizers::utils::parallelism::set_parallelism;

use super::bytes;
use super::lesson::Lesson;
use super::scheme::Each;
use super::trie::Trie;
use crate::data::vocabulary::{UNK, Vocabulary, is_special};
use crate::error::{Error, Result, caught};

/// How much less likely an unknown character is than the least likely piece, as a logarithm.
const UNKNOWN_PENALTY: f32 = 10.0;

/// A step of the trainer's scores for characters that its pieces lack.
const TRAINER_STEP: f64 = 0.0001;

/// A trained Unigram model.
#[derive(Clone, Debug)]
pub(super) struct Unigram {
    vocabulary: Vocabulary,
    /// Of the tokens behind the reserved ones.
    scores: Vec<f64>,
    cutter: Cutter,
}

/// Pieces with scores, and how a text is cut into the best of them.
#[derive(Clone, Debug)]
pub(super) struct Cutter {
    /// Indices into the scores.
    trie: Trie,
    scores: Vec<Score>,
    unknown: f32,
    most: f32,
}

/// The best way to a place of a text: its last piece, and where that starts.
#[derive(Clone, Copy)]
struct Way {
    piece: Option<u32>,
    score: f32,
    start: usize,
}

/// The start where no way ends.
const NONE: usize = usize::MAX;

/// How good a piece is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Score {
    /// The logarithm of its probability.
    Normal(f32),
    /// A piece that its user defined is taken wherever it can be.
    UserDefined,
}

/// Between words in the crate.
const NUL: char = '\0';

impl Unigram {
    /// Learns pieces until the vocabulary has the size of the lesson, or nothing occurs twice.
    ///
    /// # Errors
    /// The crate fails.
    pub(super) fn learn(lesson: &Lesson) -> Result<Unigram> {
        let room = lesson.size - bytes::reserved(lesson.has_bytes);
        let mut counts: HashMap<&str, u32> = HashMap::new();
        // The crate joins words by NUL, which is a piece by itself.
        let parts = lesson.words.iter().flat_map(|word| word.split(NUL)).filter(|part| !part.is_empty());
        parts.for_each(|word| {
            let count = counts.entry(word).or_default();
            *count = count.saturating_add(1);
        });
        // In one order, so that sums are the same each time.
        let mut words: Vec<(String, u32)> =
            counts.into_iter().map(|(word, count)| (word.to_owned(), count)).collect();
        words.sort_unstable();
        let mut pieces = if words.is_empty() { Vec::new() } else { trained(words, room)? };
        if lesson.alphabet.contains(&NUL) {
            let least = pieces.iter().map(|(_, score)| *score).fold(0.0, f64::min);
            pieces.push((NUL.to_string(), least));
        }
        let is_reserved = |piece: &str| is_special(piece) || lesson.has_bytes && bytes::is_token(piece);
        pieces.retain(|(piece, _)| !is_reserved(piece));
        same_each_time(&mut pieces, lesson.alphabet.len());
        drop_least(&mut pieces, room);
        let (learned, scores): (Vec<String>, Vec<f64>) = pieces.into_iter().unzip();
        let tokens = bytes::reserved_tokens(lesson.has_bytes).into_iter().chain(learned).collect();
        Unigram::new(Vocabulary::from_tokens(tokens)?, scores).map_err(Error::failure)
    }

    /// The model with these scores, of the last tokens of the vocabulary.
    ///
    /// # Errors
    /// A number of scores that leaves other tokens than the reserved ones; a score that is not finite.
    pub(super) fn new(vocabulary: Vocabulary, scores: Vec<f64>) -> std::result::Result<Unigram, String> {
        let reserved = vocabulary.size().checked_sub(scores.len());
        let Some(reserved) = reserved.filter(|&one| [false, true].map(bytes::reserved).contains(&one)) else {
            let must = "each token of a text must have a score";
            return Err(format!(
                "{must}, but there are {} scores for {} tokens",
                scores.len(),
                vocabulary.size()
            ));
        };
        if let Some(score) = scores.iter().find(|score| !(**score as f32).is_finite()) {
            return Err(format!("a score must be a finite number, but one is {score}"));
        }
        let of_text = &vocabulary.tokens()[reserved..];
        if of_text.iter().any(String::is_empty) {
            return Err("a token must not be empty".to_owned());
        }
        let of_score = |&score: &f64| Score::Normal(score as f32);
        let pieces = of_text.iter().map(String::as_str).zip(scores.iter().map(of_score)).collect();
        Ok(Unigram { cutter: Cutter::new(pieces), vocabulary, scores })
    }

    /// Tokens and ids.
    pub(super) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The scores of the tokens that are pieces of texts.
    pub(super) fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// Cuts a word.
    pub(super) fn cut(&self, word: &str, each: Each) {
        let reserved = self.vocabulary.size() - self.scores.len();
        self.cutter.cut(word, &mut |piece, covered| {
            each(piece.map_or(UNK, |piece| (reserved + piece) as i64), covered);
        });
    }

    /// The same with more characters, each as likely as the least likely piece.
    ///
    /// # Errors
    /// A character exists already.
    pub(super) fn extended(&self, symbols: &[String]) -> Result<Unigram> {
        let tokens = self.vocabulary.tokens().iter().chain(symbols).cloned().collect();
        let least = self.scores.iter().copied().reduce(f64::min).unwrap_or_default();
        let scores = self.scores.iter().copied().chain(symbols.iter().map(|_| least)).collect();
        Unigram::new(Vocabulary::from_tokens(tokens)?, scores).map_err(Error::failure)
    }
}

impl Cutter {
    /// For these pieces.
    pub(super) fn new(pieces: Vec<(&str, Score)>) -> Cutter {
        let trie = Trie::new(pieces.iter().zip(0..).map(|((piece, _), n)| (*piece, n)));
        let scores: Vec<Score> = pieces.into_iter().map(|(_, score)| score).collect();
        let normal = scores.iter().filter_map(|score| match score {
            Score::Normal(score) => Some(*score),
            Score::UserDefined => None,
        });
        let least = normal.clone().fold(f32::MAX, f32::min);
        // The smallest number above zero is where SentencePiece begins, so that this is the result.
        let most = normal.fold(f32::MIN_POSITIVE, f32::max);
        Cutter { trie, scores, unknown: least - UNKNOWN_PENALTY, most }
    }

    /// Cuts a text into its best pieces by the algorithm of Viterbi; `None` is an unknown character. A sum is rounded to 32 bits
    /// where it is kept, and compared before, as SentencePiece does it.
    pub(super) fn cut(&self, text: &str, each: &mut dyn FnMut(Option<usize>, &str)) {
        let mut ways = vec![Way { piece: None, score: 0.0, start: NONE }; text.len() + 1];
        for (start, character) in text.char_indices() {
            let (here, one) = (ways[start].score, character.len_utf8());
            let mut offer = |piece, end: usize, score: f64| {
                let way = &mut ways[end];
                if way.start == NONE || score > f64::from(way.score) {
                    *way = Way { piece, score: score as f32, start };
                }
            };
            let mut is_known = false;
            for (piece, length) in self.trie.prefixes(&text.as_bytes()[start..]) {
                let score = match self.scores[piece as usize] {
                    Score::Normal(score) => f64::from(score),
                    Score::UserDefined => f64::from(length as f32 * self.most) - 0.1,
                };
                offer(Some(piece), start + length, score + f64::from(here));
                is_known |= length == one;
            }
            if !is_known {
                offer(None, start + one, f64::from(self.unknown + here));
            }
        }
        let (mut pieces, mut end) = (Vec::new(), text.len());
        while end > 0 {
            let Way { piece, start, .. } = ways[end];
            pieces.push((piece, start..end));
            end = start;
        }
        for (piece, covered) in pieces.into_iter().rev() {
            each(piece.map(|piece| piece as usize), &text[covered]);
        }
    }
}

/// The pieces that the crate learns of counted words, with their scores.
fn trained(words: Vec<(String, u32)>, room: usize) -> Result<Vec<(String, f64)>> {
    let failed = |error: String| Error::failure(format!("Unigram training: {error}"));
    let size = u32::try_from(room).map_err(|error| failed(error.to_string()))?;
    let trainer = UnigramTrainer::builder().vocab_size(size).show_progress(false).build();
    let trainer = trainer.map_err(|error| failed(error.to_string()))?;
    set_parallelism(false);
    let mut model = Learned::default();
    caught(|| trainer.do_train(words, &mut model).map_err(|error| failed(error.to_string())))?;
    Ok(model.iter().cloned().collect())
}

/// The crate gives the characters that its pieces lack scores from the least one upwards, in the order of a hash map: all of them
/// get the least one. Then sorts by scores, equal ones by code points, and rounds scores to what is enough.
fn same_each_time(pieces: &mut [(String, f64)], characters: usize) {
    let least = pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let mut penalty = 0.0;
    let mut steps = std::collections::HashSet::new();
    for _ in 0..characters {
        steps.insert((least + penalty).to_bits());
        penalty += TRAINER_STEP;
    }
    for (piece, score) in pieces.iter_mut() {
        if piece.chars().count() == 1 && steps.contains(&score.to_bits()) {
            *score = least;
        }
        *score = (*score * 1e5).round() / 1e5;
    }
    pieces.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
}

/// Keeps the size, for which the crate may learn more pieces: the least likely ones go, but no character.
fn drop_least(pieces: &mut Vec<(String, f64)>, room: usize) {
    let mut surplus = pieces.len().saturating_sub(room);
    let mut keeps: Vec<bool> = pieces
        .iter()
        .rev()
        .map(|(piece, _)| {
            let goes = surplus > 0 && piece.chars().count() > 1;
            surplus -= usize::from(goes);
            !goes
        })
        .collect();
    pieces.retain(|_| keeps.pop().unwrap_or(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[(&str, Score)], text: &str) -> String {
        let mut parts = Vec::new();
        Cutter::new(pieces.to_vec()).cut(text, &mut |piece, covered| {
            parts.push(if piece.is_some() { covered.to_owned() } else { format!("?{covered}") });
        });
        parts.join("|")
    }

    #[test]
    fn a_text_is_cut_into_its_most_likely_pieces() {
        let normal = |score| Score::Normal(score);
        let pieces = [("a", normal(-2.0)), ("b", normal(-2.0)), ("ab", normal(-3.0)), ("ba", normal(-5.0))];
        assert_eq!(cut(&pieces, "abba"), "ab|b|a");
        assert_eq!(cut(&pieces, "axé"), "a|?x|?é");
        assert_eq!(cut(&pieces, ""), "");
        let forced =
            [("a", normal(-2.0)), ("bc", Score::UserDefined), ("ab", normal(-0.1)), ("c", normal(-0.1))];
        assert_eq!(cut(&forced, "abc"), "ab|c");
        assert_eq!(cut(&forced, "xbc"), "?x|bc");
        assert_eq!(cut(&[], "ab"), "?a|?b");
    }
}
