//! A beam: the best few beginnings of a source go on, side by side.
//!
//! Choice ([`Best`], or [`Drawable`] where tokens are drawn), constraints and penalties are apart; here are the books. It
//! knows no model and no tensor.

use super::banned::Said;
use super::best::{Best, Candidate};
use super::books::{History, Rows};
use super::constraints::Edits;
use super::rules::Rules;
use super::sampling::{Chance, Drawable};
use super::search::{Hypothesis, scores_not_finite};
use crate::data::vocabulary::EOS;
use crate::error::Result;

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

impl Scratch {
    /// A source takes a step.
    pub(super) fn begin(&mut self) {
        self.avoided.clear();
    }
}

/// A beginning that may go on.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// The row of its source that it goes on from.
    pub row: usize,
    /// Its last token's place in the history.
    pub node: usize,
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

/// What a step is to all groups.
pub(super) struct Step<'a> {
    /// The number of the token that is chosen, from 1.
    pub length: usize,
    /// The most tokens, EOS counted in.
    pub limit: usize,
    /// Tokens that every output begins with.
    pub forced: usize,
    /// Whether all groups together have too few outputs, so that each goes on.
    pub short: bool,
    pub rules: &'a Rules,
}

/// A beam.
#[derive(Debug)]
pub(super) struct Beam {
    /// The best first; none when the beam is done.
    live: Vec<Live>,
    /// The best hypotheses that have finished, the best first.
    kept: Vec<Hypothesis>,
    /// How many have finished.
    finished: usize,
    /// Where tokens are drawn.
    chance: Option<Chance>,
}

impl Beam {
    /// Nothing is said. Tokens are drawn where there is chance.
    pub fn new(chance: Option<Chance>) -> Beam {
        let nothing = Live { row: 0, node: History::ROOT, score: 0.0, sum: 0.0, attended: Vec::new() };
        Beam { live: vec![nothing], kept: Vec::new(), finished: 0, chance }
    }

    /// What goes on, the best first; nothing when the beam is done.
    pub fn live(&self) -> &[Live] {
        &self.live
    }

    /// The same, to be told where they stand.
    pub fn live_mut(&mut self) -> &mut [Live] {
        &mut self.live
    }

    /// What has finished so far, the best first.
    pub fn kept(&self) -> &[Hypothesis] {
        &self.kept
    }

    /// What has finished, the best first, and behind it what was cut off.
    pub fn found(self) -> Vec<Hypothesis> {
        self.kept
    }

    /// Goes on with a token of the prefix, which stands at `node`, whatever it costs.
    pub fn force(&mut self, node: usize, log_p: f64, attention: &[f32], history: &History, step: &Step) {
        for one in &mut self.live {
            (one.node, one.score, one.sum) = (node, one.score + log_p, one.sum + log_p);
            one.attend(attention);
        }
        if step.length >= step.limit {
            self.close(history, step);
        }
    }

    /// Takes a step: the best continuations go on or are finished. A hypothesis that nothing may follow is dropped;
    /// when that is all of them, the beam is done, and they are what it has.
    pub fn advance(
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
        let finished_before = self.finished;
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
            scratch.avoided.extend(self.live.iter().map(|one| history.token(one.node)));
            scratch.avoided.extend(std::iter::repeat_n(EOS, self.finished - finished_before));
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
        let ends_at_once = *width == 1 && step.rules.enough == 1 && !step.short;
        best.begin(if ends_at_once { 1 } else { 2 * width });
        for (parent, one) in self.live.iter().enumerate() {
            let row = rows.row(one.row);
            if constraints.read_output() {
                history.read(one.node, said);
            }
            let so_far = Said { tokens: said, forced: step.forced, to_the_limit: step.length >= step.limit };
            constraints.apply(so_far, step.length, row, edits);
            for &token in avoided.iter() {
                edits.change(row, token, |log_p| log_p - step.rules.diversity as f32);
            }
            let largest = match (&mut self.chance, &step.rules.sampling) {
                (Some(chance), Some(sampling)) => {
                    let (largest, token) = drawable.draw(row, sampling, chance.number());
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
        (self.finished >= step.rules.enough && !step.short)
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
