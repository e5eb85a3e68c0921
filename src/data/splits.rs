//! Training and validation set of an experiment: read, checked against the rules of `[data]`, and tokenized.
//!
//! It decides which pairs are used and which of them train the tokenizers, and collects notes about the files. It
//! depends on no model.

use std::path::Path;
use std::sync::Arc;

use super::audio::config::AudioConfig;
use super::audio::features::Features;
use super::audio::is_sound;
use super::audio::processor::AudioProcessor;
use super::dataset::{Dataset, ShortEnough, Tokenizers};
use super::readers::{COLUMN_SEPARATOR, Columns, Pair, PairSet, Place, Recordings, read_pairs_by, shorten};
use super::source_processor::SourceProcessor;
use super::tokenizer::{ChangeCounts, TextForm, Tokenizer};
use super::{DataConfig, Empty, Files, PairFile, SideConfig, TooLong};
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

impl DataSplits {
    /// Reads and tokenizes both splits. `tokenizers` builds the tokenizers from training pairs; it is called more than
    /// once if pairs are skipped whose length depends on the result.
    ///
    /// # Errors
    /// What [`read_pairs`](super::readers::read_pairs), `tokenizers` and [`Dataset::new`] refuse; pairs with an empty side, depending on
    /// `data.empty`.
    pub fn load(
        config: &DataConfig,
        audio: Option<AudioOptions>,
        tokenizers: impl Fn(&[&Pair]) -> Result<Tokenizers>,
    ) -> Result<DataSplits> {
        let read = |files| -> Result<(PairSet, Vec<Place>)> {
            let sources = config.source.columns();
            let columns = Columns { header: config.header, ..Columns::new(&sources, &config.target.column) };
            let recordings = config.source.audio.as_deref();
            let PairSet { pairs, notes } = read_pairs_by(
                files,
                columns,
                config.format,
                recordings.map(|audio| audio as &dyn Recordings),
            )?;
            if recordings.is_none() {
                refuse_sound(pairs.iter().map(|pair| pair.source.as_str()))?;
            }
            let (pairs, empty) = without_empty(pairs, files, config)?;
            Ok((PairSet { pairs, notes }, empty))
        };
        let (train, valid) = (read(&config.train)?, read(&config.valid)?);
        let tokenizers = learn(&train.0.pairs, config, tokenizers)?;
        if let Some(recordings) = &config.source.audio {
            return of_recordings(config, recordings, audio, tokenizers, [train, valid]);
        }
        let set = |(set, empty): (PairSet, Vec<Place>), files| -> Result<Dataset> {
            let PairSet { pairs, mut notes } = set;
            notes.extend(changed_texts(&pairs, &tokenizers, files));
            Ok(Dataset { empty, notes, ..Dataset::new(pairs, &tokenizers, config)? })
        };
        Ok(DataSplits { train: set(train, &config.train)?, valid: set(valid, &config.valid)?, tokenizers })
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

/// Both splits, whose sources are recordings: their features are made, and normalized by the training recordings.
fn of_recordings(
    config: &DataConfig,
    recordings: &AudioConfig,
    audio: Option<AudioOptions>,
    mut tokenizers: Tokenizers,
    [train, valid]: [(PairSet, Vec<Place>); 2],
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
    let [(train, empty), (valid, empty_in_valid)] = [train, valid];
    let train_set = ShortEnough::of(train.pairs, &processor, config)?;
    let heard = open(&processor, "train", &train_set, Some(&recordings.augment))?;
    if processor.needs_stats() {
        processor = processor.with_stats(Some(heard.stats()?));
    }
    tokenizers.source = SourceProcessor::Audio(Box::new(processor.clone()));
    let valid_set = ShortEnough::of(valid.pairs, &processor, config)?;
    let heard_in_valid = open(&processor, "valid", &valid_set, None)?;
    let set = |set: ShortEnough, mut notes: Vec<String>, features: Features, files| -> Result<Dataset> {
        notes.extend(changed_texts(&set.pairs, &tokenizers, files));
        notes.extend_from_slice(features.notes());
        let features = features.normalized_by(&processor)?;
        let set = Dataset::of_recordings(set, features, &tokenizers, config, audio.ctc)?;
        Ok(Dataset { notes, ..set })
    };
    let train = Dataset { empty, ..set(train_set, train.notes, heard, &config.train)? };
    let valid =
        Dataset { empty: empty_in_valid, ..set(valid_set, valid.notes, heard_in_valid, &config.valid)? };
    Ok(DataSplits { train, valid, tokenizers })
}

/// The most places of empty sides in an error.
const NAMED: usize = 5;

/// Applies `data.empty`: the remaining pairs, and the places of the skipped ones.
fn without_empty(pairs: Vec<Pair>, files: &Files, config: &DataConfig) -> Result<(Vec<Pair>, Vec<Place>)> {
    let empty_sides =
        |pair: &Pair| [is_empty(&config.source, &pair.source), is_empty(&config.target, &pair.target)];
    if config.empty == Empty::Keep {
        return Ok((pairs, Vec::new()));
    }
    let (empty, kept): (Vec<Pair>, Vec<Pair>) =
        pairs.into_iter().partition(|pair| empty_sides(pair).contains(&true));
    if config.empty == Empty::Error
        && let Some(first) = empty.first()
    {
        let of_source = empty_sides(first)[0];
        let counts = [0, 1].map(|side| empty.iter().filter(|pair| empty_sides(pair)[side]).count());
        let file = if of_source { &first.place.file } else { target_file(files, &first.place.file) };
        let place = Place { file: file.into(), line: first.place.line };
        return Err(empty_side(first, of_source, counts, &empty).at(place));
    }
    if kept.is_empty() {
        let message = format!("no pair is left: all {} have an empty side", empty.len());
        return Err(Error::input(message));
    }
    Ok((kept, empty.into_iter().map(|pair| pair.place).collect()))
}

/// Whether a side is empty: its text, or one of its columns that is no set.
fn is_empty(side: &SideConfig, text: &str) -> bool {
    if side.parts.is_empty() {
        return TextForm::of(side).is_empty(text);
    }
    let columns = side.parts.iter().zip(text.split(COLUMN_SEPARATOR).chain(std::iter::repeat("")));
    columns.filter(|(part, _)| !part.set).any(|(part, text)| TextForm::of(part).is_empty(text))
}

/// The error for pairs with an empty side, which are mostly mistakes in the data.
fn empty_side(first: &Pair, of_source: bool, [sources, targets]: [usize; 2], all: &[Pair]) -> Error {
    let (side, other, text) = match of_source {
        true => ("source", "target", &first.target),
        false => ("target", "source", &first.source),
    };
    let mut message =
        format!("the {side} of a pair must not be empty, but it is\n  {other}: {}", shorten(text));
    if all.len() > 1 {
        let more = if all.len() > NAMED { ", …" } else { "" };
        let places: Vec<String> = all.iter().take(NAMED).map(|pair| pair.place.to_string()).collect();
        let sides: Vec<String> = [(sources, "sources"), (targets, "targets")]
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, side)| format!("{count} empty {side}"))
            .collect();
        let (all, sides, places) = (all.len(), sides.join(" and "), places.join(", "));
        message += &format!("\n{all} pairs have an empty side ({sides}): {places}{more}");
    }
    let hint = "fill it in, or skip such pairs with `data.empty = \"skip\"`, or train on them with \"keep\"";
    Error::input(message).hint(hint)
}

