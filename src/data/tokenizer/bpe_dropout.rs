//! BPE dropout (Provilkov et al. 2020): training reads a text in other pieces in each pass.
//!
//! It starts from ids, so a set whose texts stay in files needs no text: pieces are taken apart into characters and merged
//! once more, and before each merge every possible one is left out with a probability. Unknown symbols and bytes stay as
//! they are. Nothing is merged across them, or across words.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::bpe::Bpe;
use super::parts::Parts;
use super::pieces::cut_words;
use super::{SideConfig, Tokenizer, bytes};
use crate::data::PiecesConfig;
use crate::data::vocabulary::UNK;

/// The dropout of a side.
#[derive(Clone, Debug)]
pub(crate) struct BpeDropout {
    columns: Columns,
    /// The most tokens of the side.
    max_length: usize,
}

#[derive(Clone, Debug)]
enum Columns {
    One(Arc<Merger>),
    /// The columns of a source, each with its own merges or none.
    Several(Arc<Parts>, Vec<Option<Arc<Merger>>>),
}

impl BpeDropout {
    /// That of a side with one column.
    pub(super) fn of_one(merger: Merger, max_length: usize) -> BpeDropout {
        BpeDropout { columns: Columns::One(Arc::new(merger)), max_length }
    }

    /// That of a source with several columns, one of which has merges at least.
    pub(super) fn of_several(
        parts: Arc<Parts>,
        mergers: Vec<Option<Merger>>,
        max_length: usize,
    ) -> BpeDropout {
        let mergers = mergers.into_iter().map(|merger| merger.map(Arc::new)).collect();
        BpeDropout { columns: Columns::Several(parts, mergers), max_length }
    }

    /// The ids of the same text in pieces that are drawn anew. They stay as they are if there would be more than the side
    /// may have.
    pub(crate) fn apply(&self, ids: Vec<i64>, random: &mut ChaCha8Rng) -> Vec<i64> {
        let drawn = match &self.columns {
            Columns::One(merger) => merger.redraw(&ids, random),
            Columns::Several(parts, mergers) => {
                parts.each_column(&ids, |number, ids| match &mergers[number] {
                    Some(merger) => merger.redraw(&ids, random),
                    None => ids,
                })
            }
        };
        if drawn.len() > self.max_length { ids } else { drawn }
    }
}

/// The merges of an encoding, some of which are left out.
#[derive(Clone, Debug)]
pub(super) struct Merger {
    rules: PiecesConfig,
    dropout: f64,
    /// The texts of all tokens.
    texts: Vec<String>,
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
    /// The merges of an encoding, each left out with the probability `dropout`.
    pub(super) fn new(bpe: &Bpe, rules: PiecesConfig, dropout: f64) -> Merger {
        let id = |token: &str| bpe.vocabulary().id(token).map(|id| id as u32);
        let rank = |(rank, (left, right)): (u32, &(String, String))| {
            Some(([id(left)?, id(right)?], (rank, id(&format!("{left}{right}"))?)))
        };
        let texts = bpe.vocabulary().tokens().to_vec();
        let reserved = bytes::reserved(rules.byte_fallback);
        let character = |(id, text): (u32, &String)| {
            let mut characters = text.chars();
            Some((characters.next()?, id)).filter(|_| characters.next().is_none())
        };
        let characters = (0..).zip(&texts).skip(reserved).filter_map(character).collect();
        let merges = (0..).zip(bpe.merges()).filter_map(rank).collect();
        Merger { rules, dropout, texts, characters, merges }
    }

