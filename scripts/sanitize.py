#!/usr/bin/env python3
"""Runs the C++ kernels of src/shim/ under AddressSanitizer and UndefinedBehaviorSanitizer.

    python3 scripts/sanitize.py

Compiles tests/shim/ and src/shim/ with both into a program without Rust and without our malloc, which tries many
shapes on each set of vector instructions of this machine, and NCCL's sums with a stand-in for its library. Object files are
kept in target/sanitize/. The C++ compiler is CXX, or each of c++ and clang++ that is installed and has sanitizers; without any
it prints a note and passes. libtorch is that of LIBTORCH, or the one in .libtorch/.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBTORCH = Path(os.environ.get("LIBTORCH") or ROOT / ".libtorch/torch")
PLACE = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "sanitize"
COMPILERS = [shlex.split(os.environ["CXX"])] if os.environ.get("CXX") else [["c++"], ["clang++"]]
PARTS = ["decoding", "nccl", "training"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# As in build.rs: clang fuses multiply-adds by default, and then sets of instructions differ in the last bits.
FLAGS = ["-std=c++17", "-O1", "-DAT_PER_OPERATOR_HEADERS", "-ffp-contract=off", "-g1", "-Wno-psabi", "-Wall", "-Wextra",
         "-Wno-unused-parameter", "-pthread",
         "-isystem", str(LIBTORCH / "include"), "-isystem", str(LIBTORCH / "include/torch/csrc/api/include")]


def has_sanitizers(compiler: list) -> bool:
    """Whether a program can be compiled with both sanitizers and run."""
    if shutil.which(compiler[0]) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "main.cpp"), Path(folder, "main")
        source.write_text("int main() {}\n")
        command = compiler + SANITIZERS + [str(source), "-o", str(program)]
        made = subprocess.run(command, capture_output=True, check=False)
        return made.returncode == 0 and subprocess.run([program], capture_output=True, check=False).returncode == 0


def compilers() -> list:
    """Those that can be used here, each once: c++ may be clang++."""
    usable = {}
    for compiler in filter(has_sanitizers, COMPILERS):
        usable.setdefault(os.path.realpath(shutil.which(compiler[0])), compiler)
    return list(usable.values())


def compile_parts(compiler: list, place: Path) -> None:
    """Compiles the parts in parallel, except those that are up to date."""
    sources = [*(ROOT / "tests/shim").iterdir(), *(ROOT / "src/shim").glob("*.[ch]*"), Path(__file__)]
    newest = max(source.stat().st_mtime for source in sources)
    old = [part for part in PARTS if not (place / f"{part}.o").exists() or (place / f"{part}.o").stat().st_mtime < newest]
    commands = [compiler + FLAGS + SANITIZERS + ["-c", str(ROOT / f"tests/shim/{part}.cpp"), "-o", str(place / f"{part}.o")]
                for part in old]
    running = [subprocess.Popen(command) for command in commands]
    if any([process.wait() != 0 for process in running]):
        for part in old:
            (place / f"{part}.o").unlink(missing_ok=True)
        sys.exit("error: tests/shim/ does not compile")


def run(compiler: list) -> None:
    """Compiles, links, runs."""
    place = PLACE / Path(compiler[0]).name
    place.mkdir(parents=True, exist_ok=True)
    compile_parts(compiler, place)
    libraries, nccl = LIBTORCH / "lib", str(place / "libnccl.so.2")
    fake = ["-shared", "-fPIC", "-Wl,-soname,libnccl.so.2", str(ROOT / "tests/shim/fake_nccl.cpp"), "-o", nccl]
    subprocess.run(compiler + FLAGS + SANITIZERS + fake, check=True)
    objects = [str(place / f"{part}.o") for part in PARTS] + [nccl]
    linked = ["-L", str(libraries), "-ltorch_cpu", "-lc10", "-ldl", f"-Wl,-rpath,{place}:{libraries}", "-o", str(place / "shim")]
    subprocess.run(compiler + SANITIZERS + ["-pthread"] + objects + linked, check=True)
    # libtorch keeps memory until a process ends; its leaks are not checked here.
    options = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    if subprocess.run([place / "shim"], env={**os.environ, **options}, check=False).returncode != 0:
        sys.exit(f"error: the kernels of src/shim/ do not hold under the sanitizers of {' '.join(compiler)}")


def main() -> None:
    """Runs the kernels, by each compiler."""
    usable = compilers()
    if not usable:
        names = " nor ".join(" ".join(compiler) for compiler in COMPILERS)
        print(f"sanitize: skipped, for {names} has no AddressSanitizer and UndefinedBehaviorSanitizer here")
        return
    for compiler in usable:
        run(compiler)
    print(f"sanitize: no error in src/shim/ ({', '.join(' '.join(compiler) for compiler in usable)})")


if __name__ == "__main__":
    main()
