//! Rules of the code that the compiler does not check: which folder may use which, and what only one of them may do.
//!
//! It reads the paths (`crate::…`, `super::…`) and the words of src/, without comments and without what only unit tests
//! have.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules that each top module of src/ may use. A new one gets a row here, one in ARCHITECTURE.md, and a reason.
const MAY_USE: [(&str, &[&str]); 17] = [
    ("error", &[]),
    ("console", &["error"]),
    ("svg", &[]),
    ("shim", &["error"]),
    ("runtime", &["error", "shim"]),
    ("distributed", &["error", "shim"]),
    ("metrics", &["error"]),
    ("data", &["error", "runtime"]),
    ("model", &["error", "runtime", "shim", "data::batch", "data::source", "data::vocabulary"]),
    (
        "decoding",
        &[
            "error",
            "runtime",
            "data::batch",
            "data::batch_sampler",
            "data::source",
            "data::text_form",
            "data::vocabulary",
            "model",
        ],
    ),
    (
        "training",
        &[
            "error",
            "console",
            "svg",
            "runtime",
            "distributed",
            "shim",
            "data",
            "model",
            "decoding",
            "metrics",
        ],
    ),
    ("checkpoint", &["error", "model::params"]),
    ("config", &["error", "runtime", "data", "model", "decoding", "training"]),
    ("predictor", &["error", "runtime", "data", "model", "decoding", "checkpoint", "config"]),
    ("fuzzing", &["data", "checkpoint", "config"]),
    (
        "experiment",
        &[
            "error",
            "runtime",
            "distributed",
            "data",
            "model",
            "decoding",
            "training",
            "checkpoint",
            "config",
            "predictor",
        ],
    ),
    (
        "cli",
        &[
            "error",
            "console",
            "experiment",
            "svg",
            "runtime",
            "distributed",
            "shim",
            "data",
            "model",
            "decoding",
            "training",
            "metrics",
            "checkpoint",
            "config",
            "predictor",
        ],
    ),
];

/// A file of src/.
struct SourceFile {
    /// From src/, with `/`.
    name: String,
    /// The whole of it.
    text: String,
    /// Without comments and without what only unit tests have.
    code: String,
}

impl SourceFile {
    /// Those in Rust.
    fn all() -> Vec<SourceFile> {
        let mut files = SourceFile::of(&["rs"]);
        // Unit tests may use everything.
        files.retain(|file| !file.name.ends_with("/tests.rs") && !file.name.contains("/tests/"));
        files
    }

    /// Those whose names end so.
    fn of(extensions: &[&str]) -> Vec<SourceFile> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ends| extensions.iter().any(|&known| ends == known)) {
                    files.push(SourceFile::read(&root, &path));
                }
            }
        }
        assert!(files.len() > 30, "only {} files in {}", files.len(), root.display());
        files
    }

    fn read(root: &Path, path: &Path) -> SourceFile {
        let parts: PathBuf = path.strip_prefix(root).unwrap().into();
        let name = parts.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("/");
        let text = fs::read_to_string(path).unwrap();
        SourceFile { name, code: without_tests(&text), text }
    }

    /// Its module: `data::pairs::lines`; nothing for lib.rs and main.rs.
    fn module(&self) -> Vec<&str> {
        let path = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').filter(|part| !matches!(*part, "lib" | "main")).collect()
    }

    /// The module at the top of src/ that it belongs to.
    fn top(&self) -> &str {
        self.module().first().copied().unwrap_or_default()
    }

    /// Every path into this crate, from its root: `data::batch::Source`.
    fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            expand("", &self.code[at + "crate::".len()..], &mut found);
        }
        for (at, _) in self.code.match_indices("super::") {
            if !self.code[..at].ends_with("super::") {
                let (mut module, mut rest) = (self.module(), &self.code[at..]);
                while let Some(further) = rest.strip_prefix("super::") {
                    module.pop();
                    rest = further;
                }
                let prefix: String = module.iter().map(|part| format!("{part}::")).collect();
                expand(&prefix, rest, &mut found);
            }
        }
        found
    }

    /// Whether it contains `word`, not as a part of a longer name.
    fn contains(&self, word: &str) -> bool {
        let in_name = |c: char| c.is_alphanumeric() || c == '_';
        self.code.match_indices(word).any(|(at, _)| {
            let (before, after) = (&self.code[..at], &self.code[at + word.len()..]);
            !(word.starts_with(in_name) && before.ends_with(in_name)
                || word.ends_with(in_name) && after.starts_with(in_name))
        })
    }
}

/// The code of a file, without comments and without the items that are compiled for unit tests only.
///
/// rustfmt has put the end of an item on a line with the indentation of its beginning: a brace, or what ends in `;`.
fn without_tests(text: &str) -> String {
    let (mut kept, mut lines) = (String::new(), text.lines());
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let indentation = &line[..line.len() - line.trim_start().len()];
            let ends = |rest: &str| rest == "}" || !rest.starts_with(' ') && rest.ends_with(';');
            lines.find(|line| line.strip_prefix(indentation).is_some_and(ends));
        } else {
            kept.push_str(line.split("//").next().unwrap_or_default());
            kept.push('\n');
        }
    }
    kept
}

