"""The ways in which scripts/torture.py ends a run, full disks, and the leftovers of a power cut.

`interrupt` ends the process at its moment; it returns False if the process was complete before. `verdict` checks exit
code and messages. Both get the `Torture` that they belong to.
"""

import contextlib
import errno
import json
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import BinaryIO, Callable, NamedTuple

from torture_run import (
    CHECKPOINT_FILES, MANIFEST, POLL, Process, Violation, checkpoint, last_row, partials, pointer, resumed_from,
    writes_new
)


def moment(torture: "Torture", process: Process, share: float = 1.0) -> bool:
    """Waits for a random moment in the rest of the run, or in the first share of the rest."""
    done = (pointer(process.run) or 0) / torture.experiment.number("training.steps")
    left = torture.start_up + (torture.duration - torture.start_up) * (1 - done)
    return process.wait_until_age(torture.rng.uniform(0, share * left))


def kill(process: Process) -> bool:
    process.send(signal.SIGKILL)
    return True


def kill_soon(torture: "Torture", process: Process, most: float) -> bool:
    """Kills now, or a little later, since the intended moment has some duration."""
    time.sleep(torture.rng.choice([0, torture.rng.uniform(0, most)]))
    return kill(process)


def kill_anywhere(torture: "Torture", process: Process) -> bool:
    return process.wait_until_age(torture.rng.uniform(0, torture.duration)) and kill(process)


def kill_in_setup(torture: "Torture", process: Process) -> bool:
    """While the run's folder is created."""
    folder = process.run / "checkpoints"
    return process.wait_until(folder.exists) and kill_soon(torture, process, 0.004)


def kill_in_checkpoint(torture: "Torture", process: Process) -> bool:
    """While checkpoints/.partial-* exists."""
    if not (moment(torture, process, 0.8) and process.wait_until(process.trains)):
        return False
    # A kill before this one may have left some.
    before = partials(process.run)
    return process.wait_until(lambda: writes_new(process.run, before)) and kill_soon(torture, process, 0.02)


def kill_after_latest(torture: "Torture", process: Process) -> bool:
    """Just after `latest` changed, before `best` is written and old checkpoints are removed."""
    if not moment(torture, process, 0.8):
        return False
    before = pointer(process.run)
    return process.wait_until(lambda: pointer(process.run) != before) and kill_soon(torture, process, 0.008)


def kill_in_validation(torture: "Torture", process: Process) -> bool:
    """If a row of training metrics falls on a validation's step, that row comes first."""
    every = torture.experiment.number("training.validate_every")

    def validates() -> bool:
        row = last_row(process.run)
        return row[2:3] == ["train"] and int(row[0]) % every == 0

    if not (moment(torture, process, 0.8) and process.wait_until(process.trains)):
        return False
    return process.wait_until(validates) and kill_soon(torture, process, 0.02)


def kill_in_last_save(torture: "Torture", process: Process) -> bool:
    """From the first byte of the last checkpoint until pointers are written and old checkpoints removed."""
    last = torture.experiment.number("training.steps")
    pointer_first = torture.rng.random() < 0.5

    def saves() -> bool:
        return pointer(process.run) == last or not pointer_first and any(
            name.endswith(f"{last:08}") for name in partials(process.run))

    return process.wait_until(process.trains) and process.wait_until(saves) and kill_soon(torture, process, 0.02)


def send_stop(number: int) -> Callable:
    def interrupt(torture: "Torture", process: Process) -> bool:
        if moment(torture, process):
            process.send(number)
        return process.code() != 0

    return interrupt


def terminate_twice(torture: "Torture", process: Process) -> bool:
    """A second SIGTERM at once, or while the checkpoint of the first is being written."""
    if not moment(torture, process):
        return False
    before = partials(process.run)
    process.send(signal.SIGTERM)
    if torture.rng.random() < 0.5:
        process.wait_until(lambda: writes_new(process.run, before))
    else:
        time.sleep(torture.rng.uniform(0, 0.02))
    process.send(signal.SIGTERM)
    return process.code() != 0


def fill_disk(torture: "Torture", process: Process) -> bool:
    """Full from the start, or from some moment on."""
    if torture.rng.random() < 0.25 or moment(torture, process):
        torture.disk.fill(process, torture.rng)
    return process.code() != 0


def was_killed(_torture: "Torture", process: Process, code: int) -> None:
    if code != -signal.SIGKILL:
        raise Violation(f"it was killed, but ended with exit code {code}")


def has_saved(number: int) -> Callable:
    def verdict(_torture: "Torture", process: Process, code: int) -> None:
        if had_no_handler(process, code, number):
            return
        stop = re.search(r"^stopped at step (\d+), saved", process.stderr_text(), re.MULTILINE)
        if code != 128 + number or not stop:
            raise Violation(f"it must save and end with exit code {128 + number}, but it ended with {code}")
        if int(stop[1]) != pointer(process.run):
            raise Violation(f"it reports that it saved step {stop[1]}, but `latest` names {pointer(process.run)}")

    return verdict


def ended_at_once(_torture: "Torture", process: Process, code: int) -> None:
    if code != 128 + signal.SIGTERM and not had_no_handler(process, code, signal.SIGTERM):
        raise Violation(f"after a second SIGTERM it must end with exit code 143, but it ended with {code}")


