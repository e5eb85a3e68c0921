//! Validation on held-out pairs: by likelihood, and by decoding.

use super::TokensPerBatch;
use super::context::TrainContext;
use super::exchange::Exchange;
use super::loss::cross_entropy;
use super::metrics::Validation;
use super::out_of_memory::in_halves;
use super::replicas::{Replica, Replicas};
use crate::data::corpus::Corpus;
use crate::data::loader::collate;
use crate::data::readers::Pair;
use crate::data::tokenizer::Tokenizer;
use crate::decoding::constraints::token_texts::TokenTexts;
use crate::decoding::incremental_decoder::Hypothesis;
use crate::decoding::interruptible::Interruptible;
use crate::decoding::network_decoder::{NetworkDecoder, weights_for};
use crate::decoding::options::SearchOptions;
use crate::decoding::parallel::decode_best;
use crate::decoding::teacher_forcing::{READ_AT_ONCE, batches, teacher_forced};
use crate::error::{Kind, Result};
use crate::metrics::{self, MetricSet, Unit};

/// Rows and the model's outputs for them.
pub(crate) type Outputs = Vec<(usize, Hypothesis)>;

/// The result of a validation.
#[derive(Debug)]
pub(crate) struct Validated {
    /// Its scores.
    pub found: Validation,
    /// What the metrics among them are made of.
    pub counts: MetricSet,
    /// Decoded rows, in order, and their outputs; empty if a score is NaN or infinite.
    pub decoded: Outputs,
    /// Rows that were skipped because they do not fit into memory.
    pub skipped_rows: Vec<usize>,
}

/// A set that is scored, and how many of its rows are decoded; 0: all.
#[derive(Clone, Copy)]
pub(crate) struct Scored<'a> {
    /// The set.
    pub corpus: &'a Corpus,
    /// The first rows that are decoded.
    pub decode_rows: usize,
}

/// Scores a set by likelihood and by decoding, without dropout and gradients. The ranks share the rows. `None` if one of
/// them was asked to stop before the end.
///
/// # Errors
/// Errors of libtorch; a rank is lost. A NaN or infinite score is no error: training handles it.
pub(crate) fn validate(
    context: &TrainContext,
    scored: Scored,
    replicas: &Replicas,
    exchange: &Exchange,
) -> Result<Option<Validated>> {
    let Some(all) = exchange.gather(likelihood(context, scored.corpus, replicas, exchange))? else {
        return Ok(None);
    };
    let Likelihood { nll, right, tokens, mut skipped_rows } = merged(all);
    let not_finite = |skipped_rows| Validated {
        found: Validation::NONE,
        counts: MetricSet::default(),
        decoded: Vec::new(),
        skipped_rows,
    };
    let nll = nll / tokens as f64;
    if !nll.is_finite() {
        return Ok(Some(not_finite(skipped_rows)));
    }
    let (decoded, too_large) = match decode(context, scored, &skipped_rows, exchange) {
        Ok(Some(done)) => done,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == Kind::NotFinite => return Ok(Some(not_finite(skipped_rows))),
        Err(error) => return Err(error),
    };
    skipped_rows.extend(too_large);
    let best_by = context.config.best_by;
    let (shown, deciding) = (context.config.metric_set(unit_of(context.target)), best_by.metric_set());
    let pairs = scored.corpus.pairs();
    let rows = decoded.iter().map(|(row, hypothesis)| (&pairs[*row], hypothesis));
    let (compared, counts) = compared(context.target, (shown, deciding), rows);
    let token_accuracy = right / tokens as f64;
    let deciding = best_by.of_likelihood(nll, token_accuracy).unwrap_or(compared.deciding);
    let found = Validation { nll, token_accuracy, deciding, ..compared };
    Ok(Some(Validated { found, counts, decoded, skipped_rows }))
}

/// The unit of the target's tokens, for metrics.
pub(crate) fn unit_of(target: &Tokenizer) -> Unit {
    if target.is_of_words() { Unit::Words } else { Unit::Characters }
}

