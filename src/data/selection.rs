//! The pairs of a set's files that are used: read one after the other, each held against the policies of `[data]`.
//!
//! What a policy sees is a pair of texts, never tokens: so a pair that is not used trains no vocabulary either. Of several
//! right targets it sees the first one, which is learned. Lengths in tokens are checked later, when they are known
//! (`dataset`).

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::path::Path;

use super::audio::is_sound;
use super::left_out::{LeftOut, NAMED, Reason};
use super::readers::{BrokenRow, COLUMN_SEPARATOR, Columns, Pair, Place, Reading, Recordings, shorten};
use super::text_form::TextForm;
use super::{DataConfig, Files, PairFile, Policy, SideConfig};
use crate::error::{Error, Result};

/// What is known of a set once its files were read.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    /// Pairs that a policy left out.
    pub left_out: LeftOut,
    /// Notes about the files, one line each.
    pub notes: Vec<String>,
}

/// How the rows of a config's files are read; `sources` are its columns of sources.
pub(crate) fn reading<'a>(config: &'a DataConfig, sources: &'a [&'a str]) -> Reading<'a> {
    Reading {
        columns: Columns { header: config.header, ..Columns::new(sources, &config.target.column) },
        alternatives: config.target.alternatives.as_deref(),
        format: config.format,
        recordings: config.source.audio.as_deref().map(|audio| audio as &dyn Recordings),
        lossy: config.invalid_utf8 != Policy::Error,
    }
}

/// Passes the used pairs of files on, in order.
///
/// # Errors
/// Those of reading and of `each`; a pair that a policy makes an error; sources that are all names of audio files; no pair
/// is left.
pub(crate) fn each_used(
    files: &Files,
    config: &DataConfig,
    each: &mut dyn FnMut(Pair) -> Result<()>,
) -> Result<Selected> {
    if files.0.is_empty() {
        return Err(Error::input("a set must have at least one file, but it has none"));
    }
    let mut selection = Selection::new(config);
    for file in (0..).zip(&files.0) {
        selection.read(file, each, &mut Err::<(), Error>)?;
    }
    selection.finish()
}

/// The used pairs of files, read one after the other.
pub(crate) struct Selection<'a> {
    config: &'a DataConfig,
    policies: Policies<'a>,
    names: SoundNames,
    used: usize,
    notes: Vec<String>,
}

