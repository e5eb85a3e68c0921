"""The run that scripts/torture.py kills: its pairs and settings, its process, and the checks of its folder.

It knows nothing about kills. Errors of a folder are raised as a `Violation`.
"""

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable, Optional

# As in tests/support/run.rs, but learning slowly: the last validation must be the best, so that the last save writes
# `best` as well.
EXPERIMENT = """name = "copy"
data = { train = "train.csv", valid = "valid.csv" }
model.transformer = { width = 32, heads = 2, feed_forward = 64, encoder_layers = 1, decoder_layers = 1 }
training.adamw.learning_rate = 2e-3
decoding.max_length_offset = 4
"""

# Dropout, two batches per update. Log, validation and checkpoint fall on different steps, and the last step on none.
SETTINGS = {
    "model.transformer.dropout": "0.2",
    "training.steps": "202",
    "training.accumulate": "2",
    "training.tokens_per_batch": "64",
    "training.best_by": "nll",
    "training.inverse_sqrt.warmup": "40",
    "training.log_every": "5",
    "training.validate_every": "6",
    "training.checkpoint_every": "4",
    "training.keep_last": "2",
    "training.decode_rows": "6",
    "training.shards": "4",
    "runtime.device": "cpu",
}
# The numbers of threads of successive starts: results are bit-identical for all.
THREADS = 1, 2, 3
TRAINING_PAIRS, VALIDATION_PAIRS = 60, 12
STATE = "state.json"
CHECKPOINT_FILES = {"model.safetensors", "training.safetensors", STATE}
MANIFEST = "manifest.json"

LONGEST_WAIT = 300  # seconds; a process that takes longer hangs
POLL = 0.0005


class Violation(Exception):
    """A guarantee of seqloom that does not hold."""


def words(count: int) -> list:
    """Different words of two to six letters, the same ones on every call."""
    rng, found = random.Random(1), {}
    while len(found) < count:
        found["".join(rng.choices("abcdefgh", k=rng.randint(2, 6)))] = None
    return list(found)


class Experiment:
    """A folder with pairs and a config, and the binary that is called there."""

    def __init__(self, folder: Path, binary: Path, settings: dict):
        self.folder, self.binary, self.settings = folder, binary, settings
        self.threads = itertools.cycle(THREADS)
        every = words(TRAINING_PAIRS + VALIDATION_PAIRS)
        for name, part in ("train", every[:TRAINING_PAIRS]), ("valid", every[TRAINING_PAIRS:]):
            rows = "".join(f"{word},{word}\n" for word in part)
            (folder / f"{name}.csv").write_text("source,target\n" + rows)
        (folder / "copy.toml").write_text(EXPERIMENT)

    def number(self, key: str) -> int:
        return int(self.settings[key])

    def train(self, run: Path, more: dict) -> "Process":
        """Starts or resumes the run, with more or other settings."""
        settings = {"runtime.threads": str(next(self.threads)), **self.settings, **more}
        overrides = [part for pair in settings.items() for part in ("--set", "=".join(pair))]
        return Process([self.binary, "train", "copy.toml", "--out", run, "--resume", *overrides], self.folder, run)

    def decode(self, model: Path) -> None:
        """Checks that a checkpoint decodes and gives one output per input."""
        process = subprocess.run([str(self.binary), "decode", str(model), "--input", "valid.csv"], cwd=self.folder,
                                 capture_output=True, text=True, timeout=LONGEST_WAIT)
        if process.returncode != 0 or len(process.stdout.splitlines()) != VALIDATION_PAIRS:
            raise Violation(f"{model} does not decode: exit code {process.returncode}\n{process.stderr}")


