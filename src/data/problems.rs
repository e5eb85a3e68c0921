//! Everything that is wrong with the files of a config, found in one pass, and small sets for a trial of its training.
//!
//! Where training stops at the first broken row or refused pair, this counts and goes on. It writes no file but the
//! features of a few recordings, in a folder of the caller.

use std::collections::HashSet;

use super::audio::config::AudioConfig;
use super::audio::processor::AudioProcessor;
use super::dataset::encoding::changed_texts;
use super::dataset::{Dataset, TokenizerSource, Tokenizers, check_some_left};
use super::held_out::hold_out;
use super::learning::learn;
use super::left_out::{LeftOut, NAMED, Reason};
use super::prepare::REPORTED;
use super::readers::{Pair, Place, name};
use super::selection::Selection;
use super::splits::{AudioOptions, DataSplits, is_large};
use super::tokenizer::Tokenizer;
use super::{DataConfig, Files, Policy, Progress, TooLong, ValidPairs};
use crate::error::{Error, counted};
use crate::runtime::threads;

/// Pairs of a set larger than memory that a trial uses, the first ones.
const OF_LARGE: usize = 100_000;

/// Recordings of a set that a trial uses, the first ones: their features have to be made.
const RECORDINGS: usize = 64;

/// What was found in the files of a config.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// What is wrong.
    pub problems: Vec<Error>,
    /// The tokenizers, if there are training pairs.
    pub tokenizers: Option<Tokenizers>,
    /// Sets for a trial, if nothing is wrong with them.
    pub splits: Option<DataSplits>,
    /// All pairs of the training and of the validation set that are used.
    pub pairs: [usize; 2],
}

/// A set, as far as it could be read.
struct Set<'a> {
    name: &'static str,
    files: &'a Files,
    pairs: Vec<Pair>,
    /// Used pairs, also those that are not kept.
    used: usize,
    left_out: LeftOut,
    notes: Vec<String>,
}

impl<'a> Set<'a> {
    /// Takes a share of the pairs out; of a set larger than memory, of those that are kept.
    fn hold_out(&mut self, share: f64, config: &DataConfig, problems: &mut Vec<Error>) -> Set<'a> {
        let (mut out, all) = (Vec::new(), self.pairs.len().max(1));
        if !self.pairs.is_empty() {
            match hold_out(&mut self.pairs, share, config) {
                Ok(held_out) => out = held_out,
                Err(error) => problems.push(error),
            }
        }
        let used = (self.used as f64 * out.len() as f64 / all as f64).round() as usize;
        self.used -= used;
        let (left_out, notes) = (LeftOut::default(), Vec::new());
        Set { name: "data.valid", files: self.files, pairs: out, used, left_out, notes }
    }
}

/// The config, and the same one with each policy that makes an error counting instead.
struct Policies<'a> {
    config: &'a DataConfig,
    counting: DataConfig,
}

/// Reads all files. Features of recordings are made in the folder of `audio`.
pub(crate) fn inspect(config: &DataConfig, audio: AudioOptions, progress: Progress) -> Inspection {
    let policies = Policies { config, counting: config.counting() };
    let mut found = Inspection { problems: ready_tokenizers(config), ..Inspection::default() };
    let can_learn = found.problems.is_empty();
    let most = if is_large(config) { OF_LARGE } else { usize::MAX };
    let problems = &mut found.problems;
    let mut train = policies.read(("data.train", &config.train), most, progress, problems);
    let mut valid = match &config.valid {
        ValidPairs::Files(files) => policies.read(("data.valid", files), usize::MAX, progress, problems),
        ValidPairs::Share(share) => train.hold_out(*share, config, problems),
    };
    let mut test =
        config.test.as_ref().map(|files| policies.read(("data.test", files), usize::MAX, progress, problems));
    if let Some(recordings) = &config.source.audio {
        let sets = [Some(&mut train), Some(&mut valid), test.as_mut()];
        policies.look_at_recordings(sets.into_iter().flatten().collect(), recordings, problems);
    }
    found.pairs = [train.used, valid.used];
    if train.pairs.is_empty() || !can_learn {
        return found;
    }
    progress("learning the vocabularies", 0, None);
    let tokenizers = match learn(&train.pairs, &policies.counting, &TokenizerSource::Learned) {
        Ok(tokenizers) => tokenizers,
        Err(error) => {
            found.problems.push(error);
            return found;
        }
    };
    progress("encoding the pairs", 0, None);
    let splits = match config.source.audio.is_some() {
        true => policies.heard([train, valid], audio, &tokenizers, &mut found.problems),
        false => policies.cut([Some(train), Some(valid), test], &tokenizers, &mut found.problems),
    };
    found.splits = splits.filter(|_| found.problems.is_empty());
    found.tokenizers = Some(tokenizers);
    found
}

