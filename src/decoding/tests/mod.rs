//! A scripted model in place of weights: a small language whose outputs and scores are all known.

mod constrained;
mod ctc;
mod ensembles;
mod invariance;
mod samples;
mod searches;
mod traces;

use std::cell::Cell;
use std::sync::Arc;

use super::constraints::forced_prefix::{ForcedPrefix, PrefixState, PrefixToken};
use super::continuous_batching::{Batching, generate};
use super::ctc::log_probs::CtcLogProbs;
use super::incremental_decoder::{DecodeRequest, Hypothesis, IncrementalDecoder, Scores};
use super::options::SearchOptions;
use super::parallel::decode_n_best;
use super::{Combination, DecodingConfig, LengthPenalty, Method, SamplingConfig, Stop};
use crate::data::source::SourceItem;
use crate::data::vocabulary::{BOS, EOS, PAD, UNK};
use crate::error::Result;

/// Log-probabilities of the next token, given the source and the tokens so far.
type Script = fn(&[i64], &[i64]) -> Vec<f32>;

/// The CTC log-probabilities of a source.
type Head = fn(&[i64]) -> CtcLogProbs;

/// A model whose scores are those of `script`, with the attention of `attention` and the CTC log-probabilities of `ctc`.
struct Scripted {
    script: Script,
    attention: Option<Script>,
    ctc: Option<Head>,
    joins: bool,
    /// Number of steps, and the most sources in one of them.
    steps: Cell<usize>,
    most_sources: Cell<usize>,
    /// Whether rows of different lengths were in one batch.
    mixed: Cell<bool>,
}

/// The source and the tokens so far; none before BOS.
#[derive(Clone)]
struct Row {
    source: Vec<i64>,
    prefix: Option<Vec<i64>>,
}

impl Scripted {
    fn new(script: Script) -> Scripted {
        Scripted {
            script,
            attention: None,
            ctc: Some(random_looking_head),
            joins: false,
            steps: Cell::new(0),
            most_sources: Cell::new(0),
            mixed: Cell::new(false),
        }
    }

    fn observe(&self, state: &[Row]) {
        let mut sources: Vec<&[i64]> = state.iter().map(|row| row.source.as_slice()).collect();
        sources.dedup();
        self.steps.set(self.steps.get() + 1);
        self.most_sources.set(self.most_sources.get().max(sources.len()));
        let ages = state.iter().map(|row| row.prefix.as_ref().map(Vec::len));
        self.mixed.set(self.mixed.get() || ages.clone().min() != ages.max());
    }
}

impl IncrementalDecoder for Scripted {
    type State = Vec<Row>;

    fn start(&self, requests: &[&DecodeRequest], member: usize) -> Result<Self::State> {
        let source = |request: &&DecodeRequest| request.source_of(member).tokens().to_vec();
        Ok(requests.iter().map(|request| Row { source: source(request), prefix: None }).collect())
    }

    fn step(&self, tokens: &[i64], mut state: Self::State) -> Result<(Scores, Self::State)> {
        assert_eq!(tokens.len(), state.len());
        for (row, &token) in state.iter_mut().zip(tokens) {
            match &mut row.prefix {
                None => assert_eq!(token, BOS),
                Some(prefix) => prefix.push(token),
            }
            row.prefix.get_or_insert_default();
        }
        self.observe(&state);
        let rows: Vec<Vec<f32>> =
            state.iter().map(|row| (self.script)(&row.source, row.prefix.as_ref().unwrap())).collect();
        Ok((Scores::new(rows.concat(), rows[0].len()), state))
    }

    fn step_with_attention(&self, tokens: &[i64], state: Self::State) -> Result<(Scores, Self::State)> {
        let (mut scores, state) = self.step(tokens, state)?;
        scores.attention = self
            .attention
            .map(|look| state.iter().map(|row| look(&row.source, row.prefix.as_ref().unwrap())).collect());
        Ok((scores, state))
    }

    fn reorder(&self, rows: &[i64], state: Self::State) -> Result<Self::State> {
        Ok(rows.iter().map(|&row| state[row as usize].clone()).collect())
    }

    fn join(&self, one: Self::State, other: Self::State) -> Result<Self::State> {
        assert!(self.joins);
        Ok([one, other].concat())
    }

    fn ctc_log_probs(&self, state: &Self::State) -> Result<Option<Vec<Arc<CtcLogProbs>>>> {
        assert!(state.iter().all(|row| row.prefix.is_none()), "a head reads sources before the first token");
        let of_row = |head: Head| state.iter().map(|row| Arc::new(head(&row.source))).collect();
        Ok(self.ctc.map(of_row))
    }

    fn supports_continuous_batching(&self) -> bool {
        self.joins
    }
}

