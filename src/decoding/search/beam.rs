//! A beam: the best few unfinished hypotheses of a source, extended side by side.
//!
//! Choice (`search/offers`), constraints and penalties are elsewhere; here is the bookkeeping. It knows no model and no tensor.

use super::offers::{Offers, Parent};
use super::sampling::SampleRng;
use super::top_k::Candidate;
use crate::data::vocabulary::{BOS, EOS};
use crate::decoding::constraints::ScoreEdits;
use crate::decoding::constraints::banned_texts::OutputPrefix;
use crate::decoding::constraints::forced_prefix::{ForcedPrefix, PrefixScores};
use crate::decoding::ctc::prefix_score::CtcPrefix;
use crate::decoding::incremental_decoder::{Hypothesis, ScoreRows, scores_not_finite};
use crate::decoding::options::SearchOptions;
use crate::error::Result;

/// All hypotheses of a source, including dropped ones, as a tree: each token has a link to the one before it.
#[derive(Debug)]
pub(super) struct TokenTree {
    nodes: Vec<(usize, i64)>,
}

impl TokenTree {
    /// The node of BOS, the root.
    pub(super) const ROOT: usize = 0;

    pub(super) fn new() -> TokenTree {
        TokenTree { nodes: vec![(TokenTree::ROOT, BOS)] }
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
    pub(super) fn read_prefix(&self, mut node: usize, into: &mut Vec<i64>) {
        into.clear();
        while node != TokenTree::ROOT {
            let (before, token) = self.nodes[node];
            into.push(token);
            node = before;
        }
        into.reverse();
    }

    pub(super) fn tokens(&self, node: usize) -> Vec<i64> {
        let mut tokens = Vec::new();
        self.read_prefix(node, &mut tokens);
        tokens
    }
}

/// Buffers that are reused in every step, to save allocations.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    offers: Offers,
    edits: ScoreEdits,
    prefix_tokens: Vec<i64>,
    parents: Vec<ActiveHypothesis>,
    narrowed: PrefixScores,
    /// The token of the greedy hypothesis, if the beam follows it.
    leading: Option<Candidate>,
    /// The tokens of the groups before this one in this step.
    avoided: Vec<i64>,
}

impl Workspace {
    /// Resets the buffers for a step of a source.
    pub(super) fn begin(&mut self) {
        self.avoided.clear();
    }
}

/// An active hypothesis, which may continue.
#[derive(Clone, Debug)]
pub(super) struct ActiveHypothesis {
    /// The row of its source that it continues.
    pub row: usize,
    /// The node of its last token in the tree.
    pub node: usize,
    /// Sum of the model's log-probabilities.
    score: f64,
    /// The same with the repetition penalty in it, and with CTC's share where that chooses as well.
    sum: f64,
    /// Its tokens for CTC, where that chooses as well.
    ctc: Option<CtcPrefix>,
    /// Its attention to each source position so far; empty if it is not requested.
    coverage: Vec<f32>,
    /// Its state in the forced prefix.
    place: usize,
    /// Number of its tokens within the forced prefix.
    forced: usize,
    /// Whether it is the greedy hypothesis; never if the beam does not follow that one.
    is_greedy: bool,
}

impl ActiveHypothesis {
    fn attend(&mut self, attention: &[f32]) {
        self.coverage.resize(attention.len().max(self.coverage.len()), 0.0);
        self.coverage.iter_mut().zip(attention).for_each(|(sum, more)| *sum += more);
    }
}

/// A step, the same for all groups.
pub(super) struct Step<'a> {
    /// The number of the token to choose, from 1.
    pub length: usize,
    /// Maximum number of tokens, including EOS.
    pub max_length: usize,
    /// The forced prefix of every output.
    pub prefix: &'a ForcedPrefix,
    /// Whether all groups together have too few outputs, so that each continues.
    pub needs_more: bool,
    pub options: &'a SearchOptions,
}

/// A hypothesis that has finished.
#[derive(Debug)]
pub(super) struct RankedHypothesis {
    pub hypothesis: Hypothesis,
    /// Its text, if several outputs are requested: their texts must differ.
    pub text: String,
}

/// A beam.
#[derive(Debug)]
pub(super) struct Beam {
    /// The best first; empty when the beam is done.
    active: Vec<ActiveHypothesis>,
    /// The best finished hypotheses, the best first.
    ranked: Vec<RankedHypothesis>,
    /// Number of finished hypotheses.
    finished: usize,
    /// For sampling.
    rng: Option<SampleRng>,
}

