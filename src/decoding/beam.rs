//! The books of one source: its hypotheses, live and finished.
//!
//! A source has groups, and each group is a beam. All searches are one: greedy search has one group with one live
//! hypothesis, beam search one group with a few, diverse beam search (Vijayakumar et al. 2016) a few groups, and
//! sampling a group of one for each sample, which draws its token instead of choosing the best. It knows no model and no
//! tensor.

use super::best::{Best, Candidate};
use super::constraints::Edits;
use super::rules::Rules;
use super::sampling::{Chance, Drawable};
use super::search::{Hypothesis, scores_not_finite};
use crate::data::vocabulary::{BOS, EOS, PAD};
use crate::error::{Error, Result};

/// A source to decode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Token ids without EOS.
    pub source: Vec<i64>,
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

    fn row(&mut self, number: usize) -> &mut [f32] {
        &mut self.log_p[number * self.vocabulary..][..self.vocabulary]
    }
}

/// What is used anew in every step, to save allocations.
#[derive(Debug, Default)]
pub struct Scratch {
    best: Best,
    drawable: Drawable,
    edits: Edits,
    said: Vec<i64>,
    parents: Vec<Live>,
    /// What the groups before this one say in this step.
    avoided: Vec<i64>,
}

/// All hypotheses of a source, the dead ones too, as a tree: each token names the one before it.
#[derive(Debug)]
struct History {
    nodes: Vec<(usize, i64)>,
}

impl History {
    /// The place of BOS, before everything.
    const ROOT: usize = 0;

    fn new() -> History {
        History { nodes: vec![(History::ROOT, BOS)] }
    }

    fn push(&mut self, before: usize, token: i64) -> usize {
        self.nodes.push((before, token));
        self.nodes.len() - 1
    }

    /// The tokens from the first to the one at `node`.
    fn read(&self, mut node: usize, into: &mut Vec<i64>) {
        into.clear();
        while node != History::ROOT {
            let (before, token) = self.nodes[node];
            into.push(token);
            node = before;
        }
        into.reverse();
    }

    fn tokens(&self, node: usize) -> Vec<i64> {
        let mut tokens = Vec::new();
        self.read(node, &mut tokens);
        tokens
    }
}

/// A beginning that may go on.
#[derive(Clone, Debug)]
struct Live {
    /// The row of its source that it goes on from.
    row: usize,
    /// Its last token's place in the history.
    node: usize,
    /// Sum of the model's log-probabilities.
    score: f64,
    /// The same with the repetition penalty in it.
    sum: f64,
    /// What each source position got of its attention; empty where nobody asks.
    attended: Vec<f32>,
}

impl Live {
    fn attend(&mut self, attention: &[f32]) {
        self.attended.resize(attention.len().max(self.attended.len()), 0.0);
        self.attended.iter_mut().zip(attention).for_each(|(sum, more)| *sum += more);
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
    groups: Vec<Group>,
    /// Whether all groups still stand at the same row.
    shared: bool,
}

impl Books {
    /// Those of a source that begins: one row.
    pub fn new(job: &Job, rules: &Rules) -> Books {
        let group = |number| {
            let draws = rules.sampling.as_ref();
            Group {
                live: vec![Live { row: 0, node: History::ROOT, score: 0.0, sum: 0.0, attended: Vec::new() }],
                kept: Vec::new(),
                finished: 0,
                chance: draws.map(|sampling| Chance::new(sampling.seed, &job.source, number)),
            }
        };
        Books {
            prefix: job.prefix.clone(),
            limit: job.limit.max(1),
            length: 0,
            history: History::new(),
            groups: (0..rules.groups).map(group).collect(),
            shared: true,
        }
    }

    /// For each of its rows, the row of the step before that it goes on from, and its last token. None when the source
    /// is done.
    pub fn rows(&self) -> impl Iterator<Item = (usize, i64)> {
        let rows = if self.shared { 1 } else { usize::MAX };
        self.groups
            .iter()
            .flat_map(|group| &group.live)
            .take(rows)
            .map(|one| (one.row, self.history.nodes[one.node].1))
    }

