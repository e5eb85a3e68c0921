//! The config: reading, `--set`, defaults, rules between tables, and writing.
//!
//! It assembles the `*Config` structs that each module owns beside its code; no module uses this file.
//! A rule inside one table is in that table's module, a rule between tables is here.
//! Other files make the tree of a file: the one that it `extends`, and the choices of its `[sweep]`.
//! Every error names its place: `file:line:column`, or its `--set`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{DataConfig, SideConfig};
use crate::decoding::{DecodingConfig, Method};
use crate::error::{ConfigError, Origin, Result};
use crate::model::{ModelConfig, NetworkConfig, Positions, Tied};
use crate::runtime::RuntimeConfig;
use crate::training::TrainingConfig;

mod choices;
mod extends;
mod file;
pub(crate) mod nearest;
pub(crate) mod page;
mod problems;
mod read;
mod sweep;
mod tree;
mod twice;

use file::{Places, with_init};
#[cfg(feature = "cli")]
pub(crate) use problems::Checked;
#[cfg(feature = "cli")]
pub(crate) use sweep::Variant;
use tree::{Node, Value};

/// The longest name, in bytes.
const LONGEST_NAME: usize = 200;

/// Alternative tables, of which a config has one: one set by `--set` replaces that of the file.
const ALTERNATIVES: [(&str, &[&str]); 5] = [
    ("model", &ModelConfig::NETWORKS),
    ("data.source", &SideConfig::TOKENIZERS),
    ("data.target", &SideConfig::TOKENIZERS),
    ("training", &TrainingConfig::OPTIMIZERS),
    ("training", &TrainingConfig::SCHEDULES),
];

/// Keys that users expect in another table: (table, typed key, tables that have it, of which the one in the file or the
/// first is suggested, name of the key there).
const ELSEWHERE: [(&str, &str, &[&str], &str); 8] = [
    ("training", "learning_rate", &TrainingConfig::OPTIMIZERS, "learning_rate"),
    ("training", "lr", &TrainingConfig::OPTIMIZERS, "learning_rate"),
    ("training", "weight_decay", &TrainingConfig::OPTIMIZERS, "weight_decay"),
    ("training", "warmup", &TrainingConfig::SCHEDULES, "warmup"),
    ("training", "batch_size", &[], "tokens_per_batch"),
    ("model", "width", &ModelConfig::NETWORKS, "width"),
    ("model", "heads", &["transformer"], "heads"),
    ("model", "dropout", &ModelConfig::NETWORKS, "dropout"),
];

/// Keys that are not part of an experiment: (key, what must hold, hint).
const NOT_OF_EXPERIMENTS: [(&str, &str, &str); 2] = [
    (
        extends::KEY,
        "`extends` must be at the top of a config file",
        "it is read with the file, and names another one from the folder of that file",
    ),
    (
        choices::TABLE,
        "[sweep] is for `seqloom experiment`, which trains all of its choices",
        "run `seqloom experiment CONFIG`, or take [sweep] out of the config",
    ),
];

/// A complete experiment, checked: every key has its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The name of the run, and of its folder in `runs/`.
    pub name: String,
    /// The seed of all random numbers of the run.
    #[serde(default = "first_seed")]
    pub seed: u64,
    /// `[data]`
    pub data: DataConfig,
    /// `[model]`
    #[serde(default)]
    pub model: ModelConfig,
    /// `[training]`
    #[serde(default)]
    pub training: TrainingConfig,
    /// `[decoding]`
    #[serde(default)]
    pub decoding: DecodingConfig,
    /// `[runtime]`
    #[serde(default)]
    pub runtime: RuntimeConfig,
}

fn first_seed() -> u64 {
    1
}

impl Experiment {
    /// Reads an experiment file, and those that it extends. Each override is a `key.path=value`, as for `--set`.
    ///
    /// # Errors
    /// A file cannot be read or extends itself; errors of [`Experiment::parse`].
    pub fn load(path: &Path, overrides: &[String]) -> Result<Experiment> {
        let mut places = Places::read(path, overrides)?;
        let tree = extends::tree_of(path, &mut places);
        tree.and_then(|tree| resolve(tree, overrides)).map_err(|error| with_init(path, places.error(error)))
    }

    /// Reads the text of an experiment file; `place` is its name in error messages.
    ///
    /// An override replaces or adds the value at its path; another optimizer, schedule or tokenizer replaces that of
    /// the file. Its value is TOML if it parses as TOML, else text: `runtime.device=cpu`, `training.steps=100`,
    /// `data.train=["a.csv", "b.csv"]`. A text without a file cannot extend another one.
    ///
    /// # Errors
    /// Invalid TOML; unknown, missing and ill-typed keys; values that break a rule.
    pub fn parse(text: &str, place: &str, overrides: &[String]) -> Result<Experiment> {
        let places = Places::new(place, text, overrides);
        Node::from_toml(text).and_then(|tree| resolve(tree, overrides)).map_err(|error| places.error(error))
    }

