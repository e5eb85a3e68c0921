//! Decoding speed, latency and memory compared with CTranslate2, PyTorch and JoeyNMT: same model, same file,
//! alternating, in one run.
//!
//! ```text
//! cargo bench --bench decoding -- --model MODEL.safetensors --input TEST.csv --python PATH_TO_A_PYTHON [--joeynmt]
//! ```
//!
//! The Python needs the packages that the scripts in benches/peers/ name; they convert seqloom's model file for each
//! side. Each side runs in its own process, loads, warms up, and decodes the whole file; loading and tokenizing are not
//! timed. The batch size of each side is chosen by a trial before the rounds. The sides alternate, and medians are
//! compared. benches/peers/check_ctranslate2.py shows that CTranslate2 and seqloom decode the same.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use seqloom::data::readers::{Columns, RowReader};
use seqloom::error::Result;
use seqloom::predictor::Output;
use seqloom::predictor::loaded_model::LoadedModel;
use seqloom::predictor::request::{EncodedRequest, TooLong};
use seqloom::runtime::memory;
use seqloom::training::clock::Since;
use serde_json::{Value, json};

use self::common::{median, output};

/// The batch sizes to try.
const ROWS: [usize; 3] = [32, 64, 128];

#[derive(Parser)]
struct Args {
    /// A trained seqloom model
    #[arg(long)]
    model: PathBuf,
    /// A CSV file with the columns of the model's training
    #[arg(long, default_value = "data/multi30k/test_2016.csv")]
    input: PathBuf,
    /// A Python with the packages of the scripts in benches/peers/
    #[arg(long, default_value = "python3")]
    python: String,
    /// Include JoeyNMT, which takes minutes
    #[arg(long)]
    joeynmt: bool,
    /// Include seqloom with this shortlist (`seqloom shortlist`)
    #[arg(long)]
    shortlist: Option<PathBuf>,
    /// Only seqloom
    #[arg(long)]
    alone: bool,
    /// Number of runs of each side
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Beam widths
    #[arg(long, value_delimiter = ',', default_value = "1,5")]
    beams: Vec<usize>,
    /// Number of sentences decoded one at a time, for the latency
    #[arg(long, default_value_t = 50)]
    latency: usize,
    /// CPU threads of all sides
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Run seqloom once and print its measurements: f32, bf16 or int8
    #[arg(long, hide = true)]
    ours: Option<String>,
    /// Batch size of all sides; without it the best of 32, 64 and 128 is found for each
    #[arg(long)]
    rows: Option<usize>,
    /// Output file of seqloom
    #[arg(long, hide = true)]
    output: Option<PathBuf>,
    /// Passed by cargo to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// One run of a side.
#[derive(Clone, Copy)]
struct Turn<'a> {
    beam: usize,
    rows: usize,
    latency: usize,
    output: &'a Path,
}

/// The sides.
struct Side {
    name: &'static str,
    /// The number of the seqloom side to compare with.
    against: usize,
    rows: &'static [usize],
    command: fn(&Args, Turn) -> Command,
}

fn main() {
    let args = Args::parse();
    if let Some(weights) = &args.ours {
        println!("{}", ours(&args, weights).unwrap_or_else(|error| panic!("{error}")));
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for &beam in &args.beams {
        compare(&args, beam, folder.path());
    }
}

fn sides(args: &Args) -> Vec<Side> {
    let side = |name: &'static str, against, command: fn(&Args, Turn) -> Command| Side {
        name,
        against,
        rows: &ROWS,
        command,
    };
    let mut sides = vec![
        side("seqloom f32", 0, |args, turn| run_ours(args, turn, "f32", None)),
        side("seqloom int8", 1, |args, turn| run_ours(args, turn, "int8", None)),
    ];
    if args.shortlist.is_some() {
        sides.push(side("f32, shortlist", 0, |args, turn| {
            run_ours(args, turn, "f32", args.shortlist.as_deref())
        }));
        sides.push(side("int8, shortlist", 1, |args, turn| {
            run_ours(args, turn, "int8", args.shortlist.as_deref())
        }));
    }
    if !args.alone {
        sides.push(side("CTranslate2 f32", 0, |args, turn| run_ctranslate2(args, turn, "float32")));
        sides.push(side("CTranslate2 int8", 1, |args, turn| run_ctranslate2(args, turn, "int8")));
        sides.push(side("PyTorch", 0, run_pytorch));
    }
    if args.joeynmt {
        // A trial takes minutes, and 64 is its default.
        sides.push(Side { rows: &[64], ..side("JoeyNMT", 0, run_joeynmt) });
    }
    sides
}

