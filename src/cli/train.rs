//! `seqloom train`: an experiment file in, a run directory out.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use tch::Device;

use super::loaded::build;
use crate::checkpoint::model_file::{self, ModelHeader};
use crate::checkpoint::run::{MODEL, RunDirectory, STATE, TRAINING};
use crate::checkpoint::tensors::{self, Named, load_into};
use crate::config::Experiment;
use crate::data::dataset::{Splits, Tokenizers};
use crate::data::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::model::params::Params;
use crate::runtime::{Runtime, StopFlag};
use crate::training::report::{Report, talk};
use crate::training::trainer::{Outcome, Parts, Progress, Snapshot, Trainer};

/// Arguments of `seqloom train`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom train configs/dates.toml
  seqloom train configs/dates.toml --set training.steps=500 --set runtime.threads=1 --out runs/short
  seqloom train configs/dates.toml --resume")]
pub struct TrainArgs {
    /// The experiment file; configs/reference.toml explains every key
    config: PathBuf,
    /// Replaces one key of the file; may be given more than once
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
    /// The run's directory [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Goes on from the run's latest checkpoint; starts where there is none
    #[arg(long)]
    resume: bool,
}

/// Keys that may change between a run and its resumption: they decide when it ends and what it shows, not what it learns.
const CHANGEABLE: [&str; 11] = [
    "training.steps",
    "training.epochs",
    "training.patience",
    "training.log_every",
    "training.validate_every",
    "training.checkpoint_every",
    "training.keep_last",
    "training.decode_rows",
    "training.samples",
    "runtime.",
    "decoding.",
];

/// Trains; the process's exit code.
pub fn run(args: &TrainArgs) -> Result<u8> {
    let experiment = Experiment::load(&args.config, &args.overrides)?;
    let folder = args.out.clone().unwrap_or_else(|| Path::new("runs").join(&experiment.name));
    let run = RunDirectory::at(&folder);
    let saved = claim(&run, &experiment, args.resume)?;
    if let Some(saved) = saved.as_ref().filter(|saved| saved.is_complete(&experiment, &run)) {
        let step = saved.progress.step;
        talk(&format!(
            "{} is complete: {step} steps. `--set training.steps=N` goes on to N.",
            folder.display()
        ));
        return Ok(0);
    }
    let runtime = Runtime::start(&experiment.runtime)?;
    // A run that goes on keeps the tokenizers that it began with.
    let tokenizers = saved.as_ref().map(|saved| saved.tokenizers.clone());
    let data = Splits::load(&experiment.data, tokenizers)?;
    let stop = StopFlag::on_signals()?;
    Ok(match train(&experiment, &run, runtime, &data, saved, &stop)? {
        Outcome::Stopped(signal) => 128 + signal,
        Outcome::Complete | Outcome::OutOfPatience => 0,
    })
}

/// Builds the model, or takes it up where it was saved, and trains it.
fn train(
    experiment: &Experiment,
    run: &RunDirectory,
    runtime: Runtime,
    data: &Splits,
    saved: Option<Saved>,
    stop: &StopFlag,
) -> Result<Outcome> {
    let mut params = Params::new(runtime.device, experiment.seed);
    let model = build(experiment, &data.tokenizers, &mut params);
    let saved = saved.map(|saved| saved.into_model(run, &params)).transpose()?;
    let metrics_bytes = saved.as_ref().map(|(progress, _)| progress.metrics_bytes);
    let parts = Parts {
        config: &experiment.training,
        decoding: &experiment.decoding,
        seed: experiment.seed,
        model: &model,
        params: &params,
        width: experiment.model.transformer.width,
        train: &data.train,
        valid: &data.valid,
        target: &data.tokenizers.target,
    };
    let mut trainer = Trainer::new(parts, saved)?;
    run.create(&experiment.to_toml())?;
    let steps = (trainer.progress().step, experiment.training.steps);
    let detokenize = Box::new(|tokens: &[i64]| data.tokenizers.target.decode(tokens));
    let mut report = Report::open(run.path(), metrics_bytes, steps, detokenize)?;
    introduce(&mut report, experiment, run, runtime, &params);
    introduce_data(&mut report, data);
    if steps.0 > 0 {
        report.say(&format!("going on from step {}", steps.0));
    }
    let mut save = |snapshot: &Snapshot| save(run, experiment, &data.tokenizers, &params, snapshot);
    let outcome = trainer.run(stop, &mut report, &mut save)?;
    conclude(&mut report, run, outcome, trainer.progress());
    Ok(outcome)
}

