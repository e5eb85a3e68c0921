//! The frame of an HTML page: no script, no network, light and dark by the viewer's preference, for narrow and wide
//! screens. Long words break, and what is wider than the screen (class `scroll`) scrolls in its own box.

use crate::svg::{FONTS, escaped};

const STYLE: &str = "
:root { color-scheme: light dark; --page: #fff; --ink: #222; --faint: #666; --line: #ddd; --bar: #0072b2; --warn: #d55e00 }
@media (prefers-color-scheme: dark) { :root { --page: #1b1d21; --ink: #e6e6e6; --faint: #a8a8a8; --line: #3a3d44; --bar: #56b4e9; --warn: #e69f00 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 84rem; background: var(--page); color: var(--ink); line-height: 1.5; overflow-wrap: anywhere }
h1 { font-size: 1.5rem } h2 { font-size: 1.25rem; border-top: 1px solid var(--line); padding-top: 1rem } h3 { font-size: 1rem; margin: 1.5rem 0 .5rem } .sides h3 { margin-top: 0 }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem } .sides > * { min-width: 0 }
table { border-collapse: collapse; width: 100%; font-size: .9rem } td, th { text-align: start; vertical-align: top; padding: .2rem .5rem .2rem 0; border-bottom: 1px solid var(--line) }
td[dir] { white-space: pre-wrap }
th { color: var(--faint); font-weight: normal } .number { text-align: end; white-space: nowrap } .faint { color: var(--faint) }
.warn { border-inline-start: 4px solid var(--warn); padding-inline-start: .75rem; margin: 1rem 0 } .scroll { overflow-x: auto }
.bars { width: 100%; height: auto; display: block; margin: .5rem 0 } .bars rect { fill: var(--bar) } .bars text { fill: var(--faint); font-size: 11px }
.best { font-weight: bold } .rows th { width: 8rem }
.scores td, .scores th { overflow-wrap: normal; padding-inline-end: 1rem } .scores .faint { min-width: 14rem }
.scores .name { min-width: 10rem; overflow-wrap: anywhere; position: sticky; inset-inline-start: 0; background: var(--page) }
.legend { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: .25rem 1rem; margin: .5rem 0; padding: 0; list-style: none }
.legend li { display: flex; gap: .5rem } .legend svg { flex: none; margin-top: .4rem }
.scroll svg { display: block; margin: .5rem 0 }
";

/// A page with this title and this body, which is HTML.
pub(super) fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}body {{ font-family: {FONTS} }}</style></head><body>\n<h1>{title}</h1>\n{body}</body></html>\n"
    )
}

/// A name as HTML, which may break behind the commas of a sweep's choices and before their values.
pub(super) fn long_name(text: &str) -> String {
    escaped(text).replace('=', "=<wbr>").replace(',', ",<wbr>")
}

/// The beginning of a long text as HTML that keeps its line breaks, where white space is kept (`pre-wrap`).
pub(super) fn passage(text: &str) -> String {
    let lines = cut(text).replace("\r\n", "\n");
    lines.split(['\n', '\r']).map(escaped).collect::<Vec<_>>().join("\n")
}

/// The beginning of a long text, with a space for each tab, such as those between the columns of a source.
pub(super) fn cut(text: &str) -> String {
    const SHOWN: usize = 300;
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c == '\t' { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_of_a_text_are_kept_and_other_control_characters_are_not() {
        assert_eq!(passage("a<\r\nb\rc\n\td\u{1}"), "a&lt;\nb\nc\n d\u{fffd}");
    }
}
