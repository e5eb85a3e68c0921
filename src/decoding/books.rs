//! The books of one source: its hypotheses, live and finished, and the rows that they stand in.
//!
//! A source has groups, and each group is a beam. All searches are one: greedy search has one group with one live
//! hypothesis, beam search one group with a few, diverse beam search (Vijayakumar et al. 2016) a few groups, and
//! sampling a group of one for each sample, which draws its token instead of choosing the best. It knows no model and no
//! tensor.

use std::collections::HashSet;
use std::sync::Arc;

use super::beam::{Beam, Kept, Scratch, Step};
use super::opening::Opening;
use super::rules::Rules;
use super::sampling::Chance;
use super::search::{Hypothesis, Reading};
use crate::data::vocabulary::{BOS, PAD};
use crate::error::Result;

/// A source to decode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// What is read.
    pub source: Reading,
    /// How the output begins, whatever the model gives to it. It counts for the limit and for the score, and no rule is
    /// asked about it.
    pub opening: Arc<Opening>,
    /// The most tokens of the output, EOS counted in; at least 1.
    pub limit: usize,
}

/// The rows of a source in the scores of a step.
#[derive(Debug)]
pub struct Rows<'a> {
    /// (rows * V)
    pub log_p: &'a mut [f32],
    /// V
    pub vocabulary: usize,
    /// What each row looked at; empty where nobody asks.
    pub attention: &'a [Vec<f32>],
}

impl Rows<'_> {
    /// PAD and BOS are no output.
    pub fn forbid_padding_and_bos(&mut self) {
        for row in self.log_p.chunks_exact_mut(self.vocabulary) {
            row[PAD as usize] = f32::NEG_INFINITY;
            row[BOS as usize] = f32::NEG_INFINITY;
        }
    }

    pub(super) fn row(&mut self, number: usize) -> &mut [f32] {
        &mut self.log_p[number * self.vocabulary..][..self.vocabulary]
    }
}

/// All hypotheses of a source, the dead ones too, as a tree: each token names the one before it.
#[derive(Debug)]
pub(super) struct History {
    nodes: Vec<(usize, i64)>,
}

impl History {
    /// The place of BOS, before everything.
    pub(super) const ROOT: usize = 0;

    fn new() -> History {
        History { nodes: vec![(History::ROOT, BOS)] }
    }

    pub(super) fn push(&mut self, before: usize, token: i64) -> usize {
        self.nodes.push((before, token));
        self.nodes.len() - 1
    }

    /// The token at `node`.
    pub(super) fn token(&self, node: usize) -> i64 {
        self.nodes[node].1
    }

    /// The tokens from the first to the one at `node`.
    pub(super) fn read(&self, mut node: usize, into: &mut Vec<i64>) {
        into.clear();
        while node != History::ROOT {
            let (before, token) = self.nodes[node];
            into.push(token);
            node = before;
        }
        into.reverse();
    }

    pub(super) fn tokens(&self, node: usize) -> Vec<i64> {
        let mut tokens = Vec::new();
        self.read(node, &mut tokens);
        tokens
    }
}

/// The books of one source.
#[derive(Debug)]
pub struct Books {
    opening: Arc<Opening>,
    /// The most tokens, EOS counted in.
    limit: usize,
    /// Steps taken, which is the length of everything that is live.
    length: usize,
    history: History,
    groups: Vec<Beam>,
}

impl Books {
    /// Those of a source that begins: one row.
    pub fn new(job: &Job, rules: &Rules) -> Books {
        let chance = |number| {
            rules.sampling.as_ref().map(|sampling| Chance::new(sampling.seed, &job.source.ids, number))
        };
        Books {
            opening: Arc::clone(&job.opening),
            limit: job.limit.max(1),
            length: 0,
            history: History::new(),
            groups: (0..rules.groups)
                .map(|number| Beam::new(chance(number), rules.compares && number == 0))
                .collect(),
        }
    }

    /// For each of its rows, the row of the step before that it goes on from, and its last token. None when the source
    /// is done.
    pub fn rows(&self) -> impl Iterator<Item = (usize, i64)> {
        // Before the first token all groups stand at the same row.
        let rows = if self.length == 0 { 1 } else { usize::MAX };
        self.groups.iter().flat_map(Beam::live).take(rows).map(|one| (one.row, self.history.token(one.node)))
    }

    /// The rows stand in the batch as [`Books::rows`] gave them.
    pub fn settle(&mut self) {
        if self.length > 0 {
            self.groups.iter_mut().flat_map(Beam::live_mut).enumerate().for_each(|(row, one)| one.row = row);
        }
    }

    /// Takes a step.
    ///
    /// # Errors
    /// A row has no score that is a finite number.
    pub fn advance(&mut self, rows: &mut Rows, rules: &Rules, scratch: &mut Scratch) -> Result<()> {
        self.length += 1;
        scratch.begin();
        let short = rules.may_be_short() && self.has_too_few(rules.n_best);
        let step = Step { length: self.length, limit: self.limit, opening: &self.opening, short, rules };
        for group in &mut self.groups {
            group.advance(rows, &mut self.history, &step, scratch)?;
        }
        Ok(())
    }

    /// Whether the groups have found fewer outputs so far, each counted once.
    fn has_too_few(&self, wanted: usize) -> bool {
        let found: HashSet<&str> =
            self.groups.iter().flat_map(Beam::kept).map(|kept| kept.text.as_str()).collect();
        found.len() < wanted
    }

    /// The best hypotheses, at most `n_best`, the best first: what has finished, then what was cut off. Each group gives as many
    /// as it is wide, and more only where those are too few. Groups may have found the same; it counts once. Samples are
    /// what they are.
    pub fn found(self, rules: &Rules) -> Vec<Hypothesis> {
        let mut groups: Vec<Vec<Kept>> = self.groups.into_iter().map(Beam::found).collect();
        let more: Vec<Vec<Kept>> = match rules.groups {
            1 => Vec::new(),
            _ => groups.iter_mut().map(|group| group.split_off(rules.width.min(group.len()))).collect(),
        };
        let mut all = ranked(groups.into_iter().flatten());
        if rules.sampling.is_none() && rules.groups > 1 {
            let first = distinct(all, Vec::new());
            all = distinct(ranked(more.into_iter().flatten()), first);
            all.truncate(rules.n_best);
            all = ranked(all.into_iter());
        }
        all.truncate(rules.n_best);
        all.into_iter().map(|kept| kept.one).collect()
    }
}

/// All of them, the best first.
fn ranked(all: impl Iterator<Item = Kept>) -> Vec<Kept> {
    let mut all: Vec<Kept> = all.collect();
    all.sort_by(|Kept { one, .. }, Kept { one: other, .. }| {
        other.finished.cmp(&one.finished).then(other.ranking.total_cmp(&one.ranking))
    });
    all
}

/// Those that are there, and behind them those of the list that say something else.
fn distinct(list: Vec<Kept>, mut there: Vec<Kept>) -> Vec<Kept> {
    for kept in list {
        if !there.iter().any(|other| other.text == kept.text) {
            there.push(kept);
        }
    }
    there
}
