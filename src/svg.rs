//! What all pictures share: a text at its place, and escapes.
//!
//! It knows neither curves nor attention.

use std::fmt::Write as _;

/// Adds a text at (x, y), the left end of its base line where `attributes` say nothing else. Writing to a string cannot
/// fail.
pub fn text(out: &mut String, (x, y): (f64, f64), attributes: &str, words: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>", escaped(words));
}

/// A text as XML has it between tags. A name or a token may hold characters that XML has no way to write.
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
