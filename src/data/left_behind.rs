//! The texts of a set that are not kept in memory: the place of each row, and the row read once more where it is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::DataConfig;
use super::readers::{Pair, Place};
use super::selection::reading;

/// Places of rows.
#[derive(Debug)]
pub(crate) struct LeftBehind {
    config: DataConfig,
    /// For each file of training pairs its name, and the row after its last one.
    files: Vec<(Arc<Path>, usize)>,
    lines: Lines,
}

/// The line of each row, four bytes each, from `start` of a file on.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The open file.
    pub file: Arc<File>,
    /// The first byte.
    pub start: u64,
}

impl Lines {
    /// The line of a row; 0 if the file cannot be read.
    fn of(&self, row: usize) -> u64 {
        let mut line = [0; 4];
        let read = self.file.read_exact_at(&mut line, self.start + 4 * row as u64);
        read.map_or(0, |()| u64::from(u32::from_le_bytes(line)))
    }
}

impl LeftBehind {
    /// The rows of the training files, `rows` in each.
    pub(crate) fn new(config: &DataConfig, rows: &[u64], lines: Lines) -> LeftBehind {
        let mut end = 0;
        let files = config.train.0.iter().zip(rows).map(|(file, rows)| {
            end += *rows as usize;
            (file.name().into(), end)
        });
        let files = files.collect();
        LeftBehind { config: config.clone(), files, lines }
    }

    fn file(&self, row: usize) -> usize {
        self.files.partition_point(|(_, end)| *end <= row)
    }

    /// The place of a row.
    pub(crate) fn place(&self, row: usize) -> Place {
        let file = self.files.get(self.file(row)).map(|(name, _)| name.clone());
        Place { file: file.unwrap_or_else(|| Path::new("").into()), line: self.lines.of(row) }
    }

    /// Rows, read once more. One that cannot be read, or shares its line with others, has its place alone.
    pub(crate) fn pairs_of(&self, rows: &[usize]) -> Vec<Pair> {
        let place = |&row: &usize| Pair { place: self.place(row), ..Pair::default() };
        let mut pairs: Vec<Pair> = rows.iter().map(place).collect();
        let mut wanted: BTreeMap<usize, BTreeMap<u64, Vec<usize>>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            wanted.entry(self.file(*row)).or_default().entry(pairs[at].place.line).or_default().push(at);
        }
        let sources = self.config.source.columns();
        for (file, lines) in wanted {
            let Some(file) = self.config.train.0.get(file) else { continue };
            let last = lines.keys().next_back().copied().unwrap_or(0);
            let mut seen = BTreeSet::new();
            // The places say what a broken row cannot.
            let _ = reading(&self.config, &sources).each(file, &mut |mut pair, _| {
                // As in memory: training learns the first target alone.
                pair.other_targets.clear();
                let line = pair.place.line;
                if let Some(found) = lines.get(&line) {
                    // The elements of an array may be on one line.
                    let alone = seen.insert(line);
                    let own = |at: usize| if alone { pair.clone() } else { place(&rows[at]) };
                    found.iter().for_each(|&at| pairs[at] = own(at));
                }
                Ok(if line > last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
        }
        pairs
    }
}
