//! Another crate that uses seqloom: `tests/dependent/`, built as by its user, in its own folder.
//!
//! It shares this build's target directory and versions, so that the C++ of tch is not compiled again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::run::Scene;

/// The files of the crate; docs/library.md shows each of them.
const FILES: [&str; 4] = ["Cargo.toml", ".cargo/config.toml", "build.rs", "src/main.rs"];

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn file_of_crate(name: &str) -> String {
    fs::read_to_string(project().join("tests/dependent").join(name)).unwrap()
}

/// What the features of this project's own build turn on besides: without it a dozen crates would be compiled once
/// more.
const AS_HERE: &str = r#"once_cell = { version = "1", default-features = false, features = ["std"] }

[build-dependencies]
syn = { version = "3", features = ["full"] }
"#;

/// The crate in a separate folder, with paths that are valid there.
fn put(folder: &Path) {
    let root = project().display().to_string();
    for name in FILES {
        let text = file_of_crate(name).replace("\"../..\"", &format!("{root:?}"));
        let libtorch = std::env::var("LIBTORCH").unwrap();
        let text =
            text.replace("{ value = \"../../.libtorch/torch\", relative = true }", &format!("{libtorch:?}"));
        let text = if name == "Cargo.toml" { text + AS_HERE } else { text };
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::copy(project().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

/// Builds in `folder`; returns cargo's messages.
fn build(folder: &Path, target: &Path) -> String {
    // The settings of this project's own profile, with seqloom itself compiled without optimisation.
    let settings = [
        "profile.release.debug=\"line-tables-only\"",
        "profile.release.split-debuginfo=\"off\"",
        "profile.release.incremental=true",
        "profile.release.package.\"*\".debug=false",
        "profile.release.package.seqloom.opt-level=0",
    ];
    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let mut command = Command::new(cargo);
    command.current_dir(folder).args(["build", "--release", "--offline", "--target-dir"]).arg(target);
    command.args(settings.iter().flat_map(|setting| ["--config", setting]));
    let built = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "{stderr}");
    stderr
}

#[test]
fn another_crate_decodes_with_four_small_files() {
    let scene = Scene::trained();
    let folder = tempfile::tempdir().unwrap();
    put(folder.path());
    let target = Path::new(env!("CARGO_BIN_EXE_seqloom")).ancestors().nth(2).unwrap();
    let stderr = build(folder.path(), target);
    assert!(!stderr.contains("warning"), "{stderr}");
    // The first three are not requested, and the fourth takes minutes.
    for without in ["clap", "indicatif", "libmimalloc-sys", "torch-sys"] {
        assert!(!stderr.contains(&format!("Compiling {without} ")), "{stderr}");
    }
    let binary = target.join("release/dependent");
    let mut command = Command::new(&binary);
    command.current_dir(scene.path("")).args(["runs/copy", "abc", "aZb"]).env_remove("LD_LIBRARY_PATH");
    let ran = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&ran.stderr);
    let out = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && out.starts_with("abc -> abc, 0 unknown\naZb -> "), "{out}{stderr}");
    assert!(out.ends_with(", 1 unknown\n"), "{out}");
    // A program keeps the malloc that it has.
    let bytes = fs::read(&binary).unwrap();
    assert!(!bytes.windows(9).any(|bytes| bytes == b"mi_malloc"), "a library brings no malloc");
    let ours = fs::read(env!("CARGO_BIN_EXE_seqloom")).unwrap();
    assert!(ours.windows(9).any(|bytes| bytes == b"mi_malloc"), "the command does");
}

#[test]
fn the_page_shows_the_actual_files() {
    let page = fs::read_to_string(project().join("docs/library.md")).unwrap();
    for name in FILES {
        let shown: String =
            file_of_crate(name).lines().map(|line| format!("    {line}\n").replace("    \n", "\n")).collect();
        assert!(page.contains(&shown), "docs/library.md must show {name} as it is:\n{shown}");
    }
}
