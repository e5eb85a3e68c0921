//! Cuts the pairs of a set into tokens, many at once on all threads, and writes them in their order.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::{Tokenizers, leave_out, of_side, of_target};
use crate::data::corpus::Example;
use crate::data::left_out::{LeftOut, Reason};
use crate::data::readers::Pair;
use crate::data::token_store::{TokenWriter, Width};
use crate::data::tokenizer::{ChangeCounts, Changes, Tokenizer};
use crate::data::{DataConfig, Files, PairFile};
use crate::error::{Error, Result};
use crate::runtime::threads;

/// Pairs that are cut before they are written.
const AT_ONCE: usize = 1 << 14;

/// Pairs that a thread cuts at once.
const PART: usize = 256;

/// How reading changed the texts of a file, by side.
pub(crate) type FileChanges = (Arc<Path>, [ChangeCounts; 2]);

/// What is known of pairs once they are cut.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Pairs that are too long.
    pub left_out: LeftOut,
    /// Symbols that are not in the vocabulary: of the sources, of the targets.
    pub unknown: [usize; 2],
    /// For each file.
    pub changes: Vec<FileChanges>,
}

/// Cuts pairs of texts. Those that fit go on to `keep`, in order, and their tokens to the writer.
pub(crate) struct Encoding<'a, W, K> {
    source: &'a Tokenizer,
    target: &'a Tokenizer,
    config: &'a DataConfig,
    writer: TokenWriter<W>,
    keep: K,
    waiting: Vec<Pair>,
    found: Found,
}

/// A pair in tokens.
struct Cut {
    example: Example,
    /// Symbols that are not in the vocabulary, on each side.
    unknown: [usize; 2],
    changes: [Changes; 2],
}

impl<'a, W: Write, K: FnMut(Pair) -> Result<()>> Encoding<'a, W, K> {
    /// Writes to `to`.
    ///
    /// # Errors
    /// The sources are recordings.
    pub(crate) fn new(tokenizers: &'a Tokenizers, config: &'a DataConfig, to: W, keep: K) -> Result<Self> {
        let recordings = || Error::failure("the sources of this model are recordings");
        let source = tokenizers.source.tokenizer().ok_or_else(recordings)?;
        let writer = TokenWriter::new(to, tokenizers.width());
        let (target, waiting, found) = (&tokenizers.target, Vec::new(), Found::default());
        Ok(Encoding { source, target, config, writer, keep, waiting, found })
    }

    /// The same, with room for this many pairs.
    pub(crate) fn with_room(mut self, pairs: usize) -> Self {
        self.writer.reserve(pairs);
        self
    }

    /// Adds a pair.
    ///
    /// # Errors
    /// An earlier pair is too long, and `data.too_long` is `error`; those of `keep`; the tokens cannot be written.
    pub(crate) fn push(&mut self, pair: Pair) -> Result<()> {
        let in_its_file = |last: &Pair| Arc::ptr_eq(&last.place.file, &pair.place.file);
        if self.waiting.len() == AT_ONCE || !self.waiting.last().is_none_or(in_its_file) {
            self.cut()?;
        }
        self.waiting.push(pair);
        Ok(())
    }

    /// What is known of all pairs, and their tokens.
    ///
    /// # Errors
    /// As of [`Encoding::push`].
    pub(crate) fn finish(mut self) -> Result<(Found, TokenWriter<W>)> {
        self.cut()?;
        Ok((self.found, self.writer))
    }

    /// Cuts the waiting pairs, which are of one file.
    fn cut(&mut self) -> Result<()> {
        let pairs = std::mem::take(&mut self.waiting);
        let Some(first) = pairs.first() else { return Ok(()) };
        if self.found.changes.last().is_none_or(|(file, _)| !Arc::ptr_eq(file, &first.place.file)) {
            self.found.changes.push((first.place.file.clone(), Default::default()));
        }
        let (source, target) = (self.source, self.target);
        let cut = |pair: &Pair| {
            let sides = [source.encode(&pair.source), target.encode(&pair.target)];
            let unknown = [source.count_unknown(&sides[0]), target.count_unknown(&sides[1])];
            let changes = [source.changes(&pair.source), target.changes(&pair.target)];
            let [source, target] = sides;
            Cut { example: Example { source: source.into(), target }, unknown, changes }
        };
        let parts = pairs.chunks(PART).collect();
        let parts = threads::each(parts, |pairs: &[Pair]| pairs.iter().map(cut).collect::<Vec<Cut>>());
        pairs.into_iter().zip(parts.into_iter().flatten()).try_for_each(|(pair, cut)| self.take(pair, cut))
    }

    fn take(&mut self, pair: Pair, Cut { example, unknown, changes }: Cut) -> Result<()> {
        if let Some((_, counts)) = self.found.changes.last_mut() {
            counts.iter_mut().zip(changes).for_each(|(count, changes)| count.add(changes));
        }
        let Example { source, target } = example;
        let too_long =
            [of_side("source", source.length(), &self.config.source), of_target(target.len(), self.config)];
        if let Some(why) = too_long.into_iter().flatten().next() {
            return leave_out(pair.place, (Reason::TooLong, why), self.config, &mut self.found.left_out);
        }
        if self.writer.len() == u32::MAX as usize {
            let message = format!("a set may have at most {} pairs, but it has more", u32::MAX);
            return Err(Error::input(message));
        }
        self.found.unknown.iter_mut().zip(unknown).for_each(|(all, more)| *all += more);
        let written = self.writer.push([source.tokens(), &target]);
        written.map_err(|error| Error::failure(format!("cannot write the tokens of a set: {error}")))?;
        (self.keep)(pair)
    }
}

/// How reading changes the texts of pairs, for each file.
pub(crate) fn changes_of(pairs: &[Pair], tokenizers: &Tokenizers) -> Vec<FileChanges> {
    let of_file = |pairs: &[Pair]| {
        let mut changed = [ChangeCounts::default(); 2];
        for pair in pairs {
            changed[0].add(tokenizers.source.changes(&pair.source));
            changed[1].add(tokenizers.target.changes(&pair.target));
        }
        (pairs[0].place.file.clone(), changed)
    };
    let of_one_file = |one: &Pair, other: &Pair| Arc::ptr_eq(&one.place.file, &other.place.file);
    pairs.chunk_by(of_one_file).map(of_file).collect()
}

/// For each file and side, a note on how many texts reading changed.
pub(crate) fn changed_texts(all: &[FileChanges], tokenizers: &Tokenizers, files: &Files) -> Vec<String> {
    let mut notes = Vec::new();
    for (source_file, changed) in all {
        let sides = [
            ("source", tokenizers.source.tokenizer(), &**source_file),
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
        PairFile::Parallel { source, target, .. } if source == source_file => Some(target.as_path()),
        _ => None,
    });
    of_parallel.unwrap_or(source_file)
}

impl Tokenizers {
    /// The width of an id of either side.
    pub(crate) fn width(&self) -> Width {
        let source = self.source.tokenizer().map_or(0, Tokenizer::vocabulary_size);
        Width::of([source, self.target.vocabulary_size()])
    }
}