/// Builds the tokenizers from the used pairs alone: skipped pairs do not contribute to the vocabulary.
///
/// The length of a side in characters or words does not depend on the vocabulary; in BPE pieces it does. Then the
/// training pairs of the tokenizer shrink until all of them fit, each time by a little more than needed, so that this
/// ends soon. A pair that was dropped on the way but fits in the end is used, so that the used pairs depend on the
/// tokenizers alone.
fn learn(
    pairs: &[Pair],
    config: &DataConfig,
    tokenizers: impl Fn(&[&Pair]) -> Result<Tokenizers>,
) -> Result<Tokenizers> {
    let all: Vec<&Pair> = pairs.iter().collect();
    if config.too_long == TooLong::Error {
        return tokenizers(&all);
    }
    let sides = [&config.source, &config.target];
    let those = |holds: &dyn Fn([&str; 2]) -> bool| -> Vec<&Pair> {
        all.iter().copied().filter(|pair| holds([&pair.source, &pair.target])).collect()
    };
    let may_fit =
        |texts: [&str; 2]| (0..2).all(|n| Tokenizer::least_tokens(sides[n], texts[n]) <= sides[n].max_length);
    // Of recordings the length depends on no vocabulary.
    let counts = |n: usize| sides[n].audio.is_none();
    let must_fit =
        |texts: [&str; 2]| (0..2).all(|n| !counts(n) || texts[n].chars().count() < sides[n].max_length);
    let mut learned_from = those(&may_fit);
    // Pairs that turn out not to fit may have more characters than the vocabulary.
    let mut found = tokenizers(&learned_from).or_else(|error| {
        learned_from = those(&|texts| may_fit(texts) && must_fit(texts));
        tokenizers(&learned_from).map_err(|_| error)
    })?;
    for round in 0.. {
        let lengths = |pair: &Pair| {
            let source = found.source.tokenizer().map_or(0, |source| source.encode(&pair.source).ids.len());
            [source, found.target.encode(&pair.target).ids.len()]
        };
        let lengths: Vec<[usize; 2]> = learned_from.iter().map(|pair| lengths(pair)).collect();
        let fits = |lengths: &[usize; 2], spared: usize| {
            (0..2).all(|n| lengths[n] <= sides[n].max_length - sides[n].max_length * spared.min(8) / 16)
        };
        if lengths.iter().all(|lengths| fits(lengths, 0)) {
            break;
        }
        let fitting = learned_from.iter().zip(&lengths).filter(|(_, lengths)| fits(lengths, round));
        let fitting: Vec<&Pair> = fitting.map(|(pair, _)| *pair).collect();
        let again = tokenizers(&fitting)?;
        let same = |one: &Tokenizers, other: &Tokenizers| {
            one.source.difference(&other.source).is_none() && one.target.difference(&other.target).is_none()
        };
        if same(&found, &again) {
            break;
        }
        (learned_from, found) = (fitting, again);
    }
    Ok(found)
}