    /// The ids of the same text, with other merges left out.
    fn redraw(&self, ids: &[i64], random: &mut ChaCha8Rng) -> Vec<i64> {
        let mut drawn = Vec::with_capacity(2 * ids.len());
        let mut text = String::new();
        let reserved = bytes::reserved(self.rules.byte_fallback) as i64;
        for &id in ids {
            match self.texts.get(id as usize).filter(|_| id >= reserved) {
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

impl Tokenizer {
    /// The dropout that the config asks for; `None` if it asks for none, or nothing here is merged.
    pub(crate) fn bpe_dropout(&self, config: &SideConfig) -> Option<BpeDropout> {
        let max_length = config.max_length;
        let merger = |tokenizer: &Tokenizer, config: &SideConfig| {
            (config.bpe_dropout > 0.0).then(|| tokenizer.scheme.merger(config.bpe_dropout)).flatten()
        };
        let Some(parts) = &self.parts else {
            return merger(self, config).map(|merger| BpeDropout::of_one(merger, max_length));
        };
        let mergers = parts.list().zip(&config.parts).map(|((.., tokenizer), part)| merger(tokenizer, part));
        let mergers: Vec<Option<Merger>> = mergers.collect();
        let any = mergers.iter().any(Option::is_some);
        any.then(|| BpeDropout::of_several(parts.clone(), mergers, max_length))
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const TEXTS: [&str; 5] =
        ["low lower lowest", "new newer newest", "wide wider widest", "a low b?w 12", "slow newest 機器學習"];

    fn side(bpe_dropout: f64) -> SideConfig {
        let pieces = PiecesConfig { vocabulary: 60, split_scripts: true, ..PiecesConfig::default() };
        SideConfig { bpe: Some(pieces), bpe_dropout, ..SideConfig::default() }
    }

    fn drawn(side: &SideConfig, text: &str, seed: u64) -> [Vec<i64>; 2] {
        let tokenizer = Tokenizer::train(side, TEXTS[..3].iter().copied()).unwrap();
        let ids = tokenizer.encode(text).ids;
        let dropout = tokenizer.bpe_dropout(side).unwrap();
        let drawn = dropout.apply(ids.clone(), &mut ChaCha8Rng::seed_from_u64(seed));
        if !ids.contains(&UNK) {
            assert_eq!(tokenizer.decode(&drawn), text);
        }
        [ids, drawn]
    }

    #[test]
    fn merging_once_more_gives_the_pieces_of_the_tokenizer() {
        for text in TEXTS {
            let [ids, drawn] = drawn(&side(1e-12), text, 1);
            assert_eq!(ids, drawn, "{text}");
        }
    }

    #[test]
    fn without_merges_there_are_characters() {
        let [ids, drawn] = drawn(&side(1.0), "lowest newest", 1);
        assert!(ids.len() < 8 && drawn.len() == "▁lowest▁newest".chars().count(), "{ids:?}: {drawn:?}");
    }

    #[test]
    fn a_seed_decides_about_the_pieces_and_a_long_side_stays() {
        let all: Vec<Vec<i64>> =
            (0..50).map(|seed| drawn(&side(0.3), "lowest newest", seed)[1].clone()).collect();
        let again: Vec<Vec<i64>> =
            (0..50).map(|seed| drawn(&side(0.3), "lowest newest", seed)[1].clone()).collect();
        assert_eq!(all, again);
        let different: std::collections::HashSet<&Vec<i64>> = all.iter().collect();
        assert!(different.len() > 10, "{}", different.len());
        let short = SideConfig { max_length: 3, ..side(1.0) };
        let [ids, drawn] = drawn(&short, "lowest newest", 1);
        assert_eq!(ids, drawn);
    }

    #[test]
    fn of_several_columns_those_with_dropout_are_drawn() {
        let column = |name: &str, bpe_dropout| SideConfig { column: name.to_owned(), ..side(bpe_dropout) };
        let source = SideConfig {
            parts: vec![column("a", 0.0), column("b", 1.0)],
            bpe: None,
            bpe_dropout: 0.0,
            ..side(0.0)
        };
        let texts = ["low lower lowest\tnew newer newest", "low lower lowest\tnewest"];
        let tokenizer = Tokenizer::train(&source, texts.into_iter()).unwrap();
        let dropout = tokenizer.bpe_dropout(&source).unwrap();
        let ids = tokenizer.encode(texts[1]).ids;
        let drawn = dropout.apply(ids.clone(), &mut ChaCha8Rng::seed_from_u64(1));
        let of_first = tokenizer.encode("low lower lowest\t").ids;
        assert_eq!(drawn[..of_first.len()], of_first);
        assert_eq!(drawn.len() - of_first.len(), "▁newest".chars().count());
        assert_eq!(tokenizer.decode(&drawn), texts[1]);
    }
}
