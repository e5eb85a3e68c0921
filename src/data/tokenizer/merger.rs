//! The merges of a byte-pair encoding, some of which are left out: other pieces of the same text.
//!
//! It starts from ids: their pieces are taken apart into characters and merged once more. Unknown symbols and bytes stay as
//! they are, and nothing is merged across them, or across words.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::marked_words::cut_words;
use crate::data::PiecesConfig;
use crate::data::vocabulary::{UNK, Vocabulary};

/// The merges of an encoding, some of which are left out.
#[derive(Clone, Debug)]
pub(super) struct Merger {
    rules: PiecesConfig,
    dropout: f64,
    /// The texts of all tokens.
    texts: Vec<String>,
    /// Tokens at the beginning that are no texts: special ones and bytes.
    reserved: i64,
    characters: HashMap<char, u32>,
    /// For two neighbours the rank of their merge, and its result.
    merges: HashMap<[u32; 2], (u32, u32)>,
}

/// A piece of a word that is being merged, and its neighbours; those that are merged into another one are not there.
#[derive(Clone, Copy)]
struct Piece {
    id: u32,
    before: Option<usize>,
    after: Option<usize>,
    is_there: bool,
}

/// A possible merge: its rank, the place of its first piece, and the ids of both.
type Candidate = (u32, usize, [u32; 2]);

impl Merger {
    /// The merges of a vocabulary, in the order of application, each left out with the probability `dropout`. The first
    /// `reserved` tokens are no texts.
    pub(super) fn new(
        (vocabulary, reserved): (&Vocabulary, usize),
        merges: &[(String, String)],
        rules: PiecesConfig,
        dropout: f64,
    ) -> Merger {
        let id = |token: &str| vocabulary.id(token).map(|id| id as u32);
        let rank = |(rank, (left, right)): (u32, &(String, String))| {
            Some(([id(left)?, id(right)?], (rank, id(&format!("{left}{right}"))?)))
        };
        let texts = vocabulary.tokens().to_vec();
        let character = |(id, text): (u32, &String)| {
            let mut characters = text.chars();
            Some((characters.next()?, id)).filter(|_| characters.next().is_none())
        };
        let characters = (0..).zip(&texts).skip(reserved).filter_map(character).collect();
        let merges = (0..).zip(merges).filter_map(rank).collect();
        Merger { rules, dropout, texts, reserved: reserved as i64, characters, merges }
    }

    /// The ids of the same text, with other merges left out.
    pub(super) fn redraw(&self, ids: &[i64], random: &mut ChaCha8Rng) -> Vec<i64> {
        let mut drawn = Vec::with_capacity(2 * ids.len());
        let mut text = String::new();
        for &id in ids {
            match self.texts.get(id as usize).filter(|_| id >= self.reserved) {
                Some(piece) => text.push_str(piece),
                None => {
                    self.cut(&std::mem::take(&mut text), random, &mut drawn);
                    drawn.push(id);
                }
            }
        }
        self.cut(&text, random, &mut drawn);
        drawn
    }

    fn cut(&self, text: &str, random: &mut ChaCha8Rng, drawn: &mut Vec<i64>) {
        cut_words(self.rules, text, &mut |word| {
            let pieces = self.merged(word, random);
            drawn.extend(pieces.iter().filter(|piece| piece.is_there).map(|piece| i64::from(piece.id)));
        });
    }

    /// The pieces of a word. The first possible merge that is not left out is made, until all are left out at once.
    fn merged(&self, word: &str, random: &mut ChaCha8Rng) -> Vec<Piece> {
        let id = |character: char| self.characters.get(&character).copied().unwrap_or(UNK as u32);
        let last = word.chars().count().saturating_sub(1);
        let piece = |(at, character): (usize, char)| Piece {
            id: id(character),
            before: at.checked_sub(1),
            after: (at < last).then_some(at + 1),
            is_there: true,
        };
        let mut pieces: Vec<Piece> = word.chars().enumerate().map(piece).collect();
        let mut possible: BinaryHeap<Reverse<Candidate>> =
            (0..pieces.len()).filter_map(|at| self.candidate(&pieces, at)).map(Reverse).collect();
        let mut left_out = Vec::new();
        while let Some(Reverse(candidate)) = possible.pop() {
            if self.candidate(&pieces, candidate.1) != Some(candidate) {
                continue;
            }
            if random.random_bool(self.dropout) {
                left_out.push(Reverse(candidate));
                continue;
            }
            possible.extend(left_out.drain(..));
            let at = candidate.1;
            self.merge(&mut pieces, at);
            let changed = pieces[at].before.into_iter().chain([at]);
            possible.extend(changed.filter_map(|at| self.candidate(&pieces, at)).map(Reverse));
        }
        pieces
    }

    /// The merge of a piece with the one behind it.
    fn candidate(&self, pieces: &[Piece], at: usize) -> Option<Candidate> {
        let one = pieces[at];
        let both = [one.id, pieces[one.after.filter(|_| one.is_there)?].id];
        let (rank, _) = self.merges.get(&both)?;
        Some((*rank, at, both))
    }

    /// Merges a piece with the one behind it.
    fn merge(&self, pieces: &mut [Piece], at: usize) {
        let Some(next) = pieces[at].after else { return };
        let both = [pieces[at].id, pieces[next].id];
        let Some((_, made)) = self.merges.get(&both) else { return };
        let after = pieces[next].after;
        pieces[next].is_there = false;
        pieces[at] = Piece { id: *made, after, ..pieces[at] };
        if let Some(after) = after {
            pieces[after].before = Some(at);
        }
    }
}
