//! Training and validation set of an experiment: read, checked against the rules of `[data]`, and tokenized.
//!
//! It decides what is kept in memory, and collects notes about the files. It depends on no model.

use std::path::Path;

use super::audio::config::AudioConfig;
use super::audio::features::Features;
use super::audio::processor::AudioProcessor;
use super::dataset::encoding::{changed_texts, changes_of};
use super::dataset::{Dataset, ShortEnough, TokenizerSource, Tokenizers};
use super::learning::learn;
use super::prepare::{Preparation, REPORTED};
use super::readers::Pair;
use super::selection::{Selected, each_used};
use super::source_processor::SourceProcessor;
use super::{DataConfig, Files, Progress};
use crate::error::{Error, Result};

/// Both splits of an experiment, and their tokenizers.
#[derive(Debug)]
pub struct DataSplits {
    /// The training set.
    pub train: Dataset,
    /// The validation set.
    pub valid: Dataset,
    /// The tokenizers of both sides.
    pub tokenizers: Tokenizers,
}

/// How a set is loaded.
#[derive(Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// What only recordings need.
    pub audio: Option<AudioOptions<'a>>,
    /// The folder for large sets, unless `data.cache` names another one; without both every set is loaded into memory.
    pub cache: Option<&'a Path>,
    /// Hears how far it is.
    pub progress: Option<Progress<'a>>,
}

impl DataSplits {
    /// Reads and tokenizes both splits. Tokenizers that are not given are built from training pairs, more than once if
    /// pairs are skipped whose length depends on the result. A set larger than `data.in_memory_limit` is encoded into a
    /// file.
    ///
    /// # Errors
    /// What [`read_pairs`](super::readers::read_pairs), `tokenizers` and [`Dataset::new`] refuse; pairs that a policy of
    /// `[data]` refuses.
    pub fn load(
        config: &DataConfig,
        options: LoadOptions,
        tokenizers: TokenizerSource,
    ) -> Result<DataSplits> {
        let progress: Progress = options.progress.unwrap_or(&|_, _, _| {});
        let read = |files| read(files, config, progress);
        let set = |read: Read, files, tokenizers: &Tokenizers| -> Result<Dataset> {
            let Selected { left_out, mut notes } = read.selected;
            let (mut set, changes) = Dataset::with_changes(read.pairs, tokenizers, config)?;
            notes.extend(changed_texts(&changes, tokenizers, files));
            set.left_out.join(left_out);
            Ok(Dataset { notes, ..set })
        };
        let folder = config.cache.as_deref().or(options.cache).filter(|_| is_large(config));
        if let Some(folder) = folder {
            let valid = read(&config.valid)?;
            let (train, tokenizers) = Preparation { config, folder, progress }.open_or_make(&tokenizers)?;
            return Ok(DataSplits { train, valid: set(valid, &config.valid, &tokenizers)?, tokenizers });
        }
        let (train, valid) = (read(&config.train)?, read(&config.valid)?);
        progress("learning the vocabularies", 0, None);
        let tokenizers = learn(&train.pairs, config, &tokenizers)?;
        if let Some(recordings) = &config.source.audio {
            return of_recordings(config, recordings, options.audio, tokenizers, [train, valid]);
        }
        progress("encoding the pairs", 0, None);
        let train = set(train, &config.train, &tokenizers)?;
        Ok(DataSplits { train, valid: set(valid, &config.valid, &tokenizers)?, tokenizers })
    }

    /// Both splits of recordings that were read before.
    ///
    /// # Errors
    /// Those of [`DataSplits::load`].
    pub(crate) fn of_recordings(
        config: &DataConfig,
        audio: AudioOptions,
        tokenizers: Tokenizers,
        sets: [Vec<Pair>; 2],
    ) -> Result<DataSplits> {
        let texts = || Error::failure("the sources of the config are texts");
        let recordings = config.source.audio.as_deref().ok_or_else(texts)?;
        let sets = sets.map(|pairs| Read { pairs, selected: Selected::default() });
        of_recordings(config, recordings, Some(audio), tokenizers, sets)
    }

