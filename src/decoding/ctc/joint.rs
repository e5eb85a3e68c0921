//! Joint decoding (Watanabe et al. 2017): a beam goes by what a decoder and a CTC head give to a hypothesis together.
//!
//! Only the best few tokens of a decoder get a CTC score, which costs a pass over all frames; and EOS, which costs
//! nothing, so that CTC can end what the decoder would repeat forever.

use super::combined;
use super::prefix_score::CtcPrefix;
use crate::data::vocabulary::EOS;
use crate::decoding::search::top_k::{Candidate, TopK};

/// The score of what CTC excludes, as in ESPnet: a forced beginning or a minimum length may ask for more tokens than
/// frames have room for.
const LOWEST: f64 = -1e10;

/// How many of a decoder's tokens get a CTC score in a beam of this width: one and a half times as many.
const fn preselected(width: usize) -> usize {
    (3 * width).div_ceil(2)
}

/// A hypothesis that is to continue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JointParent<'a> {
    /// Its number in the beam.
    pub number: usize,
    /// By what it is compared: [`combined`] of the sum of the decoder's scores and the score of the prefix.
    pub sum: f64,
    /// Its tokens.
    pub prefix: &'a CtcPrefix,
}

/// Finds the continuations of hypotheses by both scores.
#[derive(Debug, Default)]
pub(crate) struct JointScan {
    by_decoder: TopK,
}

impl JointScan {
    /// Offers `best` what may follow a hypothesis in a beam of this width, as [`TopK::scan`] does with the decoder's
    /// scores (V) alone. Returns the row's largest score, and the token that greedy search would take: the best in a
    /// beam of 1.
    pub(crate) fn scan(
        &mut self,
        parent: JointParent,
        row: &[f32],
        width: usize,
        weight: f64,
        best: &mut TopK,
    ) -> (f32, Option<Candidate>) {
        self.by_decoder.begin(preselected(width));
        let largest = self.by_decoder.scan(parent.number, 0.0, row);
        let chosen = self.by_decoder.candidates();
        let is_missing = chosen.iter().all(|one| one.token != EOS);
        let end = row.get(EOS as usize).filter(|score| is_missing && score.is_finite());
        let end = end.map(|&score| Candidate { parent: parent.number, token: EOS, total: score.into() });
        let mut greedy: Option<Candidate> = None;
        for (rank, one) in chosen.iter().chain(&end).enumerate() {
            let next = Candidate { total: parent.total(one, weight), ..*one };
            best.offer(next);
            let in_reach = rank < preselected(1) || one.token == EOS;
            if in_reach && next.total > greedy.map_or(f64::NEG_INFINITY, |best| best.total) {
                greedy = Some(next);
            }
        }
        (largest, greedy)
    }
}

impl JointParent<'_> {
    fn total(&self, next: &Candidate, weight: f64) -> f64 {
        let ctc = match next.token {
            EOS => self.prefix.score_of_end(),
            token => self.prefix.score_with(token),
        };
        self.sum + combined(weight, next.total, ctc.max(LOWEST) - self.prefix.score().max(LOWEST))
    }
}
