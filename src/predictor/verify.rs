//! Verifies outputs on the user's own model and rows: changes what must not matter, such as the batch, and measures how
//! much the outputs change.

use std::collections::HashSet;

use super::loaded_model::LoadedModel;
use crate::decoding::incremental_decoder::{
    DecodeRequest, Hypothesis, IncrementalDecoder, Shareable, score_by_steps,
};
use crate::decoding::options::SearchOptions;
use crate::decoding::parallel::decode_n_best;
use crate::decoding::parallel::decode_on_all_cores;
use crate::decoding::{DecodingConfig, Method, SamplingConfig};
use crate::error::Result;
use crate::model::Weights;

/// Tolerance of log-probabilities of whole outputs, by the same kernels.
pub(crate) const TOLERANCE: f64 = 1e-5;

/// Tolerance of log-probabilities of single tokens, by other kernels, which sum in another order.
pub(crate) const TOLERANCE_UNCACHED: f64 = 1e-4;

/// The beam width to check if the config has no beam search.
const BEAM: usize = 5;

/// Batch size for shuffled rows: small, so that batches are composed differently.
const FEW: usize = 7;

/// The comparison of two ways to the same outputs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    /// The search, and the two ways.
    pub what: String,
    /// Number of compared outputs.
    pub outputs: usize,
    /// How many of them are at fault, by default because their tokens differ; `None` if both ways score the same
    /// tokens.
    pub differ: Option<usize>,
    /// Their fault, as a verb: "differ".
    pub fault: &'static str,
    /// The largest difference of log-probabilities, of whole outputs or of single tokens.
    pub largest: f64,
    /// The allowed difference.
    pub tolerance: f64,
    /// Whether a difference is a fault: lower precision may change outputs.
    pub binding: bool,
}

impl Check {
    /// Whether the check passes.
    pub(crate) fn holds(&self) -> bool {
        !self.binding || (self.differ.unwrap_or(0) == 0 && self.largest <= self.tolerance)
    }
}

/// The outputs of each request.
type Found = Vec<Vec<Hypothesis>>;

/// Runs all checks, with the search of the config and with samples; calls `report` after each. No source may be empty.
///
/// # Errors
/// Those of the model and of `report`.
pub(crate) fn verify(
    model: &LoadedModel,
    requests: &[&DecodeRequest],
    mut report: impl FnMut(Check) -> Result<()>,
) -> Result<()> {
    let exact = model.members().all(|one| one.weights == Weights::F32);
    let unrounded = (!exact).then(|| model.decoder_with(Some(Weights::F32)));
    let plain = unrounded.as_ref().unwrap_or_else(|| model.decoder());
    for (name, options) in searches(model)? {
        let alone = batches(model, requests, &name, &options, &mut report)?;
        if options.method != Method::Ctc {
            report(scored(model, requests, &name, &alone)?)?;
        }
        let found = if exact { alone.clone() } else { decode_on_all_cores(plain, requests, &options)? };
        let in_full = if exact { name.clone() } else { format!("{name}, weights in F32") };
        report(uncached(model, plain, requests, &in_full, &found)?)?;
        if !exact {
            let weights: Vec<String> = model.members().map(|one| format!("{:?}", one.weights)).collect();
            let what = format!("{name}, weights in {} against F32", weights.join(" and "));
            report(compared(what, &alone, &found, false))?;
        }
    }
    if model.experiment.decoding.sampling.is_none() {
        against_greedy(model, requests, &mut report)?;
    }
    Ok(())
}

/// Checks a beam: its outputs are in order and do not rank below greedy search. The stop rules `patience`, `first` and
/// `best_possible` may lose the greedy output: then the check is not binding.
fn against_greedy(
    model: &LoadedModel,
    requests: &[&DecodeRequest],
    report: &mut impl FnMut(Check) -> Result<()>,
) -> Result<()> {
    let config = &model.experiment.decoding;
    let greedy = DecodingConfig { beam: 1, beam_groups: 1, n_best: 1, ..config.clone() };
    let beam = if config.beam > 1 { config.beam } else { BEAM };
    let wide = DecodingConfig { beam, ..config.clone() };
    let lists = DecodingConfig { n_best: config.n_best.max(beam.min(BEAM)), ..wide.clone() };
    let decode = |config: &DecodingConfig| -> Result<(SearchOptions, Found)> {
        let options = SearchOptions::with_texts(config, model.texts())?;
        let found = decode_on_all_cores(model.decoder(), requests, &options)?;
        Ok((options, found))
    };
    let ((_, greedy), (options, wide), (_, lists)) = (decode(&greedy)?, decode(&wide)?, decode(&lists)?);
    let name = format!("a beam of {beam}");
    report(ordered(format!("{name}, its lists by rank"), &options, &lists))?;
    let below = below_greedy(format!("{name} against greedy search"), &greedy, &wide);
    report(Check { binding: options.stops_when_outranked && knows_no_batch(model), ..below })
}

