//! Outputs with times: subtitles (SubRip), and the ctm of NIST's sclite, which Kaldi writes: `id channel start duration
//! word confidence` (SCTK, `doc/infmts.htm`). Times are within the recording.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::format::DecodeFormat;
use crate::data::audio::config::AudioConfig;
use crate::data::audio::listing::segment_of;
use crate::data::readers::{FieldValue, SourceRow};
use crate::data::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use crate::predictor::Output;

/// Writes rows as lines with times, and knows the recordings so far.
pub(crate) struct TimedLines {
    format: DecodeFormat,
    audio: AudioConfig,
    /// Whether the input names its recordings by the field `id`.
    listed: bool,
    /// The recording of the subtitles.
    first: Option<String>,
    /// Cues so far.
    cues: usize,
    /// For each id the recording that has it, and where its parts start, in milliseconds.
    ids: HashMap<String, (String, HashSet<i64>)>,
}

/// A word or a character, with its start and its end in seconds, and its log-probability.
#[derive(Clone, Debug, PartialEq)]
struct Word {
    text: String,
    start: f64,
    end: f64,
    log_p: f64,
}

impl TimedLines {
    /// For a format that has times; `None` for others and for texts.
    pub(crate) fn new(format: DecodeFormat, audio: Option<&AudioConfig>, listed: bool) -> Option<TimedLines> {
        let audio = audio.filter(|_| format.timed().is_some())?.clone();
        Some(TimedLines { format, audio, listed, first: None, cues: 0, ids: HashMap::new() })
    }

    /// Whether lines have the scores of tokens.
    pub(crate) fn has_scores(&self) -> bool {
        self.format == DecodeFormat::Ctm
    }

    /// Checks that a row may follow those so far.
    ///
    /// # Errors
    /// A second recording in subtitles; another recording of the same id, or the same part of one; an id with white
    /// space.
    pub(crate) fn admit(&mut self, row: &SourceRow) -> Result<()> {
        if self.format == DecodeFormat::Srt {
            let first = self.first.get_or_insert_with(|| row.text.clone());
            if *first == row.text {
                return Ok(());
            }
            let message = format!("subtitles must be of one recording, {first}, but this is {}", row.text);
            return Err(Error::input(message).hint("decode each recording into a file of its own"));
        }
        let (id, start) = (self.id(row), milliseconds(self.start(row)?));
        if id.is_empty() || id.contains(char::is_whitespace) {
            let message =
                format!("an id in a ctm must not be empty or contain white space, but it is `{id}`");
            return Err(
                Error::input(message).hint("rename the file, or list it in the wav.scp of a Kaldi folder")
            );
        }
        let (recording, starts) =
            self.ids.entry(id.clone()).or_insert_with(|| (row.text.clone(), HashSet::new()));
        if *recording != row.text {
            let message = format!(
                "an id of a ctm must be that of one recording, but {recording} and {} are both `{id}`",
                row.text
            );
            return Err(
                Error::input(message).hint("rename one, or list them in the wav.scp of a Kaldi folder")
            );
        }
        if !starts.insert(start) {
            let message = format!(
                "a ctm must have each part of a recording once, but `{id}` is there twice from {:.3} s",
                start as f64 / 1000.0
            );
            return Err(Error::input(message));
        }
        Ok(())
    }

