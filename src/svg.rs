//! Shared by all pictures: positioned texts, and escapes.
//!
//! It depends on neither curves nor attention.

use std::fmt::Write as _;

/// Adds a text at (x, y), by default the left end of its baseline. Writing to a string cannot fail.
pub fn text(out: &mut String, (x, y): (f64, f64), attributes: &str, words: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>", escaped(words));
}

/// A text escaped for XML. Names and tokens may contain characters that XML cannot represent.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
