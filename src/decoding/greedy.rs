//! Greedy search: the likeliest token at every step.
//!
//! Rows that said EOS, or hit their limit, leave the batch at once.

use super::search::{Hypothesis, Stepper, sayable, scores_not_finite};
use crate::data::batch::Source;
use crate::data::vocabulary::{BOS, EOS};
use crate::error::Result;

/// Decodes a batch; row n of the result belongs to source n. `limits[n]` is the most tokens of row n, EOS counted in.
pub fn greedy<S: Stepper>(stepper: &S, source: &Source, limits: &[usize]) -> Result<Vec<Hypothesis>> {
    let empty = Hypothesis { tokens: Vec::new(), score: 0.0, finished: false };
    let mut found = vec![empty; source.rows()];
    // Which source each row of the shrinking batch belongs to, and the token it said last.
    let mut alive: Vec<usize> = (0..source.rows()).collect();
    let mut last = vec![BOS; source.rows()];
    let mut state = stepper.start(source)?;
    loop {
        let (scores, next) = stepper.step(&last, state)?;
        state = next;
        let mut kept = Vec::new();
        last.clear();
        for (row, log_p) in scores.rows().enumerate() {
            let (token, score) = likeliest(log_p)?;
            if extend(&mut found[alive[row]], token, score, limits[alive[row]]) {
                kept.push(row);
                last.push(token);
            }
        }
        if kept.is_empty() {
            return Ok(found);
        }
        if kept.len() < alive.len() {
            let rows: Vec<i64> = kept.iter().map(|&row| row as i64).collect();
            state = stepper.reorder(&rows, state)?;
            alive = kept.iter().map(|&row| alive[row]).collect();
        }
    }
}

/// Adds a token; true when the row goes on.
fn extend(row: &mut Hypothesis, token: i64, score: f32, limit: usize) -> bool {
    row.score += f64::from(score);
    if token == EOS {
        row.finished = true;
        return false;
    }
    row.tokens.push(token);
    row.tokens.len() < limit
}

/// The likeliest token that an output can hold, the first of equals.
///
/// # Errors
/// No score is a number: the weights are not either.
fn likeliest(log_p: &[f32]) -> Result<(i64, f32)> {
    let likelier = |best: (i64, f32), next: (i64, f32)| if next.1 > best.1 { next } else { best };
    sayable(log_p).reduce(likelier).ok_or_else(scores_not_finite)
}

#[cfg(test)]
mod tests {
    use super::super::search::Scores;
    use super::*;

    /// Says its source's tokens one after the other, then EOS. The state is what is left to say.
    struct Parrot;

    impl Stepper for Parrot {
        type State = Vec<Vec<i64>>;

        fn start(&self, source: &Source) -> Result<Self::State> {
            let width = source.longest() as usize;
            let flat = Vec::<i64>::try_from(source.tokens.flatten(0, 1)).unwrap();
            let rows = flat.chunks(width).zip(&source.lengths);
            Ok(rows.map(|(row, &length)| row[..length as usize].iter().rev().copied().collect()).collect())
        }

        fn step(&self, tokens: &[i64], mut state: Self::State) -> Result<(Scores, Self::State)> {
            assert_eq!(tokens.len(), state.len());
            let mut log_p = Vec::new();
            for row in &mut state {
                let token = row.pop().unwrap() as usize;
                log_p.extend((0..10).map(|v| if v == token { -0.5 } else { -3.0 }));
            }
            Ok((Scores { log_p, vocabulary: 10 }, state))
        }

        fn reorder(&self, rows: &[i64], state: Self::State) -> Result<Self::State> {
            Ok(rows.iter().map(|&row| state[row as usize].clone()).collect())
        }
    }

    #[test]
    fn rows_end_at_their_own_eos_and_stay_in_their_places() {
        let source = Source::new(&[&[4, 5, 6], &[], &[7, 8]]);
        let found = greedy(&Parrot, &source, &[9, 9, 9]).unwrap();
        let tokens: Vec<_> = found.iter().map(|row| row.tokens.clone()).collect();
        assert_eq!(tokens, [vec![4, 5, 6], vec![], vec![7, 8]]);
        assert!(found.iter().all(|row| row.finished));
        assert_eq!(found.iter().map(|row| row.score).collect::<Vec<_>>(), [-2.0, -0.5, -1.5]);
    }

    #[test]
    fn a_row_at_its_limit_is_not_passed_off_as_finished() {
        let found = greedy(&Parrot, &Source::new(&[&[4, 5, 6], &[9]]), &[2, 2]).unwrap();
        assert_eq!((found[0].tokens.as_slice(), found[0].finished), ([4, 5].as_slice(), false));
        assert_eq!((found[1].tokens.as_slice(), found[1].finished), ([9].as_slice(), true));
    }

    #[test]
    fn padding_and_bos_are_never_said() {
        assert_eq!(likeliest(&[0.0, -5.0, 0.0, -4.0]).unwrap(), (EOS, -4.0));
        assert!(likeliest(&[f32::NAN; 5]).is_err());
    }
}
