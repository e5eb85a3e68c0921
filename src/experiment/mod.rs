//! Training as a whole: an experiment in, a run directory out.
//!
//! It claims the directory, reads the data, builds or resumes the model, and runs the trainer. Messages to the user go
//! to the caller's recorder. Where a launcher has started several processes, each is a rank of the same run: rank 0
//! does all of this, and the others only train with it.

pub(crate) mod average;
mod checkpointer;
mod finished;
mod init_from;
mod introduction;
mod preparations;
mod ranks;
mod resume;
pub(crate) mod retention;
mod test_set;
pub(crate) mod trial;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use self::average::{chosen, mean_of};
use self::checkpointer::Checkpoints;
use self::finished::is_complete;
#[cfg(feature = "cli")]
pub(crate) use self::finished::{RunStage, best_cost, stage};
use self::init_from::{InitialModel, check_origin};
use self::introduction::{Introduction, conclude};
use self::preparations::Preparations;
use self::ranks::{check_data, check_start};
use self::resume::{SavedRun, claim};
use self::test_set::TestSet;
use crate::checkpoint::run::{FEATURES, Lock, Origin, PREPARED, RunDirectory};
use crate::checkpoint::tensors::load_into;
use crate::config::Experiment;
use crate::data::dataset::{TokenizerSource, Tokenizers};
use crate::data::readers::Pair;
use crate::data::splits::{AudioOptions, DataSplits, LoadOptions};
use crate::distributed::Group;
use crate::error::{Error, Kind, Result, counted};
use crate::model::network::Network;
use crate::model::params::Params;
use crate::predictor::loaded_model::{build, outline};
use crate::runtime::{Neighbours, Runtime, StopFlag, memory};
use crate::training::clock::matrix_peak;
use crate::training::context::{InjectedFaults, TrainContext};
use crate::training::metrics::RunningStats;
use crate::training::pace::{Machine, PaceMeter};
use crate::training::recorders::{Event, Recorder, Recorders};
use crate::training::state::{StopReason, TrainState};
use crate::training::trainer::Trainer;

/// The run directory, and how the run starts.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run directory.
    pub folder: PathBuf,
    /// Resume from the latest checkpoint, if there is one.
    pub resume: bool,
    /// A run, a checkpoint or a model file whose weights and vocabularies to start from.
    pub from: Option<PathBuf>,
    /// Add symbols that the vocabularies of `from` lack.
    pub extend_vocabulary: bool,
}

