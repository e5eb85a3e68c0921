//! Speech as a user runs it: recordings made here, whose letters are tones, become words.

mod bad_input;
mod inputs;
mod pictures;
mod resume;
mod timed;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::OnceLock;

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::support::run::{Finished, Scene, objects};

/// `copy.toml` of a scene with recordings.
const EXPERIMENT: &str = r#"name = "copy"
[data]
train = "train.csv"
valid = "valid.csv"
[data.source.audio.augment]
frequency_masks = 0
time_masks = 0
speeds = [1.0]
[model.transformer]
width = 32
heads = 2
feed_forward = 64
encoder = "conformer"
convolution_kernel = 7
front_channels = 8
encoder_layers = 1
decoder_layers = 1
dropout = 0.0
[training]
steps = 150
tokens_per_batch = 256
log_every = 50
validate_every = 75
checkpoint_every = 75
[training.adamw]
learning_rate = 1e-2
[training.inverse_sqrt]
warmup = 20
[runtime]
device = "cpu"
threads = 1
"#;

/// Samples in a second.
const RATE: u32 = 8000;

/// The tone of each letter, in Hz.
const TONES: [(char, f32); 4] = [('a', 500.0), ('b', 950.0), ('c', 1700.0), ('d', 2900.0)];

/// Seconds of a tone, and of the silence before it and after the last.
const TONE: f32 = 0.12;
const GAP: f32 = 0.04;

/// Recordings of the training set and of the validation set.
const TRAIN: usize = 60;
const VALID: usize = 10;

/// All methods of decoding.
const METHODS: [&str; 4] = ["attention", "ctc", "joint", "rescore"];

/// `count` different words of 1 to 4 letters, the same ones on every call.
fn words(count: usize) -> Vec<String> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % 4
    };
    let mut words: Vec<String> = Vec::new();
    while words.len() < count {
        let length = 1 + next();
        let word: String = (0..length).map(|_| TONES[next()].0).collect();
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// A word as it sounds, with a noise that is the same on every call: full scale is ±1.
fn samples(word: &str, rate: u32) -> Vec<f32> {
    let length = |seconds: f32| (seconds * rate as f32) as usize;
    let mut samples = vec![0.0; length(GAP)];
    for letter in word.chars() {
        let (_, tone) = TONES.iter().find(|(known, _)| *known == letter).unwrap();
        let turn = std::f32::consts::TAU * tone / rate as f32;
        samples.extend((0..length(TONE)).map(|n| 0.3 * (turn * n as f32).sin()));
        samples.extend(vec![0.0; length(GAP)]);
    }
    let mut state = 1u32;
    for sample in &mut samples {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *sample += 0.01 * (state >> 8) as f32 / (1 << 23) as f32 - 0.01;
    }
    samples
}

/// A WAV file of 16 bits.
fn wav(samples: &[f32], sample_rate: u32) -> Vec<u8> {
    let spec = WavSpec { channels: 1, sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample((sample * 32_767.0) as i16).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// The recording of a word.
fn clip(word: &str) -> Vec<u8> {
    wav(&samples(word, RATE), RATE)
}

/// A table of recordings, whose paths start at the table.
fn table(words: &[String]) -> String {
    let rows: String = words.iter().map(|word| format!("clips/{word}.wav,{word}\n")).collect();
    format!("source,target\n{rows}")
}

/// `data/train.csv` and `data/valid.csv`, their recordings in `data/clips`, and an experiment in `copy.toml`.
fn scene() -> Scene {
    let scene = Scene::new(1, 1);
    scene.write(
        "copy.toml",
        EXPERIMENT
            .replace("\"train.csv\"", "\"data/train.csv\"")
            .replace("\"valid.csv\"", "\"data/valid.csv\""),
    );
    let words = words(TRAIN + VALID);
    words.iter().for_each(|word| scene.write(format!("data/clips/{word}.wav"), clip(word)));
    scene.write("data/train.csv", table(&words[..TRAIN]));
    scene.write("data/valid.csv", table(&words[TRAIN..]));
    scene
}

/// With the finished run `runs/copy`. It is trained once for all tests.
fn trained() -> Scene {
    static RUN: OnceLock<BTreeMap<PathBuf, Vec<u8>>> = OnceLock::new();
    let files = RUN.get_or_init(|| {
        let scene = scene();
        scene.train(&[]).succeeded();
        scene.files("runs")
    });
    let scene = scene();
    files.iter().for_each(|(path, bytes)| scene.write(path, bytes));
    scene
}

/// Decodes an input to JSONL; `more` are further arguments.
fn decode(scene: &Scene, input: &str, more: &[&str]) -> Finished {
    scene.decode(&[&["--input", input, "--format", "jsonl"], more].concat(), "").succeeded()
}

/// The texts of JSONL outputs.
fn outputs(finished: &Finished) -> Vec<String> {
    objects(&finished.stdout).iter().map(|row| row["output"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_small_network_learns_to_transcribe_with_every_method() {
    let scene = trained();
    for method in METHODS {
        let setting = format!("decoding.method={method}");
        let found = outputs(&decode(&scene, "data/train.csv", &["--beam", "3", "--set", &setting]));
        let right = found.iter().zip(words(TRAIN)).filter(|(found, word)| *found == word).count();
        assert!(right * 10 >= TRAIN * 8, "{method}: {right} of {TRAIN} are right");
    }
}

#[test]
fn transcripts_are_bit_identical_for_any_batch_and_any_threads() {
    let scene = trained();
    for (method, beam) in
        METHODS.into_iter().zip(["1", "1", "3", "3"]).chain([("attention", "3"), ("ctc", "3")])
    {
        let setting = format!("decoding.method={method}");
        let decode = |more: &[&str]| {
            let search = ["--beam", beam, "--set", &setting];
            decode(&scene, "data/valid.csv", &[&search, more].concat()).stdout
        };
        let alone = decode(&["--set", "decoding.batch_size=1"]);
        assert_eq!(alone.lines().count(), VALID);
        for more in ["decoding.batch_size=2", "decoding.batch_size=7", "runtime.threads=2"] {
            assert_eq!(decode(&["--set", more]), alone, "{method}, a beam of {beam}, {more}");
        }
    }
}

#[test]
fn every_method_finds_candidates_for_minimum_bayes_risk() {
    let scene = trained();
    for method in METHODS {
        let setting = format!("decoding.method={method}");
        let decode = |more: &[&str]| {
            let finished = decode(&scene, "data/valid.csv", &[&["--set", &setting], more].concat());
            objects(&finished.stdout)
        };
        let mbr = ["--mbr", "character_error_rate", "--candidates", "4", "--times"];
        let chosen = decode(&mbr);
        assert_eq!(chosen.len(), VALID);
        let lists = decode(&["--n-best", "4"]);
        for row in &chosen {
            let fields = ["source", "output", "score"];
            let found = lists.iter().any(|one| fields.iter().all(|field| one[*field] == row[*field]));
            assert!(found && row["expected"].is_f64(), "{method}: {row}");
        }
        assert_eq!(decode(&[&mbr[..], &["--set", "decoding.batch_size=2"]].concat()), chosen, "{method}");
    }
}

#[test]
fn a_speech_model_is_verified_with_every_method() {
    let scene = trained();
    for method in METHODS {
        let setting = format!("decoding.method={method}");
        let finished = scene.verify(&["--input", "data/valid.csv", "--beam", "3", "--set", &setting], "");
        assert_eq!(finished.code, Some(0), "{method}: {}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains("checks passed"), "{method}: {}", finished.stdout);
    }
}
