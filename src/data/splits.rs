//! The training, validation and test set of an experiment: read, checked against the rules of `[data]`, and tokenized.
//!
//! It decides what is kept in memory, and collects notes about the files. It depends on no model.

use std::path::Path;

use super::audio::augment::AugmentConfig;
use super::audio::config::AudioConfig;
use super::audio::features::Features;
use super::audio::processor::AudioProcessor;
use super::dataset::encoding::{changed_texts, changes_of};
use super::dataset::{Dataset, ShortEnough, TokenizerSource, Tokenizers};
use super::held_out::hold_out;
use super::learning::learn;
use super::prepare::{Preparation, Prepared, REPORTED};
use super::readers::{Format, Pair};
use super::selection::{Selected, each_used};
use super::source_processor::SourceProcessor;
use super::{DataConfig, Files, Progress, ValidPairs};
use crate::error::{Error, Result};

/// The sets of an experiment, and their tokenizers.
#[derive(Debug)]
pub struct DataSplits {
    /// The training set.
    pub train: Dataset,
    /// The validation set.
    pub valid: Dataset,
    /// The test set, if there is one.
    pub test: Option<Dataset>,
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
    /// Reads and tokenizes all sets. Tokenizers that are not given are built from training pairs, more than once if
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
        let test = || config.test.as_ref().map(read).transpose();
        let folder = config.cache.as_deref().or(options.cache).filter(|_| is_large(config));
        if let Some(folder) = folder {
            let (valid, test) = (config.valid.files().map(read).transpose()?, test()?);
            let made = Preparation { config, folder, progress }.open_or_make(&tokenizers)?;
            let Prepared { train, held_out, tokenizers } = made;
            let valid = valid.unwrap_or_else(|| Read { pairs: held_out, selected: Selected::default() });
            return DataSplits::of_texts(config, tokenizers, train, valid, test);
        }
        let mut train = read(&config.train)?;
        let valid = match &config.valid {
            ValidPairs::Files(files) => read(files)?,
            ValidPairs::Share(share) => train.hold_out(*share, config)?,
        };
        // Nothing in training reads them, and a set in a file does not keep them either.
        train.pairs.iter_mut().for_each(|pair| pair.other_targets = Vec::new());
        let test = test()?;
        progress("learning the vocabularies", 0, None);
        let tokenizers = learn(&train.pairs, config, &tokenizers)?;
        if let Some(recordings) = &config.source.audio {
            return of_recordings(config, recordings, options.audio, tokenizers, (train, valid, test));
        }
        progress("encoding the pairs", 0, None);
        let train = train.encoded(config, &tokenizers, &config.train)?;
        DataSplits::of_texts(config, tokenizers, train, valid, test)
    }

    fn of_texts(
        config: &DataConfig,
        tokenizers: Tokenizers,
        train: Dataset,
        valid: Read,
        test: Option<Read>,
    ) -> Result<DataSplits> {
        let train = train.for_training(config, &tokenizers)?;
        let valid = valid.encoded(config, &tokenizers, valid_files(config))?;
        let test = test.zip(config.test.as_ref());
        let test = test.map(|(test, files)| test.encoded(config, &tokenizers, files)).transpose()?;
        Ok(DataSplits { train, valid, test, tokenizers })
    }

    /// Training and validation set of recordings that were read before.
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
        let [train, valid] = sets.map(|pairs| Read { pairs, selected: Selected::default() });
        of_recordings(config, recordings, Some(audio), tokenizers, (train, valid, None))
    }

    /// Whether loading makes files that several ranks can share.
    pub(crate) fn makes_files(config: &DataConfig) -> bool {
        config.source.audio.is_some() || is_large(config)
    }
}

/// The files that the validation pairs are in.
fn valid_files(config: &DataConfig) -> &Files {
    config.valid.files().unwrap_or(&config.train)
}

/// How many times as large as its file a compressed text is taken to be.
const COMPRESSED: u64 = 4;

