//! `seqloom attention` for recordings.

use roxmltree::Document;

use super::{decode, table, trained, words};
use crate::support::run::{Scene, objects};

/// The picture that these arguments draw.
#[track_caller]
fn drawn(scene: &Scene, arguments: &[&str]) -> String {
    scene.seqloom(&[&["attention"], arguments].concat()).succeeded().stdout
}

/// The texts of a group, in order.
fn texts(picture: &str, class: &str) -> Vec<String> {
    let document = Document::parse(picture).unwrap();
    let is = |names: &str| names.split(' ').any(|name| name == class);
    let group = document.descendants().find(|node| node.attribute("class").is_some_and(is)).unwrap();
    let texts = group.children().filter(|node| node.tag_name().name() == "text");
    texts.map(|node| node.text().unwrap().to_owned()).collect()
}

/// Start and end of each outlined span, in seconds.
fn spans(picture: &str) -> Vec<[f64; 2]> {
    let document = Document::parse(picture).unwrap();
    let number = |node: &roxmltree::Node, name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
    let times = document.descendants().find(|node| node.attribute("class") == Some("faint times")).unwrap();
    let ticks: Vec<(f64, f64)> =
        times.children().filter_map(|node| Some((node.text()?.parse().ok()?, number(&node, "x")))).collect();
    let ((zero, left), (last, right)) = (ticks[0], ticks[ticks.len() - 1]);
    let seconds = |x: f64| zero + (x - left) * (last - zero) / (right - left);
    let group = document.descendants().find(|node| node.attribute("class") == Some("spans")).unwrap();
    let span = |node: roxmltree::Node| {
        let x = number(&node, "x");
        [x, x + number(&node, "width")].map(seconds)
    };
    group.children().filter(|node| node.has_attribute("width")).map(span).collect()
}

/// Each spectrogram on the page is that of its own row.
#[test]
fn an_experiment_has_pictures_of_recordings() {
    let scene = trained();
    let few = ["training.steps=10", "training.validate_every=10", "training.checkpoint_every=10"];
    let settings = few.iter().flat_map(|setting| ["--set", setting]);
    let asked = ["experiment", "copy.toml", "--seeds", "1", "--out", "out"].into_iter().chain(settings);
    scene.seqloom(&asked.collect::<Vec<_>>()).succeeded();
    let (page, drawn) = (scene.text("out/index.html"), scene.files("out/attention").len());
    assert!((2..=4).contains(&drawn), "{drawn}");
    for number in 1..=drawn {
        for part in [
            format!("<mask id=\"picture{number}-spectrogram\">"),
            format!("mask=\"url(#picture{number}-spectrogram)\""),
        ] {
            assert_eq!(page.matches(&part).count(), 1, "{part}");
        }
    }
}

#[test]
fn a_recording_is_drawn_with_its_output_at_the_times_of_decode() {
    let scene = trained();
    let words = words(4);
    scene.write("data/in.csv", table(&words));
    let rows = objects(&decode(&scene, "data/in.csv", &["--times"]).stdout);
    for (number, row) in (1..).zip(&rows) {
        let picture = drawn(&scene, &["runs/copy", "--input", "data/in.csv", "--row", &format!("{number}")]);
        let tokens: Vec<String> = row["output"].as_str().unwrap().chars().map(String::from).collect();
        assert_eq!(texts(&picture, "tokens"), tokens);
        assert_eq!(texts(&picture, "output")[..tokens.len()], tokens);
        // At 8 kHz up to 4 kHz.
        assert_eq!(texts(&picture, "hertz"), ["0.5 kHz", "1 kHz", "2 kHz"]);
        assert!(picture.contains("url(#spectrogram)") && picture.contains("CTC posteriors"));
        let times = row["times"].as_array().unwrap();
        let found = spans(&picture);
        assert_eq!((found.len(), times.len()), (tokens.len(), tokens.len()));
        for (span, time) in found.iter().zip(times) {
            for (found, second) in span.iter().zip(time.as_array().unwrap()) {
                assert!((found - second.as_f64().unwrap()).abs() < 0.002, "{span:?} {time}");
            }
        }
    }
}

#[test]
fn a_recording_is_drawn_from_every_input_of_decode() {
    let scene = trained();
    let words = words(3);
    scene.write("data/in.csv", table(&words));
    for word in &words {
        scene.write(format!("folder/{word}.wav"), super::clip(word));
    }
    let mut names = words.clone();
    names.sort();
    let place = |word: &String| 1 + names.iter().position(|name| name == word).unwrap();
    // The path is part of the heading and of the name.
    let same = |arguments: &[&str], path: &str| drawn(&scene, arguments).replace(path, "PATH");
    for (number, word) in (1..).zip(&words) {
        let clip = format!("clips/{word}.wav");
        let row = format!("{number}");
        let by_row = same(&["runs/copy", "--input", "data/in.csv", "--row", &row], &clip);
        let path = format!("data/{clip}");
        assert_eq!(same(&["runs/copy", "--text", &path], &path), by_row);
        let name = format!("{word}.wav");
        assert_eq!(same(&["runs/copy", "--input", &path], &name), by_row);
        let in_folder = format!("{}", place(word));
        assert_eq!(same(&["runs/copy", "--input", "folder", "--row", &in_folder], &name), by_row);
    }
}

#[test]
fn a_segment_of_a_recording_is_drawn_over_its_own_seconds() {
    let scene = trained();
    let word = words(20).into_iter().find(|word| word.len() == 4).unwrap();
    scene.write(
        "data/in.csv",
        format!("source,target,start,end\nclips/{word}.wav,{word},,\nclips/{word}.wav,{word},0.16,0.5\n"),
    );
    let last = |row: &str| {
        let picture = drawn(&scene, &["runs/copy", "--input", "data/in.csv", "--row", row]);
        let ticks = texts(&picture, "times").iter().filter_map(|tick| tick.parse().ok()).fold(0.0, f64::max);
        (ticks, picture.contains(", 0.16 to 0.50 s"))
    };
    let ((whole, _), (part, named)) = (last("1"), last("2"));
    assert!(whole > 0.5 && part <= 0.36 && named, "{whole} {part}");
}

#[test]
fn a_trace_of_a_recording_is_drawn_without_spectrogram_and_posteriors() {
    let scene = trained();
    let words = words(2);
    scene.write("data/in.csv", table(&words));
    decode(&scene, "data/in.csv", &["--trace", "t.jsonl"]);
    let traces = objects(&scene.text("t.jsonl"));
    assert_eq!(traces[1]["seconds_per_position"].as_f64(), Some(0.04));
    let by_model = drawn(&scene, &["runs/copy", "--input", "data/in.csv", "--row", "2"]);
    let by_trace = drawn(&scene, &["--trace", "t.jsonl", "--row", "2"]);
    assert_eq!(texts(&by_trace, "output"), texts(&by_model, "output"));
    assert!(!by_trace.contains("spectrogram") && !by_trace.contains("CTC"));
    for (wrong, message) in
        [("0", "but it is 0"), ("-0.04", "but it is -0.04"), ("1e300", "from 0.001 to 100")]
    {
        let changed = scene
            .text("t.jsonl")
            .replace("\"seconds_per_position\":0.04", &format!("\"seconds_per_position\":{wrong}"));
        scene.write("wrong.jsonl", changed);
        scene
            .seqloom(&["attention", "--trace", "wrong.jsonl"])
            .refused_naming(2, &["`seconds_per_position`", message]);
    }
}
