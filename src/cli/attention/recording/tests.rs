//! Pictures of made-up recordings, read back by an XML parser.

use std::sync::Arc;

use roxmltree::{Document, Node};

use super::*;
use crate::cli::attention::tests::{check_on_page, number};
use crate::cli::trace_record::TracedStep;
use crate::data::vocabulary::{EOS, PAD};
use crate::decoding::ctc::log_probs::CtcLogProbs;

const STEP: f64 = 0.04;

/// An output of these tokens over this many positions; equal tokens have equal ids.
fn row(tokens: &[&str], positions: usize) -> TracedRow {
    let id = |token: &str| match token {
        "<eos>" => EOS,
        _ => 4 + tokens.iter().position(|other| *other == token).unwrap() as i64,
    };
    let step = |token: &&str| TracedStep {
        token: token.to_string(),
        id: id(token),
        log_probability: -0.1,
        attention: vec![1.0 / positions as f32; positions],
        ..TracedStep::default()
    };
    TracedRow {
        row: 1,
        source: Some("a.wav".to_owned()),
        source_tokens: (0..positions).map(|n| format!("{:.2}", n as f64 * STEP)).collect(),
        output: tokens.concat(),
        steps: tokens.iter().map(step).collect(),
        seconds_per_position: Some(STEP),
        ..TracedRow::default()
    }
}

/// A CTC head that gives 0.9 to token n of the row at frame `spans[n]`, and to the blank elsewhere.
fn posteriors(row: &TracedRow, frames: &[usize]) -> Posteriors {
    let (positions, symbols) = (row.source_tokens.len(), 4 + row.steps.len());
    let rest = 0.1 / (symbols - 1) as f32;
    let mut probabilities = vec![rest; positions * symbols];
    let tokens: Vec<i64> = row.steps.iter().map(|step| step.id).filter(|id| *id != EOS).collect();
    let loud = |frame| frames.iter().position(|one| *one == frame).map_or(PAD, |n| tokens[n]);
    (0..positions).for_each(|frame| probabilities[frame * symbols + loud(frame) as usize] = 0.9);
    let logarithms = probabilities.into_iter().map(f32::ln).collect();
    Posteriors::new(Arc::new(CtcLogProbs::new(logarithms, symbols, PAD).unwrap()), &tokens)
}

/// Four frames for each position, 80 bins.
fn recording(row: &TracedRow, frames: &[usize]) -> Recording {
    let count = 4 * row.source_tokens.len();
    let features: Vec<f32> = (0..80 * count).map(|n| (n % 97) as f32).collect();
    let spectrogram = Spectrogram::new(&features, 80, STEP / 4.0, vec![(1000.0, 0.4)]);
    Recording { part: [None; 2], spectrogram: Some(spectrogram), posteriors: Some(posteriors(row, frames)) }
}

/// All elements whose class begins so, with those inside a group of that class.
fn of_class<'a>(document: &'a Document, class: &str) -> Vec<Node<'a, 'a>> {
    let is =
        |node: &Node| node.attribute("class").is_some_and(|names| names.split(' ').any(|name| name == class));
    document.descendants().filter(is).collect()
}

fn children<'a>(document: &'a Document, class: &str, tag: &str) -> Vec<Node<'a, 'a>> {
    let inside = of_class(document, class)[0].children();
    inside.filter(|node| node.tag_name().name() == tag).collect()
}

/// Checks that all of the picture is on the page.
#[track_caller]
fn drawn(row: &TracedRow, recording: &Recording) -> String {
    let picture = svg(row, STEP, recording);
    let document = Document::parse(&picture).unwrap();
    assert!(!picture.contains("NaN") && !picture.contains("\"inf") && !picture.contains("<script"));
    check_on_page(&document);
    picture
}

/// x and width of the rectangle that a heat map shades.
fn shaded(document: &Document, id: &str) -> [f64; 2] {
    let mask = format!("url(#{id})");
    let node = document.descendants().find(|node| node.attribute("mask") == Some(&mask)).unwrap();
    ["x", "width"].map(|name| number(&node, name))
}

#[test]
fn all_panels_share_the_time_axis() {
    let row = row(&["機", "器", "<eos>"], 25);
    let picture = drawn(&row, &recording(&row, &[5, 10]));
    let document = Document::parse(&picture).unwrap();
    let [left, width] = shaded(&document, "attention");
    assert_eq!(shaded(&document, "spectrogram"), [left, width]);
    let ticks: Vec<(f64, f64)> = children(&document, "times", "text")
        .iter()
        .filter_map(|node| Some((node.text()?.parse().ok()?, number(node, "x"))))
        .collect();
    assert!(ticks.len() > 4, "{ticks:?}");
    assert!(
        ticks.iter().all(|(second, x)| (x - left - width * second).abs() < 0.1),
        "25 positions are a second: {ticks:?}"
    );
    let position = width / 25.0;
    for (spans, most) in [(children(&document, "spans", "rect"), 2), (of_class(&document, "span"), 2)] {
        assert_eq!(spans.len(), most);
        for (span, frame) in spans.iter().zip([5.0, 10.0]) {
            assert!((number(span, "x") - left - frame * position).abs() < 0.1, "{span:?}");
            assert!((number(span, "width") - position).abs() < 0.1, "{span:?}");
        }
    }
    let tokens = children(&document, "tokens", "text");
    assert_eq!(tokens.iter().filter_map(Node::text).collect::<Vec<_>>(), ["機", "器"], "EOS has no time");
    assert!((number(&tokens[0], "x") - left - 5.5 * position).abs() < 0.1);
    let outputs = children(&document, "output", "text");
    assert_eq!(outputs.iter().filter_map(Node::text).collect::<Vec<_>>(), ["機", "器", "<eos>"]);
    assert_eq!(children(&document, "hertz", "text")[0].text(), Some("1 kHz"));
}

