//! Shared by all pictures: the page, positioned texts, and escapes; axes and heat maps.
//!
//! It depends on neither curves nor attention.

pub(crate) mod axis;
pub(crate) mod heat;
pub(crate) mod plot;

use std::fmt::Write as _;

// From the colour-blind-safe palette of Okabe and Ito.
/// Blue.
pub(crate) const BLUE: &str = "#0072b2";
/// Sky blue.
pub(crate) const SKY: &str = "#56b4e9";
/// Bluish green.
pub(crate) const GREEN: &str = "#009e73";
/// Vermilion.
pub(crate) const VERMILION: &str = "#d55e00";
/// Reddish purple.
pub(crate) const PURPLE: &str = "#cc79a7";
/// Orange.
pub(crate) const ORANGE: &str = "#e69f00";

/// Fonts that cover Latin, Chinese, Japanese and Korean on the systems that have them.
pub(crate) const FONTS: &str = "'Noto Sans', 'Segoe UI', 'Helvetica Neue', Arial, 'Noto Sans CJK TC', 'Noto Sans CJK SC', \
     'Noto Sans CJK JP', 'Source Han Sans', 'PingFang TC', 'PingFang SC', 'Hiragino Sans', 'Microsoft JhengHei', \
     'Microsoft YaHei', 'Yu Gothic', 'Malgun Gothic', 'WenQuanYi Zen Hei', sans-serif";

/// The dark style, which overrides the colours of the attributes.
const DARK: &str = "@media (prefers-color-scheme: dark) { .page { fill: #1b1d21 } text { fill: #e6e6e6 } \
     .faint text, text.faint { fill: #a8a8a8 } .blue { fill: #56b4e9 } .ink { fill: #e6e6e6 } \
     .grid { stroke: #3a3d44 } .frame { stroke: #777 } }";

/// A page of this size, in pixels, with the name of the picture and what it shows.
///
/// It has a light and a dark style, by the viewer's preference: elements of the classes `faint` (texts), `blue` and `ink`
/// (fills), `grid` and `frame` (strokes) have their own colours in the dark one. No font is embedded; the font list
/// names fonts that cover Chinese, Japanese and Korean on the systems that have them.
pub(crate) fn page(name: &str, (width, height): (f64, f64), font_size: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"{FONTS}\" font-size=\"{font_size}\" fill=\"#222\">\n\
         <title>{}</title>\n<style>{DARK}</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n",
        escaped(name)
    )
}

/// Adds a text at (x, y), by default the left end of its baseline. Writing to a string cannot fail.
pub(crate) fn text(out: &mut String, (x, y): (f64, f64), attributes: &str, words: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>", escaped(words));
}

/// A text escaped for XML. Names and tokens may contain characters that XML cannot represent.
pub(crate) fn escaped(text: &str) -> String {
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
