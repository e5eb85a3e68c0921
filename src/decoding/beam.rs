//! A beam: the best few beginnings of a source go on, side by side.
//!
//! Choice ([`Best`], or [`Drawable`] where tokens are drawn), constraints and penalties are apart; here are the books. It
//! knows no model and no tensor.

use super::banned::Said;
use super::best::{Best, Candidate};
use super::books::{History, Rows};
use super::constraints::Edits;
use super::opening::{Narrowed, Opening};
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
    narrowed: Narrowed,
    /// What greedy search goes on with, where the beam follows it.
    leading: Option<Candidate>,
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
    /// How much of the beginning that is forced is said.
    place: usize,
    /// So many of its tokens lie within it.
    forced: usize,
    /// Whether it is what greedy search says; never where nobody asks.
    leads: bool,
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
    /// How every output begins.
    pub opening: &'a Opening,
    /// Whether all groups together have too few outputs, so that each goes on.
    pub short: bool,
    pub rules: &'a Rules,
}

/// A hypothesis that has finished.
#[derive(Debug)]
pub(super) struct Kept {
    pub one: Hypothesis,
    /// What it says, where there is to be more than one output: each says something else.
    pub text: String,
}

/// A beam.
#[derive(Debug)]
pub(super) struct Beam {
    /// The best first; none when the beam is done.
    live: Vec<Live>,
    /// The best hypotheses that have finished, the best first.
    kept: Vec<Kept>,
    /// How many have finished.
    finished: usize,
    /// Where tokens are drawn.
    chance: Option<Chance>,
}

