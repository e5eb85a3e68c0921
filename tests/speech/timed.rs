//! Outputs with times, recordings on standard input, and recordings typed at a terminal.

use std::io::Write;

use super::{RATE, decode, outputs, samples, table, trained, wav, words};
use crate::support::run::{Finished, Scene, binary, listened_to, objects};

/// The fields of each line of a ctm.
fn fields(ctm: &str) -> Vec<Vec<String>> {
    ctm.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// The times of a row of JSONL, moved by an offset, as `start duration`.
fn times(row: &serde_json::Value, offset: f64) -> Vec<[String; 2]> {
    let pairs = row["times"].as_array().unwrap().iter();
    let seconds = pairs.map(|pair| [0, 1].map(|side| pair[side].as_f64().unwrap() + offset));
    seconds.map(|[start, end]| [format!("{start:.3}"), format!("{:.3}", end - start)]).collect()
}

#[test]
fn a_ctm_has_a_line_for_each_character_with_its_times_and_its_probability() {
    let (scene, words) = (trained(), words(8));
    scene.write("data/in.csv", table(&words));
    let rows = objects(&decode(&scene, "data/in.csv", &["--times"]).stdout);
    scene.decode(&["--input", "data/in.csv", "--output", "out.ctm"], "").succeeded();
    let lines = fields(&scene.text("out.ctm"));
    let expected: Vec<Vec<String>> = rows
        .iter()
        .zip(&words)
        .flat_map(|(row, word)| {
            let characters = row["output"].as_str().unwrap().chars().map(String::from).collect::<Vec<_>>();
            times(row, 0.0).into_iter().zip(characters).map(move |([start, length], character)| {
                vec![word.clone(), "1".to_owned(), start, length, character]
            })
        })
        .collect();
    assert!(lines.len() >= words.len());
    assert_eq!(lines.iter().map(|line| line[..5].to_vec()).collect::<Vec<_>>(), expected);
    // The decoder's probabilities multiply to that of the output, but for EOS.
    let mut left = lines.iter().map(|line| line[5].parse::<f64>().unwrap());
    for row in &rows {
        let length = row["output"].as_str().unwrap().chars().count();
        let p: f64 = left.by_ref().take(length).product();
        let whole = row["score"].as_f64().unwrap().exp();
        assert!(p <= 1.0 && whole <= p + 1e-3, "{p} of {whole}");
    }
}

#[test]
fn a_ctm_has_the_ids_of_kaldi_and_the_times_of_the_recording() {
    let (scene, words) = (trained(), words(4));
    let mut all = Vec::new();
    let mut segments = String::new();
    for (word, n) in words.iter().zip(0..) {
        let start = all.len() as f64 / f64::from(RATE);
        all.extend(samples(word, RATE));
        segments += &format!("utt{n} talk {start} {}\n", all.len() as f64 / f64::from(RATE));
    }
    scene.write("data/long.wav", wav(&all, RATE));
    scene.write("whole/wav.scp", "utt7 data/long.wav\n");
    scene.write("parts/wav.scp", "talk data/long.wav\n");
    scene.write("parts/segments", segments);
    let ctm =
        |input: &str| fields(&scene.decode(&["--input", input, "--format", "ctm"], "").succeeded().stdout);
    assert!(ctm("whole").iter().all(|line| line[0] == "utt7"));
    let parts = ctm("parts");
    assert!(parts.iter().all(|line| line[0] == "talk"));
    let rows = objects(&decode(&scene, "parts", &["--times"]).stdout);
    let expected: Vec<[String; 2]> =
        rows.iter().flat_map(|row| times(row, row["start"].as_f64().unwrap())).collect();
    let found: Vec<[String; 2]> = parts.iter().map(|line| [line[2].clone(), line[3].clone()]).collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        let apart = found.parse::<f64>().unwrap() - expected.parse::<f64>().unwrap();
        assert!(apart.abs() < 0.0015, "{found} and {expected}");
    }
}

#[test]
fn recordings_with_the_same_id_in_a_ctm_or_subtitles_are_named() {
    let (scene, words) = (trained(), words(3));
    let clip = |word: &String| scene.read(format!("data/clips/{word}.wav"));
    scene.write(format!("data/other/{}.wav", words[0]), clip(&words[0]));
    scene.write("data/clips/a b.wav", clip(&words[1]));
    let [one, two] = [&words[0], &words[1]];
    let table = |rows: &[&str]| {
        scene.write("data/in.csv", format!("source\n{}\n", rows.join("\n")));
    };
    let refused = |format: &str, message: &str| {
        let arguments = ["--input", "data/in.csv", "--output", "out", "--format", format];
        scene.decode(&arguments, "").refused_naming(2, &["error: data/in.csv:3: ", message]);
        let before = scene.text("out");
        let skipping = [&arguments[..], &["--on-error", "skip"]].concat();
        let skipped = scene.decode(&skipping, "").succeeded();
        assert!(skipped.stderr.contains("note: skipped rows: 1 "), "{}", skipped.stderr);
        assert_eq!(scene.text("out"), before);
        assert!(!before.is_empty());
    };
    let first = format!("clips/{one}.wav");
    table(&[&first, &format!("other/{one}.wav")]);
    refused("ctm", "an id of a ctm must be that of one recording, but clips/");
    table(&[&first, &first]);
    refused("ctm", "a ctm must have each part of a recording once");
    table(&[&first, "clips/a b.wav"]);
    refused("ctm", "an id in a ctm must not be empty or contain white space, but it is `a b`");
    table(&[&first, &format!("clips/{two}.wav")]);
    refused("srt", "subtitles must be of one recording, clips/");
}