impl RunOptions {
    /// Options for a new run in `folder`.
    pub fn into(folder: impl Into<PathBuf>) -> RunOptions {
        RunOptions { folder: folder.into(), resume: false, from: None, extend_vocabulary: false }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Total updates, including those before a resume.
    pub step: u64,
    /// The step of the best validation.
    pub best_step: Option<u64>,
}

impl RunSummary {
    fn of(progress: &TrainState, stop_reason: StopReason) -> RunSummary {
        RunSummary { stop_reason, step: progress.step, best_step: progress.best_steps().next() }
    }
}

/// Trains a run. `seqloom decode` and [`Predictor`](crate::predictor::Predictor) read its directory. Events go to the
/// files of the directory and to `recorder`.
///
/// # Errors
/// The folder has another run; data or a model does not fit the experiment; a file cannot be written; errors of the
/// trainer. Earlier checkpoints stay.
pub fn train(
    experiment: &Experiment,
    options: &RunOptions,
    stop: &StopFlag,
    recorder: &mut dyn Recorder,
) -> Result<RunSummary> {
    let [join, exchange] =
        [experiment.runtime.join_timeout, experiment.runtime.rank_timeout].map(Duration::from_secs);
    let group = Group::from_environment(join, exchange)?;
    let trained = train_as_rank(&group, experiment, options, stop, recorder);
    trained.map_err(|error| match group.ranks() {
        1 => error,
        ranks => error.at(format!("rank {} of {ranks}", group.rank())),
    })
}

fn train_as_rank(
    group: &Group,
    experiment: &Experiment,
    options: &RunOptions,
    stop: &StopFlag,
    recorder: &mut dyn Recorder,
) -> Result<RunSummary> {
    check_start(group, experiment)?;
    let run = RunDirectory::at(&options.folder);
    let claimed =
        if group.leads() { claim(&run, experiment, options.resume, recorder) } else { Ok((None, None)) };
    let (lock, saved) = group.agree(claimed)?;
    let saved = SavedRun::shared(saved, &run, group)?;
    if let Some(saved) = &saved
        && group.lead(|| Ok(is_complete(&saved.progress, experiment, &run)))?
    {
        if group.leads() {
            let (folder, steps) = (options.folder.display(), counted(saved.progress.step, "step"));
            let next = saved.how_to_continue(experiment);
            recorder.say(&format!("{folder} is complete: {steps}. {next}"));
        }
        return Ok(RunSummary::of(&saved.progress, StopReason::Complete));
    }
    let neighbours = Neighbours { on_cores: group.neighbours(), number: group.local_rank() };
    let runtime = group.agree(Runtime::start_beside(&experiment.runtime, neighbours))?;
    group.use_device(runtime.device)?;
    group.lead(|| check_origin(&run, options, saved.is_some(), recorder))?;
    // A resumed run has its own weights.
    let initial = options.from.as_ref().filter(|_| saved.is_none());
    let initial = initial.map(|path| InitialModel::read(path, options.extend_vocabulary)).transpose();
    let initial = group.agree(initial)?;
    let data = load(group, experiment, &run, (&saved, &initial), recorder)?;
    check_data(group, runtime, &data)?;
    let beginning = TrainingStart { lock, saved, initial };
    train_on((experiment, group), &run, runtime, &data, beginning, (stop, recorder))
}

/// Reads the pairs. The vocabularies are those of the saved run or the initial model, if there is one.
fn load(
    group: &Group,
    experiment: &Experiment,
    run: &RunDirectory,
    (saved, initial): (&Option<SavedRun>, &Option<InitialModel>),
    recorder: &mut dyn Recorder,
) -> Result<DataSplits> {
    let (features, prepared) = (run.file(FEATURES), run.file(PREPARED));
    let reports = RefCell::new(Preparations::new(recorder));
    let progress = |what: &str, done: usize, of: Option<usize>| reports.borrow_mut().report(what, done, of);
    let options = LoadOptions {
        audio: Some(AudioOptions { features: &features, ctc: experiment.model.network().has_ctc() }),
        cache: Some(&prepared),
        progress: group.leads().then_some(&progress),
    };
    let key = initial.as_ref().map(InitialModel::key).unwrap_or_default();
    let of_initial = |pairs: &[&Pair]| match initial {
        Some(initial) => initial.tokenizers(&experiment.data, pairs),
        None => Tokenizers::train(&experiment.data, pairs),
    };
    let tokenizers = match (saved, initial) {
        (Some(saved), _) => TokenizerSource::Given(&saved.tokenizers),
        (None, Some(_)) => TokenizerSource::Made { key: &key, by: &of_initial },
        (None, None) => TokenizerSource::Learned,
    };
    let load = || DataSplits::load(&experiment.data, options, tokenizers);
    // Files are made once, by rank 0, and read by the others.
    let loaded =
        if DataSplits::makes_files(&experiment.data) { group.in_turn(load) } else { group.agree(load()) };
    reports.borrow_mut().end();
    loaded
}

/// The start of training: its own checkpoint, another model, or random weights.
struct TrainingStart {
    lock: Option<Lock>,
    saved: Option<SavedRun>,
    initial: Option<InitialModel>,
}

/// Builds or loads the model, and trains it.
fn train_on(
    (experiment, group): (&Experiment, &Group),
    run: &RunDirectory,
    runtime: Runtime,
    data: &DataSplits,
    beginning: TrainingStart,
    (stop, recorder): (&StopFlag, &mut dyn Recorder),
) -> Result<RunSummary> {
    let TrainingStart { lock, saved, initial } = beginning;
    let checked = saved.as_ref().map_or(Ok(()), |saved| saved.check_weights(experiment));
    group.agree(
        checked.and_then(|()| check_room(experiment, runtime, &outline(experiment, &data.tokenizers))),
    )?;
    let mut params = Params::new(runtime.device, experiment.seed).with_compute_kind(runtime.compute);
    let model = build(experiment, &data.tokenizers, &mut params);
    let origin = initial.as_ref().map(InitialModel::origin);
    let new_rows = initial.map(|initial| initial.load_into(&params, experiment)).transpose();
    let new_rows = group.agree(new_rows)?;
    let moved = saved.as_ref().map_or(Vec::new(), SavedRun::moved);
    let saved = saved.map(|saved| saved.into_model(run, &params, group)).transpose()?;
    // The model file has the fitted length limits; the run's config has the requested ones.
    let (asked_for, experiment) = (experiment, &fitted(experiment, data));
    let before = saved.as_ref().map(|(progress, _)| progress.clone());
    let context = context(experiment, runtime, (&model, &params), data, group)?;
    let trainer =
        group.agree(Trainer::new(context, saved).map_err(|error| match (error.kind(), &before) {
            (Kind::Failure, Some(before)) => error.at(run.checkpoint(before.step).display()),
            _ => error,
        }))?;
    let steps = (trainer.progress().step, last_step(experiment, trainer.progress(), data));
    let files = Beginning { asked_for, run, origin: origin.as_ref(), before: before.as_ref(), step: steps.0 };
    let opened = if group.leads() { files.open(lock, recorder) } else { Ok((None, Recorders::default())) };
    let (_lock, mut recorders) = group.agree(opened)?;
    // Before this there was nothing to save, and a signal ended the process at once.
    stop.listen();
    let mut trainer = trainer;
    if group.leads() {
        trainer = trainer.measured_by(meter(experiment, runtime, (&model, group), steps));
        recorders.record(&Event::Start { step: steps.0, last_step: steps.1 })?;
        let introduction =
            Introduction { experiment, run, runtime, data, params: &params, model: &model, group };
        let before = before.as_ref().map(|before| (before, &moved[..]));
        introduction.say(&mut recorders, trainer.progress(), before, origin.zip(new_rows));
    }
    let mut checkpoints = Checkpoints::new(run, (&params, group), experiment, &data.tokenizers);
    let stop_reason = trainer.run(stop, &mut recorders, &mut checkpoints).inspect_err(|error| {
        // The caller reports the original error.
        let _ = recorders.record(&Event::Failed(error));
    })?;
    match group.leads() {
        true => finish(experiment, run, data, (&params, &trainer), stop_reason, (stop, &mut recorders)),
        false => Ok(RunSummary::of(trainer.progress(), stop_reason)),
    }
}

/// The files of a run that its training begins with.
struct Beginning<'a> {
    asked_for: &'a Experiment,
    run: &'a RunDirectory,
    origin: Option<&'a Origin>,
    /// The saved state of a resumed run.
    before: Option<&'a TrainState>,
    step: u64,
}

