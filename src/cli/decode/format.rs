//! The formats of `seqloom decode`: rows as text, CSV or JSON Lines, and two of recordings, whose lines have times.

use std::path::Path;

use clap::ValueEnum;

use crate::cli::output::OutputFormat;
use crate::error::{Error, Result};

/// The format of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecodeFormat {
    /// One line per row
    Text,
    /// Comma-separated columns with a header
    Csv,
    /// One JSON object per line
    Jsonl,
    /// Subtitles of one recording (SubRip), one cue per row; needs a CTC head
    Srt,
    /// One line per token with its times, as Kaldi and sclite read it; needs a CTC head
    Ctm,
}

impl DecodeFormat {
    /// The requested format, or else that of the output's extension.
    ///
    /// # Errors
    /// The extension is not for outputs.
    pub(crate) fn choose(asked: Option<DecodeFormat>, output: &Path) -> Result<DecodeFormat> {
        let is = |ending: &str| output.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
        match asked {
            Some(format) => Ok(format),
            None if is("srt") => Ok(DecodeFormat::Srt),
            None if is("ctm") => Ok(DecodeFormat::Ctm),
            None => OutputFormat::choose(None, output).map(|rows| match rows {
                OutputFormat::Text => DecodeFormat::Text,
                OutputFormat::Csv => DecodeFormat::Csv,
                OutputFormat::Jsonl => DecodeFormat::Jsonl,
            }),
        }
    }

    /// The format of the rows that are written; subtitles and ctm are lines of text.
    pub(crate) fn rows(self) -> OutputFormat {
        match self {
            DecodeFormat::Csv => OutputFormat::Csv,
            DecodeFormat::Jsonl => OutputFormat::Jsonl,
            DecodeFormat::Text | DecodeFormat::Srt | DecodeFormat::Ctm => OutputFormat::Text,
        }
    }

    /// Its name, if its lines have times.
    pub(crate) fn timed(self) -> Option<&'static str> {
        match self {
            DecodeFormat::Srt => Some("srt"),
            DecodeFormat::Ctm => Some("ctm"),
            DecodeFormat::Text | DecodeFormat::Csv | DecodeFormat::Jsonl => None,
        }
    }

    /// Checks that lines of text can hold the requested columns.
    ///
    /// # Errors
    /// Several outputs per row, tokens, times, or an output to resume, whose rows could not be counted.
    pub(crate) fn check(self, n_best: usize, [tokens, times, resume]: [bool; 3]) -> Result<()> {
        let name = match self {
            DecodeFormat::Csv | DecodeFormat::Jsonl => return Ok(()),
            _ => self.timed().unwrap_or("text"),
        };
        let table = "use --format csv or --format jsonl";
        if let Some((_, list)) = [(tokens, "tokens"), (times, "times")].iter().find(|(asked, _)| *asked) {
            let (message, hint) = match (self.timed(), *list) {
                (Some(_), "times") => {
                    (format!("{name} output always has times, but --times is given"), "leave out --times")
                }
                _ => (format!("{name} output cannot contain {list}, but --{list} is given"), table),
            };
            return Err(Error::input(message).hint(hint));
        }
        if n_best > 1 {
            let one = if self.timed().is_some() { "output" } else { "line" };
            let message = format!("{name} output has one {one} per row, but `decoding.n_best` is {n_best}");
            return Err(Error::input(message).hint(format!("{table}, or --n-best 1")));
        }
        if resume && self.timed().is_some() {
            let message =
                format!("--resume counts the rows of an output, and {name} has none for an empty one");
            return Err(Error::input(message).hint(table));
        }
        Ok(())
    }
}