impl Policies<'_> {
    /// Reads a set; keeps the first `most` pairs.
    fn read<'f>(
        &self,
        (name_of_set, files): (&'static str, &'f Files),
        most: usize,
        progress: Progress,
        problems: &mut Vec<Error>,
    ) -> Set<'f> {
        let (mut pairs, mut used, before) = (Vec::new(), 0usize, problems.len());
        let mut selection = Selection::new(&self.counting);
        for (number, file) in (0..).zip(&files.0) {
            let mut broken = Broken::default();
            let mut take = |pair: Pair| {
                if used % REPORTED == 0 {
                    progress("reading pairs", used, None);
                }
                used += 1;
                if pairs.len() < most {
                    pairs.push(pair);
                }
                Ok(())
            };
            let read = selection.read((number, file), &mut take, &mut |error| {
                broken.add(error);
                Ok(())
            });
            problems.extend(broken.problem(&name(file), "row"));
            problems.extend(read.err());
        }
        let left_out = selection.left_out().clone();
        problems.extend(self.refusals(name_of_set, &left_out));
        let notes = match selection.finish() {
            Ok(selected) => selected.notes,
            Err(error) => {
                // That nothing is left mostly follows from what is known already.
                problems.extend((problems.len() == before).then_some(error));
                Vec::new()
            }
        };
        Set { name: name_of_set, files, pairs, used, left_out, notes }
    }

    /// Looks at the headers of all recordings; keeps those that can be read and are not too long.
    fn look_at_recordings(&self, sets: Vec<&mut Set>, config: &AudioConfig, problems: &mut Vec<Error>) {
        let of_first = |pair: &Pair| AudioProcessor::of_first(config, pair.source.as_ref()).ok();
        let processor = sets.iter().flat_map(|set| &set.pairs).find_map(of_first);
        // With none that can be read, any settings find out why.
        let Some(processor) = processor.or_else(|| AudioProcessor::new(config, FALLBACK_RATE).ok()) else {
            return;
        };
        for set in sets {
            let looked_at = threads::each(set.pairs.iter().collect(), |pair: &Pair| {
                processor.extent(pair.source.as_ref(), pair.segment()).map_err(|error| error.at(&pair.place))
            });
            let (mut broken, mut kept, mut too_long) = (Broken::default(), Vec::new(), LeftOut::default());
            for (pair, extent) in std::mem::take(&mut set.pairs).into_iter().zip(looked_at) {
                match extent {
                    Err(error) => broken.add(error),
                    Ok(extent) if processor.seconds(extent) > processor.max_seconds() => {
                        too_long.add(Reason::TooLong, pair.place);
                    }
                    Ok(_) => kept.push(pair),
                }
            }
            let (before, had_some) = (problems.len(), set.used > 0);
            set.used = kept.len();
            set.pairs = kept;
            problems.extend(broken.problem(set.name, "recording"));
            problems.extend(self.refusals(set.name, &too_long));
            if had_some && problems.len() == before {
                problems.extend(check_some_left(set.used, &too_long, self.config).err());
            }
        }
    }

    /// Sets of texts, each held against the limits of lengths; `None` if one of them has no pair.
    fn cut(
        &self,
        sets: [Option<Set>; 3],
        tokenizers: &Tokenizers,
        problems: &mut Vec<Error>,
    ) -> Option<DataSplits> {
        let [train, valid, test] = sets.map(|set| {
            let Set { name, files, pairs, used, left_out, mut notes } =
                set.filter(|set| !set.pairs.is_empty())?;
            notes.extend(first_ones(pairs.len(), used));
            match Dataset::with_changes(pairs, tokenizers, &self.counting) {
                Ok((mut set, changes)) => {
                    problems.extend(self.refusals(name, &set.left_out));
                    notes.extend(changed_texts(&changes, tokenizers, files));
                    set.left_out.join(left_out);
                    Some(Dataset { notes, ..set })
                }
                Err(error) => {
                    problems.push(error);
                    None
                }
            }
        });
        let train = match train?.for_training(self.config, tokenizers) {
            Ok(train) => train,
            Err(error) => {
                problems.push(error);
                return None;
            }
        };
        let mut splits = DataSplits { train, valid: valid?, test, tokenizers: tokenizers.clone() };
        let shared = shared(&splits);
        splits.valid.notes.extend(shared);
        Some(splits)
    }

    /// Sets of the first recordings, whose features are made; `None` if a set has none, or something is wrong already.
    fn heard(
        &self,
        sets: [Set; 2],
        audio: AudioOptions,
        tokenizers: &Tokenizers,
        problems: &mut Vec<Error>,
    ) -> Option<DataSplits> {
        if !problems.is_empty() || sets.iter().any(|set| set.pairs.is_empty()) {
            return None;
        }
        let about = sets.each_ref().map(|set| first_ones(set.pairs.len().min(RECORDINGS), set.used));
        let pairs = sets.map(|set| set.pairs.into_iter().take(RECORDINGS).collect());
        match DataSplits::of_recordings(&self.counting, audio, tokenizers.clone(), pairs) {
            Ok(mut splits) => {
                problems.extend(self.refusals("data.train", &splits.train.left_out));
                problems.extend(self.refusals("data.valid", &splits.valid.left_out));
                let [of_train, of_valid] = about;
                splits.train.notes.extend(of_train);
                splits.valid.notes.extend(of_valid);
                Some(splits)
            }
            Err(error) => {
                problems.push(error);
                None
            }
        }
    }

    /// The pairs that are left out because of a policy that makes them an error, by reason.
    fn refusals(&self, set: &str, left_out: &LeftOut) -> Vec<Error> {
        let refused = left_out.iter().filter(|(reason, _)| self.refuses(*reason));
        let problem = |(reason, count, first): (Reason, usize, &[Place])| {
            let places: Vec<String> = first.iter().map(Place::to_string).collect();
            let more = if count > first.len() { ", …" } else { "" };
            let (pairs, key) = (counted(count, "pair"), reason.key());
            let message =
                format!("`{set}`: {pairs} refused because {}: {}{more}", reason.why(), places.join(", "));
            Error::input(message)
                .hint(format!("correct the files, or skip such pairs with `data.{key} = \"skip\"`"))
        };
        refused.map(|(reason, tally)| problem((reason, tally.count, tally.first.as_slice()))).collect()
    }

    fn refuses(&self, reason: Reason) -> bool {
        let config = self.config;
        let policy = match reason {
            Reason::TooLong | Reason::TooShort => return config.too_long == TooLong::Error,
            Reason::Empty => config.empty,
            Reason::TooUnequal => config.too_unequal,
            Reason::InvalidUtf8 => config.invalid_utf8,
            Reason::Duplicate => config.duplicate,
            Reason::Copy => config.copy,
        };
        policy == Policy::Error
    }
}