/// A checkpoint that training goes on from.
struct Saved {
    progress: Progress,
    tokenizers: Tokenizers,
    weights: Named,
    path: PathBuf,
}

impl Saved {
    fn read(run: &RunDirectory, step: u64) -> Result<Saved> {
        let state = run.read(step, STATE)?;
        let path = run.checkpoint(step).join(STATE);
        let progress = serde_json::from_slice(&state)
            .map_err(|error| Error::failure(format!("{} cannot be read: {error}", path.display())))?;
        let path = run.checkpoint(step).join(MODEL);
        let (header, weights) = model_file::parse(&run.read(step, MODEL)?, &path)?;
        let tokenizers = Tokenizers::from_json(&header.tokenizers)?;
        Ok(Saved { progress, tokenizers, weights, path })
    }

    fn is_complete(&self, experiment: &Experiment, run: &RunDirectory) -> bool {
        let (limits, there) = (&experiment.training, &self.progress);
        let ended = there.step >= limits.steps || (limits.epochs > 0 && there.epoch >= limits.epochs);
        // The last step's validation comes after its checkpoint. Without its row, a kill came between the two.
        let length = std::fs::metadata(run.file("metrics.csv")).map_or(0, |file| file.len());
        ended && (there.step.is_multiple_of(limits.validate_every) || length != there.metrics_bytes)
    }

    /// Loads the weights; what the trainer needs besides.
    fn into_model(self, run: &RunDirectory, params: &Params) -> Result<(Progress, Named)> {
        load_into(params, &self.weights, &self.path)?;
        let bytes = run.read(self.progress.step, TRAINING)?;
        let path = run.checkpoint(self.progress.step).join(TRAINING);
        let (optimizer, _) = tensors::from_bytes(&bytes, &path)?;
        Ok((self.progress, optimizer))
    }
}

/// Makes sure that the directory is free, or holds this very experiment; the checkpoint to go on from.
fn claim(run: &RunDirectory, experiment: &Experiment, resume: bool) -> Result<Option<Saved>> {
    let place = run.path().display();
    if run.path().is_file() {
        return Err(Error::input(format!("a run needs a folder, but {place} is a file"))
            .hint("name another folder with --out"));
    }
    if run.holds_something_else() {
        return Err(Error::input(format!("{place} is not empty and holds no run"))
            .hint("name another folder with --out"));
    }
    let latest = run.latest()?;
    // A run that ended before its first checkpoint has nothing to lose, and may begin anew with another config.
    let (Some(text), Some(step)) = (run.config()?, latest) else { return Ok(None) };
    let there = Experiment::parse(&text, &run.file("config.toml").display().to_string(), &[])?;
    let differing = differing_keys(&there.to_json(), &experiment.to_json());
    let fixed: Vec<&String> =
        differing.iter().filter(|key| !CHANGEABLE.iter().any(|free| key.starts_with(free))).collect();
    if !fixed.is_empty() {
        let keys: Vec<&str> = fixed.iter().map(|key| key.as_str()).collect();
        return Err(Error::input(format!("{place} holds another experiment: {} differ", keys.join(", ")))
            .hint("name another folder with --out, or remove that one"));
    }
    if !resume {
        return Err(Error::input(format!("{place} holds this run already"))
            .hint("--resume goes on with it, --out DIR starts another one beside it"));
    }
    let schedule = &experiment.training;
    if differing.iter().any(|key| key == "training.steps")
        && (schedule.linear.is_some() || schedule.cosine.is_some())
    {
        talk(
            "note: the learning rate falls towards `training.steps`, so with another number it goes on differently",
        );
    }
    Saved::read(run, step).map(Some)
}

