#!/usr/bin/env python3
"""Runs the C++ kernels of src/shim/ under AddressSanitizer and UndefinedBehaviorSanitizer.

    python3 scripts/sanitize.py

Compiles tests/shim/ and src/shim/ with both into a program without Rust and without our malloc, which tries many
shapes on each set of vector instructions of this machine, and NCCL's sums with a stand-in for its library. Object files are kept in target/sanitize/. The C++ compiler is
CXX, or the first of c++ and clang++ that has sanitizers; without any it prints a note and passes. libtorch is that of
LIBTORCH, or the one in .libtorch/.
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
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-g1", "-Wno-psabi", "-Wall", "-Wextra", "-Wno-unused-parameter", "-pthread",
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


def compile_parts(compiler: list) -> None:
    """Compiles the parts in parallel, except those that are up to date."""
    sources = [*(ROOT / "tests/shim").iterdir(), *(ROOT / "src/shim").glob("*.[ch]*"), Path(__file__)]
    newest = max(source.stat().st_mtime for source in sources)
    old = [part for part in PARTS if not (PLACE / f"{part}.o").exists() or (PLACE / f"{part}.o").stat().st_mtime < newest]
    commands = [compiler + FLAGS + SANITIZERS + ["-c", str(ROOT / f"tests/shim/{part}.cpp"), "-o", str(PLACE / f"{part}.o")]
                for part in old]
    running = [subprocess.Popen(command) for command in commands]
    if any([process.wait() != 0 for process in running]):
        for part in old:
            (PLACE / f"{part}.o").unlink(missing_ok=True)
        sys.exit("error: tests/shim/ does not compile")


def main() -> None:
    """Compiles, links, runs."""
    compiler = next(filter(has_sanitizers, COMPILERS), None)
    if compiler is None:
        names = " nor ".join(" ".join(compiler) for compiler in COMPILERS)
        print(f"sanitize: skipped, for {names} has no AddressSanitizer and UndefinedBehaviorSanitizer here")
        return
    PLACE.mkdir(parents=True, exist_ok=True)
    compile_parts(compiler)
    libraries, nccl = LIBTORCH / "lib", str(PLACE / "libnccl.so.2")
    fake = ["-shared", "-fPIC", "-Wl,-soname,libnccl.so.2", str(ROOT / "tests/shim/fake_nccl.cpp"), "-o", nccl]
    subprocess.run(compiler + FLAGS + SANITIZERS + fake, check=True)
    objects = [str(PLACE / f"{part}.o") for part in PARTS] + [nccl]
    linked = ["-L", str(libraries), "-ltorch_cpu", "-lc10", "-ldl", f"-Wl,-rpath,{PLACE}:{libraries}", "-o", str(PLACE / "shim")]
    subprocess.run(compiler + SANITIZERS + ["-pthread"] + objects + linked, check=True)
    # libtorch keeps memory until a process ends; its leaks are not checked here.
    options = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    if subprocess.run([PLACE / "shim"], env={**os.environ, **options}, check=False).returncode != 0:
        sys.exit("error: the kernels of src/shim/ do not hold under sanitizers")
    print("sanitize: no error in src/shim/")


if __name__ == "__main__":
    main()