    /// The lines of an output: none of an empty one.
    ///
    /// # Errors
    /// The start of a segment is not a number.
    pub(crate) fn lines(
        &mut self,
        row: &SourceRow,
        output: &Output,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<String>> {
        let (Some([start, _]), Some([_, end])) = (output.times.first(), output.times.last()) else {
            return Ok(Vec::new());
        };
        let offset = self.start(row)?;
        if self.format == DecodeFormat::Srt {
            self.cues += 1;
            let times = format!("{} --> {}", clock(offset + start), clock(offset + end));
            return Ok(vec![self.cues.to_string(), times, output.text.clone(), String::new()]);
        }
        let id = self.id(row);
        let line = |word: Word| {
            let [start, end] = [word.start, word.end].map(|seconds| milliseconds(offset + seconds));
            let [start, length] = [start, end - start].map(|time| time as f64 / 1000.0);
            format!("{id} 1 {start:.3} {length:.3} {} {:.4}", word.text, word.log_p.exp())
        };
        Ok(words(output, tokenizer).into_iter().map(line).collect())
    }

    /// The name of the recording: its id in a Kaldi folder, else the name of its file.
    fn id(&self, row: &SourceRow) -> String {
        let field = |name: &str| {
            let field = row.others.iter().find(|field| *field.name == *name).filter(|_| self.listed)?;
            let (FieldValue::Text(text) | FieldValue::Json(text)) = &field.value;
            Some(serde_json::from_str(text).unwrap_or(text.clone()))
        };
        let stem = || Path::new(&row.text).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        field("recording").or_else(|| field("id")).unwrap_or_else(stem)
    }

    /// Where the row's part of its recording starts, in seconds.
    fn start(&self, row: &SourceRow) -> Result<f64> {
        Ok(segment_of(&row.others, &self.audio)?[0].unwrap_or(0.0))
    }
}

/// The words of an output that has times: characters by themselves, words, and pieces or bytes up to the next white space,
/// which is no word itself.
fn words(output: &Output, tokenizer: &Tokenizer) -> Vec<Word> {
    let mut words: Vec<(Vec<u8>, Word)> = Vec::new();
    let tokens = output.hypothesis.tokens.iter().zip(&output.times).zip(&output.token_scores);
    for ((token, &[start, end]), log_p) in tokens {
        let (piece, log_p) = (tokenizer.piece_bytes(*token, words.is_empty()), f64::from(*log_p));
        let of_symbols = ["characters", "graphemes"].contains(&tokenizer.kind());
        let begins = of_symbols || String::from_utf8_lossy(&piece).starts_with(char::is_whitespace);
        match words.last_mut().filter(|_| !begins) {
            Some((text, word)) => {
                text.extend_from_slice(&piece);
                word.end = end;
                word.log_p += log_p;
            }
            None => words.push((piece.into_owned(), Word { text: String::new(), start, end, log_p })),
        }
    }
    let with_text = words.into_iter().map(|(text, word)| {
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        Word { text, ..word }
    });
    with_text.filter(|word| !word.text.is_empty()).collect()
}

fn milliseconds(seconds: f64) -> i64 {
    (1000.0 * seconds).round() as i64
}

/// A time of a subtitle: `HH:MM:SS,mmm`.
fn clock(seconds: f64) -> String {
    let all = milliseconds(seconds);
    let [hours, minutes, seconds] = [all / 3_600_000, all / 60_000 % 60, all / 1000 % 60];
    format!("{hours:02}:{minutes:02}:{seconds:02},{:03}", all % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{PiecesConfig, SideConfig};
    use crate::decoding::incremental_decoder::Hypothesis;

    /// The words of a text whose tokens take 0.1 s each, with a probability of a half.
    fn of_text(config: SideConfig, text: &str) -> Vec<Word> {
        let tokenizer = Tokenizer::train(&config, [text].into_iter()).unwrap();
        let tokens = tokenizer.encode(text);
        let times = (0..tokens.len()).map(|n| [n as f64 / 10.0, (n + 1) as f64 / 10.0]).collect();
        let token_scores = vec![0.5_f32.ln(); tokens.len() + 1];
        let hypothesis = Hypothesis { tokens, finished: true, ..Hypothesis::default() };
        let output = Output { times, token_scores, ..Output::new(text.to_owned(), hypothesis) };
        words(&output, &tokenizer)
    }

    #[test]
    fn a_time_of_a_subtitle_has_hours_and_milliseconds() {
        assert_eq!(clock(0.0), "00:00:00,000");
        assert_eq!(clock(0.9996), "00:00:01,000");
        assert_eq!(clock(3_725.04), "01:02:05,040");
        assert_eq!(clock(360_000.5), "100:00:00,500");
    }

    #[test]
    fn characters_are_words_and_spaces_are_not() {
        let words = of_text(SideConfig::default(), "機 器");
        let shown: Vec<_> = words.iter().map(|word| (word.text.as_str(), word.start)).collect();
        assert_eq!(shown, [("機", 0.0), ("器", 0.2)]);
    }

    #[test]
    fn pieces_join_to_words() {
        let bpe = SideConfig {
            bpe: Some(PiecesConfig { vocabulary: 12, ..PiecesConfig::default() }),
            ..SideConfig::default()
        };
        let words = of_text(bpe, "abab cab abab");
        let shown: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(shown, ["abab", "cab", "abab"]);
        assert!(words.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for word in words {
            let tokens = ((word.end - word.start) * 10.0).round();
            assert!((word.log_p - tokens * 0.5_f64.ln()).abs() < 1e-5);
        }
    }
}
