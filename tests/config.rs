//! The experiment file from outside: reading, writing, and `--set`.
//!
//! Errors and their messages are in `refused` and `recordings`; the content of configs/ is checked in `reference`.

use std::path::{Path, PathBuf};

use seqloom::config::Experiment;

mod extends;
mod recordings;
mod reference;
mod refused;

/// A minimal experiment file. Text that a test appends starts in line 5.
const LEAST: &str = "name = \"a\"\n[data]\ntrain = \"train.csv\"\nvalid = \"valid.csv\"\n";

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|item| item.to_string()).collect()
}

fn accepted(text: &str, overrides: &[&str]) -> Experiment {
    Experiment::parse(text, "a.toml", &strings(overrides)).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The error, which must always be an input error.
fn refused(text: &str, overrides: &[&str]) -> String {
    match Experiment::parse(text, "a.toml", &strings(overrides)) {
        Ok(_) => panic!("accepted: {text} {overrides:?}"),
        Err(error) => {
            assert_eq!(error.exit_code(), 2, "{error}");
            error.to_string()
        }
    }
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

#[test]
fn an_override_is_toml_or_otherwise_text() {
    for (argument, toml) in [
        ("training.steps=100", "[training]\nsteps = 100"),
        ("runtime.device=cuda:1", "[runtime]\ndevice = \"cuda:1\""),
        ("model.transformer.positions=rotary", "[model.transformer]\npositions = \"rotary\""),
        ("model.transformer.bias = false", "[model.transformer]\nbias = false"),
        ("training.adamw={learning_rate=1e-2}", "[training.adamw]\nlearning_rate = 0.01"),
        ("data.source.bpe.vocabulary=100", "[data.source.bpe]\nvocabulary = 100"),
        ("data.source.column=1", "[data.source]\ncolumn = \"1\""),
    ] {
        assert_eq!(accepted(LEAST, &[argument]), accepted(&format!("{LEAST}{toml}"), &[]), "{argument}");
    }
    let train = |value: &str| accepted(&LEAST.replace("\"train.csv\"", value), &[]);
    assert_eq!(accepted(LEAST, &["data.train=/tmp/a b=c.csv"]), train("\"/tmp/a b=c.csv\""));
    assert_eq!(accepted(LEAST, &["data.train=[\"a.csv\", \"b.csv\"]"]), train("[\"a.csv\", \"b.csv\"]"));
    assert_eq!(accepted(LEAST, &["seed=2", "seed=3"]).seed, 3);
    let alone = accepted("", &["name=a", "data.train=train.csv", "data.valid=valid.csv"]);
    assert_eq!(alone, accepted(LEAST, &[]));
}

#[test]
fn an_override_with_an_alternative_table_replaces_that_of_the_file() {
    let file = format!(
        "{LEAST}[data.source.bpe]\n[model.transformer]\nheads = 2\n[training.adam]\nlearning_rate = 0.1\n[training.inverse_sqrt]\nwarmup = 5"
    );
    let replaced = accepted(
        &file,
        &[
            "training.sgd.learning_rate=0.2",
            "training.linear={}",
            "data.source.words.minimum_count=2",
            "model.recurrent.width=64",
        ],
    );
    let rest = "[data.source.words]\nminimum_count = 2\n[model.recurrent]\nwidth = 64\n[training.sgd]\nlearning_rate = 0.2\n[training.linear]";
    assert_eq!(replaced, accepted(&format!("{LEAST}{rest}"), &[]));
    assert_eq!(
        accepted(&file, &["training.adam.learning_rate=0.2"]).training.adam.unwrap().learning_rate,
        0.2
    );
    let further = accepted(&file, &[]).with_overrides(&strings(&["training.linear={}"])).unwrap();
    assert!(further.training.inverse_sqrt.is_none() && further.training.linear.is_some());
}

#[test]
fn a_written_experiment_reads_as_the_same_experiment() {
    let files = "data.train=[{source='a.en',target='a.de'}, 'b.csv']";
    let more = [
        "data.valid={source='c.en',target='c.de'}",
        "decoding.max_length=9",
        "training.linear.final_share=0.1",
    ];
    for overrides in [vec![], vec![files], [&[files][..], &more].concat()] {
        let experiment = accepted(LEAST, &overrides);
        assert_eq!(accepted(&experiment.to_toml(), &[]), experiment);
        let json = serde_json::from_str(&experiment.to_json().to_string()).unwrap();
        assert_eq!(Experiment::from_json(&json, "model.safetensors").unwrap(), experiment);
    }
}

#[test]
fn a_validated_experiment_accepts_further_overrides() {
    let experiment = accepted(LEAST, &[]);
    let longer = experiment.with_overrides(&strings(&["decoding.batch_size=7"])).unwrap();
    assert_eq!(longer, accepted(LEAST, &["decoding.batch_size=7"]));
    let error = experiment.with_overrides(&strings(&["decoding.batch_size=0"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: --set decoding.batch_size=0: `batch_size` must be at least 1, but it is 0"
    );
}

#[test]
fn the_json_of_a_checkpoint_is_read_as_strictly_as_a_file() {
    let mut json = accepted(LEAST, &[]).to_json();
    json["model"]["transformer"]["extra"] = 1.into();
    let error = Experiment::from_json(&json, "model.safetensors").unwrap_err().to_string();
    assert!(
        error.starts_with("error: model.safetensors: unknown key `extra` in [model.transformer]\n"),
        "{error}"
    );
}

#[test]
fn an_unreadable_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let load = || Experiment::load(&path, &[]).unwrap_err();
    let missing = format!("error: cannot read {}: no such file or directory", path.display());
    assert_eq!(load().to_string(), missing);
    std::fs::write(&path, b"name = \"\xff\"").unwrap();
    assert_eq!(load().message(), format!("{}: a config must be UTF-8 text, but it is not", path.display()));
    std::fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    let large = "a config must have at most 1048576 bytes, but this has more";
    assert_eq!(load().message(), format!("{}: {large}", path.display()));
}

#[test]
fn no_text_causes_a_panic() {
    let text = std::fs::read_to_string(configs().join("multi30k_small.toml")).unwrap();
    for (at, _) in text.char_indices() {
        let (before, after) = text.split_at(at);
        let rest: String = after.chars().skip(1).collect();
        for broken in ["", "\u{0}", "\"", "]", "ä", "="] {
            let _ = Experiment::parse(&format!("{before}{broken}{rest}"), "a.toml", &[]);
            let _ = Experiment::parse(&format!("{before}{broken}"), "a.toml", &[]);
            let _ = Experiment::parse("", "a.toml", &[format!("{}{broken}", before.replace('\n', " "))]);
        }
    }
    for deep in ["[", "{a=", "a.", "[a."] {
        let _ = Experiment::parse(&format!("a = {}", deep.repeat(10_000)), "a.toml", &[]);
        let _ = Experiment::parse(&deep.repeat(10_000), "a.toml", &[format!("{}=1", deep.repeat(10_000))]);
    }
}
