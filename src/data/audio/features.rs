//! The features of a set's recordings: computed once on all cores, kept in a file beside the run, read by row.
//!
//! Before normalization, and once for each speed of the augmentation. What training varies besides follows from a seed, where a
//! row is read.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::Frames;
use super::augment::{AugmentConfig, Augmenter, OWN_SPEED};
use super::cache::{CacheKey, CacheReader, CacheWriter, cache_key, content_hash};
use super::normalize::{FeatureStats, Normalizer, StatsAccumulator};
use super::processor::{AudioProcessor, Segment, is_npy, of_frames};
use super::recording::read_sample_rate;
use crate::data::readers::Place;
use crate::data::source::{SourceItem, subsampled};
use crate::error::{Error, Result};
use crate::runtime::threads;

/// A recording of a set.
#[derive(Clone, Debug)]
pub struct Take {
    /// The file.
    pub path: PathBuf,
    /// The part of it.
    pub segment: Segment,
    /// Where the set names it.
    pub place: Place,
}

/// Recordings whose features are made at once, before they are written.
const AT_ONCE: usize = 256;

/// The features of all recordings of a set, in their order.
pub struct Features {
    cache: CacheReader,
    key: CacheKey,
    rows: usize,
    /// Notes about recordings of other sample rates.
    resampled: Vec<String>,
    normalizer: Option<Normalizer>,
    augmenter: Option<Augmenter>,
}

impl std::fmt::Debug for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "features of {} recordings", self.rows)
    }
}

impl Features {
    /// Those of the file at `path`, if they are of these recordings and settings; otherwise they are made and written there.
    /// With `augment` at each of its speeds.
    ///
    /// # Errors
    /// A recording that cannot be read, with its place; a file that cannot be written.
    pub fn open(
        path: &Path,
        takes: &[Take],
        processor: &AudioProcessor,
        augment: Option<&AugmentConfig>,
    ) -> Result<Features> {
        let augmenter = augment.map(Augmenter::new).transpose()?;
        let speeds = augmenter.as_ref().map_or(&[OWN_SPEED][..], Augmenter::speeds);
        let (key, resampled) = key_of(takes, processor, speeds)?;
        let there = CacheReader::open(path, &key).filter(|cache| cache.len() == takes.len() * speeds.len());
        let cache = match there {
            Some(cache) => cache,
            None => make(path, &key, takes, processor, speeds)?,
        };
        Ok(Features { cache, key, rows: takes.len(), resampled, normalizer: None, augmenter })
    }

    /// Mean and deviation of each bin over all recordings at their own speed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn stats(&self) -> Result<FeatureStats> {
        let first = self.cache.read(0)?;
        let mut all = StatsAccumulator::new(first.bins());
        for row in 0..self.rows {
            all.add(&self.cache.read(row)?);
        }
        all.finish()
    }

    /// The same, normalized as `processor` does it.
    ///
    /// # Errors
    /// The statistics are missing.
    pub fn normalized_by(self, processor: &AudioProcessor) -> Result<Features> {
        Ok(Features { normalizer: Some(processor.normalizer()?), ..self })
    }

    /// Notes about recordings whose sample rate is another one than that of the features.
    pub fn resampled(&self) -> Vec<String> {
        self.resampled.clone()
    }

    /// The key of recordings and settings.
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Positions that the encoder makes of a recording: the most of all its speeds.
    pub fn positions(&self, row: usize) -> usize {
        let speeds = self.cache.len() / self.rows.max(1);
        let frames = (0..speeds).map(|speed| self.cache.frames(speed * self.rows + row));
        subsampled(frames.max().unwrap_or(0))
    }

    /// Positions at the recording's own speed.
    pub fn own_positions(&self, row: usize) -> usize {
        subsampled(self.cache.frames(row))
    }

    /// How long a recording lasts, in seconds, to a frame.
    pub fn seconds(&self, row: usize, processor: &AudioProcessor) -> f64 {
        self.cache.frames(row) as f64 * processor.seconds_per_frame()
    }

    /// What the network reads of a recording.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn item(&self, row: usize) -> Result<SourceItem> {
        self.normalized(self.cache.read(row)?).map(of_frames)
    }

    /// The same as training varies it, by a seed: speed, warp and masks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn augmented(&self, row: usize, seed: u64) -> Result<SourceItem> {
        let Some(augmenter) = &self.augmenter else { return self.item(row) };
        let mut frames = self.cache.read(augmenter.speed(seed) * self.rows + row)?;
        augmenter.warp(&mut frames, seed);
        let mut frames = self.normalized(frames)?;
        augmenter.mask(&mut frames, seed);
        Ok(of_frames(frames))
    }

    fn normalized(&self, mut frames: Frames) -> Result<Frames> {
        self.normalizer.iter().try_for_each(|normalizer| normalizer.apply(&mut frames))?;
        Ok(frames)
    }
}

/// The key of recordings and settings, and notes about recordings that are resampled.
fn key_of(takes: &[Take], processor: &AudioProcessor, speeds: &[u32]) -> Result<(CacheKey, Vec<String>)> {
    // In the order of the set, so that the first fault is named.
    let mut places: HashMap<&Path, usize> = HashMap::new();
    let mut files: Vec<&Take> = Vec::new();
    for take in takes {
        places.entry(&take.path).or_insert_with(|| {
            files.push(take);
            files.len() - 1
        });
    }
    let wanted = processor.sample_rate();
    let looked_at = threads::each(files, |take| {
        let rate = match is_npy(&take.path) {
            true => Ok(wanted),
            false => read_sample_rate(&take.path),
        };
        let both = rate.and_then(|rate| Ok((content_hash(&take.path)?, rate)));
        both.map_err(|error| error.at(&take.place))
    });
    let looked_at = looked_at.into_iter().collect::<Result<Vec<(CacheKey, u32)>>>()?;
    let mut settings = processor.settings();
    speeds.iter().for_each(|speed| settings.extend(speed.to_le_bytes()));
    for Take { segment, .. } in takes {
        segment.iter().for_each(|at| settings.extend(at.unwrap_or(-1.0).to_le_bytes()));
    }
    let of = |take: &Take| looked_at[places[take.path.as_path()]];
    let key = cache_key(&settings, takes.iter().map(|take| of(take).0));
    let mut rates: BTreeMap<u32, usize> = BTreeMap::new();
    takes.iter().for_each(|take| *rates.entry(of(take).1).or_default() += 1);
    let others = rates.into_iter().filter(|(rate, _)| *rate != wanted);
    let note = |(rate, count)| format!("recordings resampled from {rate} Hz to {wanted}: {count}");
    Ok((key, others.map(note).collect()))
}

fn make(
    path: &Path,
    key: &CacheKey,
    takes: &[Take],
    processor: &AudioProcessor,
    speeds: &[u32],
) -> Result<CacheReader> {
    let folder: PathBuf = path.parent().map(Path::to_path_buf).unwrap_or_default();
    std::fs::create_dir_all(&folder).map_err(|error| Error::file("create", &folder, &error))?;
    let mut writer = CacheWriter::create(path, key, processor.bins())?;
    for speed in speeds {
        for takes in takes.chunks(AT_ONCE) {
            let made = threads::each(takes.to_vec(), |take| {
                let frames = processor.features(&take.path, take.segment, *speed);
                frames.map_err(|error| error.at(take.place))
            });
            made.into_iter().try_for_each(|frames| writer.push(&frames?))?;
        }
    }
    writer.finish()
}
