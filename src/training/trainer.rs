//! The training loop: update, log, validate, save, stop.
//!
//! It knows no files but the ones that its [`Report`] writes; who runs it says how a checkpoint is saved.
//! All of its state is the weights, the optimizer's moments and [`Progress`]: everything random follows from
//! (seed, step), so a run that goes on from a checkpoint is the same, bit for bit, as one that never stopped.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::loss::cross_entropy;
use super::metrics::{Validation, Window};
use super::optimizer::{AdamW, clip_gradients};
use super::report::Report;
use super::schedule::Schedule;
use super::validation::{batch_of, validate};
use super::{BestBy, TrainingConfig};
use crate::data::batch::Batch;
use crate::data::dataset::Dataset;
use crate::data::sampler::Sampler;
use crate::data::tokenizer::Tokenizer;
use crate::decoding::DecodingConfig;
use crate::decoding::decoder::ModelStepper;
use crate::error::{Error, Result};
use crate::model::layers::Noise;
use crate::model::params::Params;
use crate::model::transformer::Transformer;
use crate::runtime::{StopFlag, seed_for};

/// Where training stands: `state.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Updates made.
    pub step: u64,
    /// Passes over the training pairs that are complete.
    pub epoch: u64,
    /// Batches of the current pass that were used.
    pub position: usize,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Validations in a row since then that were not better.
    pub stale: u64,
    /// Figures since the last row of `metrics.csv`.
    pub window: Window,
    /// Length of `metrics.csv` when this was written.
    pub metrics_bytes: u64,
    /// Fingerprint of the training pairs.
    pub data: String,
}

/// The best validation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// When it was.
    pub step: u64,
    /// `training.best_by`, turned so that less is better.
    pub cost: f64,
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `training.steps` or `training.epochs` are reached.
    Complete,
    /// `training.patience` ran out.
    OutOfPatience,
    /// A signal asked for it; its number.
    Stopped(u8),
}

/// What a training run is made of.
pub struct Parts<'a> {
    /// `[training]`
    pub config: &'a TrainingConfig,
    /// `[decoding]`, for validation.
    pub decoding: &'a DecodingConfig,
    /// The run's seed.
    pub seed: u64,
    /// The network over `params`.
    pub model: &'a Transformer,
    /// Its weights.
    pub params: &'a Params,
    /// D, for the `noam` schedule.
    pub width: usize,
    /// What is learned from.
    pub train: &'a Dataset,
    /// What is only looked at.
    pub valid: &'a Dataset,
    /// The target side's tokenizer, for the scores of validation.
    pub target: &'a Tokenizer,
}

/// What a checkpoint is made of, besides the weights.
pub struct Snapshot<'a> {
    /// Where training stands.
    pub progress: &'a Progress,
    /// The optimizer's state by name.
    pub optimizer: Vec<(String, Tensor)>,
    /// The step with the best validation so far.
    pub best: Option<u64>,
}

/// Saves a snapshot.
pub type Save<'a> = dyn FnMut(&Snapshot) -> Result<()> + 'a;

/// A training run that can be asked for one update at a time.
pub struct Trainer<'a> {
    parts: Parts<'a>,
    optimizer: AdamW,
    schedule: Schedule,
    sampler: Sampler,
    progress: Progress,
}