/// All rounds with one beam width.
fn compare(args: &Args, beam: usize, folder: &Path) {
    let sides = sides(args);
    let outputs: Vec<PathBuf> = (0..sides.len()).map(|n| folder.join(format!("{beam}-{n}.txt"))).collect();
    let turn = |n: usize, rows, latency| Turn { beam, rows, latency, output: &outputs[n] };
    let rows: Vec<usize> = (0..)
        .zip(&sides)
        .map(|(n, side)| args.rows.unwrap_or_else(|| best_rows(args, side, |rows| turn(n, rows, 0))))
        .collect();
    let mut measured: Vec<Vec<Value>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 1..=args.rounds {
        for (n, results) in measured.iter_mut().enumerate() {
            let result = output((sides[n].command)(args, turn(n, rows[n], args.latency)));
            eprintln!("beam {beam}, round {round}: {}: {result}", sides[n].name);
            results.push(result);
        }
    }
    let quality = quality(args, &outputs);
    report(args, beam, &sides, &rows, &measured, &quality);
}

/// Finds the best batch size.
fn best_rows<'a>(args: &Args, side: &Side, turn: impl Fn(usize) -> Turn<'a>) -> usize {
    let once = |rows| number(&output((side.command)(args, turn(rows))), "sentences_per_s");
    // The better of two runs, so that one slow run does not decide.
    let speed = |rows| match side.rows {
        [_] => 0.0,
        _ => f64::max(once(rows), once(rows)),
    };
    let tried: Vec<(usize, f64)> = side.rows.iter().map(|&rows| (rows, speed(rows))).collect();
    eprintln!("{}: sentences of a batch and sentences/s: {tried:?}", side.name);
    tried.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(64, |best| best.0)
}

fn report(
    args: &Args,
    beam: usize,
    sides: &[Side],
    rows: &[usize],
    measured: &[Vec<Value>],
    quality: &[Value],
) {
    let of = |n: usize, key: &str| median(measured[n].iter().map(|result| number(result, key)).collect());
    println!("decoding, beam {beam}, {} threads, {} rounds, medians:", args.threads, args.rounds);
    for (n, side) in sides.iter().enumerate() {
        let speed = of(n, "sentences_per_s");
        let ratio = of(side.against, "sentences_per_s") / speed;
        let (latency, peak) = (of(n, "latency_ms"), of(n, "peak_gib"));
        let (bleu, same) = (number(&quality[n], "bleu"), 100.0 * number(&quality[n], "as_the_first"));
        println!(
            "  {:<16} {speed:7.1} sentences/s ({:3} together), {latency:6.1} ms for one alone, {peak:.2} GiB at most, \
             BLEU {bleu:.2}, {same:5.1} % as {}; {} is {ratio:.2} times as fast",
            side.name, rows[n], sides[0].name, sides[side.against].name
        );
    }
}

/// Decodes the file and then single sentences. As on the other sides, they are tokenized before the timer starts.
fn ours(args: &Args, weights: &str) -> Result<Value> {
    let [beam, rows] = [args.beams[0], args.rows.unwrap_or(64)];
    let overrides = [
        format!("runtime.threads={}", args.threads),
        "runtime.device=cpu".to_owned(),
        format!("decoding.weights={weights}"),
        format!("decoding.beam={beam}"),
        format!("decoding.batch_size={rows}"),
    ];
    let mut model = LoadedModel::open(&args.model, &overrides)?;
    args.shortlist.as_ref().map_or(Ok(()), |path| model.use_shortlist(path))?;
    let model = &model;
    let data = &model.experiment.data;
    let sources = [data.source.column.as_str()];
    let columns = Columns { header: data.header, ..Columns::new(&sources, &data.target.column) };
    let texts = RowReader::open(&args.input, None, columns)?;
    let asked = texts
        .map(|row| model.encode_request(row?.text.as_str(), "", TooLong::Truncate))
        .collect::<Result<Vec<_>>>()?;
    let requests: Vec<&EncodedRequest> = asked.iter().collect();
    model.decode_n_best(&requests[..requests.len().min(16)])?;
    let started = Since::now();
    let found = model.decode_n_best(&requests)?;
    let seconds = started.seconds();
    let found: Vec<Output> = found.into_iter().filter_map(|list| list.into_iter().next()).collect();
    let peak = memory::peak(model.runtime.device);
    if let Some(path) = &args.output {
        let text: String = found.iter().map(|one| one.text.replace(['\n', '\r'], " ") + "\n").collect();
        std::fs::write(path, text).expect("the outputs can be written");
    }
    let mut measured = json!({
        "sentences_per_s": found.len() as f64 / seconds,
        "output_tokens_per_s": found.iter().map(|one| one.hypothesis.tokens.len() + 1).sum::<usize>() as f64 / seconds,
        "unfinished": found.iter().filter(|one| !one.hypothesis.finished).count(),
        "peak_gib": peak as f64 / (1u64 << 30) as f64,
    });
    if args.latency > 0 {
        measured["latency_ms"] = json!(latency(model, &requests, args.latency)?);
    }
    Ok(measured)
}

