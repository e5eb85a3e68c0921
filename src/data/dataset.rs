//! A set as training uses it: its pairs by row, and what became of the others.

use std::sync::Arc;

use serde_json::{Value, json};

use super::audio::features::{Features, Take};
use super::audio::processor::{AudioProcessor, Extent};
use super::corpus::{Corpus, Example};
use super::readers::{Pair, Place};
use super::source::required_frames;
use super::source_processor::SourceProcessor;
use super::tokenizer::Tokenizer;
use super::{DataConfig, SideConfig, TooLong};
use crate::error::{Error, Result, counted};
use crate::runtime::threads;

/// What turns both sides of the data into what a network reads and writes.
#[derive(Clone, Debug)]
pub struct Tokenizers {
    /// Tokenizes a source, or computes its features.
    pub source: SourceProcessor,
    /// The target's tokenizer.
    pub target: Tokenizer,
}

impl Tokenizers {
    /// Builds both from the training pairs alone.
    pub fn train(config: &DataConfig, pairs: &[&Pair]) -> Result<Tokenizers> {
        let sources = pairs.iter().map(|pair| pair.source.as_str());
        let targets = pairs.iter().map(|pair| pair.target.as_str());
        if config.shared_vocabulary {
            let shared = Tokenizer::train(&config.source, sources.chain(targets))?;
            return Ok(Tokenizers { source: SourceProcessor::Text(shared.clone()), target: shared });
        }
        let source = match (&config.source.audio, pairs.first()) {
            (Some(audio), Some(first)) => {
                let processor = AudioProcessor::of_first(audio, first.source.as_ref());
                SourceProcessor::Audio(processor.map_err(|error| error.at(&first.place))?.into())
            }
            _ => SourceProcessor::Text(Tokenizer::train(&config.source, sources)?),
        };
        Ok(Tokenizers { source, target: Tokenizer::train(&config.target, targets)? })
    }

    /// The JSON of a checkpoint.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "source": self.source.to_json(), "target": self.target.to_json() })
    }

    /// Reads the JSON of a checkpoint.
    pub(crate) fn from_json(value: &Value) -> Result<Tokenizers> {
        Ok(Tokenizers {
            source: SourceProcessor::from_json(&value["source"])?,
            target: Tokenizer::from_json(&value["target"])?,
        })
    }
}

/// A split: the used pairs, and counts of the others.
#[derive(Debug)]
pub struct Dataset {
    /// The used pairs; shared with the loader's thread.
    pub corpus: Arc<Corpus>,
    /// Places of the pairs that are skipped because a side is too long.
    pub skipped: Vec<Place>,
    /// Places of the pairs that are skipped because their recording is too short for CTC.
    pub too_short: Vec<Place>,
    /// Places of the pairs that are skipped because a side is empty.
    pub empty: Vec<Place>,
    /// Symbols that are not in the vocabulary: of the sources, of the targets.
    pub unknown: [usize; 2],
    /// Notes about the files, one line each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Cuts pairs of texts into tokens, and holds them against `max_length`.
    ///
    /// # Errors
    /// A side is longer than its limit, unless `data.too_long` is `skip`; no pair is left.
    pub fn new(pairs: Vec<Pair>, tokenizers: &Tokenizers, config: &DataConfig) -> Result<Dataset> {
        let Some(source) = tokenizers.source.tokenizer() else {
            return Err(Error::failure("the sources of this model are recordings"));
        };
        let sources = source.encode_all(&texts(&pairs, |pair| &pair.source));
        let targets = tokenizers.target.encode_all(&texts(&pairs, |pair| &pair.target));
        let (mut kept, mut examples) = (Vec::new(), Vec::new());
        let (mut skipped, mut unknown) = (Vec::new(), [0, 0]);
        for ((pair, source), target) in pairs.into_iter().zip(sources).zip(targets) {
            let sides = [of_side("source", source.ids.len(), &config.source), of_target(&target.ids, config)];
            if let Some(why) = sides.into_iter().flatten().next() {
                leave_out(pair.place, why, config, &mut skipped)?;
                continue;
            }
            unknown[0] += source.unknown;
            unknown[1] += target.unknown;
            examples.push(Example { source: source.ids.into(), target: target.ids });
            kept.push(pair);
        }
        check_some_left(&kept, [&skipped, &[]], config)?;
        let corpus = Arc::new(Corpus::new(kept, examples));
        Ok(Dataset { corpus, skipped, too_short: Vec::new(), empty: Vec::new(), unknown, notes: Vec::new() })
    }

    /// The same of recordings, whose features are made. With `ctc` a recording must have a position for each token of its
    /// target, and one more between equal ones.
    ///
    /// # Errors
    /// A target longer than its limit, or a recording too short for its target, unless `data.too_long` is `skip`; no pair
    /// is left.
    pub(crate) fn of_recordings(
        recordings: ShortEnough,
        features: Features,
        tokenizers: &Tokenizers,
        config: &DataConfig,
        ctc: bool,
    ) -> Result<Dataset> {
        let ShortEnough { pairs, mut skipped, .. } = recordings;
        let targets = tokenizers.target.encode_all(&texts(&pairs, |pair| &pair.target));
        let (mut kept, mut rows, mut kept_targets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut short, mut unknown) = (Vec::new(), [0, 0]);
        for (row, (pair, target)) in pairs.into_iter().zip(targets).enumerate() {
            if let Some(why) = of_target(&target.ids, config) {
                leave_out(pair.place, why, config, &mut skipped)?;
                continue;
            }
            if let Some(why) = ctc.then(|| too_short(&features, row, &target.ids)).flatten() {
                leave_out(pair.place, why, config, &mut short)?;
                continue;
            }
            unknown[1] += target.unknown;
            kept_targets.push(target.ids);
            rows.push(row);
            kept.push(pair);
        }
        check_some_left(&kept, [&skipped, &short], config)?;
        let corpus = Arc::new(Corpus::of_recordings(kept, kept_targets, features, rows));
        Ok(Dataset { corpus, skipped, too_short: short, empty: Vec::new(), unknown, notes: Vec::new() })
    }
}

