//! A trial of an experiment, for `seqloom check`: everything that is wrong with it, or what training will cost.
//!
//! It reads all files, builds the network as training does, and makes some updates, a validation and some outputs. It
//! writes nothing but the features of a few recordings, into a folder that it removes.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::introduction::Introduction;
use super::preparations::Preparations;
use super::resume::check_free;
use super::{check_room, context, fitted};
use crate::checkpoint::run::RunDirectory;
use crate::config::Experiment;
use crate::data::dataset::{Dataset, Tokenizers};
use crate::data::problems::{Inspection, inspect};
use crate::data::splits::{AudioOptions, DataSplits};
use crate::decoding::constraints::token_texts::TokenTexts;
use crate::decoding::network_decoder::{NetworkDecoder, weights_for};
use crate::decoding::options::SearchOptions;
use crate::decoding::parallel::decode_best;
use crate::distributed::Group;
use crate::error::{Error, Kind, Result};
use crate::model::network::Network;
use crate::model::params::Params;
use crate::predictor::loaded_model::{build, outline};
use crate::runtime::{Runtime, StopFlag, memory};
use crate::training::TrainingConfig;
use crate::training::clock::Since;
use crate::training::context::TrainContext;
use crate::training::metrics::RunningStats;
use crate::training::recorders::{Event, Recorder};
use crate::training::trainer::Trainer;

/// Seconds of updates, and of decoding.
const SECONDS: f64 = 6.0;

/// The most updates.
const UPDATES: u64 = 200;

/// The most validation pairs.
const ROWS: usize = 200;

/// Validation pairs that the validation decodes.
const DECODED: usize = 8;

/// Pairs that are decoded between two looks at the clock.
const DECODED_AT_ONCE: usize = 32;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// What is wrong.
    pub problems: Vec<Error>,
    /// What training costs, if nothing is wrong.
    pub costs: Option<Costs>,
}

/// What training costs on this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    /// What training reports before its first update.
    pub lines: Vec<String>,
    /// Pairs of the training and of the validation set.
    pub pairs: [usize; 2],
    /// Bytes of memory at the peak, and all that there are; 0 where the system does not tell.
    pub memory: [u64; 2],
    /// Seconds of an update.
    pub update: f64,
    /// Updates of a pass over the training pairs.
    pub updates_per_epoch: u64,
    /// Updates of the whole run.
    pub updates: u64,
    /// Outputs per second.
    pub outputs_per_second: f64,
    /// Validation pairs that a validation decodes.
    pub decoded: usize,
    /// Seconds of a validation.
    pub validation: f64,
    /// Validations of the whole run.
    pub validations: u64,
    /// Bytes of a checkpoint.
    pub checkpoint: u64,
    /// The most checkpoints that are kept.
    pub kept: u64,
    /// Bytes of all checkpoints, with one that is being written.
    pub on_disk: u64,
}

impl Costs {
    /// Seconds of a pass over the training pairs, without validations.
    pub(crate) fn epoch(&self) -> f64 {
        self.update * self.updates_per_epoch as f64
    }

    /// Seconds of the whole run.
    pub(crate) fn run(&self) -> f64 {
        self.update * self.updates as f64 + self.validation * self.validations as f64
    }
}

/// Looks for problems beside those in `problems`; without any, measures what training costs. `free` are the bytes left
/// on the disk of `folder`, the run directory.
///
/// # Errors
/// A failure that is not the user's, such as one of libtorch.
pub(crate) fn check(
    experiment: &Experiment,
    folder: &Path,
    (mut problems, free): (Vec<Error>, Option<u64>),
    recorder: &mut dyn Recorder,
) -> Result<Checked> {
    let run = RunDirectory::at(folder);
    problems.extend(check_free(&run, experiment).err());
    // Reading uses its threads.
    let runtime = Runtime::start(&experiment.runtime);
    let features = Features::new();
    let audio = AudioOptions { features: &features.0, ctc: experiment.model.network().has_ctc() };
    let reports = RefCell::new(Preparations::new(recorder));
    let progress = |what: &str, done: usize, of: Option<usize>| reports.borrow_mut().report(what, done, of);
    let Inspection { problems: of_data, tokenizers, splits, pairs } =
        inspect(&experiment.data, audio, &progress);
    problems.extend(of_data);
    if let (Ok(runtime), Some(tokenizers)) = (&runtime, &tokenizers) {
        let outline = outline(experiment, tokenizers);
        problems.extend(check_room(experiment, *runtime, &outline).err());
        problems.extend(check_disk(&experiment.training, &outline, tokenizers, free).err());
    }
    let is_sound = problems.is_empty();
    let costs = match (runtime, splits) {
        (Err(error), _) => Err(error),
        (Ok(runtime), Some(data)) if is_sound => {
            progress("training and decoding for a few seconds", 0, None);
            Trial { experiment, run: &run, runtime, data: &data, pairs }.costs().map(Some)
        }
        _ => Ok(None),
    };
    reports.borrow_mut().end();
    match costs {
        Ok(costs) => Ok(Checked { problems, costs }),
        // Such as a device that is not there, or a pattern that matches no weight.
        Err(error) if error.kind() == Kind::Input || !is_sound => {
            problems.push(error);
            Ok(Checked { problems, costs: None })
        }
        Err(error) => Err(error),
    }
}