impl Beam {
    /// An empty hypothesis. With `rng`, tokens are sampled; with `leads`, the beam never loses the greedy hypothesis.
    pub(crate) fn new(rng: Option<SampleRng>, leads: bool, ctc: Option<CtcPrefix>) -> Beam {
        let (row, node, place) = (0, TokenTree::ROOT, ForcedPrefix::START);
        let nothing = ActiveHypothesis {
            row,
            node,
            score: 0.0,
            sum: 0.0,
            ctc,
            coverage: Vec::new(),
            place,
            forced: 0,
            is_greedy: leads,
        };
        Beam { active: vec![nothing], ranked: Vec::new(), finished: 0, rng }
    }

    /// The active hypotheses, the best first; empty when the beam is done.
    pub(crate) fn active(&self) -> &[ActiveHypothesis] {
        &self.active
    }

    /// The same, mutable, to renumber their rows.
    pub(crate) fn active_mut(&mut self) -> &mut [ActiveHypothesis] {
        &mut self.active
    }

    /// The finished hypotheses so far, the best first.
    pub(crate) fn ranked(&self) -> &[RankedHypothesis] {
        &self.ranked
    }

    /// The finished hypotheses, the best first, then the unfinished ones.
    pub(crate) fn into_ranked(self) -> Vec<RankedHypothesis> {
        self.ranked
    }

    /// Runs one step: the best continuations become active or finished. A hypothesis without an allowed continuation is
    /// dropped; if none has one, the beam is done and keeps them as unfinished.
    pub(crate) fn advance(
        &mut self,
        rows: &mut ScoreRows,
        tree: &mut TokenTree,
        step: &Step,
        workspace: &mut Workspace,
    ) -> Result<()> {
        if self.active.is_empty() {
            return Ok(());
        }
        self.choose(rows, tree, step, workspace)?;
        if workspace.offers.best.candidates().is_empty() {
            let before = Step { length: step.length - 1, ..*step };
            self.close(tree, &before);
            return Ok(());
        }
        std::mem::swap(&mut self.active, &mut workspace.parents);
        self.active.clear();
        let finished_before = self.finished;
        let Workspace { offers, avoided, parents, leading, .. } = workspace;
        let best = offers.best.candidates();
        let leading = *leading;
        // The greedy hypothesis continues beside the beam that would lose it.
        let lost = leading.filter(|leading| !best.contains(leading));
        for (rank, chosen) in best.iter().chain(&lost).enumerate() {
            let leads = leading.as_ref() == Some(chosen);
            let continues = chosen.token != EOS && (self.active.len() < step.options.width || leads);
            let finishes = chosen.token == EOS && (rank < step.options.width || leads);
            if !continues && !finishes {
                continue;
            }
            let next = ActiveHypothesis {
                is_greedy: leads,
                ..follow(&parents[chosen.parent], chosen, rows, avoided, step)
            };
            if finishes {
                self.finish(next, tree, step);
            } else {
                let node = tree.push(next.node, chosen.token);
                let ctc = next.ctc.as_ref().map(|prefix| prefix.extend(chosen.token));
                self.active.push(ActiveHypothesis { node, ctc, ..next });
            }
        }
        if step.options.is_diverse() {
            avoided.extend(self.active.iter().map(|one| tree.token(one.node)));
            avoided.extend(std::iter::repeat_n(EOS, self.finished - finished_before));
        }
        self.drop_outranked(step);
        if self.is_done(step) {
            self.close(tree, step);
        }
        Ok(())
    }

    /// Finds the continuations. A beam of one that ends at once needs no second.
    fn choose(
        &mut self,
        rows: &mut ScoreRows,
        tree: &TokenTree,
        step: &Step,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let Workspace { offers, edits, prefix_tokens, avoided, narrowed, leading, .. } = workspace;
        let SearchOptions { constraints, width, .. } = step.options;
        let ends_at_once = *width == 1 && step.options.stop_after == 1 && !step.needs_more;
        offers.best.begin(if ends_at_once { 1 } else { 2 * width });
        *leading = None;
        for (number, one) in self.active.iter().enumerate() {
            let (row, place) = (rows.row(one.row), step.prefix.at(one.place));
            let left = step.max_length.saturating_sub(step.length);
            if let Some(place) = place {
                narrowed.clear(row.len());
                narrowed.take(step.prefix, place, false, left, row);
            }
            if constraints.need_prefix() {
                tree.read_prefix(one.node, prefix_tokens);
            }
            let so_far = OutputPrefix {
                tokens: prefix_tokens,
                forced: one.forced,
                to_the_limit: step.length >= step.max_length,
            };
            constraints.apply(so_far, step.length, row, edits);
            for &token in step.prefix.forbidden(one.place) {
                edits.change(row, token, |_| f32::NEG_INFINITY);
            }
            for &token in avoided.iter().filter(|_| place.is_none()) {
                edits.change(row, token, |log_p| log_p - step.options.diversity as f32);
            }
            if let Some(place) = place {
                narrowed.take(step.prefix, place, true, left, row);
            }
            let scores = if place.is_some() { narrowed.row() } else { &*row };
            // If only one token is allowed, nothing is drawn.
            let is_settled = place.is_some_and(|place| place.choices.len() == 1);
            let random = self.rng.as_mut().filter(|_| !is_settled).map(SampleRng::next_number);
            let parent = Parent { number, sum: one.sum, ctc: one.ctc.as_ref(), leads: one.is_greedy, random };
            let (largest, greedy) = offers.take(parent, scores, step.options);
            *leading = leading.or(greedy.filter(|_| one.is_greedy));
            edits.undo(row);
            let all_forbidden = || largest == f32::NEG_INFINITY && row.iter().any(|log_p| log_p.is_finite());
            if !largest.is_finite() && !all_forbidden() {
                return Err(scores_not_finite());
            }
        }
        Ok(())
    }

