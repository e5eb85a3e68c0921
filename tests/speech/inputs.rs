//! The ways to name recordings: tables, Kaldi's folders, plain folders, segments of one recording, other sample rates.

use std::collections::BTreeMap;

use seqloom::checkpoint::model_file;
use serde_json::Value;
use tch::Tensor;

use super::{RATE, TRAIN, decode, outputs, samples, scene, table, trained, wav, words};
use crate::support::assert_same;
use crate::support::run::{Scene, objects};

/// The training words in the order of a folder.
fn sorted() -> Vec<String> {
    let mut words = words(TRAIN);
    words.sort();
    words
}

/// All words in one recording, and where each of them is, in seconds.
fn long(words: &[String]) -> (Vec<u8>, Vec<[String; 2]>) {
    let (mut all, mut parts) = (Vec::new(), Vec::new());
    let seconds = |samples: &Vec<f32>| format!("{:.3}", samples.len() as f64 / f64::from(RATE));
    for word in words {
        let start = seconds(&all);
        all.extend(samples(word, RATE));
        parts.push([start, seconds(&all)]);
    }
    (wav(&all, RATE), parts)
}

/// A table of the segments of `data/long.wav`.
fn parts_table(words: &[String], parts: &[[String; 2]]) -> String {
    let rows = words.iter().zip(parts).map(|(word, [start, end])| format!("long.wav,{start},{end},{word}\n"));
    format!("source,start,end,target\n{}", rows.collect::<String>())
}

/// Trains a few steps on a set; returns its fingerprint and the weights.
fn train(scene: &Scene, out: &str, set: &str) -> (String, BTreeMap<String, Tensor>) {
    let set = format!("data.train={set}");
    scene.train(&["--out", out, "--set", "training.steps=4", "--set", &set]).succeeded();
    let checkpoint = scene.checkpoint(out, "latest");
    let state: Value = serde_json::from_str(&scene.text(checkpoint.join("state.json"))).unwrap();
    let (_, weights) = model_file::read(&scene.path(checkpoint.join("model.safetensors"))).unwrap();
    (state["data"].as_str().unwrap().to_owned(), weights.into_iter().collect())
}

#[track_caller]
fn assert_same_weights(one: &BTreeMap<String, Tensor>, other: &BTreeMap<String, Tensor>) {
    assert!(!one.is_empty() && one.keys().eq(other.keys()));
    one.iter().for_each(|(name, weight)| assert_same(weight, &other[name], name));
}

#[test]
fn the_same_recordings_in_a_table_and_in_folders_train_the_same_model() {
    let (scene, words) = (scene(), sorted());
    scene.write("data/sorted.csv", table(&words));
    let list = |value: &dyn Fn(&str) -> String| -> String {
        words.iter().zip(0..).map(|(word, n)| format!("u{n:02} {}\n", value(word))).collect()
    };
    scene.write("kaldi/wav.scp", list(&|word| format!("data/clips/{word}.wav")));
    scene.write("kaldi/text", list(&|word| word.to_owned()));
    for word in &words {
        scene.write(format!("plain/{word}.wav"), scene.read(format!("data/clips/{word}.wav")));
        scene.write(format!("plain/{word}.txt"), format!("{word}\n"));
    }
    let (fingerprint, weights) = train(&scene, "table", "data/sorted.csv");
    for folder in ["kaldi", "plain"] {
        let (found, its_weights) = train(&scene, &format!("run_{folder}"), folder);
        assert_eq!(found, fingerprint, "{folder}");
        assert_same_weights(&weights, &its_weights);
    }
}

