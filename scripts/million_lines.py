#!/usr/bin/env python3
"""Sends a million lines through `seqloom decode`, and checks memory, order and completeness.

    python3 scripts/million_lines.py runs/dates                            a million lines of data/dates/test.csv
    python3 scripts/million_lines.py runs/copy --sources words.txt --lines 20000 --set decoding.max_length=8

The lines are drawn from a pool of different sources (--sources: text with one a line, or .csv with a column `source`)
in a random order that --seed fixes. First each source is decoded once, for the expected outputs. Then

  1. all lines are written to standard input as fast as they are read, and each output is compared with that expected for
     its source. The resident memory of the process is read from /proc. It may grow by --growth MiB from
     the first tenth of the lines to the last one;
  2. the same lines go into a file with --resume, and the process is killed (SIGKILL) --kills times, at random places
     along the way. The last start is not killed. The file must then equal the output of step 1, byte for byte: no line is
     lost, duplicated or incomplete.

Exits with 0, or at the first violation with 1. Linux, Python 3.8, nothing else.
"""

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "seqloom"


class Violation(Exception):
    """A check that failed."""


def pool_of(path):
    """Different sources, without empty ones."""
    with open(path, encoding="utf-8", newline="") as file:
        lines = [row["source"] for row in csv.DictReader(file)] if path.suffix == ".csv" else file.read().splitlines()
    pool = list(dict.fromkeys(line for line in lines if line.strip() and not set(line) & set("\r\n")))
    if len(pool) < 2:
        raise SystemExit(f"{path} must have at least two different sources")
    return pool


def resident(process):
    """Resident memory in MiB; 0 for a process that has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0.0)


def start(arguments, more=(), **pipes):
    overrides = [word for setting in arguments.settings for word in ("--set", setting)]
    return subprocess.Popen([str(BINARY), "decode", arguments.run, *overrides, *more], stdin=subprocess.PIPE, **pipes)


def feed(process, lines):
    """Writes lines on a separate thread, until the process ends or has all of them."""

    def write():
        try:
            with process.stdin as pipe:
                for first in range(0, len(lines), 1000):
                    pipe.write("".join(line + "\n" for line in lines[first:first + 1000]).encode())
        except BrokenPipeError:
            pass

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def ended_well(process, what):
    if process.wait() != 0:
        raise Violation(f"{what} ended with {process.returncode}")


def decode(arguments, lines):
    """The outputs of a few lines."""
    process = start(arguments, stdout=subprocess.PIPE)
    feeder = feed(process, lines)
    outputs = process.stdout.read().decode().splitlines()
    feeder.join()
    ended_well(process, "decoding the pool")
    return outputs


def in_order_and_flat(arguments, lines, expected):
    """Step 1."""
    process = start(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    feeder = feed(process, lines)
    begin, memory, count = time.monotonic(), [], 0
    step = max(1, len(lines) // 100)
    for count, output in enumerate(process.stdout, 1):
        if count > len(lines):
            raise Violation(f"there are more than {len(lines)} outputs")
        source = lines[count - 1]
        if output.decode().rstrip("\n") != expected[source]:
            raise Violation(f"output {count} of {source!r} must be {expected[source]!r}, but it is {output!r}")
        if count % step == 0:
            memory.append(resident(process))
            if count % (10 * step) == 0:
                rate = count / (time.monotonic() - begin)
                print(f"  {count:>9} lines, {rate:.0f} a second, {memory[-1]:.0f} MiB", flush=True)
    feeder.join()
    ended_well(process, "decoding all lines")
    if count != len(lines):
        raise Violation(f"{len(lines)} lines went in, but {count} came out")
    tenth = max(1, len(memory) // 10)
    early, late = max(memory[:tenth]), max(memory[-tenth - 1:-1] or memory)
    print(f"order kept; {early:.0f} MiB in the first tenth, {late:.0f} MiB in the last one", flush=True)
    if late > early + arguments.growth:
        raise Violation(f"memory grew by {late - early:.0f} MiB, {arguments.growth} are allowed")


def written(path):
    try:
        return path.stat().st_size
    except OSError:
        return 0


def killed_and_resumed(arguments, lines, expected, folder, chance):
    """Step 2."""
    output = folder / "output.txt"
    whole = "".join(expected[line] + "\n" for line in lines).encode()
    moments = sorted(chance.uniform(0.05, 0.9) for _ in range(arguments.kills))
    for moment in moments:
        process = start(arguments, ("--output", str(output), "--resume"), stderr=subprocess.DEVNULL)
        feeder = feed(process, lines)
        while written(output) < moment * len(whole) and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:
            raise Violation(f"it ended with {process.returncode} before it was killed")
        process.kill()
        process.wait()
        feeder.join()
        there = output.read_bytes()
        if not whole.startswith(there):
            raise Violation(f"after a kill {output} is not the beginning of what it must become")
        print(f"  killed with {there.count(10)} lines written", flush=True)
        # A kill within a write, or a full disk, may leave an incomplete line.
        output.write_bytes(there[:len(there) - chance.randrange(20)] if len(there) > 20 else there)
    process = start(arguments, ("--output", str(output), "--resume"), stderr=subprocess.DEVNULL)
    feed(process, lines).join()
    ended_well(process, "the last start")
    if output.read_bytes() != whole:
        raise Violation(f"{output} is not what it must be: {output.stat().st_size} bytes, not {len(whole)}")
    print(f"killed {arguments.kills} times and resumed: {len(lines)} lines, none lost, none duplicated", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run directory, a checkpoint or a model.safetensors")
    parser.add_argument("--lines", type=int, default=1_000_000, help="how many [1000000]")
    parser.add_argument("--sources", type=Path, default=ROOT / "data/dates/test.csv", help="the pool [data/dates/test.csv]")
    parser.add_argument("--pool", type=int, default=1000, help="different sources, the first ones of the pool [1000]")
    parser.add_argument("--kills", type=int, default=3, help="kills in step 2 [3]; 0 leaves the step out")
    parser.add_argument("--growth", type=float, default=32, help="MiB that memory may grow by [32]")
    parser.add_argument("--seed", type=int, default=1, help="order of the lines and places of the kills [1]")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="goes to seqloom")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    pool = pool_of(arguments.sources)[:arguments.pool]
    try:
        expected = dict(zip(pool, decode(arguments, pool)))
        if len(expected) != len(pool):
            raise Violation(f"{len(pool)} sources went in, but {len(expected)} came out")
        lines = [chance.choice(pool) for _ in range(arguments.lines)]
        print(f"{len(lines)} lines, {len(pool)} different ones, {len(set(expected.values()))} different outputs")
        in_order_and_flat(arguments, lines, expected)
        if arguments.kills > 0:
            with tempfile.TemporaryDirectory() as folder:
                killed_and_resumed(arguments, lines, expected, Path(folder), chance)
    except Violation as violation:
        sys.exit(f"violation: {violation}")


if __name__ == "__main__":
    main()
