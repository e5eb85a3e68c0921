//! A set as training uses it: its pairs by row, and what became of the others.

pub(crate) mod encoding;

use std::sync::Arc;

use serde_json::{Value, json};

use super::audio::features::{Features, Take};
use super::audio::processor::{AudioProcessor, Extent};
use super::batch_sampler::Positions;
use super::corpus::Corpus;
use super::left_out::{LeftOut, Reason};
use super::passes::Passes;
use super::readers::{Pair, Place};
use super::source::required_frames;
use super::source_processor::SourceProcessor;
use super::token_store::TokenWriter;
use super::tokenizer::Tokenizer;
use super::{DataConfig, SideConfig, TooLong};
use crate::error::{Error, Result, counted};
use crate::runtime::threads;
use encoding::{Encoding, FileChanges, Found};

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

/// Where the tokenizers of a set come from.
#[derive(Clone, Copy)]
pub enum TokenizerSource<'a> {
    /// They are those of a model.
    Given(&'a Tokenizers),
    /// They are learned from the training pairs.
    Learned,
    /// They are a function of the training pairs, and of what `key` names.
    Made {
        /// What else they depend on.
        key: &'a str,
        /// The function.
        by: &'a dyn Fn(&[&Pair]) -> Result<Tokenizers>,
    },
}

impl TokenizerSource<'_> {
    /// Those of training pairs.
    ///
    /// # Errors
    /// What [`Tokenizers::train`] or the function refuses.
    pub(crate) fn build(&self, config: &DataConfig, pairs: &[&Pair]) -> Result<Tokenizers> {
        match self {
            TokenizerSource::Given(tokenizers) => Ok((*tokenizers).clone()),
            TokenizerSource::Learned => Tokenizers::train(config, pairs),
            TokenizerSource::Made { by, .. } => by(pairs),
        }
    }
}

/// A split: the used pairs, and counts of the others.
#[derive(Debug)]
pub struct Dataset {
    /// The used pairs; shared with the loader's thread.
    pub corpus: Arc<Corpus>,
    /// The pairs that are not used.
    pub left_out: LeftOut,
    /// Symbols that are not in the vocabulary: of the sources, of the targets.
    pub unknown: [usize; 2],
    /// Notes about the files, one line each.
    pub notes: Vec<String>,
    /// What training varies from pass to pass; nothing in a set that is not trained on.
    pub(crate) passes: Passes,
}

impl Dataset {
    /// Cuts pairs of texts into tokens, and holds them against `max_length`.
    ///
    /// # Errors
    /// A side is longer than its limit, unless `data.too_long` is `skip`; no pair is left.
    pub fn new(pairs: Vec<Pair>, tokenizers: &Tokenizers, config: &DataConfig) -> Result<Dataset> {
        Dataset::with_changes(pairs, tokenizers, config).map(|(set, _)| set)
    }

    /// The same, with how reading changed the texts of each file.
    ///
    /// # Errors
    /// Those of [`Dataset::new`].
    pub(crate) fn with_changes(
        pairs: Vec<Pair>,
        tokenizers: &Tokenizers,
        config: &DataConfig,
    ) -> Result<(Dataset, Vec<FileChanges>)> {
        let mut kept = Vec::new();
        let keep = |pair| {
            kept.push(pair);
            Ok(())
        };
        let mut encoding = Encoding::new(tokenizers, config, Vec::new(), keep)?;
        pairs.into_iter().try_for_each(|pair| encoding.push(pair))?;
        let (Found { left_out, unknown, changes }, tokens) = encoding.finish()?;
        check_some_left(kept.len(), &left_out, config)?;
        let corpus = Arc::new(Corpus::new(kept, tokens.into_store()));
        Ok((Dataset::of(corpus, left_out, unknown), changes))
    }

    fn of(corpus: Arc<Corpus>, left_out: LeftOut, unknown: [usize; 2]) -> Dataset {
        Dataset { corpus, left_out, unknown, notes: Vec::new(), passes: Passes::default() }
    }

    /// The same as it is trained on.
    ///
    /// # Errors
    /// Those of [`Passes::new`].
    pub(crate) fn for_training(self, config: &DataConfig, tokenizers: &Tokenizers) -> Result<Dataset> {
        let sides = (tokenizers.source.tokenizer(), &tokenizers.target);
        let passes = Passes::new(config, sides, self.corpus.rows_of_files())?;
        Ok(Dataset { passes, ..self })
    }

