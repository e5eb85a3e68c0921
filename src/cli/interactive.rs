//! `seqloom interactive`: reads a line and shows its output token by token.
//!
//! It runs the usual search and shows each step. An error in a line is reported, and the next line can be typed.

use std::io::{BufRead, ErrorKind, IsTerminal, Write};

use clap::Args;

use super::headings::{INPUT, OUTPUT, SEARCH};
use super::may_colour;
use super::model_args::ModelArgs;
use super::trace_record::{columns, visible};
use crate::cli::input::too_long;
use crate::data::vocabulary::EOS;
use crate::decoding::incremental_decoder::Hypothesis;
use crate::decoding::stream::{check_streamable, stream};
use crate::decoding::trace::TraceStep;
use crate::error::{Error, Result, counted};
use crate::predictor::loaded_model::LoadedModel;
use crate::predictor::request::EncodedRequest;

/// Columns for the output so far; a longer one is cut at its start.
const GROWING: usize = 32;

/// If this environment variable is set, a pipe counts as a terminal: for tests.
const TEST_TERMINAL: &str = "SEQLOOM_TEST_TERMINAL";

/// Arguments of `seqloom interactive`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom interactive runs/dates
  seqloom interactive runs/dates --prefix 19 --top 3
  seqloom interactive runs/speech --set decoding.method=joint")]
pub(crate) struct InteractiveArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Begin every output with this text, which may end in the middle of a word
    #[arg(long, value_name = "TEXT", help_heading = SEARCH)]
    prefix: Option<String>,
    /// Number of most likely tokens to show per step
    #[arg(long, value_name = "N", default_value_t = 5, help_heading = OUTPUT)]
    top: usize,
    /// Cut sources that are longer than data.source.max_length (recordings: data.source.audio.max_seconds), and report
    /// it
    #[arg(long, help_heading = INPUT)]
    truncate: bool,
}

/// Answers lines until `:q` or the end of the input.
///
/// # Errors
/// Standard input is no terminal; the settings search for several outputs; the target's vocabulary cannot spell the
/// prefix; the model fails.
pub(crate) fn run(args: &InteractiveArgs) -> Result<()> {
    if !std::io::stdin().is_terminal() && std::env::var_os(TEST_TERMINAL).is_none() {
        return Err(Error::input("`seqloom interactive` needs a terminal, but standard input is not one")
            .hint("decode a pipe or a file with `seqloom decode`; --trace writes each step"));
    }
    let InteractiveArgs { top, truncate, prefix, .. } = args;
    let loaded = &args.model.open()?;
    check_streamable(&loaded.options)?;
    let prefix = prefix.as_deref().unwrap_or_default();
    // Checked once here, not on every line.
    loaded.check_prefix(prefix)?;
    let (input, to) = (std::io::stdin(), std::io::stdout());
    let colour = may_colour(&to);
    let mut session = Session { loaded, top: *top, truncate: *truncate, prefix, colour, to: Box::new(to) };
    session.run_with(input.lock())
}

struct Session<'a> {
    loaded: &'a LoadedModel,
    top: usize,
    truncate: bool,
    prefix: &'a str,
    colour: bool,
    to: Box<dyn Write>,
}