/// The recordings of a set that are not too long, before their features are made.
pub(crate) struct ShortEnough {
    /// The recordings and their texts.
    pub pairs: Vec<Pair>,
    /// How long each is.
    pub extents: Vec<Extent>,
    /// Places of the others.
    pub skipped: Vec<Place>,
}

impl ShortEnough {
    /// Checks the length of each recording, by its header if it declares one.
    ///
    /// # Errors
    /// A recording that cannot be read, with its place; one longer than `data.source.audio.max_seconds`, unless
    /// `data.too_long` is `skip`; no pair is left.
    pub(crate) fn of(
        pairs: Vec<Pair>,
        processor: &AudioProcessor,
        config: &DataConfig,
    ) -> Result<ShortEnough> {
        let looked_at = threads::each(pairs.iter().collect(), |pair: &Pair| {
            processor.extent(pair.source.as_ref(), pair.segment).map_err(|error| error.at(&pair.place))
        });
        let (mut kept, mut extents, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for (pair, extent) in pairs.into_iter().zip(looked_at) {
            let extent = extent?;
            let (seconds, most) = (processor.seconds(extent), processor.max_seconds());
            if seconds > most {
                let why = too_long_to_hear(seconds, most).at(&pair.source);
                leave_out(pair.place, why, config, &mut skipped)?;
                continue;
            }
            kept.push(pair);
            extents.push(extent);
        }
        check_some_left(&kept, [&skipped, &[]], config)?;
        Ok(ShortEnough { pairs: kept, extents, skipped })
    }

    /// What their features are made of.
    pub(crate) fn takes(&self) -> Vec<Take> {
        let take = |(pair, extent): (&Pair, &Extent)| Take {
            path: pair.source.clone().into(),
            segment: pair.segment,
            extent: *extent,
            place: pair.place.clone(),
        };
        self.pairs.iter().zip(&self.extents).map(take).collect()
    }
}

fn texts(pairs: &[Pair], side: impl Fn(&Pair) -> &String) -> Vec<&str> {
    pairs.iter().map(|pair| side(pair).as_str()).collect()
}

/// A pair that is not used: an error, or a count.
fn leave_out(place: Place, why: Error, config: &DataConfig, skipped: &mut Vec<Place>) -> Result<()> {
    if config.too_long == TooLong::Error {
        return Err(why.at(place));
    }
    skipped.push(place);
    Ok(())
}

fn check_some_left(kept: &[Pair], [long, short]: [&[Place]; 2], config: &DataConfig) -> Result<()> {
    if !kept.is_empty() {
        return Ok(());
    }
    if !short.is_empty() {
        let message = format!(
            "no pair is left: {} have a side that is too long, and {} a recording that is too short for CTC",
            long.len(),
            short.len()
        );
        return Err(Error::input(message).hint("check the texts, or use larger tokens, such as `bpe`"));
    }
    let message = format!("no pair is left: all {} have a side that is too long", long.len());
    let limit = if config.source.audio.is_some() { "audio.max_seconds" } else { "max_length" };
    Err(Error::input(message).hint(format!("raise `data.source.{limit}` and `data.target.max_length`")))
}

fn of_target(target: &[i64], config: &DataConfig) -> Option<Error> {
    of_side("target", target.len(), &config.target)
}

fn of_side(side: &str, length: usize, config: &SideConfig) -> Option<Error> {
    let limit = config.max_length;
    (length > limit).then(|| {
        let message = format!(
            "a {side} may have {} (`data.{side}.max_length`), but this row's has {length}",
            counted(limit, "token")
        );
        Error::input(message).hint(format!(
            "raise `data.{side}.max_length`, or skip such rows with `data.too_long = \"skip\"`"
        ))
    })
}

fn too_long_to_hear(seconds: f64, most: f64) -> Error {
    let message = format!(
        "a recording may last {most} s (`data.source.audio.max_seconds`), but this row's lasts {seconds:.1}"
    );
    Error::input(message)
        .hint("raise `data.source.audio.max_seconds`, or skip such rows with `data.too_long = \"skip\"`")
}

/// CTC needs a position for each token, and a blank between equal ones.
fn too_short(features: &Features, row: usize, target: &[i64]) -> Option<Error> {
    let (there, needed) = (features.own_positions(row), required_frames(target));
    (there < needed).then(|| {
        let message = format!(
            "a recording must have {needed} positions of 4 frames for CTC, as many as its target has tokens, one more between \
             equal ones, but it has {there}"
        );
        let hint = "check the text; skip such rows with `data.too_long = \"skip\"`, or use larger tokens, such as `bpe`";
        Error::input(message).hint(hint)
    })
}
