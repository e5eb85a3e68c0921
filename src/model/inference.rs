//! The Transformer as a decoder runs it: a token of each row at a time, rows of any age side by side.
//!
//! Nothing is padded: the positions of all sources stand one after the other, and each row names the slots of the keys and
//! values that it sees ([`KvCache`]). So on the CPU a row's numbers do not depend on the rows beside it, not in the last bit.
//! The model keeps no state of a decode: [`DecoderState`] is a value, handed in and returned.

mod blocks;

use std::sync::Arc;

use tch::{Device, Tensor};

use self::blocks::{DecoderBlock, Embedding, EncoderBlock};
use super::attention::{BlockTable, PackedSequences, packed_sequence_attention, paged_attention};
use super::kv_cache::KvCache;
use super::layers::Norm;
use super::output_layer::{OutputLayer, RestrictedOutput};
use super::packed_linear::Weights;
use super::positions::{PositionIds, PositionTable};
use super::transformer::{Transformer, apply_norm};
use crate::data::vocabulary::{BOS, EOS};

/// Tokens whose scores of the whole vocabulary stand in memory at once.
const MAX_SCORED_POSITIONS: usize = 256;

/// A trained Transformer, made ready for decoding. A clone has the same weights, not a copy of them: another thread may
/// have it.
#[derive(Clone, Debug)]
pub struct Inference {
    source: Embedding,
    target: Embedding,
    encoder: Vec<EncoderBlock>,
    encoder_norm: Option<Norm>,
    decoder: Vec<DecoderBlock>,
    decoder_norm: Option<Norm>,
    output: OutputLayer,
    heads: i64,
    longest: Option<usize>,
}

/// Where a decode stands: everything that the next step needs.
#[derive(Debug)]
pub struct DecoderState {
    /// Keys and values of the tokens so far.
    own: KvCache,
    /// Keys and values of the sources' positions.
    cross: KvCache,
    rows: Vec<Row>,
    /// The output layer over what the rows may say; made when it is next needed, nothing while they may say everything.
    narrowed: Option<RestrictedOutput>,
}

/// What one row sees.
#[derive(Clone, Debug)]
struct Row {
    /// Slots of its tokens so far.
    own: Vec<i32>,
    /// Slots of its source.
    source: Vec<i32>,
    /// The tokens that it may say; nothing for all of them.
    allowed: Option<Arc<[i64]>>,
}

/// What comes of a step.
#[derive(Debug)]
pub struct Step {
    /// Log-probabilities of the next token, row after row: (R * V)
    pub log_p: Vec<f32>,
    /// For each row, how the last layer's cross-attention spreads over the positions of its source, EOS counted in: the
    /// mean over the heads. Only where it was asked for.
    pub attention: Option<Vec<Vec<f32>>>,
    /// The state that the next step wants.
    pub state: DecoderState,
}

impl Inference {
    /// Joins, casts and packs what `model` has learned so far.
    pub fn new(model: &Transformer, weights: Weights) -> Inference {
        let _guard = tch::no_grad_guard();
        let scale = (model.config.width as f64).sqrt();
        let embedding = |weight: &Tensor, positions: &PositionTable| Embedding {
            weight: weight.detach(),
            scale,
            positions: positions.clone(),
        };
        let (encoder, decoder) = (&model.encoder, &model.decoder);
        Inference {
            source: embedding(&model.source_embedding, &encoder.positions),
            target: embedding(&model.target_embedding, &decoder.positions),
            encoder: encoder.layers.iter().map(|layer| EncoderBlock::new(layer, weights)).collect(),
            encoder_norm: encoder.norm.clone(),
            decoder: decoder.layers.iter().map(|layer| DecoderBlock::new(layer, weights)).collect(),
            decoder_norm: decoder.norm.clone(),
            output: OutputLayer::new(&model.output, weights),
            heads: model.config.heads as i64,
            longest: model.max_length(),
        }
    }

    /// The longest side, EOS or BOS counted in, that the positions know; `None` for any length.
    pub fn max_length(&self) -> Option<usize> {
        self.longest
    }

    /// Whether it runs on the CPU.
    pub fn on_cpu(&self) -> bool {
        self.target.weight.device() == Device::Cpu
    }

    /// Size of the target's vocabulary (V).
    pub fn vocabulary(&self) -> usize {
        self.target.weight.size()[0] as usize
    }

    /// Reads sources (token ids without EOS): a row for each, before its first token.
    pub fn start(&self, sources: &[&[i64]]) -> DecoderState {
        let _guard = tch::no_grad_guard();
        let lengths: Vec<i64> = sources.iter().map(|source| source.len() as i64 + 1).collect();
        let memory = self.encode(sources, &lengths); // (N, D)
        let (width, device) = (memory.size()[1], memory.device());
        let mut cross = KvCache::new(self.decoder.len(), width, device);
        let positions = memory.size()[0];
        let first = cross.reserve(positions as usize, &mut []);
        for (n, block) in self.decoder.iter().enumerate() {
            cross.write(n, first, &block.source_keys_values.forward(&memory, false, None));
        }
        let mut end = first;
        let rows = lengths.iter().map(|&length| {
            let start = end;
            end += length as i32;
            Row { own: Vec::new(), source: (start..end).collect(), allowed: None }
        });
        let own = KvCache::new(self.decoder.len(), width, device);
        DecoderState { own, cross, rows: rows.collect(), narrowed: None }
    }

