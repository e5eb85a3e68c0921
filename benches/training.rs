//! Training speed against PyTorch: the same model on the same pairs, in turn, in one run.
//!
//! ```text
//! cargo bench --bench training -- --python PATH_TO_A_PYTHON_WITH_TORCH [--rounds 3] [--updates 40] [--large]
//! ```
//!
//! The python needs torch 2.11.0, tokenizers and numpy. Each side runs in a process of its own, loads, warms up,
//! and then counts pairs per second over the updates; the two sides take turns, and medians are compared.
//! The setting is configs/multi30k_small.toml, which benches/peers/pytorch_reference.py repeats.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use seqloom::config::Experiment;
use seqloom::data::dataset::{Splits, Tokenizers};
use seqloom::error::Result;
use seqloom::model::params::Params;
use seqloom::model::transformer::Transformer;
use seqloom::runtime::Runtime;
use seqloom::training::parts::{Faults, Parts};
use seqloom::training::trainer::Trainer;

#[derive(Parser)]
struct Args {
    /// A Python with torch 2.11.0, tokenizers and numpy
    #[arg(long, default_value = "python3")]
    python: String,
    /// The folder with train.csv and valid.csv
    #[arg(long, default_value = "data/multi30k")]
    data: PathBuf,
    /// How often each side runs
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Updates that are timed
    #[arg(long, default_value_t = 40)]
    updates: u64,
    /// Updates before that
    #[arg(long, default_value_t = 5)]
    warmup: u64,
    /// 6+6 layers, 512 wide, feed-forward 2,048, 8 heads
    #[arg(long)]
    large: bool,
    /// CPU threads of both sides
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Runs our side once and prints its pairs per second
    #[arg(long, hide = true)]
    ours: bool,
    /// cargo says this to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    if args.ours {
        println!("{}", ours(&args).unwrap_or_else(|error| panic!("{error}")));
        return;
    }
    let (mut own, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        own.push(run_ours(&args));
        theirs.push(run_reference(&args));
        eprintln!("round {round}: seqloom {:.1}, PyTorch {:.1} pairs/s", own[round - 1], theirs[round - 1]);
    }
    let (own, theirs) = (median(own), median(theirs));
    println!(
        "training, {} threads: seqloom {own:.1}, PyTorch {theirs:.1} pairs/s, ratio {:.2}",
        args.threads,
        own / theirs
    );
}

/// Pairs per second over the timed updates.
fn ours(args: &Args) -> Result<f64> {
    let experiment = Experiment::load("configs/multi30k_small.toml".as_ref(), &overrides(args))?;
    Runtime::start(&experiment.runtime)?;
    let data = Splits::load(&experiment.data, |pairs| Tokenizers::train(&experiment.data, pairs))?;
    let mut params = Params::new(tch::Device::Cpu, experiment.seed);
    let transformer = &experiment.model.transformer;
    let sizes = (data.tokenizers.source.vocabulary_size(), data.tokenizers.target.vocabulary_size());
    let model = Transformer::new(transformer, sizes.0, sizes.1, &mut params);
    let parts = Parts {
        config: &experiment.training,
        decoding: &experiment.decoding,
        seed: experiment.seed,
        model: &model,
        params: &params,
        width: transformer.width,
        train: &data.train,
        valid: &data.valid,
        target: &data.tokenizers.target,
        faults: Faults::default(),
    };
    let mut trainer = Trainer::new(parts, None)?;
    for _ in 0..args.warmup {
        trainer.update()?;
    }
    let started = Instant::now();
    let mut pairs = 0;
    for _ in 0..args.updates {
        pairs += trainer.update()?.window.rows;
    }
    Ok(pairs as f64 / started.elapsed().as_secs_f64())
}

fn overrides(args: &Args) -> Vec<String> {
    let mut out = vec![
        format!("data.train={}", args.data.join("train.csv").display()),
        format!("data.valid={}", args.data.join("valid.csv").display()),
        format!("runtime.threads={}", args.threads),
        "runtime.device=cpu".to_owned(),
    ];
    if args.large {
        let sizes = ["width=512", "feed_forward=2048", "heads=8", "encoder_layers=6", "decoder_layers=6"];
        out.extend(sizes.map(|size| format!("model.transformer.{size}")));
    }
    out
}

fn run_ours(args: &Args) -> f64 {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a path"));
    command.arg("--ours").args(shared(args));
    if args.large {
        command.arg("--large");
    }
    output(command).trim().parse().expect("our side prints a number")
}

fn run_reference(args: &Args) -> f64 {
    let mut command = Command::new(&args.python);
    command.args(["benches/peers/pytorch_reference.py", "train"]).args(shared(args));
    if args.large {
        command.args(["--width", "512", "--ff", "2048", "--heads", "8", "--layers", "6"]);
    }
    let printed: serde_json::Value =
        serde_json::from_str(&output(command)).expect("the reference prints JSON");
    printed["pairs_per_s"].as_f64().expect("the reference prints its speed")
}

/// Arguments that both sides take.
fn shared(args: &Args) -> Vec<String> {
    let numbers =
        [("--updates", args.updates), ("--warmup", args.warmup), ("--threads", args.threads as u64)];
    let mut out = vec!["--data".to_owned(), args.data.display().to_string()];
    out.extend(numbers.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]));
    out
}

fn output(mut command: Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(out.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    // Of an even number the mean of the two in the middle, which are one and the same of an odd number.
    let middle = values.len() / 2;
    (values[(values.len() - 1) / 2] + values[middle]) / 2.0
}
