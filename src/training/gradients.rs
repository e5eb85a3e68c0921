//! The gradients of one update: the sum over its batches, and what to do where the memory does not suffice for one.

use tch::Tensor;

use super::memory::{Piece, Room, find_budget, within_memory};
use super::metrics::Window;
use super::objective::objective;
use super::parts::Parts;
use crate::data::batch::Batch;
use crate::data::dataset::Example;
use crate::data::loader::{Assembler, Loaded};
use crate::error::{Error, Result};
use crate::runtime::{memory, seed_for};

/// The batches of one update on their way through the network.
pub struct Update<'u> {
    /// What is trained.
    pub parts: &'u Parts<'u>,
    /// Makes the halves of a batch.
    pub assembler: &'u Assembler,
    /// `training.accumulate` batches.
    pub batches: &'u [Loaded],
    /// The number of the update, from 1.
    pub step: u64,
    /// The fewest positions for which the memory did not suffice so far: no piece of as many is tried again.
    pub too_large: Option<usize>,
}

/// What the batches of an update gave. Its sums are read last: a GPU is not waited for before there is need.
pub struct Given {
    counts: Window,
    /// Smoothed loss and negative log-likelihood: (2) f64
    sums: Option<Tensor>,
    /// Rows that were left out because there is no memory for them.
    pub left_out: Vec<usize>,
    /// What [`Update::too_large`] is now.
    pub too_large: Option<usize>,
}

/// After so many single rows without memory, and none before them that there was memory for, the shortest row is tried.
const DOUBTFUL: usize = 8;

impl Given {
    /// The update's figures; the norm of its gradients is known by now.
    ///
    /// # Errors
    /// What libtorch refuses.
    pub fn window(&self, gradient_norm: f64) -> Result<Window> {
        let sums = self.sums.as_ref().map(Vec::<f64>::try_from).transpose()?;
        let [loss, nll] = sums.map_or([0.0; 2], |sums| [sums[0], sums[1]]);
        Ok(Window { loss, nll, gradient_norm, ..self.counts.clone() })
    }
}

