//! The tokenizers of BLEU: `13a`, `intl`, `char`, `zh` and `none`, each with sacrebleu's tokens.
//!
//! sacrebleu rewrites a line with regular expressions, one after the other, which insert spaces. Their result depends on
//! each character and its neighbours alone, so one pass over the line cuts the same tokens: [`tokens`]. A tokenizer says
//! what its characters are. tests/golden/make_metrics.py compares them with sacrebleu.

use std::borrow::Cow;
use std::fmt::Debug;

use super::categories::{PUNCTUATION, SYMBOLS, is_in};
use crate::metrics::example::is_space;

/// What a character is to a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Between tokens.
    Space,
    /// Always a token of its own.
    Alone,
    /// A token of its own except between two numbers.
    Mark,
    Number,
    /// A token of its own behind a number.
    Dash,
    Other,
}

/// Cuts lines into tokens.
pub(crate) trait Tokenizer: Clone + Debug + Default + Send + Sync + 'static {
    /// The metric's name with it.
    const METRIC: &'static str;
    /// The metric's name in lines.
    const SHORT_NAME: &'static str;
    /// The settings as in sacrebleu's signature.
    const SETTINGS: &'static str;
    /// Whether the ends of a line count as spaces beside a mark.
    const BOUNDED: bool = false;

    /// The line that is cut.
    fn prepared(line: &str) -> Cow<'_, str> {
        Cow::Borrowed(line.trim_end_matches(is_space))
    }

    fn kind(c: char) -> Kind;
}

/// `13a`: mteval-v13a of WMT. ASCII punctuation is split, but not a point or a comma between digits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Western;

impl Tokenizer for Western {
    const METRIC: &'static str = "bleu";
    const SHORT_NAME: &'static str = "BLEU";
    const SETTINGS: &'static str = "case:mixed|eff:no|tok:13a|smooth:exp";
    const BOUNDED: bool = true;

    fn prepared(line: &str) -> Cow<'_, str> {
        unescaped(line.trim_end_matches(is_space))
    }

    fn kind(c: char) -> Kind {
        western(c)
    }
}

/// `intl`: mteval-v14. Punctuation and symbols of all scripts are split.
#[derive(Clone, Debug, Default)]
pub(crate) struct International;

impl Tokenizer for International {
    const METRIC: &'static str = "bleu_intl";
    const SHORT_NAME: &'static str = "BLEU intl";
    const SETTINGS: &'static str = "case:mixed|eff:no|tok:intl|smooth:exp";

    fn kind(c: char) -> Kind {
        match c {
            'a'..='z' | 'A'..='Z' => Kind::Other,
            _ if is_space(c) => Kind::Space,
            _ if is_in(&PUNCTUATION, c) => Kind::Mark,
            _ if is_in(&SYMBOLS, c) => Kind::Alone,
            _ if c.is_numeric() => Kind::Number,
            _ => Kind::Other,
        }
    }
}

/// `char`: each character is a token, except white space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Characters;

impl Tokenizer for Characters {
    const METRIC: &'static str = "bleu_char";
    const SHORT_NAME: &'static str = "BLEU char";
    const SETTINGS: &'static str = "case:mixed|eff:no|tok:char|smooth:exp";

    fn kind(c: char) -> Kind {
        if is_space(c) { Kind::Space } else { Kind::Alone }
    }
}

/// `zh`: Chinese characters are tokens, and the rest is cut as by `13a`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chinese;

impl Tokenizer for Chinese {
    const METRIC: &'static str = "bleu_zh";
    const SHORT_NAME: &'static str = "BLEU zh";
    const SETTINGS: &'static str = "case:mixed|eff:no|tok:zh|smooth:exp";

    fn prepared(line: &str) -> Cow<'_, str> {
        Cow::Borrowed(line.trim_matches(is_space))
    }

    fn kind(c: char) -> Kind {
        match western(c) {
            Kind::Other if is_chinese(c) => Kind::Alone,
            kind => kind,
        }
    }
}

/// `none`: the texts between white space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsplit;

impl Tokenizer for Unsplit {
    const METRIC: &'static str = "bleu_none";
    const SHORT_NAME: &'static str = "BLEU none";
    const SETTINGS: &'static str = "case:mixed|eff:no|tok:none|smooth:exp";

    fn kind(c: char) -> Kind {
        if is_space(c) { Kind::Space } else { Kind::Other }
    }
}

/// What stands before a character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The start of an unbounded line, or a mark that was split from what stands before it: a regular expression never
    /// matches a character twice.
    Nothing,
    Number,
    Other,
}