impl<'a> Selection<'a> {
    /// Before the first file.
    pub(crate) fn new(config: &'a DataConfig) -> Selection<'a> {
        let (policies, names) = (Policies::new(config), SoundNames::default());
        Selection { config, policies, names, used: 0, notes: Vec::new() }
    }

    /// Passes the used pairs of a file on, which has this number in the config, and its broken rows.
    ///
    /// # Errors
    /// Those of reading, of `each` and of `broken`; a pair that a policy makes an error.
    pub(crate) fn read(
        &mut self,
        (number, file): (u32, &PairFile),
        each: &mut dyn FnMut(Pair) -> Result<()>,
        broken: BrokenRow,
    ) -> Result<()> {
        let config = self.config;
        let Selection { policies, names, used, notes, .. } = self;
        let sources = config.source.columns();
        let mut take = |pair: Pair, replaced: bool| -> Result<ControlFlow<()>> {
            if config.source.audio.is_none() {
                names.look_at(&pair.source);
            }
            if policies.admit(&pair, replaced, file)? {
                *used += 1;
                each(Pair { file: number, ..pair })?;
            }
            Ok(ControlFlow::Continue(()))
        };
        notes.extend(reading(config, &sources).each_or_broken(file, &mut take, broken)?);
        Ok(())
    }

    /// What is known once all files were read.
    ///
    /// # Errors
    /// Sources that are all names of audio files; no pair is left.
    pub(crate) fn finish(self) -> Result<Selected> {
        self.names.refuse()?;
        self.policies.finish(self.used, self.notes)
    }

    /// The pairs that policies have left out so far.
    pub(crate) fn left_out(&self) -> &LeftOut {
        &self.policies.left_out
    }
}

/// The reason for which the policies of a config leave a new pair out, or refuse it, whatever other pairs there are.
pub(crate) fn left_out_because(config: &DataConfig, pair: &Pair) -> Option<Reason> {
    let policies = Policies::new(config);
    let [too_unequal, copy] = policies.of_texts(pair);
    let empty = (Reason::Empty, config.empty, policies.empty_sides(pair).contains(&true));
    first_not_kept(&[empty, too_unequal, copy]).map(|(reason, _)| reason)
}

/// What a pair may have, the policy for such pairs, and whether this pair has it.
type Finding = (Reason, Policy, bool);

/// The first finding that a pair has and that is not to be kept.
fn first_not_kept(findings: &[Finding]) -> Option<(Reason, Policy)> {
    let found = findings.iter().find(|(_, policy, holds)| *holds && *policy != Policy::Keep);
    found.map(|(reason, policy, _)| (*reason, *policy))
}

/// Whether a side is empty: its text, or one of its columns that is no set.
fn is_empty(side: &SideConfig, text: &str) -> bool {
    if side.parts.is_empty() {
        return TextForm::of(side).is_empty(text);
    }
    let columns = side.parts.iter().zip(text.split(COLUMN_SEPARATOR).chain(std::iter::repeat("")));
    columns.filter(|(part, _)| !part.set).any(|(part, text)| TextForm::of(part).is_empty(text))
}

/// The policies, and what they have seen.
struct Policies<'a> {
    config: &'a DataConfig,
    forms: [TextForm; 2],
    /// Hashes of the pairs so far; none unless `data.duplicate` needs them.
    seen: HashSet<u64>,
    left_out: LeftOut,
    /// Rows that were kept with U+FFFD.
    replaced: usize,
    /// Used pairs with several right targets.
    with_alternatives: usize,
    empty: EmptySides,
}

