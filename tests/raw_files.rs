//! Files as they come from their homes train without a script, and the model decodes them: tables without a header,
//! under any name, of several columns, as JSON, compressed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::run::{Scene, words};

/// A small model, and few updates: what matters is how the files are read.
const SHORT: &str = "[model.transformer]\nwidth = 16\nheads = 2\nfeed_forward = 32\nencoder_layers = 1\n\
    decoder_layers = 1\n[training]\nsteps = 4\ntokens_per_batch = 256\n[runtime]\ndevice = \"cpu\"\nthreads = 1\n";

/// Each word with tags and a form, as rows of fields.
fn rows(fields: impl Fn(&str) -> Vec<String>) -> String {
    words(40).iter().map(|word| fields(word).join("\t") + "\n").collect()
}

fn config(data: &str) -> String {
    format!("name = \"raw\"\n[data]\n{data}\n{SHORT}")
}

fn owned(fields: &[&str]) -> Vec<String> {
    fields.iter().map(|field| (*field).to_owned()).collect()
}

/// Trains with a config, in a scene where `raw` and `raw.valid` are files.
fn train(data: &str, raw: &str) -> Scene {
    let scene = Scene::new(1, 1);
    scene.write("raw", raw);
    scene.write("raw.valid", raw);
    scene.write("raw.toml", config(data));
    scene.seqloom(&["train", "raw.toml"]).succeeded();
    scene
}

const FILES: &str = "train = \"raw\"\nvalid = \"raw.valid\"\nformat = \"tsv\"\nheader = false\n";

#[test]
fn a_unimorph_file_trains_with_lemma_and_tags_in_parts() {
    let raw = rows(|word| owned(&[word, &format!("{word}e"), "N;NOM(2,PL)"]));
    // A blank line follows each paradigm.
    let raw = raw.replacen('\n', "\n\n", 3);
    let parts = "[data.source]\nparts = [{ column = \"1\", characters = {} }, \
                 { column = \"3\", split = \";(),\", set = true }]\n[data.target]\ncolumn = \"2\"";
    let scene = train(&format!("{FILES}{parts}"), &raw);
    let whole = ["decode", "runs/raw", "--input", "raw", "--input-format", "tsv", "--format", "jsonl"];
    let decoded = scene.seqloom(&whole).succeeded();
    assert_eq!(decoded.stdout.lines().count(), 40);
    let first = words(1).remove(0);
    let start = format!(
        "{{\"1\":\"{first}\",\"3\":\"N;NOM(2,PL)\",\"source\":\"{first}\\tN;NOM(2,PL)\",\"reference\":"
    );
    assert!(decoded.stdout.starts_with(&start), "{}", decoded.stdout);
    assert!(decoded.stderr.contains("40 rows"), "{}", decoded.stderr);
    // Typed with a tab it is the same source.
    let typed =
        scene.fed(&["decode", "runs/raw", "--format", "jsonl"], format!("{first}\tN;NOM(2,PL)\n").as_bytes());
    let score =
        |text: &str| text.split("\"score\":").nth(1).map(|rest| rest.split(',').next().unwrap().to_owned());
    assert_eq!(score(&typed.succeeded().stdout), score(decoded.stdout.lines().next().unwrap()));
    let without_tags = scene.fed(&["decode", "runs/raw"], b"ab\n");
    without_tags.refused(2, "error: <stdin>:1: a source of this model must have 2 columns (`1`, `3`) with a tab between them, but it has 1");
    scene.seqloom(&["score", "runs/raw", "--input", "raw", "--input-format", "tsv"]).succeeded();
    let picture = ["attention", "runs/raw", "--text", "ab\tN;PL", "--output", "a.svg"];
    scene.seqloom(&picture).succeeded();
    assert!(scene.text("a.svg").contains("3=PL"));
}