    /// Whether loading makes files that several ranks can share.
    pub(crate) fn makes_files(config: &DataConfig) -> bool {
        config.source.audio.is_some() || is_large(config)
    }
}

/// Whether the training set is too large for the memory. Only files can be read twice.
pub(crate) fn is_large(config: &DataConfig) -> bool {
    let size =
        |path: &Path| std::fs::metadata(path).ok().filter(|file| file.is_file()).map(|file| file.len());
    let sizes: Option<Vec<u64>> = config.train.paths().map(size).collect();
    let limit = config.in_memory_limit * (1u64 << 30) as f64;
    config.source.audio.is_none() && sizes.is_some_and(|sizes| sizes.iter().sum::<u64>() as f64 > limit)
}

/// The used pairs of a set.
struct Read {
    pairs: Vec<Pair>,
    selected: Selected,
}

fn read(files: &Files, config: &DataConfig, progress: Progress) -> Result<Read> {
    let mut pairs = Vec::new();
    let selected = each_used(files, config, &mut |pair| {
        if pairs.len() % REPORTED == 0 {
            progress("reading pairs", pairs.len(), None);
        }
        pairs.push(pair);
        Ok(())
    })?;
    Ok(Read { pairs, selected })
}

/// What only recordings need.
#[derive(Clone, Copy, Debug)]
pub struct AudioOptions<'a> {
    /// The folder in which features are kept.
    pub features: &'a Path,
    /// Whether each recording must be long enough for CTC.
    pub ctc: bool,
}

/// Both splits, whose sources are recordings: their features are made, and normalized by the training recordings.
fn of_recordings(
    config: &DataConfig,
    recordings: &AudioConfig,
    audio: Option<AudioOptions>,
    mut tokenizers: Tokenizers,
    [train, valid]: [Read; 2],
) -> Result<DataSplits> {
    let no_room = || Error::input("this command reads texts, but the sources of the config are recordings");
    let audio = audio.ok_or_else(no_room)?;
    let wrong_kind = || {
        let message = "the model's sources must be recordings, as in the config, but they are texts";
        Error::input(message).hint("start from a model that was trained on recordings")
    };
    let mut processor = tokenizers.source.audio().ok_or_else(wrong_kind)?.clone();
    let open = |processor: &AudioProcessor, name: &str, set: &ShortEnough, augment| {
        Features::open(&audio.features.join(name), &set.takes(), processor, augment)
    };
    let train_set = ShortEnough::of(train.pairs, &processor, config)?;
    let heard = open(&processor, "train", &train_set, Some(&recordings.augment))?;
    if processor.needs_stats() {
        processor = processor.with_stats(Some(heard.stats()?));
    }
    tokenizers.source = SourceProcessor::Audio(Box::new(processor.clone()));
    let valid_set = ShortEnough::of(valid.pairs, &processor, config)?;
    let heard_in_valid = open(&processor, "valid", &valid_set, None)?;
    let set = |set: ShortEnough, selected: Selected, features: Features, files| -> Result<Dataset> {
        let Selected { left_out, mut notes } = selected;
        notes.extend(changed_texts(&changes_of(&set.pairs, &tokenizers), &tokenizers, files));
        notes.extend_from_slice(features.notes());
        let features = features.normalized_by(&processor)?;
        let mut set = Dataset::of_recordings(set, features, &tokenizers, config, audio.ctc)?;
        set.left_out.join(left_out);
        Ok(Dataset { notes, ..set })
    };
    let train = set(train_set, train.selected, heard, &config.train)?;
    let valid = set(valid_set, valid.selected, heard_in_valid, &config.valid)?;
    Ok(DataSplits { train, valid, tokenizers })
}

#[cfg(test)]
mod tests;
