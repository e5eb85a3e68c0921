//! Pictures of made-up rows, read back by an XML parser.

use roxmltree::{Document, Node};

use super::*;
use crate::cli::attention::tests::{check_on_page, number};

fn row(source: &[&str], output: &[&str]) -> TracedRow {
    let step = |(n, token): (usize, &&str)| TracedStep {
        token: token.to_string(),
        log_probability: -0.1,
        attention: (0..source.len()).map(|place| if place == n { 0.8 } else { 0.05 }).collect(),
        ..TracedStep::default()
    };
    TracedRow {
        row: 1,
        source: Some(source.concat()),
        source_tokens: source.iter().map(|token| token.to_string()).collect(),
        output: output.concat(),
        score: Some(-0.5),
        finished: true,
        steps: output.iter().enumerate().map(step).collect(),
        ..TracedRow::default()
    }
}

/// The labels of a group, with their tooltips.
fn labels(document: &Document, class: &str) -> Vec<String> {
    let group = document.descendants().find(|node| node.attribute("class") == Some(class)).unwrap();
    let texts = group.children().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")));
    texts
        .map(|node| node.descendants().filter_map(|part| part.text().filter(|_| part.is_text())).collect())
        .collect()
}

/// Checks that the picture is complete: one cell per pair of tokens, all on the page, aligned with their labels.
#[track_caller]
fn checked(row: &TracedRow) -> String {
    let picture = svg(row);
    let document = Document::parse(&picture).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
    assert!(!picture.contains("NaN") && !picture.contains("inf") && !picture.contains("<script"));
    check_on_page(&document);
    let cells: Vec<Node> =
        document.descendants().filter(|node| node.attribute("class") == Some("cell")).collect();
    assert_eq!(cells.len(), row.source_tokens.len() * row.steps.len());
    let weights = row.steps.iter().flat_map(|step| &step.attention);
    for (cell, weight) in cells.iter().zip(weights) {
        assert!((number(cell, "fill-opacity") - f64::from(*weight)).abs() < 1e-3);
    }
    picture
}

#[test]
fn each_pair_of_tokens_has_a_cell_and_each_token_a_label() {
    let row = row(&["1", "9", "9", "4", "<eos>"], &["M", "C", "<eos>"]);
    let picture = checked(&row);
    let document = Document::parse(&picture).unwrap();
    assert_eq!(labels(&document, "source"), row.source_tokens);
    assert_eq!(labels(&document, "output"), ["M", "C", "<eos>"]);
    for part in [
        "1994&lt;eos&gt; → MC&lt;eos&gt;",
        "score -0.5000 (probability 60.7 %), 3 tokens, with &lt;eos&gt;",
        "prefers-color-scheme: dark",
        "<title>M ← 1: 0.800</title>",
        ">90.5 %<",
        "attention of the last layer",
    ] {
        assert!(picture.contains(part), "no {part:?} in\n{picture}");
    }
    let cut_off = TracedRow { finished: false, score: None, ..row };
    assert!(checked(&cut_off).contains(">3 tokens, unfinished<"));
}

#[test]
fn chinese_text_is_drawn_unchanged_and_upright() {
    let row = row(&["機", "器", "學", "習", "<eos>"], &["き", "か", "い", "한", "국"]);
    let picture = checked(&row);
    let document = Document::parse(&picture).unwrap();
    assert_eq!(labels(&document, "source"), ["機", "器", "學", "習", "<eos>"]);
    assert_eq!(labels(&document, "output"), ["き", "か", "い", "한", "국"]);
    assert!(picture.contains("'Noto Sans CJK TC'"));
    assert_eq!(picture.matches("rotate(").count(), 1, "only <eos> is too wide");
    let words = checked(&self::row(&["機器", "學習"], &["機器學習"]));
    assert_eq!(words.matches("rotate(").count(), 2);
}

#[test]
fn characters_that_xml_forbids_and_invisible_ones_are_shown() {
    let tokens = ["<b>", "&amp;", "\"'", " ", "\u{0}", "\u{1b}", "\u{ffff}", "\u{301}", "]]>", "ا"];
    let picture = checked(&row(&tokens, &tokens));
    let document = Document::parse(&picture).unwrap();
    let shown = ["<b>", "&amp;", "\"'", "␣", "\u{fffd}", "\u{fffd}", "\u{fffd}", "◌\u{301}", "]]>", "ا"];
    assert_eq!(labels(&document, "source"), shown);
    assert_eq!(labels(&document, "output"), shown);
}

#[test]
fn long_tokens_are_truncated_and_long_rows_are_readable() {
    let long = "Donaudampfschifffahrtsgesellschaftskapitän";
    let picture = checked(&row(&[long, "b"], &["a", long]));
    let document = Document::parse(&picture).unwrap();
    let cut = format!("Donaudampfschifffahrtsg…{long}");
    assert_eq!(labels(&document, "source"), [&cut, "b"]);
    assert_eq!(labels(&document, "output"), ["a", &cut]);
    let many = vec!["學"; 400];
    let picture = checked(&row(&many, &many[..300]));
    assert!(picture.len() < 20_000_000 && !picture.contains("←"), "{} bytes", picture.len());
    checked(&row(&["a"], &["b"]));
}

#[test]
fn nan_attention_is_not_shaded_and_excess_is_clamped() {
    let mut row = row(&["a", "b"], &["c"]);
    row.steps[0].attention = vec![f32::NAN, 7.0];
    row.score = Some(f64::NEG_INFINITY);
    let picture = svg(&row);
    assert!(Document::parse(&picture).is_ok());
    assert!(picture.contains("fill-opacity=\"0.000\"") && picture.contains("fill-opacity=\"1.000\""));
}
