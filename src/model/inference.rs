//! Incremental decoding with a trained network: one token per row and step, with rows of any length in one batch.
//!
//! On the CPU a row's numbers are bit-identical in any batch. The model keeps no decoder state: [`DecoderState`] is a
//! value, passed in and returned. Each network defines its own part of it.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::Arc;

use tch::{Device, Tensor};

use super::network::Network;
use super::output_layer::{OutputLayer, RestrictedOutput};
use super::packed_linear::Weights;
use super::recurrent::inference::{PackedRecurrent, RecurrentState};
use super::transformer::inference::{PackedTransformer, TransformerState};
use crate::data::source::SourceItem;
use crate::data::vocabulary::{BOS, EOS};

/// Tokens whose scores of the whole vocabulary are in memory at the same time.
const MAX_SCORED_POSITIONS: usize = 256;

/// A bug of ours: each decoder gets back its own states.
const OTHER_NETWORK: &str = "the state of a decode belongs to another network";

/// A trained network, packed for decoding. Clones share the weights and may go to other threads.
#[derive(Clone, Debug)]
pub struct Inference {
    network: PackedNetwork,
    output: OutputLayer,
    longest: Option<usize>,
}

/// A network without its output layer.
#[derive(Clone, Debug)]
enum PackedNetwork {
    Transformer(Box<PackedTransformer>),
    Recurrent(PackedRecurrent),
}

/// The decoder state: everything that the next step needs.
#[derive(Debug)]
pub struct DecoderState {
    network: NetworkState,
    /// For each row the allowed tokens; `None` for all.
    allowed: Vec<Option<Arc<[i64]>>>,
    /// The output layer over the allowed tokens, built when it is next needed; `None` while all tokens are allowed.
    narrowed: Option<RestrictedOutput>,
}

#[derive(Debug)]
enum NetworkState {
    Transformer(TransformerState),
    Recurrent(RecurrentState),
}

/// Whole targets, as the network has read them.
#[derive(Debug)]
pub(crate) struct ReadTargets {
    /// The hidden state from which each token is scored, EOS last, target after target: (N, D)
    hidden: Tensor,
    /// For each position the allowed tokens; `None` for all.
    allowed: Vec<Option<Arc<[i64]>>>,
    /// The output layer over the allowed tokens; `None` if all tokens are allowed.
    narrowed: Option<RestrictedOutput>,
}

impl ReadTargets {
    /// All positions in parts, none of which needs much memory for its scores.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let all = self.allowed.len();
        (0..all).step_by(MAX_SCORED_POSITIONS).map(move |start| start..all.min(start + MAX_SCORED_POSITIONS))
    }
}

/// The result of a step.
#[derive(Debug)]
pub struct Step {
    /// Log-probabilities of the next token, row after row: (R * V)
    pub log_p: Vec<f32>,
    /// For each row the last layer's attention to the positions of its source, including EOS, averaged over the heads.
    /// Only if requested.
    pub attention: Option<Vec<Vec<f32>>>,
    /// The state for the next step.
    pub state: DecoderState,
}

impl Inference {
    /// Joins, casts and packs the current weights of `model`.
    pub fn new(model: &Network, weights: Weights) -> Inference {
        let _guard = tch::no_grad_guard();
        let network = match model {
            Network::Transformer(model) => {
                PackedNetwork::Transformer(Box::new(PackedTransformer::new(model, weights)))
            }
            Network::Recurrent(model) => PackedNetwork::Recurrent(PackedRecurrent::new(model, weights)),
        };
        let output = OutputLayer::new(model.output(), weights);
        Inference { network, output, longest: model.max_length() }
    }

    /// The longest side that the network can read, including EOS or BOS; `None` for any length.
    pub(crate) fn max_length(&self) -> Option<usize> {
        self.longest
    }

    /// Whether it runs on the CPU.
    pub(crate) fn on_cpu(&self) -> bool {
        self.output.device() == Device::Cpu
    }

    /// Size of the target's vocabulary (V).
    pub fn vocabulary(&self) -> usize {
        self.output.vocabulary()
    }

    /// Encodes sources: one row each, before its first token.
    pub fn start(&self, sources: &[impl Borrow<SourceItem>]) -> DecoderState {
        let _guard = tch::no_grad_guard();
        let sources: Vec<&SourceItem> = sources.iter().map(Borrow::borrow).collect();
        let network = match &self.network {
            PackedNetwork::Transformer(network) => NetworkState::Transformer(network.start(&sources)),
            PackedNetwork::Recurrent(network) => NetworkState::Recurrent(network.start(&sources)),
        };
        DecoderState { network, allowed: vec![None; sources.len()], narrowed: None }
    }

