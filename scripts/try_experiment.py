#!/usr/bin/env python3
"""Kills an experiment again and again, and checks that its results are those of one that was left alone.

    python3 scripts/try_experiment.py                       4 kills of target/release/seqloom, about two minutes
    python3 scripts/try_experiment.py --kills 12 --seed 3   more of them, at other moments
    python3 scripts/try_experiment.py --set training.steps=50       shorter trainings

Three tiny configs with three seeds each, and an ensemble of two of them, on rows of data/reverse: `seqloom experiment`
runs once without interruption. In another folder the same command is ended by SIGKILL at random moments, whether it
trains, decodes or draws, and started again at once, until it ends by itself. Checks, a line each:

  - table.txt, table.csv, index.html, and all outputs are the same bytes;
  - what was finished before a kill is not announced again, and its files are not written again;
  - with nothing left to do, the command trains and decodes nothing, and writes the same bytes once more;
  - no process is left behind.

Exits with 0, or with 1 if a check fails: then it keeps the folder. The seed fixes the moments, but not what the program
does at a moment. Linux, Python 3.8, nothing else.
"""

import argparse
import contextlib
import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Optional

from torture_run import LONGEST_WAIT, Violation

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "seqloom"

BASE = """name = "base"
data = { train = "train.csv", valid = "valid.csv", source.words = {}, target.words = {} }
model.transformer = { width = 32, heads = 2, feed_forward = 64, encoder_layers = 1, decoder_layers = 1 }
training.adamw.learning_rate = 2e-3
training.inverse_sqrt.warmup = 20
decoding.max_length_offset = 4
"""
# Each extends the first one.
OTHERS = {
    "narrow": "model.transformer.width = 16\n",
    "dropout": "model.transformer.dropout = 0.2\n",
}
CONFIGS = "base", *OTHERS
SEEDS = "1,2,3"
ENSEMBLE = "2"
SETTINGS = {
    "training.steps": "100",
    "training.tokens_per_batch": "512",
    "training.log_every": "25",
    "training.validate_every": "50",
    "training.checkpoint_every": "15",
    "runtime.device": "cpu",
    "runtime.threads": "1",
}
TRAINING_ROWS, TEST_ROWS = 1000, 100
# The folder of the experiment, under each working directory.
OUT = "out"
PAGES = "table.txt", "table.csv", "index.html"
ANNOUNCED = re.compile(r"^(training|decoding|drawing) ")
# A picture that cannot be drawn is tried again.
STEP = re.compile(r"^(training|decoding) ")
RECORD = ".record.json"
# A variable of the processes that the experiment starts.
PARENT = "SEQLOOM_EXPERIMENT_PROCESS"


class Work:
    """A working directory with configs and rows, and the experiment in it."""

    def __init__(self, folder: Path, binary: Path, settings: dict):
        folder.mkdir()
        self.folder, self.out, self.binary = folder, folder / OUT, binary
        self.overrides = [part for pair in settings.items() for part in ("--set", "=".join(pair))]
        self.starts = []
        for name, count in ("train", TRAINING_ROWS), ("valid", TEST_ROWS):
            with (ROOT / "data" / "reverse" / f"{name}.csv").open(encoding="utf-8") as rows:
                (folder / f"{name}.csv").write_text("".join(next(rows) for _ in range(count + 1)))
        (folder / "base.toml").write_text(BASE)
        for name, text in OTHERS.items():
            (folder / f"{name}.toml").write_text(f'extends = "base.toml"\nname = "{name}"\n{text}')

    @contextlib.contextmanager
    def start(self):
        """`seqloom experiment`, until the block ends."""
        process = Process(self)
        self.starts.append(process)
        try:
            yield process
        finally:
            process.kill()

    def finish(self) -> "Process":
        """Runs it to its end."""
        with self.start() as process:
            process.wait(LONGEST_WAIT)
        if process.code != 0:
            raise Violation(f"exit code {process.code}\n{process.last_lines()}")
        return process

    def results(self) -> dict:
        """The files that must not depend on kills."""
        outputs = sorted(path for path in (self.out / "outputs").rglob("*.json*") if path.suffix in (".json", ".jsonl"))
        return {str(path.relative_to(self.out)): path.read_bytes()
                for path in [*(self.out / name for name in PAGES), *outputs]}