    /// The rows stand in the batch as [`Books::rows`] gave them.
    pub fn settle(&mut self) {
        if !self.shared {
            self.groups
                .iter_mut()
                .flat_map(|group| &mut group.live)
                .enumerate()
                .for_each(|(row, one)| one.row = row);
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
        scratch.avoided.clear();
        let step = Step { length: self.length, limit: self.limit, rules };
        for group in &mut self.groups {
            group.advance(rows, &mut self.history, &step, scratch)?;
        }
        self.shared = false;
        Ok(())
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
        let step = Step { length: self.length, limit: self.limit, rules };
        let node =
            self.groups.iter().flat_map(|group| &group.live).next().map_or(History::ROOT, |one| one.node);
        let node = self.history.push(node, token);
        for group in &mut self.groups {
            for one in &mut group.live {
                (one.node, one.score, one.sum) = (node, one.score + log_p, one.sum + log_p);
                one.attend(attention);
            }
            if self.length >= self.limit {
                group.close(&self.history, &step);
            }
        }
        Ok(())
    }

    /// The best hypotheses, at most `n_best`, the best first: what has finished, then what was cut off. Groups may have
    /// found the same; it counts once. Samples are what they are.
    pub fn found(self, rules: &Rules) -> Vec<Hypothesis> {
        let mut all: Vec<Hypothesis> = self.groups.into_iter().flat_map(|group| group.kept).collect();
        all.sort_by(|one, other| {
            other.finished.cmp(&one.finished).then(other.ranking.total_cmp(&one.ranking))
        });
        if rules.groups > 1 && rules.sampling.is_none() {
            let mut seen: Vec<Hypothesis> = Vec::new();
            for one in all {
                if !seen.iter().any(|other| (&other.tokens, other.finished) == (&one.tokens, one.finished)) {
                    seen.push(one);
                }
            }
            all = seen;
        }
        all.truncate(rules.n_best);
        all
    }
}

/// What a step is to all groups.
struct Step<'a> {
    /// The number of the token that is chosen, from 1.
    length: usize,
    limit: usize,
    rules: &'a Rules,
}

/// A beam.
#[derive(Debug)]
struct Group {
    /// The best first; none when the group is done.
    live: Vec<Live>,
    /// The best hypotheses that have finished, the best first.
    kept: Vec<Hypothesis>,
    /// How many have finished.
    finished: usize,
    /// Where tokens are drawn.
    chance: Option<Chance>,
}

impl Group {
    /// Takes a step: the best continuations go on or are finished. A hypothesis that nothing may follow is dropped;
    /// when that is all of them, the group is done, and they are what it has.
    fn advance(
        &mut self,
        rows: &mut Rows,
        history: &mut History,
        step: &Step,
        scratch: &mut Scratch,
    ) -> Result<()> {
        if self.live.is_empty() {
            return Ok(());
        }
        self.choose(rows, history, step, scratch)?;
        if scratch.best.list().is_empty() {
            let before = Step { length: step.length - 1, ..*step };
            self.close(history, &before);
            return Ok(());
        }
        std::mem::swap(&mut self.live, &mut scratch.parents);
        self.live.clear();
        for (rank, chosen) in scratch.best.list().iter().enumerate() {
            let parent = &scratch.parents[chosen.parent];
            let goes_on = chosen.token != EOS && self.live.len() < step.rules.width;
            let finishes = chosen.token == EOS && rank < step.rules.width;
            if goes_on {
                let mut next = follow(parent, chosen, rows, &scratch.avoided, step.rules);
                next.node = history.push(parent.node, chosen.token);
                self.live.push(next);
            } else if finishes {
                self.finish(follow(parent, chosen, rows, &scratch.avoided, step.rules), history, step);
            }
        }
        if step.rules.diverse() {
            scratch.avoided.extend(self.live.iter().map(|one| history.nodes[one.node].1));
        }
        if self.is_done(step) {
            self.close(history, step);
        }
        Ok(())
    }