    /// A hypothesis ends with EOS.
    fn finish(&mut self, one: ActiveHypothesis, tree: &TokenTree, step: &Step) {
        self.finished += 1;
        self.keep(&one, true, tree, step);
    }

    /// Inserts a hypothesis into the ranking, behind equal ones. Of two with the same text only the better one is kept.
    fn keep(&mut self, one: &ActiveHypothesis, finished: bool, tree: &TokenTree, step: &Step) {
        let ranking = step.options.penalty.ranking(one.sum, step.length, &one.coverage);
        let before = |other: &RankedHypothesis| {
            (other.hypothesis.finished && !finished) || other.hypothesis.ranking >= ranking
        };
        let place = self.ranked.partition_point(before);
        if place >= step.options.ranked_capacity() {
            return;
        }
        let tokens = tree.tokens(one.node);
        let text =
            if step.options.removes_duplicates() { step.options.texts.of(&tokens) } else { String::new() };
        if step.options.removes_duplicates()
            && let Some(same) = self.ranked.iter().position(|other| other.text == text)
        {
            if same < place {
                return;
            }
            self.ranked.remove(same);
        }
        let one = Hypothesis { tokens, score: one.score, ranking, finished };
        self.ranked.insert(place, RankedHypothesis { hypothesis: one, text });
        self.ranked.truncate(step.options.ranked_capacity());
    }

    /// Whether an active hypothesis cannot become an output any more; with the default rule, whether `beam` finished
    /// hypotheses rank above it at its present length.
    fn is_outranked(&self, one: &ActiveHypothesis, step: &Step) -> bool {
        let penalty = &step.options.penalty;
        let (count, rank) = match step.options.stops_when_outranked && !one.is_greedy && !step.needs_more {
            // With its coverage so far: assuming full coverage, it would continue to the limit.
            true => (step.options.width, penalty.ranking(one.sum, step.length, &one.coverage)),
            false => {
                (step.options.max_outputs_per_group(), penalty.best_attainable(one.sum, step.max_length))
            }
        };
        self.ranked.get(count - 1).is_some_and(|worst| rank <= worst.hypothesis.ranking)
    }

    /// When all are outranked, the beam ends; the greedy hypothesis alone continues while it can still win.
    fn drop_outranked(&mut self, step: &Step) {
        let outranked: Vec<bool> = self.active.iter().map(|one| self.is_outranked(one, step)).collect();
        if self.active.iter().zip(&outranked).all(|(one, outranked)| one.is_greedy || *outranked) {
            let mut outranked = outranked.into_iter();
            self.active.retain(|_| !outranked.next().unwrap_or(true));
        }
    }

    fn is_done(&self, step: &Step) -> bool {
        let has_enough =
            self.finished >= step.options.stop_after && self.ranked.len() >= step.options.outputs_per_group();
        (has_enough && !step.needs_more) || step.length >= step.max_length || self.active.is_empty()
    }

    /// Ends the beam. Unfinished hypotheses fill the remaining places behind the finished ones.
    fn close(&mut self, tree: &TokenTree, step: &Step) {
        for one in std::mem::take(&mut self.active) {
            self.keep(&one, false, tree, step);
        }
    }
}

/// The active hypothesis `parent` with one more token; `node` is still its parent's. The diversity penalty only affects
/// the choice of tokens, so it is added back here.
fn follow(
    parent: &ActiveHypothesis,
    chosen: &Candidate,
    rows: &mut ScoreRows,
    avoided: &[i64],
    step: &Step,
) -> ActiveHypothesis {
    let is_free = step.prefix.at(parent.place).is_none();
    let times = avoided.iter().filter(|&&token| is_free && token == chosen.token).count();
    let mut next = parent.clone();
    next.score += f64::from(rows.row(parent.row)[chosen.token as usize]);
    next.sum = chosen.total + times as f64 * f64::from(step.options.diversity as f32);
    let (place, within) = step.prefix.state_after(parent.place, chosen.token);
    (next.place, next.forced) = (place, parent.forced + usize::from(within));
    if let Some(attention) = rows.attention.get(parent.row) {
        next.attend(attention);
    }
    next
}