impl Beginning<'_> {
    /// Locks the folder, and opens its recorders.
    fn open<'r>(
        &self,
        lock: Option<Lock>,
        recorder: &'r mut dyn Recorder,
    ) -> Result<(Option<Lock>, Recorders<'r>)> {
        let lock = take(self.run, lock)?;
        if self.before.is_none() {
            self.run.write_from(self.origin)?;
        }
        self.run.write_config(&self.asked_for.to_toml())?;
        let columns = self.asked_for.training.metric_columns();
        let bytes = self.before.map(|before| before.metrics_bytes);
        let recorders = Recorders::of_run(self.run.path(), self.step, (bytes, &columns), recorder)?;
        Ok((Some(lock), recorders))
    }
}

/// Averages checkpoints and scores the test set if the config asks for it, and returns the summary.
fn finish(
    experiment: &Experiment,
    run: &RunDirectory,
    data: &DataSplits,
    (params, trainer): (&Params, &Trainer),
    stop_reason: StopReason,
    (stop, recorder): (&StopFlag, &mut dyn Recorder),
) -> Result<RunSummary> {
    let has_ended = !matches!(stop_reason, StopReason::Stopped(_));
    let average = experiment.training.average > 0 && has_ended;
    let mut given_up = average && !take_average(experiment, run, params, trainer, (stop, recorder))?;
    if let Some(set) = data.test.as_ref().filter(|_| has_ended && !given_up) {
        given_up = !TestSet { run, set, averaged: average }.score(params, trainer, (stop, recorder))?;
    }
    let stop_reason = stop.raised().filter(|_| given_up).map_or(stop_reason, StopReason::Stopped);
    conclude(recorder, run, stop_reason, trainer.progress(), average)?;
    Ok(RunSummary::of(trainer.progress(), stop_reason))
}

/// The experiment with length limits fitted to the training pairs.
fn fitted(experiment: &Experiment, data: &DataSplits) -> Experiment {
    let mut fitted = experiment.clone();
    fitted.decoding.fit(data.train.corpus.sizes());
    fitted
}

/// Refuses a network that does not fit into memory before it is built: the system would kill the process without a
/// message.
fn check_room(experiment: &Experiment, runtime: Runtime, outline: &Params) -> Result<()> {
    // The weights, their gradients, and the optimizer's state.
    let copies = if experiment.training.sgd.is_some() { 3.0 } else { 4.0 };
    let (numbers, gib) = (outline.parameter_count(), |bytes: f64| bytes / (1u64 << 30) as f64);
    let needed = copies * 4.0 * numbers;
    match memory::total(runtime.device).map(|total| total as f64) {
        Some(total) if needed > total => {
            let message = format!(
                "training must fit into memory, but a model of {numbers:.0} weights needs {:.1} GiB, and the device has \
                 {:.1} GiB",
                gib(needed),
                gib(total)
            );
            let sizes = experiment.model.network().sizes();
            Err(Error::input(message).hint(format!("lower {sizes}, or use smaller vocabularies")))
        }
        _ => Ok(()),
    }
}

