//! A tiny experiment in its own folder, and the binary as a user runs it there.
//!
//! The task is to copy short words. Every run is on the CPU with one thread, without a GPU unless the scene enables it:
//! the same seed gives bit-identical results.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::fork_server;

/// `copy.toml` of every scene.
const EXPERIMENT: &str = r#"name = "copy"
[data]
train = "train.csv"
valid = "valid.csv"
[model.transformer]
width = 32
heads = 2
feed_forward = 64
encoder_layers = 1
decoder_layers = 1
dropout = 0.0
[training]
steps = 700
tokens_per_batch = 512
log_every = 100
validate_every = 100
checkpoint_every = 100
[training.adamw]
learning_rate = 1e-2
[training.inverse_sqrt]
warmup = 40
[decoding]
max_length_offset = 4
[runtime]
device = "cpu"
threads = 1
"#;

/// A folder with an experiment, its data, and the runs that a test makes of it.
pub struct Scene {
    folder: TempDir,
    sees_gpus: bool,
}

impl Scene {
    /// `copy.toml`, `train.csv` and `valid.csv`, always the same; no word is in both sets.
    pub fn new(train: usize, valid: usize) -> Scene {
        let scene = Scene { folder: tempfile::tempdir().unwrap(), sees_gpus: false };
        let words = words(train + valid);
        scene.write("copy.toml", EXPERIMENT);
        scene.write("train.csv", table(&words[..train]));
        scene.write("valid.csv", table(&words[train..]));
        scene
    }

    /// Processes in it may use the GPUs of the machine.
    pub fn with_gpus(self) -> Scene {
        Scene { sees_gpus: true, ..self }
    }

    /// With the finished run `runs/copy`. It is trained once for all tests; each has its own copy to break.
    pub fn trained() -> Scene {
        static RUN: OnceLock<BTreeMap<PathBuf, Vec<u8>>> = OnceLock::new();
        let files = RUN.get_or_init(|| {
            let scene = Scene::new(400, 40);
            scene.train(&[]).succeeded();
            scene.files("runs")
        });
        let scene = Scene::new(400, 40);
        for (path, bytes) in files {
            scene.write(path, bytes);
        }
        scene
    }

    /// Also with `runs/other`, a second model with other initial weights and less training.
    pub fn two() -> Scene {
        let scene = Scene::trained();
        let less = ["--out", "runs/other", "--set", "seed=2", "--set", "training.steps=150"];
        scene.train(&less).succeeded();
        scene
    }

    /// A path in the folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and the folders above it.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The bytes of a file.
    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A file's text.
    pub fn text(&self, name: impl AsRef<Path>) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// The rows of a run's metrics.csv of one kind, by the names of the columns.
    pub fn metrics(&self, run: &str, kind: &str) -> Vec<BTreeMap<String, String>> {
        let text = self.text(format!("{run}/metrics.csv"));
        let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize().map(Result::unwrap);
        rows.filter(|row: &BTreeMap<String, String>| row["kind"] == kind).collect()
    }

    /// All files under a folder, named from the scene's.
    pub fn files(&self, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![PathBuf::from(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.path(&folder)).unwrap() {
                let name = folder.join(entry.unwrap().file_name());
                if self.path(&name).is_dir() {
                    folders.push(name);
                } else {
                    found.insert(name.clone(), self.read(&name));
                }
            }
        }
        found
    }

    /// The checkpoint folder that a run's `latest` or `best` names.
    pub fn checkpoint(&self, run: &str, pointer: &str) -> PathBuf {
        let step = self.text(format!("{run}/{pointer}"));
        Path::new(run).join("checkpoints").join(step.trim())
    }

    /// Asserts that two runs have the same metrics and all bits of the training state.
    #[track_caller]
    pub fn same_run(&self, one: &str, other: &str) {
        assert_eq!(self.text(format!("{one}/metrics.csv")), self.text(format!("{other}/metrics.csv")));
        let weights = |run: &str| self.read(self.checkpoint(run, "latest").join("training.safetensors"));
        assert_eq!(weights(one), weights(other), "the state of the optimizer has all bits");
    }

    /// `seqloom train copy.toml` and more.
    pub fn train(&self, more: &[&str]) -> Finished {
        self.seqloom(&[&["train", "copy.toml"], more].concat())
    }