    /// Finds the continuations. What ends a beam of one at once needs no second.
    fn choose(
        &mut self,
        rows: &mut Rows,
        history: &History,
        step: &Step,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Scratch { best, drawable, edits, said, avoided, .. } = scratch;
        let Rules { constraints, width, .. } = step.rules;
        best.begin(if *width == 1 && step.rules.enough == 1 { 1 } else { 2 * width });
        for (parent, one) in self.live.iter().enumerate() {
            let row = rows.row(one.row);
            if constraints.read_output() {
                history.read(one.node, said);
            }
            constraints.apply(said, step.length, row, edits);
            for &token in avoided.iter() {
                edits.change(row, token, |log_p| log_p - step.rules.diversity as f32);
            }
            let largest = match (&mut self.chance, &step.rules.sampling) {
                (Some(chance), Some(sampling)) => {
                    let (largest, token) = drawable.draw(row, sampling, chance.next());
                    if let Some(token) = token {
                        let total = one.sum + f64::from(row[token as usize]);
                        best.push(Candidate { parent, token, total });
                    }
                    largest
                }
                _ => best.scan(parent, one.sum, row),
            };
            edits.undo(row);
            let all_forbidden = || largest == f32::NEG_INFINITY && row.iter().any(|log_p| log_p.is_finite());
            if !largest.is_finite() && !all_forbidden() {
                return Err(scores_not_finite());
            }
        }
        Ok(())
    }

    /// A hypothesis has said EOS.
    fn finish(&mut self, one: Live, history: &History, step: &Step) {
        self.finished += 1;
        self.keep(&one, true, history, step);
    }

    /// Puts a hypothesis in its place among those kept, behind its equals.
    fn keep(&mut self, one: &Live, finished: bool, history: &History, step: &Step) {
        let ranking = step.rules.penalty.ranking(one.sum, step.length, &one.attended);
        let before = |other: &Hypothesis| (other.finished && !finished) || other.ranking >= ranking;
        let place = self.kept.partition_point(before);
        if place < step.rules.kept() {
            let tokens = history.tokens(one.node);
            self.kept.insert(place, Hypothesis { tokens, score: one.score, ranking, finished });
            self.kept.truncate(step.rules.kept());
        }
    }

    fn is_done(&self, step: &Step) -> bool {
        let attainable = |one: &Live| step.rules.penalty.attainable(one.sum, step.limit);
        let cannot_win = |worst: &Hypothesis| self.live.iter().all(|one| attainable(one) <= worst.ranking);
        self.finished >= step.rules.enough
            || step.length >= step.limit
            || self.live.is_empty()
            || (self.kept.len() == step.rules.kept() && self.kept.last().is_some_and(cannot_win))
    }

    /// Nothing goes on. What is cut off fills the places that no finished hypothesis has.
    fn close(&mut self, history: &History, step: &Step) {
        for one in std::mem::take(&mut self.live) {
            if self.finished < step.rules.kept() {
                self.keep(&one, false, history, step);
            }
        }
    }
}

/// The live hypothesis `parent` with one more token. What a group loses for saying what others say decides only which
/// tokens it chooses, and is given back here.
fn follow(parent: &Live, chosen: &Candidate, rows: &mut Rows, avoided: &[i64], rules: &Rules) -> Live {
    let times = avoided.iter().filter(|&&token| token == chosen.token).count();
    let mut next = parent.clone();
    next.score += f64::from(rows.row(parent.row)[chosen.token as usize]);
    next.sum = chosen.total + times as f64 * f64::from(rules.diversity as f32);
    if let Some(attention) = rows.attention.get(parent.row) {
        next.attend(attention);
    }
    next
}
