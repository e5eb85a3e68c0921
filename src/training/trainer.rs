//! The training loop: update, log, validate, save, stop.
//!
//! It knows no files: a [`Recorder`] takes its metrics, and a [`Checkpointer`] saves its checkpoints. All of its state
//! is the weights, their averages, the optimizer's state and [`TrainState`]: every random number follows from (seed,
//! step), so a resumed run is bit-identical to an uninterrupted one.

use std::borrow::Cow;

use super::clock::Stopwatch;
use super::context::{Checkpointer, NamedTensors, Snapshot, TrainContext};
use super::ema::Ema;
use super::exchange::Exchange;
use super::gradients::{GradientEngine, budget_for, plan};
use super::metrics::RunningStats;
use super::optimizer::{Optimizer, clip_gradients, freeze};
use super::pace::{Machine, PaceMeter};
use super::recorders::{Event, Recorder, Sample};
use super::replicas::Replicas;
use super::saved::{copied, identity, other_pairs, restore};
use super::schedule::Schedule;
use super::state::{BestValidation, Improvement, StopReason, TrainState};
use super::validation::{Scored, Validated, validate};
use super::{Then, TokensPerBatch};
use crate::data::batch_sampler::BatchSampler;
use crate::data::loader::{Collator, LoadedUpdate, Loader};
use crate::data::readers::Pair;
use crate::decoding::incremental_decoder::Hypothesis;
use crate::distributed::Group;
use crate::error::{Error, Result};
use crate::runtime::StopFlag;

/// The result of an update.
#[derive(Debug, Default)]
pub struct UpdateOutput {
    /// Its statistics.
    pub window: RunningStats,
    /// The rows of a skipped update, whose loss or gradient is NaN or infinite.
    pub skipped: Vec<usize>,
    /// Rows that were skipped because they do not fit into memory.
    pub skipped_rows: Vec<usize>,
    /// Positions of a shard that ran out of memory, if this is new.
    pub too_large: Option<usize>,
}

/// A training run that can be asked for one update at a time.
pub struct Trainer<'a> {
    context: TrainContext<'a>,
    optimizer: Optimizer,
    ema: Option<Ema>,
    schedule: Schedule,
    replicas: Replicas,
    collator: Collator,
    loader: Loader,
    exchange: Exchange<'a>,
    progress: TrainState,
    /// The fewest positions that ran out of memory.
    too_large: Option<usize>,
    waiting: Stopwatch,
    meter: PaceMeter<'a>,
}

