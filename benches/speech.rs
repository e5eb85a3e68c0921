//! Training and decoding speed with recordings, compared with PyTorch: same network, same recordings, alternating, in one
//! run.
//!
//! ```text
//! make speech-data
//! cargo bench --bench speech -- --python PATH_TO_A_PYTHON_WITH_TORCH [--model RUN/checkpoints/STEP/model.safetensors]
//! ```
//!
//! The Python needs torch 2.11.0, numpy and safetensors. Both sides read copies of the recordings at 16,000 Hz, which are
//! made first, so that resampling counts for neither. Speed is in seconds of audio per second, as positions of the
//! encoder, 40 ms each. Each side runs in its own process.
//!
//! Training is of configs/mandarin_speech.toml without speeds and masks: features are made before the timer starts, and a
//! timed update has its batch, forward, backward, clipping and AdamW. Decoding, with `--model`, is timed from the WAV
//! files to the texts, features included, by the decoder alone, in a second pass over all: the first one touches memory.

mod common;
#[path = "common/trainer.rs"]
mod trainer;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use seqloom::config::Experiment;
use seqloom::data::audio::recording::{ReadOptions, read_recording};
use seqloom::data::audio::resample::resample;
use seqloom::data::splits::AudioOptions;
use seqloom::error::Result;
use seqloom::predictor::loaded_model::LoadedModel;
use seqloom::predictor::request::TooLong;
use seqloom::runtime::memory;
use seqloom::training::clock::Since;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::common::{median, output};
use self::trainer::measure;

/// Sample rate of the copies, and of the model's features.
const SAMPLE_RATE: u32 = 16_000;

/// Seconds of audio per position.
const SECONDS_PER_POSITION: f64 = 0.04;

