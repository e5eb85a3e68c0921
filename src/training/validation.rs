//! How good the model is on pairs that it does not learn from: by likelihood, and by really decoding.

use tch::Device;

use super::likelihood::{READ_AT_ONCE, forced};
use super::loss::cross_entropy;
use super::metrics::Validation;
use super::{TokensPerBatch, TrainingConfig};
use crate::data::dataset::Dataset;
use crate::data::tokenizer::Tokenizer;
use crate::data::vocabulary::comparable;
use crate::decoding::DecodingConfig;
use crate::decoding::decoder::{ModelStepper, weights_for};
use crate::decoding::rules::Rules;
use crate::decoding::search::Hypothesis;
use crate::decoding::workers::decode_best;
use crate::error::Result;
use crate::metrics::edit::Scores;
use crate::model::transformer::Transformer;

/// Validates on `set`; the first `training.decode_rows` rows (0: all) are decoded, and come back beside the figures.
/// Nothing is dropped out, and no gradient is kept.
pub fn validate(
    model: &Transformer,
    device: Device,
    set: &Dataset,
    target: &Tokenizer,
    config: &TrainingConfig,
    decoding: &DecodingConfig,
) -> Result<(Validation, Vec<Hypothesis>)> {
    let (nll, right, tokens) = likelihood(model, device, set, config);
    let all = set.examples.len();
    let rows = if config.decode_rows == 0 { all } else { config.decode_rows.min(all) };
    let examples = &set.examples[..rows];
    let sources: Vec<&[i64]> = examples.iter().map(|example| example.source.as_slice()).collect();
    let rules = Rules::new(decoding, || target.pieces())?;
    let stepper = ModelStepper::new(model, weights_for(decoding, device, model.output().compute())?);
    let decoded = decode_best(&stepper, &sources, &rules)?;
    let mut scores = Scores::default();
    for (example, hypothesis) in examples.iter().zip(&decoded) {
        let exact = target.same_text(&example.target, &hypothesis.tokens);
        scores.add(&comparable(&example.target), &hypothesis.tokens, exact);
    }
    let found = Validation {
        nll: nll / tokens as f64,
        token_accuracy: right / tokens as f64,
        exact_match: scores.exact_match(),
        error_rate: scores.symbol_error_rate(),
        unfinished: decoded.iter().filter(|row| !row.finished).count() as u64,
    };
    Ok((found, decoded))
}

/// Sum of the negative log-likelihood, tokens whose label is the likeliest, and tokens.
fn likelihood(
    model: &Transformer,
    device: Device,
    set: &Dataset,
    config: &TrainingConfig,
) -> (f64, f64, usize) {
    let budget = match config.tokens_per_batch {
        TokensPerBatch::Tokens(tokens) => tokens.min(READ_AT_ONCE),
        TokensPerBatch::Auto => READ_AT_ONCE,
    };
    let pairs = set.examples.iter().map(|example| (example.source.as_slice(), example.target.as_slice()));
    let (mut nll, mut right, mut tokens) = (0.0, 0.0, 0);
    for forced in forced(model, device, &pairs.collect::<Vec<_>>(), budget) {
        let loss = cross_entropy(&forced.hidden, model.output(), &forced.batch.labels, 0.0);
        nll += loss.nll.double_value(&[]);
        right += loss.correct.double_value(&[]);
        tokens += forced.batch.target_tokens();
    }
    (nll, right, tokens)
}
