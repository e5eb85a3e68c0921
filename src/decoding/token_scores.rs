//! Teacher forcing by the packed models of a search: how likely each token of given targets is, and whether it is the most
//! likely one.

use super::config::Combination;
use super::ensemble::mean;
use super::incremental_decoder::{DecodeRequest, scores_not_finite};
use super::network_decoder::NetworkDecoder;
use crate::data::vocabulary::EOS;
use crate::error::Result;

/// A token of a target, given those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TokenScore {
    /// Its log-probability.
    pub log_probability: f32,
    /// Whether no other token is more likely, as training counts it.
    pub is_most_likely: bool,
}

/// The score of each token of each target (token ids), EOS last, by models that choose tokens together. On the CPU the
/// log-probabilities are bit-identical to those of a search for the same tokens.
///
/// # Errors
/// A log-probability is NaN or infinite; errors of libtorch.
pub(crate) fn token_scores(
    members: &[NetworkDecoder],
    combination: Combination,
    pairs: &[(&DecodeRequest, &[i64])],
) -> Result<Vec<Vec<TokenScore>>> {
    let read: Vec<_> = (0..).zip(members).map(|(n, member)| member.read_targets(pairs, n)).collect();
    let labels = pairs.iter().flat_map(|(_, target)| target.iter().copied().chain([EOS]));
    let labels: Vec<usize> = labels.map(|label| label as usize).collect();
    let mut scores = Vec::with_capacity(labels.len());
    for part in read.first().into_iter().flat_map(|read| read.parts()) {
        let of_members = members.iter().zip(&read);
        let of_members = of_members.map(|(member, read)| member.log_probabilities_at(read, part.clone()));
        let log_p = mean(of_members.collect::<Result<Vec<_>>>()?, combination);
        let rows = log_p.chunks_exact(log_p.len() / part.len());
        scores.extend(rows.zip(&labels[part]).map(|(log_p, &label)| TokenScore::of(log_p, label)));
    }
    if scores.iter().any(|one| !one.log_probability.is_finite()) {
        return Err(scores_not_finite());
    }
    let mut rest = scores.into_iter();
    Ok(pairs.iter().map(|(_, target)| rest.by_ref().take(target.len() + 1).collect()).collect())
}

impl TokenScore {
    /// That of a label among the log-probabilities of all tokens.
    fn of(log_p: &[f32], label: usize) -> TokenScore {
        let log_probability = log_p[label];
        TokenScore { log_probability, is_most_likely: log_p.iter().all(|&other| other <= log_probability) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_token_may_share_its_rank() {
        let log_p = [f32::NEG_INFINITY, -2.0, f32::NEG_INFINITY, -0.5, -0.5];
        let found: Vec<bool> = (0..5).map(|label| TokenScore::of(&log_p, label).is_most_likely).collect();
        assert_eq!(found, [false, false, false, true, true]);
        assert_eq!(TokenScore::of(&log_p, 1).log_probability, -2.0);
    }
}
