//! A training set that is larger than `data.in_memory_limit`: encoded once into a file, and opened ever after.
//!
//! The file's name is a hash of the content of the inputs, of the tokenizers, and of all keys of `[data]` that decide what a
//! row is, so whatever is opened is what would be made. Tokenizers that are learned have a file of their own, beside it.
//! Files of other names are never changed; whoever wants their space may delete them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::audio::cache::content_hash;
use super::contents::contents;
use super::corpus::Corpus;
use super::dataset::encoding::{Encoding, Found, changed_texts};
use super::dataset::{Dataset, TokenizerSource, Tokenizers, check_some_left};
use super::held_out::{HeldOut, source_hash};
use super::learning::learn;
use super::left_behind::LeftBehind;
use super::partial_file::write_whole;
use super::passes::Passes;
use super::prepared::{About, Prepared as PreparedSet, PreparedWriter};
use super::readers::{Pair, Place};
use super::selection::{Selected, each_used};
use super::token_store::hexadecimal;
use super::{DataConfig, Progress};
use crate::error::{Error, Result};
use crate::runtime::seed_for;

/// The format of the files; another one gives them other names.
const FORMAT: u32 = 1;

/// Rows between two reports of progress.
pub(crate) const REPORTED: usize = 1 << 14;

/// Keys of `[data]` that do not decide what a training row is.
const OF_NO_ROW: [&str; 7] =
    ["train", "valid", "test", "temperature", "cache", "in_memory_limit", "learn_from"];

/// A training set that was prepared.
pub(crate) struct Prepared {
    /// Its pairs in tokens.
    pub train: Dataset,
    /// The pairs that are held out for validation.
    pub held_out: Vec<Pair>,
    /// The tokenizers of both sides.
    pub tokenizers: Tokenizers,
}

/// What is needed to prepare a training set.
pub(crate) struct Preparation<'a> {
    /// The files and what is done with their rows.
    pub config: &'a DataConfig,
    /// The folder of the files that are made.
    pub folder: &'a Path,
    /// Hears how far it is.
    pub progress: Progress<'a>,
}

