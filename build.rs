//! Checks the version of libtorch, compiles the C++ shim against it, and sets where binaries find it at run time.

use std::path::{Path, PathBuf};

/// The version that tch 0.24 needs.
const LIBTORCH_VERSION: &str = "2.11";

fn main() {
    println!("cargo:rerun-if-changed=src/shim");
    let lib =
        PathBuf::from(std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys tells where libtorch is"));
    let root = lib.parent().expect("libtorch's lib folder has a parent").to_path_buf();
    check_version(&root);
    if !is_clippy() {
        compile_shim(&root);
    }
    // So binary, tests and doc tests run without LD_LIBRARY_PATH. scripts/make_dist.py puts the libraries next to the
    // binary.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}:$ORIGIN/../lib", lib.display());
    // Our link arguments do not reach the binary of a dependent crate; its own build script sets them from this.
    println!("cargo:libtorch_lib={}", lib.display());
    println!("cargo:rustc-env=SEQLOOM_LIBTORCH={}", root.display());
}

/// Whether cargo runs clippy, which links nothing. Cargo keeps what this script does for it apart from builds, so the shim
/// would be compiled twice.
fn is_clippy() -> bool {
    let wrapper = std::env::var_os("RUSTC_WORKSPACE_WRAPPER").map(PathBuf::from);
    wrapper.is_some_and(|path| path.file_stem().is_some_and(|name| name == "clippy-driver"))
}

/// torch-sys checks no version when LIBTORCH is set, and a wrong version fails at run time with an obscure error.
fn check_version(root: &Path) {
    let Some(version) = version_of(root) else {
        println!("cargo:warning=cannot tell the version of libtorch in {}", root.display());
        return;
    };
    if !version.starts_with(LIBTORCH_VERSION) {
        eprintln!(
            "seqloom wants libtorch {LIBTORCH_VERSION}, but {} holds {version}.\n\
             Point LIBTORCH at a libtorch {LIBTORCH_VERSION}, or unset it and run `make libtorch`.",
            root.display()
        );
        std::process::exit(1);
    }
}

/// The wheel has `version.py`, the zip `build-version`.
fn version_of(root: &Path) -> Option<String> {
    let wheel = root.join("version.py");
    let zip = root.join("build-version");
    println!("cargo:rerun-if-changed={}", if wheel.exists() { &wheel } else { &zip }.display());
    if let Ok(text) = std::fs::read_to_string(wheel) {
        let line = text.lines().find(|line| line.starts_with("__version__"))?;
        return Some(line.split('\'').nth(1)?.to_owned());
    }
    std::fs::read_to_string(zip).ok().map(|text| text.trim().to_owned())
}

/// What alone sees the stubs of Gloo's headers, which the wheel lacks.
const GROUP: &[&str] = &["group"];

fn compile_shim(root: &Path) {
    // Decoding and attention use fused multiply-adds if available; the rest is bit-identical on every instruction set.
    let (fused, same) = ("-ffp-contract=fast", "-ffp-contract=off");
    // Floating-point exception flags are not used; because of them GCC does not vectorise comparisons with AVX2.
    // Products have no comparisons in their loops; with this option GCC 12 spills their sums and halves the speed.
    let vectors = "-fno-trapping-math";
    let fused_parts =
        ["attention", "log_softmax", "packed_sequence_attention", "packed_weights", "paged_attention"];
    let same_parts = [
        "activations",
        "cast",
        "dropout",
        "gru",
        "instructions",
        "linear",
        "linear_cross_entropy",
        "optimizer",
        "system",
    ];
    let groups: [(&[&str], &[&str]); 4] = [
        (&same_parts, &[same, vectors]),
        (&fused_parts, &[fused, vectors]),
        (GROUP, &[]),
        (&["packed_linear"], &[fused]),
    ];
    // Side by side: cc shares the cores out among files with the same options only.
    let objects: Vec<PathBuf> = std::thread::scope(|scope| {
        let compiling = groups.map(|(parts, flags)| scope.spawn(move || compile(root, parts, flags)));
        compiling
            .into_iter()
            .flat_map(|thread| thread.join().expect("cc ends the process by itself"))
            .collect()
    });
    cc::Build::new().cpp(true).objects(objects).compile("seqloom_shim");
}

/// Compiles files with the same options, in parallel, to object files.
fn compile(root: &Path, parts: &[&str], flags: &[&str]) -> Vec<PathBuf> {
    let mut build = cc::Build::new();
    if parts == GROUP {
        build.include("src/shim/opaque");
    }
    if let Ok(mimalloc) = std::env::var("DEP_MIMALLOC_INCLUDE_DIR") {
        build.include(mimalloc).define("SEQLOOM_MALLOC", None);
    }
    build
        .cpp(true)
        .std("c++17")
        .opt_level(3)
        .debug(false)
        .files(parts.iter().map(|part| format!("src/shim/{part}.cpp")))
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        // The headers of the graph then include operators one by one: a quarter less to compile.
        .define("AT_PER_OPERATOR_HEADERS", None)
        .flags(flags)
        .flag_if_supported("-Wno-unused-parameter")
        .flag_if_supported("-Wno-psabi") // wide vectors are never arguments of a call
        .compile_intermediates()
}