/// A language of six tokens, whose probabilities look random. PAD and BOS are as likely as the others.
fn random_looking(source: &[i64], prefix: &[i64]) -> Vec<f32> {
    let mixed = |state: u64, token: i64| {
        let state = (state ^ token as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        state ^ (state >> 29)
    };
    let state = source.iter().chain(prefix).fold(1, |state, &token| mixed(state, token));
    let weights: Vec<f32> = (0..6).map(|v| (mixed(mixed(state, v), 9) % 4001) as f32 / 1000.0).collect();
    let sum: f32 = weights.iter().map(|weight| weight.exp()).sum();
    weights.iter().map(|weight| weight - sum.ln()).collect()
}

/// A head over the same tokens, which reads 12 frames or a few more.
fn random_looking_head(source: &[i64]) -> CtcLogProbs {
    let frames = 12 + source[0] % 3;
    let data = (0..frames).flat_map(|frame| random_looking(&[source, &[91]].concat(), &[frame]));
    CtcLogProbs::new(data.collect(), 6, PAD).unwrap()
}

/// The tokens of outputs in that language, including EOS.
const ALLOWED: [i64; 4] = [UNK, EOS, 4, 5];

/// Sources of one token each, which differ.
fn sources(count: i64) -> Vec<[i64; 1]> {
    (4..4 + count).map(|token| [token]).collect()
}

/// Options whose texts are token ids with spaces between; the unknown symbol has its usual text.
fn options(config: &DecodingConfig) -> SearchOptions {
    assert_eq!(config.check(), Ok(()));
    let name = |id: i64| if id == UNK { "<unk>".to_owned() } else { id.to_string() };
    let pieces = || {
        (0..6).map(|id| [name(id), format!(" {}", name(id))].map(|text| text.into_bytes().into())).collect()
    };
    SearchOptions::new(config, pieces).unwrap()
}

/// A forced prefix of these tokens.
fn begins_with(tokens: &[i64]) -> Arc<ForcedPrefix> {
    let place = |(n, &token): (usize, &i64)| {
        let next = if n + 1 < tokens.len() { n + 1 } else { ForcedPrefix::FREE };
        PrefixState { choices: vec![PrefixToken { token, next, beyond: false }], fewest: tokens.len() - n }
    };
    Arc::new(ForcedPrefix::new(tokens.iter().enumerate().map(place).collect()))
}

/// A request for the output of a source, with a forced prefix if there is one.
fn request(
    source: impl Into<SourceItem>,
    prefix: Option<&Arc<ForcedPrefix>>,
    options: &SearchOptions,
) -> DecodeRequest {
    DecodeRequest { prefix: prefix.cloned().unwrap_or_default(), ..options.request(source, None) }
}

/// The same for each source.
fn requests(sources: &[[i64; 1]], config: &DecodingConfig) -> Vec<DecodeRequest> {
    sources.iter().map(|source| request(source, None, &options(config))).collect()
}

fn borrowed(requests: &[DecodeRequest]) -> Vec<&DecodeRequest> {
    requests.iter().collect()
}

/// The hypotheses of each source.
fn found_by(decoder: &Scripted, sources: &[[i64; 1]], config: &DecodingConfig) -> Vec<Vec<Hypothesis>> {
    decode_n_best(decoder, &borrowed(&requests(sources, config)), &options(config)).unwrap()
}

/// The hypotheses of one source.
fn found(script: Script, config: &DecodingConfig) -> Vec<Hypothesis> {
    found_by(&Scripted::new(script), &[[4]], config).remove(0)
}

/// The sum of the script's log-probabilities of an output.
fn forced(script: Script, source: &[i64], one: &Hypothesis) -> f64 {
    let all = one.tokens.iter().copied().chain(one.finished.then_some(EOS));
    all.enumerate().map(|(n, token)| f64::from(script(source, &one.tokens[..n])[token as usize])).sum()
}

/// Configs of every kind of search.
fn all_kinds() -> Vec<DecodingConfig> {
    let beam = |beam, n_best| DecodingConfig { beam, n_best, ..DecodingConfig::default() };
    let sampling = Some(SamplingConfig { temperature: 1.3, top_p: 0.9, ..SamplingConfig::default() });
    vec![
        beam(1, 1),
        beam(4, 3),
        DecodingConfig { stop: Stop::Patience, ..beam(4, 3) },
        DecodingConfig { stop: Stop::BestPossible, length_penalty: LengthPenalty::Gnmt, ..beam(3, 2) },
        DecodingConfig { beam_groups: 3, ..beam(6, 5) },
        DecodingConfig { method: Method::Joint, ..beam(4, 3) },
        DecodingConfig { method: Method::Joint, ctc_weight: 0.8, ..beam(1, 1) },
        DecodingConfig { sampling: sampling.clone(), ..beam(1, 4) },
        DecodingConfig { no_repeat_ngram: 2, repetition_penalty: 1.4, min_length: 3, ..beam(4, 4) },
        DecodingConfig { no_repeat_ngram: 1, min_length: 4, sampling, ..beam(1, 2) },
    ]
}
