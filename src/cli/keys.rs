//! `seqloom keys`: shows every key of a config with its default and its meaning, or those that contain some words.

use clap::Args;

use super::print;
use crate::config::page::{Entry, PAGE, entries, meant};
use crate::error::{Error, Result};

/// Arguments of `seqloom keys`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  seqloom keys training
  seqloom keys learning rate
  seqloom keys > reference.toml")]
pub(crate) struct KeysArgs {
    /// Show only tables and keys whose path or description contains all these words
    words: Vec<String>,
}

/// Prints to standard output.
pub(crate) fn run(args: &KeysArgs) -> Result<()> {
    if args.words.is_empty() {
        return print(PAGE);
    }
    let is_match = |entry: &Entry| args.words.iter().all(|word| entry.mentions(word));
    let found: Vec<Entry> = entries().into_iter().filter(is_match).collect();
    if found.is_empty() {
        let words = args.words.join("` and `");
        let message = format!("no key or description contains `{words}`");
        let hint = meant(&words, |_| true).unwrap_or("run `seqloom keys` to see them all".to_owned());
        return Err(Error::input(message).hint(hint));
    }
    let headers: Vec<Entry> = entries().into_iter().filter(|entry| entry.key.is_empty()).collect();
    let (mut text, mut table) = (String::new(), "");
    for entry in found {
        if entry.table != table {
            table = entry.table;
            let header = headers.iter().find(|header| header.table == table);
            let gap = if text.is_empty() { "" } else { "\n" };
            text += &format!("{gap}{}\n", header.map_or(String::new(), |header| header.lines.join("\n")));
        }
        if !entry.key.is_empty() {
            text += &format!("{}\n", entry.lines.join("\n"));
        }
    }
    print(&text)
}
