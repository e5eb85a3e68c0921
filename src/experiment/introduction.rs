//! The messages of training at its start and at its end.

use tch::Device;

use crate::checkpoint::run::{Origin, RunDirectory};
use crate::config::Experiment;
use crate::data::dataset::Dataset;
use crate::data::left_out::Tally;
use crate::data::readers::Pair;
use crate::data::source_processor::SourceProcessor;
use crate::data::splits::DataSplits;
use crate::data::tokenizer::Tokenizer;
use crate::data::{DataConfig, PairFile};
use crate::decoding::DecodingConfig;
use crate::decoding::options::LengthLimits;
use crate::distributed::Group;
use crate::error::{Result, counted};
use crate::model::network::Network;
use crate::model::params::Params;
use crate::runtime::Runtime;
use crate::training::gradients::shards;
use crate::training::recorders::{Event, Recorder};
use crate::training::state::{StopReason, TrainState};
use crate::training::{TokensPerBatch, TrainingConfig};

/// The messages of a run before its first update.
pub(crate) struct Introduction<'a> {
    pub experiment: &'a Experiment,
    pub run: &'a RunDirectory,
    pub runtime: Runtime,
    pub data: &'a DataSplits,
    pub params: &'a Params,
    pub model: &'a Network,
    pub group: &'a Group,
}

impl Introduction<'_> {
    /// Reports everything about the run before it starts. `before` is the saved state of a resumed run, and the keys of
    /// data files with other names than before; `origin` is the initial model, and its new rows.
    pub(crate) fn say(
        &self,
        recorder: &mut dyn Recorder,
        progress: &TrainState,
        before: Option<(&TrainState, &[&str])>,
        origin: Option<(Origin, Vec<(String, i64)>)>,
    ) {
        let Introduction { experiment, run, runtime, data, params, model, group } = *self;
        group.described().iter().for_each(|ranks| recorder.say(ranks));
        introduce(recorder, experiment, run, runtime, params);
        introduce_origin(recorder, params, origin);
        introduce_data(recorder, &experiment.data, data);
        introduce_form(recorder, &data.tokenizers.target, &data.valid);
        introduce_limits(recorder, &experiment.decoding, data, model.max_length());
        introduce_batches(recorder, experiment, (runtime, group.ranks()), data, progress);
        match before {
            Some((before, moved)) => introduce_resumed(recorder, progress, before, moved),
            None => introduce_schedule(recorder, &experiment.training),
        }
    }
}

/// Model and machine.
fn introduce(
    recorder: &mut dyn Recorder,
    experiment: &Experiment,
    run: &RunDirectory,
    runtime: Runtime,
    params: &Params,
) {
    let count = |all: bool| -> usize {
        let counted = params.iter().filter(|param| all || param.tensor.requires_grad());
        counted.map(|param| param.tensor.numel()).sum()
    };
    let (numbers, moving) = (count(true), count(false));
    let frozen =
        if moving < numbers { format!(", {} of them frozen", numbers - moving) } else { String::new() };
    let (name, place, machine) = (&experiment.name, run.path().display(), runtime.machine());
    recorder.say(&format!("{name}: {numbers} parameters{frozen} on {machine}; run directory {place}"));
    if runtime.computes_slowly() {
        recorder.say("note: this CPU has no fast instructions for bfloat16; `runtime.precision` = \"f32\" is many times as fast");
    }
}

/// Notes about schedules that do not work as expected.
fn introduce_schedule(recorder: &mut dyn Recorder, config: &TrainingConfig) {
    if config.epochs > 0 && config.decays_until_steps() {
        recorder.say("note: the learning rate decays until `training.steps`, even if `training.epochs` ends training earlier");
    }
    let (warmup, steps) = (config.warmup(), config.steps);
    if warmup >= steps {
        recorder.say(&format!(
            "note: the warm-up lasts until the end of training: `warmup` is {warmup}, and `training.steps` is {steps}"
        ));
    }
}

/// Reports the step from which a run resumes, and what has changed; `before` is its saved state, and `moved` are the
/// keys of data files with other names than before.
fn introduce_resumed(
    recorder: &mut dyn Recorder,
    progress: &TrainState,
    before: &TrainState,
    moved: &[&str],
) {
    if progress.step > 0 {
        recorder.say(&format!("resuming from step {}", progress.step));
    }
    let (was, now) = (&before.machine, &progress.machine);
    if !was.is_empty() && was != now {
        recorder.say(&format!(
            "note: this run started on {was} and resumes on {now}: results will not be bit-identical"
        ));
    }
    let same_valid = before.valid.is_empty() || before.valid == progress.valid;
    for key in moved.iter().filter(|key| **key == "data.train" || same_valid) {
        recorder.say(&format!("note: `{key}` names other files than before, with the same pairs"));
    }
    if !same_valid {
        recorder.say(
            "note: the validation set has changed: earlier scores, including the best, are not comparable",
        );
    }
}

