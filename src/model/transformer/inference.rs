//! Incremental decoding with the Transformer: one token per row and step, with rows of any length in one batch.
//!
//! Nothing is padded: the positions of all sources are concatenated, and each row lists the slots of its keys and
//! values ([`KvCache`]). So on the CPU a row's numbers are bit-identical in any batch.

use tch::{TchError, Tensor};

use super::super::attention::{
    BlockTable, PackedSequences, mean_over_heads, packed_sequence_attention, paged_attention,
};
use super::super::front::PackedFront;
use super::super::kv_cache::KvCache;
use super::super::layers::Norm;
use super::super::packed_linear::{PackedLinear, Weights};
use super::super::positions::{PositionIds, PositionTable};
use super::blocks::{DecoderBlock, EncoderBlock};
use super::packed::{PackedParts, PositionedEmbedding};
use super::{Transformer, apply_norm};
use crate::data::source::{Frames, SourceItem};
use crate::data::vocabulary::EOS;

/// A trained Transformer without its output layer, packed for decoding. Clones share the weights.
#[derive(Clone, Debug)]
pub(crate) struct PackedTransformer {
    source: SourceReader,
    target: PositionedEmbedding,
    encoder: Vec<EncoderBlock>,
    encoder_norm: Option<Norm>,
    ctc: Option<PackedLinear>,
    decoder: Vec<DecoderBlock>,
    decoder_norm: Option<Norm>,
    heads: i64,
}

/// What makes vectors of sources.
#[derive(Clone, Debug)]
enum SourceReader {
    Tokens {
        embedding: PositionedEmbedding,
        /// The columns of ids, and the vector of each: (P, D)
        parts: Option<PackedParts>,
    },
    Frames {
        front: PackedFront,
        positions: PositionTable,
    },
}

impl SourceReader {
    /// The positions of all sources, one after the other.
    fn places(&self, sources: &[&SourceItem], lengths: &[i64]) -> Vec<i64> {
        match self {
            SourceReader::Tokens { parts: Some(parts), .. } => parts.positions(sources),
            _ => lengths.iter().flat_map(|&length| 0..length).collect(),
        }
    }

    fn positions(&self) -> &PositionTable {
        match self {
            SourceReader::Tokens { embedding, .. } => &embedding.positions,
            SourceReader::Frames { positions, .. } => positions,
        }
    }

    /// (N, D), the positions of all sources one after the other.
    fn forward(&self, sources: &[&SourceItem], positions: &[i64]) -> Tensor {
        match self {
            SourceReader::Tokens { embedding, parts } => {
                let tokens = sources.iter().flat_map(|row| row.tokens().iter().copied().chain([EOS]));
                let tokens: Vec<i64> = tokens.collect();
                let x = embedding.forward(&tokens, positions);
                parts.as_ref().map_or(x.shallow_clone(), |parts| x + parts.forward(&tokens))
            }
            SourceReader::Frames { front, positions: table } => {
                let frames: Vec<&Frames> = sources.iter().filter_map(|source| source.frames()).collect();
                let x = front.forward(&frames); // (N, D)
                let added = table.additive(PositionIds::Each(positions));
                added.map_or(x.shallow_clone(), |added| x + added)
            }
        }
    }
}

/// The decoder state of the rows.
#[derive(Debug)]
pub(crate) struct TransformerState {
    /// Keys and values of the tokens so far.
    own: KvCache,
    /// Keys and values of the source positions.
    cross: KvCache,
    rows: Vec<Row>,
    /// The encoder's output, for the CTC head, until the first step: (N, D)
    encoded: Option<Tensor>,
}

/// The slots of one row.
#[derive(Clone, Debug)]
struct Row {
    /// Slots of its tokens so far.
    own: Vec<i32>,
    /// Slots of its source.
    source: Vec<i32>,
}

impl PackedTransformer {
    /// Joins, casts and packs the current weights of `model`.
    pub(crate) fn new(model: &Transformer, weights: Weights) -> PackedTransformer {
        let embedding = |weight: &Tensor, positions: &PositionTable| PositionedEmbedding {
            weight: weight.detach(),
            positions: positions.clone(),
        };
        let (encoder, decoder) = (&model.encoder, &model.decoder);
        PackedTransformer {
            source: match &model.front {
                None => SourceReader::Tokens {
                    embedding: embedding(model.embeddings.of_source(), &encoder.positions),
                    parts: model.embeddings.parts.as_ref().map(PackedParts::new),
                },
                Some(front) => SourceReader::Frames {
                    front: PackedFront::new(front, weights),
                    positions: encoder.positions.clone(),
                },
            },
            target: embedding(&model.embeddings.target, &decoder.positions),
            encoder: encoder.layers.iter().map(|layer| EncoderBlock::new(layer, weights)).collect(),
            encoder_norm: encoder.norm.clone(),
            ctc: model.ctc.as_ref().map(|ctc| PackedLinear::new(&[ctc], weights)),
            decoder: decoder.layers.iter().map(|layer| DecoderBlock::new(layer, weights)).collect(),
            decoder_norm: decoder.norm.clone(),
            heads: model.config.heads as i64,
        }
    }