    /// The log-probabilities of the CTC head for the source of each row of a state before its first step: (S * V) each.
    /// None for a network without such a head.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub fn ctc_log_probabilities(
        &self,
        state: &DecoderState,
    ) -> Result<Option<Vec<Vec<f32>>>, tch::TchError> {
        let _guard = tch::no_grad_guard();
        match (&self.network, &state.network) {
            (PackedNetwork::Transformer(network), NetworkState::Transformer(state)) => {
                network.ctc_log_probabilities(state)
            }
            _ => Ok(None),
        }
    }

    /// Takes one more token per row and scores the next ones. With `looking` it also returns the attention.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub fn step(
        &self,
        tokens: &[i64],
        mut state: DecoderState,
        looking: bool,
    ) -> Result<Step, tch::TchError> {
        let _guard = tch::no_grad_guard();
        let runs: Vec<&[i64]> = tokens.chunks(1).collect();
        let (hidden, attention) = self.read(&runs, &mut state, looking); // (R, D)
        self.restrict(&mut state);
        let lists: Vec<_> = state.allowed.iter().map(Option::as_ref).collect();
        let log_p = self.output.log_probabilities(&hidden, state.narrowed.as_ref(), &lists)?;
        Ok(Step { log_p, attention, state })
    }

    /// Reads whole targets (token ids) after BOS, one for each row of `state`, which must be new. All tokens of a target are
    /// read at once, under a causal mask: on the CPU the scores are bit-identical to those of [`Inference::step`].
    pub(crate) fn read_targets(&self, mut state: DecoderState, targets: &[&[i64]]) -> ReadTargets {
        let _guard = tch::no_grad_guard();
        let fed: Vec<Vec<i64>> = targets.iter().map(|target| [&[BOS], *target].concat()).collect();
        let runs: Vec<&[i64]> = fed.iter().map(Vec::as_slice).collect();
        let (hidden, _) = self.read(&runs, &mut state, false); // (N, D)
        self.restrict(&mut state);
        let DecoderState { allowed, narrowed, .. } = state;
        let of_rows = allowed.into_iter().zip(&fed);
        let allowed = of_rows.flat_map(|(allowed, run)| std::iter::repeat_n(allowed, run.len())).collect();
        ReadTargets { hidden, allowed, narrowed }
    }

    /// The log-probabilities of all tokens at some positions of targets: n * V numbers.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub(crate) fn log_probabilities_at(
        &self,
        read: &ReadTargets,
        positions: Range<usize>,
    ) -> Result<Vec<f32>, tch::TchError> {
        let _guard = tch::no_grad_guard();
        let hidden = read.hidden.narrow(0, positions.start as i64, positions.len() as i64); // (n, D)
        let lists: Vec<_> = read.allowed[positions].iter().map(Option::as_ref).collect();
        self.output.log_probabilities(&hidden, read.narrowed.as_ref(), &lists)
    }

    /// The log-probability of each token of each target (token ids), EOS last; the rows of `state` must be new.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub fn score(&self, state: DecoderState, targets: &[&[i64]]) -> Result<Vec<Vec<f32>>, tch::TchError> {
        let read = self.read_targets(state, targets);
        let labels = targets.iter().flat_map(|target| target.iter().copied().chain([EOS]));
        let labels: Vec<usize> = labels.map(|label| label as usize).collect();
        let mut flat = Vec::with_capacity(labels.len());
        for part in read.parts() {
            let log_p = self.log_probabilities_at(&read, part.clone())?;
            let scores = log_p.chunks_exact(self.vocabulary());
            flat.extend(scores.zip(&labels[part]).map(|(scores, &label)| scores[label]));
        }
        let mut rest = flat.into_iter();
        Ok(targets.iter().map(|target| rest.by_ref().take(target.len() + 1).collect()).collect())
    }

    /// Reads one or more tokens per row; returns the hidden state for each of them, in order: (N, D). With `looking`
    /// also their attention.
    fn read(
        &self,
        runs: &[&[i64]],
        state: &mut DecoderState,
        looking: bool,
    ) -> (Tensor, Option<Vec<Vec<f32>>>) {
        assert_eq!(runs.len(), state.allowed.len(), "tokens for each row");
        match (&self.network, &mut state.network) {
            (PackedNetwork::Transformer(network), NetworkState::Transformer(state)) => {
                network.read(runs, state, looking)
            }
            (PackedNetwork::Recurrent(network), NetworkState::Recurrent(state)) => {
                network.read(runs, state, looking)
            }
            _ => panic!("{OTHER_NETWORK}"),
        }
    }

    /// Builds the restricted output layer if the rows are restricted and it is not built yet.
    fn restrict(&self, state: &mut DecoderState) {
        if state.narrowed.is_none() {
            let lists: Option<Vec<_>> = state.allowed.iter().map(Option::as_ref).collect();
            state.narrowed = lists.map(|lists| self.output.restricted(&lists));
        }
    }
}

impl DecoderState {
    /// Restricts each row to a list of tokens, in ascending order: either all rows have a list or none.
    pub fn restricted_to(self, lists: impl Iterator<Item = Option<Arc<[i64]>>>) -> DecoderState {
        DecoderState { allowed: lists.collect(), narrowed: None, ..self }
    }

    /// Selects rows, in this order; a row may occur more than once or not at all.
    pub fn keep(self, rows: &[i64]) -> DecoderState {
        let _guard = tch::no_grad_guard();
        let allowed = rows.iter().map(|&row| self.allowed[row as usize].clone()).collect();
        let network = match self.network {
            NetworkState::Transformer(state) => NetworkState::Transformer(state.keep(rows)),
            NetworkState::Recurrent(state) => NetworkState::Recurrent(state.keep(rows)),
        };
        DecoderState { network, allowed, ..self }
    }

    /// The rows of this state, then those of `other`.
    pub fn join(self, other: DecoderState) -> DecoderState {
        let _guard = tch::no_grad_guard();
        let network = match (self.network, other.network) {
            (NetworkState::Transformer(one), NetworkState::Transformer(other)) => {
                NetworkState::Transformer(one.join(other))
            }
            (NetworkState::Recurrent(one), NetworkState::Recurrent(other)) => {
                NetworkState::Recurrent(one.join(other))
            }
            _ => panic!("{OTHER_NETWORK}"),
        };
        let allowed = self.allowed.into_iter().chain(other.allowed).collect();
        DecoderState { network, allowed, narrowed: None }
    }
}
