//! What may follow a hypothesis: the best tokens by the decoder, the best by the decoder and CTC, or one that is drawn.

use super::sampling::Sampler;
use super::top_k::{Candidate, TopK};
use crate::decoding::ctc::joint::{JointParent, JointScan};
use crate::decoding::ctc::prefix_score::CtcPrefix;
use crate::decoding::options::SearchOptions;

/// The best candidates of the hypotheses of a beam.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// Those that were found.
    pub best: TopK,
    sampler: Sampler,
    joint: JointScan,
}

/// A hypothesis that is to continue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent<'a> {
    /// Its number in the beam.
    pub number: usize,
    /// By what it is compared.
    pub sum: f64,
    /// Its tokens for CTC, where that chooses as well.
    pub ctc: Option<&'a CtcPrefix>,
    /// Whether it is the greedy hypothesis.
    pub leads: bool,
    /// The random number that draws a token, where tokens are drawn.
    pub random: Option<f64>,
}

impl Offers {
    /// Adds the candidates of a hypothesis, by the decoder's scores (V). Returns the largest score, and the token that
    /// greedy search takes, if requested.
    pub(crate) fn take(
        &mut self,
        parent: Parent,
        scores: &[f32],
        options: &SearchOptions,
    ) -> (f32, Option<Candidate>) {
        if let (Some(random), Some(sampling)) = (parent.random, &options.sampling) {
            let (largest, token) = self.sampler.draw(scores, sampling, random);
            if let Some(token) = token {
                self.best.push(parent.followed_by(token, scores[token as usize]));
            }
            return (largest, None);
        }
        let Parent { number, sum, .. } = parent;
        match parent.ctc {
            None => {
                let largest = self.best.scan(number, sum, scores);
                (largest, parent.likeliest(scores, largest))
            }
            Some(prefix) => {
                let joint = JointParent { number, sum, prefix };
                self.joint.scan(joint, scores, options.width, options.ctc_weight, &mut self.best)
            }
        }
    }
}

impl Parent<'_> {
    /// The likeliest token, whose score is `largest`, if greedy search is requested; the first of equals.
    fn likeliest(self, scores: &[f32], largest: f32) -> Option<Candidate> {
        let is_wanted = self.leads && largest.is_finite();
        let first = if is_wanted { scores.iter().position(|score| *score == largest) } else { None };
        first.map(|token| self.followed_by(token as i64, largest))
    }

    fn followed_by(self, token: i64, score: f32) -> Candidate {
        Candidate { parent: self.number, token, total: self.sum + f64::from(score) }
    }
}
