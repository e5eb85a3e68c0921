//! The features of a set's recordings: computed once on all cores, kept in a file beside the run, read by row.
//!
//! Before normalization, and once for each speed of the augmentation that a recording can have. What training varies besides
//! follows from a seed, where a row is read.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::Frames;
use super::augment::{AugmentConfig, Augmenter, OWN_SPEED};
use super::cache::{CacheKey, CacheReader, CacheWriter, cache_key, content_hash};
use super::normalize::{FeatureStats, Normalizer, StatsAccumulator};
use super::processor::{AudioProcessor, Extent, Segment, is_npy, of_frames};
use super::recording::read_sample_rate;
use crate::data::readers::Place;
use crate::data::source::{SourceItem, subsampled};
use crate::error::{Error, Result};
use crate::runtime::threads;

/// A recording of a set.
#[derive(Clone, Debug)]
pub(crate) struct Take {
    /// The file.
    pub path: PathBuf,
    /// The part of it.
    pub segment: Segment,
    /// How long it is.
    pub extent: Extent,
    /// Where the set names it.
    pub place: Place,
}

/// Recordings whose features are made at once, before they are written.
const AT_ONCE: usize = 256;

/// Recordings whose statistics are added up by one thread: the sums do not depend on how many threads there are.
const SUMMED_AT_ONCE: usize = 256;

/// The features of all recordings of a set, in their order.
pub(crate) struct Features {
    cache: CacheReader,
    key: CacheKey,
    /// For each speed the row of the file of each recording, its own speed first.
    rows: Vec<Vec<usize>>,
    notes: Vec<String>,
    normalizer: Option<Normalizer>,
    augmenter: Option<Augmenter>,
}

impl std::fmt::Debug for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "features of {} recordings", self.rows[0].len())
    }
}

impl Features {
    /// Those of the file at `path`, if they are of these recordings and settings; otherwise they are made and written there.
    /// With `augment` at each of its speeds.
    ///
    /// # Errors
    /// A recording that cannot be read, with its place; a file that cannot be written.
    pub(crate) fn open(
        path: &Path,
        takes: &[Take],
        processor: &AudioProcessor,
        augment: Option<&AugmentConfig>,
    ) -> Result<Features> {
        let augmenter = augment.map(Augmenter::new).transpose()?;
        let speeds = augmenter.as_ref().map_or(&[OWN_SPEED][..], Augmenter::speeds);
        let (key, mut notes) = key_of(takes, processor, speeds)?;
        let rows = rows_of(takes, processor, speeds);
        let made = rows.iter().flatten().max().map_or(0, |last| last + 1);
        let there = CacheReader::open(path, &key).filter(|cache| cache.len() == made);
        let cache = match there {
            Some(cache) if cache.is_intact() => cache,
            there => {
                let note = format!("{}: a value was damaged, so all features are made anew", path.display());
                notes.extend(there.map(|_| note));
                make(path, &key, takes, processor, &speeds.iter().copied().zip(&rows).collect::<Vec<_>>())?
            }
        };
        Ok(Features { cache, key, rows, notes, normalizer: None, augmenter })
    }

    /// Mean and deviation of each bin over all recordings at their own speed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn stats(&self) -> Result<FeatureStats> {
        let bins = self.cache.bins();
        let parts = threads::each(self.rows[0].chunks(SUMMED_AT_ONCE).collect(), |rows: &[usize]| {
            let mut sums = StatsAccumulator::new(bins);
            rows.iter().try_for_each(|&row| self.cache.read(row).map(|frames| sums.add(&frames)))?;
            Ok(sums)
        });
        let mut all = StatsAccumulator::new(bins);
        parts.into_iter().try_for_each(|part: Result<_>| part.map(|part| all.merge(&part)))?;
        all.finish()
    }

    /// The same, normalized as `processor` does it.
    ///
    /// # Errors
    /// The statistics are missing.
    pub(crate) fn normalized_by(self, processor: &AudioProcessor) -> Result<Features> {
        Ok(Features { normalizer: Some(processor.normalizer()?), ..self })
    }

    /// Notes about a damaged file, and about recordings whose sample rate is another one than that of the features.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The key of recordings and settings.
    pub(crate) fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Positions that the encoder makes of a recording: the most of all its speeds.
    pub(crate) fn positions(&self, row: usize) -> usize {
        let frames = self.rows.iter().map(|rows| self.cache.frames(rows[row]));
        subsampled(frames.max().unwrap_or(0))
    }

    /// Positions at the recording's own speed.
    pub(crate) fn own_positions(&self, row: usize) -> usize {
        subsampled(self.cache.frames(row))
    }

    /// What the network reads of a recording.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn item(&self, row: usize) -> Result<SourceItem> {
        self.normalized(self.cache.read(row)?).map(of_frames)
    }

    /// The same as training varies it, by a seed: speed, distortion and masks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn augmented(&self, row: usize, seed: u64) -> Result<SourceItem> {
        let Some(augmenter) = &self.augmenter else { return self.item(row) };
        let mut frames = self.cache.read(self.rows[augmenter.speed(seed)][row])?;
        augmenter.distort(&mut frames, seed);
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

/// For each speed the row of the file of each recording. Features of one's own have one speed, and so has a recording that
/// another one makes shorter than a frame: there the row is that of its own speed.
fn rows_of(takes: &[Take], processor: &AudioProcessor, speeds: &[u32]) -> Vec<Vec<usize>> {
    let mut next = takes.len();
    let mut row_of = |own: usize, extent: Extent, speed: u32| {
        let has_speed = matches!(extent, Extent::Samples(_)) && processor.frames(extent, speed) > 0;
        if speed == OWN_SPEED || !has_speed {
            return own;
        }
        next += 1;
        next - 1
    };
    let of_speed =
        |speed: &u32| (0..).zip(takes).map(|(own, take)| row_of(own, take.extent, *speed)).collect();
    speeds.iter().map(of_speed).collect()
}

/// Makes the file; `speeds` have the rows of each.
fn make(
    path: &Path,
    key: &CacheKey,
    takes: &[Take],
    processor: &AudioProcessor,
    speeds: &[(u32, &Vec<usize>)],
) -> Result<CacheReader> {
    let folder: PathBuf = path.parent().map(Path::to_path_buf).unwrap_or_default();
    std::fs::create_dir_all(&folder).map_err(|error| Error::file("create", &folder, &error))?;
    let mut writer = CacheWriter::create(path, key, processor.bins())?;
    for (speed, rows) in speeds {
        let has_speed = |(own, _): &(usize, &Take)| *speed == OWN_SPEED || rows[*own] != *own;
        let takes: Vec<&Take> = takes.iter().enumerate().filter(has_speed).map(|(_, take)| take).collect();
        for takes in takes.chunks(AT_ONCE) {
            let made = threads::each(takes.to_vec(), |take| {
                let frames = processor.features(&take.path, take.segment, *speed);
                frames.map_err(|error| error.at(&take.place))
            });
            made.into_iter().try_for_each(|frames| writer.push(&frames?))?;
        }
    }
    writer.finish()
}