impl<'a> Trainer<'a> {
    /// Starts a run, or resumes one from its saved progress and training state; the saved weights are in `context`
    /// already.
    ///
    /// # Errors
    /// Saved state that does not fit; training pairs that differ from those of the run's start; a pattern that matches
    /// no weight.
    pub fn new(context: TrainContext<'a>, saved: Option<(TrainState, NamedTensors)>) -> Result<Trainer<'a>> {
        freeze(context.config, context.params)?;
        let mut optimizer = Optimizer::new(context.config, context.params)?;
        let mut ema = context.config.ema.as_ref().map(|ema| Ema::new(ema, context.params));
        let (passes, data) = (&context.train.passes, identity(context.train));
        let mut progress = match saved {
            Some((progress, _)) if progress.data != data => {
                return Err(other_pairs(&progress.data, &data));
            }
            Some((progress, training)) => {
                restore(&mut optimizer, &mut ema, context.params, training)?;
                progress
            }
            None => TrainState { data, ..TrainState::default() },
        };
        progress.machine.clone_from(&context.machine);
        progress.valid = context.valid.corpus.fingerprint().to_owned();
        let collator = Collator::new(context.train.corpus.clone(), context.config.word_dropout, context.seed)
            .with_bpe_dropout(passes.bpe_dropout.clone());
        let replicas = Replicas::new(context.model, context.params);
        progress.tokens_per_batch = match (context.config.tokens_per_batch, progress.tokens_per_batch) {
            (TokensPerBatch::Tokens(tokens), _) | (TokensPerBatch::Auto, tokens @ 1..) => tokens,
            (TokensPerBatch::Auto, 0) => budget_for(&context, &collator, &replicas)?,
        };
        let batch_sampler = BatchSampler::mixed(
            context.train.corpus.lengths().clone(),
            passes.mixture.clone(),
            progress.tokens_per_batch,
            context.seed,
            (progress.epoch, progress.position),
        );
        if progress.position > batch_sampler.batches() {
            let (there, position) = (batch_sampler.batches(), progress.position);
            let message = format!("an epoch has {there} batches, but the saved `position` is {position}");
            return Err(Error::failure(message).hint(
                "the checkpoint is damaged; write the name of another one, such as step-00001000, into `latest`",
            ));
        }
        let plan = plan(&context, progress.tokens_per_batch)?;
        let loader = Loader::start(batch_sampler, collator.clone(), plan)?;
        let exchange = Exchange::new(context.group);
        let schedule = Schedule::new(context.config, context.width);
        let waiting = Stopwatch::default();
        let too_large = None;
        let last_step = context.config.steps;
        let meter = PaceMeter::new(Machine::unknown(context.params.device()), (progress.step, last_step));
        Ok(Trainer {
            context,
            optimizer,
            ema,
            schedule,
            replicas,
            collator,
            loader,
            exchange,
            progress,
            too_large,
            waiting,
            meter,
        })
    }

    /// Replaces the meter of the pace.
    pub(crate) fn measured_by(self, meter: PaceMeter<'a>) -> Trainer<'a> {
        Trainer { meter, ..self }
    }

    /// The state of training.
    pub(crate) fn progress(&self) -> &TrainState {
        &self.progress
    }

    /// Seconds that updates have waited for their batches.
    pub fn waited(&self) -> f64 {
        self.waiting.seconds()
    }

    /// Trains to the end, or until the flag is raised.
    ///
    /// # Errors
    /// A checkpoint or a metric cannot be written; too many skipped updates; errors of libtorch.
    pub(crate) fn run(
        &mut self,
        stop: &StopFlag,
        recorder: &mut dyn Recorder,
        checkpointer: &mut dyn Checkpointer,
    ) -> Result<StopReason> {
        let config = self.context.config;
        let stop = &self.exchange.listen(stop);
        self.exchange.compare(self.context.params, self.progress.step)?;
        loop {
            if !self.progress.validation_due {
                if let Some(stop_reason) = self.ended() {
                    let stopped = self.finish(stop, recorder, checkpointer)?;
                    checkpointer.finish_write(true)?;
                    return Ok(stopped.map_or(stop_reason, StopReason::Stopped));
                }
                self.update_and_log(recorder, checkpointer)?;
                self.progress.validation_due = self.progress.step.is_multiple_of(config.validate_every);
            }
            let validated = self.progress.validation_due && self.validate(recorder)?.is_some();
            self.progress.validation_due &= !validated;
            // At the last step only the last validation can still be stopped.
            let stopped = stop.raised().filter(|_| self.progress.validation_due || self.ended().is_none());
            // If the last step is not validated here, `finish` validates and saves it.
            let due = self.progress.step.is_multiple_of(config.checkpoint_every) && self.ended().is_none();
            let asked = stop.save_asked() && self.ended().is_none();
            if validated || stopped.is_some() || due || asked {
                self.progress.metrics_bytes = recorder.flush()?.unwrap_or_default();
                checkpointer.save(self.snapshot(&self.progress))?;
            }
            if asked {
                recorder.say(&format!("step {}: saved at SIGUSR1; training continues", self.progress.step));
            }
            checkpointer.finish_write(stopped.is_some())?;
            if let Some(signal) = stopped {
                return Ok(StopReason::Stopped(signal));
            }
        }
    }

    /// Whether a stop rule holds.
    pub(crate) fn ended(&self) -> Option<StopReason> {
        self.progress.stop_reason(self.context.config)
    }

    /// One update: the gradients of `accumulate` batches, normalised over all their target tokens.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub fn update(&mut self) -> Result<UpdateOutput> {
        let step = self.progress.step + 1;
        let update = self.waiting.time(|| self.loader.next_update())?;
        let rows: Vec<usize> = update.rows().collect();
        let LoadedUpdate { shards, epoch, position } = update;
        (self.progress.epoch, self.progress.position) = (epoch, position);
        let before = self.too_large;
        let given = self.engine(step).gradients(&self.context, &self.exchange, shards, before)?;
        self.too_large = given.too_large;
        let mut window = given.window(clip_gradients(self.context.params, self.context.config.clip_norm))?;
        let mut skipped = Vec::new();
        if window.tokens == 0 {
            // None of its rows fits into memory.
            window = RunningStats::default();
        } else if window.loss.is_finite() && window.gradient_norm.is_finite() {
            self.optimizer.step(self.context.params, self.learning_rate(step))?;
            self.ema.iter_mut().for_each(|ema| ema.update(self.context.params, step));
            self.progress.skipped_in_a_row = 0;
            self.progress.rolled_back = false;
        } else {
            window = RunningStats { skipped: 1, ..RunningStats::default() };
            skipped = rows;
            self.progress.skipped_in_a_row += 1;
        }
        self.progress.step = step;
        let too_large = given.too_large.filter(|_| given.too_large != before);
        Ok(UpdateOutput { window, skipped, skipped_rows: given.skipped_rows, too_large })
    }

    fn engine(&self, step: u64) -> GradientEngine<'_> {
        let TrainContext { config, seed, faults, .. } = &self.context;
        GradientEngine {
            config,
            seed: *seed,
            collator: &self.collator,
            replicas: &self.replicas,
            faults,
            step,
        }
    }

