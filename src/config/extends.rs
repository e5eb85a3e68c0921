//! `extends = "base.toml"`: a config on top of another one.
//!
//! The base is named from the folder of the file that names it, and may extend a file itself. Tables are joined key by
//! key, and the value of the file that extends wins. Of alternative tables (another tokenizer, network, optimizer or
//! schedule) its own replaces that of the base, as with `--set`. Choices of a `[sweep]` are values of their keys.

use std::path::{Path, PathBuf};

use super::file::{Places, Text, bytes_of, text_of};
use super::tree::{Entry, Node, Value};
use super::{ALTERNATIVES, choices};
use crate::error::{ConfigError, Origin};

/// The key.
pub(super) const KEY: &str = "extends";

/// Keys whose tables are values: one replaces that of the base as a whole.
const VALUES: [&str; 3] = ["data.train", "data.valid", "data.test"];

/// The tree of a config on top of the files that it extends, whose texts are added to `places`.
///
/// # Errors
/// Invalid TOML; a file that cannot be read, or that extends itself.
pub(super) fn tree_of(path: &Path, places: &mut Places<'_>) -> Result<Node, ConfigError> {
    let mut tree = Node::from_toml(places.text())?;
    let (mut above, mut paths) = (Vec::new(), vec![path.to_path_buf()]);
    while let Some((name, origin)) = take_name(&mut tree)? {
        let folder = paths.last().and_then(|path| path.parent()).unwrap_or(Path::new(""));
        let base = folder.join(name);
        check_chain(&paths, &base, origin)?;
        above.push(std::mem::replace(&mut tree, read(&base, origin, places)?));
        paths.push(base);
    }
    Ok(above.into_iter().rev().fold(tree, on_top))
}

/// Takes the name of the base out of a tree.
fn take_name(tree: &mut Node) -> Result<Option<(String, Origin)>, ConfigError> {
    let Some(Entry { node, .. }) = tree.take(KEY) else { return Ok(None) };
    match node.value {
        Value::Text(name) if !name.is_empty() => Ok(Some((name, node.origin))),
        other => {
            let message =
                format!("`{KEY}` must be the name of a config in quotes, but it is {}", other.shown());
            Err(ConfigError::written(node.origin, message))
        }
    }
}

/// Refuses a file that the chain already has.
fn check_chain(paths: &[PathBuf], next: &Path, origin: Origin) -> Result<(), ConfigError> {
    let Ok(wanted) = next.canonicalize() else { return Ok(()) };
    let is_it = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == wanted);
    let Some(first) = paths.iter().position(is_it) else { return Ok(()) };
    let chain = paths[first..].iter().map(PathBuf::as_path).chain([next]);
    let chain: Vec<String> = chain.map(|path| path.display().to_string()).collect();
    let message = format!("a config must not extend itself, but {}", chain.join(" extends "));
    Err(ConfigError::written(origin, message))
}

/// The tree of a base, which is named at `origin`.
fn read(path: &Path, origin: Origin, places: &mut Places<'_>) -> Result<Node, ConfigError> {
    let place = path.display().to_string();
    let text = bytes_of(path).and_then(|bytes| text_of(bytes, &place));
    let text = text.map_err(|error| ConfigError::written(origin, error.message()))?;
    let number = places.texts.len();
    let tree = Node::from_toml_at(&text, &|byte| Origin::Base(number, byte));
    places.texts.push(Text { place, text });
    tree
}

/// A base with a config on top of it.
fn on_top(mut base: Node, mut over: Node) -> Node {
    let replaced = replaced_by(&over);
    for path in &replaced {
        let Some((table, name)) = path.rsplit_once('.') else { continue };
        if let Some(entries) = base.entries_at(table) {
            entries.retain(|entry| entry.key != name);
        }
    }
    choices::put_on_top(&mut base, &mut over, &replaced);
    join(&mut base, over, "");
    base
}

/// The tables of a base that a config replaces: the alternatives to those that it has.
fn replaced_by(over: &Node) -> Vec<String> {
    let others = |(table, names): (&str, &[&str])| {
        let paths = names.iter().map(|name| format!("{table}.{name}"));
        let (own, others): (Vec<String>, Vec<String>) = paths.partition(|path| over.at(path).is_some());
        if own.is_empty() { own } else { others }
    };
    ALTERNATIVES.into_iter().flat_map(others).collect()
}

