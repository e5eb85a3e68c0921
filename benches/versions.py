#!/usr/bin/env python3
"""Training speed of several seqloom binaries, alternating, on an idle machine or one busy with other processes.

    python3 benches/versions.py configs/dates.toml old=/tmp/old/seqloom new=target/release/seqloom --busy 1

Each run trains for some updates and is timed from the middle of them to their end, by the times in its log, so that starting
up and warming up do not count. Prints the medians of updates per second, their ratio to the first binary's, the CPU time of an
update over all threads, including start-up, and the peak memory.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

LOGGED = re.compile(r"\[ *([\d.]+) s\] step (\d+): loss")


@dataclass
class Run:
    """The measurements of one run."""

    updates_per_s: float
    cpu_s: float
    peak_mib: float


def run(binary: str, args: argparse.Namespace, folder: str) -> Run:
    """Trains once."""
    settings = [
        f"training.steps={args.updates}",
        f"training.log_every={args.updates // 2}",
        "training.validate_every=1000000",
        "training.checkpoint_every=1000000",
        "training.decode_rows=1",
        f"runtime.threads={args.threads}",
        *args.set,
    ]
    command = [binary, "train", args.config, "--out", folder] + [word for one in settings for word in ("--set", one)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    log = Path(folder, "train.log").read_text()
    if status != 0:
        raise SystemExit(f"error: {binary} ended with {status}:\n{log}")
    times = {int(found[2]): float(found[1]) for found in LOGGED.finditer(log)}
    (first, begin), (last, end) = min(times.items()), max(times.items())
    cpu = (usage.ru_utime + usage.ru_stime) / args.updates
    return Run((last - first) / (end - begin), cpu, usage.ru_maxrss / 1024)


def main() -> None:
    """Runs the binaries alternately, forwards and backwards, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("binaries", nargs="+", metavar="NAME=BINARY")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=60, help="of a run; the second half is timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--busy", type=int, default=0, help="other processes that are always busy")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    binaries = dict(one.split("=", 1) for one in args.binaries)
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(args.busy)]
    try:
        runs: dict[str, list[Run]] = {name: [] for name in binaries}
        for number in range(args.rounds):
            for name in list(binaries) if number % 2 == 0 else reversed(list(binaries)):
                with tempfile.TemporaryDirectory() as folder:
                    runs[name].append(run(binaries[name], args, folder))
    finally:
        for process in busy:
            process.kill()
    first = None
    for name, found in runs.items():
        rate = statistics.median(one.updates_per_s for one in found)
        first = first or rate
        cpu = statistics.median(one.cpu_s for one in found)
        peak = max(one.peak_mib for one in found)
        every = " ".join(f"{one.updates_per_s:.2f}" for one in found)
        print(f"{name}: {rate:.2f} updates/s, {rate / first:.2f} times the first; {cpu:.3f} s of CPU an update; "
              f"{peak:.0f} MiB at most [{every}]")


if __name__ == "__main__":
    main()