#[test]
fn subtitles_have_a_cue_for_each_segment_of_a_long_recording() {
    let scene = trained();
    let all: Vec<f32> = words(62).iter().flat_map(|word| samples(word, RATE)).collect();
    scene.write("data/long.wav", wav(&[&all[..], &all].concat(), RATE));
    let more = ["--split", "--set", "decoding.max_length=400", "--set", "decoding.method=ctc"];
    let rows = objects(&decode(&scene, "data/long.wav", &[&["--times"], &more[..]].concat()).stdout);
    let arguments = [&["--input", "data/long.wav", "--output", "out.srt"], &more[..]].concat();
    scene.decode(&arguments, "").succeeded();
    let cues = scene.text("out.srt");
    let cues: Vec<&str> = cues.split_terminator("\n\n").collect();
    assert!(rows.len() > 1);
    assert_eq!(cues.len(), rows.len());
    let clock = |seconds: f64| {
        let all = (seconds * 1000.0).round() as i64;
        format!("00:{:02}:{:02},{:03}", all / 60_000, all / 1000 % 60, all % 1000)
    };
    for ((cue, row), n) in cues.iter().zip(&rows).zip(1..) {
        let (start, times) = (row["start"].as_f64().unwrap(), row["times"].as_array().unwrap());
        let at = |pair: &serde_json::Value, side: usize| clock(start + pair[side].as_f64().unwrap());
        let span = format!("{} --> {}", at(&times[0], 0), at(times.last().unwrap(), 1));
        assert_eq!(*cue, format!("{n}\n{span}\n{}", row["output"].as_str().unwrap()));
    }
}

#[test]
fn rows_without_an_output_have_neither_a_line_nor_a_cue() {
    let (scene, words) = (trained(), words(3));
    scene.write("data/bad.wav", "hello");
    let good = |word: &String| format!("clips/{word}.wav\n");
    scene.write("data/bad.csv", format!("source\nbad.wav\n{}", good(&words[0])));
    scene.write("data/good.csv", format!("source\n{}", good(&words[0])));
    for format in ["ctm", "srt"] {
        let decode = |input: &str| {
            scene.decode(&["--input", input, "--format", format, "--on-error", "skip"], "").succeeded()
        };
        let bad = decode("data/bad.csv");
        assert_eq!(bad.stdout, decode("data/good.csv").stdout);
        assert!(bad.stderr.contains("note: skipped rows: 1 "), "{}", bad.stderr);
    }
    // More tokens than positions: `<eos>` is not allowed before.
    let long = ["--set", "decoding.min_length=30", "--set", "decoding.max_length=30"];
    let left_out = scene.decode(&[&["--input", "data/good.csv", "--format", "ctm"], &long[..]].concat(), "");
    assert_eq!(left_out.stdout, "");
    assert!(left_out.stderr.contains("note: outputs without times: 1 (left out"), "{}", left_out.stderr);
}

#[test]
fn options_that_make_no_sense_with_times_are_refused() {
    let scene = trained();
    let cases: [(&[&str], &str); 5] = [
        (&["--tokens"], "output cannot contain tokens, but --tokens is given"),
        (&["--times"], "output always has times, but --times is given\nhint: leave out --times"),
        (&["--beam", "2", "--n-best", "2"], "output has one output per row, but `decoding.n_best` is 2"),
        (&["--resume"], "--resume counts the rows of an output"),
        (&["--sample-rate", "8000"], "--sample-rate is that of samples without a header"),
    ];
    for format in ["srt", "ctm"] {
        for (more, message) in cases {
            let output = format!("out.{format}");
            let arguments = [&["--input", "data/valid.csv", "--output", &output], more].concat();
            scene.decode(&arguments, "").refused_naming(2, &[message]);
        }
    }
    let texts = Scene::trained();
    texts
        .decode(&["--format", "srt"], "ab\n")
        .refused_naming(2, &["times need recordings", "choose another --format than srt"]);
    texts
        .decode(&["--input-format", "raw"], "ab\n")
        .refused_naming(2, &["--input-format raw and wav are of recordings"]);
}

/// `seqloom decode` with bytes on standard input.
fn fed(scene: &Scene, more: &[&str], bytes: &[u8]) -> Finished {
    scene.fed(&[&["decode", "runs/copy", "--input", "-"], more].concat(), bytes)
}

