//! Which pairs the vocabularies are learned from: those that are used.

use super::dataset::{TokenizerSource, Tokenizers};
use super::readers::Pair;
use super::tokenizer::Tokenizer;
use super::{DataConfig, TooLong};
use crate::error::Result;

/// Builds the tokenizers from the used pairs alone: skipped pairs do not contribute to the vocabulary.
///
/// The length of a side in characters or words does not depend on the vocabulary; in BPE pieces it does. Then the
/// training pairs of the tokenizer shrink until all of them fit, each time by a little more than needed, so that this
/// ends soon. A pair that was dropped on the way but fits in the end is used, so that the used pairs depend on the
/// tokenizers alone.
///
/// # Errors
/// Those of the source.
pub(crate) fn learn(pairs: &[Pair], config: &DataConfig, source: &TokenizerSource) -> Result<Tokenizers> {
    let tokenizers = |pairs: &[&Pair]| source.build(config, pairs);
    let all: Vec<&Pair> = pairs.iter().collect();
    if config.too_long == TooLong::Error {
        return tokenizers(&all);
    }
    let sides = [&config.source, &config.target];
    let those = |holds: &dyn Fn([&str; 2]) -> bool| -> Vec<&Pair> {
        all.iter().copied().filter(|pair| holds([&pair.source, &pair.target])).collect()
    };
    let may_fit =
        |texts: [&str; 2]| (0..2).all(|n| Tokenizer::least_tokens(sides[n], texts[n]) <= sides[n].max_length);
    // Of recordings the length depends on no vocabulary.
    let counts = |n: usize| sides[n].audio.is_none();
    let must_fit =
        |texts: [&str; 2]| (0..2).all(|n| !counts(n) || texts[n].chars().count() < sides[n].max_length);
    let mut learned_from = those(&may_fit);
    // Pairs that turn out not to fit may have more characters than the vocabulary.
    let mut found = tokenizers(&learned_from).or_else(|error| {
        learned_from = those(&|texts| may_fit(texts) && must_fit(texts));
        tokenizers(&learned_from).map_err(|_| error)
    })?;
    for round in 0.. {
        let lengths = |pair: &Pair| {
            let source = found.source.tokenizer().map_or(0, |source| source.encode(&pair.source).len());
            [source, found.target.encode(&pair.target).len()]
        };
        let lengths: Vec<[usize; 2]> = learned_from.iter().map(|pair| lengths(pair)).collect();
        let fits = |lengths: &[usize; 2], spared: usize| {
            (0..2).all(|n| lengths[n] <= sides[n].max_length - sides[n].max_length * spared.min(8) / 16)
        };
        if lengths.iter().all(|lengths| fits(lengths, 0)) {
            break;
        }
        let fitting = learned_from.iter().zip(&lengths).filter(|(_, lengths)| fits(lengths, round));
        let fitting: Vec<&Pair> = fitting.map(|(pair, _)| *pair).collect();
        let again = tokenizers(&fitting)?;
        let same = |one: &Tokenizers, other: &Tokenizers| {
            one.source.difference(&other.source).is_none() && one.target.difference(&other.target).is_none()
        };
        if same(&found, &again) {
            break;
        }
        (learned_from, found) = (fitting, again);
    }
    Ok(found)
}
