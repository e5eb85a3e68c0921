//! README.md and its pages are correct: their commands are run, their numbers are measured, and all names exist.
//!
//! The commands run in one shell, with the binary on the path, in the test's own folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use seqloom::Predictor;
use seqloom::config::Experiment;
use tempfile::TempDir;

use super::COMMANDS;
use crate::support::run::{Finished, binary};

const README: &str = include_str!("../../README.md");
const DECODING: &str = include_str!("../../docs/decoding.md");
const DISTILLATION: &str = include_str!("../../docs/distillation.md");
const EVALUATION: &str = include_str!("../../docs/evaluation.md");
const RUN: &str = include_str!("../../docs/run.md");
const SPEECH: &str = include_str!("../../docs/speech.md");
const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");

/// The folder that the README works in.
const PLACE: &str = "/tmp/roman";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a page below a heading.
fn section(page: &'static str, heading: &str) -> &'static str {
    let start = page.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let rest = &page[start + 4..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

/// The commands of a text, block by block.
fn blocks(text: &'static str) -> Vec<&'static str> {
    text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Runs commands in a folder as if pasted, without further input.
fn paste(folder: &Path, commands: &str) -> Finished {
    let mut shell = Command::new("bash");
    let bin = Path::new(env!("CARGO_BIN_EXE_seqloom")).parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    shell.args(["-euo", "pipefail", "-c", &commands.replace(PLACE, &folder.display().to_string())]);
    shell.current_dir(folder).env("PATH", format!("{bin}:{path}")).env("CUDA_VISIBLE_DEVICES", "");
    // A pipe counts as the terminal that `seqloom interactive` needs.
    shell.env("SEQLOOM_TEST_TERMINAL", "1").stdin(Stdio::null());
    Finished::of(shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// The folder of the quick start, and the messages of each of its blocks; it runs once for all tests.
fn five_minutes() -> &'static (TempDir, Vec<Finished>) {
    static DONE: OnceLock<(TempDir, Vec<Finished>)> = OnceLock::new();
    DONE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let blocks = blocks(section(README, "Your own experiment in five minutes"));
        let finished = blocks.iter().map(|block| paste(folder.path(), block).succeeded()).collect();
        (folder, finished)
    })
}

/// The exact match that a command reports, in per cent.
fn exact(message: &str) -> f64 {
    let rest = message.split_once("exact match ").unwrap_or_else(|| panic!("no exact match in {message}")).1;
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_quick_start_runs_as_written_and_reaches_its_scores() {
    let (folder, finished) = five_minutes();
    let [made, init, train, resume, decode, look, further] = finished.as_slice() else {
        panic!("seven blocks are known here, but there are {}", finished.len());
    };
    assert_eq!((made.stdout.as_str(), made.stderr.as_str()), ("", ""));
    assert!(init.stderr.contains("roman.test.csv: 199 pairs for the test\n"), "{}", init.stderr);
    assert!(init.stdout.contains("\n[data]\n"), "[data] must be a table: {}", init.stdout);
    assert!(train.stderr.contains("step 100: loss ") && train.stderr.contains(" left\n"), "{}", train.stderr);
    assert!(resume.stderr.contains("is complete: "), "{}", resume.stderr);
    assert_eq!(decode.stdout.lines().next(), Some("MCMXCIV"));
    let claim =
        "The first line says `MCMXCIV`. Of the 199 numbers in `roman.test.csv`, about 99 % come out right.";
    assert!(README.contains(claim));
    let greedy = exact(&decode.stderr);
    assert!(decode.stderr.contains("199 rows, ") && greedy >= 98.0, "{}", decode.stderr);
    assert_eq!(decode.stderr.matches(" -> ").count(), 3, "{}", decode.stderr);
    assert!(look.stdout.contains("source | reference | output"), "{}", look.stdout);
    assert_eq!(further.stdout, "MCMXCIV\n");
    // A beam of five is no worse, and neither is further training.
    let test = "--input roman.test.csv --output /dev/null --format text";
    for (what, arguments) in [("a beam", "runs/roman --beam 5"), ("going on", "runs/further")] {
        let other = paste(folder.path(), &format!("seqloom decode {arguments} {test}")).succeeded();
        // One row more or less is the CPU's rounding.
        assert!(exact(&other.stderr) >= greedy - 0.6, "{what}: {} after {greedy}", other.stderr);
    }
}

#[test]
fn every_command_about_decoding_runs() {
    let (folder, _) = five_minutes();
    for command in blocks(DECODING).iter().flat_map(|block| block.lines()) {
        paste(folder.path(), command).succeeded();
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("attention.svg").starts_with("<svg") && read("best.jsonl").lines().count() > 199);
    let code = [
        "seqloom::Predictor::open(\"runs/roman\")?",
        "decode(&[\"1994\", \"2024\"])?",
        "assert_eq!(outputs[0], \"MCMXCIV\")",
    ];
    assert!(code.iter().all(|line| README.contains(line)));
    let decoder =
        Predictor::with_overrides(folder.path().join("runs/roman"), &["runtime.device=cpu"]).unwrap();
    assert_eq!(decoder.decode(&["1994", "2024"]).unwrap()[0], "MCMXCIV");
}

/// Four recordings of a tone of half a second, each beside its text.
fn write_recordings(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (n, text) in ["one", "two", "three", "four"].into_iter().enumerate() {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let path = folder.join(text);
        let mut file = hound::WavWriter::create(path.with_extension("wav"), spec).unwrap();
        let hz = 300.0 * (n + 1) as f64;
        for t in 0..4000 {
            let phase = std::f64::consts::TAU * hz * f64::from(t) / 8000.0;
            file.write_sample((8000.0 * phase.sin()) as i16).unwrap();
        }
        file.finalize().unwrap();
        fs::write(path.with_extension("txt"), text).unwrap();
    }
}

#[test]
fn the_recordings_section_trains_a_model_and_decodes() {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "valid", "test"] {
        write_recordings(&folder.path().join("recordings").join(split));
    }
    let [commands] = blocks(section(README, "Recordings"))[..] else { panic!("one block is known here") };
    let short = "seqloom train speech.toml --set training.steps=2 --set runtime.device=cpu";
    assert!(commands.contains("\nseqloom train speech.toml\n"));
    let finished = paste(folder.path(), &commands.replace("seqloom train speech.toml", short)).succeeded();
    assert_eq!(finished.stdout.lines().count(), 4, "{}", finished.stdout);
    assert!(finished.stderr.contains("character error rate"), "{}", finished.stderr);
    assert!(folder.path().join("runs/speech/features/train").exists());
}

#[test]
fn errors_are_as_documented() {
    let (folder, _) = five_minutes();
    let lines = section(README, "When something is wrong").lines();
    let shown: Vec<&str> = lines.filter_map(|line| line.strip_prefix("    ")).collect();
    let starts: Vec<usize> = (0..shown.len()).filter(|&line| shown[line].starts_with("$ ")).collect();
    assert!(starts.len() > 1);
    for (n, &start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(shown.len());
        let expected = shown[start + 1..end].join("\n");
        let finished = paste(folder.path(), shown[start].trim_start_matches("$ "));
        assert_eq!((finished.code, finished.stderr.trim_end()), (Some(2), expected.trim_end()));
    }
}

#[test]
fn a_run_has_the_files_that_the_page_lists() {
    let (folder, _) = five_minutes();
    let runs = folder.path().join("runs");
    let latest = fs::read_to_string(runs.join("roman/latest")).unwrap();
    let (mut checkpoint, mut seen) = (false, 0);
    for line in RUN.lines().filter(|line| line.starts_with("      ")) {
        let deep = line.starts_with("        ");
        checkpoint = deep && checkpoint || line.trim_start().starts_with("checkpoints/");
        let names = line.trim_start().split("  ").next().unwrap();
        for name in names.split(", ").map(|name| name.split(' ').next().unwrap()) {
            let place: PathBuf = match (deep, checkpoint) {
                (true, true) => runs.join("roman/checkpoints").join(latest.trim()).join(name),
                (_, true) => runs.join("roman/checkpoints").join(latest.trim()),
                _ if name == "from.json" => runs.join("further/from.json"),
                _ => runs.join("roman").join(name),
            };
            // These appear only after faults, with recordings, and with large sets.
            let may_lack = ["skipped/", "features/", "prepared/"].contains(&name);
            assert!(place.exists() || may_lack, "{}", place.display());
            seen += 1;
        }
    }
    assert!(seen > 12, "{seen}");
}

#[test]
fn every_file_named_by_a_page_exists() {
    for (page, folder) in [
        (README, ""),
        (ARCHITECTURE, ""),
        (DECODING, "docs"),
        (DISTILLATION, "docs"),
        (EVALUATION, "docs"),
        (RUN, "docs"),
        (SPEECH, "docs"),
    ] {
        for link in page.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
            assert!(link.is_empty() || root().join(folder).join(link).exists(), "{link}");
        }
    }
    let listed = section(ARCHITECTURE, "What is where").lines().filter_map(|line| line.strip_prefix("    "));
    for name in listed.flat_map(|line| line.split("  ").next().unwrap().split(", ")) {
        let places = [root().join(name), root().join("src").join(name)];
        assert!(places.iter().any(|place| place.exists()), "{name}");
    }
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    for line in README.lines().filter_map(|line| line.strip_prefix("    ")) {
        let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
        match words.as_slice() {
            ["make", target, ..] => assert!(makefile.contains(&format!("\n{target}:")), "{line}"),
            ["python3", script, ..] => assert!(root().join(script).exists(), "{line}"),
            ["seqloom", "train", config, ..] if config.starts_with("configs/") => {
                Experiment::load(&root().join(config), &[]).unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn every_key_and_every_option_named_by_a_page_exists() {
    let least = "name = \"a\"\nmodel.transformer.ctc = true\n[data]\ntrain = \"a.csv\"\nvalid = \"b.csv\"\n";
    let pages = [README, DECODING, DISTILLATION, EVALUATION, RUN, SPEECH].concat();
    for rest in pages.split("--set ").skip(1) {
        let setting = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split('\'').next().unwrap(),
            None => rest.split([' ', '`', ')', '\n']).next().unwrap(),
        };
        // Shown as invalid, or not a setting.
        if !setting.contains('=') || setting.contains("heads=5") || setting == "n_best=3" {
            continue;
        }
        Experiment::parse(least, "a.toml", &[setting.to_owned()]).unwrap_or_else(|error| panic!("{error}"));
    }
    let help = |command: &str| binary(root()).args([command, "--help"]).output().unwrap().stdout;
    let mut known = String::from_utf8(COMMANDS.map(help).concat()).unwrap();
    known += &fs::read_to_string(root().join("scripts/get_libtorch.py")).unwrap();
    // Options of TensorBoard and of Slurm.
    known += " --logdir --ntasks ";
    let known: Vec<&str> = known.split([' ', '\n', '"', ',', '`']).collect();
    let words = pages.split([' ', '`', '\n', '(']).filter(|word| word.starts_with("--") && word.len() > 2);
    for option in words.map(|word| word.trim_end_matches([',', '.', ';', ':', ')', '\''])) {
        assert!(known.contains(&option), "{option}");
    }
}
