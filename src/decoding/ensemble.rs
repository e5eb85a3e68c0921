//! Several models that choose together, step by step: to a search they are one.

use super::config::Combination;
use super::search::{Scores, Stepper};
use crate::error::{Error, Result};

/// Models over the same target vocabulary, which read the same source ids.
#[derive(Debug)]
pub struct Ensemble<S> {
    members: Vec<S>,
    combination: Combination,
}

impl<S: Stepper> Ensemble<S> {
    /// # Errors
    /// There is no member.
    pub fn new(members: Vec<S>, combination: Combination) -> Result<Ensemble<S>> {
        match members.is_empty() {
            true => Err(Error::input("an ensemble must have a model, but it has none")),
            false => Ok(Ensemble { members, combination }),
        }
    }

    fn step_each(
        &self,
        states: Vec<S::State>,
        step: impl Fn(&S, S::State) -> Result<(Scores, S::State)>,
    ) -> Result<(Scores, Vec<S::State>)> {
        let (mut all, mut next) = (Vec::new(), Vec::new());
        for (member, state) in self.members.iter().zip(states) {
            let (scores, state) = step(member, state)?;
            all.push(scores);
            next.push(state);
        }
        Ok((combined(all, self.combination)?, next))
    }
}

impl<S: Stepper> Stepper for Ensemble<S> {
    type State = Vec<S::State>;

    fn start(&self, sources: &[&[i64]]) -> Result<Self::State> {
        self.members.iter().map(|member| member.start(sources)).collect()
    }

    fn step(&self, tokens: &[i64], state: Self::State) -> Result<(Scores, Self::State)> {
        self.step_each(state, |member, state| member.step(tokens, state))
    }

    fn step_with_attention(&self, tokens: &[i64], state: Self::State) -> Result<(Scores, Self::State)> {
        self.step_each(state, |member, state| member.step_with_attention(tokens, state))
    }

    fn reorder(&self, rows: &[i64], state: Self::State) -> Result<Self::State> {
        self.members.iter().zip(state).map(|(member, state)| member.reorder(rows, state)).collect()
    }

    fn join(&self, one: Self::State, other: Self::State) -> Result<Self::State> {
        let states = one.into_iter().zip(other);
        self.members.iter().zip(states).map(|(member, (one, other))| member.join(one, other)).collect()
    }

    fn joins(&self) -> bool {
        self.members.iter().all(Stepper::joins)
    }

    fn longest(&self) -> Option<usize> {
        self.members.iter().filter_map(Stepper::longest).min()
    }
}

/// What all members say together, in the place of the first one's scores. Attention is the mean of theirs.
fn combined(all: Vec<Scores>, combination: Combination) -> Result<Scores> {
    let members = all.len() as f32;
    let mut all = all.into_iter();
    let mut sum = all.next().ok_or_else(|| Error::failure("an ensemble without a model"))?;
    for scores in all {
        if scores.vocabulary != sum.vocabulary {
            let message = format!(
                "the models of an ensemble must have one target vocabulary, but theirs have {} and {} tokens",
                sum.vocabulary, scores.vocabulary
            );
            return Err(Error::input(message));
        }
        let pairs = sum.log_p.iter_mut().zip(scores.log_p);
        match combination {
            Combination::LogProbabilities => pairs.for_each(|(sum, log_p)| *sum += log_p),
            Combination::Probabilities => pairs.for_each(|(sum, log_p)| *sum = log_of_sum(*sum, log_p)),
        }
        let attention = sum.attention.iter_mut().flatten().zip(scores.attention.into_iter().flatten());
        for (sum, of_one) in attention {
            sum.iter_mut().zip(of_one).for_each(|(sum, of_one)| *sum += of_one);
        }
    }
    match combination {
        Combination::LogProbabilities => sum.log_p.iter_mut().for_each(|log_p| *log_p /= members),
        Combination::Probabilities => sum.log_p.iter_mut().for_each(|log_p| *log_p -= members.ln()),
    }
    sum.attention.iter_mut().flatten().flatten().for_each(|of_all| *of_all /= members);
    Ok(sum)
}

/// log(exp(a) + exp(b)), which neither overflows nor vanishes.
fn log_of_sum(a: f32, b: f32) -> f32 {
    let (least, most) = if a < b { (a, b) } else { (b, a) };
    if least == f32::NEG_INFINITY { most } else { most + (least - most).exp().ln_1p() }
}