def had_no_handler(process: Process, code: int, number: int) -> bool:
    """Before training a signal ends the process at once: there is nothing to save yet."""
    return code in (-number, 128 + number) and not process.trains()


def has_named_the_file(torture: "Torture", process: Process, code: int) -> None:
    error = re.search(r"^error: .*", process.stderr_text(), re.MULTILINE)
    words = error[0].lower() if error else ""
    if code != 1 or str(process.run).lower() not in words or torture.disk.reason not in words:
        raise Violation(f"on a full disk it must end with exit code 1 and an error that names a file of {process.run} "
                        f"and contains `{torture.disk.reason}`, but it ended with {code}")


class Kind(NamedTuple):
    """A way to end a run."""

    name: str
    share: int  # how often it is in the deck
    interrupt: Callable
    verdict: Callable


SETUP = Kind("SIGKILL while the run's folder is made", 1, kill_in_setup, was_killed)
FULL_DISK = Kind("full disk", 2, fill_disk, has_named_the_file)
KINDS = [
    SETUP,
    Kind("SIGKILL at any moment", 3, kill_anywhere, was_killed),
    Kind("SIGKILL while a checkpoint is written", 2, kill_in_checkpoint, was_killed),
    Kind("SIGKILL just after `latest` changed", 1, kill_after_latest, was_killed),
    Kind("SIGKILL in a validation", 1, kill_in_validation, was_killed),
    Kind("SIGKILL in the last save", 1, kill_in_last_save, was_killed),
    Kind("SIGTERM", 1, send_stop(signal.SIGTERM), has_saved(signal.SIGTERM)),
    Kind("SIGINT", 1, send_stop(signal.SIGINT), has_saved(signal.SIGINT)),
    Kind("SIGTERM twice", 1, terminate_twice, ended_at_once),
    FULL_DISK,
]


class SmallDisk:
    """A tmpfs of a few megabytes. While the run is on it, a ballast file takes all free space."""

    reason = "no space left on device"

    def __init__(self, folder: Path, size: int):
        self.folder, self.ballast = folder, folder / "ballast"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)

    def close(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)

    @contextlib.contextmanager
    def holding(self, run: Path):
        """The run's folder, on this disk until the context ends."""
        place = self.folder / run.name
        move(run, place)
        try:
            yield place
        finally:
            self.ballast.unlink(missing_ok=True)
            move(place, run)

    def fill(self, process: Process, _rng: random.Random) -> None:
        """Keeps the disk full until the process has ended, though it may remove an old checkpoint."""
        process.remember_latest()
        with open(self.ballast, "wb", buffering=0) as ballast:
            while process.alive():
                for size in 1 << 16, 1 << 12:
                    self.write_until_full(ballast, bytes(size))
                time.sleep(POLL)

    @staticmethod
    def write_until_full(file: BinaryIO, block: bytes) -> None:
        try:
            while True:
                file.write(block)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


class SizeLimit:
    """Simulates a full disk: from some moment on, no file of the process may grow beyond a few kilobytes."""

    reason = "file too large"

    def close(self) -> None:
        pass

    @contextlib.contextmanager
    def holding(self, run: Path):
        yield run

    def fill(self, process: Process, rng: random.Random) -> None:
        process.remember_latest()
        limit = rng.randrange(1, 50_000)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        process.code()


def move(source: Path, target: Path) -> None:
    if source.exists():
        shutil.copytree(source, target)
        shutil.rmtree(source)


def plant_checkpoint(run: Path, rng: random.Random, _last: int) -> None:
    """An incomplete checkpoint: some files complete, some truncated, some missing."""
    latest = resumed_from(run)
    name = rng.choice(["", "old-"]) + checkpoint(run, (latest or 0) + rng.randint(1, 6)).name
    folder = run / "checkpoints" / f".partial-{name}"
    folder.mkdir(exist_ok=True)
    for file in sorted(CHECKPOINT_FILES | {MANIFEST}):
        whole = (checkpoint(run, latest) / file).read_bytes() if latest else b"half of" * 50
        if rng.random() < 0.7:
            (folder / file).write_bytes(whole[:rng.randint(0, len(whole))])


def plant_pointer(run: Path, rng: random.Random, _last: int) -> None:
    """A temporary file that was to be renamed to `latest`, `best` or `config.toml`."""
    (run / rng.choice(["latest.partial", "best.partial", "config.partial"])).write_bytes(b"step-\0\0\xff")


def plant_half_a_row(run: Path, rng: random.Random, last: int) -> None:
    """Some rows after the last checkpoint are in metrics.csv, the last one incomplete."""
    path, latest = run / "metrics.csv", resumed_from(run)
    if not path.is_file():
        return
    saved = json.loads((checkpoint(run, latest) / "state.json").read_text())["metrics_bytes"] if latest else 0
    rows = path.read_bytes()
    # No row ever follows the last step's validation.
    if latest != last:
        rows += b"%d,1,train,1.25e-3,3.3" % ((latest or 0) + 5)
    path.write_bytes(rows[:rng.randint(saved, len(rows))])


PLANTS = [plant_checkpoint, plant_pointer, plant_half_a_row]
