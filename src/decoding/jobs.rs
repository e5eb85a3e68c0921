//! Sources in, hypotheses out, in their order: sorts by length, sets the limits and hands all to the search.

use std::sync::Arc;

use super::DecodingConfig;
use super::batch::{Batching, search};
use super::books::Job;
use super::opening::Opening;
use super::rules::Rules;
use super::search::{Hypothesis, Source, Stepper};
use crate::error::{Error, Result};

/// What one output is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// What is read.
    pub source: Source<'a>,
    /// How the output begins; nothing where it is free.
    pub opening: Option<&'a Arc<Opening>>,
}

/// The best hypothesis of each source (token ids without EOS).
///
/// # Errors
/// The config bans texts, which only the target's tokenizer can turn into tokens: use [`decode_by`] or
/// [`decode_n_best`]. And the model's own errors.
pub fn decode<S: Stepper>(
    stepper: &S,
    sources: &[&[i64]],
    config: &DecodingConfig,
) -> Result<Vec<Hypothesis>> {
    if !config.banned.is_empty() {
        let message = "`decoding.banned` is text, and needs the target's tokenizer to become tokens";
        return Err(Error::input(message).hint("make the rules with `Rules::new`"));
    }
    decode_by(stepper, sources, &Rules::new(config, Vec::new)?)
}

/// The best hypothesis of each source (token ids without EOS), by rules that are made already.
pub fn decode_by<S: Stepper>(stepper: &S, sources: &[&[i64]], rules: &Rules) -> Result<Vec<Hypothesis>> {
    let requests: Vec<Request> =
        sources.iter().map(|source| Request { source: (*source).into(), opening: None }).collect();
    let lists = decode_n_best(stepper, &requests, rules)?;
    Ok(lists.into_iter().map(|list| list.into_iter().next().unwrap_or_default()).collect())
}

/// The best hypotheses of each request, the best first: as many as the config's `n_best`, or as there are.
pub fn decode_n_best<S: Stepper>(
    stepper: &S,
    requests: &[Request],
    rules: &Rules,
) -> Result<Vec<Vec<Hypothesis>>> {
    let order = longest_first(requests);
    let jobs = order.iter().map(|&row| requests[row].job(stepper, rules));
    let mut found = vec![Vec::new(); requests.len()];
    search(stepper, jobs, rules, batching(stepper, rules.batch_size), |number, list| {
        found[order[number]] = list;
        Ok(())
    })?;
    Ok(found)
}

impl Request<'_> {
    /// What the search does for it.
    pub(super) fn job<S: Stepper>(&self, stepper: &S, rules: &Rules) -> Job {
        let limit = rules.limits.of(self.source.ids.len(), stepper.longest());
        Job { source: self.source.into(), opening: self.opening.cloned().unwrap_or_default(), limit }
    }
}

/// The numbers of the requests, those with long sources first: those that come in while others are under way need no more
/// room than these, and the last ones to leave are short.
pub(super) fn longest_first(requests: &[Request]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(requests[row].source.ids.len()));
    order
}

/// A quarter of the places must be free before new sources come in.
pub(super) fn batching<S: Stepper>(stepper: &S, size: usize) -> Batching {
    Batching { size, refill: stepper.joins().then_some(size.div_ceil(4)) }
}