/// For each file and side, a note on how many texts reading changed.
fn changed_texts(pairs: &[Pair], tokenizers: &Tokenizers, files: &Files) -> Vec<String> {
    let mut notes = Vec::new();
    for of_file in pairs.chunk_by(|one, other| Arc::ptr_eq(&one.place.file, &other.place.file)) {
        let mut changed = [ChangeCounts::default(); 2];
        for pair in of_file {
            changed[0].add(tokenizers.source.changes(&pair.source));
            changed[1].add(tokenizers.target.changes(&pair.target));
        }
        let source_file = of_file.first().map(|pair| &*pair.place.file).unwrap_or(Path::new(""));
        let sides = [
            ("source", tokenizers.source.tokenizer(), source_file),
            ("target", Some(&tokenizers.target), target_file(files, source_file)),
        ];
        for ((side, tokenizer, file), changed) in sides.into_iter().zip(changed) {
            let changes = tokenizer.and_then(|tokenizer| changed.in_words(side, tokenizer.form()));
            notes.extend(changes.map(|changes| format!("{}: {changes}", file.display())));
        }
    }
    notes
}

/// The file of targets for a file of sources.
fn target_file<'a>(files: &'a Files, source_file: &'a Path) -> &'a Path {
    let of_parallel = files.0.iter().find_map(|file| match file {
        PairFile::Parallel { source, target } if source == source_file => Some(target.as_path()),
        _ => None,
    });
    of_parallel.unwrap_or(source_file)
}

/// Refuses sources that are all names of audio files (more than one), which would be read as texts.
///
/// # Errors
/// All sources are names of audio files.
pub(crate) fn refuse_sound<'a>(mut sources: impl Iterator<Item = &'a str>) -> Result<()> {
    let is_name = |text: &str| !text.trim().contains('\n') && is_sound(Path::new(text.trim()));
    let (Some(first), Some(second)) = (sources.next(), sources.next()) else { return Ok(()) };
    if ![first, second].into_iter().chain(sources).all(is_name) {
        return Ok(());
    }
    let message = format!(
        "sources must be texts, but all of them are names of audio files, such as `{}`",
        shorten(first.trim())
    );
    Err(Error::input(message).hint("add [data.source.audio] to read them as recordings"))
}

#[cfg(test)]
mod tests;