/// Reports the initial model, and the rows that `--extend-vocabulary` added to its weights.
fn introduce_origin(
    recorder: &mut dyn Recorder,
    params: &Params,
    origin: Option<(Origin, Vec<(String, i64)>)>,
) {
    let Some((Origin { path, sha256 }, new_rows)) = origin else { return };
    recorder.say(&format!("starting from the weights of {} (SHA-256 {sha256})", path.display()));
    for (name, rows) in &new_rows {
        let moves = params.get(name).is_some_and(|weight| weight.requires_grad());
        let frozen = if moves {
            ""
        } else {
            "; note: `training.freeze` freezes this weight, so these rows do not train"
        };
        let rows = counted(*rows, "new row");
        recorder.say(&format!("`{name}` has {rows}, each the mean of the old ones{frozen}"));
    }
}

/// Reports the pairs, the skipped ones, and the vocabularies.
fn introduce_data(recorder: &mut dyn Recorder, config: &DataConfig, data: &DataSplits) {
    let sets =
        [(Some(&data.train), "training"), (Some(&data.valid), "validation"), (data.test.as_ref(), "test")];
    for (set, name) in sets.into_iter().filter_map(|(set, name)| Some((set?, name))) {
        let mut line = counted(set.corpus.len(), &format!("{name} pair"));
        for (reason, Tally { count, first }) in set.left_out.iter() {
            let first =
                first.iter().take(1).map(|first| format!(", the first at {first}")).collect::<String>();
            line += &format!("; {count} skipped because {}{first}", reason.why());
        }
        if set.unknown != [0, 0] {
            let [source, target] = set.unknown;
            line += &format!(
                "; symbols that are not in the vocabulary: {source} in sources, {target} in targets"
            );
        }
        recorder.say(&line);
        set.notes.iter().for_each(|note| recorder.say(&format!("note: {note}")));
    }
    introduce_mixture(recorder, config, &data.train);
    let (source, target) = (&data.tokenizers.source, &data.tokenizers.target);
    let target = format!("{} {}", target.vocabulary_size(), target.kind());
    recorder.say(&match source {
        SourceProcessor::Text(_) => format!("vocabularies: source {}, target {target}", source.described()),
        SourceProcessor::Audio(_) => format!("source: {}; vocabulary: target {target}", source.described()),
    });
}

/// Reports how many pairs of each file a pass has, if they are not simply all.
fn introduce_mixture(recorder: &mut dyn Recorder, config: &DataConfig, train: &Dataset) {
    let Some(mixture) = &train.passes.mixture else { return };
    let of_file = |(file, (rows, of_pass)): (&PairFile, (u32, u32))| {
        let times = f64::from(of_pass) / f64::from(rows.max(1));
        format!("{}: {of_pass} ({times:.3} times its {rows})", file.name().display())
    };
    let of_files: Vec<String> = config.train.0.iter().zip(mixture.of_files()).map(of_file).collect();
    recorder.say(&format!("training pairs of an epoch: {}", of_files.join(", ")));
}

/// Reports references that are longer than the limit of outputs; of several of a row, if all of them are.
fn introduce_limits(
    recorder: &mut dyn Recorder,
    config: &DecodingConfig,
    DataSplits { valid, tokenizers, .. }: &DataSplits,
    longest: Option<usize>,
) {
    let limits = LengthLimits::new(config);
    let too_long = |row: usize, (source, target): (usize, usize)| {
        let limit = limits.of(source, longest);
        let fits = |text: &String| tokenizers.target.encode(text).len() < limit;
        let mut others = valid.corpus.pairs().get(row).into_iter().flat_map(|pair| &pair.other_targets);
        (target >= limit && !others.any(fits)).then_some((target + 1, limit))
    };
    let sizes = (0..).zip(valid.corpus.sizes());
    let rows: Vec<_> = sizes.filter_map(|(row, size)| Some((row, too_long(row, size)?))).collect();
    let Some(&(row, (length, limit))) = rows.first() else { return };
    let place = valid.corpus.place(row);
    recorder.say(&format!(
        "note: validation references longer than an output may be (`decoding.max_length`): {} of {}; no output can match \
         them; the first is {place}: {length} tokens with <eos>, but at most {limit} are allowed",
        rows.len(),
        valid.corpus.len()
    ));
}