    /// The encoder over whole sources: (N, D), their positions one after the other.
    fn encode(&self, sources: &[&[i64]], lengths: &[i64]) -> Tensor {
        let tokens: Vec<i64> = sources.iter().flat_map(|row| row.iter().copied().chain([EOS])).collect();
        let positions: Vec<i64> = lengths.iter().flat_map(|&length| 0..length).collect();
        let rotation = self.source.positions.rotary(PositionIds::Each(&positions));
        let mut x = self.source.forward(&tokens, &positions); // (N, D)
        let (width, sequences) = (x.size()[1], PackedSequences::new(lengths, x.device()));
        for block in &self.encoder {
            x = block.attention_norm.forward(&x, |x, residual| {
                let parts = block.query_key_value.forward(x, false, None); // (N, 3 D)
                if let Some(rotation) = &rotation {
                    rotation.rotate_rows(&parts.narrow(1, 0, width), self.heads);
                    rotation.rotate_rows(&parts.narrow(1, width, width), self.heads);
                }
                let seen = packed_sequence_attention(&parts, &sequences, self.heads); // (N, D)
                block.attended.forward(&seen, false, Some(residual))
            });
            x = block.feed_forward.forward(&x);
        }
        apply_norm(x, &self.encoder_norm)
    }

    /// Takes one more token of each row, and scores what may follow. With `looking` it also says where the rows looked.
    ///
    /// # Errors
    /// What libtorch refuses.
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
        let lists: Vec<_> = state.rows.iter().map(|row| row.allowed.as_ref()).collect();
        let log_p = self.output.log_probabilities(&hidden, state.narrowed.as_ref(), &lists)?;
        Ok(Step { log_p, attention, state })
    }

    /// The log-probability of each token of each target (token ids), EOS last; the rows of `state` have said nothing yet. All
    /// tokens of a target are read at once, each of which sees those before it: on the CPU they get what
    /// [`Inference::step`] gives them one by one, to the last bit.
    ///
    /// # Errors
    /// What libtorch refuses.
    pub fn score(&self, mut state: DecoderState, targets: &[&[i64]]) -> Result<Vec<Vec<f32>>, tch::TchError> {
        let _guard = tch::no_grad_guard();
        let fed: Vec<Vec<i64>> = targets.iter().map(|target| [&[BOS], *target].concat()).collect();
        let runs: Vec<&[i64]> = fed.iter().map(Vec::as_slice).collect();
        let (hidden, _) = self.read(&runs, &mut state, false); // (N, D)
        self.restrict(&mut state);
        let labelled = state.rows.iter().zip(targets).flat_map(|(row, target)| {
            let labels = target.iter().copied().chain([EOS]);
            labels.map(|label| (label as usize, row.allowed.as_ref()))
        });
        let (labels, lists): (Vec<usize>, Vec<_>) = labelled.unzip();
        let mut flat = Vec::with_capacity(labels.len());
        let parts = labels.chunks(MAX_SCORED_POSITIONS).zip(lists.chunks(MAX_SCORED_POSITIONS));
        for (hidden, (labels, lists)) in hidden.split(MAX_SCORED_POSITIONS as i64, 0).iter().zip(parts) {
            let log_p = self.output.log_probabilities(hidden, state.narrowed.as_ref(), lists)?;
            let scores = log_p.chunks_exact(self.vocabulary());
            flat.extend(scores.zip(labels).map(|(scores, &label)| scores[label]));
        }
        let mut rest = flat.into_iter();
        Ok(fed.iter().map(|run| rest.by_ref().take(run.len()).collect()).collect())
    }

    /// Makes the output layer over what the rows may say, where they may not say everything and it is not there yet.
    fn restrict(&self, state: &mut DecoderState) {
        if state.narrowed.is_none() {
            let lists: Option<Vec<_>> = state.rows.iter().map(|row| row.allowed.as_ref()).collect();
            state.narrowed = lists.map(|lists| self.output.restricted(&lists));
        }
    }

    /// Reads more tokens of each row, one or several, and gives what the output layer is to see of each of them, in their
    /// order: (N, D). With `looking` also where each of them looked.
    fn read(
        &self,
        runs: &[&[i64]],
        state: &mut DecoderState,
        looking: bool,
    ) -> (Tensor, Option<Vec<Vec<f32>>>) {
        assert_eq!(runs.len(), state.rows.len(), "tokens for each row");
        let first = state.grow(runs);
        let tokens = runs.concat();
        let positions: Vec<i64> = state.seen(runs).map(|(own, _)| own.len() as i64 - 1).collect();
        let device = self.target.weight.device();
        let own = BlockTable::new(state.seen(runs).map(|(own, _)| own), device);
        let source = BlockTable::new(state.seen(runs).map(|(_, source)| source), device);
        let rotation = self.target.positions.rotary(PositionIds::Each(&positions));
        let mut x = self.target.forward(&tokens, &positions); // (N, D)
        let width = x.size()[1];
        let mut weights = Vec::new();
        for (n, block) in self.decoder.iter().enumerate() {
            x = block.own_norm.forward(&x, |x, residual| {
                let parts = block.query_key_value.forward(x, false, None); // (N, 3 D)
                if let Some(rotation) = &rotation {
                    rotation.rotate_rows(&parts.narrow(1, 0, width), self.heads);
                    rotation.rotate_rows(&parts.narrow(1, width, width), self.heads);
                }
                state.own.write(n, first, &parts.narrow(1, width, 2 * width));
                let query = parts.narrow(1, 0, width); // (N, D)
                let seen = paged_attention(&query, state.own.layer(n), &own, self.heads, None);
                block.attended.forward(&seen, false, Some(residual))
            });
            x = block.cross_norm.forward(&x, |x, residual| {
                let query = block.query.forward(x, false, None); // (N, D)
                let looking = (looking && n + 1 == self.decoder.len()).then_some(&mut weights);
                let seen = paged_attention(&query, state.cross.layer(n), &source, self.heads, looking);
                block.crossed.forward(&seen, false, Some(residual))
            });
            x = block.feed_forward.forward(&x);
        }
        let attention = looking.then(|| self.means(&weights, source.lengths()));
        (apply_norm(x, &self.decoder_norm), attention)
    }

    /// The mean over the heads of each row's attention, cut to the row's own source.
    fn means(&self, sums: &[f32], lengths: &[i64]) -> Vec<Vec<f32>> {
        let most = lengths.iter().copied().max().unwrap_or(0).max(1) as usize;
        let mean = |sum: &f32| sum / self.heads as f32;
        let rows = sums.chunks(most).zip(lengths);
        rows.map(|(row, &length)| row[..length as usize].iter().map(mean).collect()).collect()
    }
}