    /// The learning rate of a step.
    pub(crate) fn learning_rate(&self, step: u64) -> f64 {
        self.context.config.learning_rate() * self.schedule.factor(step, self.progress.plateau)
    }

    fn update_and_log(
        &mut self,
        recorder: &mut dyn Recorder,
        checkpointer: &mut dyn Checkpointer,
    ) -> Result<()> {
        let updated = self.update()?;
        self.progress.window.add(&updated.window);
        let (step, epoch) = (self.progress.step, self.progress.epoch);
        let train = self.context.train;
        if let Some(positions) = updated.too_large {
            recorder.say(&format!(
                "step {step}: out of memory with {positions} positions at once; from here on batches of this size are halved, \
                 which is slower: lower `training.tokens_per_batch`, or for single long pairs `max_length` with \
                 `data.too_long` = \"skip\""
            ));
        }
        for &row in &updated.skipped_rows {
            recorder.record(&Event::RowSkipped { step, place: &train.corpus.place(row) })?;
        }
        if !updated.skipped.is_empty() {
            let pairs = train.corpus.pairs_of(&updated.skipped);
            let pairs: Vec<&Pair> = pairs.iter().map(Cow::as_ref).collect();
            recorder.record(&Event::Skipped { step, pairs: &pairs })?;
        }
        let speed = self.meter.updated(step, &updated.window);
        recorder.record(&Event::Update { step, window: &updated.window, speed })?;
        if step.is_multiple_of(self.context.config.log_every) {
            let (window, waited) = (std::mem::take(&mut self.progress.window), self.waited());
            let (learning_rate, pace) = (self.learning_rate(step), self.meter.row(step, &window, waited));
            recorder.record(&Event::TrainingRow { step, epoch, learning_rate, window: &window, pace })?;
            self.meter.begin_anew(waited);
            self.exchange.compare(self.context.params, step)?;
        }
        if self.progress.skipped_in_a_row >= self.context.config.non_finite.limit {
            self.too_many_skipped(recorder, checkpointer)?;
        }
        Ok(())
    }

    /// Rolls back to the last checkpoint, or ends training. Training continues with new pairs, not with those that
    /// failed.
    fn too_many_skipped(
        &mut self,
        recorder: &mut dyn Recorder,
        checkpointer: &mut dyn Checkpointer,
    ) -> Result<()> {
        let step = self.progress.step;
        let skipped = self.progress.skipped_in_a_row;
        let message = format!(
            "the loss and its gradient must be finite, but they were NaN or infinite in {skipped} updates in a row, up to \
             step {step}"
        );
        let goes_back = self.context.config.non_finite.then == Then::Rollback;
        let or = match (goes_back, self.progress.rolled_back) {
            (false, _) => {
                ", or resume from an earlier checkpoint with --resume --set training.non_finite.then=rollback"
            }
            (true, true) => "; a rollback to a checkpoint did not help",
            (true, false) => "; there is no checkpoint for a rollback",
        };
        let failed = Error::failure(message).hint(format!(
            "the rows are in skipped/ of the run; start a new run with a lower learning rate or a longer warm-up{or}"
        ));
        // A second rollback without an update in between would repeat forever.
        if !goes_back || self.progress.rolled_back {
            return Err(failed);
        }
        checkpointer.finish_write(true)?;
        // The weights after the last successful update are those that failed.
        let Some((saved, training)) = checkpointer.restore(step - skipped)? else { return Err(failed) };
        restore(&mut self.optimizer, &mut self.ema, self.context.params, training)?;
        self.progress.rolled_back = true;
        self.progress.skipped_in_a_row = 0;
        recorder.say(&format!(
            "step {step}: {skipped} updates in a row were skipped; weights and optimizer are rolled back to step {}",
            saved.step
        ));
        Ok(())
    }