#[test]
fn segments_of_a_recording_train_the_same_model_as_separate_files() {
    let (scene, words) = (scene(), words(TRAIN));
    let (bytes, parts) = long(&words);
    scene.write("data/long.wav", bytes);
    scene.write("data/parts.csv", parts_table(&words, &parts));
    let ids = || (0..).map(|n| format!("u{n:02}"));
    let segments = ids().zip(&parts).map(|(id, [start, end])| format!("{id} long {start} {end}\n"));
    scene.write("kaldi/segments", segments.collect::<String>());
    scene.write("kaldi/wav.scp", "long data/long.wav\n");
    scene.write(
        "kaldi/text",
        ids().zip(&words).map(|(id, word)| format!("{id} {word}\n")).collect::<String>(),
    );
    let (_, weights) = train(&scene, "clips", "data/train.csv");
    let (of_columns, their_weights) = train(&scene, "columns", "data/parts.csv");
    let (of_segments, segment_weights) = train(&scene, "segments", "kaldi");
    assert_same_weights(&weights, &their_weights);
    assert_same_weights(&weights, &segment_weights);
    assert_eq!(of_columns, of_segments);
}

/// Also where the output has no columns to copy from the input.
#[test]
fn segments_of_a_recording_are_read_like_separate_files_by_every_command() {
    let (scene, words) = (trained(), words(12));
    let (bytes, parts) = long(&words);
    scene.write("data/long.wav", bytes);
    scene.write("data/parts.csv", parts_table(&words, &parts));
    scene.write("data/clips.csv", table(&words));
    let of_clips = outputs(&decode(&scene, "data/clips.csv", &[]));
    assert_eq!(outputs(&decode(&scene, "data/parts.csv", &[])), of_clips);
    let lines = |input: &str| scene.decode(&["--input", input, "--format", "text"], "").succeeded().stdout;
    assert_eq!(lines("data/parts.csv").lines().collect::<Vec<_>>(), of_clips);
    for format in ["text", "jsonl"] {
        let scores = |input: &str| {
            let scored =
                scene.seqloom(&["score", "runs/copy", "--input", input, "--format", format]).succeeded();
            match format {
                "text" => scored.stdout.lines().map(str::to_owned).collect::<Vec<_>>(),
                _ => objects(&scored.stdout).iter().map(|row| row["score"].to_string()).collect(),
            }
        };
        assert_eq!(scores("data/parts.csv"), scores("data/clips.csv"), "{format}");
    }
    let rows = |input: &str| scene.verify(&["--input", input], "").succeeded().stdout;
    assert_eq!(rows("data/parts.csv"), rows("data/clips.csv"));
    let picture = |row: &str| {
        let arguments =
            ["attention", "runs/copy", "--input", "data/parts.csv", "--row", row, "--output", "a.svg"];
        scene.seqloom(&arguments).succeeded();
        scene.text("a.svg")
    };
    assert_ne!(picture("1"), picture("4"));
}

#[test]
fn an_invalid_start_or_end_is_named_with_its_row() {
    let scene = trained();
    let word = &words(1)[0];
    for (start, end, message) in [
        ("x", "1", "`start` must be a number of seconds from 0, but it is `x`"),
        ("0", "-1", "`end` must be a number of seconds from 0, but it is `-1`"),
        ("0.1", "0.1", "a segment must end after its start"),
        ("0", "90", "the segment must lie in the recording of "),
        ("90", "", "the segment must lie in the recording of "),
    ] {
        scene.write(
            "data/in.csv",
            format!("source,start,end,target\nclips/{word}.wav,{start},{end},{word}\n"),
        );
        for arguments in [
            &["decode", "runs/copy", "--input", "data/in.csv"][..],
            &["train", "copy.toml", "--out", "other", "--set", "data.train=data/in.csv"],
        ] {
            scene.seqloom(arguments).refused_naming(2, &["error: data/in.csv:2: ", message]);
        }
    }
}

#[test]
fn recordings_are_decoded_from_every_format_of_input() {
    let (scene, words) = (trained(), words(9));
    scene.write("data/in.csv", table(&words));
    scene.write("data/in.tsv", table(&words).replace(',', "\t"));
    let named =
        |folder: &str| -> String { words.iter().map(|word| format!("{folder}clips/{word}.wav\n")).collect() };
    scene.write("data/in.txt", named(""));
    let object = |word: &String| {
        format!("{{\"source\": \"clips/{word}.wav\", \"speaker\": 7, \"target\": \"{word}\"}}\n")
    };
    scene.write("data/in.jsonl", words.iter().map(object).collect::<String>());
    let expected = outputs(&decode(&scene, "data/in.csv", &[]));
    for input in ["data/in.tsv", "data/in.txt", "data/in.jsonl"] {
        assert_eq!(outputs(&decode(&scene, input, &[])), expected, "{input}");
    }
    // From standard input, a path starts at the folder of the call.
    let finished = scene.decode(&[], &named("data/")).succeeded();
    assert_eq!(finished.stdout.lines().collect::<Vec<_>>(), expected);
    let carried = objects(&decode(&scene, "data/in.jsonl", &[]).stdout);
    assert!(carried.iter().all(|row| row["speaker"] == 7));
}