/// Creates the folder, and locks it if it did not exist before; no other run may have started in it since.
fn take(run: &RunDirectory, lock: Option<Lock>) -> Result<Lock> {
    run.create()?;
    if let Some(lock) = lock {
        return Ok(lock);
    }
    let lock = run.lock()?;
    match run.latest()? {
        None => Ok(lock),
        Some(_) => Err(Error::input(format!("{} already holds a run", run.path().display()))
            .hint("another seqloom has just started it; name another folder with --out")),
    }
}

fn context<'a>(
    experiment: &'a Experiment,
    runtime: Runtime,
    (model, params): (&'a Network, &'a Params),
    data: &'a DataSplits,
    group: &'a Group,
) -> Result<TrainContext<'a>> {
    Ok(TrainContext {
        config: &experiment.training,
        decoding: &experiment.decoding,
        seed: experiment.seed,
        model,
        params,
        width: experiment.model.network().width(),
        group,
        train: &data.train,
        valid: &data.valid,
        target: &data.tokenizers.target,
        machine: runtime.identity(),
        faults: faults()?,
    })
}

/// Faults from the environment, for tests.
fn faults() -> Result<InjectedFaults> {
    let numbers = |name: &str| -> Result<Vec<u64>> {
        let Some(text) = std::env::var_os(name) else { return Ok(Vec::new()) };
        let text = text.to_string_lossy().into_owned();
        let numbers: Option<Vec<u64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        numbers.ok_or_else(|| {
            Error::input(format!("{name} must be comma-separated numbers, but it is `{text}`"))
        })
    };
    Ok(InjectedFaults {
        nan_at: numbers("SEQLOOM_TEST_NAN_AT")?,
        memory_for: numbers("SEQLOOM_TEST_MEMORY_FOR")?.first().map(|&positions| positions as usize),
    })
}

/// The meter of the training speed.
fn meter<'a>(
    experiment: &Experiment,
    runtime: Runtime,
    (model, group): (&'a Network, &Group),
    steps: (u64, u64),
) -> PaceMeter<'a> {
    // Forward plus twice as much backward, each a multiplication and an addition; each rank does its share.
    let factor = 6.0 / group.ranks() as f64;
    let operations =
        move |window: &RunningStats| factor * model.multiplications(window.source_tokens, window.tokens);
    let products = experiment.model.network().products().into_iter();
    let shapes: Vec<[i64; 3]> =
        products.map(|[inputs, outputs]| [512, inputs as i64, outputs as i64]).collect();
    let machine = Machine {
        device: runtime.device,
        matrix_peak: matrix_peak(runtime.device, runtime.compute, runtime.threads, &shapes),
        operations: Box::new(operations),
    };
    PaceMeter::new(machine, steps)
}

/// The estimated last step, for the remaining time.
fn last_step(experiment: &Experiment, progress: &TrainState, data: &DataSplits) -> u64 {
    let config = &experiment.training;
    if config.epochs == 0 {
        return config.steps;
    }
    let batches =
        config.epochs * data.train.positions_of_pass().div_ceil(progress.tokens_per_batch.max(1)) as u64;
    config.steps.min(batches.div_ceil(config.accumulate as u64).max(progress.step))
}

/// Averages the last or best checkpoints, validates the average and saves it. False if a stop came before that: a
/// resumed run does it then.
fn take_average(
    experiment: &Experiment,
    run: &RunDirectory,
    params: &Params,
    trainer: &Trainer,
    (stop, recorder): (&StopFlag, &mut dyn Recorder),
) -> Result<bool> {
    let config = &experiment.training;
    if stop.raised().is_some() {
        return Ok(false);
    }
    let steps = chosen(run, trainer.progress(), config, config.average_of, config.average)?;
    let (header, weights) = mean_of(run, &steps, trainer.progress().step)?;
    load_into(params, &weights, &run.average())?;
    let Some(validated) = trainer.validate_as_is(stop)? else { return Ok(false) };
    let path = run.save_average(&header.to_bytes(&weights)?)?;
    let (found, listed) = (validated.found, steps.iter().map(u64::to_string).collect::<Vec<_>>());
    let count = match steps.len() {
        count if count < config.average => {
            format!("{} (of {} requested)", counted(count, "checkpoint"), config.average)
        }
        count => counted(count, "checkpoint"),
    };
    recorder.say(&format!(
        "average of {count} (steps {}): {found}, in {}",
        listed.join(", "),
        path.display()
    ));
    Ok(true)
}