/// Checks that lists are in order and without duplicates.
fn ordered(what: String, options: &SearchOptions, found: &Found) -> Check {
    let key = |one: &Hypothesis| (one.finished, one.ranking);
    let wrong = |list: &&Vec<Hypothesis>| {
        let texts: HashSet<String> = list.iter().map(|one| options.texts.of(&one.tokens)).collect();
        texts.len() < list.len() || list.windows(2).any(|pair| key(&pair[0]) < key(&pair[1]))
    };
    Check {
        what,
        outputs: found.len(),
        differ: Some(found.iter().filter(wrong).count()),
        fault: "are out of order or have a text twice,",
        largest: 0.0,
        tolerance: 0.0,
        binding: true,
    }
}

/// Counts the best outputs that rank below those of greedy search.
fn below_greedy(what: String, greedy: &Found, wide: &Found) -> Check {
    let lacks = |(greedy, wide): (&Vec<Hypothesis>, &Vec<Hypothesis>)| -> f64 {
        match (greedy.first(), wide.first()) {
            (Some(greedy), Some(wide)) if greedy.finished && wide.finished => greedy.ranking - wide.ranking,
            (Some(greedy), _) if greedy.finished => f64::INFINITY,
            // Unfinished outputs rank below all others.
            _ => 0.0,
        }
    };
    let lacking: Vec<f64> = greedy.iter().zip(wide).map(lacks).filter(|lacks| *lacks > TOLERANCE).collect();
    Check {
        what,
        outputs: wide.len(),
        differ: Some(lacking.len()),
        fault: "rank below what greedy search finds,",
        largest: lacking.into_iter().fold(0.0, f64::max),
        tolerance: TOLERANCE,
        binding: true,
    }
}

/// The search of the config, and samples if it does not sample.
fn searches(model: &LoadedModel) -> Result<Vec<(String, SearchOptions)>> {
    let config = &model.experiment.decoding;
    let samples = |sampling: &SamplingConfig| format!("samples with seed {}", sampling.seed);
    if let Some(sampling) = &config.sampling {
        return Ok(vec![(samples(sampling), model.options.clone())]);
    }
    let name =
        if config.beam == 1 { "greedy search".to_owned() } else { format!("a beam of {}", config.beam) };
    let sampling = SamplingConfig::default();
    let second = samples(&sampling);
    let config = DecodingConfig {
        method: Method::Attention,
        beam: 1,
        beam_groups: 1,
        n_best: 1,
        sampling: Some(sampling),
        ..config.clone()
    };
    let options = SearchOptions::with_texts(&config, model.texts())?;
    Ok(vec![(name, model.options.clone()), (second, options)])
}