impl<'a> Policies<'a> {
    fn new(config: &'a DataConfig) -> Policies<'a> {
        Policies {
            config,
            forms: [&config.source, &config.target].map(TextForm::of),
            seen: HashSet::new(),
            left_out: LeftOut::default(),
            replaced: 0,
            with_alternatives: 0,
            empty: EmptySides::default(),
        }
    }

    /// Whether a pair is used.
    fn admit(&mut self, pair: &Pair, replaced: bool, file: &PairFile) -> Result<bool> {
        let config = self.config;
        let is_empty = self.empty_sides(pair);
        if is_empty.contains(&true) && config.empty != Policy::Keep {
            self.empty.add(pair, is_empty, file);
            self.left_out.add(Reason::Empty, pair.place.clone());
            return Ok(false);
        }
        let [too_unequal, copy] = self.of_texts(pair);
        let invalid_utf8 = (Reason::InvalidUtf8, config.invalid_utf8, replaced);
        let duplicate = (Reason::Duplicate, config.duplicate, self.is_duplicate(pair));
        match first_not_kept(&[invalid_utf8, too_unequal, copy, duplicate]) {
            Some((reason, Policy::Error)) => Err(refused(reason, pair, config).at(&pair.place)),
            Some((reason, _)) => {
                self.left_out.add(reason, pair.place.clone());
                Ok(false)
            }
            None => {
                self.replaced += usize::from(replaced);
                self.with_alternatives += usize::from(!pair.other_targets.is_empty());
                Ok(true)
            }
        }
    }

    fn empty_sides(&self, pair: &Pair) -> [bool; 2] {
        [is_empty(&self.config.source, &pair.source), is_empty(&self.config.target, &pair.target)]
    }

    /// What depends on nothing but the two texts.
    fn of_texts(&self, pair: &Pair) -> [Finding; 2] {
        [
            (Reason::TooUnequal, self.config.too_unequal, self.is_too_unequal(pair)),
            (Reason::Copy, self.config.copy, self.is_copy(pair)),
        ]
    }

    fn is_too_unequal(&self, pair: &Pair) -> bool {
        let most = self.config.max_ratio;
        if most == 0.0 {
            return false;
        }
        let [source, target] = self.characters(pair).map(|count| count.max(1) as f64);
        source.max(target) > most * source.min(target)
    }

    fn characters(&self, pair: &Pair) -> [usize; 2] {
        let [source, target] = self.forms;
        [source.apply(&pair.source), target.apply(&pair.target)].map(|text| text.chars().count())
    }

    fn is_copy(&self, pair: &Pair) -> bool {
        self.config.copy != Policy::Keep
            && self.forms[0].apply(&pair.source) == self.forms[1].apply(&pair.target)
    }

    /// Two different pairs with the same 64 bits are one in 10^5 sets of 20 million pairs.
    fn is_duplicate(&mut self, pair: &Pair) -> bool {
        if self.config.duplicate == Policy::Keep {
            return false;
        }
        let mut hash = DefaultHasher::new();
        (self.forms[0].apply(&pair.source), self.forms[1].apply(&pair.target)).hash(&mut hash);
        (pair.segment().map(|at| at.map(f64::to_bits))).hash(&mut hash);
        !self.seen.insert(hash.finish())
    }

    fn finish(self, used: usize, mut notes: Vec<String>) -> Result<Selected> {
        if let (Policy::Error, Some(first)) = (self.config.empty, &self.empty.first) {
            return Err(self.empty.refused(first, &self.left_out.of(Reason::Empty).first));
        }
        if used == 0 {
            let counts = self.left_out.iter().map(|(reason, tally)| (tally.count, reason.why()));
            let counts: Vec<(usize, &str)> = counts.collect();
            let message = match counts.as_slice() {
                [(count, _)] if self.left_out.count(Reason::Empty) > 0 => {
                    format!("all {count} have an empty side")
                }
                counts => {
                    let counts = counts.iter().map(|(count, why)| format!("{count} skipped because {why}"));
                    counts.collect::<Vec<_>>().join(", ")
                }
            };
            return Err(Error::input(format!("no pair is left: {message}")));
        }
        if self.replaced > 0 {
            let rows = self.replaced;
            notes.push(format!("rows with bytes that are not UTF-8, read as U+FFFD: {rows}"));
        }
        if self.with_alternatives > 0 {
            let rows = self.with_alternatives;
            notes.push(format!(
                "rows with several targets (`data.target.alternatives`): {rows}; the loss is that of the first, and metrics compare \
                 with all"
            ));
        }
        Ok(Selected { left_out: self.left_out, notes })
    }
}

/// The error for a pair that a policy refuses.
fn refused(reason: Reason, pair: &Pair, config: &DataConfig) -> Error {
    let (source, target) = (shorten(&pair.source), shorten(&pair.target));
    let (message, key) = match reason {
        Reason::TooUnequal => {
            let [source, target] = Policies::new(config).characters(pair);
            let most = config.max_ratio;
            let message = format!(
                "one side of a pair may have at most {most} times the characters of the other one (`data.max_ratio`), but this \
                 pair's have {source} and {target}"
            );
            (message, "too_unequal")
        }
        Reason::Copy => (format!("source and target must differ, but both are\n  {source}"), "copy"),
        Reason::Duplicate => {
            let message =
                format!("a pair must occur once, but the same one came before\n  {source}\n  {target}");
            (message, "duplicate")
        }
        _ => (format!("the text must be UTF-8, but it is not\n  {source}\n  {target}"), "invalid_utf8"),
    };
    Error::input(message).hint(format!("correct the file, or skip such pairs with `data.{key} = \"skip\"`"))
}

/// Pairs with an empty side, which are mostly mistakes in the data: they are reported together.
#[derive(Default)]
struct EmptySides {
    /// The first one, whether it is its source that is empty, and the file of that side.
    first: Option<(Pair, bool, Place)>,
    counts: [usize; 2],
    all: usize,
}

impl EmptySides {
    fn add(&mut self, pair: &Pair, is_empty: [bool; 2], file: &PairFile) {
        self.all += 1;
        self.counts.iter_mut().zip(is_empty).for_each(|(count, empty)| *count += usize::from(empty));
        self.first.get_or_insert_with(|| {
            let place = if is_empty[0] { pair.place.clone() } else { pair.target_place(file) };
            (pair.clone(), is_empty[0], place)
        });
    }

