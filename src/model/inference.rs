//! The Transformer as a decoder runs it: a token of each row at a time, rows of any age side by side.
//!
//! Nothing is padded: the positions of all sources stand one after the other, and each row names the slots of the keys and
//! values that it sees ([`Slots`]). So on the CPU a row's numbers do not depend on the rows beside it, not in the last bit.
//! The model keeps no state of a decode: [`DecoderState`] is a value, handed in and returned.

use tch::{Device, Tensor};

use super::attention::{Sequences, Sight, over_slots, within_sequences};
use super::layers::{FeedForward, Norm, activated};
use super::positions::{Places, PositionTable};
use super::product::{Product, Weights};
use super::slots::Slots;
use super::transformer::{DecoderLayer, EncoderLayer, Residual, Transformer, normed};
use super::{Activation, NormPlace};
use crate::data::vocabulary::{BOS, EOS, PAD};
use crate::shim;

/// Tokens whose scores of the whole vocabulary stand in memory at once.
const SCORED_AT_ONCE: usize = 256;

/// Runs something whose products and loops use this thread alone, however many threads libtorch has.
pub fn on_this_thread_alone<T>(work: impl FnOnce() -> T) -> T {
    shim::on_this_thread_alone(work)
}

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
    output: Product,
    heads: i64,
    longest: Option<usize>,
}

/// Where a decode stands: everything that the next step needs.
#[derive(Debug)]
pub struct DecoderState {
    /// Keys and values of the tokens so far.
    own: Slots,
    /// Keys and values of the sources' positions.
    cross: Slots,
    rows: Vec<Row>,
}