/// Compares outputs with all targets of their pairs, as texts, in two sets of metrics: one to show, with references as they
/// are in the file, and one that decides. The latter compares both in the text form of outputs, so that another form of the
/// file cannot favour the worse model. Also returns the set to show.
fn compared<'a>(
    target: &Tokenizer,
    (mut shown, mut deciding): (MetricSet, MetricSet),
    rows: impl Iterator<Item = (&'a Pair, &'a Hypothesis)>,
) -> (Validation, MetricSet) {
    let mut unfinished = 0;
    for (pair, hypothesis) in rows {
        let output = target.known_parts(&hypothesis.tokens);
        let other_references: Vec<&str> = pair.other_targets.iter().map(String::as_str).collect();
        let example = metrics::Example {
            reference: &pair.target,
            other_references: &other_references,
            output: &output,
            finished: hypothesis.finished,
            unit: unit_of(target),
            reference_score: None,
        };
        shown.add(&example);
        let in_form: Vec<String> = pair.targets().map(|text| target.as_output(text)).collect();
        let in_form: Vec<&str> = in_form.iter().map(String::as_str).collect();
        if let [reference, other_references @ ..] = in_form.as_slice() {
            deciding.add(&metrics::Example { reference, other_references, ..example });
        }
        unfinished += u64::from(!hypothesis.finished);
    }
    let deciding = deciding.values().first().map_or(f64::NAN, |metric| metric.value);
    (Validation { metrics: shown.values(), deciding, unfinished, ..Validation::NONE }, shown)
}

/// Sums over the rows that fit into memory.
#[derive(Default)]
struct Likelihood {
    /// Of the negative log-likelihood.
    nll: f64,
    /// Positions whose most likely token is the label.
    right: f64,
    tokens: usize,
    skipped_rows: Vec<usize>,
}

/// The sums of a batch: its number; those of [`Likelihood`] as bits, which may be NaN; the other two.
type BatchSums = (usize, [u64; 2], usize, Vec<usize>);

/// Added in the order of the batches, so that the number of threads and of ranks does not matter.
fn merged(all: Vec<Vec<BatchSums>>) -> Likelihood {
    let mut all: Vec<BatchSums> = all.into_iter().flatten().collect();
    all.sort_by_key(|(number, ..)| *number);
    let plus = |mut sums: Likelihood, (_, bits, tokens, skipped_rows): BatchSums| {
        let [nll, right] = bits.map(f64::from_bits);
        sums.skipped_rows.extend(skipped_rows);
        Likelihood { nll: sums.nll + nll, right: sums.right + right, tokens: sums.tokens + tokens, ..sums }
    };
    all.into_iter().fold(Likelihood::default(), plus)
}

/// The sums of this rank's batches; `None` if it was asked to stop.
fn likelihood(
    context: &TrainContext,
    corpus: &Corpus,
    replicas: &Replicas,
    exchange: &Exchange,
) -> Result<Option<Vec<BatchSums>>> {
    let TrainContext { config, faults, .. } = context;
    let budget = match config.tokens_per_batch {
        TokensPerBatch::Tokens(tokens) => tokens.min(READ_AT_ONCE),
        TokensPerBatch::Auto => READ_AT_ONCE,
    };
    let stopped = exchange.stopped();
    let of_batch = |replica: &Replica, (number, rows): (usize, Vec<usize>)| {
        if stopped.raised().is_some() {
            return Ok(None);
        }
        let mut sums = Likelihood::default();
        sums.skipped_rows = in_halves(&rows, &mut |rows| {
            let examples = rows.iter().map(|&row| corpus.example(row)).collect::<Result<Vec<_>>>()?;
            let batch = collate(&examples);
            faults.memory(batch.positions())?;
            let (batch, model) = (batch.to_device(replica.device()), &replica.model);
            let loss = cross_entropy(&teacher_forced(model, &batch), &batch.labels, 0.0);
            sums.nll += loss.nll.double_value(&[]);
            sums.right += loss.correct.double_value(&[]);
            sums.tokens += batch.target_tokens();
            Ok(())
        })?;
        let bits = [sums.nll, sums.right].map(f64::to_bits);
        Ok(Some((number, bits, sums.tokens, sums.skipped_rows)))
    };
    let own = batches(corpus.lengths(), budget).into_iter().enumerate();
    let own = own.filter(|(number, _)| exchange.is_own(*number)).collect();
    replicas.each(own, of_batch).into_iter().collect()
}