#[test]
fn samples_and_recordings_on_standard_input_are_decoded_like_their_files() {
    let scene = trained();
    for word in &words(6) {
        let bytes = scene.read(format!("data/clips/{word}.wav"));
        let expected = outputs(&decode(&scene, &format!("data/clips/{word}.wav"), &[]));
        // Also from the folder of the call.
        scene.write("here.wav", &bytes);
        assert_eq!(outputs(&decode(&scene, "here.wav", &[])), expected);
        let lines =
            |finished: Finished| finished.succeeded().stdout.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(fed(&scene, &["--input-format", "wav"], &bytes)), expected);
        assert_eq!(lines(fed(&scene, &["--input-format", "raw"], &bytes[44..])), expected);
        let rate = ["--input-format", "raw", "--sample-rate", "8000"];
        assert_eq!(lines(fed(&scene, &rate, &bytes[44..])), expected);
        scene.write("in.raw", &bytes[44..]);
        let file = ["--input", "in.raw", "--input-format", "raw"];
        assert_eq!(lines(scene.decode(&file, "")), expected);
        let streamed = [&bytes[..40], &u32::MAX.to_le_bytes()[..], &bytes[44..]].concat();
        assert_eq!(lines(fed(&scene, &["--input-format", "flac"], &streamed)), expected);
    }
    let all: Vec<f32> = words(62).iter().flat_map(|word| samples(word, RATE)).collect();
    let long = wav(&[&all[..], &all].concat(), RATE);
    scene.write("data/long.wav", &long);
    let split = ["--split", "--format", "csv", "--set", "decoding.max_length=12"];
    let from_file = scene.decode(&[&["--input", "data/long.wav"], &split[..]].concat(), "").succeeded();
    let piped = fed(&scene, &[&["--input-format", "raw"], &split[..]].concat(), &long[44..]).succeeded();
    assert_eq!(piped.stdout.replace("stdin,-,", "long,long.wav,"), from_file.stdout);
    assert!(piped.stdout.lines().count() > 2);
    let too_long = ["<stdin>:1: a recording may last 40 s", "`decode --split` cuts it at silences"];
    fed(&scene, &["--input-format", "raw"], &long[44..]).refused_naming(2, &too_long);
}

#[test]
fn errors_of_standard_input_are_named() {
    let scene = trained();
    let word = scene.read(format!("data/clips/{}.wav", words(1)[0]));
    let cases: [(&str, &[u8], &str); 6] = [
        ("raw", &[1, 2, 3], "<stdin>:1: raw samples must have 2 bytes each, but the last has 1"),
        ("raw", &[], "<stdin>:1: a recording must have samples, but it has none"),
        ("raw", &[0; 100], "<stdin>:1: a recording must have at least 200 samples"),
        ("wav", &[], "<stdin>:1: a recording must have a header, but the file is empty"),
        ("wav", b"hello", "<stdin>:1: a recording must be a WAV or FLAC file"),
        ("wav", &word[..60], "<stdin>:1: the data must have"),
    ];
    for (format, bytes, message) in cases {
        fed(&scene, &["--input-format", format], bytes).refused_naming(2, &[message]);
        let skipped = fed(&scene, &["--input-format", format, "--on-error", "skip"], bytes).succeeded();
        assert_eq!(skipped.stdout, "\n");
        assert!(skipped.stderr.contains("note: skipped rows: 1 "), "{}", skipped.stderr);
    }
    let rate = ["--input-format", "raw", "--sample-rate", "0"];
    fed(&scene, &rate, &word)
        .refused_naming(2, &["the sample rate must be from 4000 to 192000 Hz, but it is 0"]);
}

#[test]
fn the_path_of_a_recording_typed_at_a_terminal_is_transcribed_token_by_token() {
    let scene = trained();
    let word = &words(1)[0];
    let path = format!("data/clips/{word}.wav");
    for method in ["attention", "joint"] {
        let method = format!("decoding.method={method}");
        let expected = &outputs(&decode(&scene, &path, &["--set", &method]))[0];
        let arguments = ["interactive", "runs/copy", "--prefix", "", "--set", &method];
        let mut child =
            listened_to(binary(&scene.path("")).args(arguments).env("SEQLOOM_TEST_TERMINAL", "1"));
        let lines = format!("\n no/such.wav\n  {path} \n:q\n");
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let stdout = Finished::of(child).succeeded().stdout;
        assert!(stdout.starts_with("Type the path of a recording."), "{stdout}");
        assert!(stdout.contains("> note: the source is empty, and so is its output\n"), "{stdout}");
        assert!(stdout.contains("> error: cannot read no/such.wav: no such file or directory"), "{stdout}");
        assert!(stdout.contains(&format!("\n{expected}\nscore ")), "no {expected} in {stdout}");
        for length in 1..=expected.len() {
            let grown = format!("  {:<32} ", &expected[..length]);
            assert!(stdout.contains(&grown), "no {grown:?} in {stdout}");
        }
    }
}