/// What one row sees.
#[derive(Clone, Debug)]
struct Row {
    /// Slots of its tokens so far.
    own: Vec<i32>,
    /// Slots of its source.
    source: Vec<i32>,
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
            output: Product::new(&[&model.output], weights),
            heads: model.config.heads as i64,
            longest: model.longest(),
        }
    }

    /// The longest side, EOS or BOS counted in, that the positions know; `None` for any length.
    pub fn longest(&self) -> Option<usize> {
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
        let mut cross = Slots::new(self.decoder.len(), width, device);
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
        DecoderState { own: Slots::new(self.decoder.len(), width, device), cross, rows: rows.collect() }
    }

    /// The encoder over whole sources: (N, D), their positions one after the other.
    fn encode(&self, sources: &[&[i64]], lengths: &[i64]) -> Tensor {
        let tokens: Vec<i64> = sources.iter().flat_map(|row| row.iter().copied().chain([EOS])).collect();
        let positions: Vec<i64> = lengths.iter().flat_map(|&length| 0..length).collect();
        let rotation = self.source.positions.turned(Places::Each(&positions));
        let mut x = self.source.forward(&tokens, &positions); // (N, D)
        let (width, sequences) = (x.size()[1], Sequences::new(lengths, x.device()));
        for block in &self.encoder {
            x = block.attention_norm.around(&x, |x, residual| {
                let parts = block.query_key_value.forward(x, false, None); // (N, 3 D)
                if let Some(rotation) = &rotation {
                    rotation.turn_rows(&parts.narrow(1, 0, width), self.heads);
                    rotation.turn_rows(&parts.narrow(1, width, width), self.heads);
                }
                let seen = within_sequences(&parts, &sequences, self.heads); // (N, D)
                block.attended.forward(&seen, false, Some(residual))
            });
            x = block.feed_forward.around(&x);
        }
        normed(x, &self.encoder_norm)
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
        let log_p = self.output.log_probabilities(&hidden)?;
        Ok(Step { log_p, attention, state })
    }

    /// The log-probability of each token of each target, EOS last; (source, target) are token ids. All tokens of a target are
    /// read at once, each of which sees those before it: on the CPU they get what [`Inference::step`] gives them one by one,
    /// to the last bit.
    ///
    /// # Errors
    /// What libtorch refuses.
    pub fn score(&self, rows: &[(&[i64], &[i64])]) -> Result<Vec<Vec<f32>>, tch::TchError> {
        let _guard = tch::no_grad_guard();
        let sources: Vec<&[i64]> = rows.iter().map(|(source, _)| *source).collect();
        let fed: Vec<Vec<i64>> = rows.iter().map(|(_, target)| [&[BOS], *target].concat()).collect();
        let runs: Vec<&[i64]> = fed.iter().map(Vec::as_slice).collect();
        let (hidden, _) = self.read(&runs, &mut self.start(&sources), false); // (N, D)
        let labels = rows.iter().flat_map(|(_, target)| target.iter().copied().chain([EOS]));
        let labels: Vec<i64> = labels.collect();
        let mut flat = Vec::with_capacity(labels.len());
        for (hidden, labels) in
            hidden.split(SCORED_AT_ONCE as i64, 0).iter().zip(labels.chunks(SCORED_AT_ONCE))
        {
            let log_p = self.output.log_probabilities(hidden)?;
            let scores = log_p.chunks_exact(self.vocabulary());
            flat.extend(scores.zip(labels).map(|(scores, &label)| scores[label as usize]));
        }
        let mut rest = flat.into_iter();
        Ok(fed.iter().map(|run| rest.by_ref().take(run.len()).collect()).collect())
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
        let own = Sight::new(state.seen(runs).map(|(own, _)| own), device);
        let source = Sight::new(state.seen(runs).map(|(_, source)| source), device);
        let rotation = self.target.positions.turned(Places::Each(&positions));
        let mut x = self.target.forward(&tokens, &positions); // (N, D)
        let width = x.size()[1];
        let mut weights = Vec::new();
        for (n, block) in self.decoder.iter().enumerate() {
            x = block.own_norm.around(&x, |x, residual| {
                let parts = block.query_key_value.forward(x, false, None); // (N, 3 D)
                if let Some(rotation) = &rotation {
                    rotation.turn_rows(&parts.narrow(1, 0, width), self.heads);
                    rotation.turn_rows(&parts.narrow(1, width, width), self.heads);
                }
                state.own.write(n, first, &parts.narrow(1, width, 2 * width));
                let query = parts.narrow(1, 0, width); // (N, D)
                let seen = over_slots(&query, state.own.layer(n), &own, self.heads, None);
                block.attended.forward(&seen, false, Some(residual))
            });
            x = block.cross_norm.around(&x, |x, residual| {
                let query = block.query.forward(x, false, None); // (N, D)
                let looking = (looking && n + 1 == self.decoder.len()).then_some(&mut weights);
                let seen = over_slots(&query, state.cross.layer(n), &source, self.heads, looking);
                block.crossed.forward(&seen, false, Some(residual))
            });
            x = block.feed_forward.around(&x);
        }
        let attention = looking.then(|| self.means(&weights, source.lengths()));
        (normed(x, &self.decoder_norm), attention)
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

/// Token ids to vectors, with their positions added.
#[derive(Debug)]
struct Embedding {
    weight: Tensor,
    scale: f64,
    positions: PositionTable,
}

/// The same vectors, not a copy of them.
impl Clone for Embedding {
    fn clone(&self) -> Embedding {
        Embedding { weight: self.weight.shallow_clone(), positions: self.positions.clone(), ..*self }
    }
}

impl Embedding {
    /// (R) to (R, D)
    fn forward(&self, tokens: &[i64], positions: &[i64]) -> Tensor {
        let tokens = Tensor::from_slice(tokens).to_device(self.weight.device());
        let x = Tensor::embedding(&self.weight, &tokens, PAD, false, false) * self.scale; // (R, D)
        let added = self.positions.added(Places::Each(positions));
        added.map_or(x.shallow_clone(), |added| x + added)
    }
}

/// The way around a part: `x + f(norm(x))`, or `norm(x + f(x))`. The part adds the residual itself.
#[derive(Clone, Debug)]
struct Around {
    norm: Norm,
    place: NormPlace,
}

impl Around {
    fn new(residual: &Residual) -> Around {
        Around { norm: residual.norm.clone(), place: residual.place }
    }

    fn around(&self, x: &Tensor, part: impl FnOnce(&Tensor, &Tensor) -> Tensor) -> Tensor {
        match self.place {
            NormPlace::Pre => part(&self.norm.forward(x), x),
            NormPlace::Post => self.norm.forward(&part(x, x)),
        }
    }
}

#[derive(Clone, Debug)]
struct FeedForwardBlock {
    norm: Around,
    activation: Activation,
    gate: Option<Product>,
    inner: Product,
    outer: Product,
}

impl FeedForwardBlock {
    fn new(part: &FeedForward, norm: &Residual, weights: Weights) -> FeedForwardBlock {
        FeedForwardBlock {
            norm: Around::new(norm),
            activation: part.activation,
            gate: part.gate.as_ref().map(|gate| Product::new(&[gate], weights)),
            inner: Product::new(&[&part.inner], weights),
            outer: Product::new(&[&part.outer], weights),
        }
    }

    fn around(&self, x: &Tensor) -> Tensor {
        self.norm.around(x, |x, residual| {
            // ReLU is done by the product itself.
            let relu = self.activation == Activation::Relu;
            let inner = self.inner.forward(x, relu, None); // (R, F)
            let gate = self.gate.as_ref().map(|gate| gate.forward(x, false, None)); // (R, F)
            let active = if relu { inner } else { activated(self.activation, inner, gate, true) };
            self.outer.forward(&active, false, Some(residual))
        })
    }
}

#[derive(Clone, Debug)]
struct EncoderBlock {
    attention_norm: Around,
    query_key_value: Product,
    attended: Product,
    feed_forward: FeedForwardBlock,
}

impl EncoderBlock {
    fn new(layer: &EncoderLayer, weights: Weights) -> EncoderBlock {
        let own = &layer.self_attention;
        EncoderBlock {
            attention_norm: Around::new(&layer.self_attention_norm),
            query_key_value: Product::new(&[&own.query, &own.key, &own.value], weights),
            attended: Product::new(&[&own.output], weights),
            feed_forward: FeedForwardBlock::new(&layer.feed_forward, &layer.feed_forward_norm, weights),
        }
    }
}

#[derive(Clone, Debug)]
struct DecoderBlock {
    own_norm: Around,
    query_key_value: Product,
    attended: Product,
    cross_norm: Around,
    query: Product,
    source_keys_values: Product,
    crossed: Product,
    feed_forward: FeedForwardBlock,
}

impl DecoderBlock {
    fn new(layer: &DecoderLayer, weights: Weights) -> DecoderBlock {
        let (own, cross) = (&layer.self_attention, &layer.cross_attention);
        DecoderBlock {
            own_norm: Around::new(&layer.self_attention_norm),
            query_key_value: Product::new(&[&own.query, &own.key, &own.value], weights),
            attended: Product::new(&[&own.output], weights),
            cross_norm: Around::new(&layer.cross_attention_norm),
            query: Product::new(&[&cross.query], weights),
            source_keys_values: Product::new(&[&cross.key, &cross.value], weights),
            crossed: Product::new(&[&cross.output], weights),
            feed_forward: FeedForwardBlock::new(&layer.feed_forward, &layer.feed_forward_norm, weights),
        }
    }
}