/// Compares batches of one row with one batch of all rows, with shuffled batches, and with batches of the configured
/// size on all cores. Returns the outputs of the single rows.
fn batches(
    model: &LoadedModel,
    requests: &[&DecodeRequest],
    name: &str,
    options: &SearchOptions,
    report: &mut impl FnMut(Check) -> Result<()>,
) -> Result<Found> {
    let (decoder, binding) = (model.decoder(), knows_no_batch(model));
    let mut order: Vec<usize> = (0..requests.len()).collect();
    let alone = in_batches(decoder, requests, options, &order, 1)?;
    let together = in_batches(decoder, requests, options, &order, requests.len())?;
    let what = format!("{name}, batches of 1 against one of {}", requests.len());
    report(compared(what, &alone, &together, binding))?;
    order.sort_by_key(|&row| (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let shuffled = in_batches(decoder, requests, options, &order, FEW)?;
    let what = format!("{name}, batches of 1 against shuffled ones of {FEW}");
    report(compared(what, &alone, &shuffled, binding))?;
    let as_configured = decode_on_all_cores(decoder, requests, options)?;
    let what = format!("{name}, batches of 1 against up to {} on all cores", options.batch_size);
    report(compared(what, &alone, &as_configured, binding))?;
    Ok(alone)
}

/// Decodes in batches of this size, in this order; the result is in the order of the requests.
fn in_batches<S: IncrementalDecoder>(
    decoder: &S,
    requests: &[&DecodeRequest],
    options: &SearchOptions,
    order: &[usize],
    size: usize,
) -> Result<Found> {
    let options = SearchOptions { batch_size: size.max(1), ..options.clone() };
    let mut all = vec![Vec::new(); requests.len()];
    for rows in order.chunks(size.max(1)) {
        let batch: Vec<&DecodeRequest> = rows.iter().map(|&row| requests[row]).collect();
        let found = decode_n_best(decoder, &batch, &options)?;
        rows.iter().zip(found).for_each(|(&row, list)| all[row] = list);
    }
    Ok(all)
}

fn compared(what: String, one: &Found, other: &Found, binding: bool) -> Check {
    let tokens = |list: &[Hypothesis]| list.iter().map(|one| (one.tokens.clone(), one.finished)).collect();
    let differ = |one: &[Hypothesis], other: &[Hypothesis]| -> bool {
        let [one, other]: [Vec<(Vec<i64>, bool)>; 2] = [tokens(one), tokens(other)];
        one != other
    };
    let pairs = one.iter().flatten().zip(other.iter().flatten());
    Check {
        what,
        outputs: one.iter().map(Vec::len).sum(),
        differ: Some(one.iter().zip(other).filter(|(one, other)| differ(one, other)).count()),
        fault: "differ, their scores",
        largest: largest(pairs.map(|(one, other)| (one.score, other.score))),
        tolerance: TOLERANCE,
        binding,
    }
}

/// The largest difference; NaN stays NaN.
fn largest(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let differences = pairs.map(|(one, other)| (one - other).abs());
    differences.fold(
        0.0,
        |most, difference| if difference > most || difference.is_nan() { difference } else { most },
    )
}

/// Whether rows are independent of their batch in every bit: libtorch's low-precision products may round differently.
fn knows_no_batch(model: &LoadedModel) -> bool {
    model.decoder().on_cpu() || model.members().all(|one| one.weights == Weights::F32)
}

/// The outputs with their requests, without unfinished outputs of the maximum length, whose next token cannot be
/// scored.
fn outputs<'a>(
    model: &LoadedModel,
    requests: &[&'a DecodeRequest],
    found: &'a Found,
) -> Vec<(&'a DecodeRequest, &'a Hypothesis)> {
    let longest = model.decoder().max_length().unwrap_or(usize::MAX);
    let of_requests = requests.iter().zip(found);
    let all = of_requests.flat_map(|(request, list)| list.iter().map(|one| (*request, one)));
    all.filter(|(_, one)| one.tokens.len() < longest).collect()
}

/// Compares the scores of the search with those of `seqloom score` for its outputs.
fn scored(model: &LoadedModel, requests: &[&DecodeRequest], name: &str, found: &Found) -> Result<Check> {
    let all = outputs(model, requests, found);
    let pairs: Vec<(&DecodeRequest, &[i64])> =
        all.iter().map(|(request, one)| (*request, one.tokens.as_slice())).collect();
    let scores = all.iter().zip(model.score(&pairs)?).map(|((_, one), tokens)| {
        let length = one.tokens.len() + usize::from(one.finished);
        (one.score, tokens.into_iter().take(length).map(f64::from).sum())
    });
    Ok(Check {
        what: format!("{name}, scores of the search against those of the outputs"),
        outputs: all.len(),
        differ: None,
        fault: "",
        largest: largest(scores),
        tolerance: TOLERANCE,
        binding: knows_no_batch(model),
    })
}

/// Compares stepwise decoding with a cache with the network over whole outputs, as in training.
fn uncached<S: IncrementalDecoder>(
    model: &LoadedModel,
    decoder: &S,
    requests: &[&DecodeRequest],
    name: &str,
    found: &Found,
) -> Result<Check> {
    let all = outputs(model, requests, found);
    // The networks have no shortlist.
    let whole = all.iter().map(|(request, _)| DecodeRequest { allowed: None, ..(*request).clone() });
    let whole: Vec<DecodeRequest> = whole.collect();
    let pairs: Vec<(&DecodeRequest, &[i64])> =
        whole.iter().zip(&all).map(|(request, (_, one))| (request, one.tokens.as_slice())).collect();
    let at_once = model.score_uncached(&pairs)?;
    let mut by_steps = Vec::new();
    for pairs in pairs.chunks(model.options.batch_size) {
        by_steps.extend(stepped(decoder, pairs)?);
    }
    let tokens = by_steps.iter().flatten().zip(at_once.iter().flatten());
    Ok(Check {
        what: format!("{name}, tokens step by step against whole outputs without a cache"),
        outputs: all.len(),
        differ: None,
        fault: "",
        largest: largest(tokens.map(|(one, other)| (f64::from(*one), f64::from(*other)))),
        tolerance: TOLERANCE_UNCACHED,
        binding: model.members().all(|one| one.runtime.compute == tch::Kind::Float),
    })
}

/// The log-probability of each token of each target, EOS last, step by step.
fn stepped<S: IncrementalDecoder>(decoder: &S, pairs: &[(&DecodeRequest, &[i64])]) -> Result<Vec<Vec<f32>>> {
    let (requests, targets): (Vec<&DecodeRequest>, Vec<&[i64]>) = pairs.iter().copied().unzip();
    score_by_steps(decoder, &targets, decoder.start(&requests, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(tokens: &[i64], score: f64) -> Vec<Hypothesis> {
        vec![Hypothesis { tokens: tokens.to_vec(), score, ranking: score, finished: true }]
    }

    #[test]
    fn a_beam_below_greedy_search_and_unsorted_lists_are_detected() {
        let of = |score, finished| vec![Hypothesis { finished, ..one(&[4], score)[0].clone() }];
        let greedy = vec![of(-1.0, true), of(-1.0, true), of(-1.0, true), of(-9.0, false)];
        let wide = vec![of(-1.0, true), of(-1.5, true), of(-0.5, false), of(-10.0, true)];
        let check = below_greedy(String::new(), &greedy, &wide);
        assert_eq!((check.differ, check.largest, check.holds()), (Some(2), f64::INFINITY, false));
        assert!(below_greedy(String::new(), &greedy[..1].to_vec(), &wide).holds());
        let options = SearchOptions::new(&DecodingConfig::default(), Vec::new).unwrap();
        let list =
            |scores: [f64; 2], second: i64| vec![[one(&[4], scores[0]), one(&[second], scores[1])].concat()];
        let wrong = |found: &Found| ordered(String::new(), &options, found).differ;
        assert_eq!(wrong(&list([-1.0, -2.0], 5)), Some(0));
        assert_eq!((wrong(&list([-2.0, -1.0], 5)), wrong(&list([-1.0, -2.0], 4))), (Some(1), Some(1)));
    }

    #[test]
    fn differences_are_found_and_judged() {
        let found = vec![one(&[4], -1.0), one(&[5], -2.0)];
        let check = |other: &Found| compared(String::new(), &found, other, true);
        let same = check(&found);
        assert_eq!((same.outputs, same.differ, same.largest, same.holds()), (2, Some(0), 0.0, true));
        let near = check(&vec![one(&[4], -1.000005), one(&[5], -2.0)]);
        assert!(near.holds() && near.largest > 4e-6, "{near:?}");
        let far = check(&vec![one(&[4], -1.0), one(&[5], -2.00002)]);
        assert!(!far.holds() && far.differ == Some(0), "{far:?}");
        let other = check(&vec![one(&[4], -1.0), one(&[6], -2.0)]);
        assert_eq!((other.differ, other.holds()), (Some(1), false));
        let broken = check(&vec![one(&[4], f64::NAN), one(&[5], -2.0)]);
        assert!(broken.largest.is_nan() && !broken.holds());
        assert!(Check { binding: false, ..broken }.holds(), "what is only reported is no fault");
    }
}