class Process:
    """A process of `seqloom train` in a run's folder."""

    def __init__(self, command: list, folder: Path, run: Path):
        self.run, self.lines, self.started = run, [], time.monotonic()
        self.latest = pointer(run)
        # Python ignores SIGXFSZ, and without `restore_signals` so does the child: too large a file is an error then.
        self.process = subprocess.Popen([str(part) for part in command], cwd=folder, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        restore_signals=False)
        self.listener = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.listener.start()

    def stderr_text(self) -> str:
        return "".join(self.lines)

    def trains(self) -> bool:
        """Whether training has started: it has printed its first line, and handles signals."""
        return any(" parameters on " in line for line in list(self.lines))

    def age(self) -> float:
        return time.monotonic() - self.started

    def alive(self) -> bool:
        if self.age() > LONGEST_WAIT:
            raise Violation(f"it hangs: it did not end in {LONGEST_WAIT} s")
        return self.process.poll() is None

    def wait_until(self, holds: Callable[[], bool]) -> bool:
        """True as soon as it holds, False when the process ended before."""
        while self.alive():
            if holds():
                return True
            time.sleep(POLL)
        return False

    def wait_until_age(self, seconds: float) -> bool:
        return self.wait_until(lambda: self.age() >= seconds)

    def remember_latest(self) -> None:
        """Records `latest`, whose checkpoint must not be lost."""
        self.latest = pointer(self.run)

    def send(self, number: int) -> None:
        self.remember_latest()
        self.process.send_signal(number)

    def code(self) -> int:
        """Waits for its end; negative if a signal ended it."""
        self.wait_until(lambda: False)
        self.listener.join()
        return self.process.returncode

    def close(self) -> None:
        """Ends the process in any case."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.listener.join()
        self.process.stderr.close()


def pointer(run: Path, name: str = "latest") -> Optional[int]:
    """The step that `latest` or `best` names; None without such a file."""
    try:
        text = (run / name).read_text()
    except FileNotFoundError:
        return None
    found = re.fullmatch(r"step-(\d{8,})\n", text)
    if not found:
        raise Violation(f"{run / name} must name a step, but it contains {text!r}")
    return int(found[1])


def checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08}"


def steps(run: Path) -> list:
    """The steps of all checkpoints, the newest first."""
    return sorted((int(path.name[len("step-"):]) for path in run.glob("checkpoints/step-*")), reverse=True)


def resumed_from(run: Path) -> Optional[int]:
    """The step from which a run resumes. A kill may come before the first `latest`."""
    return pointer(run) or next(iter(steps(run)), None)


def partials(run: Path) -> dict:
    """The checkpoints that are being written, each with the time of its last change."""
    found = {}
    # One may be renamed meanwhile.
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(run / "checkpoints"):
            if entry.name.startswith(".partial-"):
                found[entry.name] = os.stat(entry.path).st_mtime_ns
    return found


def writes_new(run: Path, before: dict) -> bool:
    """Whether a new checkpoint is being written."""
    return any(before.get(name) != changed for name, changed in partials(run).items())


def last_row(run: Path) -> list:
    """The fields of the last complete row of metrics.csv."""
    with contextlib.suppress(FileNotFoundError, IndexError):
        return (run / "metrics.csv").read_text().rsplit("\n", 2)[-2].split(",")
    return []


def check_checkpoint(folder: Path) -> dict:
    """Checks that a checkpoint has exactly the files of its manifest, with their checksums; returns the checksums."""
    try:
        sums = json.loads((folder / MANIFEST).read_text())
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    except (OSError, ValueError) as error:
        raise Violation(f"{folder} is incomplete: {error}") from error
    if set(files) != set(sums) or not CHECKPOINT_FILES <= set(files):
        raise Violation(f"{folder} holds {sorted(files)}, but its manifest lists {sorted(sums)}")
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != sums[name]:
            raise Violation(f"{folder / name} does not match {MANIFEST}")
    return sums


def snapshot(run: Path) -> dict:
    """The comparable results of a run: no times, no pictures, no checkpoints before the last."""
    ignored = {"train.log", "lock", "curves.svg", "tensorboard"}
    last = checkpoint(run, pointer(run)).name
    files = {}
    for path in run.rglob("*"):
        place = path.relative_to(run)
        older = place.parts[0] == "checkpoints" and place.parts[1:2] != (last,)
        if path.is_file() and not older and place.parts[0] not in ignored and path.suffix != ".partial":
            files[str(place)] = path.read_bytes()
    # The number of threads is that of the last start.
    files["config.toml"] = re.sub(rb"(?m)^threads = .*$", b"", files.get("config.toml", b""))
    return files


def compare(there: dict, reference: dict) -> None:
    """Checks that two snapshots are equal."""
    if set(there) != set(reference):
        lacking, extra = sorted(set(reference) - set(there)), sorted(set(there) - set(reference))
        raise Violation(f"it lacks {lacking} of the uninterrupted run, and has {extra} in addition")
    for name, content in there.items():
        wanted = reference[name]
        if content != wanted:
            same = len(os.path.commonprefix([content, wanted]))
            raise Violation(f"{name} is not as in the uninterrupted run: {len(content)} bytes against "
                            f"{len(wanted)}, of which the first {same} agree")