/// Whether the training set is too large for the memory. Only files can be read twice.
pub(crate) fn is_large(config: &DataConfig) -> bool {
    let size = |path: &Path| {
        let file = std::fs::metadata(path).ok().filter(|file| file.is_file())?;
        Some(file.len() * if Format::is_compressed(path) { COMPRESSED } else { 1 })
    };
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

impl Read {
    /// Takes a share of the pairs out.
    fn hold_out(&mut self, share: f64, config: &DataConfig) -> Result<Read> {
        let pairs = hold_out(&mut self.pairs, share, config)?;
        Ok(Read { pairs, selected: Selected::default() })
    }

    /// The pairs in tokens, and what reading changed in the texts of `files`.
    fn encoded(self, config: &DataConfig, tokenizers: &Tokenizers, files: &Files) -> Result<Dataset> {
        let Selected { left_out, mut notes } = self.selected;
        let (mut set, changes) = Dataset::with_changes(self.pairs, tokenizers, config)?;
        notes.extend(changed_texts(&changes, tokenizers, files));
        set.left_out.join(left_out);
        Ok(Dataset { notes, ..set })
    }
}

/// What only recordings need.
#[derive(Clone, Copy, Debug)]
pub struct AudioOptions<'a> {
    /// The folder in which features are kept.
    pub features: &'a Path,
    /// Whether each recording must be long enough for CTC.
    pub ctc: bool,
}

/// The sets, whose sources are recordings: their features are made, and normalized by the training recordings.
fn of_recordings(
    config: &DataConfig,
    recordings: &AudioConfig,
    audio: Option<AudioOptions>,
    mut tokenizers: Tokenizers,
    (train, valid, test): (Read, Read, Option<Read>),
) -> Result<DataSplits> {
    let no_room = || Error::input("this command reads texts, but the sources of the config are recordings");
    let audio = audio.ok_or_else(no_room)?;
    let wrong_kind = || {
        let message = "the model's sources must be recordings, as in the config, but they are texts";
        Error::input(message).hint("start from a model that was trained on recordings")
    };
    let mut processor = tokenizers.source.audio().ok_or_else(wrong_kind)?.clone();
    let train = Heard::of(train, config, &processor, (audio, "train", Some(&recordings.augment)))?;
    if processor.needs_stats() {
        processor = processor.with_stats(Some(train.features.stats()?));
    }
    tokenizers.source = SourceProcessor::Audio(Box::new(processor.clone()));
    let held_out = |set: Read, name: &str, files: &Files| -> Result<Dataset> {
        let heard = Heard::of(set, config, &processor, (audio, name, None))?;
        heard.encoded(config, &tokenizers, files, audio.ctc)
    };
    let valid = held_out(valid, "valid", valid_files(config))?;
    let test = test.zip(config.test.as_ref());
    let test = test.map(|(test, files)| held_out(test, "test", files)).transpose()?;
    let train = train.encoded(config, &tokenizers, &config.train, audio.ctc)?;
    let train = train.for_training(config, &tokenizers)?;
    Ok(DataSplits { train, valid, test, tokenizers })
}

/// The recordings of a set, and their features.
struct Heard {
    set: ShortEnough,
    selected: Selected,
    features: Features,
}

impl Heard {
    /// Makes the features in the folder of this name.
    fn of(
        Read { pairs, selected }: Read,
        config: &DataConfig,
        processor: &AudioProcessor,
        (audio, name, augment): (AudioOptions, &str, Option<&AugmentConfig>),
    ) -> Result<Heard> {
        let set = ShortEnough::of(pairs, processor, config)?;
        let features = Features::open(&audio.features.join(name), &set.takes(), processor, augment)?;
        Ok(Heard { set, selected, features })
    }

    fn encoded(
        self,
        config: &DataConfig,
        tokenizers: &Tokenizers,
        files: &Files,
        ctc: bool,
    ) -> Result<Dataset> {
        let Heard { set, selected: Selected { left_out, mut notes }, features } = self;
        let wrong_kind = || Error::failure("the sources of this model are texts");
        let processor = tokenizers.source.audio().ok_or_else(wrong_kind)?;
        notes.extend(changed_texts(&changes_of(&set.pairs, tokenizers), tokenizers, files));
        notes.extend_from_slice(features.notes());
        let features = features.normalized_by(processor)?;
        let mut set = Dataset::of_recordings(set, features, tokenizers, config, ctc)?;
        set.left_out.join(left_out);
        Ok(Dataset { notes, ..set })
    }
}

#[cfg(test)]
mod tests;