/// Milliseconds per single sentence, the median of `count` of them.
fn latency(model: &LoadedModel, requests: &[&EncodedRequest], count: usize) -> Result<f64> {
    let mut times = Vec::new();
    let apart = (requests.len() / count).max(1);
    for request in requests.iter().step_by(apart).take(count) {
        let started = Since::now();
        model.decode_n_best(&[*request])?;
        times.push(1e3 * started.seconds());
    }
    Ok(median(times))
}

fn run_ours(args: &Args, turn: Turn, weights: &str, shortlist: Option<&Path>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a path"));
    command.args(["--ours", weights, "--beams", &turn.beam.to_string()]);
    command.args(["--threads", &args.threads.to_string(), "--rows", &turn.rows.to_string()]);
    command.args(["--latency", &turn.latency.to_string()]);
    command.arg("--model").arg(&args.model).arg("--input").arg(&args.input);
    command.arg("--output").arg(turn.output);
    shortlist.map(|path| command.arg("--shortlist").arg(path));
    command
}

/// Its best is one worker of one thread per core; a single sentence uses all threads.
fn run_ctranslate2(args: &Args, turn: Turn, kind: &str) -> Command {
    let mut command = peer(args, turn, "ctranslate2_reference.py");
    command.args(["--type", kind, "--workers", &args.threads.to_string(), "--threads", "1"]);
    command.arg("--model").arg(&args.model).arg("--input").arg(&args.input);
    command
}

fn run_pytorch(args: &Args, turn: Turn) -> Command {
    let mut command = peer(args, turn, "pytorch_reference.py");
    let folder = args.input.parent().filter(|folder| *folder != Path::new(""));
    command.args(["decode", "--threads", &args.threads.to_string()]);
    command.arg("--data").arg(folder.unwrap_or(Path::new(".")));
    command.arg("--split").arg(args.input.file_stem().expect("the input is a file"));
    command.arg("--seqloom").arg(&args.model);
    command
}

fn run_joeynmt(args: &Args, turn: Turn) -> Command {
    let mut command = peer(args, turn, "joeynmt_decode.py");
    command.args(["--threads", &args.threads.to_string()]);
    command.arg("--model").arg(&args.model).arg("--input").arg(&args.input);
    command
}

/// A script of benches/peers/ with its common arguments.
fn peer(args: &Args, turn: Turn, script: &str) -> Command {
    let mut command = Command::new(&args.python);
    command.arg(Path::new("benches/peers").join(script));
    command.args(["--beam", &turn.beam.to_string(), "--rows", &turn.rows.to_string()]);
    command.args(["--latency", &turn.latency.to_string(), "--output"]).arg(turn.output);
    command
}

/// BLEU of each side, and the share of its texts that equal those of the first.
fn quality(args: &Args, outputs: &[PathBuf]) -> Vec<Value> {
    let mut command = Command::new(&args.python);
    command.arg("benches/peers/compare_outputs.py").arg("--input").arg(&args.input).args(outputs);
    output(command).as_array().cloned().expect("a list with a place for each side")
}

fn number(result: &Value, key: &str) -> f64 {
    result[key].as_f64().unwrap_or_else(|| panic!("{result} has no number `{key}`"))
}