/// What is wrong with the files of a config.
pub(crate) fn problems_of_data(experiment: &Experiment, recorder: &mut dyn Recorder) -> Vec<Error> {
    let features = Features::new();
    let audio = AudioOptions { features: &features.0, ctc: experiment.model.network().has_ctc() };
    let reports = RefCell::new(Preparations::new(recorder));
    let progress = |what: &str, done: usize, of: Option<usize>| reports.borrow_mut().report(what, done, of);
    let problems = inspect(&experiment.data, audio, &progress).problems;
    reports.borrow_mut().end();
    problems
}

/// A folder for features of recordings, which is removed in the end.
struct Features(PathBuf);

impl Features {
    fn new() -> Features {
        Features(std::env::temp_dir().join(format!("seqloom-check-{}", std::process::id())))
    }
}

impl Drop for Features {
    fn drop(&mut self) {
        // Texts have none.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Keeps messages.
#[derive(Default)]
struct Lines(Vec<String>);

impl Recorder for Lines {
    fn record(&mut self, event: &Event) -> Result<()> {
        if let Event::Message(line) = event {
            self.0.push((*line).to_owned());
        }
        Ok(())
    }
}

/// What a trial needs.
struct Trial<'a> {
    experiment: &'a Experiment,
    run: &'a RunDirectory,
    runtime: Runtime,
    data: &'a DataSplits,
    /// All pairs of the training and of the validation set; `data` may have fewer.
    pairs: [usize; 2],
}

impl Trial<'_> {
    /// Trains, validates and decodes a little.
    fn costs(&self) -> Result<Costs> {
        let Trial { experiment, run, runtime, data, pairs } = *self;
        let mut params = Params::new(runtime.device, experiment.seed).with_compute_kind(runtime.compute);
        let model = build(experiment, &data.tokenizers, &mut params);
        let (config, group, valid) = (&experiment.training, Group::alone(), self.few()?);
        let mut tried = fitted(experiment, data);
        tried.training.decode_rows = DECODED;
        let context = context(&tried, runtime, (&model, &params), data, &group)?;
        let mut trainer = Trainer::new(TrainContext { valid: &valid, ..context }, None)?;
        let (mut lines, params, model, group) = (Lines::default(), &params, &model, &group);
        let introduction = Introduction { experiment: &tried, run, runtime, data, params, model, group };
        introduction.say(&mut lines, trainer.progress(), None, None);
        let budget = trainer.progress().tokens_per_batch;
        let (update, window) = updates(&mut trainer)?;
        trainer.validate_as_is(&StopFlag::default())?;
        let outputs_per_second = decoding_speed(&tried, (model, params), &valid, data)?;
        let updates_per_epoch = self.updates_per_epoch(budget);
        let of_epochs = config.epochs.saturating_mul(updates_per_epoch);
        let updates = if config.epochs == 0 { config.steps } else { config.steps.min(of_epochs) };
        let decoded = if config.decode_rows == 0 { pairs[1] } else { config.decode_rows.min(pairs[1]) };
        // Reading a pair is a third of training on it.
        let read = update / window.rows.max(1) as f64 / 3.0;
        let checkpoint = checkpoint_bytes(config, params, &data.tokenizers);
        let kept = kept(config, updates);
        Ok(Costs {
            lines: lines.0,
            pairs,
            memory: [memory::peak(runtime.device), memory::total(runtime.device).unwrap_or(0)],
            update,
            updates_per_epoch,
            updates,
            outputs_per_second,
            decoded,
            validation: read * pairs[1] as f64 + decoded as f64 / outputs_per_second.max(1e-9),
            validations: updates.div_ceil(config.validate_every),
            checkpoint,
            kept,
            on_disk: checkpoint.saturating_mul(kept + 1),
        })
    }