/// Reports references that no output can equal, because outputs have another text form.
fn introduce_form(recorder: &mut dyn Recorder, target: &Tokenizer, valid: &Dataset) {
    if let Some(note) = in_other_form(target, valid.corpus.pairs().iter().flat_map(Pair::targets)) {
        recorder.say(&note);
    }
}

fn in_other_form<'a>(target: &Tokenizer, references: impl Iterator<Item = &'a str>) -> Option<String> {
    let (mut all, mut others) = (0, 0);
    for text in references {
        all += 1;
        others += usize::from(target.as_output(text) != text);
    }
    (others > 0).then(|| {
        format!(
            "note: validation references that no output can equal as they are in the file, because of their normal form or \
             white space: {others} of {all} (outputs: {}); `training.best_by` compares both in the text form of outputs",
            target.form()
        )
    })
}

/// The most long rows to list; the rest are counted.
const NAMED: usize = 20;

/// Reports rows that are longer than the budget of a batch, and the budget that `auto` found.
fn introduce_batches(
    recorder: &mut dyn Recorder,
    experiment: &Experiment,
    (runtime, ranks): (Runtime, usize),
    data: &DataSplits,
    progress: &TrainState,
) {
    let budget = progress.tokens_per_batch;
    if experiment.training.tokens_per_batch == TokensPerBatch::Auto {
        recorder.say(&format!("tokens_per_batch: {budget} positions, found by trial"));
    }
    let shards = shards(&experiment.training, budget);
    if runtime.threads < experiment.runtime.threads {
        let (asked, threads) = (experiment.runtime.threads, counted(runtime.threads, "thread"));
        recorder.say(&format!(
            "note: `runtime.threads` is {asked}, but only {threads} started: at most four per core"
        ));
    }
    let threads = ranks * runtime.threads;
    if runtime.device == Device::Cpu && threads > shards {
        recorder.say(&format!(
            "note: an update has {} for {threads} threads; `training.shards` = {} keeps more of them busy",
            counted(shards, "shard"),
            (2 * shards).max(threads.next_power_of_two())
        ));
    }
    let lengths = data.train.corpus.lengths().iter().map(|&(source, target)| source.max(target) as usize);
    let long: Vec<(usize, usize)> = lengths.enumerate().filter(|(_, length)| *length > budget).collect();
    for &(row, length) in long.iter().take(NAMED) {
        let place = data.train.corpus.place(row);
        recorder.say(&format!(
            "{place}: this pair has {length} positions, more than `tokens_per_batch` = {budget}: it gets a batch of its \
             own"
        ));
    }
    if long.len() > NAMED {
        recorder.say(&format!("and {}", counted(long.len() - NAMED, "more such pair")));
    }
}

/// Reports how training ended, and what to do next.
pub(crate) fn conclude(
    recorder: &mut dyn Recorder,
    run: &RunDirectory,
    stop_reason: StopReason,
    progress: &TrainState,
    averaged: bool,
) -> Result<()> {
    recorder.record(&Event::End)?;
    let (step, path) = (progress.step, run.path().display());
    let best = progress
        .best_steps()
        .next()
        .map_or(String::new(), |best| format!("; the best validation was at step {best}"));
    let average = if averaged { format!(", or its average: {path}/average") } else { String::new() };
    recorder.say(&match stop_reason {
        StopReason::Complete => format!("done: {}{best}", counted(step, "step")),
        StopReason::OutOfPatience => {
            format!("stopped early at step {step}: no better validation (`training.patience`){best}")
        }
        StopReason::Stopped(_) => format!("stopped at step {step}, saved. To continue, use --resume"),
    });
    if !matches!(stop_reason, StopReason::Stopped(_)) {
        recorder.say(&format!("decode with: seqloom decode {path}{average}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SideConfig;

    #[test]
    fn references_in_another_form_than_outputs_are_counted() {
        let target = Tokenizer::train(&SideConfig::default(), ["caf\u{e9}"].into_iter()).unwrap();
        let note = |texts: &[&'static str]| in_other_form(&target, texts.iter().copied());
        assert_eq!(note(&["caf\u{e9}", "fe", ""]), None);
        assert_eq!(
            note(&["cafe\u{301}", "fe", "fe "]).unwrap(),
            "note: validation references that no output can equal as they are in the file, because of their normal form or \
             white space: 2 of 3 (outputs: NFC, white space trimmed); `training.best_by` compares both in the text form of outputs"
        );
    }
}