#[derive(Parser)]
struct Args {
    /// A Python with torch 2.11.0, numpy and safetensors
    #[arg(long, default_value = "python3")]
    python: String,
    /// The folder with train.csv, valid.csv and test.csv
    #[arg(long, default_value = "data/mandarin_speech")]
    data: PathBuf,
    /// A model trained on it, to measure decoding as well
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Number of runs of each side
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Number of timed updates
    #[arg(long, default_value_t = 40)]
    updates: u64,
    /// Number of warm-up updates
    #[arg(long, default_value_t = 5)]
    warmup: u64,
    /// Number of recordings to train on, the first of train.csv
    #[arg(long, default_value_t = 1500)]
    recordings: usize,
    /// Beam widths of decoding
    #[arg(long, value_delimiter = ',', default_value = "1,5")]
    beams: Vec<usize>,
    /// Batch size of decoding
    #[arg(long, default_value_t = 64)]
    rows: usize,
    /// CPU threads of both sides
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Run seqloom once and print its measurements: train or decode
    #[arg(long, hide = true)]
    ours: Option<String>,
    /// Output file of seqloom
    #[arg(long, hide = true)]
    output: Option<PathBuf>,
    /// Passed by cargo to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// A row of a table.
#[derive(Serialize, Deserialize)]
struct Row {
    source: String,
    target: String,
}

fn main() {
    let args = Args::parse();
    if let Some(what) = &args.ours {
        let measured = if what == "train" { train(&args) } else { decode(&args) };
        println!("{}", measured.unwrap_or_else(|error| panic!("{error}")));
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (split, most) in [("train", args.recordings), ("valid", 100), ("test", usize::MAX)] {
        copy(&args.data, split, most, folder.path());
    }
    let args = Args { data: folder.path().to_owned(), ..args };
    let speeds = compare(&args, "training", |side| run_training(&args, side));
    report(&args, "training", &speeds, "");
    for &beam in args.beams.iter().filter(|_| args.model.is_some()) {
        let name = format!("decoding, beam {beam}");
        let texts = SIDES.map(|side| folder.path().join(format!("{beam}-{side}.txt")));
        let speeds = compare(&args, &name, |side| run_decoding(&args, beam, side, &texts[side]));
        report(&args, &name, &speeds, &agreement(&texts, &args.data));
    }
}

/// seqloom and PyTorch.
const SIDES: [usize; 2] = [0, 1];
const NAMES: [&str; 2] = ["seqloom", "PyTorch"];

/// Copies the first `most` recordings of a table, and the table, at the sample rate of the features.
fn copy(data: &Path, split: &str, most: usize, into: &Path) {
    let table = format!("{split}.csv");
    std::fs::create_dir(into.join(split)).expect("a folder can be made");
    let mut copied = csv::Writer::from_path(into.join(&table)).expect("a table can be written");
    for (n, row) in read_rows(&data.join(&table)).into_iter().take(most).enumerate() {
        let read = read_recording(&data.join(&row.source), &ReadOptions::default());
        let recording = read.and_then(|recording| resample(recording, SAMPLE_RATE));
        let recording = recording.unwrap_or_else(|error| panic!("{}: {error}", row.source));
        let source = format!("{split}/{n}.wav");
        write_wav(&into.join(&source), &recording.samples).expect("a recording can be written");
        copied.serialize(Row { source, ..row }).expect("a row can be written");
    }
    copied.flush().expect("a table can be written");
}

fn read_rows(table: &Path) -> Vec<Row> {
    let reader = csv::Reader::from_path(table).unwrap_or_else(|error| panic!("{}: {error}", table.display()));
    reader.into_deserialize().map(|row| row.expect("a table has the columns `source` and `target`")).collect()
}

fn write_wav(path: &Path, samples: &[f32]) -> hound::Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(path, spec)?;
    // A cast saturates.
    samples.iter().try_for_each(|sample| file.write_sample((sample * 32768.0).round() as i16))?;
    file.finalize()
}

/// The results of both sides in all rounds. The sides alternate, and so does which is first.
fn compare(args: &Args, name: &str, run: impl Fn(usize) -> Value) -> [Vec<Value>; 2] {
    let mut measured = [Vec::new(), Vec::new()];
    for round in 1..=args.rounds {
        for place in SIDES {
            let side = if round % 2 == 1 { place } else { 1 - place };
            let result = run(side);
            eprintln!("{name}, round {round}: {}: {result}", NAMES[side]);
            measured[side].push(result);
        }
    }
    measured
}

fn report(args: &Args, name: &str, measured: &[Vec<Value>; 2], note: &str) {
    let of = |side: usize, key: &str| {
        median(measured[side].iter().map(|result| result[key].as_f64().expect("a number")).collect())
    };
    println!("{name}, {} threads, {} rounds, medians{note}:", args.threads, args.rounds);
    for side in SIDES {
        let (speed, peak) = (of(side, "audio_s_per_s"), of(side, "peak_gib"));
        let ratio = of(0, "audio_s_per_s") / speed;
        println!(
            "  {:<8} {speed:7.1} s of sound per second, {peak:.2} GiB at most; seqloom is {ratio:.2} times as fast",
            NAMES[side]
        );
    }
}

/// How many texts both sides share, and how many of each are right.
fn agreement(texts: &[PathBuf; 2], data: &Path) -> String {
    let lines = |path: &PathBuf| -> Vec<String> {
        let text = std::fs::read_to_string(path).expect("a side writes its texts");
        text.lines().map(str::to_owned).collect()
    };
    let [ours, theirs] = texts.each_ref().map(lines);
    let references: Vec<String> =
        read_rows(&data.join("test.csv")).into_iter().map(|row| row.target).collect();
    let equal = |one: &[String], other: &[String]| one.iter().zip(other).filter(|(a, b)| a == b).count();
    let (same, all) = (equal(&ours, &theirs), references.len());
    let right = [ours, theirs].map(|texts| equal(&texts, &references));
    format!(", {same} of {all} texts the same, {} and {} right", right[0], right[1])
}

/// Trains, and counts the seconds of audio of the timed updates.
fn train(args: &Args) -> Result<Value> {
    let table = |split: &str| args.data.join(split).display().to_string();
    let overrides = [
        format!("data.train={}", table("train.csv")),
        format!("data.valid={}", table("valid.csv")),
        "data.source.audio.augment.speeds=[]".to_owned(),
        "data.source.audio.augment.frequency_masks=0".to_owned(),
        "data.source.audio.augment.time_masks=0".to_owned(),
        format!("runtime.threads={}", args.threads),
        "runtime.device=cpu".to_owned(),
        "runtime.precision=f32".to_owned(),
    ];
    let experiment = Experiment::load("configs/mandarin_speech.toml".as_ref(), &overrides)?;
    let features = args.data.join("features");
    std::fs::create_dir_all(&features).expect("a folder can be made");
    let audio = AudioOptions { features: &features, ctc: true };
    let mut measured = measure(&experiment, Some(audio), [args.warmup, args.updates])?;
    let positions = measured["source_positions_per_s"].as_f64().expect("a number");
    measured["audio_s_per_s"] = json!(SECONDS_PER_POSITION * positions);
    Ok(measured)
}

/// Decodes the test set, from its WAV files to texts.
fn decode(args: &Args) -> Result<Value> {
    let overrides = [
        format!("runtime.threads={}", args.threads),
        "runtime.device=cpu".to_owned(),
        "decoding.weights=f32".to_owned(),
        "decoding.method=attention".to_owned(),
        format!("decoding.beam={}", args.beams[0]),
        format!("decoding.batch_size={}", args.rows),
    ];
    let model = LoadedModel::open(args.model.as_ref().expect("decoding has a model"), &overrides)?;
    let path = |row: Row| args.data.join(row.source).display().to_string();
    let paths: Vec<String> = read_rows(&args.data.join("test.csv")).into_iter().map(path).collect();
    texts_of(&model, &paths)?;
    let Decoded { texts, positions, of_features, seconds } = texts_of(&model, &paths)?;
    if let Some(path) = &args.output {
        std::fs::write(path, texts.join("\n") + "\n").expect("the texts can be written");
    }
    Ok(json!({
        "audio_s_per_s": SECONDS_PER_POSITION * positions as f64 / seconds,
        "peak_gib": memory::peak(model.runtime.device) as f64 / (1u64 << 30) as f64,
        "features_share": of_features / seconds,
    }))
}

/// The texts of recordings, and the seconds that they took.
struct Decoded {
    texts: Vec<String>,
    positions: usize,
    of_features: f64,
    seconds: f64,
}

fn texts_of(model: &LoadedModel, paths: &[String]) -> Result<Decoded> {
    let started = Since::now();
    let sources = paths.iter().map(|path| Ok(path.as_str().into())).collect();
    let encoded = model.encode_sources(sources, TooLong::Truncate).into_iter().collect::<Result<Vec<_>>>()?;
    let of_features = started.seconds();
    let found = model.decode_n_best(&encoded.iter().collect::<Vec<_>>())?;
    Ok(Decoded {
        texts: found.into_iter().filter_map(|list| list.into_iter().next()).map(|best| best.text).collect(),
        positions: encoded.iter().map(|request| request.decode.source.positions()).sum(),
        of_features,
        seconds: started.seconds(),
    })
}

fn run_training(args: &Args, side: usize) -> Value {
    let mut command = command_of(args, side, "train");
    command.args(["--updates", &args.updates.to_string(), "--warmup", &args.warmup.to_string()]);
    output(command)
}

fn run_decoding(args: &Args, beam: usize, side: usize, texts: &Path) -> Value {
    let mut command = command_of(args, side, "decode");
    command.args([["--beams", "--beam"][side], &beam.to_string(), "--rows", &args.rows.to_string()]);
    command.arg(["--model", "--seqloom"][side]).arg(args.model.as_ref().expect("decoding has a model"));
    command.arg("--output").arg(texts);
    output(command)
}

/// A side with the arguments that both tasks have.
fn command_of(args: &Args, side: usize, task: &str) -> Command {
    let mut command = if side == 0 {
        let mut command = Command::new(std::env::current_exe().expect("a running program has a path"));
        command.args(["--ours", task]);
        command
    } else {
        let mut command = Command::new(&args.python);
        command.args(["benches/peers/pytorch_speech.py", task]);
        command
    };
    command.arg("--data").arg(&args.data).args(["--threads", &args.threads.to_string()]);
    command
}