/// Rows that a rank decodes between two checks for a stop: enough for full batches on every core.
const DECODED_AT_ONCE: usize = 512;

/// Outputs of the decoded rows, and the rows that do not fit into memory in decoding; rows skipped before are not
/// decoded.
fn decode(
    context: &TrainContext,
    Scored { corpus, decode_rows }: Scored,
    skipped_rows: &[usize],
    exchange: &Exchange,
) -> Result<Option<(Outputs, Vec<usize>)>> {
    let TrainContext { model, target, .. } = context;
    let count = if decode_rows == 0 { corpus.len() } else { decode_rows.min(corpus.len()) };
    let rows: Vec<usize> = (0..count).filter(|row| !skipped_rows.contains(row)).collect();
    let options =
        SearchOptions::with_texts(context.decoding, TokenTexts::in_form(target.pieces(), target.form()))?;
    let weights = weights_for(context.decoding, context.params.device(), model.compute())?;
    let heard = exchange.stopped();
    let stopped = || heard.raised().is_some();
    let decoder = Interruptible::new(NetworkDecoder::new(model, weights), &stopped);
    let (mut decoded, mut too_large) = (Outputs::new(), Vec::new());
    for rows in rows.chunks(DECODED_AT_ONCE * exchange.ranks()) {
        let own: Vec<usize> =
            (0..).zip(rows).filter(|(at, _)| exchange.is_own(*at)).map(|(_, row)| *row).collect();
        let mut outputs = Vec::new();
        let done = in_halves(&own, &mut |rows| {
            let source = |&row: &usize| Ok(corpus.example(row)?.source);
            let sources = rows.iter().map(source).collect::<Result<Vec<_>>>()?;
            outputs.extend(rows.iter().copied().zip(decode_best(&decoder, &sources, &options)?));
            Ok(())
        });
        let done = match done {
            _ if stopped() => Ok(None),
            done => done.map(|too_large| Some((outputs, too_large))),
        };
        let Some(all) = exchange.gather(done)? else { return Ok(None) };
        for (outputs, rows) in all {
            decoded.extend(outputs);
            too_large.extend(rows);
        }
    }
    decoded.sort_by_key(|(row, _)| *row);
    too_large.sort_unstable();
    Ok(Some((decoded, too_large)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SideConfig;
    use crate::metrics::MetricKind;

    #[test]
    fn the_deciding_score_compares_texts_in_the_form_of_outputs() {
        let target = Tokenizer::train(&SideConfig::default(), ["caf\u{e9} xyz"].into_iter()).unwrap();
        let found = |pair: &Pair, output: &str, by: &str| {
            let tokens = target.encode(output);
            let one = Hypothesis { tokens, finished: true, ..Hypothesis::default() };
            let [shown, deciding] = ["exact_match", by].map(|name| MetricSet::new(MetricKind::named(name)));
            let (found, _) = compared(&target, (shown, deciding), [(pair, &one)].into_iter());
            (found.metrics[0].value, found.deciding)
        };
        let mut pair = Pair { target: "cafe\u{301} ".to_owned(), ..Pair::default() };
        let both = |output: &str| [found(&pair, output, "exact_match"), found(&pair, output, "error_rate")];
        assert_eq!(
            both("caf\u{e9}"),
            [(0.0, 1.0), (0.0, 0.0)],
            "over the file, as it stands, and in the form"
        );
        assert_eq!(both("cafe"), [(0.0, 0.0), (0.0, 0.25)]);
        pair.other_targets = vec!["xyz".to_owned(), " cafx".to_owned()];
        let both = |output: &str| [found(&pair, output, "exact_match"), found(&pair, output, "error_rate")];
        assert_eq!(both("xyz"), [(1.0, 1.0), (1.0, 0.0)], "any target is right");
        assert_eq!(both("cafx"), [(0.0, 1.0), (0.0, 0.0)], "each one is brought into the form by itself");
        assert_eq!(both("xyf"), [(0.0, 0.0), (0.0, 1.0 / 3.0)], "the nearest one counts");
    }
}