    /// Encodes sources: one row each, before its first token.
    pub(crate) fn start(&self, sources: &[&SourceItem]) -> TransformerState {
        let lengths: Vec<i64> = sources.iter().map(|source| source.positions() as i64).collect();
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
            Row { own: Vec::new(), source: (start..end).collect() }
        });
        let own = KvCache::new(self.decoder.len(), width, device);
        let encoded = self.ctc.is_some().then_some(memory);
        TransformerState { own, cross, rows: rows.collect(), encoded }
    }

    /// The log-probabilities of the CTC head for the source of each row of a state before its first step: (S * V) each.
    /// None without such a head.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub(crate) fn ctc_log_probabilities(
        &self,
        state: &TransformerState,
    ) -> Result<Option<Vec<Vec<f32>>>, TchError> {
        let (Some(ctc), Some(encoded)) = (&self.ctc, &state.encoded) else { return Ok(None) };
        let flat = ctc.log_probabilities(encoded)?; // (N * V)
        let symbols = flat.len() / encoded.size()[0].max(1) as usize;
        let mut rest = flat.as_slice();
        let rows = state.rows.iter().map(|row| {
            let (own, behind) = rest.split_at(row.source.len() * symbols);
            rest = behind;
            own.to_vec()
        });
        Ok(Some(rows.collect()))
    }

    /// The encoder over whole sources: (N, D), their positions concatenated.
    fn encode(&self, sources: &[&SourceItem], lengths: &[i64]) -> Tensor {
        let positions = self.source.places(sources, lengths);
        let rotation = self.source.positions().rotary(PositionIds::Each(&positions));
        let mut x = self.source.forward(sources, &positions); // (N, D)
        let (width, sequences) = (x.size()[1], PackedSequences::new(lengths, x.device()));
        for block in &self.encoder {
            if let Some(conformer) = &block.conformer {
                x = conformer.feed_forward.forward(&x);
            }
            x = block.attention_norm.forward(&x, |x, residual| {
                let parts = block.query_key_value.forward(x, false, None); // (N, 3 D)
                if let Some(rotation) = &rotation {
                    rotation.rotate_rows(&parts.narrow(1, 0, width), self.heads);
                    rotation.rotate_rows(&parts.narrow(1, width, width), self.heads);
                }
                let seen = packed_sequence_attention(&parts, &sequences, self.heads); // (N, D)
                block.attended.forward(&seen, false, Some(residual))
            });
            if let Some(conformer) = &block.conformer {
                x = conformer.convolve(&x, lengths);
            }
            x = block.feed_forward.forward(&x);
            if let Some(conformer) = &block.conformer {
                x = conformer.norm.forward(&x);
            }
        }
        apply_norm(x, &self.encoder_norm)
    }

    /// Reads one or more tokens per row; returns the hidden state for each of them, in order: (N, D). With `looking`
    /// also their attention.
    pub(crate) fn read(
        &self,
        runs: &[&[i64]],
        state: &mut TransformerState,
        looking: bool,
    ) -> (Tensor, Option<Vec<Vec<f32>>>) {
        assert_eq!(runs.len(), state.rows.len(), "tokens for each row");
        state.encoded = None;
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
        let attention = looking.then(|| mean_over_heads(&weights, source.lengths(), self.heads));
        (apply_norm(x, &self.decoder_norm), attention)
    }
}

impl TransformerState {
    /// Reserves a slot for each new token of each row; returns the first one.
    fn grow(&mut self, runs: &[&[i64]]) -> i32 {
        let count = runs.iter().map(|run| run.len()).sum();
        let mut lists = lists(&mut self.rows, own);
        let first = self.own.reserve(count, &mut lists);
        let mut slots = first..;
        lists.iter_mut().zip(runs).for_each(|(list, run)| list.extend(slots.by_ref().take(run.len())));
        first
    }

    /// The slots that each new token attends to: those of its row up to itself, and those of its source.
    fn seen<'a>(&'a self, runs: &'a [&[i64]]) -> impl Iterator<Item = (&'a [i32], &'a [i32])> {
        self.rows.iter().zip(runs).flat_map(|(row, run)| {
            let before = row.own.len() - run.len();
            (0..run.len()).map(move |n| (&row.own[..=before + n], row.source.as_slice()))
        })
    }

    /// Selects rows, in this order; a row may occur more than once or not at all. Only lists are copied.
    pub(crate) fn keep(self, rows: &[i64]) -> TransformerState {
        let kept = rows.iter().map(|&row| self.rows[row as usize].clone()).collect();
        TransformerState { rows: kept, encoded: None, ..self }
    }

    /// The rows of this state, then those of `other`.
    pub(crate) fn join(mut self, mut other: TransformerState) -> TransformerState {
        self.own.take(&other.own, &mut lists(&mut self.rows, own), &mut lists(&mut other.rows, own));
        self.cross.take(
            &other.cross,
            &mut lists(&mut self.rows, source),
            &mut lists(&mut other.rows, source),
        );
        self.rows.append(&mut other.rows);
        self.encoded = None;
        self
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
