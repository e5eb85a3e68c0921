//! What the ranks of a run tell each other in an update and in a validation, and the sum of their gradients.
//!
//! Each rank has summed its subtree of the update's shards; here the upper nodes are added. What a rank alone knows
//! (that a shard does not fit into memory, a signal, an error) travels beside the gradients, so that all do the same
//! next.

use std::cell::RefCell;
use std::ops::ControlFlow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, Tensor};

use super::metrics::RunningStats;
use super::replicas::GradientSum;
use crate::data::shard::{Shard, Tree};
use crate::distributed::Group;
use crate::error::{Error, Result};
use crate::model::params::{Param, Params};
use crate::runtime::StopFlag;

/// The exchanges of a run.
pub(crate) struct Exchange<'a> {
    group: &'a Group,
    /// The signals of this process.
    heard: StopFlag,
    /// The signals that all ranks know of; those of this process if it is alone.
    agreed: StopFlag,
    /// All gradients, one after the other, with room for as many from each rank: (N)
    flat: RefCell<Tensor>,
}

/// What a rank says beside its gradients.
#[derive(Clone, Debug, Default, PartialEq)]
struct Message {
    status: Status,
    /// The signal that asks for a stop, or 0.
    signal: u8,
    /// Whether a checkpoint is asked for.
    save: bool,
    counts: RunningStats,
    /// Smoothed loss and negative log-likelihood; as for weights, -0 where there is no sum.
    losses: [f64; 2],
    /// Whether each weight has a gradient.
    has_gradient: Vec<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Status {
    #[default]
    Done,
    /// The shard of this number does not fit into memory.
    Memory(u64),
    Failed,
}

impl<'a> Exchange<'a> {
    /// Between the ranks of a group; no one listens to signals yet.
    pub(crate) fn new(group: &'a Group) -> Exchange<'a> {
        let heard = StopFlag::default();
        Exchange { group, agreed: heard.clone(), heard, flat: RefCell::default() }
    }

    /// Listens to `heard`; returns the flag that all ranks agree on, which may be raised in any exchange.
    pub(crate) fn listen(&mut self, heard: &StopFlag) -> StopFlag {
        self.heard = heard.clone();
        self.agreed = if self.group.ranks() == 1 { heard.clone() } else { StopFlag::default() };
        self.agreed.clone()
    }

    /// The signals of this rank: once it is asked to stop, work that the ranks share need not go on.
    pub(crate) fn stopped(&self) -> &StopFlag {
        &self.heard
    }

    /// The part of a tree that this rank computes.
    pub(crate) fn part<T>(&self, tree: Tree<T>) -> Option<Tree<T>> {
        tree.part(self.group.rank(), self.group.ranks())
    }

    /// Every rank's share of a list goes round by turns.
    pub(crate) fn is_own(&self, number: usize) -> bool {
        number % self.group.ranks() == self.group.rank()
    }

    /// The number of ranks.
    pub(crate) fn ranks(&self) -> usize {
        self.group.ranks()
    }

    /// Gathers what each rank has done; `None` if one of them was asked to stop before it was done.
    ///
    /// # Errors
    /// The error of a rank; a rank is lost.
    pub(crate) fn gather<T: Serialize + DeserializeOwned>(
        &self,
        own: Result<Option<T>>,
    ) -> Result<Option<Vec<T>>> {
        if self.group.ranks() == 1 {
            return Ok(own?.map(|own| vec![own]));
        }
        let signal = self.heard.raised().unwrap_or_default();
        let all = self.group.gather(own.map(|own| (signal, own)))?;
        let signal = all.iter().map(|(signal, _)| *signal).find(|signal| *signal != 0);
        signal.into_iter().for_each(|signal| self.agreed.raise(signal));
        let done: Option<Vec<T>> = all.into_iter().map(|(_, own)| own).collect();
        Ok(done.filter(|_| signal.is_none()))
    }

    /// The sum over all ranks, or the first shard of `all` that ran out of memory on a rank.
    ///
    /// # Errors
    /// An error of this rank or of another one; a rank is lost.
    pub(crate) fn sum(
        &self,
        own: Result<ControlFlow<Shard, Option<GradientSum>>>,
        all: &Tree<Shard>,
        params: &Params,
    ) -> Result<ControlFlow<Shard, GradientSum>> {
        let without = || Error::failure("an update without shards");
        if self.group.ranks() == 1 {
            return match own? {
                ControlFlow::Continue(sum) => sum.ok_or_else(without).map(ControlFlow::Continue),
                ControlFlow::Break(shard) => Ok(ControlFlow::Break(shard)),
            };
        }
        let message =
            Message { signal: self.heard.raised().unwrap_or_default(), ..self.message(&own, all, params)? };
        let sizes = sizes(params);
        let flat = self.flat(&own, &sizes, params.device());
        let told = self.group.sum(&flat, &message.to_bytes())?;
        let told: Vec<Message> = told.iter().map(|bytes| Message::from_bytes(bytes)).collect();
        told.iter().for_each(|message| self.hear(message));
        own.map(drop)?;
        if let Some(rank) = told.iter().position(|message| message.status == Status::Failed) {
            return Err(Error::failure(format!("rank {rank} failed; its own message says why")));
        }
        let broken = told.iter().find_map(|message| match message.status {
            Status::Memory(number) => all.leaves().get(number as usize).copied().cloned(),
            _ => None,
        });
        match broken {
            Some(shard) => Ok(ControlFlow::Break(shard)),
            None => Ok(ControlFlow::Continue(whole(&told, &flat, &sizes, params))),
        }
    }

    fn message(
        &self,
        own: &Result<ControlFlow<Shard, Option<GradientSum>>>,
        all: &Tree<Shard>,
        params: &Params,
    ) -> Result<Message> {
        let mut message = Message {
            save: self.heard.save_asked(),
            losses: [-0.0; 2],
            has_gradient: vec![false; params.iter().count()],
            ..Message::default()
        };
        match own {
            Err(_) => message.status = Status::Failed,
            Ok(ControlFlow::Break(shard)) => {
                let number = all.leaves().iter().position(|leaf| *leaf == shard);
                message.status = number.map_or(Status::Failed, |number| Status::Memory(number as u64));
            }
            Ok(ControlFlow::Continue(Some(sum))) => {
                let losses = Vec::<f64>::try_from(&sum.losses)?;
                message.losses = [losses[0], losses[1]];
                message.counts = sum.counts.clone();
                message.has_gradient = sum.gradients.iter().map(Tensor::defined).collect();
            }
            Ok(ControlFlow::Continue(None)) => {}
        }
        Ok(message)
    }

    fn hear(&self, message: &Message) {
        if message.signal != 0 {
            self.agreed.raise(message.signal);
        }
        if message.save {
            self.agreed.ask_to_save();
        }
    }

    /// The gradients of this rank, one after the other, and room up to a multiple of the number of ranks; the same memory
    /// in each update.
    fn flat(
        &self,
        own: &Result<ControlFlow<Shard, Option<GradientSum>>>,
        sizes: &[i64],
        device: Device,
    ) -> Tensor {
        let _guard = tch::no_grad_guard();
        let (count, ranks) = (sizes.iter().sum::<i64>(), self.group.ranks() as i64);
        let size = (count + ranks - 1) / ranks * ranks;
        let mut flat = self.flat.borrow_mut();
        if !flat.defined() || flat.size() != [size] {
            *flat = Tensor::zeros([size], (Kind::Float, device));
        }
        let gradients = match own {
            Ok(ControlFlow::Continue(Some(sum))) => sum.gradients.as_slice(),
            _ => &[],
        };
        let parts = flat.narrow(0, 0, count).split_with_sizes(sizes, 0);
        for (at, mut part) in parts.into_iter().enumerate() {
            match gradients.get(at).filter(|gradient| gradient.defined()) {
                Some(gradient) => part.copy_(&gradient.view([-1])),
                // x + -0 is x for every x, so a rank without a gradient changes no bit.
                None => drop(part.fill_(-0.0)),
            }
        }
        flat.shallow_clone()
    }

    /// Compares the weights of all ranks: they took the same updates, so they must be the same.
    ///
    /// # Errors
    /// The ranks whose weights differ from those of rank 0.
    pub(crate) fn compare(&self, params: &Params, step: u64) -> Result<()> {
        if self.group.ranks() == 1 {
            return Ok(());
        }
        let all = self.group.gather(params.sha256())?;
        let others: Vec<String> =
            (0..all.len()).filter(|&rank| all[rank] != all[0]).map(|rank| format!("rank {rank}")).collect();
        match others.is_empty() {
            true => Ok(()),
            false => {
                let message = format!(
                    "all ranks must have the same weights, but after step {step} those of {} differ from those of rank 0",
                    others.join(", ")
                );
                Err(Error::failure(message).hint(
                    "one machine computes different results or is faulty: run all ranks on one type of CPU; the last \
                     checkpoint was saved before this check",
                ))
            }
        }
    }
}

/// The number of values of each weight; 0 for those that never get a gradient.
fn sizes(params: &Params) -> Vec<i64> {
    let size = |param: &Param| if param.tensor.requires_grad() { param.tensor.numel() as i64 } else { 0 };
    params.iter().map(size).collect()
}

/// The sum over all ranks. A weight has a gradient if it has one on any of them.
fn whole(told: &[Message], flat: &Tensor, sizes: &[i64], params: &Params) -> GradientSum {
    let mut counts = RunningStats::default();
    told.iter().for_each(|message| counts.add(&message.counts));
    let losses = [0, 1].map(|which| folded(told.iter().map(|message| message.losses[which]).collect()));
    let has = |at: usize| told.iter().any(|message| message.has_gradient[at]);
    let parts = flat.narrow(0, 0, sizes.iter().sum()).split_with_sizes(sizes, 0);
    let gradient = |(at, (param, part)): (usize, (&Param, Tensor))| match has(at) {
        true => part.view_as(&param.tensor),
        false => Tensor::default(),
    };
    let gradients = params.iter().zip(parts).enumerate().map(gradient).collect();
    GradientSum { counts, losses: Tensor::from_slice(&losses).to_device(params.device()), gradients }
}

/// The sum along a binary tree: neighbours first, then pairs of them.
fn folded(mut numbers: Vec<f64>) -> f64 {
    let mut apart = 1;
    while apart < numbers.len() {
        for at in (0..numbers.len() - apart).step_by(2 * apart) {
            numbers[at] += numbers[at + apart];
        }
        apart *= 2;
    }
    numbers.first().copied().unwrap_or_default()
}

impl Message {
    fn to_bytes(&self) -> Vec<u8> {
        let (status, shard) = match self.status {
            Status::Done => (0, 0),
            Status::Memory(shard) => (1, shard),
            Status::Failed => (2, 0),
        };
        let RunningStats { tokens, source_tokens, positions, rows, .. } = self.counts;
        let [loss, nll] = self.losses.map(f64::to_bits);
        let (signal, save) = (u64::from(self.signal), u64::from(self.save));
        let numbers = [status, shard, signal, save, tokens, source_tokens, positions, rows, loss, nll];
        let weights = self.has_gradient.iter().map(|has| u8::from(*has));
        numbers.iter().flat_map(|number| number.to_le_bytes()).chain(weights).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Message {
        let (numbers, weights) = bytes.split_at(80.min(bytes.len()));
        let mut numbers = numbers.chunks_exact(8).map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes));
        let mut next = || numbers.next().unwrap_or_default();
        let status = match (next(), next()) {
            (0, _) => Status::Done,
            (1, shard) => Status::Memory(shard),
            _ => Status::Failed,
        };
        let (signal, save) = (next() as u8, next() != 0);
        let counts = RunningStats {
            tokens: next(),
            source_tokens: next(),
            positions: next(),
            rows: next(),
            ..RunningStats::default()
        };
        let losses = [next(), next()].map(f64::from_bits);
        Message {
            status,
            signal,
            save,
            counts,
            losses,
            has_gradient: weights.iter().map(|has| *has != 0).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let counts =
            RunningStats { tokens: 1, source_tokens: 2, positions: 3, rows: 4, ..RunningStats::default() };
        let one = Message {
            status: Status::Memory(7),
            signal: 15,
            save: true,
            counts,
            losses: [0.1, -0.0],
            has_gradient: vec![true, false, true],
        };
        for message in [one, Message::default(), Message { status: Status::Failed, ..Message::default() }] {
            assert_eq!(Message::from_bytes(&message.to_bytes()), message);
        }
    }

    #[test]
    fn losses_are_added_as_the_tree_adds_them() {
        let (a, b, c, d) = (0.1, 0.7, 1e16, -1e16);
        assert_eq!(folded(vec![a, b, c, d]), (a + b) + (c + d));
        assert_eq!(folded(vec![a, b, c]), (a + b) + c);
        assert_eq!(folded(vec![a, -0.0]).to_bits(), a.to_bits());
    }
}