impl Preparation<'_> {
    /// The training set, the pairs that are held out of it, and its tokenizers, from the files that are there, or from files
    /// that are made.
    ///
    /// # Errors
    /// Those of reading, of the tokenizers and of encoding; a file cannot be written.
    pub(crate) fn open_or_make(&self, source: &TokenizerSource) -> Result<Prepared> {
        std::fs::create_dir_all(self.folder).map_err(|error| Error::file("create", self.folder, &error))?;
        let rows = self.what_rows_follow_from()?;
        let (held_out, held_out_pairs) = match self.config.valid.share() {
            Some(share) => self.hold_out(share, &rows).map(|(held_out, pairs)| (Some(held_out), pairs))?,
            None => (None, Vec::new()),
        };
        let (tokenizers, mut notes) = match source {
            TokenizerSource::Given(tokenizers) => ((*tokenizers).clone(), Vec::new()),
            _ => self.tokenizers(source, &rows, held_out)?,
        };
        let made_from = json!({ "rows": rows, "tokenizers": sha256(&tokenizers.to_json()) });
        let path = self.folder.join(format!("{}.tokens", short_name(&made_from)));
        let prepared = match PreparedSet::open(&path, &made_from) {
            Some(prepared) if prepared.is_intact() => prepared,
            there => {
                let note = format!("{}: it was damaged, so it was made anew", path.display());
                notes.extend(there.map(|_| note));
                self.make(&path, &made_from, &tokenizers, held_out)?;
                let lost = || Error::failure("the file must be as it was written, but it is not");
                PreparedSet::open(&path, &made_from).ok_or_else(|| lost().at(path.display()))?
            }
        };
        let About { fingerprint, rows, unknown, left_out, notes: of_files } = prepared.about.clone();
        let texts = LeftBehind::new(self.config, &rows, prepared.lines());
        let corpus = Arc::new(Corpus::in_files(texts, prepared.tokens()?, rows, fingerprint));
        notes.splice(0..0, of_files);
        let train = Dataset { corpus, left_out, unknown, notes, passes: Passes::default() };
        Ok(Prepared { train, held_out: held_out_pairs, tokenizers })
    }

    /// The pairs that are held out for validation, as a file has them, or from the training files.
    fn hold_out(&self, share: f64, rows: &Value) -> Result<(HeldOut, Vec<Pair>)> {
        let made_from = json!({ "rows": rows });
        let path = self.folder.join(format!("{}.held_out.json", short_name(&made_from)));
        if let Some(saved) = self.read_held_out(&path, &made_from) {
            return Ok(saved);
        }
        let mut hashes = Vec::new();
        self.each("choosing the validation pairs", None, None, &mut |pair| {
            hashes.push(source_hash(self.config, &pair));
            Ok(())
        })?;
        let held_out = HeldOut::choose(share, hashes)?;
        let mut pairs = Vec::new();
        each_used(&self.config.train, self.config, &mut |pair| {
            if held_out.has(source_hash(self.config, &pair)) {
                pairs.push(pair);
            }
            Ok(())
        })?;
        let saved = pairs
            .iter()
            .map(|pair| (pair.file, pair.place.line, &pair.source, &pair.target, &pair.other_targets));
        let saved =
            json!({ "made_from": made_from, "last": held_out.last(), "pairs": saved.collect::<Vec<_>>() });
        write_whole(&path, saved.to_string().as_bytes())?;
        Ok((held_out, pairs))
    }

    fn read_held_out(&self, path: &Path, made_from: &Value) -> Option<(HeldOut, Vec<Pair>)> {
        let saved: HeldOutFile = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let names: Vec<Arc<Path>> = self.config.train.0.iter().map(|file| file.name().into()).collect();
        let pair = |(file, line, source, target, other_targets): HeldOutPair| {
            let place = Place { file: names.get(file as usize)?.clone(), line };
            Some(Pair { source, target, other_targets, place, file, ..Pair::default() })
        };
        let pairs: Option<Vec<Pair>> = saved.pairs.into_iter().map(pair).collect();
        pairs.filter(|_| saved.made_from == *made_from).map(|pairs| (HeldOut::saved(saved.last), pairs))
    }

    /// The content of the files, and the keys that decide what becomes of it.
    fn what_rows_follow_from(&self) -> Result<Value> {
        (self.progress)("looking at the training files", 0, None);
        let files = contents(&self.config.train, self.folder)?;
        let mut keys =
            serde_json::to_value(self.config).map_err(|error| Error::failure(error.to_string()))?;
        if let Some(keys) = keys.as_object_mut() {
            OF_NO_ROW.iter().for_each(|key| drop(keys.remove(*key)));
            keys.values_mut().for_each(without_dropout);
        }
        let ready = self.config.ready_tokenizers().map(|path| content_hash(path).map(hexadecimal));
        let ready = ready.collect::<Result<Vec<String>>>()?;
        let share = self.config.valid.share();
        Ok(json!({ "format": FORMAT, "files": files, "data": keys, "ready": ready, "held_out": share }))
    }

    /// Tokenizers that were made before, or are made now, and notes about them.
    fn tokenizers(
        &self,
        source: &TokenizerSource,
        rows: &Value,
        held_out: Option<HeldOut>,
    ) -> Result<(Tokenizers, Vec<String>)> {
        let key = match source {
            TokenizerSource::Made { key, .. } => key,
            _ => "",
        };
        let made_from = json!({ "rows": rows, "learn_from": self.config.learn_from, "from": key });
        let path = self.folder.join(format!("{}.tokenizers.json", short_name(&made_from)));
        if let Some(saved) = read_tokenizers(&path, &made_from) {
            return Ok(saved);
        }
        let mut sample = Sample::new(self.config.learn_from);
        self.each("reading the training pairs", None, held_out, &mut |pair| {
            sample.add(pair);
            Ok(())
        })?;
        let Sample { seen, kept, .. } = sample;
        let pairs: Vec<Pair> = kept.into_iter().map(|(_, pair)| pair).collect();
        (self.progress)("learning the vocabularies", 0, None);
        let tokenizers = learn(&pairs, self.config, source)?;
        let of = pairs.len();
        let note = format!("vocabularies learned from {of} of {seen} training pairs (`data.learn_from`)");
        let notes: Vec<String> = (of < seen).then_some(note).into_iter().collect();
        let saved = json!({ "made_from": made_from, "tokenizers": tokenizers.to_json(), "notes": notes });
        write_whole(&path, saved.to_string().as_bytes())?;
        Ok((tokenizers, notes))
    }

    /// Passes the used pairs on that are not held out, with reports of progress.
    fn each(
        &self,
        what: &str,
        of: Option<usize>,
        held_out: Option<HeldOut>,
        each: &mut dyn FnMut(Pair) -> Result<()>,
    ) -> Result<(usize, Selected)> {
        let mut seen = 0;
        let selected = each_used(&self.config.train, self.config, &mut |pair| {
            if held_out.is_some_and(|held_out| held_out.has(source_hash(self.config, &pair))) {
                return Ok(());
            }
            seen += 1;
            if seen % REPORTED == 1 {
                (self.progress)(what, seen - 1, of);
            }
            each(pair)
        })?;
        Ok((seen, selected))
    }

    /// Encodes all pairs into a file.
    fn make(
        &self,
        path: &Path,
        made_from: &Value,
        tokenizers: &Tokenizers,
        held_out: Option<HeldOut>,
    ) -> Result<()> {
        // Read once before, so that what a policy refuses is known in a moment, and the end is in sight.
        let (all, _) = self.each("counting the training pairs", None, held_out, &mut |_| Ok(()))?;
        let (mut rows, mut lines) = (vec![0u64; self.config.train.0.len()], Vec::with_capacity(all));
        let keep = |pair: Pair| {
            rows[pair.file as usize] += 1;
            lines.push(u32::try_from(pair.place.line).unwrap_or(0));
            Ok(())
        };
        let to = PreparedWriter::create(path)?;
        let mut encoding = Encoding::new(tokenizers, self.config, to, keep)?.with_room(all);
        let (_, Selected { mut left_out, mut notes }) =
            self.each("encoding the training pairs", Some(all), held_out, &mut |pair| encoding.push(pair))?;
        let (Found { left_out: too_long, unknown, changes }, tokens) = encoding.finish()?;
        let (file, lengths, hash) = tokens.finish();
        check_some_left(lengths.len(), &too_long, self.config)?;
        left_out.join(too_long);
        notes.extend(changed_texts(&changes, tokenizers, &self.config.train));
        let about = About { fingerprint: hexadecimal(hash.finalize()), rows, unknown, left_out, notes };
        file.finish(made_from, tokenizers.width(), (&lengths, &lines), about)
    }
}