    /// The same experiment with further overrides, checked again.
    ///
    /// # Errors
    /// As [`Experiment::parse`].
    pub fn with_overrides(&self, overrides: &[String]) -> Result<Experiment> {
        let place = format!("experiment `{}`", self.name);
        let places = Places::new(&place, "", overrides);
        Node::from_json(&self.to_json())
            .and_then(|tree| resolve(tree, overrides))
            .map_err(|error| places.error(error))
    }

    /// The experiment as TOML with every key; [`Experiment::parse`] reads it back to an equal one.
    pub fn to_toml(&self) -> String {
        // Unreachable after parsing: only numbers above 2^63 cannot be written, and they are never read.
        toml::to_string(self)
            .unwrap_or_else(|error| format!("# this experiment cannot be written as TOML: {error}\n"))
    }

    /// The experiment as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        // Unreachable: all map keys are strings.
        serde_json::to_value(self).unwrap_or(serde_json::Value::Null)
    }

    /// The same for a checkpoint, without the number of threads, which does not affect the model. So the model file is
    /// the same for any number, and decoding uses the cores of its own machine.
    pub(crate) fn to_checkpoint(&self) -> serde_json::Value {
        let mut json = self.to_json();
        if let Some(runtime) = json["runtime"].as_object_mut() {
            runtime.remove("threads");
        }
        json
    }

    /// Reads the JSON of [`Experiment::to_json`] or [`Experiment::to_checkpoint`], as strictly as a file; `place` is
    /// its name in error messages.
    ///
    /// # Errors
    /// As [`Experiment::parse`].
    pub fn from_json(json: &serde_json::Value, place: &str) -> Result<Experiment> {
        let places = Places::new(place, "", &[]);
        Node::from_json(json).and_then(|tree| resolve(tree, &[])).map_err(|error| places.error(error))
    }

    fn fill_in(&mut self) {
        self.data.fill_in();
        self.model.fill_in();
        if let Some(transformer) = &mut self.model.transformer {
            transformer.ctc.get_or_insert(self.data.source.audio.is_some());
        }
        self.training.fill_in();
    }

    /// Every broken rule: those inside the tables, or else those between them.
    fn broken_rules(&self) -> Vec<ConfigError> {
        let in_tables = [
            check_name(&self.name),
            self.data.check(),
            self.model.check(),
            self.training.check(),
            self.decoding.check(),
            self.runtime.check(),
        ];
        let broken: Vec<ConfigError> = in_tables.into_iter().filter_map(|checked| checked.err()).collect();
        if !broken.is_empty() {
            return broken;
        }
        let between = [
            self.check_tied(),
            self.check_recordings(),
            self.check_sets(),
            self.check_method(),
            self.check_positions(),
        ];
        between.into_iter().filter_map(|checked| checked.err()).collect()
    }

    /// CTC needs its head.
    fn check_method(&self) -> std::result::Result<(), ConfigError> {
        if self.decoding.method == Method::Attention || self.model.network().has_ctc() {
            return Ok(());
        }
        let (keys, method) = (["decoding.method", "model.transformer.ctc"], self.decoding.method.name());
        let message = format!("`method` = \"{method}\" needs a model with a CTC head, but this one has none");
        Err(ConfigError::rule(&keys, message)
            .hint("train with `model.transformer.ctc` = true, or use `method` = \"attention\""))
    }

    /// Not everything that reads texts reads recordings.
    fn check_recordings(&self) -> std::result::Result<(), ConfigError> {
        if self.data.source.audio.is_none() {
            return Ok(());
        }
        match self.model.network() {
            NetworkConfig::Recurrent(_) => {
                let message = "a recurrent network cannot read recordings";
                Err(ConfigError::rule(&["model.recurrent", "data.source.audio"], message)
                    .hint("use [model.transformer]"))
            }
            NetworkConfig::Transformer(_) if self.decoding.replace_unknown => {
                let message = "`replace_unknown` copies symbols of texts, but the sources are recordings";
                Err(ConfigError::rule(&["decoding.replace_unknown", "data.source.audio"], message))
            }
            NetworkConfig::Transformer(_) => Ok(()),
        }
    }

    /// Symbols without an order need a network that reads positions.
    fn check_sets(&self) -> std::result::Result<(), ConfigError> {
        let has_set = self.data.source.parts.iter().any(|part| part.set);
        match self.model.network() {
            NetworkConfig::Recurrent(_) if has_set => {
                let message = "a recurrent network reads one symbol after the other, but a part is a `set`";
                Err(ConfigError::rule(&["data.source.parts", "model.recurrent"], message))
            }
            _ => Ok(()),
        }
    }

    /// Tied embeddings of both sides need a shared vocabulary.
    fn check_tied(&self) -> std::result::Result<(), ConfigError> {
        let network = self.model.network();
        if network.tied_embeddings() != Tied::All || self.data.shared_vocabulary {
            return Ok(());
        }
        let keys = [&format!("{}.tied_embeddings", network.table()), "data.shared_vocabulary"];
        let message = "`tied_embeddings` = \"all\" needs `data.shared_vocabulary` = true, but it is false";
        Err(ConfigError::rule(&keys, message)
            .hint("\"target_output\" ties two of the three and needs no shared vocabulary"))
    }

    /// Learned positions must cover the longest side.
    fn check_positions(&self) -> std::result::Result<(), ConfigError> {
        let NetworkConfig::Transformer(transformer) = self.model.network() else { return Ok(()) };
        let recording = self.data.source.audio.as_ref().map(|audio| audio.max_positions());
        // Beside a set, positions count from 1.
        let from = usize::from(self.data.source.parts.iter().any(|part| part.set));
        let source = recording.unwrap_or(self.data.source.max_length + from);
        let longest = source.max(self.data.target.max_length);
        if transformer.positions != Positions::Learned || transformer.max_positions > longest {
            return Ok(());
        }
        let keys = [
            "model.transformer.max_positions",
            "model.transformer.positions",
            "data.source.max_length",
            "data.target.max_length",
        ];
        let (least, there) = (longest + 1, transformer.max_positions);
        let message =
            format!("`max_positions` must be at least {least} for `learned` positions, but it is {there}");
        Err(ConfigError::rule(&keys, message).hint(match recording {
            Some(positions) if positions == longest => {
                format!(
                    "a recording of `max_seconds` has {longest} positions of 4 frames at its slowest speed"
                )
            }
            _ => format!("the longer side has `max_length` {longest}, and BOS or EOS adds one"),
        }))
    }
}