impl Beam {
    /// Nothing is said. Tokens are drawn where there is chance; with `leads` the beam never loses what greedy search says.
    pub fn new(chance: Option<Chance>, leads: bool) -> Beam {
        let (row, node, place) = (0, History::ROOT, Opening::START);
        let nothing = Live { row, node, score: 0.0, sum: 0.0, attended: Vec::new(), place, forced: 0, leads };
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
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// What has finished, the best first, and behind it what was cut off.
    pub fn found(self) -> Vec<Kept> {
        self.kept
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
        let Scratch { best, avoided, parents, leading, .. } = scratch;
        let leading = *leading;
        // Greedy search goes on beside the beam that would lose it.
        let lost = leading.filter(|leading| !best.list().contains(leading));
        for (rank, chosen) in best.list().iter().chain(&lost).enumerate() {
            let leads = leading.as_ref() == Some(chosen);
            let goes_on = chosen.token != EOS && (self.live.len() < step.rules.width || leads);
            let finishes = chosen.token == EOS && (rank < step.rules.width || leads);
            if !goes_on && !finishes {
                continue;
            }
            let next = Live { leads, ..follow(&parents[chosen.parent], chosen, rows, avoided, step) };
            if finishes {
                self.finish(next, history, step);
            } else {
                let node = history.push(next.node, chosen.token);
                self.live.push(Live { node, ..next });
            }
        }
        if step.rules.diverse() {
            avoided.extend(self.live.iter().map(|one| history.token(one.node)));
            avoided.extend(std::iter::repeat_n(EOS, self.finished - finished_before));
        }
        self.drop_outranked(step);
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
        let Scratch { best, drawable, edits, said, avoided, narrowed, leading, .. } = scratch;
        let Rules { constraints, width, .. } = step.rules;
        let ends_at_once = *width == 1 && step.rules.enough == 1 && !step.short;
        best.begin(if ends_at_once { 1 } else { 2 * width });
        *leading = None;
        for (parent, one) in self.live.iter().enumerate() {
            let (row, place) = (rows.row(one.row), step.opening.at(one.place));
            let left = step.limit.saturating_sub(step.length);
            if let Some(place) = place {
                narrowed.clear(row.len());
                narrowed.take(step.opening, place, false, left, row);
            }
            if constraints.read_output() {
                history.read(one.node, said);
            }
            let so_far = Said { tokens: said, forced: one.forced, to_the_limit: step.length >= step.limit };
            constraints.apply(so_far, step.length, row, edits);
            for &token in step.opening.forbidden(one.place) {
                edits.change(row, token, |_| f32::NEG_INFINITY);
            }
            for &token in avoided.iter().filter(|_| place.is_none()) {
                edits.change(row, token, |log_p| log_p - step.rules.diversity as f32);
            }
            if let Some(place) = place {
                narrowed.take(step.opening, place, true, left, row);
            }
            let scores = if place.is_some() { narrowed.row() } else { &*row };
            // Where nothing else can be said, nothing is drawn.
            let is_settled = place.is_some_and(|place| place.choices.len() == 1);
            let largest = match (&mut self.chance, &step.rules.sampling) {
                (Some(chance), Some(sampling)) if !is_settled => {
                    let (largest, token) = drawable.draw(scores, sampling, chance.number());
                    if let Some(token) = token {
                        let total = one.sum + f64::from(scores[token as usize]);
                        best.push(Candidate { parent, token, total });
                    }
                    largest
                }
                _ => best.scan(parent, one.sum, scores),
            };
            if one.leads && largest.is_finite() {
                let first = scores.iter().position(|score| *score == largest);
                let total = one.sum + f64::from(largest);
                *leading = first.map(|token| Candidate { parent, token: token as i64, total });
            }
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

    /// Puts a hypothesis in its place among those kept, behind its equals. What another one says as well counts once, with
    /// the better of them.
    fn keep(&mut self, one: &Live, finished: bool, history: &History, step: &Step) {
        let ranking = step.rules.penalty.ranking(one.sum, step.length, &one.attended);
        let before = |other: &Kept| (other.one.finished && !finished) || other.one.ranking >= ranking;
        let place = self.kept.partition_point(before);
        if place >= step.rules.kept() {
            return;
        }
        let tokens = history.tokens(one.node);
        let text = if step.rules.tells_apart() { step.rules.texts.of(&tokens) } else { String::new() };
        if step.rules.tells_apart()
            && let Some(same) = self.kept.iter().position(|other| other.text == text)
        {
            if same < place {
                return;
            }
            self.kept.remove(same);
        }
        let one = Hypothesis { tokens, score: one.score, ranking, finished };
        self.kept.insert(place, Kept { one, text });
        self.kept.truncate(step.rules.kept());
    }

    /// Whether a live hypothesis cannot get among the outputs any more; by the default rule already when it is worse, at
    /// its present length, than as many that have finished as the beam is wide.
    fn is_outranked(&self, one: &Live, step: &Step) -> bool {
        let penalty = &step.rules.penalty;
        let (count, rank) = match step.rules.compares && !one.leads && !step.short {
            // With what it has looked at so far: as if it had looked at everything, it would go on to the limit.
            true => (step.rules.width, penalty.ranking(one.sum, step.length, &one.attended)),
            false => (step.rules.places(), penalty.attainable(one.sum, step.limit)),
        };
        self.kept.get(count - 1).is_some_and(|worst| rank <= worst.one.ranking)
    }

    /// When all are outranked, they end; what greedy search says goes on alone as long as it may still win.
    fn drop_outranked(&mut self, step: &Step) {
        let outranked: Vec<bool> = self.live.iter().map(|one| self.is_outranked(one, step)).collect();
        if self.live.iter().zip(&outranked).all(|(one, outranked)| one.leads || *outranked) {
            let mut outranked = outranked.into_iter();
            self.live.retain(|_| !outranked.next().unwrap_or(true));
        }
    }

    fn is_done(&self, step: &Step) -> bool {
        let has_enough = self.finished >= step.rules.enough && self.kept.len() >= step.rules.own();
        (has_enough && !step.short) || step.length >= step.limit || self.live.is_empty()
    }

    /// Nothing goes on. What is cut off fills the places that no finished hypothesis has.
    fn close(&mut self, history: &History, step: &Step) {
        for one in std::mem::take(&mut self.live) {
            self.keep(&one, false, history, step);
        }
    }
}

/// The live hypothesis `parent` with one more token, whose place in the history is still its parent's. What a group loses
/// for saying what others say decides only which tokens it chooses, and is given back here.
fn follow(parent: &Live, chosen: &Candidate, rows: &mut Rows, avoided: &[i64], step: &Step) -> Live {
    let is_free = step.opening.at(parent.place).is_none();
    let times = avoided.iter().filter(|&&token| is_free && token == chosen.token).count();
    let mut next = parent.clone();
    next.score += f64::from(rows.row(parent.row)[chosen.token as usize]);
    next.sum = chosen.total + times as f64 * f64::from(step.rules.diversity as f32);
    let (place, within) = step.opening.behind(parent.place, chosen.token);
    (next.place, next.forced) = (place, parent.forced + usize::from(within));
    if let Some(attention) = rows.attention.get(parent.row) {
        next.attend(attention);
    }
    next
}