#[test]
fn wikipron_tatoeba_and_sigmorphon_files_train_as_they_are() {
    let words_of_two = "[data.source]\ncolumn = \"1\"\n[data.target]\ncolumn = \"2\"\nwords = {}";
    let wikipron = rows(|word| owned(&[word, &word.chars().map(String::from).collect::<Vec<_>>().join(" ")]));
    train(&format!("{FILES}{words_of_two}"), &wikipron);
    let bpe = "[data.source]\ncolumn = \"2\"\nbpe = { vocabulary = 60 }\n[data.target]\ncolumn = \"4\"";
    let tatoeba =
        rows(|word| owned(&["77", &format!("Say {word}."), "3", &format!("\u{8aaa}{word}\u{3002}")]));
    train(&format!("{FILES}{bpe}"), &tatoeba);
    let joined = "[data.source]\nparts = [{ column = \"2\", split = \";\" }, { column = \"1\" }]\n\
                  [data.target]\ncolumn = \"3\"";
    let sigmorphon = rows(|word| owned(&[word, "V;PST", &format!("{word}t")]));
    train(&format!("{FILES}{joined}"), &sigmorphon);
}

/// The same pairs in each format train the same weights.
#[test]
fn each_format_and_each_compression_gives_the_same_model() {
    let words = words(60);
    let (train, valid) = words.split_at(50);
    let csv = |words: &[String]| {
        words.iter().fold("s,t\n".to_owned(), |all, word| format!("{all}{word},{word}{word}\n"))
    };
    let object = |word: &String| format!("{{\"pair\": {{\"s\": \"{word}\", \"t\": \"{word}{word}\"}}}}");
    let objects =
        |words: &[String], between: &str| words.iter().map(object).collect::<Vec<_>>().join(between);
    let scene = Scene::new(1, 1);
    let run = |name: &str, keys: &str, columns: [&str; 2]| {
        let [source, target] = columns;
        let sides = format!("[data.source]\ncolumn = \"{source}\"\n[data.target]\ncolumn = \"{target}\"");
        let files = format!("train = \"t.{name}\"\nvalid = \"v.{name}\"\n{keys}");
        scene.write("raw.toml", config(&format!("{files}\n{sides}")));
        scene.seqloom(&["train", "raw.toml", "--out", &format!("runs/{name}")]).succeeded();
        scene.read(scene.checkpoint(&format!("runs/{name}"), "best").join("model.safetensors"))
    };
    let tensors = |file: Vec<u8>| {
        let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        file[8 + header..].to_vec()
    };
    let write = |name: &str, make: &dyn Fn(&[String]) -> Vec<u8>| {
        scene.write(format!("t.{name}"), make(train));
        scene.write(format!("v.{name}"), make(valid));
    };
    write("csv", &|words| csv(words).into_bytes());
    let expected = tensors(run("csv", "", ["s", "t"]));
    let gzip = |bytes: Vec<u8>| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    write("csv.gz", &|words| gzip(csv(words).into_bytes()));
    write("csv.zst", &|words| zstd::encode_all(csv(words).as_bytes(), 3).unwrap());
    write("packed", &|words| gzip(csv(words).replace(',', "\t").into_bytes()));
    write("json", &|words| format!("[\n{}]", objects(words, ",\n\n")).into_bytes());
    write("lines.json", &|words| objects(words, "\n").into_bytes());
    write("jsonl.zst", &|words| zstd::encode_all(objects(words, "\n").as_bytes(), 3).unwrap());
    assert!(tensors(run("csv.gz", "", ["s", "t"])) == expected);
    assert!(tensors(run("csv.zst", "", ["s", "t"])) == expected);
    assert!(tensors(run("packed", "format = \"tsv\"", ["s", "t"])) == expected);
    for name in ["json", "lines.json", "jsonl.zst"] {
        assert!(tensors(run(name, "", ["pair.s", "pair.t"])) == expected, "{name}");
    }
}

#[test]
fn several_files_may_have_formats_of_their_own() {
    let scene = Scene::new(1, 1);
    scene.write("a.csv", "source,target\nab,ba\n");
    scene.write("b.txt", "cd\tdc\n");
    scene.write("c.src", "ef\n");
    scene.write("c.tgt", "fe\n");
    let files = "train = [\"a.csv\", { file = \"b.txt\", format = \"tsv\" }, { source = \"c.src\", target = \"c.tgt\" }]\n\
                 valid = \"a.csv\"";
    scene.write("raw.toml", config(files));
    scene
        .seqloom(&["train", "raw.toml"])
        .refused_naming(2, &["b.txt:1", "there must be a column `source`", "`cd`"]);
    scene.write("b.txt", "source\ttarget\ncd\tdc\n");
    let trained = scene.seqloom(&["train", "raw.toml"]).succeeded();
    assert!(trained.stderr.contains("3 training pairs"), "{}", trained.stderr);
}