impl<'a> Trainer<'a> {
    /// A run that starts, or with a progress and the optimizer's saved state one that goes on.
    pub fn new(parts: Parts<'a>, resumed: Option<(Progress, Vec<(String, Tensor)>)>) -> Result<Trainer<'a>> {
        let mut optimizer = AdamW::new(&parts.config.adamw, parts.params);
        let data = parts.train.fingerprint();
        let progress = match resumed {
            Some((progress, _)) if progress.data != data => {
                let message = "the training pairs are not those that the run began with";
                return Err(Error::input(message).hint("put them back, or train anew with --out DIR"));
            }
            Some((progress, saved)) => {
                optimizer.restore(parts.params, saved)?;
                progress
            }
            None => Progress { data, ..Progress::default() },
        };
        let budget = parts.config.tokens_per_batch;
        let sampler =
            Sampler::new(&parts.train.examples, budget, parts.seed, progress.epoch, progress.position);
        let schedule = Schedule::new(parts.config, parts.width);
        Ok(Trainer { parts, optimizer, schedule, sampler, progress })
    }

    /// Where training stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Trains to the end, or until the flag is raised.
    pub fn run(&mut self, stop: &StopFlag, report: &mut Report, save: &mut Save) -> Result<Outcome> {
        let config = self.parts.config;
        loop {
            if let Some(outcome) = self.ended() {
                self.finish(report, save)?;
                return Ok(outcome);
            }
            self.update_and_log(report)?;
            let validated = self.progress.step.is_multiple_of(config.validate_every);
            if validated {
                self.validate(report)?;
            }
            let stopped = stop.raised();
            // A last step that is not validated here is validated and saved by `finish`.
            let due = self.progress.step.is_multiple_of(config.checkpoint_every) && self.ended().is_none();
            if validated || stopped.is_some() || due {
                self.progress.metrics_bytes = report.flush()?;
                self.save(&self.progress, save)?;
            }
            if let Some(signal) = stopped {
                return Ok(Outcome::Stopped(signal));
            }
        }
    }

    /// Whether a stop rule holds.
    pub fn ended(&self) -> Option<Outcome> {
        let config = self.parts.config;
        let complete =
            self.progress.step >= config.steps || (config.epochs > 0 && self.progress.epoch >= config.epochs);
        let impatient = config.patience > 0 && self.progress.stale >= config.patience;
        match (complete, impatient) {
            (true, _) => Some(Outcome::Complete),
            (false, true) => Some(Outcome::OutOfPatience),
            (false, false) => None,
        }
    }

    /// One update: the gradients of `accumulate` batches, normalised over all their target tokens.
    pub fn update(&mut self) -> Result<Window> {
        let step = self.progress.step + 1;
        let device = self.parts.params.device();
        let batches: Vec<Batch> =
            (0..self.parts.config.accumulate).map(|_| self.next_batch().to_device(device)).collect();
        let tokens: usize = batches.iter().map(Batch::target_tokens).sum();
        self.parts.params.clear_gradients();
        let rows = batches.iter().map(Batch::rows).sum::<usize>() as u64;
        let mut window = Window { tokens: tokens as u64, rows, updates: 1, ..Window::default() };
        for (n, batch) in batches.iter().enumerate() {
            let noise = Noise::new(seed_for(self.parts.seed, step, &format!("dropout {n}")));
            let [loss, nll] = self.backward(batch, tokens, &noise)?;
            window.loss += loss;
            window.nll += nll;
        }
        window.gradient_norm = clip_gradients(self.parts.params, self.parts.config.clip_norm);
        // Before the weights are moved: what was saved last stays the last that is good.
        if !window.loss.is_finite() || !window.gradient_norm.is_finite() {
            return Err(Error::failure(format!(
                "the loss or its gradient at step {step} is not a finite number"
            ))
            .hint("train anew with a lower `training.adamw.learning_rate` or a longer warm-up"));
        }
        self.optimizer.step(self.parts.params, self.learning_rate(step))?;
        self.progress.step = step;
        self.progress.epoch = self.sampler.epoch();
        self.progress.position = self.sampler.position();
        Ok(window)
    }

    /// Forward and backward of one batch; its summed loss and negative log-likelihood.
    fn backward(&self, batch: &Batch, tokens: usize, noise: &Noise) -> Result<[f64; 2]> {
        let model = self.parts.model;
        let memory = model.encode(&batch.source, Some(noise));
        let hidden = model.decode(&batch.target_in, &memory, Some(noise)); // (B, T, D)
        // Only real positions go through the vocabulary.
        let hidden = hidden.flatten(0, 1).index_select(0, &batch.places); // (N, D)
        let logits = model.logits(&hidden); // (N, V)
        let loss = cross_entropy(&logits, &batch.labels, self.parts.config.label_smoothing);
        (&loss.smoothed / tokens as f64).f_backward()?;
        Ok([loss.smoothed.double_value(&[]), loss.nll.double_value(&[])])
    }

    fn next_batch(&mut self) -> Batch {
        batch_of(&self.parts.train.examples, self.sampler.next_batch())
    }

    /// The learning rate of a step.
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.parts.config.adamw.learning_rate * self.schedule.factor(step)
    }

    fn update_and_log(&mut self, report: &mut Report) -> Result<()> {
        let window = self.update()?;
        self.progress.window.add(&window);
        let (step, epoch) = (self.progress.step, self.progress.epoch);
        report.updated(step, &window, self.learning_rate(step));
        if step.is_multiple_of(self.parts.config.log_every) {
            let window = std::mem::take(&mut self.progress.window);
            report.logged(step, epoch, self.learning_rate(step), &window)?;
        }
        Ok(())
    }

    /// Validates, writes a row and samples, and keeps the books of the best.
    fn validate(&mut self, report: &mut Report) -> Result<()> {
        let Parts { config, decoding, model, params, valid, target, .. } = &self.parts;
        let stepper = ModelStepper { model, device: params.device() };
        let (found, decoded) = validate(&stepper, valid, target, config, decoding)?;
        let cost = cost(config.best_by, &found);
        let step = self.progress.step;
        let better = self.progress.best.is_none_or(|best| cost < best.cost);
        if better {
            self.progress.best = Some(Best { step, cost });
            self.progress.stale = 0;
        } else {
            self.progress.stale += 1;
        }
        report.validated(step, self.progress.epoch, &found, better)?;
        report.samples(step, valid, &decoded[..config.samples.min(decoded.len())])
    }

    fn save(&self, progress: &Progress, save: &mut Save) -> Result<()> {
        let best = self.progress.best.map(|best| best.step);
        save(&Snapshot { progress, optimizer: self.optimizer.state(self.parts.params), best })
    }

    /// The last step is validated, too. What is saved are the books from before: a run that is resumed with more steps
    /// goes on as if it had never ended here, and cuts this validation's row off again.
    fn finish(&mut self, report: &mut Report, save: &mut Save) -> Result<()> {
        if self.progress.step == 0 || self.progress.step.is_multiple_of(self.parts.config.validate_every) {
            return Ok(());
        }
        self.progress.metrics_bytes = report.flush()?;
        let before = self.progress.clone();
        self.validate(report)?;
        self.save(&before, save)?;
        report.flush()?;
        Ok(())
    }
}

fn cost(by: BestBy, found: &Validation) -> f64 {
    match by {
        BestBy::Nll => found.nll,
        BestBy::ExactMatch => -found.exact_match,
        BestBy::ErrorRate => found.error_rate,
    }
}
