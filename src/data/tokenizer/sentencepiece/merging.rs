//! Byte-pair encoding as SentencePiece applies it: of all neighbours that are a piece together, those with the best score are merged,
//! the leftmost first.
//!
//! Over the whole text, not word by word. What the user defined is cut before, and never merged. A piece that is unused serves
//! merging alone: what is left of it in the end is cut into its parts again.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

use super::super::trie::Trie;
use super::proto::{Kind, Piece};

/// The pieces of a model.
#[derive(Debug)]
pub(super) struct Merging {
    pieces: HashMap<String, Merged>,
    symbols: Trie,
}

#[derive(Clone, Copy, Debug)]
struct Merged {
    number: usize,
    score: f32,
    is_unused: bool,
}

/// A part of the text, in a list; an empty one was merged with the one before.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: usize,
    end: usize,
    before: Option<usize>,
    next: Option<usize>,
    is_frozen: bool,
}

/// Two parts that are a piece together, as long as neither changes.
#[derive(Debug)]
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Merging {
    /// For the pieces of a model, some of which are symbols that the user defined.
    pub(super) fn new(pieces: &[Piece], symbols: Trie) -> Merging {
        let used = pieces
            .iter()
            .enumerate()
            .filter(|(_, piece)| matches!(piece.kind, Kind::Normal | Kind::UserDefined | Kind::Unused));
        let merged = |(number, piece): (usize, &Piece)| {
            let is_unused = piece.kind == Kind::Unused;
            (piece.text.clone(), Merged { number, score: piece.score, is_unused })
        };
        Merging { pieces: used.map(merged).collect(), symbols }
    }

    /// Cuts a normalized text; `None` is an unknown character.
    pub(super) fn cut(&self, text: &str, each: &mut dyn FnMut(Option<usize>, &str)) {
        let mut parts = self.parts(text);
        let mut pairs = BinaryHeap::new();
        // The parts of unused pieces.
        let mut halves = HashMap::new();
        for right in 1..parts.len() {
            self.offer(text, &parts, [right - 1, right], &mut pairs, &mut halves);
        }
        while let Some(Pair { left, right, length, .. }) = pairs.pop() {
            let (one, other) = (parts[left], parts[right]);
            let is_there = one.end > one.start && other.end > other.start;
            if !is_there || other.end - one.start != length {
                continue;
            }
            parts[left] = Part { end: other.end, next: other.next, ..one };
            parts[right].end = other.start;
            if let Some(next) = other.next {
                parts[next].before = Some(left);
                self.offer(text, &parts, [left, next], &mut pairs, &mut halves);
            }
            if let Some(before) = one.before {
                self.offer(text, &parts, [before, left], &mut pairs, &mut halves);
            }
        }
        for part in parts.iter().filter(|part| part.end > part.start) {
            self.give(&text[part.start..part.end], &halves, each);
        }
    }

    /// Characters and symbols that the user defined.
    fn parts(&self, text: &str) -> Vec<Part> {
        let (mut parts, mut start) = (Vec::new(), 0);
        while let Some(character) = text[start..].chars().next() {
            let symbol = self.symbols.prefixes(&text.as_bytes()[start..]).last();
            let end = start + symbol.map_or(character.len_utf8(), |(_, length)| length);
            let n = parts.len();
            let next = (end < text.len()).then_some(n + 1);
            parts.push(Part { start, end, before: n.checked_sub(1), next, is_frozen: symbol.is_some() });
            start = end;
        }
        parts
    }

    fn offer<'a>(
        &self,
        text: &'a str,
        parts: &[Part],
        [left, right]: [usize; 2],
        pairs: &mut BinaryHeap<Pair>,
        halves: &mut HashMap<&'a str, usize>,
    ) {
        let (one, other) = (parts[left], parts[right]);
        if one.is_frozen || other.is_frozen {
            return;
        }
        let both = &text[one.start..other.end];
        let Some(merged) = self.pieces.get(both) else { return };
        if merged.is_unused {
            halves.insert(both, one.end - one.start);
        }
        pairs.push(Pair { score: merged.score, left, right, length: both.len() });
    }

    /// Gives a part; the halves of one that is an unused piece.
    fn give(&self, part: &str, halves: &HashMap<&str, usize>, each: &mut dyn FnMut(Option<usize>, &str)) {
        let mut left = vec![part];
        while let Some(part) = left.pop() {
            let merged = self.pieces.get(part);
            match halves.get(part).filter(|_| merged.is_some_and(|merged| merged.is_unused)) {
                Some(&half) => left.extend([&part[half..], &part[..half]]),
                None => each(merged.map(|merged| merged.number), part),
            }
        }
    }
}

impl Ord for Pair {
    fn cmp(&self, other: &Pair) -> Ordering {
        let best = self.score.total_cmp(&other.score);
        best.then_with(|| Reverse(self.left).cmp(&Reverse(other.left)))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