impl Session<'_> {
    fn run_with(&mut self, mut input: impl BufRead) -> Result<()> {
        let source = match self.reads_recordings() {
            true => "the path of a recording",
            false => "a source",
        };
        self.say(&format!(
            "Type {source}. Each step shows the output so far and the most likely tokens in per cent, the chosen one in \
             [].\n\
             :q or Ctrl-D ends.\n"
        ))?;
        let mut line = Vec::new();
        loop {
            self.say("> ")?;
            line.clear();
            let read = input.read_until(b'\n', &mut line);
            let read = read.map_err(|error| Error::failure(format!("cannot read a line: {error}")))?;
            match std::str::from_utf8(&line).map(|line| line.trim_end_matches(['\n', '\r'])) {
                Ok(text) if text.trim() == ":q" => return Ok(()),
                _ if read == 0 => return self.say("\n"),
                Ok(text) => self.answer(text)?,
                Err(_) => self.say("error: the text must be UTF-8, but this line is not\n")?,
            }
        }
    }

    /// Whether sources are recordings.
    fn reads_recordings(&self) -> bool {
        self.loaded.tokenizers.source.audio().is_some()
    }

    /// Decodes a line.
    fn answer(&mut self, text: &str) -> Result<()> {
        let loaded = self.loaded;
        let Some(asked) = self.read(text)? else { return Ok(()) };
        let mut tokens = Vec::new();
        let output = stream(loaded.decoder(), &asked.decode, &loaded.options, self.top, |step| {
            tokens.extend((step.token != EOS).then_some(step.token));
            self.show(&tokens, step)
        })?;
        self.conclude(&output)
    }

    /// The request of a line; `None`, with a note, if it is not decoded.
    fn read(&mut self, text: &str) -> Result<Option<EncodedRequest>> {
        const NOTHING: &str = "note: the source is empty, and so is its output\n";
        let text = if self.reads_recordings() { text.trim() } else { text };
        if self.reads_recordings() && text.is_empty() {
            return self.say(NOTHING).map(|()| None);
        }
        let asked = match self.loaded.encode_request(text, self.prefix, too_long(self.truncate)) {
            Ok(asked) => asked,
            Err(error) => return self.say(&format!("{error}\n")).map(|()| None),
        };
        if !self.loaded.is_requested(&asked.decode.source) {
            return self.say(NOTHING).map(|()| None);
        }
        let length = asked.decode.source.length();
        if let Some(before) = asked.length_before {
            let positions = if self.reads_recordings() { "positions" } else { "tokens" };
            self.say(&format!("note: the source was truncated to {length} of its {before} {positions}\n"))?;
        }
        if asked.unknown > 0 {
            let unknown = asked.unknown;
            self.say(&format!("note: symbols that are not in the vocabulary: {unknown} of {length}\n"))?;
        }
        Ok(Some(asked))
    }

    /// Shows a step: the output so far, and the alternatives.
    fn show(&mut self, tokens: &[i64], step: &TraceStep) -> Result<()> {
        let so_far = last_columns(&self.loaded.tokenizers.target.decode(tokens), GROWING);
        let padding = " ".repeat(GROWING.saturating_sub(columns(&so_far)));
        let mut alternatives: Vec<String> = Vec::new();
        for &(token, log_p) in &step.top {
            let shown = self.token(token, log_p);
            alternatives.push(if token == step.token { self.marked(&shown) } else { format!(" {shown} ") });
        }
        if step.top.iter().all(|(token, _)| *token != step.token) {
            let shown = self.marked(&self.token(step.token, step.log_p));
            alternatives.push(format!("… {shown} at rank {}", step.rank));
        }
        self.say(&format!("  {so_far}{padding} {}\n", alternatives.join(" ").trim_end()))
    }

    fn token(&self, token: i64, log_p: f32) -> String {
        format!("{} {:.1}", visible(self.loaded.tokenizers.target.token(token)), 100.0 * log_p.exp())
    }

    fn marked(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1;32m[{text}]\x1b[0m") } else { format!("[{text}]") }
    }

    fn conclude(&mut self, output: &Hypothesis) -> Result<()> {
        let text = one_line(&self.loaded.tokenizers.target.decode(&output.tokens));
        let text = if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text };
        let tokens = output.tokens.len() + usize::from(output.finished);
        let end = if output.finished { "including <eos>" } else { "unfinished" };
        let (score, p) = (output.score, 100.0 * output.score.exp());
        self.say(&format!("{text}\nscore {score:.4} ({p:.2} %), {}, {end}\n", counted(tokens, "token")))
    }

    /// Writes and flushes. A closed output is an error here: the user is gone.
    fn say(&mut self, text: &str) -> Result<()> {
        let written = self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush());
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Error::failure("the reader of standard output has closed it"),
            _ => Error::failure(format!("cannot write to standard output: {error}")),
        })
    }
}

/// The end of a text, of at most `most` columns.
fn last_columns(text: &str, most: usize) -> String {
    let text = one_line(text);
    if columns(&text) <= most {
        return text;
    }
    let starts = text.char_indices().map(|(start, _)| start);
    let rest = starts.map(|start| &text[start..]).find(|rest| columns(rest) < most);
    format!("…{}", rest.unwrap_or_default())
}

/// A text on one line, with control characters escaped.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_output_is_shown() {
        assert_eq!(last_columns("abc", 3), "abc");
        assert_eq!(last_columns("abcd", 3), "…cd");
        assert_eq!(last_columns("機器學習", 6), "…學習");
        assert_eq!(last_columns("a\x1b[2J", 9), "a\u{fffd}[2J");
    }
}