    /// Validates, records the scores and samples, and updates the best validations. `None` if a stop came before the
    /// end.
    fn validate(&mut self, recorder: &mut dyn Recorder) -> Result<Option<BestValidation>> {
        let TrainContext { config, params, valid, .. } = self.context;
        self.ema.iter_mut().for_each(|ema| ema.exchange(params));
        let scored = Scored { corpus: &valid.corpus, decode_rows: config.decode_rows };
        let validated = validate(&self.context, scored, &self.replicas, &self.exchange);
        self.ema.iter_mut().for_each(|ema| ema.exchange(params));
        let Some(Validated { found, decoded, skipped_rows, .. }) = validated? else { return Ok(None) };
        // NaN ranks last.
        let [cost, nll] = [config.best_by.cost(found.deciding), found.nll]
            .map(|number| if number.is_finite() { number } else { f64::MAX });
        let best = BestValidation { step: self.progress.step, cost, nll };
        let verdict = self.progress.validated(best, config.keep_best, config.best_by);
        let better = verdict == Improvement::Better;
        if verdict != Improvement::Early {
            self.schedule.validated(&mut self.progress.plateau, better);
        }
        for &row in &skipped_rows {
            recorder.record(&Event::RowSkipped { step: best.step, place: &valid.corpus.place(row) })?;
        }
        let samples: Vec<Sample> =
            decoded.iter().take(config.samples).map(|(row, output)| self.sample(*row, output)).collect();
        recorder.record(&Event::Validation {
            step: best.step,
            epoch: self.progress.epoch,
            found: &found,
            better,
            samples: &samples,
        })?;
        self.meter.begin_anew(self.waited());
        Ok(Some(best))
    }

    /// A validation pair and the model's output, as text.
    fn sample(&self, row: usize, output: &Hypothesis) -> Sample<'a> {
        let pair = &self.context.valid.corpus.pairs()[row];
        Sample {
            source: &pair.source,
            reference: &pair.target,
            other_references: &pair.other_targets,
            output: self.context.target.decode(&output.tokens),
            finished: output.finished,
        }
    }

    /// Validates the current weights, such as those of an average, on this rank alone, and records nothing. `None` if a
    /// stop came before the end.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub(crate) fn validate_as_is(&self, stop: &StopFlag) -> Result<Option<Validated>> {
        let TrainContext { config, valid, .. } = self.context;
        self.score(Scored { corpus: &valid.corpus, decode_rows: config.decode_rows }, stop)
    }

    /// The same on any set.
    ///
    /// # Errors
    /// Errors of libtorch.
    pub(crate) fn score(&self, scored: Scored, stop: &StopFlag) -> Result<Option<Validated>> {
        let alone = Group::alone();
        let mut exchange = Exchange::new(&alone);
        exchange.listen(stop);
        validate(&self.context, scored, &self.replicas, &exchange)
    }

    fn snapshot(&self, progress: &TrainState) -> Snapshot {
        let params = self.context.params;
        let trained = || params.iter().map(|param| (param.name.clone(), param.tensor.detach())).collect();
        let [weights, beside] = match &self.ema {
            Some(ema) => ema.state(params),
            None => [trained(), Vec::new()],
        };
        let training = self.optimizer.state(params).into_iter().chain(beside);
        Snapshot {
            progress: TrainState {
                between: !self.context.config.saves_at(progress.step),
                ..progress.clone()
            },
            best: progress.best_of_all().map(|best| best.step),
            best_steps: self.progress.best_steps().collect(),
            weights: weights.into_iter().map(copied).collect(),
            training: training.map(copied).collect(),
        }
    }

    /// Validates the last step, too. The saved state is that from before this validation: a run that is resumed with
    /// more steps continues as if it had not ended here, and removes this validation's row. Returns the signal if a
    /// stop came before the validation was done.
    fn finish(
        &mut self,
        stop: &StopFlag,
        recorder: &mut dyn Recorder,
        checkpointer: &mut dyn Checkpointer,
    ) -> Result<Option<u8>> {
        if self.progress.step == 0 || self.progress.step.is_multiple_of(self.context.config.validate_every) {
            return Ok(None);
        }
        self.progress.metrics_bytes = recorder.flush()?.unwrap_or_default();
        let mut before = self.progress.clone();
        let validated = self.validate(recorder)?;
        validated.into_iter().for_each(|found| before.ended_with(found));
        recorder.flush()?;
        checkpointer.save(self.snapshot(&before))?;
        Ok(stop.raised().filter(|_| validated.is_none()))
    }
}
