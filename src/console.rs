//! Lines for people, on stderr.

use std::io::Write;

use crate::error::printable;

/// A line on stderr, without what would move a terminal's cursor. Who does not listen any more is no reason to stop.
pub fn status(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}