/// A sample rate for settings of features where no recording has one.
const FALLBACK_RATE: u32 = 16_000;

/// What is wrong with the files of ready tokenizers.
fn ready_tokenizers(config: &DataConfig) -> Vec<Error> {
    let sides = [&config.source, &config.target].into_iter().chain(&config.source.parts);
    let ready = sides.filter(|side| side.pretrained.is_some());
    let mut problems: Vec<Error> =
        ready.filter_map(|side| Tokenizer::train(side, std::iter::empty()).err()).collect();
    // Both sides may have the same one.
    problems.dedup_by(|one, other| one.message() == other.message());
    problems
}

/// A note that a trial uses some pairs of all.
fn first_ones(some: usize, all: usize) -> Option<String> {
    (some < all).then(|| format!("this check trains on the first {some} of {}", counted(all, "pair")))
}

/// A note about validation pairs that are in the training set as well.
fn shared(splits: &DataSplits) -> Option<String> {
    let [train, valid] = [&splits.train, &splits.valid].map(|set| set.corpus.pairs());
    let known: HashSet<(&str, &str)> =
        train.iter().map(|pair| (pair.source.as_str(), pair.target.as_str())).collect();
    let is_known = |pair: &&Pair| known.contains(&(pair.source.as_str(), pair.target.as_str()));
    let count = valid.iter().filter(is_known).count();
    (count > 0).then(|| {
        format!(
            "validation pairs that are also training pairs: {count} of {}; scores on them do not show what the model does \
             with new sources",
            valid.len()
        )
    })
}

/// What cannot be read, of many.
#[derive(Default)]
struct Broken {
    count: usize,
    first: Vec<Error>,
}

impl Broken {
    fn add(&mut self, error: Error) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(error);
        }
    }

    /// All of them as one problem of a file or a set.
    fn problem(mut self, place: &str, one: &str) -> Option<Error> {
        if self.count < 2 {
            return self.first.pop();
        }
        let mut message = format!("{place}: {} cannot be read", counted(self.count, one));
        for error in &self.first {
            message += "\n";
            message += error.message();
        }
        if self.count > self.first.len() {
            message += "\n…";
        }
        Some(Error::input(message).hint("correct them, or remove them from the file"))
    }
}
