//! Likely label sequences of a CTC head: the best path, and prefix beam search (Graves and Jaitly 2014, Hannun et al.
//! 2014).
//!
//! Prefix beam search reads frame by frame and keeps the likeliest few prefixes. The alignments of a prefix are summed
//! in two parts, those that end with a blank and those that do not, since only behind a blank may the last token come
//! again.

use std::collections::HashMap;

use super::log_add;
use super::log_probs::CtcLogProbs;
use crate::decoding::search::top_k::TopK;

/// The sequence of the likeliest alignment: at each frame the likeliest symbol, where only the blank and the tokens
/// that are `allowed` count. It need not be the likeliest sequence.
pub(crate) fn best_path(log_probs: &CtcLogProbs, allowed: &[i64]) -> Vec<i64> {
    let blank = log_probs.blank();
    let likeliest = |frame: usize| {
        allowed.iter().fold(blank, |best, &token| {
            if log_probs.at(frame, token) > log_probs.at(frame, best) { token } else { best }
        })
    };
    let mut path: Vec<i64> = (0..log_probs.frames()).map(likeliest).collect();
    path.dedup();
    path.retain(|&symbol| symbol != blank);
    path
}

/// The `width` likeliest sequences of the tokens that are `allowed`, the likeliest first, with the log-probability of
/// the alignments that the search kept: all of them where the beam is wide enough, otherwise a few less. Of each frame
/// the `width` likeliest tokens are tried.
pub(crate) fn prefix_beam_search(
    log_probs: &CtcLogProbs,
    allowed: &[i64],
    width: usize,
) -> Vec<(Vec<i64>, f64)> {
    let mut search = PrefixBeamSearch::new(log_probs.blank());
    let mut top_k = TopK::default();
    for number in 0..log_probs.frames() {
        let frame = log_probs.frame(number);
        let scores: Vec<f32> = allowed.iter().map(|&token| log_probs.at(number, token) as f32).collect();
        top_k.begin(width);
        top_k.scan(0, 0.0, &scores);
        let tokens = top_k.candidates().iter().map(|one| (allowed[one.token as usize], one.total));
        search.read(frame, tokens, width);
    }
    search.live.iter().map(|prefix| (search.tokens(prefix.node), prefix.total())).collect()
}

/// A prefix, and how likely the frames so far give it.
#[derive(Clone, Copy)]
struct Prefix {
    node: usize,
    /// Log-probability of its alignments that end with a blank.
    blank: f64,
    /// The same of all others.
    non_blank: f64,
}

impl Prefix {
    fn total(&self) -> f64 {
        log_add(self.blank, self.non_blank)
    }
}

/// The prefixes as a tree, so that a prefix that is reached in two ways is one.
struct PrefixBeamSearch {
    blank: i64,
    /// The node before and the last token of each prefix; the first is the empty one.
    nodes: Vec<(usize, i64)>,
    children: HashMap<(usize, i64), usize>,
    /// The likeliest first.
    live: Vec<Prefix>,
}

impl PrefixBeamSearch {
    fn new(blank: i64) -> PrefixBeamSearch {
        let empty = Prefix { node: 0, blank: 0.0, non_blank: f64::NEG_INFINITY };
        PrefixBeamSearch { blank, nodes: vec![(0, blank)], children: HashMap::new(), live: vec![empty] }
    }

    /// Reads a frame, of which these tokens are tried. A blank and the last token once more are always tried: they make
    /// no new prefix.
    fn read(&mut self, frame: &[f32], tokens: impl Iterator<Item = (i64, f64)> + Clone, width: usize) {
        let live = std::mem::take(&mut self.live);
        let mut next = NextPrefixes::default();
        for prefix in &live {
            let last = self.nodes[prefix.node].1;
            let stays = next.at(prefix.node);
            stays.blank = log_add(stays.blank, prefix.total() + f64::from(frame[self.blank as usize]));
            if prefix.node != 0 {
                let repeated = prefix.non_blank + f64::from(frame[last as usize]);
                stays.non_blank = log_add(stays.non_blank, repeated);
            }
            for (token, log_p) in tokens.clone() {
                // The root's own token is the blank, which is no token.
                let before = if token == last { prefix.blank } else { prefix.total() };
                let longer = next.at(self.child(prefix.node, token));
                longer.non_blank = log_add(longer.non_blank, before + log_p);
            }
        }
        self.live = next.list;
        self.live.retain(|prefix| prefix.total() > f64::NEG_INFINITY);
        self.live.sort_by(|one, other| other.total().total_cmp(&one.total()));
        self.live.truncate(width);
    }

    fn child(&mut self, node: usize, token: i64) -> usize {
        *self.children.entry((node, token)).or_insert_with(|| {
            self.nodes.push((node, token));
            self.nodes.len() - 1
        })
    }

    fn tokens(&self, mut node: usize) -> Vec<i64> {
        let mut tokens = Vec::new();
        while node != 0 {
            let (before, token) = self.nodes[node];
            tokens.push(token);
            node = before;
        }
        tokens.reverse();
        tokens
    }
}

/// The prefixes behind a frame, in the order in which they were reached.
#[derive(Default)]
struct NextPrefixes {
    list: Vec<Prefix>,
    places: HashMap<usize, usize>,
}

impl NextPrefixes {
    fn at(&mut self, node: usize) -> &mut Prefix {
        let place = *self.places.entry(node).or_insert_with(|| {
            self.list.push(Prefix { node, blank: f64::NEG_INFINITY, non_blank: f64::NEG_INFINITY });
            self.list.len() - 1
        });
        &mut self.list[place]
    }
}