/// The tokens of a prepared line.
pub(crate) fn tokens<T: Tokenizer>(line: &str) -> Vec<&str> {
    let mut tokens = Vec::with_capacity(line.len() / 4);
    let mut start = 0;
    let mut before = if T::BOUNDED { Before::Other } else { Before::Nothing };
    let mut characters = line.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let kind = T::kind(c);
        let (is_cut, then) = match kind {
            Kind::Space | Kind::Alone => (true, Before::Other),
            Kind::Mark if before == Before::Other => (true, Before::Nothing),
            Kind::Mark => {
                let next = characters.peek().map(|&(_, next)| T::kind(next));
                (next.map_or(T::BOUNDED, |next| next != Kind::Number), Before::Other)
            }
            Kind::Number => (false, Before::Number),
            Kind::Dash => (before == Before::Number, Before::Other),
            Kind::Other => (false, Before::Other),
        };
        before = then;
        if is_cut {
            let end = at + c.len_utf8();
            let pieces = [&line[start..at], if kind == Kind::Space { "" } else { &line[at..end] }];
            tokens.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
            start = end;
        }
    }
    if start < line.len() {
        tokens.push(&line[start..]);
    }
    tokens
}

/// Without mteval's marks and line breaks, and with four entities replaced, in its order.
fn unescaped(line: &str) -> Cow<'_, str> {
    if !line.contains(['<', '\n', '&']) {
        return Cow::Borrowed(line);
    }
    let replaced = [
        ("<skipped>", ""),
        ("-\n", ""),
        ("\n", " "),
        ("&quot;", "\""),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ];
    Cow::Owned(replaced.into_iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to)))
}

/// The kinds of `13a`: digits and punctuation are those of ASCII.
fn western(c: char) -> Kind {
    match c {
        'a'..='z' | 'A'..='Z' | '\'' => Kind::Other,
        ' ' => Kind::Space,
        '0'..='9' => Kind::Number,
        '.' | ',' => Kind::Mark,
        '-' => Kind::Dash,
        '!'..='&' | '('..='+' | '/' | ':'..='@' | '['..='`' | '{'..='~' => Kind::Alone,
        _ if is_space(c) => Kind::Space,
        _ => Kind::Other,
    }
}

/// sacrebleu's list. In U+2001..U+2A6D and U+2F81..U+2FA1 it meant planes beyond the first, which it lacks.
fn is_chinese(c: char) -> bool {
    matches!(
        c,
        '\u{2001}'..='\u{2a6d}'
            | '\u{2e80}'..='\u{2fdf}'
            | '\u{2ff0}'..='\u{303f}'
            | '\u{3100}'..='\u{312f}'
            | '\u{31a0}'..='\u{31bf}'
            | '\u{31c0}'..='\u{31ef}'
            | '\u{3200}'..='\u{4db5}'
            | '\u{4e00}'..='\u{9fbb}'
            | '\u{f900}'..='\u{fa2d}'
            | '\u{fa30}'..='\u{fa6a}'
            | '\u{fa70}'..='\u{fad9}'
            | '\u{fe10}'..='\u{fe1f}'
            | '\u{fe30}'..='\u{fe4f}'
            | '\u{ff00}'..='\u{ffef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut<T: Tokenizer>(line: &str) -> String {
        tokens::<T>(&T::prepared(line)).join(" ")
    }

    #[test]
    fn points_and_commas_between_digits_stay() {
        let line = "$1,000.5, a..5 5.. 5-6 -7 x.";
        assert_eq!(cut::<Western>(line), "$ 1,000.5 , a . .5 5 . . 5 - 6 -7 x .");
        assert_eq!(cut::<Chinese>(".5 5."), ".5 5.");
        assert_eq!(cut::<Western>(".5 5."), ". 5 5 .");
        assert_eq!(cut::<International>("1.5 1. x."), "1.5 1 . x .");
    }

    #[test]
    fn entities_are_replaced_in_order_and_once() {
        assert_eq!(cut::<Western>("&amp;lt;&amp;quot;a-\nb\nc<skipped>-\n"), "< & quot ; ab c-");
        assert_eq!(cut::<Unsplit>("&amp; a-\nb "), "&amp; a- b");
    }

    #[test]
    fn scripts_and_symbols_are_split() {
        assert_eq!(cut::<Chinese>("北京ab，c"), "北 京 ab ， c");
        assert_eq!(cut::<International>("«a»5€ ٣٫٥ 北。"), "« a » 5 € ٣٫٥ 北 。");
        assert_eq!(cut::<Characters>("e\u{301} a\u{1c}b"), "e \u{301} a b");
    }
}