class Process:
    """A start of the experiment. Its messages go to a file, which outlives a kill."""

    def __init__(self, work: Work):
        number = len(work.starts) + 1
        self.work, self.messages, self.started = work, work.folder / f"start-{number}.log", time.monotonic()
        configs = [f"{name}.toml" for name in CONFIGS]
        command = [work.binary, "experiment", *configs, "--seeds", SEEDS, "--ensemble", ENSEMBLE, "--out", OUT,
                   *work.overrides]
        with self.messages.open("wb") as file:
            self.process = subprocess.Popen([str(part) for part in command], cwd=work.folder, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=file)

    def wait(self, seconds: float) -> bool:
        """Waits for its end; False if it still runs after this time."""
        try:
            self.process.wait(max(0.0, self.started + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def code(self) -> Optional[int]:
        return self.process.returncode

    def announced(self) -> list:
        """What it has announced. All but the last is finished: it does one at a time."""
        # A kill may cut the last line off.
        lines = self.messages.read_text(encoding="utf-8").split("\n")[:-1]
        return [line for line in lines if ANNOUNCED.match(line)]

    def steps(self) -> list:
        """The trainings and decodings that it has announced."""
        return [line for line in self.announced() if STEP.match(line)]

    def last_lines(self) -> str:
        return "\n".join(f"  | {line}" for line in self.messages.read_text(encoding="utf-8").splitlines()[-8:])

    def left_behind(self) -> list:
        """The processes that it has started and that still run."""
        found, mark = [], f"{PARENT}={self.process.pid}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            # A process that has just ended cannot be read.
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


class Finished:
    """What was finished before a kill, and the state of its files then."""

    def __init__(self):
        self.steps, self.files = {}, {}

    def add(self, process: Process, number: int) -> int:
        """Adds what a start has finished; returns how much is new."""
        before, out = len(self.steps), process.work.out
        steps = [step for step in process.announced()[:-1] if STEP.match(step)]
        # A decoding that had just ended has its record, even if nothing was announced after it.
        for record in (out / "outputs").glob(f"*/*{RECORD}"):
            steps.append(f"decoding {record.name[:-len(RECORD)]} with {record.parent.name}")
        for step in steps:
            self.steps.setdefault(step, number)
            for path in files_of(step, out):
                self.files.setdefault(path, state(path))
        return len(self.steps) - before

    def check(self, starts: list) -> str:
        """Checks that later starts did none of it again, and that its files are as they were."""
        for number, process in enumerate(starts, 1):
            again = [step for step in process.steps() if self.steps.get(step, number) < number]
            if again:
                raise Violation(f"start {number} does again what was finished: {again}\n{process.last_lines()}")
        changed = [str(path) for path, before in self.files.items() if state(path) != before]
        if changed:
            raise Violation(f"files of what was finished are written again: {changed}")
        return f"{len(self.steps)} finished steps and their {len(self.files)} files are not made again"


def files_of(step: str, out: Path) -> list:
    """The files that a step has written."""
    words = step.split(" ")
    if words[0] == "training":
        return [path for path in sorted((out / "runs" / words[1]).rglob("*")) if path.is_file()]
    return [out / "outputs" / words[3] / f"{words[1]}{end}" for end in (".jsonl", RECORD)]


def state(path: Path) -> Optional[tuple]:
    """What changes if a file is written: its inode, its size and its time."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return None
    return there.st_ino, there.st_size, there.st_mtime_ns


def compare(results: dict, reference: dict) -> str:
    """Checks that the results are the same bytes."""
    if set(results) != set(reference):
        raise Violation(f"the files differ: {sorted(set(results) ^ set(reference))}")
    for name, content in results.items():
        wanted = reference[name]
        if content != wanted:
            same = len(os.path.commonprefix([content, wanted]))
            raise Violation(f"{name} differs: {len(content)} bytes against {len(wanted)}, the first {same} agree")
    return f"{', '.join(PAGES)} and {len(results) - len(PAGES)} other files are the same bytes"


def check_table(work: Work) -> str:
    """Checks that the table has all rows, and the page no path of a folder."""
    with (work.out / "table.csv").open(newline="", encoding="utf-8") as file:
        found = {row["system"] for row in csv.DictReader(file)}
    wanted = {name for config in CONFIGS for name in (config, f"{config}, ensemble of {ENSEMBLE}")}
    if found != wanted:
        raise Violation(f"the table must have {sorted(wanted)}, but it has {sorted(found)}")
    for name in PAGES:
        if str(work.folder) in (work.out / name).read_text(encoding="utf-8"):
            raise Violation(f"{name} names the folder {work.folder}")
    return f"the table has {len(found)} rows for each metric, and no path"


def check_nothing_left(work: Work, reference: dict) -> str:
    """Checks that a further start has nothing to do."""
    process = work.finish()
    if process.steps():
        raise Violation(f"nothing is left to do, but it does {process.steps()}")
    return f"started once more it does nothing; {compare(work.results(), reference)}"


def check_processes(work: Work) -> str:
    """Checks that no process of a start is left."""
    time.sleep(0.2)
    left = [number for process in work.starts for number in process.left_behind()]
    if left:
        raise Violation(f"processes are left behind: {left}")
    return "no process is left behind"


class Report:
    """Prints a line for each check."""

    def __init__(self):
        self.failed = False

    def check(self, check: Callable[..., str], *arguments) -> None:
        try:
            text = check(*arguments)
        except Violation as violation:
            self.failed = True
            print(f"FAILED  {violation}", flush=True)
            return
        print(f"ok      {text}", flush=True)


def kill_repeatedly(work: Work, kills: int, seed: int, duration: float) -> Finished:
    """Starts the experiment, and kills it at random moments."""
    finished, rng = Finished(), random.Random(seed)
    # Spread over the experiment: each start goes on from about where the one before was killed.
    moments = sorted(rng.uniform(0.0, duration) for _ in range(kills))
    for number, (before, moment) in enumerate(zip([0.0, *moments], moments), 1):
        age = moment - before
        with work.start() as process:
            if process.wait(age):
                if process.code != 0:
                    raise Violation(f"it ended by itself, with exit code {process.code}\n{process.last_lines()}")
                print(f"        it ended before kill {number}", flush=True)
                return finished
        new, announced = finished.add(process, number), process.announced()
        where = f"in `{announced[-1]}`" if announced else "before its first step"
        print(f"        kill {number} after {age:.1f} s, {where}; newly finished: {new}", flush=True)
    return finished


def run_alone(work: Work) -> float:
    """Runs the experiment without interruption; returns how long it takes."""
    process = work.finish()
    duration = time.monotonic() - process.started
    print(f"        uninterrupted: {duration:.1f} s, {len(process.steps())} steps", flush=True)
    return duration


def try_experiment(arguments: argparse.Namespace, folder: Path) -> bool:
    """Runs all checks; returns whether they pass."""
    settings = {**SETTINGS, **dict(setting.split("=", 1) for setting in arguments.settings)}
    whole, killed = (Work(folder / name, arguments.binary.resolve(), settings) for name in ("whole", "killed"))
    report = Report()
    try:
        duration = run_alone(whole)
        report.check(check_table, whole)
        finished = kill_repeatedly(killed, arguments.kills, arguments.seed, duration)
        killed.finish()
    except Violation as violation:
        print(f"FAILED  {violation}", flush=True)
        return False
    reference = whole.results()
    report.check(lambda: compare(killed.results(), reference))
    report.check(finished.check, killed.starts)
    report.check(check_nothing_left, killed, reference)
    report.check(check_processes, killed)
    return not report.failed


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=4, help="how often it is killed (default: 4)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    parser.add_argument("--binary", type=Path, default=BINARY, help="(default: target/release/seqloom)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY.PATH=VALUE",
                        help="a setting for both experiments; may be given more than once")
    parser.add_argument("--keep", action="store_true", help="keep the folder even if all checks pass")
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        parser.error(f"there is no {arguments.binary}; `make build` builds it")
    if arguments.kills < 1:
        parser.error("--kills must be at least 1")
    if not all("=" in setting for setting in arguments.settings):
        parser.error("--set must be KEY.PATH=VALUE")
    return arguments


def main() -> int:
    arguments = parse()
    # So that `finally` is reached, and no process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder, passed = Path(tempfile.mkdtemp(prefix="seqloom-experiment-")), False
    try:
        passed = try_experiment(arguments, folder)
    except KeyboardInterrupt:
        return 130
    finally:
        if arguments.keep or not passed:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