    /// The first validation pairs.
    fn few(&self) -> Result<Dataset> {
        let (data, config) = (self.data, &self.experiment.data);
        let valid = &data.valid;
        if config.source.audio.is_none() && valid.corpus.len() > ROWS {
            return Dataset::new(valid.corpus.pairs()[..ROWS].to_vec(), &data.tokenizers, config);
        }
        let (corpus, left_out, passes) =
            (Arc::clone(&valid.corpus), valid.left_out.clone(), valid.passes.clone());
        Ok(Dataset { corpus, left_out, unknown: valid.unknown, notes: Vec::new(), passes })
    }

    /// Estimated by the positions of the pairs, without padding.
    fn updates_per_epoch(&self, budget: usize) -> u64 {
        let (train, positions) = (&self.data.train, self.data.train.positions_of_pass());
        let all = positions as f64 * self.pairs[0] as f64 / train.corpus.len().max(1) as f64;
        let batches = (all / budget.max(1) as f64).ceil() as u64;
        batches.div_ceil(self.experiment.training.accumulate.max(1) as u64).max(1)
    }
}

/// Makes updates for some seconds; returns the seconds of one, and the sums of one. The first one, which is slower, does
/// not count.
fn updates(trainer: &mut Trainer) -> Result<(f64, RunningStats)> {
    trainer.update()?;
    let (begun, mut count, mut window) = (Since::now(), 0, RunningStats::default());
    while count == 0 || count < UPDATES && begun.seconds() < SECONDS {
        window.add(&trainer.update()?.window);
        count += 1;
    }
    window.rows /= count;
    Ok((begun.seconds() / count as f64, window))
}

/// Outputs per second. A model that has hardly been trained rarely ends an output early, so a trained one is faster.
fn decoding_speed(
    experiment: &Experiment,
    (model, params): (&Network, &Params),
    valid: &Dataset,
    data: &DataSplits,
) -> Result<f64> {
    let target = &data.tokenizers.target;
    let texts = TokenTexts::in_form(target.pieces(), target.form());
    let options = SearchOptions::with_texts(&experiment.decoding, texts)?;
    let weights = weights_for(&experiment.decoding, params.device(), model.compute())?;
    let decoder = NetworkDecoder::new(model, weights);
    let rows: Vec<usize> = (0..valid.corpus.len().min(ROWS)).collect();
    let (begun, mut outputs) = (Since::now(), 0);
    for rows in rows.chunks(DECODED_AT_ONCE) {
        let sources = rows.iter().map(|&row| Ok(valid.corpus.example(row)?.source));
        outputs += decode_best(&decoder, &sources.collect::<Result<Vec<_>>>()?, &options)?.len();
        if begun.seconds() > SECONDS {
            break;
        }
    }
    Ok(outputs as f64 / begun.seconds().max(1e-9))
}

/// Bytes of a checkpoint: the weights, the optimizer's state for each, with a moving average the weights once more, and
/// the tokenizers.
fn checkpoint_bytes(config: &TrainingConfig, params: &Params, tokenizers: &Tokenizers) -> u64 {
    let moments = if config.sgd.is_some() { 1.0 } else { 2.0 };
    let copies = 1.0 + moments + f64::from(u8::from(config.ema.is_some()));
    (4.0 * copies * params.parameter_count()) as u64 + tokenizers.to_json().to_string().len() as u64
}

/// The most checkpoints that are kept of a run with so many updates.
fn kept(config: &TrainingConfig, updates: u64) -> u64 {
    let written = updates / config.validate_every + updates / config.checkpoint_every + 1;
    written.min(config.keep_last as u64 + config.keep_best as u64)
}

/// Refuses a disk without room for the checkpoints.
fn check_disk(
    config: &TrainingConfig,
    outline: &Params,
    tokenizers: &Tokenizers,
    free: Option<u64>,
) -> Result<()> {
    let count = kept(config, config.steps) + 1;
    let needed = checkpoint_bytes(config, outline, tokenizers).saturating_mul(count);
    match free {
        Some(free) if needed > free => {
            let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
            let message = format!(
                "the disk must have room for {count} checkpoints, {:.1} GiB, but {:.1} are free",
                gib(needed),
                gib(free)
            );
            Err(Error::input(message).hint(
                "lower `training.keep_last` or `training.keep_best`, or name another folder with --out",
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_its_updates_and_its_validations() {
        let costs = Costs {
            update: 0.5,
            updates_per_epoch: 10,
            updates: 100,
            validation: 3.0,
            validations: 4,
            ..Costs::default()
        };
        assert_eq!((costs.epoch(), costs.run()), (5.0, 62.0));
    }
}
