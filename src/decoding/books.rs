//! The books of one source: its hypotheses, live and finished, and the rows that they stand in.
//!
//! A source has groups, and each group is a beam. All searches are one: greedy search has one group with one live
//! hypothesis, beam search one group with a few, diverse beam search (Vijayakumar et al. 2016) a few groups, and
//! sampling a group of one for each sample, which draws its token instead of choosing the best. It knows no model and no
//! tensor.

use std::collections::HashSet;

use super::beam::{Beam, Scratch, Step};
use super::rules::Rules;
use super::sampling::Chance;
use super::search::{Hypothesis, Reading, scores_not_finite};
use crate::data::vocabulary::{BOS, EOS, PAD};
use crate::error::{Error, Result};

/// A source to decode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// What is read.
    pub source: Reading,
    /// The tokens that the output begins with, whatever the model gives to them. They count for the limit and for the
    /// score, and no rule is asked about them.
    pub prefix: Vec<i64>,
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
    prefix: Vec<i64>,
    /// The most tokens, EOS counted in.
    limit: usize,
    /// Steps taken, which is the length of everything that is live.
    length: usize,
    history: History,
    groups: Vec<Beam>,
    /// Whether all groups still stand at the same row.
    shared: bool,
}

impl Books {
    /// Those of a source that begins: one row.
    pub fn new(job: &Job, rules: &Rules) -> Books {
        let chance = |number| {
            rules.sampling.as_ref().map(|sampling| Chance::new(sampling.seed, &job.source.ids, number))
        };
        Books {
            prefix: job.prefix.clone(),
            limit: job.limit.max(1),
            length: 0,
            history: History::new(),
            groups: (0..rules.groups).map(|number| Beam::new(chance(number))).collect(),
            shared: true,
        }
    }

    /// For each of its rows, the row of the step before that it goes on from, and its last token. None when the source
    /// is done.
    pub fn rows(&self) -> impl Iterator<Item = (usize, i64)> {
        let rows = if self.shared { 1 } else { usize::MAX };
        self.groups.iter().flat_map(Beam::live).take(rows).map(|one| (one.row, self.history.token(one.node)))
    }

    /// The rows stand in the batch as [`Books::rows`] gave them.
    pub fn settle(&mut self) {
        if !self.shared {
            self.groups.iter_mut().flat_map(Beam::live_mut).enumerate().for_each(|(row, one)| one.row = row);
        }
    }

    /// Takes a step.
    ///
    /// # Errors
    /// A row has no score that is a finite number; a prefix holds what no output can.
    pub fn advance(&mut self, rows: &mut Rows, rules: &Rules, scratch: &mut Scratch) -> Result<()> {
        self.length += 1;
        if let Some(&token) = self.prefix.get(self.length - 1) {
            return self.force(token, rows, rules);
        }
        scratch.begin();
        let short = rules.may_be_short() && self.has_too_few(rules.n_best);
        let step = Step { length: self.length, limit: self.limit, forced: self.prefix.len(), short, rules };
        for group in &mut self.groups {
            group.advance(rows, &mut self.history, &step, scratch)?;
        }
        self.shared = false;
        Ok(())
    }

    /// Whether the groups have found fewer outputs so far, each counted once.
    fn has_too_few(&self, wanted: usize) -> bool {
        let found: HashSet<&[i64]> =
            self.groups.iter().flat_map(Beam::kept).map(|one| one.tokens.as_slice()).collect();
        found.len() < wanted
    }

    /// Goes on with the prefix, the same in all groups.
    fn force(&mut self, token: i64, rows: &mut Rows, rules: &Rules) -> Result<()> {
        let attention = rows.attention.first().map(Vec::as_slice).unwrap_or_default();
        let known = (0..rows.vocabulary as i64).contains(&token) && ![PAD, BOS, EOS].contains(&token);
        if !known {
            return Err(Error::input(format!("an output cannot begin with token {token} in its prefix")));
        }
        let log_p = f64::from(rows.log_p[token as usize]);
        if !log_p.is_finite() {
            return Err(scores_not_finite());
        }
        let (length, limit, forced) = (self.length, self.limit, self.prefix.len());
        let step = Step { length, limit, forced, short: false, rules };
        let node = self.groups.iter().flat_map(Beam::live).next().map_or(History::ROOT, |one| one.node);
        let node = self.history.push(node, token);
        for group in &mut self.groups {
            group.force(node, log_p, attention, &self.history, &step);
        }
        Ok(())
    }

    /// The best hypotheses, at most `n_best`, the best first: what has finished, then what was cut off. Each group gives as many
    /// as it is wide, and more only where those are too few. Groups may have found the same; it counts once. Samples are
    /// what they are.
    pub fn found(self, rules: &Rules) -> Vec<Hypothesis> {
        let mut groups: Vec<Vec<Hypothesis>> = self.groups.into_iter().map(Beam::found).collect();
        if rules.groups == 1 || rules.sampling.is_some() {
            return ranked(groups.into_iter().flatten(), rules.n_best);
        }
        let more =
            groups.iter_mut().map(|group| group.split_off(rules.width.min(group.len()))).collect::<Vec<_>>();
        let first = distinct(ranked(groups.into_iter().flatten(), usize::MAX), Vec::new());
        let all = distinct(ranked(more.into_iter().flatten(), usize::MAX), first);
        ranked(all.into_iter().take(rules.n_best), rules.n_best)
    }
}

/// The best of them, the best first.
fn ranked(all: impl Iterator<Item = Hypothesis>, at_most: usize) -> Vec<Hypothesis> {
    let mut all: Vec<Hypothesis> = all.collect();
    all.sort_by(|one, other| other.finished.cmp(&one.finished).then(other.ranking.total_cmp(&one.ranking)));
    all.truncate(at_most);
    all
}

/// Those that are there, and behind them those of the list that are not.
fn distinct(list: Vec<Hypothesis>, mut there: Vec<Hypothesis>) -> Vec<Hypothesis> {
    for one in list {
        if !there.iter().any(|other| (&other.tokens, other.finished) == (&one.tokens, one.finished)) {
            there.push(one);
        }
    }
    there
}
