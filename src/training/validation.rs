//! How good the model is on pairs that it does not learn from: by likelihood, and by really decoding.

use tch::Kind;

use super::TrainingConfig;
use super::loss::{correct, cross_entropy};
use super::metrics::Validation;
use crate::data::batch::Batch;
use crate::data::dataset::{Dataset, Example};
use crate::data::sampler::batches_within;
use crate::data::tokenizer::Tokenizer;
use crate::data::vocabulary::comparable;
use crate::decoding::DecodingConfig;
use crate::decoding::decoder::{ModelStepper, decode};
use crate::decoding::search::Hypothesis;
use crate::error::Result;
use crate::metrics::edit::Scores;

/// Validates on `set`; the first `training.decode_rows` rows (0: all) are decoded, and come back beside the figures.
/// Nothing is dropped out, and no gradient is kept.
pub fn validate(
    stepper: &ModelStepper,
    set: &Dataset,
    target: &Tokenizer,
    config: &TrainingConfig,
    decoding: &DecodingConfig,
) -> Result<(Validation, Vec<Hypothesis>)> {
    let (nll, right, tokens) = likelihood(stepper, &set.examples, config.tokens_per_batch);
    let all = set.examples.len();
    let rows = if config.decode_rows == 0 { all } else { config.decode_rows.min(all) };
    let examples = &set.examples[..rows];
    let sources: Vec<&[i64]> = examples.iter().map(|example| example.source.as_slice()).collect();
    let decoded = decode(stepper, &sources, decoding)?;
    let mut scores = Scores::default();
    for (example, hypothesis) in examples.iter().zip(&decoded) {
        let exact = target.same_text(&example.target, &hypothesis.tokens);
        scores.add(&comparable(&example.target), &hypothesis.tokens, exact);
    }
    let found = Validation {
        nll: nll / tokens as f64,
        token_accuracy: right as f64 / tokens as f64,
        exact_match: scores.exact_match(),
        error_rate: scores.symbol_error_rate(),
        unfinished: decoded.iter().filter(|row| !row.finished).count() as u64,
    };
    Ok((found, decoded))
}

/// Sum of the negative log-likelihood, tokens whose label is the likeliest, and tokens.
fn likelihood(stepper: &ModelStepper, examples: &[Example], tokens_per_batch: usize) -> (f64, i64, usize) {
    let _guard = tch::no_grad_guard();
    let lengths: Vec<_> = examples.iter().map(|row| (row.source.len() + 1, row.target.len() + 1)).collect();
    let mut rows: Vec<usize> = (0..examples.len()).collect();
    rows.sort_by_key(|&row| (lengths[row].1, lengths[row].0));
    let (mut nll, mut right, mut tokens) = (0.0, 0, 0);
    for rows in batches_within(&rows, &lengths, tokens_per_batch) {
        let batch = batch_of(examples, &rows).to_device(stepper.device);
        let memory = stepper.model.encode(&batch.source, None);
        let hidden = stepper.model.decode(&batch.target_in, &memory, None); // (B, T, D)
        let logits = stepper.model.logits(&hidden.flatten(0, 1).index_select(0, &batch.places)); // (N, V)
        nll += cross_entropy(&logits, &batch.labels, 0.0).nll.to_kind(Kind::Double).double_value(&[]);
        right += correct(&logits, &batch.labels);
        tokens += batch.target_tokens();
    }
    (nll, right, tokens)
}

/// Pads the rows named.
pub fn batch_of(examples: &[Example], rows: &[usize]) -> Batch {
    let sources: Vec<&[i64]> = rows.iter().map(|&row| examples[row].source.as_slice()).collect();
    let targets: Vec<&[i64]> = rows.iter().map(|&row| examples[row].target.as_slice()).collect();
    Batch::new(&sources, &targets)
}