/// The name must be a valid folder name on any system.
fn check_name(name: &str) -> std::result::Result<(), ConfigError> {
    let plain = |c: char| !matches!(c, '/' | '\\' | ':') && !c.is_control();
    let message = match name {
        "" => "`name` must not be empty".to_string(),
        _ if name.len() > LONGEST_NAME => {
            let message = format!("`name` may have {LONGEST_NAME} bytes, but it has {}", name.len());
            return Err(ConfigError::rule(&["name"], message).hint("choose a shorter name"));
        }
        "." | ".." => format!("`name` must be a plain folder name, but it is {name:?}"),
        _ if name.trim() == name && name.chars().all(plain) => return Ok(()),
        _ => format!("`name` must be a plain folder name, but it is {name:?}"),
    };
    let hint = "the run's folder is runs/NAME: letters, digits, `-`, `_` and `.` are safe";
    Err(ConfigError::rule(&["name"], message).hint(hint))
}

/// Builds a checked experiment from a tree and overrides.
fn resolve(mut tree: Node, overrides: &[String]) -> std::result::Result<Experiment, ConfigError> {
    for (number, argument) in overrides.iter().enumerate() {
        tree.set(number, argument)?;
    }
    if let Some(error) = take_others(&mut tree).into_iter().next() {
        return Err(error);
    }
    complete(&mut tree);
    let experiment = read_experiment(&tree)?;
    match experiment.broken_rules().into_iter().next() {
        Some(error) => Err(locate(error, &tree)),
        None => Ok(experiment),
    }
}

/// Takes out the keys that are not part of an experiment, with their errors.
fn take_others(tree: &mut Node) -> Vec<ConfigError> {
    let error = |(key, message, hint): (&str, &str, &str)| {
        let entry = tree.take(key)?;
        Some(ConfigError::written(entry.origin, message).hint(hint))
    };
    NOT_OF_EXPERIMENTS.into_iter().filter_map(error).collect()
}

/// Keeps one of alternative tables, and adds `[data]`.
fn complete(tree: &mut Node) {
    for (table, names) in ALTERNATIVES {
        tree.prefer_set(table, names);
    }
    // So that a file without [data] gets an error for the missing key.
    if tree.at("data").is_none()
        && let Value::Table(entries) = &mut tree.value
    {
        let node = Node::new(Value::Table(Vec::new()), Origin::Unseen);
        entries.push(tree::Entry { key: "data".to_string(), origin: Origin::Unseen, node });
    }
}

/// The experiment of a complete tree, with every default; its rules are not checked.
fn read_experiment(tree: &Node) -> std::result::Result<Experiment, ConfigError> {
    let mut experiment: Experiment = read::read(tree)?;
    experiment.fill_in();
    Ok(experiment)
}

/// Adds the origin to a broken rule: a key from `--set`, else the first of its keys that is written.
fn locate(error: ConfigError, tree: &Node) -> ConfigError {
    let written: Vec<&Node> = error.keys.iter().filter_map(|key| tree.at(key)).collect();
    let set = written.iter().find_map(|node| node.set_within());
    let origin = set.or(written.first().map(|node| node.origin)).unwrap_or(Origin::Unseen);
    ConfigError { origin: Some(origin), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_points_to_the_override_rather_than_to_the_file() {
        let mut tree = Node::from_toml("[a]\nx = 1\ny = 2").unwrap();
        let error = |keys: &[&str]| ConfigError::new("a", keys, "");
        assert_eq!(locate(error(&["x", "y"]), &tree).origin, Some(Origin::File(8)));
        assert_eq!(locate(error(&["z", "y"]), &tree).origin, Some(Origin::File(14)));
        assert_eq!(locate(error(&["z"]), &tree).origin, Some(Origin::Unseen));
        tree.set(7, "a.y=3").unwrap();
        assert_eq!(locate(error(&["x", "y"]), &tree).origin, Some(Origin::Set(7)));
    }
}
