//! Beam search: the best few beginnings of each source go on, side by side.
//!
//! Choice (`best_continuations`), scoring ([`Penalty`]) and book-keeping (`Beam`) are apart. Rows of sources that are
//! done leave the batch at once. It knows no model and no tensor.

use super::penalty::Penalty;
use super::search::{Hypothesis, Stepper, sayable, scores_not_finite};
use crate::data::batch::Source;
use crate::data::vocabulary::{BOS, EOS};
use crate::error::Result;

/// Decodes a batch with up to `width` live hypotheses a source; row n of the result belongs to source n, and
/// `limits[n]` is the most tokens of row n, EOS counted in.
///
/// A step looks at the best 2 * `width` continuations of a source, by the sum of log-probabilities; of equals the one
/// of the better hypothesis comes first, then the lower token id. One that says EOS is finished if it is among the
/// first `width`; the others fill the beam. A source is done
///
/// - when it has `width` finished hypotheses,
/// - or when no live one can still beat the best finished one: the best sum of a live one, divided by the penalty of
///   the longest output allowed, is not above the best finished one's normalised score,
/// - or at its limit.
///
/// The second costs nothing: no output that the beam could still reach is missed. The first is there because the second
/// can take as long as the limit allows: where a penalty rewards length, a bad beginning could become a good output if
/// only it were long enough.
///
/// The result is the finished hypothesis with the best normalised score, the first of equals. Where nothing has
/// finished, it is the best live one, which is not passed off as finished. With a `width` of 1 all of this is greedy
/// search.
///
/// # Errors
/// A row has no score that is a number: the weights are not either.
pub fn beam_search<S: Stepper>(
    stepper: &S,
    source: &Source,
    limits: &[usize],
    width: usize,
    penalty: Penalty,
) -> Result<Vec<Hypothesis>> {
    let rules = Rules { width, penalty };
    let mut beams: Vec<Beam> = limits.iter().enumerate().map(|(row, &limit)| Beam::new(row, limit)).collect();
    let mut state = stepper.start(source)?;
    loop {
        let last: Vec<i64> = live(&beams).map(Live::last).collect();
        let (scores, next) = stepper.step(&last, state)?;
        let rows: Vec<&[f32]> = scores.rows().collect();
        for beam in &mut beams {
            beam.advance(&rows, &rules)?;
        }
        let kept: Vec<i64> = live(&beams).map(|one| one.row as i64).collect();
        if kept.is_empty() {
            return Ok(beams.into_iter().map(|beam| beam.best).collect());
        }
        state = if kept.iter().copied().eq(0..last.len() as i64) {
            next
        } else {
            stepper.reorder(&kept, next)?
        };
        beams.iter_mut().flat_map(|beam| &mut beam.live).enumerate().for_each(|(row, one)| one.row = row);
    }
}

/// The live hypotheses of all sources: the rows of the batch, in this order.
fn live(beams: &[Beam]) -> impl Iterator<Item = &Live> {
    beams.iter().flat_map(|beam| &beam.live)
}

/// What holds for every source.
struct Rules {
    width: usize,
    penalty: Penalty,
}

/// A beginning that may go on.
struct Live {
    /// Its row in the batch; for one that is new, the row that it goes on from.
    row: usize,
    tokens: Vec<i64>,
    /// Sum of the log-probabilities.
    score: f64,
}

impl Live {
    fn last(&self) -> i64 {
        self.tokens.last().copied().unwrap_or(BOS)
    }
}

/// One more token for the live hypothesis number `parent`.
struct Continuation {
    parent: usize,
    token: i64,
    /// The sum with the new token.
    score: f64,
}

/// The best `count` continuations, the best first; of equals the lower parent comes first, then the lower token.
fn best_continuations(live: &[Live], rows: &[&[f32]], count: usize) -> Result<Vec<Continuation>> {
    let mut best: Vec<Continuation> = Vec::new();
    for (parent, one) in live.iter().enumerate() {
        let log_p = rows[one.row];
        sayable(log_p).next().ok_or_else(scores_not_finite)?;
        for (token, log_p) in sayable(log_p) {
            let score = one.score + f64::from(log_p);
            if best.len() == count {
                if best.last().is_some_and(|worst| score <= worst.score) {
                    continue;
                }
                best.pop();
            }
            let place = best.partition_point(|other| other.score >= score);
            best.insert(place, Continuation { parent, token, score });
        }
    }
    Ok(best)
}

/// The books of one source.
struct Beam {
    /// The most tokens, EOS counted in.
    limit: usize,
    /// Steps taken, which is the length of everything that is live.
    length: usize,
    /// The best first; none when the source is done.
    live: Vec<Live>,
    /// How many hypotheses have said EOS.
    finished: usize,
    /// The best of these, and its normalised score: minus infinity as long as there is none.
    best: Hypothesis,
    best_score: f64,
}

impl Beam {
    fn new(row: usize, limit: usize) -> Beam {
        let nothing = Hypothesis { tokens: Vec::new(), score: 0.0, finished: false };
        Beam {
            limit,
            length: 0,
            live: vec![Live { row, tokens: Vec::new(), score: 0.0 }],
            finished: 0,
            best: nothing,
            best_score: f64::NEG_INFINITY,
        }
    }

    /// Takes a step, from the scores of the whole batch.
    fn advance(&mut self, rows: &[&[f32]], rules: &Rules) -> Result<()> {
        if self.live.is_empty() {
            return Ok(());
        }
        let continuations = best_continuations(&self.live, rows, 2 * rules.width)?;
        let parents = std::mem::take(&mut self.live);
        self.length += 1;
        for (rank, Continuation { parent, token, score }) in continuations.into_iter().enumerate() {
            let Live { row, tokens, .. } = &parents[parent];
            if token != EOS && self.live.len() < rules.width {
                let tokens = [tokens.as_slice(), &[token]].concat();
                self.live.push(Live { row: *row, tokens, score });
            } else if token == EOS && rank < rules.width {
                self.finish(tokens, score, rules);
            }
        }
        if self.is_done(rules) {
            self.close();
        }
        Ok(())
    }

    /// A hypothesis has said EOS.
    fn finish(&mut self, tokens: &[i64], score: f64, rules: &Rules) {
        self.finished += 1;
        let normalised = rules.penalty.normalised(score, self.length);
        if normalised > self.best_score {
            self.best_score = normalised;
            self.best = Hypothesis { tokens: tokens.to_vec(), score, finished: true };
        }
    }

    fn is_done(&self, rules: &Rules) -> bool {
        let attainable = |one: &Live| rules.penalty.attainable(one.score, self.limit);
        self.finished >= rules.width
            || self.length >= self.limit
            || self.live.first().is_none_or(|one| attainable(one) <= self.best_score)
    }

    /// Nothing goes on. What is cut off counts only where nothing has finished.
    fn close(&mut self) {
        let cut = std::mem::take(&mut self.live).into_iter().next();
        if let (Some(Live { tokens, score, .. }), 0) = (cut, self.finished) {
            self.best = Hypothesis { tokens, score, finished: false };
        }
    }
}

#[cfg(test)]
mod tests;