    fn refused(&self, (first, of_source, place): &(Pair, bool, Place), places: &[Place]) -> Error {
        let (side, other, text) = match of_source {
            true => ("source", "target", &first.target),
            false => ("target", "source", &first.source),
        };
        let mut message =
            format!("the {side} of a pair must not be empty, but it is\n  {other}: {}", shorten(text));
        if self.all > 1 {
            let more = if self.all > NAMED { ", …" } else { "" };
            let places: Vec<String> = places.iter().map(Place::to_string).collect();
            let sides: Vec<String> = [(self.counts[0], "sources"), (self.counts[1], "targets")]
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, side)| format!("{count} empty {side}"))
                .collect();
            let (all, sides, places) = (self.all, sides.join(" and "), places.join(", "));
            message += &format!("\n{all} pairs have an empty side ({sides}): {places}{more}");
        }
        let hint =
            "fill it in, or skip such pairs with `data.empty = \"skip\"`, or train on them with \"keep\"";
        Error::input(message).hint(hint).at(place)
    }
}

/// Refuses sources that are all names of audio files (more than one), which would be read as texts.
///
/// # Errors
/// All sources are names of audio files.
pub(crate) fn refuse_sound<'a>(sources: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut names = SoundNames::default();
    sources.for_each(|source| names.look_at(source));
    names.refuse()
}

/// Whether all sources so far are names of audio files.
#[derive(Default)]
struct SoundNames {
    first: Option<String>,
    count: usize,
    /// There was another source.
    other: bool,
}

impl SoundNames {
    fn look_at(&mut self, source: &str) {
        if self.other {
            return;
        }
        let name = source.trim();
        self.other = name.contains('\n') || !is_sound(Path::new(name));
        self.count += 1;
        self.first.get_or_insert_with(|| name.to_owned());
    }

    fn refuse(self) -> Result<()> {
        let Some(first) = self.first.filter(|_| !self.other && self.count > 1) else { return Ok(()) };
        let message = format!(
            "sources must be texts, but all of them are names of audio files, such as `{}`",
            shorten(&first)
        );
        Err(Error::input(message).hint("add [data.source.audio] to read them as recordings"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pair_is_held_against_the_policies_that_see_it_alone() {
        let text = "train = \"a.csv\"\nvalid = \"b.csv\"\nmax_ratio = 2.0\ncopy = \"skip\"";
        let mut config: DataConfig = toml::from_str(text).unwrap();
        let because = |config: &DataConfig, source: &str, target: &str| {
            let (source, target) = (source.to_owned(), target.to_owned());
            left_out_because(config, &Pair { source, target, ..Pair::default() })
        };
        assert_eq!(because(&config, "ab", " \n"), Some(Reason::Empty));
        assert_eq!(because(&config, "ab", "abcde"), Some(Reason::TooUnequal));
        assert_eq!(because(&config, " ab", "ab "), Some(Reason::Copy));
        assert_eq!(because(&config, "ab", "ba"), None);
        (config.empty, config.too_unequal, config.copy) = (Policy::Keep, Policy::Keep, Policy::Keep);
        for target in ["", "abcde", "ab"] {
            assert_eq!(because(&config, "ab", target), None, "{target:?}");
        }
    }
}
