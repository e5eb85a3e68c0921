//! Checks which libtorch is linked, compiles the C++ shim against it, and tells the binaries where to find it at run
//! time.

use std::path::{Path, PathBuf};

/// What tch 0.24 is made for.
const LIBTORCH_VERSION: &str = "2.11";

fn main() {
    println!("cargo:rerun-if-changed=src/shim");
    let lib =
        PathBuf::from(std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys tells where libtorch is"));
    let root = lib.parent().expect("libtorch's lib folder has a parent").to_path_buf();
    check_version(&root);
    compile_shim(&root);
    // The binary, the tests and the documentation's examples then run without LD_LIBRARY_PATH. Beside the binary is
    // where scripts/make_dist.py puts the libraries.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}:$ORIGIN/../lib", lib.display());
    // No link argument of ours reaches the binary of a dependent; its own build script does the same with this.
    println!("cargo:libtorch_lib={}", lib.display());
    println!("cargo:rustc-env=SEQLOOM_LIBTORCH={}", root.display());
}

/// torch-sys checks no version when LIBTORCH is set, and a wrong one fails at run time with a riddle.
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

/// `version.py` comes with the wheel, `build-version` with the zip.
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

fn compile_shim(root: &Path) {
    let compile = |parts: &[&str], flags: &[&str], name: &str| {
        let mut build = cc::Build::new();
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
            .flags(flags)
            .flag_if_supported("-Wno-unused-parameter")
            .flag_if_supported("-Wno-psabi") // wide vectors are never arguments of a call
            .compile(name);
    };
    // Decoding and attention are fused multiply-adds wherever there are any; the rest gives the same bits on every
    // instruction set.
    let (fused, same) = ("-ffp-contract=fast", "-ffp-contract=off");
    // Nobody reads the flags of floating point exceptions, for whose sake GCC keeps comparisons out of AVX2's vectors.
    // Products have none in their loops; without them GCC 12 takes registers away from the sums there, and half of the
    // speed.
    let vectors = "-fno-trapping-math";
    compile(&["product"], &[fused], "seqloom_shim_products");
    compile(&["attend", "attention", "log_softmax", "pack"], &[fused, vectors], "seqloom_shim_fused");
    let rest =
        ["activations", "affine", "cast", "dropout", "gru", "instructions", "loss", "optimizer", "system"];
    compile(&rest, &[same, vectors], "seqloom_shim");
}