/// Reads a path, or a group of them, from the beginning of `code`.
fn expand(prefix: &str, code: &str, found: &mut Vec<String>) {
    let Some(group) = code.strip_prefix('{') else {
        let end = code.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(code.len());
        let (path, rest) = code.split_at(end);
        match path.strip_suffix("::") {
            Some(path) if rest.starts_with('{') => expand(&format!("{prefix}{path}::"), rest, found),
            _ => found.push(format!("{prefix}{path}")),
        }
        return;
    };
    let (mut depth, mut start) = (0, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = group[start..at].trim();
                if !item.is_empty() {
                    expand(prefix, item, found);
                }
                start = at + 1;
                if character == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// True where `path` is `module` or lies in it.
fn lies_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Fails for each file outside `allowed` (files, or folders with a slash) that contains one of the words.
#[track_caller]
fn only(allowed: &[&str], words: &[&str]) {
    let is_allowed = |name: &str| {
        allowed.iter().any(|place| name == *place || place.ends_with('/') && name.starts_with(place))
    };
    for file in SourceFile::all() {
        let found: Vec<&&str> = words.iter().filter(|word| file.contains(word)).collect();
        assert!(
            found.is_empty() || is_allowed(&file.name),
            "src/{} contains {found:?}; only {allowed:?} may",
            file.name
        );
    }
    // A rule about words that occur nowhere is obsolete.
    assert!(
        SourceFile::all().iter().any(|file| words.iter().any(|word| file.contains(word))),
        "nothing in src/ contains {words:?}"
    );
}

/// Fails for each file in `place` that contains one of the words.
#[track_caller]
fn never(place: &str, words: &[&str]) {
    let mut files = SourceFile::all();
    files.retain(|file| file.name.starts_with(place));
    assert!(!files.is_empty(), "there is no src/{place}");
    for file in files {
        let found: Vec<&&str> = words.iter().filter(|word| file.contains(word)).collect();
        assert!(found.is_empty(), "src/{} contains {found:?}", file.name);
    }
}

#[test]
fn the_parser_of_paths_agrees_with_rust() {
    let read = |code: &str| {
        let file = SourceFile { name: "a/b/c.rs".into(), code: code.into(), text: String::new() };
        file.paths()
    };
    assert_eq!(read("use crate::x::{self, Y, z::{P, Q}};\n"), ["x::self", "x::Y", "x::z::P", "x::z::Q"]);
    assert_eq!(read("use super::{d, e::F};"), ["a::b::d", "a::b::e::F"]);
    assert_eq!(read("super::super::e::f(crate::g::h())"), ["g::h", "a::e::f"]);
    assert_eq!(read("use crate::{\n    m,\n    n::O,\n};"), ["m", "n::O"]);
}

#[test]
fn what_only_tests_have_is_skipped_and_nothing_behind_it() {
    let text = "#[cfg(test)]
mod tests;
use a::b; // as c
impl D {
    #[cfg(test)]
    #[must_use]
    fn only_for_tests(&self) {
        self.e();
    }

    fn f(&self) {}
}
#[cfg(test)]
mod more {
    use super::g;
}
fn h() {}
";
    assert_eq!(without_tests(text), "use a::b; \nimpl D {\n\n    fn f(&self) {}\n}\nfn h() {}\n");
    // The files with such an item in their middle: the code behind it is read.
    for (name, word) in
        [("data/audio/recording.rs", "length_in_words"), ("data/corpus.rs", "hash_other_targets")]
    {
        let file = SourceFile::all().into_iter().find(|file| file.name == name).unwrap();
        assert!(file.contains(word), "{name} is not read to its end");
    }
}

#[test]
fn each_module_uses_only_modules_below_it() {
    for file in SourceFile::all() {
        let Some((_, may_use)) = MAY_USE.iter().find(|(top, _)| *top == file.top()) else {
            assert!(
                ["lib.rs", "main.rs"].contains(&file.name.as_str()),
                "MAY_USE has no row for src/{}",
                file.name
            );
            continue;
        };
        for path in file.paths() {
            let its_own = lies_in(&path, file.top());
            let allowed = its_own || may_use.iter().any(|module| lies_in(&path, module));
            assert!(allowed, "src/{} uses crate::{path}; {} may use {may_use:?}", file.name, file.top());
        }
    }
}

#[test]
fn no_file_imports_one_that_imports_it() {
    let files = SourceFile::all();
    // The file that a path leads to: the one with the longest module that the path lies in.
    let file_of = |path: &str| {
        let leads_to = files.iter().filter(|file| lies_in(path, &file.module().join("::")));
        leads_to.max_by_key(|file| file.module().len())
    };
    // A folder's own file declares the files in it, so the two import each other.
    let family = |one: &SourceFile, other: &SourceFile| {
        let (one, other) = (one.module().join("::"), other.module().join("::"));
        lies_in(&one, &other) || lies_in(&other, &one)
    };
    let imports = |file: &SourceFile| -> Vec<String> {
        let named = file.paths().into_iter().filter_map(|path| file_of(&path));
        named.filter(|other| !family(file, other)).map(|other| other.name.clone()).collect()
    };
    let all: Vec<(String, Vec<String>)> =
        files.iter().map(|file| (file.name.clone(), imports(file))).collect();
    assert!(all.iter().any(|(_, imports)| !imports.is_empty()));
    let of = |name: &String| all.iter().find(|(file, _)| file == name).map_or(&[][..], |(_, found)| found);
    let pairs = all.iter().flat_map(|(name, imports)| imports.iter().map(move |other| (name, other)));
    let circles: Vec<_> = pairs.filter(|(name, other)| of(other).contains(name)).collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn only_an_experiment_and_the_command_line_write_runs() {
    only(
        &["experiment/", "cli/", "checkpoint/"],
        &["save_checkpoint", "save_average", "name_best", "write_config", "write_from", "prune"],
    );
}

#[test]
fn metrics_use_no_tensors_and_neither_do_pairs_and_tokens() {
    never("metrics/", &["tch"]);
    never("data/readers", &["tch"]);
    never("data/tokenizer", &["tch"]);
    never("data/text_form.rs", &["tch"]);
    never("data/vocabulary.rs", &["tch"]);
}

#[test]
fn a_model_does_no_input_or_output_and_uses_no_text() {
    never(
        "model/",
        &["std::fs", "std::io", "std::env", "std::path", "print!", "println!", "eprint!", "eprintln!"],
    );
    never("model/", &["tokenizer", "tokenizers", "dataset", "pairs"]);
}

#[test]
fn a_search_uses_no_model_and_no_tensor() {
    // The files that step one model and several, the number format of their weights,
    // and teacher forcing, which does not search.
    let know = [
        "decoding/network_decoder.rs",
        "decoding/parallel.rs",
        "decoding/config.rs",
        "decoding/teacher_forcing.rs",
    ];
    let words = ["crate::model", "tch"];
    for file in SourceFile::all().into_iter().filter(|file| file.name.starts_with("decoding/")) {
        let found: Vec<&&str> = words.iter().filter(|word| file.contains(word)).collect();
        let may = know.contains(&file.name.as_str());
        assert!(found.is_empty() || may, "src/{} contains {found:?}, only {know:?} may", file.name);
    }
}

#[test]
fn only_training_runs_backward() {
    only(&["training/"], &["backward(", "run_backward"]);
}

#[test]
fn only_checkpoint_writes_model_files() {
    // Nothing is written with tch, whose files lack the metadata.
    only(&["checkpoint/"], &["safetensors::", "write_safetensors", "save_multi", "VarStore", "write_npy"]);
}

#[test]
fn only_the_command_line_and_the_console_write_to_the_terminal() {
    // They panic if the pipe is closed.
    let macros = ["print!", "println!", "eprint!", "eprintln!", "dbg!"];
    never("", &macros);
    only(&["cli/", "console.rs"], &["stdout", "stderr"]);
    // Programs that train with the library get messages through a recorder.
    only(&["cli/", "console.rs", "training/recorders/console.rs"], &["console::status"]);
    // Absent from the library (`default-features = false`).
    only(&["cli/"], &["is_terminal", "indicatif", "clap"]);
}

#[test]
fn only_one_file_reads_the_clock_and_nothing_draws_a_seed_from_the_system() {
    only(&["training/clock.rs", "distributed/deadline.rs"], &["Instant", "SystemTime", "elapsed"]);
    never("", &["thread_rng", "rand::rng(", "from_entropy", "from_os_rng", "OsRng", "manual_seed_from"]);
}

#[test]
fn only_the_shim_is_unsafe() {
    let files = [
        "shim.rs",
        "shim/decoding.rs",
        "shim/group.rs",
        "shim/optimizer.rs",
        "shim/threads.rs",
        "shim/vectors.rs",
    ];
    only(&files, &["unsafe", "unsafe_code"]);
}

#[test]
fn no_explicit_panic_where_user_data_can_be_invalid() {
    for place in ["cli/", "data/", "checkpoint/", "config", "predictor", "decoding/", "metrics/", "training/"]
    {
        never(place, &[".unwrap()", "panic!(", "todo!(", "unimplemented!(", "unreachable!("]);
    }
}

#[test]
fn each_file_begins_with_what_it_does_and_is_short_enough_to_read() {
    for file in SourceFile::of(&["rs", "cpp", "h"]) {
        let begins = if file.name.ends_with(".rs") { "//! " } else { "// " };
        assert!(file.text.starts_with(begins), "src/{} must begin with a line that describes it", file.name);
        let lines = file.text.lines().count();
        assert!(lines <= 450, "src/{} has {lines} lines, 450 are the most", file.name);
    }
}