impl Update<'_> {
    /// Leaves the gradients with the weights.
    ///
    /// Where the memory does not suffice it begins anew, since half a backward pass may have left its gradients, with
    /// everything in halves that is as large. A row that does not fit by itself is left out.
    ///
    /// # Errors
    /// There is no memory for a single row; what libtorch refuses.
    pub fn gradients(&self) -> Result<Given> {
        let whole = self.batches.iter().enumerate().map(|(n, batch)| Piece::whole(n, batch));
        let (mut too_large, mut left_out) = (self.too_large, Vec::new());
        let mut pieces = self.small_enough(whole.collect(), too_large);
        loop {
            let (given, failed) = self.sum_over(&pieces)?;
            let Some(at) = failed else { return Ok(Given { left_out, too_large, ..given }) };
            too_large = Some(self.positions(&pieces[at]).min(too_large.unwrap_or(usize::MAX)));
            if pieces[at].rows.len() == 1 {
                left_out.extend(pieces.remove(at).rows);
            }
            if at == 0 && left_out.len() == DOUBTFUL && !self.shortest_fits()? {
                let message = "the memory must suffice for a pair at least, but it does not";
                return Err(Error::failure(message).hint("take a smaller model, or free some memory"));
            }
            pieces = self.small_enough(pieces, too_large);
        }
    }

    /// Whether there is memory for the shortest row of the set; long ones may stand together in a batch.
    fn shortest_fits(&self) -> Result<bool> {
        let examples = &self.parts.train.examples;
        let length = |row: &usize| examples[*row].lengths().0 + examples[*row].lengths().1;
        let rows: Vec<usize> = (0..examples.len()).min_by_key(length).into_iter().collect();
        let piece = Piece { rows, pass: 0, name: String::new() };
        Ok(within_memory(|| self.backward(&piece, 1))?.is_some())
    }

    /// The same rows in pieces of fewer positions than were too large; a single row stays.
    fn small_enough(&self, mut pieces: Vec<Piece>, too_large: Option<usize>) -> Vec<Piece> {
        let Some(too_large) = too_large else { return pieces };
        let mut at = 0;
        while at < pieces.len() {
            match pieces[at].halves().filter(|_| self.positions(&pieces[at]) >= too_large) {
                Some(halves) => drop(pieces.splice(at..=at, halves)),
                None => at += 1,
            }
        }
        pieces
    }

    /// Positions of a piece, padding counted in.
    fn positions(&self, piece: &Piece) -> usize {
        let lengths = piece.rows.iter().map(|&row| Example::lengths(&self.parts.train.examples[row]));
        let longest = lengths.fold((0, 0), |most, row| (row.0.max(most.0), row.1.max(most.1)));
        piece.rows.len() * (longest.0 + longest.1)
    }

    /// Forward and backward of all pieces, or up to the one that is too large.
    fn sum_over(&self, pieces: &[Piece]) -> Result<(Given, Option<usize>)> {
        let labels = |row: &usize| self.parts.train.examples[*row].lengths().1;
        let tokens = pieces.iter().flat_map(|piece| &piece.rows).map(labels).sum();
        let counts = Window { updates: 1, ..Window::default() };
        let mut given = Given { counts, sums: None, left_out: Vec::new(), too_large: None };
        self.parts.params.clear_gradients();
        for (at, piece) in pieces.iter().enumerate() {
            let Some((counts, sums)) = within_memory(|| self.backward(piece, tokens))? else {
                return Ok((given, Some(at)));
            };
            given.counts.add(&counts);
            given.sums = Some(match given.sums {
                Some(before) => before + sums,
                None => sums,
            });
        }
        Ok((given, None))
    }

    /// Forward and backward of one piece; its counts and sums. The loss is divided by the `tokens` of the whole update.
    fn backward(&self, piece: &Piece, tokens: usize) -> Result<(Window, Tensor)> {
        let Parts { model, config, params, faults, seed, .. } = self.parts;
        // The loader has padded whole batches already.
        let made;
        let batch =
            match self.batches.iter().find(|batch| batch.pass == piece.pass && batch.rows == piece.rows) {
                Some(loaded) => &loaded.batch,
                None => {
                    made = self.assembler.batch(&piece.rows, piece.pass);
                    &made
                }
            };
        faults.memory(batch.positions())?;
        let seed = seed_for(*seed, self.step, &format!("dropout {}", piece.name));
        let found = objective(model, config, &batch.to_device(params.device()), self.step, seed);
        let fault = if faults.nan_at.contains(&self.step) { f64::NAN } else { 1.0 };
        (&found.loss * (fault / tokens as f64)).f_backward()?;
        let sums = Tensor::stack(&[found.loss.detach() * fault, found.nll.detach()], 0); // (2)
        Ok((Window::of(batch), sums))
    }
}

impl Window {
    /// The counts of a batch, its sums still zero.
    fn of(batch: &Batch) -> Window {
        Window {
            tokens: batch.target_tokens() as u64,
            source_tokens: (batch.real_positions() - batch.target_tokens()) as u64,
            positions: batch.positions() as u64,
            rows: batch.rows() as u64,
            ..Window::default()
        }
    }
}

/// `tokens_per_batch = "auto"`: tries how much fits, and leaves no trace in the weights.
///
/// # Errors
/// Not even small batches fit.
pub fn budget_for(parts: &Parts, assembler: &Assembler) -> Result<usize> {
    let device = parts.params.device();
    // While a checkpoint is written, weights and state stand in memory twice more: as copies, and as bytes.
    let weights: usize = parts.params.iter().map(|param| param.tensor.numel() * 4).sum();
    let saving = if device == tch::Device::Cpu { 9 * weights as u64 } else { 0 };
    let limit = (parts.config.memory_limit * (1u64 << 30) as f64) as u64;
    let trial = |rows: &[usize]| -> Result<()> {
        let batch = assembler.batch(rows, 0).to_device(device);
        objective(parts.model, parts.config, &batch, u64::MAX, 0).loss.f_backward()?;
        parts.params.clear_gradients();
        Ok(())
    };
    let found = find_budget(&parts.train.examples, device, Room { limit, kept: saving }, trial);
    memory::forget(device);
    found
}
