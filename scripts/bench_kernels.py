#!/usr/bin/env python3
"""Compares the speed of the CPU kernels of src/shim/ with what libtorch exports for the same, on one thread.

    python3 scripts/bench_kernels.py

Compiles benches/kernels.cpp with the options of build.rs into target/kernels/, and runs it: some two minutes. For each
case it prints the median time of a call, the ratio of the medians and of the least times to ours (above 1 where ours is
faster), and whether a row has the same bits alone and in a batch; then the median ratios over all shapes. The C++
compiler is CXX, or c++. libtorch is that of LIBTORCH, or the one in .libtorch/. For AVX2 alone, on both sides, set
SEQLOOM_VECTORS=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2
FBGEMM_ENABLE_INSTRUCTIONS=AVX2.
"""

import os
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBTORCH = Path(os.environ.get("LIBTORCH") or ROOT / ".libtorch/torch")
PLACE = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "kernels"
COMPILER = shlex.split(os.environ.get("CXX") or "c++")
FLAGS = ["-std=c++17", "-O3", "-ffp-contract=fast", "-Wno-psabi", "-pthread",
         "-isystem", str(LIBTORCH / "include"), "-isystem", str(LIBTORCH / "include/torch/csrc/api/include")]
# build.rs says why products go without -fno-trapping-math.
SOURCES = {"src/shim/packed_linear.cpp": [], "benches/kernels.cpp": ["-fno-trapping-math"]}


@dataclass
class Measured:
    """A line of the program."""

    group: str
    case: str
    name: str
    median: float
    least: float
    bits: str


def compile_program() -> Path:
    """Compiles one file after the other, and links."""
    PLACE.mkdir(parents=True, exist_ok=True)
    objects = []
    for source, flags in SOURCES.items():
        objects.append(str(PLACE / (Path(source).stem + ".o")))
        command = COMPILER + FLAGS + flags + ["-c", str(ROOT / source), "-o", objects[-1]]
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(f"error: {source} does not compile")
    libraries, program = LIBTORCH / "lib", PLACE / "kernels"
    linked = ["-L", str(libraries), "-ltorch_cpu", "-lc10", "-ldl", f"-Wl,-rpath,{libraries}", "-o", str(program)]
    subprocess.run(COMPILER + ["-pthread"] + objects + linked, check=True)
    return program


def measure(program: Path) -> list:
    """Runs the program."""
    done = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit("error: benches/kernels.cpp ended with an error")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [Measured(*words[:3], float(words[3]), float(words[4]), words[5]) for words in lines]


def compare(measured: list) -> dict:
    """Prints each case, and returns the ratios of medians by group, candidate, and length or number of rows."""
    ratios: dict = {}
    ours = None
    for one in measured:
        if ours is None or (one.group, one.case) != (ours.group, ours.case):
            ours = one
            print(f"\n{one.group}: {one.case}")
        ratio = one.median / ours.median
        bits = f"  bits: {one.bits}" if one.bits else ""
        print(f"  {one.name:30} {one.median:12.2f} us  {ratio:6.2f} times ours, "
              f"{one.least / ours.least:6.2f} by the least{bits}")
        by_case = ratios.setdefault((one.group, one.name), {})
        by_case.setdefault(one.case.rsplit(", ", 1)[1], []).append(ratio)
    return ratios


def summarize(measured: list, ratios: dict) -> None:
    """Prints the median, least and largest ratio over the shapes, and whether any of them has other bits in a batch."""
    bits: dict = {}
    for one in measured:
        bits.setdefault((one.group, one.name), set()).add(one.bits)
    print("\nMedians over shapes, in times ours, with the least and the largest")
    for (group, name), by_case in ratios.items():
        if name.startswith("ours"):
            continue
        parts = ", ".join(f"{part}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
                          if len(found) > 1 else f"{part}: {found[0]:.2f}" for part, found in by_case.items())
        print(f"  {group}: {name}\n    {parts}")
        for found in sorted(bits[group, name] - {""}):
            print(f"    bits: {found}")


def main() -> None:
    """Compiles, runs, prints."""
    measured = measure(compile_program())
    summarize(measured, compare(measured))


if __name__ == "__main__":
    main()