/// Joins tables, or else replaces the value; `path` is its place.
fn join(base: &mut Node, over: Node, path: &str) {
    let are_tables = matches!((&base.value, &over.value), (Value::Table(_), Value::Table(_)));
    if !are_tables || VALUES.contains(&path) {
        *base = over;
        return;
    }
    base.origin = over.origin;
    let (Value::Table(entries), Value::Table(added)) = (&mut base.value, over.value) else { return };
    for Entry { key, origin, node } in added {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => {
                entry.origin = origin;
                join(&mut entry.node, node, &below);
            }
            None => entries.push(Entry { key, origin, node }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(base: &str, over: &str, path: &str) -> Option<String> {
        let tree = |text: &str| Node::from_toml(text).unwrap();
        on_top(tree(base), tree(over)).at(path).map(|node| node.value.shown())
    }

    #[test]
    fn tables_are_joined_and_alternatives_replaced() {
        let base = "name = \"a\"\n[training]\nsteps = 1\n[training.adamw]\nbeta1 = 0.5\nbeta2 = 0.6";
        let joined = |path| shown(base, "name = \"b\"\n[training.adamw]\nbeta2 = 0.7", path);
        assert_eq!(joined("name").unwrap(), "\"b\"");
        assert_eq!(
            ["training.steps", "training.adamw.beta1"].map(|path| joined(path).unwrap()),
            ["1", "0.5"]
        );
        assert_eq!(joined("training.adamw.beta2").unwrap(), "0.7");
        let other = |path| shown(base, "[training.sgd]\nmomentum = 0.9", path);
        assert_eq!((other("training.adamw"), other("training.steps").unwrap()), (None, "1".to_owned()));
        let files = shown(
            "data.train = { source = \"a\", target = \"b\" }",
            "data.train.file = \"c\"",
            "data.train.source",
        );
        assert_eq!(files, None);
    }

    #[test]
    fn choices_of_a_sweep_replace_those_of_the_base() {
        let base = "[training.adamw]\nbeta1 = 0.5\n[sweep]\nrandom = 9\nseed = 3\ntraining.steps = { low = 1, high = 3 }\n\
                    \"training.adamw.learning_rate\" = [0.1, 0.2]\nmodel.transformer.width = [8, 16]\n";
        let keys = |over: &str| -> Vec<String> {
            let tree = |text: &str| Node::from_toml(text).unwrap();
            let mut tree = on_top(tree(base), tree(over));
            let entries = tree.entries_at("sweep").map(std::mem::take).unwrap_or_default();
            entries
                .into_iter()
                .map(|Entry { key, node, .. }| format!("{key}: {}", node.value.shown()))
                .collect()
        };
        let [random, seed] = ["random: 9", "seed: 3"];
        let (steps, width) = ("training.steps: a table", "model.transformer.width: a list");
        let rate = "training.adamw.learning_rate: a list";
        assert_eq!(keys("name = \"b\"\nseed = 4"), [random, seed, steps, rate, width]);
        // In whichever spelling. The ends of a range are no keys: both are those of one file.
        let over = "[sweep]\n\"training.steps\" = { high = 9 }\nrandom = 2\n";
        assert_eq!(keys(over), [seed, rate, width, steps, "random: 2"]);
        let both = on_top(Node::from_toml(base).unwrap(), Node::from_toml(over).unwrap());
        assert!(both.at("sweep").is_some_and(|sweep| match &sweep.value {
            Value::Table(entries) => entries.iter().all(|entry| entry.node.at("low").is_none()),
            _ => false,
        }));
        // A value for a key, and another optimizer, leave nothing to choose.
        assert_eq!(keys("training.steps = 5\n[model.transformer]\nheads = 2"), [random, seed, rate, width]);
        assert_eq!(keys("[training.sgd]"), [random, seed, steps, width]);
        let none = "training = { steps = 5, sgd = {} }\nmodel.transformer.width = 8";
        assert!(keys(none).is_empty());
    }
}