/// Paths of the keys that two configs do not agree on.
fn differing_keys(one: &Value, other: &Value) -> Vec<String> {
    fn walk(prefix: &str, one: Option<&Value>, other: Option<&Value>, out: &mut Vec<String>) {
        if one == other {
            return;
        }
        let (Some(Value::Object(a)), Some(Value::Object(b))) = (one, other) else {
            out.push(prefix.trim_start_matches('.').to_owned());
            return;
        };
        for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
            walk(&format!("{prefix}.{key}"), a.get(key), b.get(key), out);
        }
    }
    let mut out = Vec::new();
    walk("", Some(one), Some(other), &mut out);
    out
}

fn introduce_data(report: &mut Report, data: &Splits) {
    for (set, name) in [(&data.train, "training"), (&data.valid, "validation")] {
        let mut line = format!("{} {name} pairs", set.pairs.len());
        if let Some(first) = set.skipped.first() {
            let count = set.skipped.len();
            line += &format!("; {count} left out because a side is too long, the first at {first}");
        }
        if set.unknown != [0, 0] {
            let [source, target] = set.unknown;
            line += &format!("; symbols that the vocabulary lacks: {source} in sources, {target} in targets");
        }
        report.say(&line);
    }
    let described = |tokenizer: &Tokenizer| format!("{} {}", tokenizer.vocabulary_size(), tokenizer.kind());
    let (source, target) = (described(&data.tokenizers.source), described(&data.tokenizers.target));
    report.say(&format!("vocabularies: source {source}, target {target}"));
}

fn introduce(
    report: &mut Report,
    experiment: &Experiment,
    run: &RunDirectory,
    runtime: Runtime,
    params: &Params,
) {
    let numbers: usize = params.iter().map(|param| param.tensor.numel()).sum();
    let device = match runtime.device {
        Device::Cpu => format!("the CPU ({} threads)", runtime.threads),
        other => format!("{other:?}"),
    };
    let (name, place) = (&experiment.name, run.path().display());
    report.say(&format!("{name}: {numbers} parameters on {device}, into {place}"));
}

fn conclude(report: &mut Report, run: &RunDirectory, outcome: Outcome, progress: &Progress) {
    report.close();
    let (step, path) = (progress.step, run.path().display());
    let best = progress
        .best
        .map_or(String::new(), |best| format!("; the best validation was at step {}", best.step));
    report.say(&match outcome {
        Outcome::Complete => format!("done: {step} steps{best}. Decode with: seqloom decode {path}"),
        Outcome::OutOfPatience => {
            format!("stopped at step {step}: no better validation for a while{best}. Decode with: seqloom decode {path}")
        }
        Outcome::Stopped(_) => format!("stopped at step {step}, saved. Go on with --resume"),
    });
}

fn save(
    run: &RunDirectory,
    experiment: &Experiment,
    tokenizers: &Tokenizers,
    params: &Params,
    snapshot: &Snapshot,
) -> Result<()> {
    let progress = snapshot.progress;
    let weights: Named =
        params.iter().map(|param| (param.name.clone(), param.tensor.shallow_clone())).collect();
    let header = ModelHeader::new(experiment.to_json(), tokenizers.to_json(), progress.step);
    let state = serde_json::to_vec_pretty(progress).map_err(|error| Error::failure(error.to_string()))?;
    let files = [
        (MODEL, header.to_bytes(&weights)?),
        (TRAINING, tensors::to_bytes(&snapshot.optimizer, None)?),
        (STATE, state),
    ];
    run.save(progress.step, &files)?;
    // A kill may have come between this and the best checkpoint itself: what is not named yet is named now.
    if let Some(best) = snapshot.best.filter(|&best| run.checkpoint(best).is_dir()) {
        run.name_best(best)?;
    }
    run.prune(experiment.training.keep_last, progress.best.map(|best| best.step))
}