/// `seqloom distill`: a student's config names the table where it is.
#[test]
fn recordings_become_pairs_whose_paths_hold_from_the_new_folder() {
    let (scene, words) = (trained(), words(12));
    scene.write("elsewhere/note.txt", "");
    let there = scene.path("data/clips").canonicalize().unwrap().display().to_string();
    let train = |table: &str, out: &str| {
        let set = format!("data.train={table}");
        scene.train(&["--out", out, "--set", "training.steps=2", "--set", &set]).succeeded().stderr
    };
    for (output, start, out) in
        [("data/pairs.csv", "clips", "near"), ("elsewhere/pairs.csv", there.as_str(), "far")]
    {
        scene.seqloom(&["distill", "runs/copy", "--output", output]).succeeded();
        let table = scene.text(output);
        assert!(table.starts_with(&format!("source,start,end,target\n{start}/")), "{table}");
        let count = table.lines().count() - 1;
        assert!(train(output, out).contains(&format!("{count} training pairs")));
    }
    // Parts of a recording stay parts.
    let (bytes, parts) = long(&words);
    scene.write("data/long.wav", bytes);
    scene.write("data/parts.csv", parts_table(&words, &parts));
    let arguments = ["distill", "runs/copy", "--input", "data/parts.csv", "--output", "data/more.jsonl"];
    scene.seqloom(&arguments).succeeded();
    let pairs = objects(&scene.text("data/more.jsonl"));
    let decoded = objects(&decode(&scene, "data/parts.csv", &["--beam", "5"]).stdout);
    let usable = decoded.iter().filter(|row| row["finished"] == true && row["output"] != "");
    let expected: Vec<[String; 2]> =
        usable.map(|row| ["start", "output"].map(|key| row[key].as_str().unwrap().to_owned())).collect();
    for (pair, [start, output]) in pairs.iter().zip(&expected) {
        assert_eq!(
            (pair["source"].as_str(), pair["target"].as_str()),
            (Some("long.wav"), Some(output.as_str()))
        );
        assert_eq!(pair["start"].as_f64(), start.parse().ok());
    }
    assert!(!pairs.is_empty() && train("data/more.jsonl", "parts").contains(" training pairs"));
}

#[test]
fn a_recording_of_another_sample_rate_is_transcribed_alike() {
    let (scene, words) = (trained(), words(20));
    for word in &words {
        scene.write(format!("wide/clips/{word}.wav"), wav(&samples(word, 2 * RATE), 2 * RATE));
    }
    scene.write("data/in.csv", table(&words));
    scene.write("wide/in.csv", table(&words));
    // Resampling removes the upper band with half of the noise; this affects a decoder this small, but not CTC.
    let ctc = ["--set", "decoding.method=ctc"];
    let (narrow, wide) = (decode(&scene, "data/in.csv", &ctc), decode(&scene, "wide/in.csv", &ctc));
    let same = outputs(&narrow).iter().zip(outputs(&wide)).filter(|(one, other)| *one == other).count();
    assert!(same >= 18, "{same} of 20 are the same");

    let mixed: String = words[17..].iter().map(|word| format!("../wide/clips/{word}.wav,{word}\n")).collect();
    scene.write("data/mixed.csv", table(&words) + &mixed);
    let arguments = ["--out", "mixed", "--set", "training.steps=1", "--set", "data.train=data/mixed.csv"];
    let finished = scene.train(&arguments).succeeded();
    assert!(
        finished.stderr.contains("note: recordings resampled from 16000 Hz to 8000: 3\n"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("from 8000"), "{}", finished.stderr);
}
