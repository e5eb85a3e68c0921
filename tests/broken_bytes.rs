//! Random broken inputs of all that is read: nothing panics, nothing hangs, and memory stays small. By default a few
//! thousand of each kind; SEQLOOM_CASES=1000000 tries as many. fuzz/ has the same for cargo fuzz.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use seqloom::data::readers::Format;
use seqloom::fuzzing;

use crate::support::run::Scene;

/// What the readers look at.
const FRAGMENTS: [&str; 40] = [
    "source",
    "target",
    "\"",
    "\"\"",
    ",",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "{",
    "}",
    "[",
    "]",
    ":",
    "\\",
    "\\u12",
    "\\ud800",
    "null",
    "true",
    "-1",
    "1e999",
    "0",
    "99999999999999999999",
    "name",
    "data",
    "=",
    "[data]",
    "[[data.source.parts]]",
    ".",
    "#",
    "'''",
    "\u{feff}",
    "\0",
    "é",
    "\u{301}",
    "▁",
    "<unk>",
    "kind",
    "tokens",
    "\u{10ffff}",
];

/// A change to the bytes of a valid input.
#[derive(Clone, Debug)]
enum Change {
    Insert(Index, &'static str),
    Replace(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        4 => (place(), select(&FRAGMENTS[..])).prop_map(|(at, text)| Change::Insert(at, text)),
        2 => (place(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        2 => (place(), 1..20usize).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (place(), 1..40usize).prop_map(|(at, count)| Change::Repeat(at, count)),
        1 => place().prop_map(Change::Cut),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        let range = |at: &Index, count: usize, bytes: &[u8]| {
            let start = place(at, bytes);
            start..(start + count).min(bytes.len())
        };
        match self {
            Change::Insert(at, text) => {
                let at = place(at, bytes);
                bytes.splice(at..at, text.bytes());
            }
            Change::Replace(at, byte) => {
                let at = place(at, bytes);
                bytes.get_mut(at).into_iter().for_each(|old| *old = *byte);
            }
            Change::Remove(at, count) => drop(bytes.drain(range(at, *count, bytes))),
            Change::Repeat(at, count) => {
                let (at, part) = (place(at, bytes), bytes[range(at, *count, bytes)].to_vec());
                bytes.splice(at..at, part);
            }
            Change::Cut(at) => bytes.truncate(place(at, bytes)),
        }
    }
}

/// Calls `read` with broken inputs: changed ones of `valid`, and fragments in any order.
fn try_all(valid: &[Vec<u8>], read: impl Fn(&[u8])) {
    let cases = std::env::var("SEQLOOM_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3000);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let fragments = vec(select(&FRAGMENTS[..]), 0..60).prop_map(|parts| parts.concat().into_bytes());
    let changed = (select(valid.to_vec()), vec(change(), 1..8)).prop_map(|(mut bytes, changes)| {
        changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    });
    let tried = runner.run(&prop_oneof![3 => changed, 1 => fragments], |bytes| {
        read(&bytes);
        Ok(())
    });
    tried.unwrap();
    if cfg!(target_os = "linux") {
        assert!(peak_memory() < 2 << 20, "{} KiB", peak_memory());
    }
}

/// The most memory of this process so far, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn broken_configs_are_refused() {
    let reference = include_str!("../configs/reference.toml");
    let small = r#"name = "a"
[data]
train = ["a.csv", { file = "b", format = "tsv" }]
valid = "b.csv"
[data.source]
parts = [{ column = "1", split = ";", set = true }, { column = "2", bpe = { vocabulary = 99 } }]
"#;
    try_all(&texts(&[reference, small]), fuzzing::config);
}

#[test]
fn broken_tables_and_texts_are_refused() {
    let valid = [
        "source,target\na,\"b \"\"c\"\"\"\n\"x\ny\",z\n",
        "source\ttarget\na\tb\n",
        "{\"source\":\"a\",\"target\":\"\\u00e9\",\"x\":{\"y\":[1]}}\n{\"source\":\"a\",\"target\":null}\n",
        "[{\"source\":\"a]\",\"target\":\"b\"},\n{\"target\":\"\",\"source\":\"\"}]\n",
    ];
    let formats = [Format::Text, Format::Csv, Format::Tsv, Format::Jsonl, Format::Json];
    try_all(&texts(&valid), |bytes| {
        formats.into_iter().for_each(|format| fuzzing::rows(bytes, format));
    });
}

#[test]
fn broken_model_files_are_refused() {
    let scene = Scene::trained();
    let model = scene.read(scene.checkpoint("runs/copy", "best").join("model.safetensors"));
    // The header, and few of the weights.
    let length = u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
    try_all(&[model[..8 + length + 64].to_vec()], fuzzing::model_file);
}

#[test]
fn broken_tokenizers_are_refused() {
    let side = |kind: &str, more: &str| {
        let specials = r#""<pad>","<unk>","<bos>","<eos>""#;
        format!(r#"{{"kind":"{kind}","tokens":[{specials},"▁","a","b","ab"]{more}}}"#)
    };
    let bpe = side("bpe", r#","merges":["a b"],"normalize":"nfkc","whitespace":"keep""#);
    let split = side("split", r#","separators":";""#);
    let parts = format!(r#"{{"kind":"parts","parts":[{{"column":"c","set":true,"tokenizer":{split}}}]}}"#);
    let both = |source: &str| format!(r#"{{"source":{source},"target":{bpe}}}"#).into_bytes();
    try_all(&[both(&bpe), both(&parts), both(&side("words", ""))], fuzzing::tokenizers);
}

/// A tokenizer.json, and models of SentencePiece.
#[test]
fn broken_ready_tokenizers_are_refused() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sentencepiece");
    let files = std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path());
    let models = files.filter(|path| path.extension().is_some_and(|extension| extension == "model"));
    let mut valid: Vec<Vec<u8>> = models.map(|path| std::fs::read(path).unwrap()).collect();
    let json = r#"{"model":{"type":"BPE","unk_token":"<unk>","vocab":{"<unk>":0,"a":1,"b":2,"ab":3},"merges":["a b"]},
        "added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"decoder":null}"#;
    valid.push(json.as_bytes().to_vec());
    try_all(&valid, fuzzing::ready_tokenizer);
}