    /// Positions of the longer side of each row of a pass.
    pub(crate) fn positions_of_pass(&self) -> usize {
        let all = self.corpus.lengths();
        let positions = |lengths: &[Positions]| -> usize {
            lengths.iter().map(|&(source, target)| source.max(target) as usize).sum()
        };
        let Some(mixture) = &self.passes.mixture else { return positions(all) };
        let mut first = 0;
        let of_file = |(rows, of_pass): (u32, u32)| {
            let own = &all[first..first + rows as usize];
            first += rows as usize;
            (positions(own) as f64 * f64::from(of_pass) / f64::from(rows.max(1))) as usize
        };
        mixture.of_files().map(of_file).sum()
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
        let ShortEnough { pairs, mut left_out, .. } = recordings;
        let texts: Vec<&str> = pairs.iter().map(|pair| pair.target.as_str()).collect();
        let targets = tokenizers.target.encode_all(&texts);
        let (mut kept, mut rows, mut unknown) = (Vec::new(), Vec::new(), [0, 0]);
        let mut tokens = TokenWriter::new(Vec::new(), tokenizers.width());
        for (row, (pair, target)) in pairs.into_iter().zip(targets).enumerate() {
            let too_long = of_target(target.len(), config).map(|why| (Reason::TooLong, why));
            let short = || ctc.then(|| too_short(&features, row, &target)).flatten();
            if let Some(why) = too_long.or_else(|| short().map(|why| (Reason::TooShort, why))) {
                leave_out(pair.place, why, config, &mut left_out)?;
                continue;
            }
            unknown[1] += tokenizers.target.count_unknown(&target);
            let written = tokens.push([&[], &target]);
            written.map_err(|error| Error::failure(error.to_string()))?;
            rows.push(row);
            kept.push(pair);
        }
        check_some_left(kept.len(), &left_out, config)?;
        let corpus = Corpus::of_recordings(kept, tokens.into_store().0, features, rows)?;
        Ok(Dataset::of(Arc::new(corpus), left_out, unknown))
    }
}

/// The recordings of a set that are not too long, before their features are made.
pub(crate) struct ShortEnough {
    /// The recordings and their texts.
    pub pairs: Vec<Pair>,
    /// How long each is.
    pub extents: Vec<Extent>,
    /// The others.
    pub left_out: LeftOut,
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
            processor.extent(pair.source.as_ref(), pair.segment()).map_err(|error| error.at(&pair.place))
        });
        let (mut kept, mut extents, mut left_out) = (Vec::new(), Vec::new(), LeftOut::default());
        for (pair, extent) in pairs.into_iter().zip(looked_at) {
            let extent = extent?;
            let (seconds, most) = (processor.seconds(extent), processor.max_seconds());
            if seconds > most {
                let why = too_long_to_hear(seconds, most).at(&pair.source);
                leave_out(pair.place, (Reason::TooLong, why), config, &mut left_out)?;
                continue;
            }
            kept.push(pair);
            extents.push(extent);
        }
        check_some_left(kept.len(), &left_out, config)?;
        Ok(ShortEnough { pairs: kept, extents, left_out })
    }

    /// What their features are made of.
    pub(crate) fn takes(&self) -> Vec<Take> {
        let take = |(pair, extent): (&Pair, &Extent)| Take {
            path: pair.source.clone().into(),
            segment: pair.segment(),
            extent: *extent,
            place: pair.place.clone(),
        };
        self.pairs.iter().zip(&self.extents).map(take).collect()
    }
}

/// A pair that is not used: an error, or a count.
fn leave_out(
    place: Place,
    (reason, why): (Reason, Error),
    config: &DataConfig,
    left_out: &mut LeftOut,
) -> Result<()> {
    if config.too_long == TooLong::Error {
        return Err(why.at(place));
    }
    left_out.add(reason, place);
    Ok(())
}

/// Refuses a set without a pair.
pub(crate) fn check_some_left(kept: usize, left_out: &LeftOut, config: &DataConfig) -> Result<()> {
    if kept > 0 {
        return Ok(());
    }
    let [long, short] = [Reason::TooLong, Reason::TooShort].map(|reason| left_out.count(reason));
    if short > 0 {
        let message = format!(
            "no pair is left: {long} have a side that is too long, and {short} a recording that is too short for CTC"
        );
        return Err(Error::input(message).hint("check the texts, or use larger tokens, such as `bpe`"));
    }
    let message = format!("no pair is left: all {long} have a side that is too long");
    let limit = if config.source.audio.is_some() { "audio.max_seconds" } else { "max_length" };
    Err(Error::input(message).hint(format!("raise `data.source.{limit}` and `data.target.max_length`")))
}

fn of_target(length: usize, config: &DataConfig) -> Option<Error> {
    of_side("target", length, &config.target)
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
            "a recording must have at least {needed} positions of 4 frames for CTC (one for each token of its target, and one \
             more between equal tokens), but it has {there}"
        );
        let hint = "check the text; skip such rows with `data.too_long = \"skip\"`, or use larger tokens, such as `bpe`";
        Error::input(message).hint(hint)
    })
}
