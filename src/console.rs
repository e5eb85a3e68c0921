//! Messages to the user, on stderr.

use std::io::Write;

use crate::error::printable;

/// Writes a line to stderr, with control characters escaped. Ignores errors: a closed stderr is no reason to stop.
pub(crate) fn status(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}
