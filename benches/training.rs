//! Training speed and memory compared with PyTorch and JoeyNMT: same model, same pairs, alternating, in one run.
//!
//! ```text
//! cargo bench --bench training -- --python PATH_TO_A_PYTHON_WITH_TORCH [--joeynmt WORK_FOLDER] [--large] [--precision bf16]
//! cargo bench --bench training -- --python PATH_TO_A_PYTHON_WITH_TORCH --ranks 2 --threads 1
//! ```
//!
//! The Python needs torch 2.11.0, tokenizers and numpy, and for JoeyNMT the packages that
//! benches/peers/joeynmt_reference.py names. Each side runs in its own process, loads, warms up, and counts target
//! tokens per second over the updates; divided by the mean tokens per pair of the whole set, this gives pairs per
//! second for any batches. The sides alternate, and medians are compared. The setting is configs/multi30k_small.toml,
//! which benches/peers/ repeats. With `--ranks` each side is that many processes, PyTorch's with
//! DistributedDataParallel on Gloo; and seqloom runs once more as one process with as many threads in all.

mod common;
#[path = "common/trainer.rs"]
mod trainer;

use std::path::PathBuf;
use std::process::Command;

use clap::Parser;
use seqloom::config::Experiment;
use seqloom::error::Result;
use serde_json::Value;

use self::common::{median, output, outputs};
use self::trainer::measure;

#[derive(Clone, Parser)]
struct Args {
    /// A Python with torch 2.11.0, tokenizers and numpy
    #[arg(long, default_value = "python3")]
    python: String,
    /// Include JoeyNMT; a folder for its files
    #[arg(long, value_name = "WORK_FOLDER")]
    joeynmt: Option<PathBuf>,
    /// The folder with train.csv and valid.csv
    #[arg(long, default_value = "data/multi30k")]
    data: PathBuf,
    /// Number of runs of each side
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Number of timed updates
    #[arg(long, default_value_t = 40)]
    updates: u64,
    /// Number of warm-up updates
    #[arg(long, default_value_t = 5)]
    warmup: u64,
    /// 6+6 layers, width 512, feed-forward 2,048, 8 heads
    #[arg(long)]
    large: bool,
    /// f32 or bf16, of seqloom and PyTorch
    #[arg(long, default_value = "f32")]
    precision: String,
    /// cpu or cuda, of seqloom and PyTorch
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads of all sides
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Processes of each side
    #[arg(long, default_value_t = 1)]
    ranks: usize,
    /// Run seqloom once and print its measurements
    #[arg(long, hide = true)]
    ours: bool,
    /// Passed by cargo to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// The sides, and how they are run.
type Side = (&'static str, fn(&Args) -> Value);

fn main() {
    let args = Args::parse();
    if args.ours {
        println!("{}", ours(&args).unwrap_or_else(|error| panic!("{error}")));
        return;
    }
    let mut sides: Vec<Side> = vec![("seqloom", run_ours), ("PyTorch", run_pytorch)];
    if args.ranks > 1 {
        sides.push(("one process", run_as_one));
    }
    if args.joeynmt.is_some() {
        sides.push(("JoeyNMT", run_joeynmt));
    }
    let mut measured: Vec<Vec<Value>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 1..=args.rounds {
        for ((name, run), results) in sides.iter().zip(&mut measured) {
            let result = run(&args);
            eprintln!("round {round}: {name}: {result}");
            results.push(result);
        }
    }
    let of =
        |n: usize, key: &str| median(measured[n].iter().filter_map(|result| result[key].as_f64()).collect());
    let own = of(0, "pairs_per_s");
    let Args { precision, ranks, threads, rounds, .. } = &args;
    println!("training, {precision}, {ranks} ranks of {threads} threads, {rounds} rounds, medians:");
    for (n, (name, _)) in sides.iter().enumerate() {
        let (speed, peak) = (of(n, "pairs_per_s"), of(n, "peak_gib"));
        let ratio = own / speed;
        println!(
            "  {name:<11} {speed:7.1} pairs/s, {peak:.2} GiB at most; seqloom is {ratio:.2} times as fast"
        );
    }
    println!("  seqloom's share of the matrix peak: {:.0} %", 100.0 * of(0, "matrix_peak_share"));
}

fn ours(args: &Args) -> Result<Value> {
    let experiment = Experiment::load("configs/multi30k_small.toml".as_ref(), &overrides(args))?;
    measure(&experiment, None, [args.warmup, args.updates])
}

fn overrides(args: &Args) -> Vec<String> {
    let mut out = vec![
        format!("data.train={}", args.data.join("train.csv").display()),
        format!("data.valid={}", args.data.join("valid.csv").display()),
        format!("runtime.threads={}", args.threads),
        format!("runtime.device={}", args.device),
        format!("runtime.precision={}", args.precision),
    ];
    if args.large {
        let sizes = ["width=512", "feed_forward=2048", "heads=8", "encoder_layers=6", "decoder_layers=6"];
        out.extend(sizes.map(|size| format!("model.transformer.{size}")));
    }
    out
}

fn run_ours(args: &Args) -> Value {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a path"));
    command.args(["--ours", "--device", &args.device, "--precision", &args.precision]).args(shared(args));
    if args.large {
        command.arg("--large");
    }
    outputs(command, args.ranks)
}

fn run_as_one(args: &Args) -> Value {
    run_ours(&Args { ranks: 1, threads: args.ranks * args.threads, ..args.clone() })
}

fn run_pytorch(args: &Args) -> Value {
    let mut command = Command::new(&args.python);
    command.args(["benches/peers/pytorch_reference.py", "train"]);
    command
        .args(["--device", &args.device, "--precision", &args.precision])
        .args(shared(args))
        .args(sizes(args));
    outputs(command, args.ranks)
}

fn run_joeynmt(args: &Args) -> Value {
    let work = args.joeynmt.as_ref().expect("JoeyNMT takes part only with its folder");
    let mut command = Command::new(&args.python);
    command
        .args(["benches/peers/joeynmt_reference.py", "--work"])
        .arg(work)
        .args(shared(args))
        .args(sizes(args));
    output(command)
}

/// Arguments of all sides.
fn shared(args: &Args) -> Vec<String> {
    let numbers =
        [("--updates", args.updates), ("--warmup", args.warmup), ("--threads", args.threads as u64)];
    let mut out = vec!["--data".to_owned(), args.data.display().to_string()];
    out.extend(numbers.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]));
    out
}

/// The sizes of the larger setting, as arguments of the references.
fn sizes(args: &Args) -> &'static [&'static str] {
    if args.large { &["--width", "512", "--ff", "2048", "--heads", "8", "--layers", "6"] } else { &[] }
}