#[test]
fn the_area_of_a_posterior_is_as_high_as_its_probability() {
    let row = row(&["a", "b", "a"], 8);
    let picture = drawn(&row, &recording(&row, &[1, 3, 5]));
    let document = Document::parse(&picture).unwrap();
    let areas = of_class(&document, "posterior");
    assert_eq!(areas.len(), 2, "a token that occurs twice has one");
    let heights = |area: &Node| -> Vec<f64> {
        let line = area.attribute("d").unwrap().trim_start_matches('M').trim_end_matches('Z');
        let base: f64 = line.split(['V', ' ']).nth(1).unwrap().parse().unwrap();
        line.split('V')
            .skip(1)
            .map(|part| (base - part.split('H').next().unwrap().parse::<f64>().unwrap()).round())
            .collect()
    };
    // 0.1 is shared by six symbols; the last number is the way back to the base.
    assert_eq!(heights(&areas[0]), [2.0, 90.0, 2.0, 2.0, 2.0, 90.0, 2.0, 2.0, 0.0]);
    assert_eq!(heights(&areas[1]), [2.0, 2.0, 2.0, 90.0, 2.0, 2.0, 2.0, 2.0, 0.0]);
    assert_eq!(heights(&of_class(&document, "blank")[0]), [90.0, 2.0, 90.0, 2.0, 90.0, 2.0, 90.0, 90.0, 0.0]);
}

#[test]
fn a_trace_without_its_model_shows_only_the_attention() {
    let row = row(&["a", "<eos>"], 10);
    let picture = drawn(&row, &Recording::default());
    let document = Document::parse(&picture).unwrap();
    assert_eq!(picture.matches("data:image/png;base64,").count(), 1);
    assert!(of_class(&document, "posterior").is_empty() && of_class(&document, "span").is_empty());
    assert_eq!(children(&document, "output", "text").len(), 2);
}

#[test]
fn a_model_without_a_ctc_head_has_a_spectrogram() {
    let row = row(&["a", "<eos>"], 10);
    let picture = drawn(&row, &Recording { posteriors: None, ..recording(&row, &[3]) });
    assert!(picture.contains("url(#spectrogram)") && !picture.contains("CTC"));
}

#[test]
fn an_output_too_long_for_its_recording_has_no_alignment_but_a_note() {
    let row = row(&["a", "b", "c"], 2);
    let picture = drawn(&row, &recording(&row, &[0, 1]));
    assert!(picture.contains("too few positions for an alignment"), "{picture}");
    assert!(!picture.contains("class=\"span "));
}

#[test]
fn an_empty_output_has_posteriors_and_nothing_to_align() {
    let row = row(&["<eos>"], 5);
    let picture = drawn(&row, &recording(&row, &[]));
    let document = Document::parse(&picture).unwrap();
    assert!(!picture.contains("too few positions") && !picture.contains("outlines"), "{picture}");
    assert!(of_class(&document, "posterior").is_empty() && of_class(&document, "span").is_empty());
    assert_eq!(of_class(&document, "blank").len(), 1);
}

#[test]
fn labels_that_would_overlap_are_in_different_lanes() {
    let row = row(&["mountain", "river", "sea", "b"], 1000);
    let picture = drawn(&row, &recording(&row, &[500, 502, 504, 900]));
    let document = Document::parse(&picture).unwrap();
    let lanes: Vec<f64> =
        children(&document, "tokens", "text").iter().map(|node| number(node, "y")).collect();
    assert!(lanes[0] < lanes[1] && lanes[1] < lanes[2] && lanes[3] == lanes[0], "{lanes:?}");
}

#[test]
fn a_picture_is_small_and_readable_however_long_the_recording() {
    for (positions, tokens, least, most, bytes) in [
        (1, 1, 560.0, 800.0, 10_000),
        (8, 2, 560.0, 800.0, 10_000),
        (250, 45, 2000.0, 2300.0, 200_000),
        (1000, 200, 2400.0, 2700.0, 1_000_000),
    ] {
        let texts: Vec<String> = (0..tokens).map(|n| format!("{n}")).collect();
        let row = row(&texts.iter().map(String::as_str).collect::<Vec<_>>(), positions);
        let frames: Vec<usize> = (0..tokens).map(|n| n * positions / tokens).collect();
        let picture = drawn(&row, &recording(&row, &frames));
        let width = number(&Document::parse(&picture).unwrap().root_element(), "width");
        assert!((least..most).contains(&width), "{positions}: {width}");
        assert!(picture.len() < bytes, "{positions}: {}", picture.len());
    }
}

#[test]
fn the_heading_names_the_segment_of_the_recording() {
    let row = row(&["a"], 10);
    for (part, heading) in [
        ([None, None], ">a.wav<"),
        ([Some(1.5), None], ">a.wav, from 1.50 s<"),
        ([Some(1.5), Some(30.899_773_2)], ">a.wav, 1.50 to 30.90 s<"),
        ([None, Some(2.0)], ">a.wav, 0.00 to 2.00 s<"),
    ] {
        let picture = drawn(&row, &Recording { part, ..Recording::default() });
        assert!(picture.contains(heading), "{heading}: {picture}");
    }
}

#[test]
fn any_numbers_of_a_trace_are_drawn() {
    let mut row = row(&["<b>", "\u{0}", " "], 3);
    row.steps[0].attention = vec![f32::NAN, 7.0, -1.0];
    assert!(drawn(&row, &Recording::default()).contains("&lt;b&gt;"));
    row.steps.iter_mut().for_each(|step| step.attention.clear());
    row.source_tokens.clear();
    drawn(&row, &Recording::default());
}