/// The pairs that are held out, in a file.
#[derive(Deserialize)]
struct HeldOutFile {
    made_from: Value,
    last: u64,
    pairs: Vec<HeldOutPair>,
}

/// The number of a pair's file, its line, its source, its target, and its other right targets.
type HeldOutPair = (u32, u64, String, String, Vec<String>);

/// A side without what training alone varies.
fn without_dropout(side: &mut Value) {
    if let Some(keys) = side.as_object_mut() {
        keys.remove("bpe_dropout");
        keys.get_mut("parts").and_then(Value::as_array_mut).into_iter().flatten().for_each(without_dropout);
    }
}

/// Tokenizers and notes of a file that was made from the same.
fn read_tokenizers(path: &PathBuf, made_from: &Value) -> Option<(Tokenizers, Vec<String>)> {
    let saved: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let tokenizers = Tokenizers::from_json(&saved["tokenizers"]).ok()?;
    let notes = serde_json::from_value(saved["notes"].clone()).ok()?;
    (saved["made_from"] == *made_from).then_some((tokenizers, notes))
}

/// Pairs drawn from many: each with the same probability, which halves whenever they become too many. The draw of a pair
/// depends on its number alone.
struct Sample {
    most: usize,
    random: ChaCha8Rng,
    /// A pair needs as many zeros in its draw.
    level: u32,
    kept: Vec<(u32, Pair)>,
    seen: usize,
}

impl Sample {
    fn new(most: usize) -> Sample {
        let random = ChaCha8Rng::seed_from_u64(seed_for(0, 0, "sample of the training pairs"));
        Sample { most, random, level: 0, kept: Vec::new(), seen: 0 }
    }

    fn add(&mut self, pair: Pair) {
        let zeros = self.random.random::<u64>().trailing_zeros();
        self.seen += 1;
        if zeros >= self.level {
            self.kept.push((zeros, pair));
        }
        while self.kept.len() > self.most {
            self.level += 1;
            self.kept.retain(|(zeros, _)| *zeros >= self.level);
        }
    }
}

/// A name for what follows from a value.
fn short_name(value: &Value) -> String {
    sha256(value)[..16].to_owned()
}

fn sha256(value: &Value) -> String {
    hexadecimal(Sha256::digest(value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_pairs_of_the_whole_set_in_its_order() {
        let pair = |n: usize| Pair { source: n.to_string(), ..Pair::default() };
        let draw = |most: usize, count: usize| {
            let mut sample = Sample::new(most);
            (0..count).for_each(|n| sample.add(pair(n)));
            let numbers = sample.kept.iter().map(|(_, pair)| pair.source.parse().unwrap());
            numbers.collect::<Vec<usize>>()
        };
        assert_eq!(draw(100, 100), (0..100).collect::<Vec<_>>());
        let some = draw(1000, 10_000);
        assert!((300..=1000).contains(&some.len()) && some.is_sorted(), "{}", some.len());
        let halves = some.iter().filter(|n| **n < 5000).count() as f64 / some.len() as f64;
        assert!((halves - 0.5).abs() < 0.08, "{halves}");
        assert_eq!(draw(1000, 10_000), some);
    }
}