    /// `seqloom decode` on `runs/copy` and more; `input` is its standard input.
    pub fn decode(&self, more: &[&str], input: &str) -> Finished {
        self.fed(&[&["decode", "runs/copy"], more].concat(), input.as_bytes())
    }

    /// `seqloom verify` with the model `runs/copy`.
    pub fn verify(&self, more: &[&str], input: &str) -> Finished {
        self.fed(&[&["verify", "runs/copy"], more].concat(), input.as_bytes())
    }

    /// The binary, run in the folder.
    pub fn seqloom(&self, arguments: &[&str]) -> Finished {
        self.fed(arguments, b"")
    }

    /// The binary with something on its standard input.
    pub fn fed(&self, arguments: &[&str], input: &[u8]) -> Finished {
        if !self.sees_gpus && fork_server::can_run(arguments) {
            return fork_server::run(self.folder.path(), arguments, &[], input);
        }
        let mut child = self.spawn(arguments);
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A process may end before it has read all its input; a closed pipe is no error here.
        let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let finished = Finished::of(child);
        feeding.join().unwrap();
        finished
    }

    /// The binary, started in the folder.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        match self.sees_gpus {
            true => listened_to(binary(self.folder.path()).env_remove(GPUS).args(arguments)),
            false => start(self.folder.path(), arguments),
        }
    }
}

/// The binary, started in any folder.
pub fn start(folder: &Path, arguments: &[&str]) -> Child {
    listened_to(binary(folder).args(arguments))
}

/// The binary in a folder, where it sees no GPU.
pub fn binary(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seqloom"));
    command.current_dir(folder).env(GPUS, "");
    command
}

/// Which GPUs a process sees.
pub const GPUS: &str = "CUDA_VISIBLE_DEVICES";

/// Starts a command with pipes for stdin, stdout and stderr.
pub fn listened_to(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The result of a process.
#[derive(Debug)]
pub struct Finished {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Waits for the process.
    pub fn of(child: Child) -> Finished {
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts success.
    #[track_caller]
    pub fn succeeded(self) -> Finished {
        assert_eq!(self.code, Some(0), "a signal where there is no code:\n{}", self.stderr);
        self
    }

    /// Asserts this exit code, exactly this text on stderr, and nothing on stdout.
    #[track_caller]
    pub fn refused(&self, code: i32, stderr: &str) {
        assert_eq!(self.stderr.trim_end(), stderr);
        self.refused_naming(code, &[]);
    }

    /// Asserts a short error without internals that contains all of `parts`.
    #[track_caller]
    pub fn refused_naming(&self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{}", self.stderr);
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        assert!(self.stderr.lines().count() <= 4, "{}", self.stderr);
        for ours in ["panicked", "RUST_BACKTRACE", "frame #", "src/"] {
            assert!(!self.stderr.contains(ours), "{}", self.stderr);
        }
        for part in parts {
            assert!(self.stderr.contains(part), "must contain {part:?}:\n{}", self.stderr);
        }
    }
}

/// Waits until something holds; fails after a minute.
#[track_caller]
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// `count` different words of two to six letters, the same ones on every call.
pub fn words(count: usize) -> Vec<String> {
    let mut state = 1u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let (mut seen, mut words) = (BTreeSet::new(), Vec::new());
    while words.len() < count {
        let length = 2 + next(5);
        let word: String = (0..length).map(|_| char::from(b'a' + next(8) as u8)).collect();
        if seen.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}

/// A line of text for each word.
pub fn lines(words: &[String]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}

/// Lines of words, some with unknown letters, so that not all probabilities are near 1.
pub fn unsure_lines(count: usize) -> String {
    words(count).iter().zip(0..).map(|(word, n)| format!("{word}{}\n", ["", "z", "zz"][n % 3])).collect()
}

/// The rows of a .jsonl file.
pub fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One column of a run's metrics.
pub fn numbers(rows: &[BTreeMap<String, String>], name: &str) -> Vec<f64> {
    rows.iter().map(|row| row[name].parse().unwrap()).collect()
}

fn table(words: &[String]) -> String {
    let rows: String = words.iter().map(|word| format!("{word},{word}\n")).collect();
    format!("source,target\n{rows}")
}
