//! `seqloom tokenize` and `seqloom detokenize`: lines as a model's tokens, and back.
//!
//! Tokens are separated by spaces. White space within a token is written as in Rust, `\u{20}` for a space, and `\` as `\\`, so that
//! every token can be read again.

use std::io::{BufRead, ErrorKind, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::standard_output;
use crate::checkpoint::model_file;
use crate::checkpoint::run::locate_model;
use crate::data::dataset::Tokenizers;
use crate::data::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// Arguments of `seqloom tokenize`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  echo 1994 | seqloom tokenize runs/roman
  seqloom tokenize runs/translate --side target < test.de > test.tokens
  seqloom tokenize runs/translate --ids < test.en

It needs only the model file. White space within a token is shown as \\u{20} or so, and \\ as \\\\.")]
pub(crate) struct TokenizeArgs {
    #[command(flatten)]
    model: SideArgs,
}

/// Arguments of `seqloom detokenize`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom detokenize runs/translate --side target < test.tokens > test.de
  echo 17 4 9 | seqloom detokenize runs/translate --ids")]
pub(crate) struct DetokenizeArgs {
    #[command(flatten)]
    model: SideArgs,
}

#[derive(Args, Debug)]
struct SideArgs {
    /// A run directory (its best checkpoint), a checkpoint folder or a model.safetensors
    run: PathBuf,
    /// Whose tokenizer
    #[arg(long, value_enum, default_value = "source")]
    side: Side,
    /// Token ids instead of tokens
    #[arg(long)]
    ids: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Side {
    /// That of sources
    Source,
    /// That of targets
    Target,
}

/// Writes the tokens of each line.
///
/// # Errors
/// Those of [`SideArgs::tokenizer`]; a line that is not UTF-8.
pub(crate) fn tokenize(args: &TokenizeArgs) -> Result<()> {
    let tokenizer = args.model.tokenizer()?;
    let shown = |id: &i64| match args.model.ids {
        true => id.to_string(),
        false => escaped(tokenizer.token(*id)),
    };
    each_line(&mut std::io::stdin().lock(), &mut standard_output(), |line| {
        Ok(tokenizer.encode(line).iter().map(shown).collect::<Vec<_>>().join(" "))
    })
}

/// Writes the text of each line of tokens, on a line.
///
/// # Errors
/// Those of [`SideArgs::tokenizer`]; a line that is not UTF-8, or has something that is no token.
pub(crate) fn detokenize(args: &DetokenizeArgs) -> Result<()> {
    let tokenizer = args.model.tokenizer()?;
    each_line(&mut std::io::stdin().lock(), &mut standard_output(), |line| {
        let id = |token: &str| match args.model.ids {
            true => number(token, &tokenizer),
            false => tokenizer.id(&unescaped(token)),
        };
        let ids = line.split(' ').filter(|token| !token.is_empty()).map(id).collect::<Result<Vec<_>>>()?;
        // A text with line breaks, which a tokenizer may keep, is still one line.
        Ok(tokenizer.decode(&ids).replace(['\n', '\r'], " "))
    })
}

impl SideArgs {
    /// The tokenizer of the side.
    ///
    /// # Errors
    /// No model there, a damaged one, or one whose sources are recordings.
    fn tokenizer(&self) -> Result<Tokenizer> {
        let path = locate_model(&self.run)?;
        let (header, _) = model_file::read(&path)?;
        let both = Tokenizers::from_json(&header.tokenizers).map_err(|error| error.at(path.display()))?;
        match self.side {
            Side::Target => Ok(both.target),
            Side::Source => both.source.tokenizer().cloned().ok_or_else(|| {
                let message = "sources must be texts to be tokenized, but those of this model are recordings";
                Error::input(message).hint("--side target takes the tokenizer of its outputs")
            }),
        }
    }
}

/// Writes what is made of each line; a closed pipe is no error.
fn each_line(
    from: &mut dyn BufRead,
    to: &mut dyn Write,
    mut make: impl FnMut(&str) -> Result<String>,
) -> Result<()> {
    for (line, number) in from.lines().zip(1u64..) {
        let place = || format!("standard input:{number}");
        let line = line.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => Error::input("a line must be UTF-8, but this one is not").at(place()),
            _ => Error::failure(format!("cannot read standard input: {error}")),
        })?;
        let made = make(&line).map_err(|error| error.at(place()))?;
        match writeln!(to, "{made}") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Error::failure(format!("cannot write to standard output: {error}"))),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The id that a number is, if it is one of the vocabulary.
fn number(text: &str, tokenizer: &Tokenizer) -> Result<i64> {
    let size = tokenizer.vocabulary_size();
    let id = text.parse().ok().filter(|id| (0..size as i64).contains(id));
    id.ok_or_else(|| {
        Error::input(format!("an id must be a number from 0 to {}, but one is `{text}`", size - 1))
    })
}

/// A token without white space.
fn escaped(token: &str) -> String {
    let letter = |letter: char| match letter {
        '\\' => "\\\\".to_owned(),
        _ if letter.is_whitespace() => letter.escape_unicode().to_string(),
        _ => letter.to_string(),
    };
    token.chars().map(letter).collect()
}

/// The token that was written so; what is no such writing is itself.
fn unescaped(text: &str) -> String {
    let (mut token, mut rest) = (String::new(), text);
    while let Some(letter) = rest.chars().next() {
        let (code, behind) = match rest.strip_prefix("\\u{").and_then(|inner| inner.split_once('}')) {
            Some((code, behind)) => (u32::from_str_radix(code, 16).ok().and_then(char::from_u32), behind),
            None => (rest.strip_prefix("\\\\").map(|_| '\\'), rest.get(2..).unwrap_or_default()),
        };
        match code {
            Some(meant) => (token, rest) = (token + meant.encode_utf8(&mut [0; 4]), behind),
            None => {
                token.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        for token in [" ", "a b", "\\", "\\u{20}", "\\\\ \t", "▁the", "é\u{3000}", "", "\\x", "<unk>"] {
            let written = escaped(token);
            assert!(!written.contains(char::is_whitespace), "{written}");
            assert_eq!(unescaped(&written), token);
        }
        for text in ["\\u{", "\\u{zz}", "\\", "é\\"] {
            assert_eq!(unescaped(text), text, "what nothing writes is taken as it is");
        }
    }

    #[test]
    fn a_line_that_is_not_utf_8_is_named() {
        let mut to = Vec::new();
        let error = each_line(&mut &b"a\n\xff\n"[..], &mut to, |line| Ok(line.to_uppercase())).unwrap_err();
        assert_eq!(to, b"A\n");
        assert!(error.to_string().contains("standard input:2"), "{error}");
    }
}