impl DecoderState {
    /// The same, whose rows may say no other tokens than these, in ascending order: all of them, or none of them, has a list.
    pub fn restricted_to(mut self, lists: impl Iterator<Item = Option<Arc<[i64]>>>) -> DecoderState {
        self.rows.iter_mut().zip(lists).for_each(|(row, allowed)| row.allowed = allowed);
        DecoderState { narrowed: None, ..self }
    }

    /// A slot more for each new token of each row; gives back the first of them.
    fn grow(&mut self, runs: &[&[i64]]) -> i32 {
        let count = runs.iter().map(|run| run.len()).sum();
        let mut lists = lists(&mut self.rows, own);
        let first = self.own.reserve(count, &mut lists);
        let mut slots = first..;
        lists.iter_mut().zip(runs).for_each(|(list, run)| list.extend(slots.by_ref().take(run.len())));
        first
    }

    /// The slots that each of the new tokens sees: of its row those up to itself, and its source's.
    fn seen<'a>(&'a self, runs: &'a [&[i64]]) -> impl Iterator<Item = (&'a [i32], &'a [i32])> {
        self.rows.iter().zip(runs).flat_map(|(row, run)| {
            let before = row.own.len() - run.len();
            (0..run.len()).map(move |n| (&row.own[..=before + n], row.source.as_slice()))
        })
    }

    /// The rows named, in that order; a row may be named more than once or not at all. Nothing but lists is moved.
    pub fn keep(self, rows: &[i64]) -> DecoderState {
        DecoderState { rows: rows.iter().map(|&row| self.rows[row as usize].clone()).collect(), ..self }
    }

    /// The rows of this state, then those of `other`.
    pub fn join(mut self, mut other: DecoderState) -> DecoderState {
        let _guard = tch::no_grad_guard();
        self.own.take(&other.own, &mut lists(&mut self.rows, own), &mut lists(&mut other.rows, own));
        self.cross.take(
            &other.cross,
            &mut lists(&mut self.rows, source),
            &mut lists(&mut other.rows, source),
        );
        self.rows.append(&mut other.rows);
        DecoderState { narrowed: None, ..self }
    }
}

fn own(row: &mut Row) -> &mut Vec<i32> {
    &mut row.own
}

fn source(row: &mut Row) -> &mut Vec<i32> {
    &mut row.source
}

fn lists(rows: &mut [Row], which: fn(&mut Row) -> &mut Vec<i32>) -> Vec<&mut Vec<i32>> {
    rows.iter_mut().map(which).collect()
}
