//! The hypotheses of one source, active and finished, and the rows that they occupy in the batch.
//!
//! A source has groups, and each group is a beam. All searches are one: greedy search has one group with one active
//! hypothesis, beam search one group with a few, diverse beam search (Vijayakumar et al. 2016) a few groups, and
//! sampling a group of one for each sample, which draws its token instead of choosing the best. It depends on no model
//! and no tensor.

use std::collections::HashSet;
use std::sync::Arc;

use super::beam::{Beam, RankedHypothesis, Step, TokenTree, Workspace};
use super::sampling::SampleRng;
use crate::decoding::constraints::forced_prefix::ForcedPrefix;
use crate::decoding::ctc::log_probs::CtcLogProbs;
use crate::decoding::ctc::prefix_score::CtcPrefix;
use crate::decoding::incremental_decoder::{DecodeRequest, Hypothesis, ScoreRows};
use crate::decoding::options::SearchOptions;
use crate::error::Result;

/// The hypotheses of one source.
#[derive(Debug)]
pub(crate) struct Hypotheses {
    opening: Arc<ForcedPrefix>,
    /// Maximum number of tokens, including EOS.
    limit: usize,
    /// Number of steps, which is the length of every active hypothesis.
    length: usize,
    tree: TokenTree,
    groups: Vec<Beam>,
}

impl Hypotheses {
    /// The hypotheses of a new source: one row. With `ctc` they are chosen by the decoder and by CTC.
    pub(crate) fn new(
        request: &DecodeRequest,
        options: &SearchOptions,
        ctc: Option<&Arc<CtcLogProbs>>,
    ) -> Hypotheses {
        let rng = |number| {
            options
                .sampling
                .as_ref()
                .map(|sampling| SampleRng::new(sampling.seed, request.source.tokens(), number))
        };
        let prefix = ctc.map(|log_probs| CtcPrefix::new(Arc::clone(log_probs)));
        let leads = |number| options.stops_when_outranked && number == 0;
        Hypotheses {
            opening: Arc::clone(&request.prefix),
            limit: request.max_length.max(1),
            length: 0,
            tree: TokenTree::new(),
            groups: (0..options.groups)
                .map(|number| Beam::new(rng(number), leads(number), prefix.clone()))
                .collect(),
        }
    }

    /// For each row, the row of the previous step that it continues, and its last token. Empty when the source is done.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, i64)> {
        // Before the first token all groups share one row.
        let rows = if self.length == 0 { 1 } else { usize::MAX };
        self.groups.iter().flat_map(Beam::active).take(rows).map(|one| (one.row, self.tree.token(one.node)))
    }

    /// Renumbers the rows in the order of [`Hypotheses::rows`], as they are now in the batch.
    pub(crate) fn renumber(&mut self) {
        if self.length > 0 {
            self.groups
                .iter_mut()
                .flat_map(Beam::active_mut)
                .enumerate()
                .for_each(|(row, one)| one.row = row);
        }
    }

    /// Runs one step.
    ///
    /// # Errors
    /// A row has no finite score.
    pub(crate) fn advance(
        &mut self,
        rows: &mut ScoreRows,
        options: &SearchOptions,
        workspace: &mut Workspace,
    ) -> Result<()> {
        self.length += 1;
        workspace.begin();
        let short = options.may_need_more() && self.has_too_few(options.n_best);
        let step = Step {
            length: self.length,
            max_length: self.limit,
            prefix: &self.opening,
            needs_more: short,
            options,
        };
        for group in &mut self.groups {
            group.advance(rows, &mut self.tree, &step, workspace)?;
        }
        Ok(())
    }

    /// Whether the groups have found fewer than `wanted` different outputs so far.
    fn has_too_few(&self, wanted: usize) -> bool {
        let found: HashSet<&str> =
            self.groups.iter().flat_map(Beam::ranked).map(|kept| kept.text.as_str()).collect();
        found.len() < wanted
    }

    /// The best hypotheses, at most `n_best`, the best first: finished ones, then unfinished ones. Each group provides
    /// as many as its width, and more only if those are too few. Duplicates of several groups count once. Samples may
    /// repeat.
    pub(crate) fn into_best(self, options: &SearchOptions) -> Vec<Hypothesis> {
        let mut groups: Vec<Vec<RankedHypothesis>> = self.groups.into_iter().map(Beam::into_ranked).collect();
        let more: Vec<Vec<RankedHypothesis>> = match options.groups {
            1 => Vec::new(),
            _ => groups.iter_mut().map(|group| group.split_off(options.width.min(group.len()))).collect(),
        };
        let mut all = ranked(groups.into_iter().flatten());
        if options.sampling.is_none() && options.groups > 1 {
            let first = distinct(all, Vec::new());
            all = distinct(ranked(more.into_iter().flatten()), first);
            all.truncate(options.n_best);
            all = ranked(all.into_iter());
        }
        all.truncate(options.n_best);
        all.into_iter().map(|kept| kept.hypothesis).collect()
    }
}

/// All of them, the best first.
fn ranked(all: impl Iterator<Item = RankedHypothesis>) -> Vec<RankedHypothesis> {
    let mut all: Vec<RankedHypothesis> = all.collect();
    all.sort_by(|RankedHypothesis { hypothesis: one, .. }, RankedHypothesis { hypothesis: other, .. }| {
        other.finished.cmp(&one.finished).then(other.ranking.total_cmp(&one.ranking))
    });
    all
}

/// `there`, then those of `list` with other texts.
fn distinct(list: Vec<RankedHypothesis>, mut there: Vec<RankedHypothesis>) -> Vec<RankedHypothesis> {
    for kept in list {
        if !there.iter().any(|other| other.text == kept.text) {
            there.push(kept);
        }
    }
    there
}
